"""PURE. The events of a batch in order, and what becomes of each: whose it is, and which traits and links it brings."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import pyarrow

from identity.rules.extract import SetAside
from identity.rules.graph import NO_PROFILE, IdentityGraph
from identity.rules.messages import ArchivedEvent, Stamp, owner_of_traits, read_events
from identity.rules.policy import Identifier, Policy
from spaces.text import storable

MILLISECONDS = pyarrow.timestamp("ms", tz="UTC")
LONGEST_ID = 200  # of a message, as the identity tables keep it
REMOVED = b"null"
Trait = tuple[Stamp, bytes]  # where its value is from, and its JSON text; REMOVED = taken off the profile
Traits = dict[str, Trait]


@dataclass
class EventBatch:
    """Archived rows as columns. times in ms; pieces, positions: where they are in the archive."""

    events: list[ArchivedEvent]
    times: list[int]
    sources: list[int]
    pieces: list[int]
    positions: list[int]
    ids: Sequence[str]

    def stamp(self, index: int) -> Stamp:
        return self.times[index], self.sources[index], self.pieces[index], self.positions[index]

    def place(self, index: int) -> tuple[int, int, int]:
        return self.sources[index], self.pieces[index], self.positions[index]


@dataclass
class Resolution:
    """profiles: for each event the number of its profile, NO_PROFILE when it has no usable identifier or stays out.

    accounts: the account of each group call, by index. links: (user, account) -> event time of the first.
    traits: by profile number of the moment, the newest of each key. refused: the events that have no usable identifier
    though they ask to be in spaces. set_aside: what came with each set of identifiers and is not used.
    """

    profiles: "array[int]" = field(default_factory=lambda: array("I"))
    accounts: dict[int, int] = field(default_factory=dict)
    links: dict[tuple[int, int], int] = field(default_factory=dict)
    traits: dict[int, Traits] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    set_aside: dict[tuple[Identifier, ...], dict[SetAside, None]] = field(default_factory=dict)

    def learn(self, owner: int, event: ArchivedEvent, stamp: Stamp) -> None:
        """The event's traits are the owner's, where it is the newest that says something of them."""
        known = self.traits.setdefault(owner, {})
        for key, value in event.traits.items():
            before = known.get(key)
            # By event time, then by place: an old event that arrives late never overwrites a newer value.
            if before is None or before[0] < stamp:
                known[key] = (stamp, value)


def event_batch(rows: pyarrow.Table, policy: Policy) -> EventBatch:
    """From columns of `sources.events.archive_table.read_live`. Raises ValueError when a message cannot be read."""
    return EventBatch(
        events=read_events(rows["message"].cast(pyarrow.binary()).to_pylist(), policy),
        times=rows["ts"].cast(MILLISECONDS).cast(pyarrow.int64()).to_pylist(),
        sources=rows["source"].to_pylist(),
        pieces=rows["piece"].to_pylist(),
        positions=rows["position"].to_pylist(),
        ids=[storable(id)[:LONGEST_ID] for id in rows["message_id"].to_pylist()],
    )


def resolve(graph: IdentityGraph, batch: EventBatch, accounts: Mapping[str, int] | None = None) -> Resolution:
    """Every event is with its profile; `graph` holds what has to be written.

    accounts: numbers by group ids, where users are resolved once more, and accounts with what they have stay as they
    are.
    """
    resolution = Resolution()
    for index, (event, at) in enumerate(zip(batch.events, batch.times, strict=True)):
        user = graph.resolve(event.user, at, index)
        account = NO_PROFILE
        # Two resolutions, never one: the account's id and its members' ids must not come together in one profile.
        if event.account:
            if accounts is None:
                account = resolution.accounts[index] = graph.resolve((event.account,), at, index)
            else:
                account = accounts.get(event.account[1], NO_PROFILE)
            if user and account:
                resolution.links[user, account] = min(at, resolution.links.get((user, account), at))
        if event.set_aside:  # kept beside the set that was used: that is where somebody will look for it
            beside = event.user or ((event.account,) if event.account else ())
            resolution.set_aside.setdefault(beside, {}).update(dict.fromkeys(event.set_aside))
        resolution.profiles.append(user or account)
        if not (user or account or event.stays_out):  # who asks to stay out is no reject
            resolution.refused.append(index)
        owner = owner_of_traits(event, user, account)
        if owner and (accounts is None or owner == user):
            resolution.learn(owner, event, batch.stamp(index))
    return resolution


def newest(parts: Iterable[Traits]) -> Traits:
    """Of each key the newest by event time; of two at one time the later in the archive."""
    merged: Traits = {}
    for part in parts:
        for key, trait in part.items():
            before = merged.get(key)
            if before is None or before[0] < trait[0]:
                merged[key] = trait
    return merged


def differing(old: Traits, new: Traits) -> list[str]:
    """The keys whose value is another one now; one that only was seen again is not among them."""
    return [
        key
        for key, trait in new.items()
        if (before := old.get(key)) is not trait and _normalized(before) != _normalized(trait)
    ]


def _normalized(trait: Trait | None) -> bytes:
    """A value in one spelling: PostgreSQL gives JSON back with other blanks."""
    if trait is None:
        return REMOVED
    return msgspec.json.encode(msgspec.json.decode(trait[1]), order="deterministic")


def from_columns(values: str, seen: str) -> Traits:
    """Traits from a profile's two columns, as JSON text."""
    texts = msgspec.json.decode(values, type=dict[str, msgspec.Raw])
    stamps = msgspec.json.decode(seen, type=dict[str, Stamp])
    return {key: (stamp, bytes(texts[key]) if key in texts else REMOVED) for key, stamp in stamps.items()}


def to_columns(traits: Traits) -> tuple[str, str]:
    """The two columns of these traits: the values without what was removed, and when each was seen, with it."""
    # What was removed has a time and no value: forgotten, an older value that comes late would bring it back.
    texts = {key: msgspec.Raw(value) for key, (_, value) in traits.items() if value != REMOVED}
    stamps = {key: stamp for key, (stamp, _) in traits.items()}
    return msgspec.json.encode(texts).decode(), msgspec.json.encode(stamps).decode()
