"""What of a space's events is resolved, and whose each of them is. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, F, Sum

from identity.queries import public_ids, source_ids
from sources.consumption import listening, places
from sources.events import archive_table, timeline
from sources.events.timeline import Recorded, Scope
from sources.models import Replay
from spaces.batches import visible_logs
from spaces.models import Space
from spaces.times import from_milliseconds


@dataclass(frozen=True)
class ResolveProgress:
    """waiting: events that are archived, that the space is to have, and that are not resolved yet.

    piece: the end of the space's log.
    """

    waiting: int
    replaying: bool
    piece: int


@dataclass(frozen=True)
class Placed:
    """A row of the timeline, with whom it belongs to now. source_id: None when the source was deleted."""

    row: Recorded
    profile_id: str
    source_id: str | None


def resolve_progress(space: Space) -> ResolveProgress:
    """How far the space is. Reads a few rows, however many events there are."""
    # From counters and ends of logs: whoever waits for a space to catch up asks this every second.
    running = Replay.objects.filter(space=space, state=Replay.State.RUNNING)
    replay = running.aggregate(left=Sum(F("total") - F("done")), running=Count("pk"))
    live = archive_table.count_live(space.workspace_id, places(list(listening(space.pk))))
    waiting = live + max(replay["left"] or 0, 0)  # what came on another way meanwhile may make it less than nothing
    return ResolveProgress(waiting, replay["running"] > 0, scope_of(space).log.end)


def scope_of(space: Space) -> Scope:
    """The space's events as of now."""
    return Scope(space.workspace_id, space.pk, visible_logs(stage="resolve", partitions=[space.pk])[space.pk])


def recorded(space: Space, scope: Scope, *, after: tuple[int, int], limit: int) -> list[Placed]:
    """The timeline in the order in which it was resolved, after a (piece, position)."""
    rows = timeline.page(scope, after=after, limit=limit)
    # The row has the number of its moment; whom it stands for now is in PostgreSQL, and changes without the row.
    people = public_ids(space, {row.profile for row in rows})
    sources = source_ids(row.source for row in rows)
    return [Placed(row, people[row.profile], sources.get(row.source)) for row in rows]


def seen_between(scope: Scope, numbers: Sequence[int]) -> tuple[datetime, datetime] | None:
    """The event times of this person's first and last event."""
    counts = timeline.counts_of(scope, numbers)
    if not counts:  # its events were too old to be kept
        return None
    first, last = min(row[3] for row in counts), max(row[4] for row in counts)
    return from_milliseconds(first), from_milliseconds(last)
