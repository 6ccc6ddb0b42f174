"""Privacy by REST: regulations of a workspace and of a space, who is suppressed, and all that is known of a person."""

from itertools import chain
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Errors, answer
from access.errors import NOTHING, invalid
from access.requests import ApiRequest
from access.services import audit
from identity.queries import holders, profile_of
from privacy import queries, services
from privacy.api.serializers import (
    CreateRegulation,
    KnownAnswer,
    LookUpSuppressed,
    RegulationAnswer,
    RegulationSerializer,
    SuppressedAnswer,
)
from privacy.export import as_json, parts_of
from privacy.rules.subjects import SubjectError, subjects
from sources.rules.suppression import Identifier
from sources.suppression import suppressed
from spaces.clock import clock
from spaces.needs import needs


class _Regulations(PagedView):
    """Below a workspace or below a space: `request.space` says which."""

    pagination_class = Pages.of("regulations", order="-id")

    def _listed(self, request: ApiRequest) -> Response:
        return self.paged(queries.regulations_of(request.workspace, request.space), RegulationSerializer)

    def _created(self, request: ApiRequest) -> Response:
        body = parsed(CreateRegulation, request)
        regulation = services.regulate(
            request.workspace,
            kind=body["regulationType"],
            subjects=_subjects(body),
            space=request.space,
            now=clock.now(),
            by=request,
        )
        return answer(RegulationAnswer, 201, regulation=regulation)


@needs("workspace.manage")
class RegulationsView(_Regulations):
    @extend_schema(operation_id="list_regulations", responses=RegulationSerializer(many=True))
    def get(self, request: ApiRequest) -> Response:
        """What was asked for about people of the workspace and of its spaces, newest first."""
        return self._listed(request)

    @extend_schema(
        operation_id="create_regulation", request=CreateRegulation, responses={201: RegulationAnswer, 409: Errors}
    )
    def post(self, request: ApiRequest) -> Response:
        """Erase people from every space and from the archive, suppress them, or suppress them no longer."""
        return self._created(request)


@needs("space.admin")
class SpaceRegulationsView(_Regulations):
    @extend_schema(operation_id="list_regulations_of_space", responses=RegulationSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """What was asked for about people of this space alone, newest first."""
        return self._listed(request)

    @extend_schema(
        operation_id="create_regulation_of_space",
        request=CreateRegulation,
        responses={201: RegulationAnswer, 409: Errors},
    )
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Erase people from this space. The archive stays, since other spaces read it; so nobody can be suppressed."""
        return self._created(request)


class _Regulation(APIView):
    def _shown(self, request: ApiRequest, regulation_id: str) -> Response:
        # Of this space or workspace alone: another one's regulation is not found, and not refused.
        rows = queries.regulations_of(request.workspace, request.space)
        return answer(RegulationAnswer, regulation=get_object_or_404(rows, public_id=regulation_id))


@needs("workspace.manage")
class RegulationView(_Regulation):
    @extend_schema(operation_id="get_regulation", responses=RegulationAnswer)
    def get(self, request: ApiRequest, regulation_id: str) -> Response:
        """How far it is, and what came of it: by store, and by destination."""
        return self._shown(request, regulation_id)


@needs("space.admin")
class SpaceRegulationView(_Regulation):
    @extend_schema(operation_id="get_regulation_of_space", responses=RegulationAnswer)
    def get(self, request: ApiRequest, space_id: str, regulation_id: str) -> Response:
        """How far it is, and what came of it: by store, and by destination."""
        return self._shown(request, regulation_id)


@needs("workspace.manage")
class SuppressedView(APIView):
    @extend_schema(operation_id="look_up_suppressed", request=LookUpSuppressed, responses=SuppressedAnswer)
    def post(self, request: ApiRequest) -> Response:
        """Whether each of these is suppressed. Only hashes are kept, so the list cannot be read, only asked."""
        # In a body and by POST: addresses of people must not be in the logs of proxies.
        wanted = _subjects(parsed(LookUpSuppressed, request))
        known = suppressed(request.workspace.pk, wanted)
        return answer(
            SuppressedAnswer,
            subjects=[
                {"type": type, "value": value, "suppressed": is_on}
                for (type, value), is_on in zip(wanted, known, strict=True)
            ],
        )


@needs("space.pii")
class ExportView(APIView):
    @extend_schema(operation_id="export_profile", responses=KnownAnswer)
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> StreamingHttpResponse:
        """All that is known about a person. It is streamed, however long it is; the audit trail says who asked."""
        type, colon, value = profile_id.partition(":")
        profile = holders(request.space, type, value).first() if colon else profile_of(request.space, profile_id)
        if profile is None:
            raise NotFound(NOTHING)
        # Before the first byte: whoever breaks it off has seen some of it, too.
        audit(request, "privacy.exported", request.space, profile=profile.public_id)
        known = as_json(parts_of(request.space, profile))
        # The envelope by hand: a serializer would need all of it in memory first.
        return StreamingHttpResponse(chain(['{"data": {"known": '], known, ["}}"]), content_type="application/json")


def _subjects(body: dict[str, Any]) -> list[Identifier]:
    try:
        return subjects([(row["type"], row["value"]) for row in body["subjects"]])
    except SubjectError as error:
        raise invalid(str(error), f"subjects[{error.place}].value") from error
