"""PURE. One file per kind of destination; the folder is the list.

A new kind: write `<kind>.py` with an `adapter`, and `tests/golden/adapters/<kind>.toml` with what it sends.
"""

from functools import cache

from destinations.rules.contract import Adapter
from spaces.registry import objects_in


@cache
def all_adapters() -> dict[str, Adapter]:
    """{kind: adapter}, by kind."""
    return objects_in(__name__, "adapter")


def adapter_of(kind: str) -> Adapter:
    """Raises KeyError for a kind that has no file."""
    return all_adapters()[kind]
