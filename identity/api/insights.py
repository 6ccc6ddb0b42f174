"""What the evidence of a space says about its identity rules, and whose an identifier was, by REST."""

from datetime import date
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.serializers import AT, Envelope, MomentField, answer
from access.errors import invalid
from access.requests import ApiRequest
from identity.api.serializers import IDENTIFIER, IdentifierSerializer
from identity.api.views import asked_moment
from identity.insights import insights_of
from identity.owners import owner_at, owners
from identity.rules.insights import KINDS, Hub, Recommendation
from spaces.clock import clock
from spaces.needs import needs


class DayCountSerializer(serializers.Serializer[Any]):
    day = serializers.DateField(initial="2026-06-15")  # type: ignore[arg-type]
    count = serializers.IntegerField(initial=3)


class ViolationsSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=list(KINDS), initial="value_limit")
    days = DayCountSerializer(many=True, help_text="New sets of identifiers; days without any are missing.")


class HubSerializer(serializers.Serializer[Any]):
    # Context: `ids`, public ids of profiles by number.

    identifier = IdentifierSerializer()
    sets = serializers.IntegerField(help_text="Different sets of identifiers that carried it in vain.", initial=12)
    events = serializers.IntegerField(help_text="Events of these.", initial=40)
    profileId = serializers.SerializerMethodField(help_text="Who has it; null = nobody.", initial="use_2qKf0")

    def get_profileId(self, hub: Hub) -> str | None:
        return self.context["ids"].get(hub.profile)


class LargestProfileSerializer(serializers.Serializer[Any]):
    profileId = serializers.CharField(source="id", initial="use_2qKf0")
    identifiers = serializers.IntegerField(initial=120)


class TypeInsightSerializer(serializers.Serializer[Any]):
    type = serializers.CharField(initial="anonymous_id")
    identifiers = serializers.IntegerField(help_text="That somebody has.", initial=1000)
    alone = serializers.IntegerField(
        help_text="Of these, all that is known of somebody: they never joined another.", initial=700
    )


class RecommendationSerializer(serializers.Serializer[Any]):
    why = serializers.CharField(initial="It came with 12 different sets of identifiers of others, and was refused.")
    type = serializers.CharField(help_text="Of the identifiers that are to be blocked, or limited.", initial="email")
    block = serializers.SerializerMethodField(help_text="Those that are to be blocked.", initial=[IDENTIFIER])
    limit = serializers.SerializerMethodField(help_text="What its limit is to be, such as `5 per week`.", initial=None)

    @extend_schema_field(IdentifierSerializer(many=True))
    def get_block(self, advice: Recommendation) -> Any:
        return IdentifierSerializer([hub.identifier for hub in advice.block], many=True).data

    def get_limit(self, advice: Recommendation) -> str | None:
        return str(advice.limit) if advice.limit else None


class InsightsAnswer(Envelope):
    since = MomentField(help_text="From here on days are counted.", initial=AT)
    violations = ViolationsSerializer(many=True)
    merges = DayCountSerializer(many=True, help_text="Profiles that were merged into others, by the day of the event.")
    hubs = HubSerializer(many=True, help_text="Identifiers that would have joined most different sets to others.")
    largest = LargestProfileSerializer(many=True, help_text="The profiles with most identifiers.")
    types = TypeInsightSerializer(many=True)
    recommendations = RecommendationSerializer(many=True, source="recommended")


class OwnershipSerializer(serializers.Serializer[Any]):
    profileId = serializers.CharField(
        source="profile_id",
        allow_null=True,
        help_text="Its own id, also of one that was merged since; null = the event is not kept any more.",
        initial="use_2qKf0",
    )
    since = MomentField()
    until = MomentField(allow_null=True, help_text="null = to this day.", initial=None)
    sourceId = serializers.CharField(source="source_id", allow_null=True, initial="src_2qKf0")
    messageId = serializers.CharField(source="message_id", help_text="The event that brought it.", initial="m-17")
    merged = serializers.BooleanField(help_text="It came by a merge.", initial=False)


class OwnerAnswer(Envelope):
    owner = OwnershipSerializer(allow_null=True, help_text="At the moment asked for; null = nobody.")
    history = OwnershipSerializer(many=True, help_text="Who had it, one after the other.")


@needs("space.read")
class InsightsView(APIView):
    @extend_schema(operation_id="get_identity_insights", responses=InsightsAnswer)
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """What breaks the identity rules, who is large, what never joins, and which other rules that speaks for."""
        insights = insights_of(request.space, clock.now())
        violations = [{"kind": kind, "days": _days(days)} for kind, days in sorted(insights.violations.items())]
        fields: dict[str, Any] = {
            name: getattr(insights, name) for name in ("since", "hubs", "largest", "types", "recommended")
        }
        context = {"ids": insights.ids}
        return answer(InsightsAnswer, **fields, violations=violations, merges=_days(insights.merges), context=context)


@needs("space.read")
class OwnerView(APIView):
    @extend_schema(
        operation_id="get_identifier_owner",
        parameters=[
            OpenApiParameter("identifier", required=True, description="`type:value`, the whole value."),
            OpenApiParameter("at", OpenApiTypes.DATETIME, description="The moment; now when it is not given."),
        ],
        responses=OwnerAnswer,
    )
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """Whose an identifier was at a moment, by the times of events, and who had it before and since."""
        # At the first colon: no type has one, and a value may.
        type, colon, value = request.query_params.get("identifier", "").partition(":")
        if not (type and colon and value):
            raise invalid("Must be the type and the value of an identifier, such as user_id:u1.", "identifier")
        periods = owners(request.space, type, value)
        at = asked_moment(request, "at") or clock.now()
        return answer(OwnerAnswer, owner=owner_at(periods, at), history=periods)


def _days(days: dict[date, int]) -> list[dict[str, Any]]:
    return [{"day": day, "count": count} for day, count in sorted(days.items())]
