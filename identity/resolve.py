"""The resolve stage: one log per space, from archived events to profiles, timeline and change sets.

Batches are of several kinds. Live events, of which most are, are here with what all kinds share: who follows an event
reads no other. `identity.resolve_stage` names all kinds, and who is asked first for the next batch.
"""

import gc
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy
import pyarrow
from pyroaring import BitMap

from identity import graph_store
from identity.graph_store import NO_IDENTIFIERS, Written
from identity.models import ChangeSet
from identity.prepared import LiveRange, PreparedResolve, Taken, taken
from identity.rules import event_rows
from identity.rules.graph import IdentityGraph
from identity.rules.messages import read_events
from identity.rules.policy import Policy, policy_of
from identity.rules.resolution import EventBatch, Resolution, differing, event_batch, resolve
from identity.rules.splits import split_index
from sources.consumption import consume_live, places
from sources.events import archive_table, client, timeline
from sources.events.archive_table import LogPlace, up_to
from sources.events.schema import LINKS, OVERLAY, PROFILE_EVENTS, PROFILES, TIMELINE, TRAITS, Table
from sources.models import ARCHIVE, Connection, Source
from spaces.batches import visible_logs
from spaces.models import Log, Space

NAME = "resolve"
UNUSABLE = "No matching identifiers on event: what it carries is missing or blocked."
UNWRITABLE = "unstorable"


class RowsLost(Exception):
    """The archive does not give back the rows that were prepared on."""


@dataclass
class Intake:
    """What was read for a space. rows: None when there are no events in it."""

    kind: "BatchKind"
    space: Space
    taken: Taken
    rows: pyarrow.Table | None = None


AskedForBatch = Callable[[Log, Space, int], Intake | None]  # with how many rows there may be; None = nothing to do


class BatchKind:
    """What batches of one kind take, what becomes of it, and what else is true when they are committed.

    By itself it is the kind of those without events: nothing but numbers, which every kind may have.
    """

    def __init__(self) -> None:
        # A stage is one object for the whole process: what was prepared last is each thread's own.
        self._thread = threading.local()

    def owns(self, prepared: PreparedResolve) -> bool:
        """Whether the batch, which any process of any release prepared, is of this kind."""
        return True

    def next(self, log: Log, space: Space, limit: int) -> Intake | None:
        """What there is to do, at most so many rows; None when nothing."""
        return None

    def prepare(self, log: Log, intake: Any, number: int) -> PreparedResolve:
        return PreparedResolve(intake.taken)

    def tables(self, log: Log, prepared: PreparedResolve, number: int) -> dict[Table, pyarrow.Table]:
        """What its events bring to ClickHouse, by table."""
        return {}

    def read_taken(self, log: Log, taken: Taken) -> pyarrow.Table:
        """Its rows as the archive has them, without those that it does not have any more."""
        raise NotImplementedError

    def archived(self, log: Log, prepared: PreparedResolve) -> pyarrow.Table:
        """The rows [start, stop) of them."""
        raise NotImplementedError

    def commit(self, log: Log, prepared: PreparedResolve, number: int) -> None:
        self.move(log, prepared)

    def move(self, log: Log, prepared: PreparedResolve) -> None:
        """What was taken is done, as far as anyone can see."""

    def take(self, log: Log, taken: Taken) -> None:
        """Nobody else resolves these."""

    def count(self, prepared: PreparedResolve) -> None:
        """So many more are done."""

    def remember(self, prepared: PreparedResolve, *read: Any) -> None:
        """What was read for it need not be read again to write it, if this thread does that."""
        self._thread.last = (prepared.taken, prepared.policy, prepared.again), read

    def remembered(self, prepared: PreparedResolve) -> tuple[Any, ...] | None:
        # The rules are part of it: identifiers on the events are those that the rules of the time found on them.
        whose, read = getattr(self._thread, "last", None) or (None, None)
        return read if whose == (prepared.taken, prepared.policy, prepared.again) else None

    def forget(self) -> None:
        self._thread.last = None


class ArchivedEvents(BatchKind):
    """Batches of events from the archive."""

    def prepare(self, log: Log, intake: Any, number: int) -> PreparedResolve:
        space, rows = intake.space, intake.rows
        with _no_garbage_collection():
            policy = policy_of(space.identity_policy)
            batch = self.batch(rows, policy)
            self.take(log, intake.taken)
            by_hand = split_index(graph_store.active_splits(space))
            graph = graph_store.load(space, batch.events, policy, by_hand)  # from here on it is this batch's
            resolution = self.resolve(graph, batch)
            written = graph_store.record(space, number, graph, batch, resolution)
            refused = self.refused(space, rows, batch, resolution.refused)
            graph_store.reject(space.pk, refused, code=NO_IDENTIFIERS, reason=UNUSABLE)
            prepared = PreparedResolve(
                intake.taken,
                stop=intake.taken.rows,
                profiles=numpy.array(resolution.profiles, "<u4").tobytes(),
                accounts=event_rows.pack(resolution.accounts.items()),
                aliases=event_rows.pack(written.aliases),
                people=event_rows.pack(written.people),
                links=event_rows.pack(written.links),
                change_sets=self.change_sets(batch, resolution, written),
                policy=space.identity_policy,
            )
            self.remember(prepared, rows, batch)
            return prepared

    def batch(self, rows: pyarrow.Table, policy: Policy) -> EventBatch:
        return event_batch(rows, policy)

    def resolve(self, graph: IdentityGraph, batch: Any) -> Resolution:
        return resolve(graph, batch)

    def refused(self, space: Space, rows: pyarrow.Table, batch: EventBatch, indexes: list[int]) -> pyarrow.Table:
        """These rows, with what a reject keeps of them."""
        return rows.take(pyarrow.array(indexes, pyarrow.int64()))

    def change_sets(self, batch: EventBatch, resolution: Resolution, written: Written) -> dict[str, bytes]:
        return changed(batch, resolution, written)

    def tables(self, log: Log, prepared: PreparedResolve, number: int) -> dict[Table, pyarrow.Table]:
        return tables_of(self.resolved_rows(log, prepared)) if prepared.part else {}

    def resolved_rows(self, log: Log, prepared: PreparedResolve) -> event_rows.ResolvedRows:
        """The prepared rows, with the profiles it gave them."""
        if read := self.remembered(prepared):
            rows, events, here = read[0], read[1].events, numpy.ones(read[0].num_rows, bool)
        else:
            rows, here = self.read_again(log, prepared)
            events = read_events(rows["message"].cast(pyarrow.binary()).to_pylist(), policy_of(prepared.policy))
        return event_rows.resolved_rows(rows, events, here, prepared.part, prepared.profiles, prepared.accounts)

    def archived(self, log: Log, prepared: PreparedResolve) -> pyarrow.Table:
        return self.resolved_rows(log, prepared).rows

    def read_again(self, log: Log, prepared: PreparedResolve) -> tuple[pyarrow.Table, numpy.ndarray]:
        """The rows of the batch, read a second time, and for each row taken whether it is still there.

        Rows of a source that was deleted meanwhile are not there. Raises RowsLost when others are missing.
        """
        return still_there(prepared.taken, self.read_taken(log, prepared.taken))


class LiveEvents(ArchivedEvents):
    """What sources send now: the rows after each live connection's place, in log order."""

    def owns(self, prepared: PreparedResolve) -> bool:
        return bool(prepared.taken.live)

    def next(self, log: Log, space: Space, limit: int) -> Intake | None:
        connections = Connection.objects.filter(space=space, state=Connection.State.LIVE).order_by("source_id")
        # Each gives one row at least, so a batch of few rows is of as few sources.
        starts = [start for start in places(list(connections)) if start.has_more][:limit]
        if not starts:
            return None
        rows, ends = archive_table.read_live(space.workspace_id, starts, limit)
        ranges = [
            LiveRange(start.log.partition, start.piece, start.position, end.piece, end.position)
            for start, end in zip(starts, ends, strict=True)
        ]
        return Intake(self, space, taken(rows, live=ranges), rows)

    def read_taken(self, log: Log, taken: Taken) -> pyarrow.Table:
        logs = visible_logs(stage=ARCHIVE, partitions=[live.source for live in taken.live])
        starts = [
            LogPlace(up_to(logs[live.source], live.piece), live.after_piece, live.after_position) for live in taken.live
        ]
        rows, _ = archive_table.read_live(log.workspace_id, starts, 2**31)  # more than there are: the ends say how far
        # Read up to the ends of the batches: of the last one only the first rows may have been taken.
        within = numpy.zeros(rows.num_rows, bool)
        source, piece, position = (rows[name].to_numpy() for name in ("source", "piece", "position"))
        for live in taken.live:
            within |= (source == live.source) & ((piece < live.piece) | (position <= live.position))
        return rows.filter(pyarrow.array(within))

    def move(self, log: Log, prepared: PreparedResolve) -> None:
        for live in prepared.taken.live if prepared.whole else ():
            start, end = (live.after_piece, live.after_position), (live.piece, live.position)
            consume_live(log.partition, live.source, start, end)


class ResolveStage:
    """spaces.batches.Stage. asked: for the next batch, the first of them first. kinds: of all batches there may be."""

    name = NAME
    prepared = PreparedResolve

    def __init__(self, asked: Sequence[AskedForBatch], kinds: Sequence[BatchKind], *, batch_size: int) -> None:
        self.asked, self.kinds, self.batch_size = asked, kinds, batch_size

    def read(self, log: Log, limit: int) -> Intake | None:
        self._forget()
        space = Space.objects.get(pk=log.partition)
        return next((intake for ask in self.asked if (intake := ask(log, space, limit))), None)

    def size(self, intake: Intake) -> int:
        return 1 if intake.rows is None else intake.rows.num_rows

    def prepare(self, log: Log, intake: Intake, number: int) -> PreparedResolve:
        return intake.kind.prepare(log, intake, number)

    def write(self, log: Log, prepared: PreparedResolve, number: int) -> None:
        tables = {
            OVERLAY: event_rows.profile_aliases(prepared.aliases),
            PROFILES: event_rows.people(prepared.people),
            LINKS: event_rows.links(prepared.links),
        }
        tables |= self._kind_of(prepared).tables(log, prepared, number)
        # All tables at once: each insert waits for the disk, and one after the other they would wait five times.
        with client.at_once():
            for table, columns in tables.items():
                timeline.insert(table, columns, workspace_id=log.workspace_id, space_id=log.partition, piece=number)

    def commit(self, log: Log, prepared: PreparedResolve, number: int, outcome: None) -> None:
        self._forget()
        ChangeSet.objects.bulk_create(
            ChangeSet(workspace_id=log.workspace_id, space_id=log.partition, piece=number, key=key, profiles=profiles)
            for key, profiles in prepared.change_sets.items()
        )
        self._kind_of(prepared).commit(log, prepared, number)

    def split(self, prepared: PreparedResolve) -> Sequence[PreparedResolve]:
        """The first part brings profiles and merges; the last tells about them, and moves the places."""
        half = len(prepared.part) // 2
        if half == 0:
            return []
        middle, cut = prepared.start + half, 4 * half
        replace = msgspec.structs.replace
        return [
            replace(prepared, stop=middle, profiles=prepared.profiles[:cut], change_sets={}, whole=False),
            replace(prepared, start=middle, profiles=prepared.profiles[cut:], aliases=b"", people=b"", links=b""),
        ]

    def refuse(self, log: Log, prepared: PreparedResolve, error: Exception) -> PreparedResolve:
        if not prepared.part:
            raise error  # numbers alone: nothing in them can be refused
        self._forget()
        kind = self._kind_of(prepared)
        graph_store.reject(log.partition, kind.archived(log, prepared), code=UNWRITABLE, reason=str(error))
        kind.count(prepared)
        return msgspec.structs.replace(prepared, start=prepared.stop, profiles=b"")

    def skip(self, log: Log, intake: Intake, error: Exception) -> None:
        kind, taken = intake.kind, intake.taken
        if not taken.rows:
            raise error
        kind.take(log, taken)
        rows, _ = still_there(taken, kind.read_taken(log, taken))
        graph_store.reject(log.partition, rows, code=UNWRITABLE, reason=str(error))
        kind.move(log, PreparedResolve(taken, stop=taken.rows))

    def erase(self, log: Log, numbers: Sequence[int]) -> None:
        timeline.erase(log.partition, numbers)

    def _kind_of(self, prepared: PreparedResolve) -> BatchKind:
        return next(kind for kind in self.kinds if kind.owns(prepared))

    def _forget(self) -> None:
        for kind in self.kinds:
            kind.forget()


def still_there(taken: Taken, rows: pyarrow.Table) -> tuple[pyarrow.Table, numpy.ndarray]:
    """Those of the rows of a batch whose source was not deleted meanwhile, and for each row taken whether it is one.

    Raises RowsLost when others are missing.
    """
    rows = rows.filter(pyarrow.array(is_living(taken, rows["source"])))
    here = is_living(taken, pyarrow.array(taken.sources))[numpy.frombuffer(taken.whose, "<u2")]
    # Everything that was prepared goes by a row's place: with one row too few all others would get another's profile.
    if rows.num_rows != here.sum():
        raise RowsLost(f"{rows.num_rows} of {here.sum()} rows are still in the archive")
    return rows, here


def is_living(taken: Taken, sources: pyarrow.Array) -> numpy.ndarray:
    """For each of these sources of the batch, whether it was not deleted meanwhile."""
    # `objects` has no deleted ones, whose rows may go from the archive at any moment.
    living = Source.objects.filter(pk__in=taken.sources).values_list("pk", flat=True)
    return numpy.isin(sources.to_numpy(), list(living))


def tables_of(rows: event_rows.ResolvedRows, accounts: Sequence[int] = ()) -> dict[Table, pyarrow.Table]:
    """What events bring to ClickHouse. accounts: whose pages have them already."""
    return {
        TIMELINE: event_rows.timeline(rows),
        PROFILE_EVENTS: event_rows.profile_events(rows, accounts),
        TRAITS: event_rows.traits(rows),
    }


def changed(batch: EventBatch, resolution: Resolution, written: Written) -> dict[str, bytes]:
    """Who changed, by what; by the numbers that are left at the end of the batch."""
    by_what: dict[str, Iterable[int]] = {
        ChangeSet.CREATED: written.created,
        ChangeSet.MERGED: written.winners.values(),
        ChangeSet.IDENTIFIED: written.gained,
        ChangeSet.LINKED: [number for link in written.links for number in link],
    }
    by_name: dict[str, set[int]] = {}
    for number, (before, after) in written.traits.items():
        for key in differing(before, after):
            by_name.setdefault(ChangeSet.trait(key), set()).add(number)
    for event, number in zip(batch.events, resolution.profiles, strict=True):
        if event.event and number:
            by_name.setdefault(ChangeSet.event(event.event), set()).add(number)
    winners = written.winners
    return {
        key: BitMap({winners.get(number, number) for number in numbers}).serialize()
        for key, numbers in (by_what | by_name).items()
        if numbers
    }


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A batch creates 100,000s of objects that all stay; looking through them would take a fifth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
