"""What one space has and another lacks, in the order in which it is set up. PURE."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HERE, UNDER_WAY, DIFFERENT, MISSING = "here", "under way", "different", "missing"


@dataclass(frozen=True)
class Described:
    """An audience as it is compared. id: in its own space. asks: the keys of audiences that it asks about."""

    name: str
    sentence: str
    definition: Any
    include_anonymous: bool
    asks: frozenset[str] = frozenset()
    id: str = ""

    def means(self, other: "Described") -> bool:
        """Whether both describe the same people. As text: in Python 1 and true are equal."""
        mine, theirs = (json.dumps(each.definition, sort_keys=True) for each in (self, other))
        return mine == theirs and self.include_anonymous == other.include_anonymous


@dataclass(frozen=True)
class Contents:
    """What a space has. sources: by id, the name and whether its past is all there. destinations: (kind, name).

    ways: (key of the audience, destination).
    """

    sources: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    rules: Any = None
    audiences: Mapping[str, Described] = field(default_factory=dict)
    destinations: frozenset[tuple[str, str]] = frozenset()
    ways: frozenset[tuple[str, tuple[str, str]]] = frozenset()


@dataclass(frozen=True)
class Item:
    """One thing of the first space, and how it stands in the second.

    key: of an audience that can be copied. audience: the id of the one in the second space, to go on with there.
    """

    name: str
    state: str
    about: str = ""
    key: str = ""
    audience: str = ""


@dataclass(frozen=True)
class Part:
    """One step of the way. pages: where it is done, the best first. need: what that takes.

    page, act: of an item with an audience, what is done with it where.
    """

    title: str
    about: str
    items: Sequence[Item]
    pages: tuple[str, ...]
    verb: str
    need: str
    nothing: str
    page: str = ""
    act: str = ""

    @property
    def done(self) -> bool:
        return all(item.state == HERE for item in self.items)


def compare(theirs: Contents, ours: Contents) -> list[Part]:
    """The parts of `theirs`, each item with how it stands in `ours`."""
    return [
        Part(
            "Sources",
            "The same sources send their events here too; the last 30 days are replayed.",
            [_source(name, ours.sources.get(id)) for id, (name, _) in theirs.sources.items()],
            ("space-connect", "space-sources"),
            "Connect sources",
            "space.admin",
            "No source is connected there.",
        ),
        Part(
            "Identity rules",
            "Equal rules make the same profiles of the same events. Set them before the replay.",
            [_rules(theirs.rules == ours.rules)],
            ("identity-settings", "space-sources"),
            "Open the settings",
            "space.read",
            "",
        ),
        Part(
            "Audiences",
            "Known by their keys, which is how your tools know them. A copy is computed here, from the events here.",
            [_audience(key, each, ours) for key, each in theirs.audiences.items()],
            ("audiences",),
            "See the audiences here",
            "space.read",
            "No audience was made there.",
            "audience",
            "Open",
        ),
        Part(
            "Destinations",
            "Set them up anew, with the real accounts: what the try-out sent to stays apart.",
            [_held(name, pair in ours.destinations) for pair in sorted(theirs.destinations) for name in [pair[1]]],
            ("destination-catalog", "destinations", "deliveries"),
            "Add a destination",
            "space.admin",
            "No destination was set up there.",
        ),
        Part(
            "What goes where",
            "The last step, once the audiences are computed and look right.",
            [_way(theirs, ours, key, to) for key, to in sorted(theirs.ways)],
            ("audiences", "deliveries"),
            "Choose destinations",
            "space.read",
            "No audience goes to a destination there.",
            "audience-connect",
            "Connect",
        ),
    ]


def _source(name: str, here: tuple[str, bool] | None) -> Item:
    if here is None:
        return Item(name, MISSING)
    return Item(name, HERE) if here[1] else Item(name, UNDER_WAY, "The replay is not complete yet.")


def _rules(equal: bool) -> Item:
    text = "" if equal else "Some identifiers have another priority, limit or blocked value."
    return Item("Priorities, limits and blocked values", HERE if equal else DIFFERENT, text)


def _audience(key: str, theirs: Described, ours: Contents) -> Item:
    here = ours.audiences.get(key)
    if here is None:
        lacking = sorted(theirs.asks - set(ours.audiences))
        first = f" It asks about {', '.join(lacking)}: copy that first." if lacking else ""
        return Item(theirs.name, MISSING, f"{theirs.sentence}{first}", key)
    if not theirs.means(here):
        return Item(theirs.name, DIFFERENT, f"There: {theirs.sentence} Here: {here.sentence}", audience=here.id)
    return Item(theirs.name, HERE, theirs.sentence)


def _held(name: str, here: bool) -> Item:
    return Item(name, HERE if here else MISSING)


def _way(theirs: Contents, ours: Contents, key: str, to: tuple[str, str]) -> Item:
    audience, here = theirs.audiences.get(key), ours.audiences.get(key)
    name = f"{audience.name if audience else key} → {to[1]}"
    if (key, to) in ours.ways:
        return Item(name, HERE)
    return Item(name, MISSING, "" if here else "The audience is not here yet.", audience=here.id if here else "")
