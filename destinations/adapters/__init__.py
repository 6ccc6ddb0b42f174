"""PURE. One file per kind of destination; the folder is the list.

A new kind: write `<kind>.py` with an `adapter`, and `tests/golden/adapters/<kind>.toml` with what it sends.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from destinations.rules.contract import Adapter


@cache
def all_adapters() -> dict[str, Adapter]:
    """{kind: adapter}, by kind."""
    names = sorted(module.name for module in iter_modules(__path__))
    adapters = {name: import_module(f"{__name__}.{name}").adapter for name in names}
    for name, adapter in adapters.items():
        if adapter.kind != name:
            raise ValueError(f"adapters/{name}.py calls itself {adapter.kind}")
    return adapters


def adapter_of(kind: str) -> Adapter:
    """Raises KeyError for a kind that has no file."""
    return all_adapters()[kind]
