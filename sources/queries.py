"""Reads about sources, their messages, and the spaces that are connected to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from sources.consumption import listening
from sources.events import archive_table
from sources.events.archive_table import Reach, RowPlace
from sources.models import ARCHIVE, Connection, EventName, RefusedRequest, Reject, Replay, Source, Tally
from spaces.batches import Visible, visible_logs
from spaces.models import Log, Space, Workspace
from spaces.times import from_milliseconds

SHOWN = 100  # messages at once
RESOLVE = "resolve"  # the stage that reads it, one log per space; named here, since identity is above


@dataclass(frozen=True)
class MessageCounts:
    """What became of a source's messages. `waiting`: accepted requests, of one or more messages, not archived yet."""

    archived: int = 0
    doubled: int = 0
    rejected: int = 0
    waiting: int = 0
    suppressed: int = 0


@dataclass(frozen=True)
class Progress:
    """How far a replay is. Rate in events a second, from the request on; `seconds_left` None = nobody can say."""

    percent: float
    event_time: datetime | None
    rate: float
    seconds_left: float | None


def sources_of(workspace: Workspace) -> QuerySet[Source]:
    return Source.objects.filter(workspace=workspace).select_related("tally").prefetch_related("write_keys")


def count_messages(sources: Iterable[Source]) -> dict[int, MessageCounts]:
    """By source id, for all of them, in two queries."""
    ids = [source.pk for source in sources]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT source_id, count(*) FROM sources_inbox WHERE source_id = ANY(%s) GROUP BY source_id", [ids]
        )
        waiting: dict[int, int] = dict(cursor.fetchall())
    tallies = {tally.source_id: tally for tally in Tally.objects.filter(source__in=ids)}
    return {
        id: MessageCounts(tally.archived, tally.doubled, tally.rejected, waiting.get(id, 0), tally.suppressed)
        if (tally := tallies.get(id))
        else MessageCounts(waiting=waiting.get(id, 0))
        for id in ids
    }


def last_received(source: Source) -> datetime | None:
    """When it last sent anything. `source` comes with its tally."""
    tally = getattr(source, "tally", None)
    return tally.last_received_at if tally else None


def rejects_of(source: Source) -> QuerySet[Reject]:
    return Reject.objects.filter(source=source).select_related("space")


def retriable(rejects: QuerySet[Reject]) -> QuerySet[Reject]:
    """The rejects that can be retried and that no retry waits for. The same rule as `Reject.retriable`, in SQL."""
    return rejects.filter(Q(space__isnull=False) | Q(whole=True), again=False)


def sought_rejects(source: Source, *, code: str = "", wanted: str = "") -> QuerySet[Reject]:
    """All rejects of the source with this code, and with this text in the message or the reason."""
    return _search(rejects_of(source), code, wanted)


def refused_requests_of(source: Source) -> QuerySet[RefusedRequest]:
    """Newest first; a row stands for all requests that were refused so. At most `sources.inbox.MOST_REFUSED` + 1."""
    return source.refused_requests.order_by("-last_at", "-pk")


def event_names_of(source: Source) -> QuerySet[EventName]:
    return EventName.objects.filter(source=source)


def connectable(space: Space) -> QuerySet[Source]:
    """The sources of the workspace that the space is not connected to."""
    return Source.objects.filter(workspace_id=space.workspace_id).exclude(
        pk__in=listening(space.pk).values("source_id")
    )


def events_since(workspace: Workspace, sources: Sequence[Source], *, now: datetime, days: int) -> dict[int, int]:
    """By source id: how many of its archived events happened in the last `days` days."""
    counts = archive_table.count_by_source(workspace.pk, _last_days(sources, now, days)) if sources else {}
    return {source.pk: counts.get(source.pk, 0) for source in sources}


def events_by_day(source: Source, *, now: datetime, days: int) -> list[tuple[date, int]]:
    """How many events each of the last `days` days of the reader has, oldest first, days without any included."""
    zone = timezone.get_current_timezone_name()
    counts = archive_table.count_by_day(source.workspace_id, _last_days([source], now, days), zone)
    # Days of the calendar, not spans of 24 hours: one on which clocks change is one bar as well.
    dates = [timezone.localdate(now) - timedelta(days=back) for back in reversed(range(days))]
    return [(day, counts.get(day, 0)) for day in dates]


@dataclass(frozen=True)
class NewestMessages:
    """Archived messages, newest first: rows of the archive, `message` as JSON text.

    older: the place before which there is more to look at, as (piece, position); None = there is nothing older.
    """

    rows: list[dict[str, Any]]
    older: RowPlace | None


def newest_messages(
    source: Source,
    *,
    before: RowPlace | None = None,
    types: Sequence[str] = (),
    wanted: str = "",
    limit: int = SHOWN,
) -> NewestMessages:
    """The newest of the source's archived messages, or of those before a place; and where to look further back."""
    log = _archive_of(source)
    messages, looked_to = archive_table.read_newest(
        source.workspace_id, log, limit, before=before, types=types, wanted=wanted
    )
    # Asked, not taken from the number of rows: a search may find nothing among the newest and much further back.
    more = archive_table.has_before(source.workspace_id, log, looked_to)
    return NewestMessages([dict(row) for row in messages.to_pylist()], looked_to if more else None)


def arrived_messages(
    source: Source, *, after: RowPlace, types: Sequence[str] = (), wanted: str = "", limit: int = SHOWN
) -> list[dict[str, Any]]:
    """The newest of the messages that were archived after this place."""
    log = _archive_of(source)
    messages, _ = archive_table.read_newest(source.workspace_id, log, limit, after=after, types=types, wanted=wanted)
    return [dict(row) for row in messages.to_pylist()]


@dataclass(frozen=True)
class NewestRejects:
    """Rejected messages, newest first. older: the id before which there are more to look at; None = there are none."""

    rows: list[Reject]
    older: int | None


def newest_rejects(
    source: Source, *, before: int | None = None, code: str = "", wanted: str = "", limit: int = SHOWN
) -> NewestRejects:
    """The newest rejects, or those before an id."""
    rejects = rejects_of(source) if before is None else rejects_of(source).filter(pk__lt=before)
    # A text search has no index: each page reads at most LOOKED_AT rejects, and `older` leads to the next ones.
    oldest = rejects.order_by("-pk").values_list("pk", flat=True)[archive_table.LOOKED_AT - 1 :].first()
    matches = list(_search(rejects if oldest is None else rejects.filter(pk__gte=oldest), code, wanted)[: limit + 1])
    if len(matches) > limit:
        return NewestRejects(matches[:limit], matches[limit - 1].pk)
    more = oldest is not None and rejects.filter(pk__lt=oldest).exists()
    return NewestRejects(matches, oldest if more else None)


def arrived_rejects(
    source: Source, *, after: int, code: str = "", wanted: str = "", limit: int = SHOWN
) -> list[Reject]:
    """The newest of what was rejected after this id."""
    return list(_search(rejects_of(source).filter(pk__gt=after), code, wanted)[:limit])


def reject_codes(source: Source) -> list[tuple[str, int]]:
    """The codes of the newest rejects, and how many of these there are, most frequent first."""
    # Of the newest only: a source may have millions, and every look at the page asks for this.
    newest = rejects_of(source).order_by("-pk").values("pk")[: archive_table.LOOKED_AT]
    by_code = Reject.objects.filter(pk__in=newest).values_list("code").annotate(count=Count("pk"))
    return list(by_code.order_by("-count", "code"))


def _search(rejects: QuerySet[Reject], code: str, wanted: str) -> QuerySet[Reject]:
    fields = ("reason", "path", "message_id", "message", "code")
    rejects = rejects.filter(code=code) if code else rejects
    # A text search has no index; whoever calls with one bounds the rows that it reads.
    text = Q(*((f"{field}__icontains", wanted) for field in fields), _connector=Q.OR)
    return (rejects.filter(text) if wanted else rejects).order_by("-pk")


def _archive_of(source: Source) -> Visible:
    return visible_logs(stage=ARCHIVE, partitions=[source.pk])[source.pk]


def connections_of(space: Space) -> QuerySet[Connection]:
    """All connections of the space, disconnected ones included."""
    return Connection.objects.filter(space=space).select_related("source", "replay")


def heard_by(space: Space) -> list[int]:
    """The ids of the sources that the space is connected to."""
    return list(listening(space.pk).values_list("source_id", flat=True))


def listeners(source: Source) -> list[int]:
    """The ids of the spaces that are connected to the source."""
    connections = Connection.objects.filter(source=source).exclude(state=Connection.State.DISCONNECTED)
    return list(connections.values_list("space_id", flat=True))


def progress(replay: Replay, now: datetime) -> Progress:
    end = replay.finished_at or now
    seconds = max((end - replay.created_at).total_seconds(), 0.001)  # a clock that was put back must not divide by 0
    rate = replay.done / seconds
    left = max(replay.total - replay.done, 0) / rate if rate else None
    running = replay.state == Replay.State.RUNNING
    return Progress(
        percent=percent(replay),
        event_time=from_milliseconds(replay.cursor[0]) if replay.cursor else None,
        rate=round(rate, 1),
        seconds_left=round(left, 1) if running and left is not None else None if running else 0.0,
    )


def is_replaying(space: Space) -> bool:
    """Whether a replay into the space runs."""
    return Replay.objects.filter(space=space, state=Replay.State.RUNNING).exists()


def failures_of(space: Space) -> int:
    """How often in a row the space's newest events could not be resolved: 0 = all is well. It is tried again."""
    return Log.objects.filter(stage=RESOLVE, partition=space.pk).values_list("failures", flat=True).first() or 0


def _last_days(sources: Sequence[Source], now: datetime, days: int) -> Reach:
    logs = visible_logs(stage=ARCHIVE, partitions=[source.pk for source in sources])
    return Reach(logs=tuple(logs.values()), since=now - timedelta(days=days), until=now)


def percent(replay: Replay) -> float:
    """How much of it is done; 100 only when all of it is."""
    # By its state and not by its figures: `total` is what there was when it was asked for, and some of that may have
    # come on another way since.
    if replay.state == Replay.State.COMPLETE:
        return 100.0
    return round(min(100.0 * replay.done / replay.total, 99.9), 1) if replay.total else 0.0
