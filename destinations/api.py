"""Destinations, and which audiences go to them, by REST."""

from datetime import datetime
from typing import Any

from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from access.envelope import conflict, data, done, invalid, missing, page, parsed
from access.requests import ApiRequest
from access.services import NotPossible
from audiences.models import Audience
from destinations import queries, services
from destinations.adapters import adapter_of
from destinations.models import Caught, Destination, Subscription
from destinations.rules import status
from destinations.rules.settings_schema import InvalidSetting, masked
from spaces.clock import clock
from spaces.lanes import CALLS, lane
from spaces.needs import needs


class DestinationBody(serializers.Serializer[Any]):
    kind = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=100)
    settings = serializers.DictField(default=dict)


class DestinationChanges(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, required=False)
    settings = serializers.DictField(required=False)
    enabled = serializers.BooleanField(required=False)


class ConnectionBody(serializers.Serializer[Any]):
    destinationId = serializers.CharField(max_length=40)
    options = serializers.DictField(default=dict)


class ConnectionChanges(serializers.Serializer[Any]):
    options = serializers.DictField(required=False)
    enabled = serializers.BooleanField(required=False)


class RetryBody(serializers.Serializer[Any]):
    identifier = serializers.CharField(max_length=600, help_text="as `type:value`")


@needs("workspace.read")
class CatalogView(APIView):
    paged = False

    def get(self, request: ApiRequest) -> Response:
        """Every kind of destination, with its settings and the options of an audience that goes there."""
        return data(destinationsCatalog=queries.catalogue())


@needs("space.read", POST="space.admin")
class DestinationsView(APIView):
    takes = {"POST": DestinationBody}

    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The space's destinations, oldest first."""
        found = queries.with_subscriptions(request.space.destinations.all())
        return page(request, found, name="destinations", render=render_destination)

    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new destination. A secret that was made for it is in `generated`, this once."""
        body = parsed(DestinationBody, request)
        try:
            destination, made = services.create_destination(request.space, **body, by=request)
        except InvalidSetting as error:
            raise invalid(str(error), "kind" if error.field == "kind" else _path("settings", error)) from error
        return data(201, destination=render_destination(destination), generated=made)


@needs("space.read", PATCH="space.admin", DELETE="space.admin")
class DestinationView(APIView):
    takes = {"PATCH": DestinationChanges}

    def get(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        return data(destination=render_destination(_destination(request, destination_id)))

    def patch(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """What is given changes. A masked secret stays; an empty one is made anew where one is made at all."""
        destination = _destination(request, destination_id)
        try:
            made = services.change_destination(destination, **parsed(DestinationChanges, request), by=request)
        except InvalidSetting as error:
            raise invalid(str(error), _path("settings", error)) from error
        return data(destination=render_destination(destination), generated=made)

    def delete(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """It is gone. Nobody is taken out of the tool by this."""
        services.delete_destination(_destination(request, destination_id), by=request)
        return done()


@needs("space.admin")
@lane(CALLS)
class TestView(APIView):
    def post(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """One harmless call, and what came of it."""
        found = services.test_destination(_destination(request, destination_id), now=clock.now())
        test = {"ok": found.ok, "message": found.message, "status": found.status, "milliseconds": found.milliseconds}
        return data(test=test)


@needs("space.read")
class DeliveriesView(APIView):
    asks = {
        "outcome": f"only calls with this one: {', '.join(queries.OUTCOMES)}",
        "identifier": "only calls about this one: `type:value`, the whole value",
        "audienceId": "only calls for this audience",
    }

    def get(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """Calls, newest first."""
        destination = _destination(request, destination_id)
        subscriptions = destination.subscriptions.all()
        if "audienceId" in request.query_params:
            subscriptions = subscriptions.filter(audience__public_id=request.query_params["audienceId"])
        names = dict(subscriptions.values_list("pk", "public_id"))
        found = queries.deliveries(
            subscriptions, space=request.space, outcome=_outcome(request), identifier=_identifier(request)
        )
        return page(request, found, name="deliveries", render=lambda each: render_delivery(each, names))


@needs("space.read")
class CaughtView(APIView):
    def get(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """What the catcher received, newest first, each message once; `times` says how often it came."""
        caught = Caught.objects.filter(destination=_catcher(request, destination_id))
        return page(request, caught, name="caught", render=render_caught, order="-id")


@needs("space.read")
class ListView(APIView):
    asks = {"key": "of the audience; it has to be given"}

    def get(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """Whom the catcher holds in the audience `key`, derived from what it received and nothing else."""
        destination = _catcher(request, destination_id)
        key = request.query_params.get("key")
        if not key:
            raise invalid("Say which audience: its key.", "key")
        held = queries.members_at_catcher(destination, key)
        return page(request, held, name="list", render=lambda each: {"type": each[0], "value": each[1]}, key=key)


@needs("space.read", POST="space.use")
class ConnectionsView(APIView):
    takes = {"POST": ConnectionBody}

    def get(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """Where this audience goes."""
        subscriptions = _audience(request, audience_id).subscriptions.select_related("audience", "destination")
        tallies = queries.latest_counts(list(subscriptions))
        return page(
            request,
            subscriptions,
            name="subscriptions",
            render=lambda each: render_subscription(each, tallies.get(each.pk)),
        )

    def post(self, request: ApiRequest, space_id: str, audience_id: str) -> Response:
        """Send the audience to a destination: everyone in it once, then whoever enters and leaves."""
        audience = _audience(request, audience_id)  # first: a stranger learns nothing from a wrong body
        body = parsed(ConnectionBody, request)
        destination = request.space.destinations.filter(public_id=body["destinationId"]).first()
        if destination is None:
            raise invalid("There is no such destination.", "destinationId")
        try:
            subscription = services.subscribe(audience, destination, options=body["options"], by=request)
        except InvalidSetting as error:
            raise invalid(str(error), _path("options", error)) from error
        except NotPossible as error:
            raise conflict(str(error)) from error
        return data(201, subscription=render_subscription(subscription))


@needs("space.read", PATCH="space.use", DELETE="space.use")
class ConnectionView(APIView):
    takes = {"PATCH": ConnectionChanges}

    def get(self, request: ApiRequest, space_id: str, audience_id: str, subscription_id: str) -> Response:
        return data(subscription=render_subscription(_subscription(request, audience_id, subscription_id)))

    def patch(self, request: ApiRequest, space_id: str, audience_id: str, subscription_id: str) -> Response:
        """Switch it on or off, or change what is sent from now on."""
        subscription = _subscription(request, audience_id, subscription_id)
        try:
            services.change_subscription(subscription, **parsed(ConnectionChanges, request), by=request)
        except InvalidSetting as error:
            raise invalid(str(error), _path("options", error)) from error
        return data(subscription=render_subscription(subscription))

    def delete(self, request: ApiRequest, space_id: str, audience_id: str, subscription_id: str) -> Response:
        """Nothing more goes there. Who is there stays there."""
        services.unsubscribe(_subscription(request, audience_id, subscription_id), by=request)
        return done()


@needs("space.use")
class ResyncView(APIView):
    def post(self, request: ApiRequest, space_id: str, audience_id: str, subscription_id: str) -> Response:
        """Say everyone anew, for a tool that lost what it had."""
        subscription = _subscription(request, audience_id, subscription_id)
        services.resync(subscription, by=request)
        return data(subscription=render_subscription(subscription))


@needs("space.use")
class ResumeView(APIView):
    def post(self, request: ApiRequest, space_id: str, audience_id: str, subscription_id: str) -> Response:
        """Try again now, after it was parked or suspended."""
        subscription = _subscription(request, audience_id, subscription_id)
        services.resume(subscription, by=request)
        return data(subscription=render_subscription(subscription))


@needs("space.use")
class RetryView(APIView):
    takes = {"POST": RetryBody}

    def post(self, request: ApiRequest, space_id: str, audience_id: str, subscription_id: str) -> Response:
        """Try again now what failed about one identifier; what was acknowledged is never said twice."""
        subscription = _subscription(request, audience_id, subscription_id)
        number = queries.identifier_number(request.space, parsed(RetryBody, request)["identifier"])
        if number is None:
            raise invalid("There is no such identifier in the space", "identifier")
        try:
            services.retry_one(subscription, number, by=request)
        except NotPossible as error:
            raise conflict(str(error)) from error
        return data(subscription=render_subscription(subscription))


def render_destination(destination: Destination) -> dict[str, Any]:
    return {
        "id": destination.public_id,
        "kind": destination.kind,
        "name": destination.name,
        "enabled": destination.enabled,
        "status": _status(destination),
        "settings": masked(services.settings_of(destination)),
        "createdAt": _iso(destination.created_at),
    }


def render_subscription(subscription: Subscription, tally: dict[str, int] | None = None) -> dict[str, Any]:
    options = adapter_of(subscription.destination.kind).options(**subscription.options)
    return {
        "id": subscription.public_id,
        "audienceId": subscription.audience.public_id,
        "destinationId": subscription.destination.public_id,
        "enabled": subscription.enabled,
        "status": subscription.standing,
        "heldBackBy": subscription.held_back_by or None,
        "options": masked(options),
        "tick": subscription.tick,
        **(tally or queries.count_now(subscription)),
        "comparedAt": _iso(subscription.compared_at),
        "syncedAt": _iso(subscription.synced_at),
        "retryAt": _iso(subscription.retry_at),
        "error": subscription.error,
        "createdAt": _iso(subscription.created_at),
    }


def render_delivery(delivery: queries.Delivery, names: dict[int, str]) -> dict[str, Any]:
    return {
        "subscriptionId": names[delivery.subscription],
        "at": _iso(delivery.at),
        "identifier": delivery.who,
        "entering": delivery.entering,
        "messageId": delivery.message_id,
        "outcome": delivery.outcome,
        "status": delivery.status,
        "milliseconds": round(delivery.milliseconds, 1),
        "reason": delivery.reason,
        "request": delivery.request,
        "response": delivery.response,
    }


def render_caught(caught: Caught) -> dict[str, Any]:
    return {
        "messageId": caught.message_id,
        "receivedAt": _iso(caught.received_at),
        "times": caught.times,
        "headers": caught.headers,
        "body": caught.body,
    }


def _status(destination: Destination) -> str | None:
    """The worst of what goes there; None when nothing does."""
    if not destination.enabled:
        return Subscription.Status.DISABLED
    return status.worst(each.standing for each in queries.current_subscriptions(destination)) or None


def _destination(request: ApiRequest, public_id: str) -> Destination:
    found = request.space.destinations.filter(public_id=public_id).first()
    if found is None:
        raise missing()
    return found


def _catcher(request: ApiRequest, public_id: str) -> Destination:
    destination = _destination(request, public_id)
    if adapter_of(destination.kind).transport != "catcher":
        raise missing()
    return destination


def _audience(request: ApiRequest, public_id: str) -> Audience:
    found = Audience.objects.filter(space=request.space, public_id=public_id, deleted_at=None).first()
    if found is None:
        raise missing()
    return found


def _subscription(request: ApiRequest, audience_id: str, public_id: str) -> Subscription:
    subscriptions = _audience(request, audience_id).subscriptions.select_related("audience", "destination")
    found = subscriptions.filter(public_id=public_id).first()
    if found is None:
        raise missing()
    return found


def _outcome(request: ApiRequest) -> str | None:
    outcome = request.query_params.get("outcome")
    if outcome and outcome not in queries.OUTCOMES:
        raise invalid(f"Must be one of {', '.join(queries.OUTCOMES)}.", "outcome")
    return outcome or None


def _identifier(request: ApiRequest) -> int | None:
    text = request.query_params.get("identifier")
    if not text:
        return None
    if ":" not in text:
        raise invalid("Must be type:value, such as email:a@example.com.", "identifier")
    number = queries.identifier_number(request.space, text)
    return -1 if number is None else number


def _path(root: str, error: InvalidSetting) -> str:
    return f"{root}.{error.field}" if error.field else root


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None
