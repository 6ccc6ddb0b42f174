"""What to call somebody, for whoever looks."""

from collections.abc import Mapping, Sequence
from typing import Any

from identity.rules.display_name import Pair, display_name
from spaces import personal


def shown_name(traits: Mapping[str, Any], identifiers: Sequence[Pair]) -> str:
    """`display_name`; for whoever may not see it an id that is none, else that there is one."""
    name = display_name(traits, identifiers)
    if not name or not personal.masked():
        return name
    id = display_name({}, [pair for pair in identifiers if personal.value(*pair) == pair[1]])
    return id or personal.MASK
