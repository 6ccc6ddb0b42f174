"""Computed traits by REST: how they are computed, and who has which value."""

from typing import cast

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Errors, answer
from access.errors import NOTHING
from access.requests import ApiRequest
from audiences import overview, services, trait_overview
from audiences.api.serializers import (
    ChangeTrait,
    ChangeTraits,
    ComputedTraitSerializer,
    CreateTrait,
    KeptValueSerializer,
    PersonValueSerializer,
    PreviewTrait,
    SeveralAnswer,
    TraitAnswer,
    TraitPreviewAnswer,
)
from audiences.api.views import (
    FOLDER,
    LABEL,
    AudienceView,
    DuplicateView,
    changed_several,
    created,
    labelled,
    previewed,
    shown,
    trait_of,
)
from audiences.distribution import distribution
from identity.queries import profile_of
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
from spaces.needs import needs


def of_trait(view: type[APIView], **operations: str) -> type[APIView]:
    """A view of audiences at the address of computed traits. operations: the id of each method's."""
    described = {method: extend_schema(operation_id=id) for method, id in operations.items()}
    # A class of its own: what is described of a view is kept at the class.
    copy = cast("type[APIView]", type(f"Trait{view.__name__}", (view,), {}))
    return extend_schema_view(**described)(copy)


@needs("space.read", POST="space.use")
class ComputedTraitsView(PagedView):
    pagination_class = Pages.of("computedTraits")

    @extend_schema(
        operation_id="list_computed_traits", parameters=[LABEL, FOLDER], responses=ComputedTraitSerializer(many=True)
    )
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The space's computed traits, oldest first; or those with a label."""
        context, neighbours = {"as_of": overview.as_of(request.space)}, overview.Neighbours(request.space.pk)
        traits = self.paginate_queryset(labelled(request, overview.traits_of(request.space)))
        details = [overview.overview(trait, neighbours) for trait in traits]
        return self.get_paginated_response(ComputedTraitSerializer(details, many=True, context=context).data)

    @extend_schema(operation_id="create_computed_trait", request=CreateTrait, responses={201: TraitAnswer})
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new computed trait. Its values are computed at once, and kept up to date."""
        made = created(request, CreateTrait, services.create_trait, clock.now())
        return shown(request, made, 201)


@extend_schema_view(
    get=extend_schema(operation_id="get_computed_trait", responses=TraitAnswer),
    patch=extend_schema(
        operation_id="change_computed_trait", request=ChangeTrait, responses={200: TraitAnswer, 409: Errors}
    ),
    delete=extend_schema(operation_id="delete_computed_trait"),
)
class ComputedTraitView(AudienceView):
    body = ChangeTrait


@needs("space.read", POST="space.use")
class SeveralTraitsView(APIView):
    @extend_schema(operation_id="change_several_computed_traits", request=ChangeTraits, responses=SeveralAnswer)
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Several are enabled, disabled, moved, deleted or labelled. What cannot be done with one stops no other."""
        body = parsed(ChangeTraits, request)
        return changed_several(request, overview.traits_of(request.space), body, body["traitIds"], clock.now())


@extend_schema_view(
    post=extend_schema(operation_id="duplicate_computed_trait", responses={201: TraitAnswer, 409: Errors})
)
class DuplicateTraitView(DuplicateView):
    """Of a computed trait."""


@needs("space.read")
class TraitValuesView(PagedView):
    pagination_class = Pages.of("values")

    @extend_schema(operation_id="list_trait_values", responses=PersonValueSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, trait_id: str) -> Response:
        """Everybody who has a value, with it."""
        trait = trait_of(request, trait_id)
        # A sequence that reads one page of profiles and values at a time: a trait may have millions.
        return self.paged(trait_overview.Values(trait), PersonValueSerializer)


@needs("space.read")
@lane(QUERIES)
class TraitPreviewView(APIView):
    @extend_schema(
        operation_id="preview_computed_trait", request=PreviewTrait, responses={200: TraitPreviewAnswer, 503: Errors}
    )
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Who would have which value now. Changes nothing."""
        body, preview = previewed(request, PreviewTrait, services.preview_trait, clock.now())
        context = {
            "spread": distribution(
                # A distribution is over all who have a value, the sample over a few of them.
                [trait_overview.readable(body["definition"], value) for value in preview.values.values()]
            ),
            "sample": trait_overview.sample(request.space, preview.values, body["sampleSize"], body["definition"]),
        }
        return answer(TraitPreviewAnswer, preview=preview, context=context)


@needs("space.read")
class ProfileTraitsView(PagedView):
    pagination_class = Pages.of("computedTraits")

    @extend_schema(operation_id="list_computed_traits_of_profile", responses=KeptValueSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, profile_id: str) -> Response:
        """The computed traits that a person has, by name."""
        profile = profile_of(request.space, profile_id)
        if profile is None:
            raise NotFound(NOTHING)
        return self.paged(trait_overview.of_profile(request.space, profile.number), KeptValueSerializer)
