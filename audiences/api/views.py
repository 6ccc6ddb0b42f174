"""Audiences by REST: what they say, who is in them, who came and went."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from pyroaring import BitMap
from rest_framework.exceptions import APIException, NotFound
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import AT, Errors, Success, answer, done, moment
from access.errors import NOTHING, Conflict, Unavailable, invalid
from access.requests import ApiRequest
from access.services import NotPossible
from audiences import bulk, explain, history, overview, queries, services, suggestions
from audiences.api.errors import NOT_NOW, wrong
from audiences.api.serializers import (
    AudienceAnswer,
    AudienceSerializer,
    ChangeAudience,
    ChangeAudiences,
    ChangeSerializer,
    ConditionKindsAnswer,
    CreateAudience,
    DuplicateAudience,
    ExplanationAnswer,
    ForecastAnswer,
    MemberSerializer,
    MovedPersonSerializer,
    MovementAnswer,
    OverlapAnswer,
    PreviewAnswer,
    PreviewAudience,
    SeenAnswer,
    SeveralAnswer,
    TraitAnswer,
)
from audiences.conditions import KINDS
from audiences.failures import unreadable
from audiences.models import Audience, Change, ComputedTrait
from audiences.never_seen import never_seen
from audiences.queries import Unanswerable
from audiences.rules import grammar
from audiences.rules.folders import tidied_folder
from audiences.rules.grammar import DEEPEST, GROUPS, MOST_CONDITIONS
from audiences.rules.labels import LabelRefused, one_label
from audiences.rules.operators import OPERATORS
from audiences.rules.validation import DefinitionError
from audiences.rules.windows import UNITS
from audiences.value_types import types_sent
from identity.queries import profile_of
from spaces.clock import clock
from spaces.lanes import QUERIES, lane
from spaces.needs import needs

MOST_CHANGES = 100  # per page
INCLUDED = "identifiers"
INCLUDE = OpenApiParameter("include", enum=[INCLUDED], description="Also by which ids each is known.")
AT_MOMENT = OpenApiParameter("at", OpenApiTypes.DATETIME, description="Who was in it then.")
MOST_OF_A_MOMENT = 40  # characters
MOST_DAYS = 31
TYPED = (suggestions.PROPERTY_VALUE, suggestions.TRAIT_VALUE)
LABEL = OpenApiParameter("label", description="Only what has this label.")
FOLDER = OpenApiParameter("folder", description="Only what is in this folder or below it.")
# What a definition costs is its own fault, and a store that is away is not: one is refused, the other is 503.
TOO_HEAVY = "This takes more time or memory than one question may. Ask about a shorter time, or with fewer conditions."

logger = logging.getLogger(__name__)


@needs("space.read", POST="space.use")
class AudiencesView(PagedView):
    pagination_class = Pages.of("audiences")

    @extend_schema(operation_id="list_audiences", parameters=[LABEL, FOLDER], responses=AudienceSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The space's audiences, oldest first; or those with a label."""
        # Read once for the page: each audience that asks about others would read them again.
        context, neighbours = {"as_of": overview.as_of(request.space)}, overview.Neighbours(request.space.pk)
        audiences = self.paginate_queryset(labelled(request, overview.audiences_of(request.space)))
        details = [overview.overview(audience, neighbours) for audience in audiences]
        return self.get_paginated_response(AudienceSerializer(details, many=True, context=context).data)

    @extend_schema(operation_id="create_audience", request=CreateAudience, responses={201: AudienceAnswer})
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new audience. It is computed at once, and kept up to date as events arrive and as time passes."""
        made = created(request, CreateAudience, services.create_audience, clock.now())
        return shown(request, made, 201)


@needs("space.read", PATCH="space.use", DELETE="space.use")
class AudienceView(APIView):
    body: type[ChangeAudience] = ChangeAudience

    @extend_schema(operation_id="get_audience", responses=AudienceAnswer)
    def get(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """`status` is that of what serves, `error` that of the newest definition, which may not serve yet. `size` of a
        computed trait is how many have a value."""
        return shown(request, owner_of(request, ids))

    @extend_schema(operation_id="change_audience", request=ChangeAudience, responses={200: AudienceAnswer, 409: Errors})
    def patch(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """What is given changes. After a new definition the old one serves until the new one is computed."""
        row = owner_of(request, ids)
        try:
            services.change_audience(row, by=request, **parsed(self.body, request))
        except DefinitionError as error:
            raise wrong(error) from error
        return shown(request, row)

    @extend_schema(operation_id="delete_audience", responses={200: Success, 409: Errors})
    def delete(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """It is gone, unless another audience asks about it. Who is in a tool by it stays there."""
        services.delete_audience(owner_of(request, ids), now=clock.now(), by=request)
        return done()


@needs("space.read", POST="space.use")
class SeveralAudiencesView(APIView):
    @extend_schema(operation_id="change_several_audiences", request=ChangeAudiences, responses=SeveralAnswer)
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Several are enabled, disabled, moved, deleted or labelled. What cannot be done with one stops no other."""
        body = parsed(ChangeAudiences, request)
        return changed_several(request, overview.audiences_of(request.space), body, body["audienceIds"], clock.now())


@needs("space.read", POST="space.use")
class EndView(APIView):
    @extend_schema(operation_id="end_audience", request=None, responses={200: AudienceAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """Everybody in it is sent out of its destinations first, and it is deleted when that is done.

        A destination that cannot be reached holds that up; to delete the audience then deletes it at once.
        """
        audience = audience_of(request, audience_id)
        services.end_audience(audience, now=clock.now(), by=request)
        return shown(request, audience)


@needs("space.read", POST="space.use")
class DuplicateView(APIView):
    @extend_schema(
        operation_id="duplicate_audience",
        request=DuplicateAudience,
        responses={201: AudienceAnswer, 409: Errors},
    )
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """A new one with the newest definition, description and options of this one. It is sent nowhere."""
        original = owner_of(request, ids)
        try:
            copied = services.duplicate(original, by=request, **parsed(DuplicateAudience, request))
        except DefinitionError as error:
            raise Conflict(f"It asks for what cannot be created: {error}.") from error
        return shown(request, copied, 201)


@needs("space.read")
@lane(QUERIES)
class PreviewView(APIView):
    @extend_schema(
        operation_id="preview_audience",
        request=PreviewAudience,
        responses={200: PreviewAnswer, 409: Errors, 503: Errors},
    )
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """Who would be in it now: exactly how many, and some of them. Changes nothing."""
        body, preview = previewed(request, PreviewAudience, services.preview, clock.now())
        context = {
            "sample": overview.sample(request.space, preview.members, body["sampleSize"]),
            "unseen": never_seen(request.space, grammar.parse(body["definition"])),
        }
        return answer(PreviewAnswer, preview=preview, context=context)


@needs("space.read")
@lane(QUERIES)
class MembersView(PagedView):
    pagination_class = Pages.of(
        "members",
        beside={
            "status": {"type": "string", "enum": Audience.Status.values},
            "computed": {"type": "boolean"},
            "tick": {"type": "integer", "examples": [17]},
            "asOf": {"type": ["string", "null"], "format": "date-time", "examples": [AT]},
        },
    )

    @extend_schema(operation_id="list_members", parameters=[INCLUDE, AT_MOMENT], responses=MemberSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """Who is in it as of `asOf`, if it is `computed`: before its first computation nobody is known to be.

        `tick` is the same on all pages unless somebody entered or left in between. With `at`, who was in it then, by
        the profiles that these people are now.
        """
        audience = audience_of(request, audience_id)
        seen = overview.overview(audience)
        # Members, tick and moment belong together; read one by one, a tick could come between them.
        standing = overview.standing(audience)
        if at := _moment(request, "at"):
            try:
                standing = replace(standing, members=history.members_at(audience, at, clock.now()), as_of=at)
            except NotPossible as error:
                raise invalid(str(error), "at") from error
        members, context = _people(request, standing.members)
        return self.paged(
            members,
            MemberSerializer,
            context=context,
            status=seen.status,
            computed=seen.computed,
            tick=standing.tick,
            asOf=moment(standing.as_of) if seen.computed else None,
        )


@needs("space.read")
@lane(QUERIES)
class MovementView(APIView):
    @extend_schema(
        operation_id="get_movement",
        parameters=[
            OpenApiParameter("since", OpenApiTypes.DATETIME, required=True, description="The first moment."),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description="The second; now when it is not given."),
        ],
        responses=MovementAnswer,
    )
    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """How many were in it at two moments, and how many entered and left in between."""
        audience, now = audience_of(request, audience_id), clock.now()
        since = _moment(request, "since")
        if since is None:
            raise invalid("This field is required.", "since")
        try:
            movement = history.movement(audience, since, _moment(request, "until") or now, now)
        except NotPossible as error:
            raise invalid(str(error), "since") from error
        return answer(MovementAnswer, movement=movement)


@needs("space.read")
@lane(QUERIES)
class OverlapView(APIView):
    @extend_schema(
        operation_id="get_overlap",
        parameters=[OpenApiParameter("with", required=True, description="The id of another audience.")],
        responses=OverlapAnswer,
    )
    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """How many people are in both audiences now, and how many in one of them alone."""
        audience = audience_of(request, audience_id)
        asked = request.query_params.get("with", "")
        other = overview.audiences_of(request.space).filter(of=audience.of, public_id=asked).first()
        if other is None:
            raise invalid(f"There is no such audience of {audience.of}.", "with")
        return answer(OverlapAnswer, overlap=history.overlap(audience, other))


@needs("space.read")
@lane(QUERIES)
class ForecastView(APIView):
    @extend_schema(
        operation_id="get_forecast",
        parameters=[OpenApiParameter("days", OpenApiTypes.INT, description="How many, 1 to 31; 7 when not given.")],
        responses={200: ForecastAnswer, 409: Errors, 503: Errors},
    )
    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """How it goes on by the clock alone, if no event arrives: on each of the next days. Nothing = it does not."""
        audience, days = audience_of(request, audience_id), request.query_params.get("days", "7")
        if not (days.isascii() and days.isdecimal() and len(days) < 3 and 1 <= int(days) <= MOST_DAYS):
            raise invalid(f"Must be a whole number from 1 to {MOST_DAYS}.", "days")
        if audience.serving is None:
            raise Conflict("The audience is not computed yet.")
        moments = [clock.now() + timedelta(days=day) for day in range(1, int(days) + 1)]
        try:
            forecast = history.forecast(audience.serving, moments)
        except DefinitionError as error:
            raise Conflict(str(error)) from error
        return answer(ForecastAnswer, forecast=forecast)


@needs("space.read")
@lane(QUERIES)
class ChangesView(PagedView):
    pagination_class = Pages.of("changes", order="-id", most=MOST_CHANGES)

    @extend_schema(operation_id="list_changes", responses=ChangeSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """Who entered and left, newest first, and why: events, the clock, a computation, or the end of a replay.

        `count` is exact; of each side the first 100 are named. All of them: by the `id` of the change.
        """
        rows = Change.objects.filter(audience=audience_of(request, audience_id)).select_related("space")
        return self.paged(rows, ChangeSerializer)


@needs("space.read")
class MovedView(PagedView):
    pagination_class = Pages.of("people")
    side: str

    def moved(self, request: ApiRequest, audience_id: str, change_id: str) -> Response:
        tick, _, cause = change_id.partition("-")
        # The id comes from an address, where anything may stand: a number beyond bigint would be an error of the
        # database.
        if not tick.isascii() or not tick.isdecimal() or len(tick) > 18:
            raise NotFound(NOTHING)
        change = Change.objects.filter(audience=audience_of(request, audience_id), tick=int(tick), cause=cause).first()
        if change is None:
            raise NotFound(NOTHING)
        people, context = _people(request, queries.bitmap(getattr(change, self.side)))
        return self.paged(people, MovedPersonSerializer, context=context)


@needs("space.read")
@lane(QUERIES)
class ExplanationView(APIView):
    @extend_schema(operation_id="explain_membership", responses={200: ExplanationAnswer, 409: Errors, 503: Errors})
    def get(self, request: ApiRequest, space_id: str, profile_id: str, audience_id: str) -> Response:
        """Why a person is in an audience, or is not: each condition, with what was found."""
        profile = profile_of(request.space, profile_id)
        audience = audience_of(request, audience_id)
        # 404 for both: that an account is no person is no secret, but neither is it an error of the caller's body.
        if profile is None or audience.of != explain.whom(profile):
            raise NotFound(NOTHING)
        try:
            explanation = explain.explain(request.space, audience, profile, now=clock.now())
        except DefinitionError as error:
            raise Conflict(unreadable(error)) from error
        return answer(ExplanationAnswer, explanation=explanation)


class EnteredView(MovedView):
    side = "entered"

    @extend_schema(operation_id="list_entered", parameters=[INCLUDE], responses=MovedPersonSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, audience_id: str, change_id: str) -> Response:
        """All people who entered by one change, by the ids that they have now."""
        return self.moved(request, audience_id, change_id)


class LeftView(MovedView):
    side = "left"

    @extend_schema(operation_id="list_left", parameters=[INCLUDE], responses=MovedPersonSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, audience_id: str, change_id: str) -> Response:
        """All people who left by one change, by the ids that they have now."""
        return self.moved(request, audience_id, change_id)


@needs("space.use")
@lane(QUERIES)
class SeenView(APIView):
    @extend_schema(
        operation_id="list_seen",
        parameters=[
            OpenApiParameter("of", required=True, enum=suggestions.OFFERED, description="What is wanted."),
            OpenApiParameter("event", description="Whose properties."),
            OpenApiParameter("name", description="Of the property, trait or computed trait whose values are wanted."),
            OpenApiParameter("like", description="Only what has this text in it, in letters of either size."),
        ],
        responses=SeenAnswer,
    )
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """What can be chosen in a definition: at most 50, and how often each was seen.

        Events and names of traits are counted in all; properties and values in the newest 20,000 rows of the event or
        trait. What cannot be found within two seconds is left out.
        """
        asked = {name: request.query_params.get(name, "") for name in ("event", "name", "like")}
        of = request.query_params.get("of", "")
        if of not in suggestions.OFFERED:
            raise invalid(f"Must be one of {', '.join(suggestions.OFFERED)}.", "of")
        offered = suggestions.offered(request.space, of, **asked)
        # Only where values are offered: of names nobody chooses a type.
        types = types_sent(request.space, event=asked["event"], name=asked["name"]) if of in TYPED else set()
        return answer(SeenAnswer, seen=[{"value": v, "count": n} for v, n in offered.items()], types=sorted(types))


@needs("space.read")
class ConditionKindsView(APIView):
    @extend_schema(operation_id="list_condition_kinds", responses=ConditionKindsAnswer)
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """What a definition may consist of: kinds of conditions, groups, operators, units of time, and limits."""
        return answer(
            ConditionKindsAnswer,
            conditionKinds=KINDS.values(),
            groups=[*GROUPS, "not"],
            operators=OPERATORS.values(),
            windows=[*UNITS],
            limits={"conditions": MOST_CONDITIONS, "depth": DEEPEST},
        )


def labelled(request: ApiRequest, rows: QuerySet[Audience]) -> QuerySet[Audience]:
    """Those that have the label and are in the folder which were asked for, if any were."""
    rows = overview.labelled(rows, request.query_params.get("label", "").strip())
    return overview.kept_in(rows, request.query_params.get("folder", "").strip(" /"))


def created(
    request: ApiRequest, body: type[CreateAudience], create: Callable[..., Audience], now: datetime
) -> Audience:
    """An audience or a computed trait, of a body of this kind."""
    given = parsed(body, request)
    include_anonymous = given.pop("includeAnonymous")
    since = None if given.pop("includeHistoricalData") else now
    try:
        return create(request.space, include_anonymous=include_anonymous, events_since=since, by=request, **given)
    except DefinitionError as error:
        raise wrong(error) from error


def previewed(
    request: ApiRequest, body: type[PreviewAudience], preview: Callable[..., Any], now: datetime
) -> tuple[dict[str, Any], Any]:
    """A body of this kind, and what its definition comes to now."""
    given = parsed(body, request)
    # As if it were created now: that is what its first computation would count.
    since = None if given["includeHistoricalData"] else now
    options = {"of": given["of"], "include_anonymous": given["includeAnonymous"], "events_since": since, "now": now}
    try:
        return given, preview(request.space, given["definition"], **options)
    except DefinitionError as error:
        raise wrong(error) from error
    except Unanswerable as error:
        raise _unanswered(request, error) from error


def changed_several(
    request: ApiRequest, rows: QuerySet[Audience], body: Any, public_ids: Sequence[str], now: datetime
) -> Response:
    """Nothing is done when one of the ids is of none of `rows`."""
    chosen = bulk.chosen(rows, public_ids)
    # All or none are looked at, so that a slip in one id does not leave half of a change behind.
    if chosen is None:
        raise NotFound(NOTHING)
    try:
        label = one_label(body.get("label", "")) if body["action"] == bulk.LABEL else ""
        folder = tidied_folder(body.get("folder", "")) if body["action"] == bulk.MOVE else ""
    except LabelRefused as error:
        raise invalid(str(error), "label") from error
    outcomes = bulk.act(chosen, body["action"], label=label, folder=folder, now=now, by=request)
    return answer(SeveralAnswer, outcomes=outcomes)


def _unanswered(request: ApiRequest, error: Unanswerable) -> APIException:
    """Of a preview: the definition's fault, or nobody's."""
    # Logged, for the user is told no more than that it did not work.
    logger.warning("a preview in %s: %s", request.space.public_id, error)
    if error.passes and not error.limit:
        return Unavailable(NOT_NOW)
    return invalid(TOO_HEAVY if error.limit else str(error), "definition")


def _people(request: ApiRequest, numbers: BitMap) -> tuple[overview.Members, dict[str, Any]]:
    """These people, with the context of their serializer."""
    asked = request.query_params.get("include", "")
    if asked not in ("", INCLUDED):
        raise invalid(f"Only {INCLUDED} can be included.", "include")
    return overview.Members(request.space, numbers, with_identifiers=bool(asked)), {"included": bool(asked)}


def _moment(request: ApiRequest, name: str) -> datetime | None:
    """A moment of the query string, if it is there."""
    text = request.query_params.get(name)
    if not text:
        return None
    # Without its zone a moment means another one to each reader: it is refused rather than guessed.
    moment = parse_datetime(text) if len(text) < MOST_OF_A_MOMENT else None
    if moment is None or moment.tzinfo is None:
        raise invalid("Must be a moment with its time zone, such as 2026-06-15T12:00:00Z.", name)
    return moment


def shown(request: ApiRequest, row: Audience, code: int = 200) -> Response:
    """An audience or a computed trait, under the name that it has in answers."""
    is_trait, context = row.kind == Audience.Kind.TRAIT, {"as_of": overview.as_of(request.space)}
    # Read again: the one at hand was loaded before the change, without what an overview needs.
    rows = overview.traits_of(request.space) if is_trait else overview.audiences_of(request.space)
    details = overview.overview(rows.get(pk=row.pk))
    if is_trait:
        return answer(TraitAnswer, code, computedTrait=details, context=context)
    return answer(AudienceAnswer, code, audience=details, context=context)


def audience_of(request: ApiRequest, public_id: str) -> Audience:
    return get_object_or_404(overview.audiences_of(request.space), public_id=public_id)


def trait_of(request: ApiRequest, public_id: str) -> Audience:
    return get_object_or_404(ComputedTrait, space=request.space, public_id=public_id, deleted_at=None)


def owner_of(request: ApiRequest, ids: Mapping[str, str]) -> Audience:
    """The audience or the computed trait that an address is about: of the one or the other it has the id."""
    return trait_of(request, ids["trait_id"]) if "trait_id" in ids else audience_of(request, ids["audience_id"])
