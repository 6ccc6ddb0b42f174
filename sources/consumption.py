"""What spaces have read of the archives of their sources: noted in the transaction that makes it visible."""

from collections.abc import Sequence

from sources.events.archive_table import WHOLE_PIECE, Key, RowPlace
from sources.models import Connection, Consumed, Replay
from sources.queries import listening
from spaces.times import milliseconds

LAST = (2**32 - 1, 2**63 - 1, WHOLE_PIECE)  # a place after every row of the same time


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
