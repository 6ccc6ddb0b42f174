"""PURE. Identifiers that somebody has split, so that no profile may hold one of each side, and what that comes to.

A split is one more rule of the space: a profile that would hold identifiers of both sides is refused as one that would
break a limit (`identity.rules.decision`). Taking a profile apart is running the rules once more over its events, with
the split; so it ends as if the link had never been, and the next event does not bring it back.

What was split off can be moved: as soon as the identifier that it was moved to is somebody's, it is theirs as well, as
if an event had carried both at that moment (`identity.rules.graph`). As any other link the rules may forbid it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from identity.rules.policy import Identifier

Side = tuple[int, bool]  # (split, which of its two sides)
Sides = Mapping[Identifier, tuple[Side, ...]]


class SplitRule(msgspec.Struct, frozen=True):
    """None of `taken` may be in one profile with any of `left`. moved_to: with whom they are; None = with nobody."""

    id: int
    taken: tuple[Identifier, ...]
    left: tuple[Identifier, ...]
    moved_to: Identifier | None = None


@dataclass(frozen=True)
class SplitIndex:
    """What the splits of a space say. sides: of each identifier, on which sides it is. moved: by the identifier that
    they were moved to, these."""

    sides: Sides = field(default_factory=dict)
    moved: Mapping[Identifier, tuple[Identifier, ...]] = field(default_factory=dict)


def split_index(splits: Iterable[SplitRule]) -> SplitIndex:
    """The same by identifier: they are asked about each event."""
    sides: dict[Identifier, tuple[Side, ...]] = {}
    moved: dict[Identifier, tuple[Identifier, ...]] = {}
    for split in splits:
        for is_taken, identifiers in ((True, split.taken), (False, split.left)):
            for identifier in identifiers:
                sides[identifier] = (*sides.get(identifier, ()), (split.id, is_taken))
        if split.moved_to:
            moved[split.moved_to] = (*moved.get(split.moved_to, ()), *split.taken)
    return SplitIndex(sides, moved)


def is_apart(identifiers: Iterable[Identifier], sides: Sides) -> bool:
    """Whether any two of these may not be in one profile."""
    seen: dict[int, bool] = {}
    return any(
        seen.setdefault(split, side) != side for identifier in identifiers for split, side in sides.get(identifier, ())
    )


@dataclass(frozen=True)
class SplitPart:
    """A profile as it will be. is_new: nobody has its number yet. identifiers: the oldest first. values: of its traits.
    events: how many it has."""

    number: int
    is_new: bool
    identifiers: tuple[Identifier, ...]
    values: Mapping[str, Any]
    events: int
