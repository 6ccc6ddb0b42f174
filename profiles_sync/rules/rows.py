"""PURE. What the tables say of people and of events."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from profiles_sync.rules.tables import (
    AUDIENCE_MEMBERSHIPS,
    EXTERNAL_ID_MAPPING_UPDATES,
    ID_GRAPH_UPDATES,
    MOST_COLUMNS,
    OF_TYPE,
    PROFILE_MERGES,
    PROFILE_TRAITS_UPDATES,
    TRACK_TABLES,
    USER_IDENTIFIERS,
    USER_TRAITS,
    SyncTable,
    name_of,
    track_table,
)
from profiles_sync.rules.warehouse import Row
from spaces.text import storable
from spaces.times import from_milliseconds, milliseconds

LONGEST_TRAIT_NAME = 500  # bytes: it is in an index, and a row of that takes some 2,700
DEEPEST = 4  # objects within objects; what lies deeper stays JSON
Rows = dict[SyncTable, list[Row]]


@dataclass(frozen=True)
class Selection:
    """What is synced; an empty part means all of it. tables: names, and TRACK_TABLES."""

    tables: Collection[str] = ()
    events: Collection[str] = ()
    traits: Collection[str] = ()
    audiences: Collection[str] = ()

    def has(self, table: str) -> bool:
        return not self.tables or table in self.tables


class NamedSource(NamedTuple):
    """A source, as rows name it."""

    id: str = ""
    name: str = ""
    slug: str = ""


class Trigger(NamedTuple):
    """The event that something came of. segment_id: whose it was when it came."""

    type: str = ""
    name: str = ""
    id: str = ""
    segment_id: str = ""


@dataclass(frozen=True)
class SyncedIdentifier:
    type: str
    value: str
    first_seen_at: datetime
    source: NamedSource
    message_id: str
    trigger: Trigger | None


@dataclass(frozen=True)
class SyncedMerge:
    """loser, winner: numbers."""

    loser: int
    winner: int
    at: datetime
    message_id: str
    type: str


@dataclass(frozen=True)
class SyncedMembership:
    key: str
    audience_id: str
    at: datetime | None


@dataclass
class SyncedPerson:
    """Somebody as of now. number: of the profile that is left. segment_ids: by number, of all that became this one.

    born: by number, when it was first seen, and by what. traits: {name: (value, moment)}.
    """

    number: int
    segment_ids: Mapping[int, str]
    born: Mapping[int, tuple[datetime, Trigger | None]]
    identifiers: Sequence[SyncedIdentifier] = ()
    merges: Sequence[SyncedMerge] = ()  # in the order in which they happened
    traits: Mapping[str, tuple[Any, datetime | None]] = field(default_factory=dict)
    memberships: Sequence[SyncedMembership] = ()

    @property
    def id(self) -> str:
        return self.segment_ids[self.number]


def rows_of(person: SyncedPerson, selection: Selection) -> Rows:
    """What the tables of profiles say of somebody, by table."""
    merged_at = {merge.loser: merge.at for merge in person.merges}
    rows: Rows = {
        ID_GRAPH_UPDATES: list(_graph(person)),
        EXTERNAL_ID_MAPPING_UPDATES: [_mapping(person, identifier) for identifier in person.identifiers],
        USER_TRAITS: list(_traits(person)),
        USER_IDENTIFIERS: [
            {
                "canonical_segment_id": person.id,
                "type": identifier.type,
                "value": identifier.value,
                **_seen(identifier.first_seen_at),
            }
            for identifier in person.identifiers
        ],
        PROFILE_MERGES: [
            {
                "canonical_segment_id": person.id,
                "segment_id": segment_id,
                **_seen(merged_at.get(number, person.born[number][0])),
            }
            for number, segment_id in sorted(person.segment_ids.items())
        ],
        AUDIENCE_MEMBERSHIPS: [
            {
                "canonical_segment_id": person.id,
                "audience_key": membership.key,
                "audience_id": membership.audience_id,
                "entered_at": membership.at,
            }
            for membership in person.memberships
        ],
    }
    return {table: listed for table, listed in rows.items() if selection.has(table.name)}


def _graph(person: SyncedPerson) -> Iterator[Row]:
    """A row for each profile that came to be, and one for each that a merge led on, also when it had been merged."""
    ids = person.segment_ids
    for number, (at, trigger) in sorted(person.born.items()):
        trigger = trigger or Trigger()
        yield {
            "segment_id": ids[number],
            "canonical_segment_id": ids[number],
            "triggering_event_type": trigger.type,
            "triggering_event_id": trigger.id,
            "timestamp": at,
        }
    # Played back from the beginning: a merge leads on all who had been led to its loser.
    led: dict[int, int] = {number: number for number in ids}
    for merge in person.merges:
        if merge.winner not in ids:
            continue
        for number in sorted(number for number, winner in led.items() if winner == merge.loser):
            led[number] = merge.winner
            yield {
                "segment_id": ids[number],
                "canonical_segment_id": ids[merge.winner],
                "triggering_event_type": merge.type,
                "triggering_event_id": merge.message_id,
                "timestamp": merge.at,
            }
    # Whose events went to another one without a merge, as after a change of the rules.
    for number in sorted(number for number, winner in led.items() if winner != person.number):
        at = person.born[number][0]
        yield {"segment_id": ids[number], "canonical_segment_id": person.id, "timestamp": at}


def _mapping(person: SyncedPerson, identifier: SyncedIdentifier) -> Row:
    trigger, source = identifier.trigger or Trigger(), identifier.source
    return {
        # Whose it was when it came; that event may not be kept any more.
        "segment_id": trigger.segment_id or person.id,
        "external_id_type": identifier.type,
        "external_id_value": identifier.value,
        # As Segment's: something to join by, and no secret.
        "external_id_hash": hashlib.sha1(identifier.value.encode(), usedforsecurity=False).hexdigest(),
        "triggering_event_type": trigger.type,
        "triggering_event_id": identifier.message_id,
        "triggering_event_name": trigger.name,
        "triggering_event_source_id": source.id,
        "triggering_event_source_name": source.name,
        "triggering_event_source_slug": source.slug,
        **_seen(identifier.first_seen_at),
        "__operation": "CREATED",
    }


def _traits(person: SyncedPerson) -> Iterator[Row]:
    for name, (value, at) in sorted(person.traits.items()):
        if len(name.encode()) > LONGEST_TRAIT_NAME:
            continue
        yield {"canonical_segment_id": person.id, "name": name, "value": as_text(value), **_seen(at)}


def _seen(at: datetime | None) -> Row:
    # Of one trait, the later value has the higher one.
    return {"seq": None if at is None else milliseconds(at), "timestamp": at}


def digest(person: SyncedPerson, rows: Rows) -> bytes:
    """Another one whenever anything that is said of them is other than before."""
    everything = [[*person.segment_ids.values()], [[table.name, listed] for table, listed in rows.items()]]
    return blake2b(msgspec.msgpack.encode(everything), digest_size=16).digest()


class SyncedEvent(NamedTuple):
    """An event as the space has it. message: as archived, JSON. segment_id: whose it was when it came."""

    id: str
    segment_id: str
    source_id: str
    ts: int
    type: str
    event: str
    message: bytes


def rows_of_events(events: Iterable[SyncedEvent], selection: Selection) -> Rows:
    """A row in the table of its call, one in the table of its name, and of an identify call one of its traits."""
    rows: Rows = {}
    for event in events:
        table = OF_TYPE[event.type]
        if event.type == "track" and selection.events and event.event not in selection.events:
            continue
        message = msgspec.json.decode(event.message)
        call = _call(event, message)
        parts = {"context": message.get("context")}
        if event.type == "track":
            call |= {"event": name_of(event.event), "event_text": event.event}
            # Segment's `tracks` has no properties: those of all names together would be thousands of columns.
            if selection.has(TRACK_TABLES):
                own = track_table(event.event)
                _add(rows, own, call | _columns(own, parts | {"": message.get("properties")}))
        elif event.type in ("page", "screen"):
            call |= {"name": _text(message.get("name")), "category": _text(message.get("category"))}
            parts[""] = message.get("properties")
        elif event.type in ("identify", "group"):
            parts[""] = message.get("traits")
            call |= {"group_id": _text(message.get("groupId"))} if event.type == "group" else {}
        else:
            call |= {"previous_id": _text(message.get("previousId"))}
        if selection.has(table.name):
            _add(rows, table, call | _columns(table, parts))
        # As Segment's, from what was sent: values that won are in `user_traits`.
        if event.type == "identify" and selection.has(PROFILE_TRAITS_UPDATES.name):
            own = PROFILE_TRAITS_UPDATES
            kept = {name: call[name] for name in ("id", "segment_id", "event_source_id", "timestamp")}
            traits = {"": message.get("traits")}
            _add(rows, own, {**kept, "seq": event.ts, **_columns(own, traits)})
    # A statement cannot write one key twice; of an event that is there twice the later row counts.
    return {
        table: list({tuple(row[name] for name in table.key): row for row in listed}.values())
        for table, listed in rows.items()
    }


def _call(event: SyncedEvent, message: Mapping[str, Any]) -> dict[str, Any]:
    received = message.get("receivedAt")
    return {
        "id": event.id,
        "segment_id": event.segment_id,
        "event_source_id": event.source_id,
        "user_id": _text(message.get("userId")),
        "anonymous_id": _text(message.get("anonymousId")),
        "received_at": datetime.fromisoformat(received) if received else None,
        "timestamp": from_milliseconds(event.ts),
    }


def _columns(table: SyncTable, parts: Mapping[str, Any]) -> dict[str, str]:
    """{column: text} of what lies in objects, by the names of these and their own."""
    columns: dict[str, str] = {}
    for prefix, values in parts.items():
        if isinstance(values, dict):
            for path, value in _leaves(values, (prefix,) if prefix else ()):
                name = "_".join(map(name_of, path))
                # Each part may be short enough, and all of them together too long.
                name = name if len(name.encode()) <= 60 else name_of(name)
                # What is called as a column of the table's own must not take its place.
                name = f"property_{name}" if name in table.columns or name == "uuid_ts" else name
                columns[name] = as_text(value)
    return columns


def _leaves(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value and len(path) < DEEPEST:
            yield from _leaves(value, (*path, name))
        elif value is not None:
            yield (*path, name), value


def _add(rows: Rows, table: SyncTable, row: Row) -> None:
    rows.setdefault(table, []).append(row)


def more_columns(rows: Iterable[Row], table: SyncTable, known: Sequence[str]) -> list[str]:
    """Columns of a wide table that it does not have yet; no more than it may have."""
    names = dict.fromkeys(name for row in rows for name in row if name not in table.columns)
    new = [name for name in names if name not in set(known)]
    return new[: max(MOST_COLUMNS - len(known), 0)]


def as_text(value: Any) -> str:
    """Text as it is, everything else as JSON."""
    return storable(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _text(value: Any) -> str | None:
    return None if value is None else as_text(value)
