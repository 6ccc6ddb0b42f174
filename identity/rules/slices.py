"""PURE. A slice of a replay, resolved by its different texts: what each says is read once, and decided where it may
change anything. What comes of it is what `resolution.resolve` makes of the same rows, one by one.

Of most rows nothing but their identifiers is asked here, and most sets of identifiers are there many times. A set that
was accepted whole stays together: its next row changes nothing, and is with wherever its profile went in the meantime.
So rows are looked at when their set comes for the first time, and as long as something of it is refused.
"""

import heapq
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy
import pyarrow

from identity.rules import event_rows
from identity.rules.extract import identifiers
from identity.rules.graph import NO_PROFILE, IdentityGraph
from identity.rules.messages import NO_TRAITS, ArchivedEvent, owner_of_traits, read_events
from identity.rules.policy import Identifier, Policy
from identity.rules.resolution import LONGEST_ID, MILLISECONDS, EventBatch, Resolution
from spaces.text import storable

REMEMBERED = 200_000  # texts of plain messages, per process
ONLY_IDENTIFIERS = b""  # instead of properties and lists: they are copied, and nobody reads them here
NO_SET = -1


@dataclass
class SliceRows(EventBatch):
    """Rows in event order. events: what the different texts say; which: for each row, whose it is of these."""

    which: numpy.ndarray

    def event(self, index: int) -> ArchivedEvent:
        return self.events[self.which[index]]


@dataclass(frozen=True)
class _Ids(Sequence[str]):
    """Message ids as the identity tables keep them, made when they are asked for: few ever are."""

    column: pyarrow.Array

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        return storable(self.column[index].as_py())[:LONGEST_ID]


def slice_rows(rows: pyarrow.Table, policy: Policy) -> SliceRows:
    """From columns of `sources.events.plain_rows.read_replay_texts`. Raises ValueError as `read_events`."""
    texts = rows["text"].combine_chunks().dictionary_encode()
    which = texts.indices.to_numpy()
    # A text is plain in all of its rows: one that has more in it than inputs is not plain.
    is_plain = numpy.zeros(len(texts.dictionary), bool)
    is_plain[which] = rows["plain"].to_numpy()
    return SliceRows(
        events=[
            _plain_event(text, policy) if plain else read_events([text], policy)[0]
            for text, plain in zip(texts.dictionary.cast(pyarrow.binary()).to_pylist(), is_plain.tolist(), strict=True)
        ],
        times=rows["ts"].cast(MILLISECONDS).cast(pyarrow.int64()).to_numpy().tolist(),
        sources=rows["source"].to_numpy().tolist(),
        pieces=rows["piece"].to_numpy().tolist(),
        positions=rows["position"].to_numpy().tolist(),
        ids=_Ids(rows["message_id"].combine_chunks()),
        which=which,
    )


@lru_cache(REMEMBERED)  # in the next slice most of the same people do something
def _plain_event(text: bytes, policy: Policy) -> ArchivedEvent:
    message = msgspec.json.decode(text)
    extracted = identifiers(message, policy)
    return ArchivedEvent(
        type=message["type"],
        event="",
        user=extracted.user,
        account=extracted.account,
        properties=ONLY_IDENTIFIERS,
        lists=ONLY_IDENTIFIERS,
        traits=NO_TRAITS,
        set_aside=extracted.blocked,
    )


def resolve_slice(graph: IdentityGraph, batch: SliceRows) -> Resolution:
    """Every row is with its profile; `graph` holds what has to be written."""
    resolution = Resolution()
    sets: dict[tuple[Identifier, ...], int] = {}
    user_sets = numpy.array(
        [sets.setdefault(event.user, len(sets)) if event.user else NO_SET for event in batch.events], "i8"
    )
    account_sets = numpy.array(
        [sets.setdefault((event.account,), len(sets)) if event.account else NO_SET for event in batch.events], "i8"
    )
    of_rows = numpy.empty(2 * len(batch.which), "i8")
    # Each row has two places, one after the other: its user is resolved before its account.
    of_rows[0::2], of_rows[1::2] = user_sets[batch.which], account_sets[batch.which]
    numbers = _resolved(graph, batch, [*sets], of_rows)
    users, accounts = numbers[0::2], numbers[1::2]
    profiles = numpy.where(users, users, accounts)
    resolution.profiles = array("I", profiles.astype("<u4").tobytes())
    for index in numpy.flatnonzero(account_sets[batch.which] != NO_SET).tolist():
        user, account = int(users[index]), int(accounts[index])
        resolution.accounts[index] = account
        if user and account:
            at = batch.times[index]
            resolution.links[user, account] = min(at, resolution.links.get((user, account), at))
    for event in batch.events:  # in the order in which they first came
        if event.set_aside:
            beside = event.user or ((event.account,) if event.account else ())
            resolution.set_aside.setdefault(beside, {}).update(dict.fromkeys(event.set_aside))
    stays_out = numpy.array([event.stays_out for event in batch.events], bool)
    resolution.refused = numpy.flatnonzero((profiles == NO_PROFILE) & ~stays_out[batch.which]).tolist()
    has_traits = numpy.array([bool(event.traits) for event in batch.events], bool)
    for index in numpy.flatnonzero(has_traits[batch.which]).tolist():
        event = batch.event(index)
        owner = owner_of_traits(event, int(users[index]), int(accounts[index]))
        if owner:
            resolution.learn(owner, event, batch.stamp(index))
    return resolution


def _resolved(
    graph: IdentityGraph, batch: SliceRows, sets: list[tuple[Identifier, ...]], of_places: numpy.ndarray
) -> numpy.ndarray:
    """For each place the number of its profile when its turn came. of_places: of each place which set, or NO_SET."""
    order = numpy.argsort(of_places, kind="stable")
    order = order[numpy.searchsorted(of_places[order], 0) :]  # by set, those of one set in their order
    starts = numpy.searchsorted(of_places[order], numpy.arange(len(sets) + 1))
    numbers = numpy.zeros(len(of_places), "u4")
    begins = starts.tolist()
    looked_at = begins[:-1]  # of each set, which of its places in `order` was looked at last
    queue = [(place, number) for number, place in enumerate(order[starts[:-1]].tolist())]
    heapq.heapify(queue)
    while queue:
        place, number = heapq.heappop(queue)
        identifiers, index = sets[number], place >> 1
        numbers[place] = graph.resolve(identifiers, batch.times[index], index)
        at = looked_at[number]
        if graph.seen_sets[identifiers].refused and at + 1 < begins[number + 1]:
            looked_at[number] = at + 1
            heapq.heappush(queue, (int(order[at + 1]), number))
    # Whoever was not looked at is with the node that its set was accepted by, as far as that had come by then.
    counts, looked_at_last = numpy.diff(starts), numpy.array(looked_at, "i8")
    others = numpy.arange(len(order)) > numpy.repeat(looked_at_last, counts)
    seen_sets = [graph.seen_sets[identifiers] for identifiers in sets]
    accepted = numpy.array([seen.node.number for seen in seen_sets], "u4")
    numbers[order[others]] = numpy.repeat(accepted, counts)[others]
    merged_at = {pair.loser: pair.index for pair in graph.merged}
    lasts = (order[starts[1:] - 1] >> 1).tolist()
    for number, (seen, last) in enumerate(zip(seen_sets, lasts, strict=True)):
        seen.events, seen.last, seen.last_index = begins[number + 1] - begins[number], batch.times[last], last
        while seen.node.merged_into and merged_at[seen.node.number] < last:
            rest = order[looked_at[number] + 1 : begins[number + 1]]
            later = numpy.searchsorted(rest >> 1, merged_at[seen.node.number], side="right")
            seen.node = seen.node.merged_into
            numbers[rest[later:]] = seen.node.number
    return numbers


def parted(
    rows: pyarrow.Table, slice: SliceRows, here: numpy.ndarray, within: range, profiles: bytes, accounts: bytes
) -> tuple[pyarrow.Table, event_rows.ResolvedRows]:
    """The part `within` of a slice: the plain rows as `sources.events.plain_rows.copy` takes them, and the others."""
    is_plain = rows["plain"].to_numpy().astype(bool)
    # Whatever ClickHouse cannot copy by itself takes the way of live events.
    indexes = numpy.flatnonzero(~is_plain)
    position = numpy.flatnonzero(here)
    # Among all rows that were prepared, since profiles are counted by these.
    is_other = numpy.zeros(len(here), bool)
    is_other[position[indexes]] = True
    names = ["source", "piece", "position", "ts", "message_id", "text"]
    others = rows.select(names).take(pyarrow.array(indexes)).rename_columns([*names[:-1], "message"])
    rest = event_rows.resolved_rows(
        others, [slice.event(index) for index in indexes.tolist()], is_other, within, profiles, accounts
    )
    chosen = numpy.flatnonzero(is_plain & (position >= within.start) & (position < within.stop))
    profile = numpy.frombuffer(profiles, "<u4")[position[chosen] - within.start]
    # Rows that are nobody's are rejects, and in no table.
    chosen, profile = chosen[profile != NO_PROFILE], profile[profile != NO_PROFILE]
    copied = rows.select(["source", "piece", "position", "ts"]).take(pyarrow.array(chosen))
    plain = {event_rows.RENAMED.get(name, name): copied[name] for name in copied.column_names} | {
        "position": pyarrow.array(position[chosen], pyarrow.uint32()),
        "profile": pyarrow.array(profile, pyarrow.uint32()),
        "identifiers": event_rows.identifiers_column(slice.events).take(pyarrow.array(slice.which[chosen])),
    }
    return pyarrow.table(plain), rest
