"""A space's sources: which it listens to, connecting and disconnecting them, and how far the replays are."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from access.pages.tables import Pill
from access.requests import PageRequest
from sources import queries, services
from sources.consumption import listening
from sources.models import Connection, Replay
from sources.pages.forms import DAYS, ConnectForm, ReplayForm
from sources.services import SourceError
from spaces.clock import clock
from spaces.needs import needs

STOP_POLLING = 286  # htmx swaps the response in and stops polling
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
NOTICED_FOR = timedelta(days=1)  # how long a completed replay is announced


@needs("space.read")
def space_sources(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The sources that this space listens to, and its replays."""
    return render(request, "sources/space_sources.html", _list_context(request))


@needs("space.read")
def replays(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The lists of the page alone. The page polls this every two seconds while a replay runs."""
    context = _list_context(request)
    return render(request, "sources/_listening.html", context, status=200 if context["running"] else STOP_POLLING)


@needs("space.admin")
def connect(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The form that connects sources, and replays their past events if the user wants that."""
    choices = list(queries.connectable(request.space).order_by("name", "id"))
    form = ConnectForm(request.POST if request.method == "POST" else None, sources=choices)
    if request.method == "POST" and form.is_valid():
        wanted = form.cleaned_data
        chosen = [source for source in choices if source.public_id in wanted["sources"]]
        options: dict[str, Any] = {"since_days": wanted["days"], "replay": wanted["replay"]}
        try:
            replay = services.connect(request.space, chosen, clock=clock, by=request, **options)
        except SourceError as error:  # somebody else connected one of them since the form was shown
            form.add_error(None, str(error))
        else:
            names = ", ".join(source.name for source in chosen)
            more = f" A replay of {replay.total:,} events has begun." if replay else ""
            messages.success(request, f"{request.space.name} listens to {names}.{more}")
            return redirect("space-sources", workspace=workspace, space=space)
    counts = queries.events_since(request.workspace, choices, now=clock.now(), days=DAYS)
    before = set(Connection.objects.filter(space=request.space).values_list("source_id", flat=True))
    boxes = [
        {"source": source, "option": option, "events": counts[source.pk], "known": source.pk in before}
        for source, option in zip(choices, form["sources"], strict=True)
    ]
    context = {"form": form, "choices": boxes, "days": DAYS}
    return render(request, "sources/connect.html", context, status=422 if form.errors else 200)


@needs("space.admin")
def disconnect(request: PageRequest, workspace: str, space: str, connection_id: str) -> HttpResponse:
    """A GET asks for confirmation, a POST disconnects."""
    connections = listening(request.space.pk).select_related("source")
    connection = get_object_or_404(connections, public_id=connection_id)
    if request.method == "POST":
        services.disconnect(connection, clock, by=request)
        messages.success(request, f"{request.space.name} no longer listens to {connection.source.name}.")
        return redirect("space-sources", workspace=workspace, space=space)
    return render(request, "sources/disconnect.html", {"source": connection.source, "url": request.path})


@needs("space.admin")
def cancel_replay(request: PageRequest, workspace: str, space: str, replay_id: str) -> HttpResponse:
    """A GET asks for confirmation, a POST cancels the replay unless it has ended."""
    replay = get_object_or_404(_with_sources(Replay.objects.filter(space=request.space)), public_id=replay_id)
    running = replay.state == Replay.State.RUNNING
    if request.method == "POST":
        if running:  # it may have ended while the question was on the screen: then there is nothing to cancel
            services.cancel_replay(replay, clock, by=request)
            messages.success(request, "The replay is cancelled. Its sources are live from here on.")
        return redirect("space-sources", workspace=workspace, space=space)
    context = {"running": running, "row": _replay_context(replay, clock.now()), "url": request.path}
    return render(request, "sources/cancel_replay.html", context)


@needs("space.admin")
def replay_more(request: PageRequest, workspace: str, space: str, connection_id: str) -> HttpResponse:
    """The form that replays the last days of a source. Events that the space already has are left out."""
    connections = listening(request.space.pk).select_related("source", "replay")
    connection = get_object_or_404(connections, public_id=connection_id)
    form = ReplayForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        source, days = connection.source, form.cleaned_data["days"]
        try:
            replay = services.replay_more(request.space, [source], since_days=days, clock=clock, by=request)
        except SourceError as error:
            form.add_error(None, str(error))
        else:
            all_there = f"{request.space.name} has all events of {source.name} of the last {days:,} days."
            if replay:
                messages.success(request, f"A replay of {replay.total:,} events has begun.")
            else:
                messages.info(request, all_there)
            return redirect("space-sources", workspace=workspace, space=space)
    context = {"form": form, "source": connection.source, "connection": connection, "url": request.path}
    return render(request, "sources/replay.html", context, status=422 if form.errors else 200)


def _list_context(request: PageRequest) -> dict[str, Any]:
    """The connections, the running replays, and the newest that ended."""
    space, now = request.space, clock.now()
    connections = list(queries.connections_of(space).select_related("source__tally").order_by("source__name", "id"))
    replays = _with_sources(Replay.objects.filter(space=space)).order_by("-id")
    running = [_replay_context(replay, now) for replay in replays.filter(state=Replay.State.RUNNING)]
    others = replays.exclude(state=Replay.State.RUNNING)[:FINISHED_SHOWN]
    ended = [_replay_context(replay, now) for replay in others]
    newest = None if running or not ended else ended[0]["replay"]
    announced = (
        newest
        and newest.state == Replay.State.COMPLETE
        and (newest.finished_at is None or now - newest.finished_at < NOTICED_FOR)
    )
    return {
        "rows": _rows(connections),
        "replays": running,
        "ended": ended,
        "complete": ended[0] if announced else None,
        "failures": queries.failures_of(space),
        "running": bool(running),
        "as_of": now,
        "connect_url": reverse("space-connect", args=[request.workspace.slug, space.slug]),
    }


def _with_sources(replays: "QuerySet[Replay]") -> "QuerySet[Replay]":
    return replays.prefetch_related("parts__connection__source")


def _rows(connections: list[Connection]) -> list[dict[str, Any]]:
    counts = queries.count_messages([connection.source for connection in connections])  # two queries, for all of them
    return [
        {
            "connection": connection,
            "source": connection.source,
            "state": STATES[Connection.State(connection.state)],
            "listens": connection.state != Connection.State.DISCONNECTED,
            "replay": REPLAYS[Replay.State(connection.replay.state)] if connection.replay else None,
            "share": f"{queries.percent(connection.replay):.1f}" if connection.replay else "",
            "counts": counts[connection.source_id],
            "last": queries.last_received(connection.source),
        }
        for connection in connections
    ]


def _replay_context(replay: Replay, now: datetime) -> dict[str, Any]:
    progress = queries.progress(replay, now)
    return {
        "replay": replay,
        "running": replay.state == Replay.State.RUNNING,
        "state": REPLAYS[Replay.State(replay.state)],
        "sources": ", ".join(sorted(part.connection.source.name for part in replay.parts.all())),
        "percent": progress.percent,
        "event_time": progress.event_time,
        "rate": round(progress.rate),
        "left": _format_duration(progress.seconds_left) if replay.state == Replay.State.RUNNING else "",
        # From the request on, waiting included: so long it took for who asked for it.
        "took": _format_duration((replay.finished_at - replay.created_at).total_seconds())
        if replay.finished_at
        else "",
    }


def _format_duration(seconds: float | None) -> str:
    """A duration: `41 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None:
        return "not known yet"
    whole = timedelta(seconds=round(seconds)) // timedelta(seconds=1)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
