"""PURE. A resolved batch as the columns of the event tables: made from archived rows and what was decided, only."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy
import pyarrow

from identity.rules.graph import NO_PROFILE
from identity.rules.messages import ArchivedEvent, owner_of_traits
from identity.rules.policy import Identifier
from sources.events.properties import readable

TIMES = pyarrow.timestamp("ms", tz="UTC")
PAIR = pyarrow.schema([("type", pyarrow.string()), ("value", pyarrow.string())])
RENAMED = {"piece": "origin_piece", "position": "origin_position"}
COMMON = ("position", "profile", "ts", "source", "origin_piece", "origin_position")
NAMED = (*COMMON, "type", "event", "message_id")
FIRST = ("first_piece", "first_position")


@dataclass(frozen=True)
class ResolvedRows:
    """Archived rows with their events. position: where each is in the batch. profile: its number, or NO_PROFILE.

    accounts: of group calls, by position.
    """

    rows: pyarrow.Table
    events: Sequence[ArchivedEvent]
    position: numpy.ndarray
    profile: numpy.ndarray
    accounts: Mapping[int, int]

    @cached_property
    def columns(self) -> pyarrow.Table:
        """Everything that any of the tables takes, for all rows."""
        archived = ("source", "piece", "position", "message_id", "message", *self.first)
        return pyarrow.table(
            {RENAMED.get(name, name): self.rows[name] for name in archived}
            | {
                "position": pyarrow.array(self.position, pyarrow.uint32()),
                "profile": pyarrow.array(self.profile, pyarrow.uint32()),
                "ts": self.rows["ts"].cast(TIMES),
                "type": pyarrow.array([event.type for event in self.events], pyarrow.string()),
                "event": pyarrow.array([event.event for event in self.events], pyarrow.string()),
                "properties_text": pyarrow.array([event.properties for event in self.events], pyarrow.binary()),
                "lists": pyarrow.array([event.lists for event in self.events], pyarrow.binary()),
                "identifiers": identifiers_column(self.events),
            }
        )

    @property
    def first(self) -> Sequence[str]:
        """Columns of where the rows were resolved first; none when that is now."""
        return [name for name in FIRST if name in self.rows.column_names]

    @cached_property
    def owned(self) -> numpy.ndarray:
        """The indexes of the rows that have a profile."""
        return numpy.flatnonzero(self.profile != NO_PROFILE)

    def take(self, names: Sequence[str], chosen: numpy.ndarray) -> pyarrow.Table:
        columns = self.columns.select(names)
        # Nearly always it is all of them, and taking copies every message of the batch.
        whole = len(chosen) == columns.num_rows and (chosen == numpy.arange(len(chosen))).all()
        return columns if whole else columns.take(pyarrow.array(chosen))


def resolved_rows(
    rows: pyarrow.Table,
    events: Sequence[ArchivedEvent],
    here: numpy.ndarray,
    within: range,
    profiles: bytes,
    accounts: bytes,
) -> ResolvedRows:
    """The part `within` of a batch. here: which of all its rows `rows` and `events` are."""
    # Places count all rows that were prepared, also those of a source that was deleted since: profiles go by them.
    position = numpy.flatnonzero(here)
    chosen = numpy.flatnonzero((position >= within.start) & (position < within.stop))
    position = position[chosen]
    whole = len(chosen) == rows.num_rows
    return ResolvedRows(
        rows=rows if whole else rows.take(pyarrow.array(chosen)),
        events=events if whole else [events[index] for index in chosen.tolist()],
        position=position,
        profile=numpy.frombuffer(profiles, "<u4")[position - within.start],
        accounts=dict(numpy.frombuffer(accounts, "<u4").reshape(-1, 2).tolist()),
    )


def identifiers_column(events: Sequence[ArchivedEvent]) -> pyarrow.Array:
    # Most sets of identifiers are there many times: each is made once and taken by its place.
    places: dict[tuple[Identifier, ...], int] = {}
    indexes = [places.setdefault(event.identifiers, len(places)) for event in events]
    columns = [[pair[place] for identifiers in places for pair in identifiers] for place in (0, 1)]
    pairs = pyarrow.StructArray.from_arrays([pyarrow.array(column, pyarrow.string()) for column in columns], PAIR.names)
    ends = numpy.cumsum([0, *map(len, places)], dtype="i4")
    return pyarrow.ListArray.from_arrays(ends, pairs).take(pyarrow.array(indexes, pyarrow.int32()))


def timeline(resolved: ResolvedRows) -> pyarrow.Table:
    """Every event that has a profile, once."""
    return resolved.take([*NAMED, "properties_text", "lists"], resolved.owned)


def profile_events(resolved: ResolvedRows, there: Sequence[int] = ()) -> pyarrow.Table:
    """The same, and each group call on the page of its account too. there: accounts whose pages have them already."""
    names = [*NAMED, "identifiers", "message", *resolved.first]
    owned = resolved.owned
    own = resolved.take(names, owned[~numpy.isin(resolved.profile[owned], list(there))] if there else owned)
    if not resolved.accounts:
        return own
    positions = resolved.position.tolist()
    accounts = numpy.array([resolved.accounts.get(position, NO_PROFILE) for position in positions], "<u4")
    # Where the caller's profile is the account itself the row is there already.
    chosen = numpy.flatnonzero((accounts != NO_PROFILE) & (accounts != resolved.profile))
    return pyarrow.concat_tables([own, _with_profile(resolved.take(names, chosen), accounts[chosen])])


def traits(resolved: ResolvedRows) -> pyarrow.Table:
    """A row for each trait of each identify and group call."""
    index, owners = array("q"), array("I")
    keys: list[str] = []
    values: list[bytes] = []
    for row, event in enumerate(resolved.events):
        if not event.traits:  # most events are no identify calls
            continue
        account = resolved.accounts.get(int(resolved.position[row]), NO_PROFILE)
        owner = owner_of_traits(event, int(resolved.profile[row]), account)
        if owner == NO_PROFILE:
            continue
        index.extend([row] * len(event.traits))
        owners.extend([owner] * len(event.traits))
        keys += event.traits.keys()
        values += map(readable, event.traits.values())
    common = _with_profile(resolved.take(COMMON, numpy.array(index)), numpy.array(owners, "<u4"))
    return common.append_column("key", pyarrow.array(keys, pyarrow.string())).append_column(
        "value", pyarrow.array(values, pyarrow.binary())
    )


def kept_traits(rows: pyarrow.Table, homes: Mapping[int, int]) -> pyarrow.Table:
    """Rows of `traits`, as they are there, of those who have them now. homes: by number, for those who are no more."""
    profiles = [homes.get(number, number) for number in rows["profile"].to_pylist()]
    columns = {name: rows[name] for name in (*COMMON, "key")} | {"value": rows["value"].cast(pyarrow.binary())}
    return pyarrow.table(columns | {"profile": pyarrow.array(profiles, pyarrow.uint32())})


def _with_profile(rows: pyarrow.Table, profile: numpy.ndarray) -> pyarrow.Table:
    place = rows.column_names.index("profile")
    return rows.set_column(place, "profile", pyarrow.array(profile, pyarrow.uint32()))


def profile_aliases(packed: bytes) -> pyarrow.Table:
    """packed: (loser, winner)."""
    return _numbers(packed, loser=pyarrow.uint32(), winner=pyarrow.uint32())


def links(packed: bytes) -> pyarrow.Table:
    """packed: (user, account)."""
    return _numbers(packed, user=pyarrow.uint32(), account=pyarrow.uint32())


def people(packed: bytes) -> pyarrow.Table:
    """packed: (number, kind, known)."""
    return _numbers(packed, profile=pyarrow.uint32(), kind=pyarrow.uint8(), known=pyarrow.uint8())


def pack(rows: Iterable[Sequence[int]]) -> bytes:
    """Rows of 32-bit numbers as bytes: a tenth of what a list would take in a decision."""
    return numpy.array(list(rows), "<u4").tobytes()


def _numbers(packed: bytes, **kinds: pyarrow.DataType) -> pyarrow.Table:
    table = numpy.frombuffer(packed, "<u4").reshape(-1, len(kinds))
    columns = [pyarrow.array(table[:, place].copy()).cast(kind) for place, kind in enumerate(kinds.values())]
    return pyarrow.table(columns, names=list(kinds))
