"""PURE. The events of a batch in order, and what becomes of each: whose it is, and which traits and links it brings."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import pyarrow

from identity.rules.decision import Identifier, Policy
from identity.rules.extract import SetAside
from identity.rules.graph import NOBODY, Graph
from identity.rules.messages import Message, Stamp, owner_of_traits, read
from spaces.text import storable

MILLISECONDS = pyarrow.timestamp("ms", tz="UTC")
LONGEST_ID = 200  # of a message, as the identity tables keep it
REMOVED = b"null"
Trait = tuple[Stamp, bytes]  # where its value is from, and its JSON text; REMOVED = taken off the profile
Traits = dict[str, Trait]


@dataclass
class Batch:
    """Archived rows as columns, and their messages. times in ms; batches, positions: where they are in the archive."""

    messages: list[Message]
    times: list[int]
    sources: list[int]
    pieces: list[int]
    positions: list[int]
    ids: list[str]

    def stamp(self, index: int) -> Stamp:
        return self.times[index], self.sources[index], self.pieces[index], self.positions[index]


@dataclass
class Resolution:
    """profiles: for each event the number of its profile, NOBODY when it has no usable identifier or stays out.

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


def batch(rows: pyarrow.Table, policy: Policy) -> Batch:
    """Columns of `sources.events.archive_table.read_live`. Raises ValueError when a message cannot be read."""
    return Batch(
        messages=read(rows["message"].cast(pyarrow.binary()).to_pylist(), policy),
        times=rows["ts"].cast(MILLISECONDS).cast(pyarrow.int64()).to_pylist(),
        sources=rows["source"].to_pylist(),
        pieces=rows["piece"].to_pylist(),
        positions=rows["position"].to_pylist(),
        ids=[storable(id)[:LONGEST_ID] for id in rows["message_id"].to_pylist()],
    )


def resolve(graph: Graph, events: Batch) -> Resolution:
    """Every event is with its profile; `graph` holds what has to be written."""
    found = Resolution()
    for index, (message, at) in enumerate(zip(events.messages, events.times, strict=True)):
        user = graph.resolve(message.user, at, index)
        if message.set_aside:
            beside = message.user or ((message.account,) if message.account else ())
            found.set_aside.setdefault(beside, {}).update(dict.fromkeys(message.set_aside))
        if message.account:
            account = found.accounts[index] = graph.resolve((message.account,), at, index)
            if user:
                found.links[user, account] = min(at, found.links.get((user, account), at))
        owner = user or found.accounts.get(index, NOBODY)
        found.profiles.append(owner)
        if owner == NOBODY and not message.stays_out:
            found.refused.append(index)
        if owner := owner_of_traits(message, user, found.accounts.get(index, NOBODY)):
            _learn(found.traits.setdefault(owner, {}), message.traits, events.stamp(index))
    return found


def _learn(known: Traits, sent: Mapping[str, bytes], stamp: Stamp) -> None:
    for key, value in sent.items():
        old = known.get(key)
        if old is None or old[0] < stamp:
            known[key] = (stamp, value)


def newest(parts: Iterable[Traits]) -> Traits:
    """Of each key the newest by event time; of two at one time the later in the archive."""
    together: Traits = {}
    for part in parts:
        for key, trait in part.items():
            old = together.get(key)
            if old is None or old[0] < trait[0]:
                together[key] = trait
    return together


def differing(old: Traits, new: Traits) -> list[str]:
    """The keys whose value is another one now; one that only was seen again is not among them."""
    return [
        key for key, trait in new.items() if (before := old.get(key)) is not trait and _plain(before) != _plain(trait)
    ]


def _plain(trait: Trait | None) -> bytes:
    """A value in one spelling: PostgreSQL gives JSON back with other blanks."""
    if trait is None:
        return REMOVED
    return msgspec.json.encode(msgspec.json.decode(trait[1]), order="deterministic")


def stored(values: str, seen: str) -> Traits:
    """Traits from a profile's two columns, as JSON text."""
    texts = msgspec.json.decode(values, type=dict[str, msgspec.Raw])
    stamps = msgspec.json.decode(seen, type=dict[str, Stamp])
    return {key: (stamp, bytes(texts[key]) if key in texts else REMOVED) for key, stamp in stamps.items()}


def unstored(traits: Traits) -> tuple[str, str]:
    """The two columns of these traits: the values without what was removed, and when each was seen, with it."""
    texts = {key: msgspec.Raw(value) for key, (_, value) in traits.items() if value != REMOVED}
    stamps = {key: stamp for key, (stamp, _) in traits.items()}
    return msgspec.json.encode(texts).decode(), msgspec.json.encode(stamps).decode()
