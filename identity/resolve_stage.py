"""The resolve stage with every kind of batch there is, and which spaces have work for it."""

from datetime import datetime

from django.db import connection

from identity.people_again import PeopleAgain
from identity.rejects import RejectsAgain
from identity.replays import ReplayEnds, Slices
from identity.resolve import NAME, AskedForBatch, BatchKind, LiveEvents, ResolveStage
from sources.events.archive_table import WHOLE_PIECE
from sources.models import Replay
from spaces.batches import unfinished
from spaces.clock import Clock
from spaces.clock import clock as database_clock

REPLAY_ROWS = 100_000
LIVE_ROWS = 5_000  # so that what happens now is not long behind


class Resolve(ResolveStage):
    """replay_rows, live_rows: the most rows of a batch."""

    def __init__(
        self, clock: Clock = database_clock, *, replay_rows: int = REPLAY_ROWS, live_rows: int = LIVE_ROWS
    ) -> None:
        again, ends = PeopleAgain(clock), ReplayEnds(clock)
        slices, rejects, live = Slices(clock, ends), RejectsAgain(), LiveEvents()

        def few(ask: AskedForBatch) -> AskedForBatch:
            return lambda log, space, limit: ask(log, space, min(limit, live_rows))

        super().__init__(
            # Slices twice: while they and live events wait, they take turns, and neither starves.
            asked=[again.next, ends.next, slices.next_in_turn, few(rejects.next), few(live.next), slices.next],
            kinds=[again, ends, slices, rejects, live, BatchKind()],
            batch_size=replay_rows,
        )


STAGE = Resolve()


def waiting(now: datetime) -> list[int]:
    """Spaces with events that are archived and not resolved, a replay to go on with, or a batch to finish."""
    # The pairs compare as `LogPlace.has_more` does. `untouched`: a cancelled replay moved people, and told nobody.
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.space_id FROM sources_connection c
               JOIN spaces_log l ON l.stage = 'archive' AND l.owner = c.source_id
               WHERE c.state = 'live' AND (l.published, %s) > (c.piece, c.position)
               UNION SELECT space_id FROM sources_replay WHERE state = 'running'
               UNION SELECT space_id FROM identity_graph WHERE untouched
               UNION SELECT space_id FROM identity_profilesplit WHERE state IN ('wanted', 'unwanted')
               UNION SELECT space_id FROM identity_dryrun WHERE state = 'moving'
               UNION SELECT r.space_id FROM sources_reject r JOIN sources_source s ON s.id = r.source_id
               WHERE r.again AND s.deleted_at IS NULL""",
            [WHOLE_PIECE],
        )
        return sorted({space for (space,) in cursor.fetchall()} | set(unfinished(NAME)))


def replaying() -> set[int]:
    """Spaces into which a replay runs."""
    return set(Replay.objects.filter(state=Replay.State.RUNNING).values_list("space_id", flat=True))
