"""What a resolve batch takes from the archives, and how to take the very same again.

Live: the rows after each live connection's place, in log order. Replay: the next slice in order of event time.
Archived rows never change, so the ranges alone say which events a batch is made of.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec
import numpy
import pyarrow

from identity.rules.extract import inputs
from identity.rules.policy import policy_of
from identity.splits import Component
from sources.consumption import places as places_of
from sources.consumption import reach_of
from sources.events import archive_table
from sources.events.archive_table import Key, LogPlace, Reach, Region, key_of, up_to
from sources.models import ARCHIVE, Connection, Reject, Replay, Source
from spaces.batches import visible_logs
from spaces.models import Space


class RowsLost(Exception):
    """The archive does not give back the rows that were prepared on."""


class LiveRange(msgspec.Struct, frozen=True, array_like=True):
    """Of one source's log: from after (after_piece, after_position) up to (piece, position), this included."""

    source: int
    after_piece: int
    after_position: int
    piece: int
    position: int


class Slice(msgspec.Struct, frozen=True, array_like=True):
    """Of a replay: from after a key in event order, so many rows that `upto` is the last. cutoffs: (source, piece).

    consumed: what was left out, since the space had it when this was prepared.
    """

    replay: int
    cutoffs: list[tuple[int, int]]
    since: datetime
    until: datetime
    after: Key | None
    upto: Key
    consumed: list[Region] = []


class Taken(msgspec.Struct, frozen=True):
    """The rows of a batch. whose: for each row, as two bytes, which of `sources` it is from.

    rejects: (source, piece, position) of such as were rejects and are resolved again.
    """

    rows: int = 0
    live: list[LiveRange] = []
    slice: Slice | None = None
    rejects: list[tuple[int, int, int]] = []
    sources: list[int] = []
    whose: bytes = b""


@dataclass
class Intake:
    """What was read for a space. rows: None when the batch only says that a replay is over.

    ends: the replay of which nothing is left to read; None when it was cancelled.
    again: whom to resolve once more; `rows` are their events.
    """

    space: Space
    taken: Taken
    rows: pyarrow.Table | None = None
    ends: int | None = None
    again: Component | None = None


def next_live(space: Space, limit: int) -> Intake | None:
    """The next live rows; None when no live connection has any."""
    connections = Connection.objects.filter(space=space, state=Connection.State.LIVE).order_by("source_id")
    # Each gives one row at least, so a batch of few rows is of as few sources.
    starts = [start for start in places_of(list(connections)) if start.has_more][:limit]
    if not starts:
        return None
    rows, ends = archive_table.read_live(space.workspace_id, starts, limit)
    ranges = [
        LiveRange(start.log.partition, start.piece, start.position, end.piece, end.position)
        for start, end in zip(starts, ends, strict=True)
    ]
    return Intake(space, _taken(rows, live=ranges), rows)


def next_rejects(space: Space, limit: int) -> Intake | None:
    """Rejects of the space that somebody asked to be resolved again; None when there are none."""
    asked = Reject.objects.filter(space=space, again=True, source__deleted_at=None).order_by("id")[:limit]
    places = [(reject.source_id, reject.piece or 0, reject.position or 0) for reject in asked]
    if not places:
        return None
    rows = archive_table.read_rows(space.workspace_id, places)
    archived = list(zip(*(rows[name].to_pylist() for name in ("source", "piece", "position")), strict=True))
    # The archive forgot it: nobody can resolve it any more, and as a reject to be resolved it would be asked for again
    # and again.
    for source, piece, position in set(places) - set(archived):
        Reject.objects.filter(space=space, source=source, piece=piece, position=position).delete()
    return Intake(space, _taken(rows, rejects=archived), rows) if archived else None


def next_slice(space: Space, replaying: Replay, limit: int) -> Intake:
    """The next slice of the replay, or word that it is at its end."""
    reach = reach_of(replaying)
    after = tuple(replaying.cursor) if replaying.cursor else None
    paths = inputs(policy_of(space.identity_policy))
    rows = archive_table.read_replay_texts(space.workspace_id, reach, after, limit, paths)
    if not rows.num_rows:
        return Intake(space, Taken(), ends=replaying.pk)
    cutoffs = [(log.partition, log.end) for log in reach.logs]
    taken = Slice(replaying.pk, cutoffs, reach.since, reach.until, after, key_of(rows), list(reach.consumed))
    return Intake(space, _taken(rows, slice=taken), rows)


def read_again(
    workspace_id: int, taken: Taken, paths: Sequence[tuple[str, ...]] | None = None
) -> tuple[pyarrow.Table, numpy.ndarray]:
    """The rows of the batch, read a second time, and for each row taken whether it is still there.

    paths: of a slice, the rows as they were read for it. Rows of a source that was deleted meanwhile are not there.
    Raises RowsLost when others are missing.
    """
    if taken.rejects:
        rows = archive_table.read_rows(workspace_id, taken.rejects)
    elif part := taken.slice:
        logs = visible_logs(stage=ARCHIVE, partitions=[source for source, _ in part.cutoffs])
        ends = tuple(up_to(logs[source], end) for source, end in part.cutoffs)
        reach = Reach(ends, part.since, part.until, tuple(part.consumed))
        # Without a source that was deleted since, as many rows reach further than the batch did.
        at = workspace_id, reach, part.after, taken.rows
        rows = archive_table.read_replay_slice(*at) if paths is None else archive_table.read_replay_texts(*at, paths)
        rows = rows.slice(0, bisect(range(rows.num_rows), part.upto, key=partial(key_of, rows)))
    else:
        logs = visible_logs(stage=ARCHIVE, partitions=[live.source for live in taken.live])
        rows, _ = archive_table.read_live(
            workspace_id,
            [
                LogPlace(up_to(logs[live.source], live.piece), live.after_piece, live.after_position)
                for live in taken.live
            ],
            # More than there are: the ends say how far.
            2**31,
        )
        # Read up to the ends of the batches: of the last one only the first rows may have been taken.
        within = numpy.zeros(rows.num_rows, bool)
        source, piece, position = (rows[name].to_numpy() for name in ("source", "piece", "position"))
        for live in taken.live:
            within |= (source == live.source) & ((piece < live.piece) | (position <= live.position))
        rows = rows.filter(pyarrow.array(within))
    is_living = _is_living(taken, rows["source"])
    rows = rows.filter(pyarrow.array(is_living))
    here = _is_living(taken, pyarrow.array(taken.sources))[numpy.frombuffer(taken.whose, "<u2")]
    # Everything that was prepared goes by a row's place: with one row too few all others would get another's profile.
    if rows.num_rows != here.sum():
        raise RowsLost(f"{rows.num_rows} of {here.sum()} rows are still in the archive")
    return rows, here


def expect_copied(taken: Taken, rows: pyarrow.Table, copied: int) -> None:
    """Raises RowsLost when the archive had fewer of these rows of the batch, other than those of deleted sources."""
    if copied < rows.num_rows and copied < (expected := _is_living(taken, rows["source"]).sum()):
        raise RowsLost(f"{copied} of {expected} rows are still in the archive")


def _is_living(taken: Taken, sources: pyarrow.Array) -> numpy.ndarray:
    """For each of these sources of the batch, whether it was not deleted meanwhile."""
    # `objects` has no deleted ones, whose rows may go from the archive at any moment.
    living = Source.objects.filter(pk__in=taken.sources).values_list("pk", flat=True)
    return numpy.isin(sources.to_numpy(), list(living))


def _taken(
    rows: pyarrow.Table,
    *,
    live: Sequence[LiveRange] = (),
    slice: Slice | None = None,
    rejects: Sequence[tuple[int, int, int]] = (),
) -> Taken:
    # Two bytes a row: what is taken is kept in PostgreSQL until the batch is done, and a space has few sources.
    sources, whose = numpy.unique(rows["source"].to_numpy(), return_inverse=True)
    return Taken(
        rows=rows.num_rows,
        live=list(live),
        slice=slice,
        rejects=list(rejects),
        sources=sources.tolist(),
        whose=whose.astype("<u2").tobytes(),
    )
