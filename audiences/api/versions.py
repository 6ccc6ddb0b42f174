"""The versions of audiences and computed traits by REST: what each asked for, and back to one of them."""

from drf_spectacular.utils import extend_schema, extend_schema_view
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
from audiences.api.views import owner_of, shown
from audiences.rules.validation import DefinitionError
from spaces.needs import needs

MOST_VERSIONS = 100  # per page


@needs("space.read")
class VersionsView(PagedView):
    pagination_class = Pages.of("versions", order="-number", most=MOST_VERSIONS)
    # Another one for traits, since the description says of which grammar the definition is.
    serializer: type[VersionSerializer] = VersionSerializer

    @extend_schema(operation_id="list_audience_versions", responses=VersionSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """What it asked for since it exists, newest first, and what each change changed."""
        row = owner_of(request, ids)
        details = versions.described(row, self.paginate_queryset(versions.versions_of(row)))
        return self.get_paginated_response(self.serializer(details, many=True).data)


@needs("space.read", POST="space.use")
class RestoreVersionView(APIView):
    @extend_schema(
        operation_id="restore_audience_version", request=RestoreVersion, responses={200: AudienceAnswer, 409: Errors}
    )
    def post(self, request: ApiRequest, space_id: str, version_number: str, **ids: str) -> Response:
        """A new version has the definition of this one, if the newest has another. The old one serves until then."""
        row = owner_of(request, ids)
        version = versions.version_of(row, version_number)
        if version is None:
            raise NotFound(NOTHING)
        try:
            services.restore_version(version, **parsed(RestoreVersion, request), by=request)
        except (DefinitionError, NotPossible) as error:
            raise Conflict(str(error)) from error
        return shown(request, row)


@extend_schema_view(
    get=extend_schema(operation_id="list_computed_trait_versions", responses=TraitVersionSerializer(many=True))
)
class TraitVersionsView(VersionsView):
    serializer = TraitVersionSerializer


@extend_schema_view(
    post=extend_schema(operation_id="restore_computed_trait_version", responses={200: TraitAnswer, 409: Errors})
)
class RestoreTraitVersionView(RestoreVersionView):
    """Of a computed trait."""
