"""Alerts by REST: rules, channels, what was wrong, and what was sent."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Errors, Success, answer, done
from access.errors import invalid, settings_inside
from access.requests import ApiRequest
from alerts import queries, services
from alerts.api.serializers import (
    AlertChannelAnswer,
    AlertChannelSerializer,
    AlertKindsAnswer,
    AlertRuleAnswer,
    AlertRuleSerializer,
    ChangeAlertChannel,
    ChangeAlertRule,
    CreateAlertChannel,
    CreateAlertRule,
    NotificationAnswer,
    NotificationSerializer,
    OccurrenceSerializer,
)
from alerts.models import AlertChannel, AlertNotification, AlertOccurrence, AlertRule
from spaces.clock import clock
from spaces.lanes import CALLS, lane
from spaces.needs import needs

BESIDE_OPTIONS = ("kind", "subjectId", "cooldownMinutes")  # fields of the body that a service may refuse
OPEN = OpenApiParameter("open", OpenApiTypes.BOOL, description="Only what is wrong still, or only what is over.")


@needs("space.read")
class AlertKindsView(APIView):
    @extend_schema(operation_id="list_alert_kinds", responses=AlertKindsAnswer)
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """What alerts can watch for, with the options of each kind."""
        return answer(AlertKindsAnswer, alertKinds=queries.catalogue())


@needs("space.read", POST="space.admin")
class AlertRulesView(PagedView):
    pagination_class = Pages.of("alerts")

    @extend_schema(operation_id="list_alerts", responses=AlertRuleSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """What is watched for in the space, oldest first."""
        # `subjects`: filled by the first rule of a kind, for all others of the page.
        return self.paged(queries.rules_of(request.space), AlertRuleSerializer, context={"subjects": {}})

    @extend_schema(operation_id="create_alert", request=CreateAlertRule, responses={201: AlertRuleAnswer, 409: Errors})
    @settings_inside("options", beside=BESIDE_OPTIONS)
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new alert. It is looked at within a minute or, where that reads much, within five."""
        body = _rule(request, parsed(CreateAlertRule, request))
        rule = services.create_rule(
            request.space, **body, origin=request.build_absolute_uri("/").rstrip("/"), by=request
        )
        return _shown(request, rule, 201)


@needs("space.read", PATCH="space.admin", DELETE="space.admin")
class AlertRuleView(APIView):
    @extend_schema(operation_id="get_alert", responses=AlertRuleAnswer)
    def get(self, request: ApiRequest, space_id: str, alert_id: str) -> Response:
        """One alert, and how many things are wrong by it now."""
        return _shown(request, _rule_of(request, alert_id))

    @extend_schema(operation_id="change_alert", request=ChangeAlertRule, responses=AlertRuleAnswer)
    @settings_inside("options", beside=BESIDE_OPTIONS)
    def patch(self, request: ApiRequest, space_id: str, alert_id: str) -> Response:
        """What is given changes. Switched off, it watches for nothing, and what was wrong is over quietly."""
        # First: a stranger learns nothing from what is wrong with a body.
        rule = _rule_of(request, alert_id)
        body = _rule(request, parsed(ChangeAlertRule, request))
        services.change_rule(rule, **body, now=clock.now(), by=request)
        return _shown(request, rule)

    @extend_schema(operation_id="delete_alert", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, alert_id: str) -> Response:
        """It is gone, with what it said."""
        services.delete_rule(_rule_of(request, alert_id), by=request)
        return done()


@needs("space.read", POST="space.admin")
class AlertChannelsView(PagedView):
    pagination_class = Pages.of("channels")

    @extend_schema(operation_id="list_alert_channels", responses=AlertChannelSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """By which people of the space can be told, oldest first. Secrets are masked."""
        return self.paged(AlertChannel.objects.filter(space=request.space), AlertChannelSerializer)

    @extend_schema(
        operation_id="create_alert_channel",
        request=CreateAlertChannel,
        responses={201: AlertChannelAnswer, 409: Errors},
    )
    @settings_inside("settings", beside=["kind"])
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new channel. Nothing is sent by it until an alert uses it, or until it is tested."""
        channel = services.create_channel(request.space, **parsed(CreateAlertChannel, request), by=request)
        return answer(AlertChannelAnswer, 201, channel=channel)


@needs("space.read", PATCH="space.admin", DELETE="space.admin")
class AlertChannelView(APIView):
    @extend_schema(operation_id="get_alert_channel", responses=AlertChannelAnswer)
    def get(self, request: ApiRequest, space_id: str, channel_id: str) -> Response:
        """One channel. Secrets are masked."""
        return answer(AlertChannelAnswer, channel=_channel(request, channel_id))

    @extend_schema(operation_id="change_alert_channel", request=ChangeAlertChannel, responses=AlertChannelAnswer)
    @settings_inside("settings")
    def patch(self, request: ApiRequest, space_id: str, channel_id: str) -> Response:
        """What is given changes. What waits to be sent is tried again at once."""
        channel = _channel(request, channel_id)
        services.change_channel(channel, **parsed(ChangeAlertChannel, request), by=request)
        return answer(AlertChannelAnswer, channel=channel)

    @extend_schema(operation_id="delete_alert_channel", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, channel_id: str) -> Response:
        """It is gone, with what was sent by it. Alerts that told by it alone tell nobody."""
        services.delete_channel(_channel(request, channel_id), by=request)
        return done()


@needs("space.admin")
@lane(CALLS)
class AlertChannelTestView(APIView):
    @extend_schema(operation_id="test_alert_channel", request=None, responses=NotificationAnswer)
    def post(self, request: ApiRequest, space_id: str, channel_id: str) -> Response:
        """A message that says what it is, sent now, and what became of it."""
        notification = services.test_channel(_channel(request, channel_id), now=clock.now())
        return answer(NotificationAnswer, notification=notification)


@needs("space.read")
class OccurrencesView(PagedView):
    pagination_class = Pages.of("occurrences", order="-id")

    @extend_schema(operation_id="list_alert_occurrences", parameters=[OPEN], responses=OccurrenceSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """What was wrong in the space, newest first."""
        rows = AlertOccurrence.objects.filter(space=request.space).select_related("rule")
        wanted = request.query_params.get("open", "")
        if wanted not in ("", "true", "false"):
            raise invalid("Must be true or false.", "open")
        rows = rows.filter(ended_at__isnull=wanted == "true") if wanted else rows
        return self.paged(rows, OccurrenceSerializer)


@needs("space.read")
class NotificationsView(PagedView):
    pagination_class = Pages.of("notifications", order="-id")

    @extend_schema(operation_id="list_alert_notifications", responses=NotificationSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """What was sent by which channel, newest first, and what became of it."""
        rows = AlertNotification.objects.filter(space=request.space).select_related("rule", "channel")
        return self.paged(rows, NotificationSerializer)


def _rule(request: ApiRequest, body: dict[str, Any]) -> dict[str, Any]:
    """A body, in the words of the services."""
    fields: dict[str, Any] = {name: body[name] for name in ("kind", "name", "options", "enabled") if name in body}
    if "channelIds" in body:
        ids = body["channelIds"]
        fields["channels"] = list(AlertChannel.objects.filter(space=request.space, public_id__in=ids))
        # Those of other spaces are refused like those that do not exist.
        if len(fields["channels"]) < len(set(ids)):
            raise invalid("There is no such channel in this space.", "channelIds")
    # null in a body is "" in the table: anything of its kind.
    if "subjectId" in body:
        fields["subject"] = body["subjectId"] or ""
    if "cooldownMinutes" in body:
        fields["cooldown_minutes"] = body["cooldownMinutes"]
    return fields


def _shown(request: ApiRequest, rule: AlertRule, code: int = 200) -> Response:
    # Read again, for `open` and the channels are counted by the query.
    return answer(AlertRuleAnswer, code, alert=queries.rules_of(request.space).get(pk=rule.pk))


def _rule_of(request: ApiRequest, public_id: str) -> AlertRule:
    return get_object_or_404(queries.rules_of(request.space), public_id=public_id)


def _channel(request: ApiRequest, public_id: str) -> AlertChannel:
    return get_object_or_404(AlertChannel, space=request.space, public_id=public_id)
