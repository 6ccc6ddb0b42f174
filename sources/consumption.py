"""Which sources spaces listen to, what they have read of their archives, and what they are yet to read.

What was read is noted in the transaction that makes it visible.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db.models import Q, QuerySet

from sources.events.archive_table import WHOLE_PIECE, Key, LogPlace, Reach, Region, RowPlace, up_to
from sources.models import ARCHIVE, Connection, Consumed, Replay
from spaces.batches import visible_logs
from spaces.times import milliseconds

LAST = (2**32 - 1, 2**63 - 1, WHOLE_PIECE)  # a place after every row of the same time


def listening(space_id: int) -> QuerySet[Connection]:
    """The connections of the space that were not disconnected."""
    return Connection.objects.filter(space_id=space_id).filter(~Q(state=Connection.State.DISCONNECTED))


def places(connections: Sequence[Connection]) -> list[LogPlace]:
    """The live reader's place of each connection, with the end of its source's archive now. One query."""
    # All ends at one moment, so that events of two sources are interleaved by receipt and none is ahead of its time.
    logs = visible_logs(stage=ARCHIVE, partitions=[connection.source_id for connection in connections])
    return [
        LogPlace(log=logs[connection.source_id], piece=connection.piece, position=connection.position)
        for connection in connections
    ]


def reach_of(replay: Replay) -> Reach:
    """What the replay covers: the sources still in it, each up to its cut-off, without what others brought."""
    connections = listening(replay.space_id).filter(replay=replay)
    return complement(connections, since=replay.since, until=replay.until, without=replay)


def complement(
    connections: Iterable[Connection], *, since: datetime, until: datetime, without: Replay | None = None
) -> Reach:
    """What these connections have not consumed of their sources' past, of event times in [since, until].

    without: what this replay consumed does not count; its own cursor says it.
    """
    # Up to each one's cut-off: what comes after it is the live reader's, so nothing is missed and nothing comes twice.
    cutoffs = {connection.source_id: (connection.pk, connection.cutoff) for connection in connections}
    logs = visible_logs(stage=ARCHIVE, partitions=list(cutoffs))
    parts = Consumed.objects.filter(connection__in=[pk for pk, _ in cutoffs.values()]).order_by("pk")
    return Reach(
        logs=tuple(up_to(logs[source], cutoff) for source, (_, cutoff) in sorted(cutoffs.items())),
        since=since,
        until=until,
        consumed=tuple(
            Region(
                source=part.connection.source_id,
                after=(part.after_piece, part.after_position),
                upto=(part.piece, part.position),
                since=milliseconds(part.since) if part.since else 0,
                key=tuple(part.key) if part.key else None,
            )
            for part in parts.select_related("connection")
            if without is None or part.replay_id != without.pk
        ),
    )


def consume_live(space_id: int, source_id: int, after: RowPlace, upto: RowPlace) -> None:
    """The live reader has read from `after` to `upto`."""
    connections = Connection.objects.filter(space=space_id, source=source_id)
    if connections.filter(piece=after[0], position=after[1]).update(piece=upto[0], position=upto[1]):
        return
    # A reconnect has moved the place while the reader was at work: the part is recorded on its own.
    for connection in connections:
        keep_stretch(connection, after, upto)


def keep_stretch(connection: Connection, after: RowPlace, upto: RowPlace) -> None:
    """The live reader has this part of the log, which its present place and cut-off do not tell."""
    Consumed.objects.create(
        workspace_id=connection.workspace_id,
        connection=connection,
        after_piece=after[0],
        after_position=after[1],
        piece=upto[0],
        position=upto[1],
    )


def consume_slice(replay_id: int, source_ids: Sequence[int], upto: Key) -> None:
    """The replay has read these sources up to this key; others, which were disconnected before, it has not."""
    Consumed.objects.filter(replay=replay_id, connection__source__in=source_ids).update(key=list(upto))


def consume_all(replay: Replay) -> None:
    """The replay has read its whole range of the sources that are still in it, and what lies within is one part."""
    for connection in listening(replay.space_id).filter(replay=replay):
        parts = Consumed.objects.filter(connection=connection)
        parts.filter(replay=replay).update(key=[milliseconds(replay.until), *LAST])
        parts.filter(after_piece=0, piece__lte=connection.cutoff, since__gte=replay.since).exclude(
            replay=replay
        ).delete()
