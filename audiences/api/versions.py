"""The versions of audiences and computed traits by REST: what each asked for, and back to one of them."""

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Errors
from access.errors import NOTHING, Conflict
from access.requests import ApiRequest
from access.services import NotPossible
from audiences import services, versions
from audiences.api.serializers import (
    AudienceAnswer,
    RestoreVersion,
    TraitAnswer,
    TraitVersionSerializer,
    VersionSerializer,
)
from audiences.api.traits import shown_trait, trait_of
from audiences.api.views import audience_of, breaks, shown_audience
from audiences.cases import BrokenCases
from audiences.models import Audience
from audiences.rules.validation import DefinitionError
from spaces.needs import needs

MOST_VERSIONS = 100  # per page


class VersionPages(PagedView):
    pagination_class = Pages.of("versions", order="-number", most=MOST_VERSIONS)

    def page(self, row: Audience, serializer: type[VersionSerializer]) -> Response:
        details = versions.described(row, self.paginate_queryset(versions.versions_of(row)))
        return self.get_paginated_response(serializer(details, many=True).data)


@needs("space.read")
@extend_schema(tags=["audiences"])
class VersionsView(VersionPages):
    @extend_schema(operation_id="list_audience_versions", responses=VersionSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """What it asked for since it exists, newest first, and what each change changed."""
        return self.page(audience_of(request, audience_id), VersionSerializer)


@needs("space.read")
@extend_schema(tags=["computed traits"])
class TraitVersionsView(VersionPages):
    @extend_schema(operation_id="list_computed_trait_versions", responses=TraitVersionSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, trait_id: str) -> Response:
        """How it was computed since it exists, newest first, and what each change changed."""
        return self.page(trait_of(request, trait_id), TraitVersionSerializer)


@needs("space.read", POST="space.use")
@extend_schema(tags=["audiences"])
class RestoreVersionView(APIView):
    @extend_schema(
        operation_id="restore_audience_version", request=RestoreVersion, responses={200: AudienceAnswer, 409: Errors}
    )
    def post(self, request: ApiRequest, space_id: str, audience_id: str, version_number: str) -> Response:
        """A new version has the definition of this one, if the newest has another. The old one serves until then."""
        audience = audience_of(request, audience_id)
        restore(request, audience, version_number)
        return shown_audience(request, audience)


@needs("space.read", POST="space.use")
@extend_schema(tags=["computed traits"])
class RestoreTraitVersionView(APIView):
    @extend_schema(
        operation_id="restore_computed_trait_version", request=RestoreVersion, responses={200: TraitAnswer, 409: Errors}
    )
    def post(self, request: ApiRequest, space_id: str, trait_id: str, version_number: str) -> Response:
        """A new version has the definition of this one, if the newest has another."""
        trait = trait_of(request, trait_id)
        restore(request, trait, version_number)
        return shown_trait(request, trait)


def restore(request: ApiRequest, row: Audience, number: str) -> None:
    version = versions.version_of(row, number)
    if version is None:
        raise NotFound(NOTHING)
    try:
        services.restore_version(version, **parsed(RestoreVersion, request), by=request)
    except BrokenCases as error:
        raise breaks(error) from error
    except (DefinitionError, NotPossible) as error:
        raise Conflict(str(error)) from error
