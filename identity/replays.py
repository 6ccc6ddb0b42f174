"""Replays as batches of the resolve log: slices in order of event time, and the end, which tells everyone.

A replay changes no audience; its end changes everyone, once.
"""

from bisect import bisect
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy
import pyarrow
from django.db.models import F, Value
from django.db.models.functions import Coalesce
from pyroaring import BitMap

from identity import graph_store
from identity.graph_store import Written
from identity.models import ChangeSet, Graph
from identity.prepared import PreparedResolve, Slice, Taken, taken
from identity.resolve import ArchivedEvents, BatchKind, Intake, RowsLost, is_living, still_there, tables_of
from identity.rules.extract import inputs
from identity.rules.graph import IdentityGraph
from identity.rules.policy import Policy, policy_of
from identity.rules.resolution import EventBatch, Resolution
from identity.rules.slices import SliceRows, parted, resolve_slice, slice_rows
from sources.consumption import consume_all, consume_slice, reach_of
from sources.events import archive_table, plain_rows
from sources.events.archive_table import Key, Reach, key_of, up_to
from sources.events.schema import Table
from sources.models import ARCHIVE, Connection, Replay
from spaces.batches import visible_logs
from spaces.clock import Clock
from spaces.models import Log, Space


@dataclass
class ReplayEnd(Intake):
    """ends: the replay of which nothing is left to read; None when it was cancelled."""

    ends: int | None = None


def running_replay(space: Space) -> Replay | None:
    return Replay.objects.filter(space=space, state=Replay.State.RUNNING).order_by("pk").first()


class Slices(ArchivedEvents):
    """As many rows as a batch may have: the more, the fewer of them are the same person's of two batches."""

    def __init__(self, clock: Clock, ends: "ReplayEnds") -> None:
        super().__init__()
        self.clock, self.ends = clock, ends

    def owns(self, prepared: PreparedResolve) -> bool:
        return prepared.taken.slice is not None

    def next_in_turn(self, log: Log, space: Space, limit: int) -> Intake | None:
        """As `next`, where the batch has an odd number: with even ones live events come first, so neither starves."""
        return None if log.last_number % 2 else self.next(log, space, limit)

    def next(self, log: Log, space: Space, limit: int) -> Intake | None:
        """The next slice of the replay that runs, or word that it is at its end."""
        replaying = running_replay(space)
        if replaying is None:
            return None
        reach = reach_of(replaying)
        after = tuple(replaying.cursor) if replaying.cursor else None
        paths = inputs(policy_of(space.identity_policy))
        rows = plain_rows.read_replay_texts(space.workspace_id, reach, after, limit, paths)
        if not rows.num_rows:
            return ReplayEnd(self.ends, space, Taken(), ends=replaying.pk)
        cutoffs = [(log.partition, log.end) for log in reach.logs]
        part = Slice(replaying.pk, cutoffs, reach.since, reach.until, after, key_of(rows), list(reach.consumed))
        return Intake(self, space, taken(rows, slice=part), rows)

    def batch(self, rows: pyarrow.Table, policy: Policy) -> EventBatch:
        return slice_rows(rows, policy)

    def resolve(self, graph: IdentityGraph, batch: SliceRows) -> Resolution:
        return resolve_slice(graph, batch)

    def refused(self, space: Space, rows: pyarrow.Table, batch: EventBatch, indexes: list[int]) -> pyarrow.Table:
        # Of which there are no messages here.
        return archive_table.read_rows(space.workspace_id, [*map(batch.place, indexes)])

    def change_sets(self, batch: EventBatch, resolution: Resolution, written: Written) -> dict[str, bytes]:
        return {}  # a replay tells nobody until its end, which tells everyone

    def tables(self, log: Log, prepared: PreparedResolve, number: int) -> dict[Table, pyarrow.Table]:
        """Of those that ClickHouse cannot copy from the archive by itself; the others are copied."""
        if not prepared.part:
            return {}
        if read := self.remembered(prepared):
            rows, slice, here = *read, numpy.ones(read[0].num_rows, bool)
        else:
            policy = policy_of(prepared.policy)
            rows, here = still_there(prepared.taken, self.read_texts(log, prepared.taken, policy))
            slice = slice_rows(rows, policy)
        places, others = parted(rows, slice, here, prepared.part, prepared.profiles, prepared.accounts)
        copied = plain_rows.copy(places, workspace_id=log.workspace_id, space_id=log.partition, piece=number)
        if copied < places.num_rows and copied < (expected := is_living(prepared.taken, places["source"]).sum()):
            raise RowsLost(f"{copied} of {expected} rows are still in the archive")
        return tables_of(others)

    def read_taken(self, log: Log, taken: Taken) -> pyarrow.Table:
        return self._up_to_end(taken, archive_table.read_replay_slice(*self._where(log, taken)))

    def read_texts(self, log: Log, taken: Taken, policy: Policy) -> pyarrow.Table:
        rows = plain_rows.read_replay_texts(*self._where(log, taken), inputs(policy))
        return self._up_to_end(taken, rows)

    def _where(self, log: Log, taken: Taken) -> tuple[int, Reach, Key | None, int]:
        part = taken.slice
        assert part is not None
        logs = visible_logs(stage=ARCHIVE, partitions=[source for source, _ in part.cutoffs])
        ends = tuple(up_to(logs[source], end) for source, end in part.cutoffs)
        return log.workspace_id, Reach(ends, part.since, part.until, tuple(part.consumed)), part.after, taken.rows

    def _up_to_end(self, taken: Taken, rows: pyarrow.Table) -> pyarrow.Table:
        # Without a source that was deleted since, as many rows reach further than the batch did.
        assert taken.slice is not None
        return rows.slice(0, bisect(range(rows.num_rows), taken.slice.upto, key=partial(key_of, rows)))

    def count(self, prepared: PreparedResolve) -> None:
        part = prepared.taken.slice
        assert part is not None
        Replay.objects.filter(pk=part.replay).update(done=F("done") + len(prepared.part))

    def move(self, log: Log, prepared: PreparedResolve) -> None:
        self.count(prepared)
        part = prepared.taken.slice
        if part and prepared.whole:
            started_at = Coalesce("started_at", Value(self.clock.now()))
            Replay.objects.filter(pk=part.replay).update(cursor=list(part.upto), started_at=started_at)
            consume_slice(part.replay, [source for source, _ in part.cutoffs], part.upto)

    def commit(self, log: Log, prepared: PreparedResolve, number: int) -> None:
        super().commit(log, prepared, number)
        # In the same transaction: a replay that moves people and dies before its end leaves the mark that tells them.
        graph_store.mark_untouched(log.partition, untouched=True)


class ReplayEnds(BatchKind):
    """Word to everyone that a replay is over."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def owns(self, prepared: PreparedResolve) -> bool:
        return prepared.settles

    def next(self, log: Log, space: Space, limit: int) -> Intake | None:
        """Where one was cancelled that has moved people."""
        if running_replay(space) or not Graph.objects.filter(space=space, untouched=True).exists():
            return None
        return ReplayEnd(self, space, Taken())

    def prepare(self, log: Log, intake: Any, number: int) -> PreparedResolve:
        everyone = {ChangeSet.EVERYTHING: BitMap().serialize()}
        return PreparedResolve(intake.taken, ends=intake.ends, settles=True, change_sets=everyone)

    def commit(self, log: Log, prepared: PreparedResolve, number: int) -> None:
        graph_store.mark_untouched(log.partition, untouched=False)
        if prepared.ends is None:
            return
        # Its sources are live from right after their cut-offs; unless somebody cancelled it.
        running = Replay.objects.filter(pk=prepared.ends, state=Replay.State.RUNNING)
        now = self.clock.now()
        if running.update(
            state=Replay.State.COMPLETE,
            total=F("done"),  # what was counted when it was asked for may have come on another way since
            finished_at=now,
            started_at=Coalesce("started_at", Value(now)),
        ):
            consume_all(Replay.objects.get(pk=prepared.ends))
            replaying = Connection.objects.filter(replay=prepared.ends, state=Connection.State.REPLAYING)
            replaying.update(state=Connection.State.LIVE)
