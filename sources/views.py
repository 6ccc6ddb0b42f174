"""Pages about sources: what they received, and how far the replays into a space are."""

from datetime import datetime, timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from access.listing import Pill
from access.requests import PageRequest
from sources import queries
from sources.models import Connection, Replay, Source
from spaces.clock import clock
from spaces.needs import needs

STOP_POLLING = 286  # htmx 2 swaps the answer in and asks no more
STATES = {
    Connection.State.REPLAYING: Pill("Replaying", "busy"),
    Connection.State.LIVE: Pill("Live", "good"),
    Connection.State.DISCONNECTED: Pill("Disconnected"),
}
REPLAYS = {
    Replay.State.RUNNING: Pill("Replaying", "busy"),
    Replay.State.COMPLETE: Pill("Complete", "good"),
    Replay.State.CANCELLED: Pill("Cancelled", "warn"),
}
FINISHED_SHOWN = 3


@needs("sources.read")
def sources(request: PageRequest, workspace: str) -> HttpResponse:
    """Every source of the workspace, with what became of its messages."""
    found = list(queries.sources_of(request.workspace).order_by("name", "id"))
    return render(request, "sources/sources.html", {"rows": _rows(found)})


@needs("space.read")
def space_sources(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The sources that this space listens to, and its replays."""
    return render(request, "sources/space_sources.html", _listening(request))


@needs("space.read")
def replays(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The same without the page around it, for a page that looks again every two seconds while a replay runs."""
    context = _listening(request)
    return render(request, "sources/_listening.html", context, status=200 if context["running"] else STOP_POLLING)


def _listening(request: PageRequest) -> dict[str, Any]:
    space = request.space
    connections = list(queries.connections_of(space).select_related("source__tally").order_by("source__name", "id"))
    shown = _shown(space)
    rows = _rows([connection.source for connection in connections])
    for row, connection in zip(rows, connections, strict=True):
        row |= {"state": STATES[Connection.State(connection.state)], "since": connection.created_at}
    now = clock.now()
    return {
        "rows": rows,
        "replays": [_progress(replay, now) for replay in shown],
        "failures": queries.failures_of(space),
        "running": any(replay.state == Replay.State.RUNNING for replay in shown),
        "as_of": now,
    }


def _shown(space: Any) -> list[Replay]:
    """The running replays and the newest that ended."""
    of_space = Replay.objects.filter(space=space).prefetch_related("connections__source").order_by("-id")
    running = list(of_space.filter(state=Replay.State.RUNNING))
    return running + list(of_space.exclude(state=Replay.State.RUNNING)[:FINISHED_SHOWN])


def _rows(sources: list[Source]) -> list[dict[str, Any]]:
    fates = queries.fates(sources)
    return [
        {
            "source": source,
            "enabled": Pill("Enabled", "good") if source.enabled else Pill("Disabled"),
            "fate": fates[source.pk],
            "last": _last(source),
        }
        for source in sources
    ]


def _last(source: Source) -> datetime | None:
    tally = getattr(source, "tally", None)
    return tally.last_received_at if tally else None


def _progress(replay: Replay, now: datetime) -> dict[str, Any]:
    found = queries.progress(replay, now)
    return {
        "replay": replay,
        "state": REPLAYS[Replay.State(replay.state)],
        "sources": ", ".join(sorted(connection.source.name for connection in replay.connections.all())),
        "percent": found.percent,
        "event_time": found.event_time,
        "rate": round(found.rate),
        "left": _span(found.seconds_left) if replay.state == Replay.State.RUNNING else "",
        "took": _span((replay.finished_at - replay.created_at).total_seconds()) if replay.finished_at else "",
    }


def _span(seconds: float | None) -> str:
    """A span of time to be read: `41 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None:
        return "not known yet"
    whole = timedelta(seconds=round(seconds)) // timedelta(seconds=1)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
