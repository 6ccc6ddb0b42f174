"""PURE. A resolved batch as the columns of the event tables: made from archived rows and what was decided, only."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy
import pyarrow

from identity.rules.decision import Identifier
from identity.rules.graph import NOBODY
from identity.rules.messages import Message, owner_of_traits
from sources.events.properties import readable

TIMES = pyarrow.timestamp("ms", tz="UTC")
PAIRS = pyarrow.list_(pyarrow.struct([("type", pyarrow.string()), ("value", pyarrow.string())]))
RENAMED = {"piece": "origin_piece", "position": "origin_position"}
COMMON = ("position", "profile", "ts", "source", "origin_piece", "origin_position")
NAMED = (*COMMON, "type", "event", "message_id")


@dataclass(frozen=True)
class Resolved:
    """Archived rows with their messages. position: where each is in the batch. profile: its number, or NOBODY.

    accounts: of group calls, by position.
    """

    rows: pyarrow.Table
    messages: Sequence[Message]
    position: numpy.ndarray
    profile: numpy.ndarray
    accounts: Mapping[int, int]

    @cached_property
    def columns(self) -> pyarrow.Table:
        """Everything that any of the tables takes, for all rows."""
        archived = ("source", "piece", "position", "message_id", "message")
        return pyarrow.table(
            {RENAMED.get(name, name): self.rows[name] for name in archived}
            | {
                "position": pyarrow.array(self.position, pyarrow.uint32()),
                "profile": pyarrow.array(self.profile, pyarrow.uint32()),
                "ts": self.rows["ts"].cast(TIMES),
                "type": pyarrow.array([message.type for message in self.messages], pyarrow.string()),
                "event": pyarrow.array([message.event for message in self.messages], pyarrow.string()),
                "properties_text": pyarrow.array([message.properties for message in self.messages], pyarrow.binary()),
                "lists": pyarrow.array([message.lists for message in self.messages], pyarrow.binary()),
                "identifiers": _identifiers([message.identifiers for message in self.messages]),
            }
        )

    @cached_property
    def owned(self) -> numpy.ndarray:
        """The indexes of the rows that have a profile."""
        return numpy.flatnonzero(self.profile != NOBODY)

    def take(self, names: Sequence[str], chosen: numpy.ndarray) -> pyarrow.Table:
        columns = self.columns.select(names)
        whole = len(chosen) == columns.num_rows and (chosen == numpy.arange(len(chosen))).all()
        return columns if whole else columns.take(pyarrow.array(chosen))


def resolved(
    rows: pyarrow.Table,
    messages: Sequence[Message],
    here: numpy.ndarray,
    within: range,
    profiles: bytes,
    accounts: bytes,
) -> Resolved:
    """The part `within` of a batch. here: which of all its rows `rows` and `messages` are."""
    position = numpy.flatnonzero(here)
    chosen = numpy.flatnonzero((position >= within.start) & (position < within.stop))
    position = position[chosen]
    whole = len(chosen) == rows.num_rows
    return Resolved(
        rows=rows if whole else rows.take(pyarrow.array(chosen)),
        messages=messages if whole else [messages[index] for index in chosen.tolist()],
        position=position,
        profile=numpy.frombuffer(profiles, "<u4")[position - within.start],
        accounts=dict(numpy.frombuffer(accounts, "<u4").reshape(-1, 2).tolist()),
    )


def timeline(events: Resolved) -> pyarrow.Table:
    """Every event that has a profile, once."""
    return events.take([*NAMED, "properties_text", "lists"], events.owned)


def profile_events(events: Resolved) -> pyarrow.Table:
    """The same, and each group call on the page of its account too."""
    names = [*NAMED, "identifiers", "message"]
    own = events.take(names, events.owned)
    if not events.accounts:
        return own
    accounts = numpy.array([events.accounts.get(position, NOBODY) for position in events.position.tolist()], "<u4")
    chosen = numpy.flatnonzero((accounts != NOBODY) & (accounts != events.profile))
    return pyarrow.concat_tables([own, _with_profile(events.take(names, chosen), accounts[chosen])])


def traits(events: Resolved) -> pyarrow.Table:
    """A row for each trait of each identify and group call."""
    index, owners = array("q"), array("I")
    keys: list[str] = []
    values: list[bytes] = []
    for row, message in enumerate(events.messages):
        if not message.traits:
            continue
        account = events.accounts.get(int(events.position[row]), NOBODY)
        owner = owner_of_traits(message, int(events.profile[row]), account)
        if owner == NOBODY:
            continue
        index.extend([row] * len(message.traits))
        owners.extend([owner] * len(message.traits))
        keys += message.traits.keys()
        values += map(readable, message.traits.values())
    common = _with_profile(events.take(COMMON, numpy.array(index)), numpy.array(owners, "<u4"))
    return common.append_column("key", pyarrow.array(keys, pyarrow.string())).append_column(
        "value", pyarrow.array(values, pyarrow.binary())
    )


def _with_profile(rows: pyarrow.Table, profile: numpy.ndarray) -> pyarrow.Table:
    place = rows.column_names.index("profile")
    return rows.set_column(place, "profile", pyarrow.array(profile, pyarrow.uint32()))


def overlay(packed: bytes) -> pyarrow.Table:
    """packed: (loser, winner)."""
    return _numbers(packed, loser=pyarrow.uint32(), winner=pyarrow.uint32())


def people(packed: bytes) -> pyarrow.Table:
    """packed: (number, kind, known)."""
    return _numbers(packed, profile=pyarrow.uint32(), kind=pyarrow.uint8(), known=pyarrow.uint8())


def pack(rows: Iterable[Sequence[int]]) -> bytes:
    """Rows of 32-bit numbers as bytes: a tenth of what a list would take in a decision."""
    return numpy.array(list(rows), "<u4").tobytes()


def _identifiers(sets: list[tuple[Identifier, ...]]) -> pyarrow.Array:
    """Most sets are there many times."""
    place: dict[tuple[Identifier, ...], int] = {}
    indexes = [place.setdefault(each, len(place)) for each in sets]
    few = pyarrow.array([[{"type": type, "value": value} for type, value in each] for each in place], PAIRS)
    return few.take(pyarrow.array(indexes, pyarrow.int32()))


def _numbers(packed: bytes, **kinds: pyarrow.DataType) -> pyarrow.Table:
    table = numpy.frombuffer(packed, "<u4").reshape(-1, len(kinds))
    columns = [pyarrow.array(table[:, place].copy()).cast(kind) for place, kind in enumerate(kinds.values())]
    return pyarrow.table(columns, names=list(kinds))
