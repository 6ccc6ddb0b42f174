"""PURE. Identifiers that somebody has split, so that no profile may hold one of each side, and what that comes to.

A split is one more rule of the space: a profile that would hold identifiers of both sides is refused as one that would
break a limit (`identity.rules.decision`). Taking a profile apart is running the rules once more over its events, with
the split; so it ends as if the link had never been, and the next event does not bring it back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from identity.rules.policy import Identifier

Side = tuple[int, bool]  # (split, which of its two sides)
Sides = Mapping[Identifier, tuple[Side, ...]]


class SplitRule(msgspec.Struct, frozen=True):
    """None of `taken` may be in one profile with any of `left`."""

    id: int
    taken: tuple[Identifier, ...]
    left: tuple[Identifier, ...]


def sides_of(splits: Iterable[SplitRule]) -> Sides:
    """Of each identifier that any of these names, on which sides it is."""
    sides: dict[Identifier, tuple[Side, ...]] = {}
    for split in splits:
        for is_taken, identifiers in ((True, split.taken), (False, split.left)):
            for identifier in identifiers:
                sides[identifier] = (*sides.get(identifier, ()), (split.id, is_taken))
    return sides


def is_apart(identifiers: Iterable[Identifier], sides: Sides) -> bool:
    """Whether any two of these may not be in one profile."""
    seen: dict[int, bool] = {}
    return any(
        seen.setdefault(split, side) != side for identifier in identifiers for split, side in sides.get(identifier, ())
    )


@dataclass(frozen=True)
class SplitPart:
    """A profile as it will be. number: None = it is new. identifiers: the oldest first. values: of its traits.
    events: how many it has."""

    number: int | None
    identifiers: tuple[Identifier, ...]
    values: Mapping[str, Any]
    events: int
