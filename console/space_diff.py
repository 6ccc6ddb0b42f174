"""What one space has and another lacks, in the order in which a space is set up. PURE."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

HERE, UNDER_WAY, DIFFERENT, MISSING = "here", "under way", "different", "missing"


@dataclass(frozen=True)
class AudienceSummary:
    """An audience or a computed trait as it is compared. id: in its own space. asks: the keys of what it refers to."""

    name: str
    sentence: str
    definition: Any
    include_anonymous: bool
    asks: frozenset[str] = frozenset()
    id: str = ""
    of: str = "users"

    def means(self, other: "AudienceSummary") -> bool:
        """Whether both describe the same people."""
        # As text: in Python 1 == True, so two definitions that differ in just that would compare as equal.
        definitions = {json.dumps(audience.definition, sort_keys=True) for audience in (self, other)}
        same = self.include_anonymous == other.include_anonymous and self.of == other.of
        return len(definitions) == 1 and same


@dataclass(frozen=True)
class SpaceContents:
    """What a space has.

    sources: by public id, the name and whether its replay is complete. traits (computed ones), audiences: by key.
    destinations: (kind, name). subscriptions: (key of the audience, destination).
    """

    sources: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    rules: Any = None
    traits: Mapping[str, AudienceSummary] = field(default_factory=dict)
    audiences: Mapping[str, AudienceSummary] = field(default_factory=dict)
    destinations: frozenset[tuple[str, str]] = frozenset()
    subscriptions: frozenset[tuple[str, tuple[str, str]]] = frozenset()


@dataclass(frozen=True)
class GuideItem:
    """One thing that the first space has, and how it stands in the second.

    key: of an audience that can be copied. audience: the public id of its counterpart in the second space.
    """

    name: str
    state: str
    about: str = ""
    key: str = ""
    audience: str = ""


@dataclass(frozen=True)
class GuidePart:
    """One step of the guide. pages: URL names of where it is done, best first. need: the permission that takes.

    nothing: shown when the first space has none. item_page, item_verb: for items whose audience is in the second
    space, the page to go to and the label of that link.
    """

    title: str
    about: str
    items: Sequence[GuideItem]
    pages: tuple[str, ...]
    verb: str
    need: str
    nothing: str
    item_page: str = ""
    item_verb: str = ""

    @property
    def done(self) -> bool:
        return all(item.state == HERE for item in self.items)


def compare(theirs: SpaceContents, ours: SpaceContents) -> list[GuidePart]:
    """What `theirs` has, part by part, each item with how it stands in `ours`."""
    equal_rules = theirs.rules == ours.rules
    sources = []
    for id, (name, _) in theirs.sources.items():
        # A source is the same one in both spaces; only its connection differs.
        _, replayed = ours.sources.get(id, ("", None))
        if replayed is None:
            sources.append(GuideItem(name, MISSING))
        elif replayed:
            sources.append(GuideItem(name, HERE))
        else:
            sources.append(GuideItem(name, UNDER_WAY, "The replay is not complete yet."))
    return [
        GuidePart(
            title="Sources",
            about="The same sources send their events here too; the last 30 days are replayed.",
            items=sources,
            pages=("space-connect", "space-sources"),
            verb="Connect sources",
            need="space.admin",
            nothing="No source is connected there.",
        ),
        GuidePart(
            title="Identity rules",
            about="Equal rules make the same profiles of the same events. Set them before the replay.",
            items=[
                GuideItem(
                    "Priorities, limits and blocked values",
                    HERE if equal_rules else DIFFERENT,
                    "" if equal_rules else "Some identifiers have another priority, limit or blocked value.",
                )
            ],
            pages=("identity-settings", "space-sources"),
            verb="Open the settings",
            need="space.read",
            nothing="",
        ),
        GuidePart(
            title="Computed traits",
            about="Matched by key, by which audiences ask about them. A copy is computed from the events here.",
            items=[_computation(key, trait, ours.traits, ours) for key, trait in theirs.traits.items()],
            pages=("computed-traits",),
            verb="See the computed traits here",
            need="space.read",
            nothing="There are no computed traits there.",
            item_page="computed-trait",
            item_verb="Open",
        ),
        GuidePart(
            title="Audiences",
            about="Matched by key, which is how your tools know them. A copy is computed from the events here.",
            items=[_computation(key, audience, ours.audiences, ours) for key, audience in theirs.audiences.items()],
            pages=("audiences",),
            verb="See the audiences here",
            need="space.read",
            nothing="There are no audiences there.",
            item_page="audience",
            item_verb="Open",
        ),
        GuidePart(
            title="Destinations",
            about="Set them up again with your real accounts, so that test data stays out of them.",
            items=[
                # By kind and name: two spaces never share a destination, so there is no id to compare.
                GuideItem(name, HERE if (kind, name) in ours.destinations else MISSING)
                for kind, name in sorted(theirs.destinations)
            ],
            pages=("destination-catalog", "destinations", "deliveries"),
            verb="Add a destination",
            need="space.admin",
            nothing="There are no destinations there.",
        ),
        GuidePart(
            title="Connected audiences",
            about="The last step, once the audiences are computed and look right.",
            items=[_subscription(theirs, ours, key, to) for key, to in sorted(theirs.subscriptions)],
            pages=("audiences", "deliveries"),
            verb="Choose destinations",
            need="space.read",
            nothing="No audience is connected to a destination there.",
            item_page="audience-connect",
            item_verb="Connect",
        ),
    ]


def _computation(
    key: str, theirs: AudienceSummary, alike: Mapping[str, AudienceSummary], ours: SpaceContents
) -> GuideItem:
    """alike: those of its kind that are here."""
    counterpart = alike.get(key)
    if counterpart is None:
        # Nothing can be made that refers to what is not here.
        lacking = sorted(theirs.asks - {*ours.audiences, *ours.traits})
        first = f" It refers to {', '.join(lacking)}: copy that first." if lacking else ""
        return GuideItem(theirs.name, MISSING, f"{theirs.sentence}{first}", key)
    if not theirs.means(counterpart):
        about = f"There: {theirs.sentence} Here: {counterpart.sentence}"
        return GuideItem(theirs.name, DIFFERENT, about, audience=counterpart.id)
    return GuideItem(theirs.name, HERE, theirs.sentence)


def _subscription(theirs: SpaceContents, ours: SpaceContents, key: str, to: tuple[str, str]) -> GuideItem:
    audience, counterpart = theirs.audiences.get(key), ours.audiences.get(key)
    name = f"{audience.name if audience else key} → {to[1]}"
    # Compared by audience key and destination name: nothing in two spaces has the same id.
    if (key, to) in ours.subscriptions:
        return GuideItem(name, HERE)
    if counterpart is None:
        return GuideItem(name, MISSING, "The audience is not here yet.")
    return GuideItem(name, MISSING, audience=counterpart.id)
