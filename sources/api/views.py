"""Sources, write keys, what became of messages, connections of a space and their replays by REST."""

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Errors, Success, answer, done
from access.errors import NOTHING, Conflict, invalid
from access.requests import ApiRequest
from sources import queries, services
from sources.api.serializers import (
    AskedReplayAnswer,
    ChangeSource,
    ConnectedAnswer,
    ConnectionSerializer,
    ConnectSources,
    CreateReplay,
    CreateSource,
    EventNameSerializer,
    RefusedRequestSerializer,
    RejectSerializer,
    ReplayAnswer,
    ReplaySerializer,
    RetriedAnswer,
    RetryRejects,
    SourceAnswer,
    SourceSerializer,
)
from sources.consumption import listening
from sources.models import Replay, Source
from spaces.clock import clock
from spaces.needs import needs


@needs("sources.read", POST="sources.edit")
class SourcesView(PagedView):
    pagination_class = Pages.of("sources")

    @extend_schema(operation_id="list_sources", responses=SourceSerializer(many=True))
    def get(self, request: ApiRequest) -> Response:
        """The workspace's sources, oldest first. `waiting` counts accepted requests that are not archived yet."""
        sources = self.paginate_queryset(queries.sources_of(request.workspace))
        # For the whole page at once: each of a thousand sources would ask by itself otherwise.
        context = {"request": request, "counts": queries.count_messages(sources)}
        return self.get_paginated_response(SourceSerializer(sources, many=True, context=context).data)

    @extend_schema(operation_id="create_source", request=CreateSource, responses={201: SourceAnswer, 409: Errors})
    def post(self, request: ApiRequest) -> Response:
        """A new source, with one write key."""
        wanted = parsed(CreateSource, request)
        settings = wanted.pop("settings", {})  # nested for those who call, columns like any other here
        source = services.create_source(request.workspace, **wanted, **settings, by=request)
        return _shown(request, source, 201)


@needs("sources.read", PATCH="sources.edit", DELETE="sources.edit")
class SourceView(APIView):
    @extend_schema(operation_id="get_source", responses=SourceAnswer)
    def get(self, request: ApiRequest, source_id: str) -> Response:
        """One source."""
        return _shown(request, _source(request, source_id))

    @extend_schema(operation_id="change_source", request=ChangeSource, responses=SourceAnswer)
    def patch(self, request: ApiRequest, source_id: str) -> Response:
        """Rename, enable, disable. A disabled source still gets a 200; what it sends is kept as rejects."""
        source = _source(request, source_id)
        changes = parsed(ChangeSource, request)
        changes |= changes.pop("settings", {})
        return _shown(request, services.update_source(source, by=request, **changes))

    @extend_schema(operation_id="delete_source", responses={200: Success})
    def delete(self, request: ApiRequest, source_id: str) -> Response:
        """The source and its archive are gone. What spaces made of its events stays."""
        services.delete_source(_source(request, source_id), by=request)
        return done()


@needs("sources.edit")
class WriteKeysView(APIView):
    @extend_schema(operation_id="create_write_key", request=None, responses={201: SourceAnswer})
    def post(self, request: ApiRequest, source_id: str) -> Response:
        """One more write key. The others go on working."""
        source = _source(request, source_id)
        services.add_write_key(source, by=request)
        # Read again: the keys that came with the source are from before.
        return _shown(request, _source(request, source_id), 201)


@needs("sources.edit")
class WriteKeyView(APIView):
    @extend_schema(operation_id="delete_write_key", responses={200: Success})
    def delete(self, request: ApiRequest, source_id: str, key: str) -> Response:
        """Whoever sends with it gets a 401 within five seconds."""
        # Not a second success: a key that was mistyped would be taken for one that is revoked.
        if not services.remove_write_key(_source(request, source_id), key, by=request):
            raise NotFound(NOTHING)
        return done()


@needs("sources.read")
class RejectsView(PagedView):
    pagination_class = Pages.of("rejects", order="-id")

    @extend_schema(operation_id="list_rejects", responses=RejectSerializer(many=True))
    def get(self, request: ApiRequest, source_id: str) -> Response:
        """Messages that could not be archived or resolved, newest first, each with the reason."""
        return self.paged(queries.rejects_of(_source(request, source_id)), RejectSerializer)


@needs("sources.read")
class RefusedRequestsView(PagedView):
    pagination_class = Pages.of("requests", order="-id")

    @extend_schema(operation_id="list_refused_requests", responses=RefusedRequestSerializer(many=True))
    def get(self, request: ApiRequest, source_id: str) -> Response:
        """Requests with a key of the source that were refused: too large, no JSON, at a wrong address, too many."""
        return self.paged(queries.refused_requests_of(_source(request, source_id)), RefusedRequestSerializer)


@needs("sources.edit")
class RejectsAgainView(APIView):
    @extend_schema(operation_id="retry_rejects", request=RetryRejects, responses=RetriedAnswer)
    def post(self, request: ApiRequest, source_id: str) -> Response:
        """Drive rejects again, each once: those named, or all with this code and this text; the oldest 10,000."""
        source = _source(request, source_id)
        wanted = parsed(RetryRejects, request)
        rows = queries.sought_rejects(source, code=wanted["code"], wanted=wanted["text"])
        if "ids" in wanted:  # an empty list names none, where no list at all would mean every one
            rows = rows.filter(pk__in=[int(id) for id in wanted["ids"]])
        count = services.retry_rejects(source, rows, by=request)
        # Counted afterwards: whoever drives tens of thousands calls until nothing is left.
        return answer(RetriedAnswer, count=count, left=queries.retriable(rows).count())


@needs("sources.read")
class EventNamesView(PagedView):
    pagination_class = Pages.of("events")

    @extend_schema(operation_id="list_event_names", responses=EventNameSerializer(many=True))
    def get(self, request: ApiRequest, source_id: str) -> Response:
        """The source's schema: which events it sent, how often, first and last by event time."""
        return self.paged(queries.event_names_of(_source(request, source_id)), EventNameSerializer)


# What stands beside the connections has no serializer of its own in a page, so its schema is written here.
NEWEST = {"replay": {"oneOf": [{"$ref": "#/components/schemas/Replay"}, {"type": "null"}]}}


@needs("space.read", POST="space.admin")
class ConnectionsView(PagedView):
    pagination_class = Pages.of("connections", beside=NEWEST)

    @extend_schema(operation_id="list_connections", responses=ConnectionSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The sources that the space listens to, and its newest replay."""
        newest = Replay.objects.filter(space=request.space).order_by("-id").first()
        rows = listening(request.space.pk).select_related("source")
        return self.paged(rows, ConnectionSerializer, replay=newest and ReplaySerializer(newest).data)

    @extend_schema(
        operation_id="connect_sources", request=ConnectSources, responses={201: ConnectedAnswer, 409: Errors}
    )
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Listen to these sources. Their past is replayed together as one sequence, oldest event first."""
        wanted = parsed(ConnectSources, request)
        sources = _sources(request, wanted["sourceIds"])
        replay = services.connect(
            request.space,
            sources,
            since_days=wanted["replayDays"],
            replay=wanted["replay"],
            clock=clock,
            by=request,
        )
        connections = listening(request.space.pk).filter(source__in=sources)
        rows = connections.select_related("source").order_by("id")
        return answer(ConnectedAnswer, 201, connections=rows, replay=replay)


@needs("space.admin")
class ConnectionView(APIView):
    @extend_schema(operation_id="disconnect_source", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, connection_id: str) -> Response:
        """The space stops listening. What it made of the source's events stays."""
        # Of those that listen: a second call finds nothing, and changes no cut-off.
        connection = get_object_or_404(listening(request.space.pk), public_id=connection_id)
        services.disconnect(connection, clock, by=request)
        return done()


@needs("space.read", POST="space.admin")
class ReplaysView(PagedView):
    pagination_class = Pages.of("replays", order="-id")

    @extend_schema(operation_id="list_replays", responses=ReplaySerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The space's replays, newest first."""
        return self.paged(Replay.objects.filter(space=request.space), ReplaySerializer)

    @extend_schema(
        operation_id="create_replay",
        request=CreateReplay,
        responses={200: AskedReplayAnswer, 201: AskedReplayAnswer, 409: Errors},
    )
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Replay what the space does not have of the last days of sources that it listens to.

        200 and `null` when it has all of it.
        """
        wanted = parsed(CreateReplay, request)
        sources = _sources(request, wanted["sourceIds"])
        replay = services.replay_more(request.space, sources, since_days=wanted["days"], clock=clock, by=request)
        return answer(AskedReplayAnswer, 201 if replay else 200, replay=replay)


@needs("space.read")
class ReplayView(APIView):
    @extend_schema(operation_id="get_replay", responses=ReplayAnswer)
    def get(self, request: ApiRequest, space_id: str, replay_id: str) -> Response:
        """One replay, and how far it is."""
        return answer(ReplayAnswer, replay=_replay(request, replay_id))


@needs("space.admin")
class CancelReplayView(APIView):
    @extend_schema(operation_id="cancel_replay", request=None, responses={200: ReplayAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, replay_id: str) -> Response:
        """No more of the past is read; its sources are live from now on."""
        replay = _replay(request, replay_id)
        # It may have ended since its caller looked: what is complete is not to be told as cancelled.
        if replay.state != Replay.State.RUNNING:
            raise Conflict("This replay is not running.")
        services.cancel_replay(replay, clock, by=request)
        return answer(ReplayAnswer, replay=_replay(request, replay_id))


def _shown(request: ApiRequest, source: Source, code: int = 200) -> Response:
    return answer(SourceAnswer, code, source=source, context={"request": request})


def _source(request: ApiRequest, source_id: str) -> Source:
    return get_object_or_404(queries.sources_of(request.workspace), public_id=source_id)


def _sources(request: ApiRequest, ids: list[str]) -> list[Source]:
    """In the order named, each once. Raises ValidationError for one that the workspace does not have."""
    # Of the workspace, so that another tenant's source is as unknown as one that is not there.
    known = {source.public_id: source for source in Source.objects.filter(workspace=request.workspace)}
    for place, id in enumerate(ids):
        if id not in known:
            raise invalid("There is no such source.", f"sourceIds[{place}]")
    return [known[id] for id in dict.fromkeys(ids)]


def _replay(request: ApiRequest, replay_id: str) -> Replay:
    return get_object_or_404(Replay, space=request.space, public_id=replay_id)
