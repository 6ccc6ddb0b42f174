"""What the pages about people show: lists, one profile, its history. Ready to be shown."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import reduce
from operator import or_
from typing import Any, cast

from django.db.models import Q, QuerySet
from django.utils import timezone
from pyroaring import BitMap

from identity import history, queries
from identity.models import KEY_LENGTH, Identifier, Profile, ProfileSplit
from identity.naming import shown_name
from identity.pages.event_view import EventSection, parts
from identity.rules.display_name import email_of
from identity.rules.splits import SplitPart
from identity.split_effects import AudienceEffect, ToldEffect
from sources.events import timeline
from sources.events.timeline import Key
from sources.models import Source
from spaces import personal
from spaces.models import Space
from spaces.times import from_milliseconds

EVENTS_SHOWN = 50
NAMED = 5  # of those it belongs with
SET_ASIDE = {  # why a value is not used (identity.rules.extract.Why)
    "blocked_value": "a blocked value",
    "blocked_pattern": "it matches a blocked pattern",
    "too_long": "longer than 500 characters",
    "not_text": "it could not be read as text",
    "second_of_type": "a second value of its type: the first one counts",
}
MANY = 200  # rows of one profile that a page shows, of each kind
MOST_MATCHES = 500  # of those whom a search finds by name, and as many again by e-mail address
MOST_PASTED, MOST_COLUMNS = 200, 8
MOST_NAMES = 200  # of a person's events, to choose from
CSV_ROWS = 500  # read at a time
# Of those whom a search finds, so many are looked up for a page: more than it shows, since some may be merged by now.
LOOKED_UP = 2_000
DAYS = 30
DELETED = "a deleted source"
ANONYMOUS = "Anonymous visitor"


@dataclass(frozen=True)
class Person:
    """A profile in a list. `hint` tells those apart that have no name."""

    profile: Profile
    name: str
    email: str
    initial: str
    hint: str = ""
    identifiers: Sequence[Identifier] = ()

    @property
    def changed_at(self) -> datetime:
        """The newest event that brought a trait or an identifier."""
        # Of what is here anyway: to ask for the newest event of each of fifty people is a query for each.
        times = [from_milliseconds(seen[0]) for seen in self.profile.traits_seen.values()]
        return max(times + [row.first_seen_at for row in self.identifiers], default=self.profile.first_seen_at)


@dataclass(frozen=True)
class EventFilter:
    """names, sources: (value, label, whether it is chosen) of what there is to choose from."""

    which: timeline.Which
    names: Sequence[tuple[str, str, bool]]
    sources: Sequence[tuple[str, str, bool]]


@dataclass(frozen=True)
class Trait:
    """A value and where it is from; `shown` is text."""

    key: str
    shown: str
    at: datetime | None
    source: str


@dataclass(frozen=True)
class IdentifierRow:
    """An identifier, and the event that brought it. number: what it is called in its space."""

    number: int
    type: str
    value: str
    at: datetime
    source: str
    message_id: str

    @property
    def summary(self) -> str:
        """Which event brought it, from where and when."""
        return f"{self.type} {self.value}: brought by message {self.message_id} from {self.source}, {_moment(self.at)}"


@dataclass(frozen=True)
class SplitRow:
    """Identifiers that were split. taken, left: each side as text. home: where `taken` were moved to, "" = nowhere.
    is_coming: it is about to be done, or undone."""

    split: ProfileSplit
    taken: str
    left: str
    home: str
    is_coming: bool


@dataclass(frozen=True)
class PartRow:
    """A profile that a split would come to. profile: the id that it has already; None = it would be new."""

    name: str
    profile: str | None
    identifiers: Sequence[tuple[str, str]]
    traits: Sequence[tuple[str, str]]
    events: int


@dataclass(frozen=True)
class ToldRow:
    """What a destination would be told, as text."""

    effect: ToldEffect
    enter: str
    leave: str


@dataclass(frozen=True)
class EffectRow:
    """What a split means for an audience: the names of whom it has now of these people, and would have."""

    effect: AudienceEffect
    now: Sequence[str]
    after: Sequence[str]
    told: Sequence[ToldRow]


@dataclass(frozen=True)
class MergeRow:
    """A profile that became part of another, and because of which event."""

    loser: str
    winner: str
    at: datetime
    source: str
    message_id: str
    reason: str

    @property
    def summary(self) -> str:
        why = self.reason or "the same identifier was on both"
        return f"{self.loser}: {why}; message {self.message_id} from {self.source}, {_moment(self.at)}"


@dataclass(frozen=True)
class Refusal:
    """Identifiers that came with this person's events and were not taken as theirs: (type, value, why)."""

    refused: Sequence[tuple[str, str, str]]
    together: str
    events: int
    at: datetime
    source: str
    message_id: str


@dataclass(frozen=True)
class Event:
    """One line of a profile's history. `text` is the message as archived, indented; `parts` what it says."""

    name: str
    type: str
    at: datetime
    source: str
    text: str
    identifiers: str
    parts: Sequence[EventSection] = ()


@dataclass(frozen=True)
class History:
    """Events by day, newest first. older: where the rest begins, "" when this is all."""

    days: Sequence[tuple[datetime, Sequence[Event]]] = field(default_factory=list)
    older: str = ""


def search(space: Space, text: str) -> "QuerySet[Profile]":
    """The profiles that `searched` finds, merged ones aside."""
    return Profile.objects.filter(space=space, merged_into=None, number__in=[*searched(space, text)])


def searched(space: Space, text: str) -> BitMap:
    """Numbers of profiles that have this as their id, as an identifier, or as `type:value`; and of those whose name or
    e-mail address begins with it, the first that are found if they are many."""
    text = text.strip()
    if text.startswith("use_"):
        profile = queries.profile_of(space, text)
        return BitMap([profile.number] if profile else [])
    numbers = BitMap(queries.identified([space], text).values_list("profile", flat=True)[:MOST_MATCHES])
    numbers |= queries.labelled(space, text, MOST_MATCHES)
    if not personal.masked():  # letter by letter a search would tell what the page does not
        numbers |= queries.called(space, text, MOST_MATCHES)
    return numbers


def listed_people(space: Space, text: str) -> tuple[BitMap, list[str]]:
    """Numbers of profiles that hold one of the identifiers of a pasted list, one a line; and the lines that are
    nobody's."""
    lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))[:MOST_PASTED]
    numbers: dict[str, int] = {}
    for row in queries.identified_by_any([space], lines):
        if row.profile:
            values = (row.value, f"{row.type}:{row.value}")
            numbers.update(dict.fromkeys(values, row.profile))
    ids = Profile.objects.filter(space=space, public_id__in=lines).values_list("public_id", "number", "merged_into")
    numbers |= {id: merged_into or number for id, number, merged_into in ids}
    # In any spelling, as a search for one of them: addresses are kept in small letters.
    unknown = [line for line in lines if line not in numbers and line.lower() not in numbers]
    return BitMap(numbers.values()), unknown


def newest_of(numbers: BitMap, below: int | None, most: int) -> BitMap:
    """The greatest of them that are below this one: at most so many."""
    end = len(numbers) if below is None else numbers.rank(max(min(below, 2**32) - 1, 0))
    return numbers[max(end - most, 0) : end]


def trait_columns(text: str) -> list[str]:
    """Names of traits, parted by commas, that are shown as columns."""
    return list(dict.fromkeys(name.strip()[:KEY_LENGTH] for name in text.split(",") if name.strip()))[:MOST_COLUMNS]


def trait_cells(profile: Profile, columns: Sequence[str]) -> list[str]:
    """Their values as text, "" where there is none."""
    values = personal.traits({name: profile.traits[name] for name in columns if name in profile.traits})
    return [_plain(values[name]) if name in values else "" for name in columns]


def people(space: Space, profiles: Sequence[Profile]) -> list[Person]:
    """As a list shows them. One query, however many there are."""
    by_profile: dict[int, list[Identifier]] = defaultdict(list)
    numbers = [profile.number for profile in profiles]
    for identifier in Identifier.objects.filter(space=space, profile__in=numbers).order_by("id"):
        by_profile[identifier.profile].append(identifier)
    return [person(profile, by_profile[profile.number]) for profile in profiles]


def all_people(space: Space, profiles: "QuerySet[Profile]", among: BitMap | None) -> Iterator[Person]:
    """All of them, newest first, read a part at a time: for downloads. among: only those of these numbers."""
    # Behind the last number, not by offset: a download of a million people reads each once.
    last: int | None = None
    while True:
        rest = profiles if last is None else profiles.filter(number__lt=last)
        part = None if among is None else newest_of(among, last, CSV_ROWS)
        page = list((rest if part is None else rest.filter(number__in=part)).order_by("-number")[:CSV_ROWS])
        yield from people(space, page)
        if not (part if part is not None else page):
            return
        last = part.min() if part is not None else page[-1].number


def person(profile: Profile, identifiers: Sequence[Identifier]) -> Person:
    pairs = [(row.type, row.value) for row in identifiers]
    email, name = personal.value("email", email_of(profile.traits, pairs)), shown_name(profile.traits, pairs)
    if name:
        return Person(profile, name, email, name[0].upper(), identifiers=identifiers)
    hint = personal.value(*pairs[0]) if pairs else ""
    return Person(profile, "Anonymous visitor", email, "?", hint, identifiers)


def identifiers(of_profile: Iterable[Identifier]) -> list[IdentifierRow]:
    """By type, the oldest first."""
    rows = sorted(of_profile, key=lambda row: (row.type, row.first_seen_at, row.number))[:MANY]
    sources = _SourceNames(row.source_id for row in rows)
    return [
        IdentifierRow(
            number=row.number,
            type=row.type,
            value=personal.value(row.type, row.value),
            at=row.first_seen_at,
            source=sources[row.source_id],
            message_id=row.message_id,
        )
        for row in rows
    ]


def traits(profile: Profile) -> list[Trait]:
    """By name, each with the event time and the source of the event it came with."""
    sources = _SourceNames(source for _, source, *_ in profile.traits_seen.values())
    rows = []
    for key, value in sorted(personal.traits(profile.traits).items()):
        text = _plain(value)
        # A value of which nobody knows whence it is, is shown all the same.
        if seen := profile.traits_seen.get(key):
            at, source, *_ = seen
            rows.append(Trait(key, text, from_milliseconds(at), sources[source]))
        else:
            rows.append(Trait(key, text, None, ""))
    return rows


def traits_with(text: str, rows: Iterable[Trait]) -> list[Trait]:
    """Those that have the text in their name or in their value."""
    return [row for row in rows if text.lower() in f"{row.key}\n{row.shown}".lower()]


def merges(space: Space, numbers: BitMap) -> list[MergeRow]:
    """What became part of it, directly or as part of another, newest first. numbers: all of this person."""
    rows = list(queries.merges_of(space, numbers).order_by("-id")[:MANY])
    ids, sources = queries.own_ids(space, numbers), _SourceNames(row.source_id for row in rows)
    return [
        MergeRow(ids[row.loser], ids[row.winner], row.at, sources[row.source_id], row.message_id, row.reason)
        for row in rows
    ]


def splits(space: Space, profile: int) -> list[SplitRow]:
    """What was split from this profile, or it from others, newest first."""
    own = [[row.type, row.value] for row in Identifier.objects.filter(space=space, profile=profile)[:MANY]]
    named = [Q(taken__contains=[pair]) | Q(left__contains=[pair]) | Q(moved_to__contains=[pair]) for pair in own]
    mine = reduce(or_, named, Q(profile=profile))
    rows = (
        ProfileSplit.objects.filter(mine, space=space)
        .exclude(state=ProfileSplit.State.UNDONE)
        .select_related("created_by")
    )
    return [
        SplitRow(
            row,
            _listed(row.taken),
            _listed(row.left),
            _listed(row.moved_to),
            row.state in (ProfileSplit.State.WANTED, ProfileSplit.State.UNWANTED),
        )
        for row in rows.order_by("-pk")[:MANY]
    ]


def split_parts(space: Space, parts: Iterable[SplitPart]) -> list[PartRow]:
    """As a preview shows them."""
    numbers = [part.number for part in parts if not part.is_new]
    profiles = {profile.number: profile for profile in Profile.objects.filter(space=space, number__in=numbers)}
    return [
        PartRow(
            name=shown_name(part.values, list(part.identifiers)) or ANONYMOUS,
            profile=None if part.is_new else profiles[part.number].public_id,
            identifiers=[(type, personal.value(type, value)) for type, value in part.identifiers],
            traits=[(key, _plain(value)) for key, value in personal.traits(part.values).items()],
            events=part.events,
        )
        for part in parts
    ]


def split_effects(space: Space, parts: Sequence[SplitPart], effects: Sequence[AudienceEffect]) -> list[EffectRow]:
    """As a preview shows them."""
    now = Profile.objects.filter(space=space, number__in={number for effect in effects for number in effect.now})
    names = {person.profile.number: person.name for person in people(space, list(now))}
    future = {part.number: shown_name(part.values, list(part.identifiers)) or ANONYMOUS for part in parts}
    return [
        EffectRow(
            effect,
            now=[names[number] for number in effect.now if number in names],
            after=[future[number] for number in effect.after],
            told=[ToldRow(told, _listed(told.enter), _listed(told.leave)) for told in effect.told],
        )
        for effect in effects
    ]


def refusals(space: Space, numbers: BitMap) -> list[Refusal]:
    """What was not taken as theirs, newest first. numbers: all of this person."""
    rows = list(queries.refusals_of(space, numbers).order_by("-last_seen_at", "-id")[:MANY])
    sources = _SourceNames(row.last_source_id for row in rows)
    return [
        Refusal(
            refused=[
                *((type, personal.value(type, value), why) for type, value, why in row.refused),
                *((type, personal.value(type, value), SET_ASIDE.get(why, why)) for type, value, why in row.set_aside),
            ],
            together=_listed(row.identifiers),
            events=row.events,
            at=row.last_seen_at,
            source=sources[row.last_source_id],
            message_id=row.last_message_id,
        )
        for row in rows
    ]


def relations(space: Space, numbers: BitMap) -> tuple[list[Person], int]:
    """The first accounts of a user, or users of an account, and how many there are."""
    rows = queries.relations_of(space, numbers).order_by("number")
    return people(space, list(rows[:NAMED])), rows.count()


def event_filter(space: Space, numbers: BitMap, *, name: str, source: str) -> EventFilter:
    """name: a call and a name as `track:Order Completed`. source: a public id. What is no choice filters nothing."""
    scope = history.scope_of(space)
    counts = timeline.counts_of(scope, [*numbers])
    names = {f"{type}:{event}": event or type.capitalize() for type, event, *_ in counts[:MOST_NAMES]}
    sources = Source.objects.filter(pk__in=timeline.sources_of(scope, [*numbers])).order_by("name")
    ids = {row.public_id: row for row in sources}
    type, _, event = name.partition(":") if name in names else ("", "", "")
    which = timeline.Which(
        types=[type] if type else (),
        include=[event] if type else (),
        sources=[ids[source].pk] if source in ids else (),
    )
    return EventFilter(
        which,
        [(value, label, value == name) for value, label in names.items()],
        [(row.public_id, row.name, row.public_id == source) for row in ids.values()],
    )


def events_by_day(
    space: Space, numbers: BitMap, *, before: str = "", which: timeline.Which = timeline.EVERY
) -> History:
    """The newest events of the profile and of all that were merged into it; those before a place in it."""
    place = before.split(".")
    # From the address: what is no place begins at the newest event, as an address without one does.
    is_place = len(place) == 4 and all(part.isascii() and part.isdigit() and len(part) < 14 for part in place)
    key = cast(Key, tuple(map(int, place))) if is_place else None
    # One more than is shown tells whether there are older ones.
    scope = history.scope_of(space)
    events = timeline.events_of(scope, [*numbers], which=which, beyond=key, limit=EVENTS_SHOWN + 1)
    page = events[:EVENTS_SHOWN]
    sources = _SourceNames(event.source for event in page)
    days: dict[datetime, list[Event]] = {}
    for event in page:
        at, message = timezone.localtime(from_milliseconds(event.ts)), personal.payload(json.loads(event.message))
        days.setdefault(at.replace(hour=0, minute=0, second=0, microsecond=0), []).append(
            Event(
                name=event.event or event.type.capitalize(),
                type=event.type,
                at=at,
                source=sources[event.source],
                text=json.dumps(message, indent=2, ensure_ascii=False),
                identifiers=_listed(event.identifiers),
                parts=parts(message, personal.pairs(event.identifiers)),
            )
        )
    older = ".".join(map(str, page[-1].key)) if len(events) > EVENTS_SHOWN else ""
    return History(list(days.items()), older)


def per_day(
    space: Space, numbers: BitMap, *, until: datetime, which: timeline.Which = timeline.EVERY
) -> list[tuple[date, int]]:
    """Of each of the reader's last 30 days, the last one being that of `until`, how many events there were."""
    # Days of the reader's calendar, bounded as moments: what is asked of the events is a span, and they know no zones.
    last, zone = timezone.localdate(until), timezone.get_current_timezone()
    days = [last - timedelta(days=ago) for ago in reversed(range(DAYS))]
    start, end = (datetime.combine(day, time(), zone) for day in (days[0], last + timedelta(days=1)))
    scope, which = history.scope_of(space), replace(which, start=start, end=end)
    counted = timeline.per_day(scope, [*numbers], which=which, zone=timezone.get_current_timezone_name())
    return [(day, counted.get(day, 0)) for day in days]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _SourceNames(dict[int | None, str]):
    """By key of a source its name, of one that is gone DELETED. One query."""

    def __init__(self, ids: Iterable[int | None]) -> None:
        super().__init__(Source.objects.filter(pk__in={id for id in ids if id}).values_list("pk", "name"))

    def __missing__(self, id: int | None) -> str:
        return DELETED


def _moment(at: datetime) -> str:
    return f"{timezone.localtime(at):%-d %b %Y, %H:%M %Z}"


def _listed(identifiers: Iterable[Sequence[str]]) -> str:
    return ", ".join(f"{type}: {personal.value(type, value)}" for type, value in identifiers)
