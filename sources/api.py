"""Sources, write keys, what became of messages, connections of a space and their replays by REST."""

from typing import Any

from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api import moment, one
from access.envelope import conflict, data, done, invalid, missing, page, parsed
from access.requests import ApiRequest
from sources import queries, services
from sources.models import Connection, EventName, Reject, Replay, Source
from sources.queries import Fate
from sources.services import SourceError
from spaces.clock import clock
from spaces.needs import needs

MOST_SOURCES = 100  # connected in one request
LONGEST_REPLAY_DAYS = 3 * 365


class SettingsBody(serializers.Serializer[Any]):
    correctClocks = serializers.BooleanField(default=True)
    keepDays = serializers.IntegerField(
        min_value=1, max_value=36_500, allow_null=True, default=None, help_text="null = the installation's setting"
    )


class SourceBody(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    kind = serializers.ChoiceField(choices=Source.Kind.choices, default=Source.Kind.HTTP)
    settings = SettingsBody(required=False)


class SourceChanges(SourceBody):
    enabled = serializers.BooleanField()


class ReplayBody(serializers.Serializer[Any]):
    sourceIds = serializers.ListField(child=serializers.CharField(max_length=40), min_length=1, max_length=MOST_SOURCES)
    days = serializers.IntegerField(min_value=1, max_value=LONGEST_REPLAY_DAYS, default=30)


class ConnectionsBody(serializers.Serializer[Any]):
    sourceIds = serializers.ListField(child=serializers.CharField(max_length=40), min_length=1, max_length=MOST_SOURCES)
    replay = serializers.BooleanField(default=True)
    replayDays = serializers.IntegerField(min_value=1, max_value=LONGEST_REPLAY_DAYS, default=30)


class RejectsAgainBody(serializers.Serializer[Any]):
    ids = serializers.ListField(child=serializers.RegexField(r"\A[0-9]{1,18}\Z"), required=False, max_length=1000)
    code = serializers.CharField(max_length=40, default="", allow_blank=True)
    text = serializers.CharField(max_length=200, default="", allow_blank=True)


@needs("sources.read", POST="sources.edit")
class SourcesView(APIView):
    takes = {"POST": SourceBody}

    def get(self, request: ApiRequest) -> Response:
        """The workspace's sources, oldest first. `waiting` counts accepted requests that are not archived yet."""
        rows = queries.sources_of(request.workspace)
        fates = queries.fates(rows)
        return page(request, rows, name="sources", render=lambda source: render_source(source, request, fates))

    def post(self, request: ApiRequest) -> Response:
        """A new source, with one write key."""
        wanted = parsed(SourceBody, request)
        settings = _settings(wanted.get("settings", {}))
        try:
            source = services.create_source(
                request.workspace, name=wanted["name"], kind=wanted["kind"], by=request, **settings
            )
        except SourceError as error:
            raise conflict(str(error)) from error
        return data(201, source=render_source(source, request))


@needs("sources.read", PATCH="sources.edit", DELETE="sources.edit")
class SourceView(APIView):
    takes = {"PATCH": SourceChanges}

    def get(self, request: ApiRequest, source_id: str) -> Response:
        return data(source=render_source(_source(request, source_id), request))

    def patch(self, request: ApiRequest, source_id: str) -> Response:
        """Rename, enable, disable. A disabled source still gets a 200; what it sends is kept as rejects."""
        source = _source(request, source_id)
        wanted = parsed(SourceChanges, request, partial=True)
        changes = wanted | _settings(wanted.pop("settings", {}))
        return data(source=render_source(services.update_source(source, by=request, **changes), request))

    def delete(self, request: ApiRequest, source_id: str) -> Response:
        """The source and its archive are gone. What spaces made of its events stays."""
        services.delete_source(_source(request, source_id), by=request)
        return done()


@needs("sources.edit")
class WriteKeysView(APIView):
    def post(self, request: ApiRequest, source_id: str) -> Response:
        """One more write key. The others go on working."""
        source = _source(request, source_id)
        services.add_write_key(source, by=request)
        return data(201, source=render_source(_source(request, source_id), request))


@needs("sources.edit")
class WriteKeyView(APIView):
    def delete(self, request: ApiRequest, source_id: str, key: str) -> Response:
        """Whoever sends with it gets a 401 within five seconds."""
        if not services.remove_write_key(_source(request, source_id), key, by=request):
            raise missing()
        return done()


@needs("sources.read")
class RejectsView(APIView):
    paged = True

    def get(self, request: ApiRequest, source_id: str) -> Response:
        """Messages that could not be archived or resolved, newest first, each with the reason."""
        rows = queries.rejects_of(_source(request, source_id))
        return page(request, rows, name="rejects", render=render_reject, order="-id")


@needs("sources.edit")
class RejectsAgainView(APIView):
    takes = {"POST": RejectsAgainBody}

    def post(self, request: ApiRequest, source_id: str) -> Response:
        """Drive rejects again, each once: those named, or all with this code and this text; the oldest 10,000."""
        source = _source(request, source_id)
        wanted = parsed(RejectsAgainBody, request)
        rows = queries.sought_rejects(source, code=wanted["code"], wanted=wanted["text"])
        if "ids" in wanted:
            rows = rows.filter(pk__in=[int(id) for id in wanted["ids"]])
        count = services.retry_rejects(source, rows, by=request)
        return data(count=count, left=queries.retriable(rows).count())


@needs("sources.read")
class EventNamesView(APIView):
    paged = True

    def get(self, request: ApiRequest, source_id: str) -> Response:
        """The source's schema: which events it sent, how often, first and last by event time."""
        rows = queries.event_names_of(_source(request, source_id))
        return page(request, rows, name="events", render=render_event_name)


@needs("space.read", POST="space.admin")
class ConnectionsView(APIView):
    takes = {"POST": ConnectionsBody}
    paged = True

    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The sources that the space listens to, and its newest replay."""
        newest = Replay.objects.filter(space=request.space).order_by("-id").first()
        rows = queries.listening(request.space.pk).select_related("source")
        shown = newest and render_replay(newest)
        return page(request, rows, name="connections", render=render_connection, replay=shown)

    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Listen to these sources. Their past is replayed together as one sequence, oldest event first."""
        wanted = parsed(ConnectionsBody, request)
        sources = _sources(request, wanted["sourceIds"])
        try:
            replay = services.connect(
                request.space,
                sources,
                since_days=wanted["replayDays"],
                replay=wanted["replay"],
                clock=clock,
                by=request,
            )
        except SourceError as error:
            raise conflict(str(error)) from error
        made = queries.listening(request.space.pk).filter(source__in=sources).select_related("source").order_by("id")
        return data(201, connections=[render_connection(row) for row in made], replay=replay and render_replay(replay))


@needs("space.admin")
class ConnectionView(APIView):
    def delete(self, request: ApiRequest, space_id: str, connection_id: str) -> Response:
        """The space stops listening. What it made of the source's events stays."""
        services.disconnect(one(queries.listening(request.space.pk), connection_id), clock, by=request)
        return done()


@needs("space.read", POST="space.admin")
class ReplaysView(APIView):
    takes = {"POST": ReplayBody}
    paged = True

    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The space's replays, newest first."""
        rows = Replay.objects.filter(space=request.space)
        return page(request, rows, name="replays", render=render_replay, order="-id")

    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Replay what the space does not have of the last days of sources that it listens to.

        200 and `null` when it has all of it.
        """
        wanted = parsed(ReplayBody, request)
        sources = _sources(request, wanted["sourceIds"])
        try:
            replay = services.replay_more(request.space, sources, since_days=wanted["days"], clock=clock, by=request)
        except SourceError as error:
            raise conflict(str(error)) from error
        return data(201 if replay else 200, replay=replay and render_replay(replay))


@needs("space.read")
class ReplayView(APIView):
    def get(self, request: ApiRequest, space_id: str, replay_id: str) -> Response:
        return data(replay=render_replay(_replay(request, replay_id)))


@needs("space.admin")
class CancelReplayView(APIView):
    def post(self, request: ApiRequest, space_id: str, replay_id: str) -> Response:
        """No more of the past is read; its sources are live from now on."""
        replay = _replay(request, replay_id)
        if replay.state != Replay.State.RUNNING:
            raise conflict("This replay is not running.")
        services.cancel_replay(replay, clock, by=request)
        return data(replay=render_replay(_replay(request, replay_id)))


def _settings(sent: dict[str, Any]) -> dict[str, Any]:
    """Of these settings of a source those that were sent, by our names."""
    names = {"correctClocks": "correct_clocks", "keepDays": "keep_days"}
    return {ours: sent[theirs] for theirs, ours in names.items() if theirs in sent}


def render_source(source: Source, request: ApiRequest, fates: dict[int, Fate] | None = None) -> dict[str, Any]:
    """Write keys only for those who may edit sources."""
    fate = (fates or queries.fates([source]))[source.pk]
    keys = source.write_keys.all() if request.membership.may("sources.edit") else []
    return {
        "id": source.public_id,
        "slug": source.slug,
        "name": source.name,
        "kind": source.kind,
        "enabled": source.enabled,
        "writeKeys": [key.key for key in sorted(keys, key=lambda key: key.pk)],
        "settings": {"correctClocks": source.correct_clocks, "keepDays": source.keep_days},
        "tally": {
            "archived": fate.archived,
            "doubled": fate.doubled,
            "rejected": fate.rejected,
            "waiting": fate.waiting,
        },
        "createdAt": moment(source.created_at),
    }


def render_reject(reject: Reject) -> dict[str, Any]:
    return {
        "id": str(reject.pk),
        "receivedAt": moment(reject.received_at),
        "code": reject.code,
        "reason": reject.reason,
        "path": reject.path,
        "messageId": reject.message_id,
        "message": reject.message,
        "messages": reject.messages,
        "space": reject.space.public_id if reject.space else None,
        "retriable": reject.retriable and not reject.again,
    }


def render_event_name(seen: EventName) -> dict[str, Any]:
    return {
        "type": seen.type,
        "event": seen.event,
        "archived": seen.archived,
        "firstSeenAt": moment(seen.first_seen_at),
        "lastSeenAt": moment(seen.last_seen_at),
    }


def render_connection(connection: Connection) -> dict[str, Any]:
    return {
        "id": connection.public_id,
        "sourceId": connection.source.public_id,
        "sourceName": connection.source.name,
        "state": connection.state,
        "createdAt": moment(connection.created_at),
    }


def render_replay(replay: Replay) -> dict[str, Any]:
    progress = queries.progress(replay, clock.now())
    return {
        "id": replay.public_id,
        "state": replay.state,
        "since": moment(replay.since),
        "until": moment(replay.until),
        "total": replay.total,
        "done": replay.done,
        "percent": progress.percent,
        "eventTime": moment(progress.event_time),
        "eventsPerSecond": progress.rate,
        "secondsLeft": progress.seconds_left,
        "createdAt": moment(replay.created_at),
        "startedAt": moment(replay.started_at),
        "finishedAt": moment(replay.finished_at),
    }


def _source(request: ApiRequest, source_id: str) -> Source:
    found: Source = one(queries.sources_of(request.workspace), source_id)
    return found


def _sources(request: ApiRequest, ids: list[str]) -> list[Source]:
    """In the order named, each once. Raises ApiError for one that the workspace does not have."""
    known = {source.public_id: source for source in Source.objects.filter(workspace=request.workspace)}
    for place, id in enumerate(ids):
        if id not in known:
            raise invalid("There is no such source.", f"sourceIds[{place}]")
    return [known[id] for id in dict.fromkeys(ids)]


def _replay(request: ApiRequest, replay_id: str) -> Replay:
    found: Replay = one(Replay.objects.filter(space=request.space), replay_id)
    return found
