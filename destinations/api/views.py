"""Destinations, and which audiences go to them, by REST."""

from collections.abc import Callable
from functools import partial

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.generics import get_object_or_404
from rest_framework.response import Response
from rest_framework.views import APIView

from access.api.pagination import PagedView, Pages
from access.api.parsers import parsed
from access.api.serializers import Errors, Success, answer, done
from access.errors import NOTHING, Conflict, invalid, settings_inside
from access.requests import ApiRequest
from audiences.models import Audience, ComputedTrait
from destinations import holdings, queries, services
from destinations.adapters import adapter_of
from destinations.api.serializers import (
    CatalogAnswer,
    CaughtSerializer,
    ChangedDestinationAnswer,
    ChangeDestination,
    ChangeSubscription,
    CheckAnswer,
    CreatedDestinationAnswer,
    CreateDestination,
    CreateRehearsal,
    CreateSubscription,
    DeliveryOverviewAnswer,
    DeliverySerializer,
    DestinationAnswer,
    DestinationSerializer,
    HoldingsAnswer,
    ListedSerializer,
    RehearsalAnswer,
    RetryIdentifier,
    SubscriptionAnswer,
    SubscriptionSerializer,
)
from destinations.delivery_overview import RANGES, delivery_overview
from destinations.models import Caught, Destination, Subscription
from destinations.rehearsal import rehearse, send_test
from identity.queries import holders
from spaces.clock import clock
from spaces.lanes import CALLS, lane
from spaces.needs import needs

OWNERS = {"audience_id": Audience.objects, "trait_id": ComputedTrait.objects}


@needs("workspace.read")
class CatalogView(APIView):
    @extend_schema(operation_id="list_destination_kinds", responses=CatalogAnswer)
    def get(self, request: ApiRequest) -> Response:
        """Every kind of destination, with its settings and the options of what goes there."""
        return answer(CatalogAnswer, destinationsCatalog=queries.catalogue())


@needs("space.read", POST="space.admin")
@lane(POST=CALLS)
class DestinationsView(PagedView):
    pagination_class = Pages.of("destinations")

    @extend_schema(operation_id="list_destinations", responses=DestinationSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """The space's destinations, oldest first."""
        return self.paged(queries.with_subscriptions(request.space.destinations.all()), DestinationSerializer)

    @extend_schema(
        operation_id="create_destination", request=CreateDestination, responses={201: CreatedDestinationAnswer}
    )
    @settings_inside("settings", beside=["kind"])
    def post(self, request: ApiRequest, space_id: str) -> Response:
        """A new destination, and what a first call came to. Secrets that were made for it are in `generated`, once."""
        body = parsed(CreateDestination, request)
        destination, made = services.create_destination(request.space, **body, by=request)
        # Created whatever comes of it: a tool that is down for the moment is no reason to type all of it again.
        test = services.test_destination(destination, now=clock.now())
        return answer(CreatedDestinationAnswer, 201, destination=destination, generated=made, test=test)


@needs("space.read", PATCH="space.admin", DELETE="space.admin")
class DestinationView(APIView):
    @extend_schema(operation_id="get_destination", responses=DestinationAnswer)
    def get(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """One destination. Secrets are masked."""
        return answer(DestinationAnswer, destination=_destination(request, destination_id))

    @extend_schema(operation_id="change_destination", request=ChangeDestination, responses=ChangedDestinationAnswer)
    @settings_inside("settings")
    def patch(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """What is given changes. A masked secret stays; an empty one is made anew where one is made at all."""
        destination = _destination(request, destination_id)
        made = services.change_destination(destination, **parsed(ChangeDestination, request), by=request)
        return answer(ChangedDestinationAnswer, destination=destination, generated=made)

    @extend_schema(operation_id="delete_destination", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """It is gone. Nobody is taken out of the tool by this."""
        services.delete_destination(_destination(request, destination_id), by=request)
        return done()


@needs("space.admin")
@lane(CALLS)
class TestView(APIView):
    @extend_schema(operation_id="check_destination", request=None, responses=CheckAnswer)
    def post(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """One harmless call, and what came of it."""
        test = services.test_destination(_destination(request, destination_id), now=clock.now())
        return answer(CheckAnswer, test=test)


@needs("space.read")
class DeliveriesView(PagedView):
    pagination_class = Pages.of("deliveries")

    @extend_schema(
        operation_id="list_deliveries",
        parameters=[
            OpenApiParameter("outcome", enum=queries.OUTCOMES, description="Only calls with this one."),
            OpenApiParameter("identifier", description="Only calls about this one: `type:value`, the whole value."),
            OpenApiParameter("audienceId", description="Only calls for this audience."),
        ],
        responses=DeliverySerializer(many=True),
    )
    def get(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """Calls, newest first."""
        destination = _destination(request, destination_id)
        subscriptions = destination.subscriptions.all()
        if "audienceId" in request.query_params:
            subscriptions = subscriptions.filter(audience__public_id=request.query_params["audienceId"])
        # The log knows subscriptions by their numbers.
        names = dict(subscriptions.values_list("pk", "public_id"))
        outcome = request.query_params.get("outcome")
        if outcome and outcome not in queries.OUTCOMES:
            raise invalid(f"Must be one of {', '.join(queries.OUTCOMES)}.", "outcome")
        number, identifier = None, request.query_params.get("identifier")
        if identifier:
            if ":" not in identifier:
                raise invalid("Must be type:value, such as email:a@example.com.", "identifier")
            number = queries.identifier_number(request.space, identifier)
            number = -1 if number is None else number  # no call is about what nobody has
        calls = queries.deliveries(subscriptions, space=request.space, outcome=outcome or None, identifier=number)
        return self.paged(calls, DeliverySerializer, context={"names": names})


@needs("space.read")
class DeliveryOverviewView(APIView):
    @extend_schema(
        operation_id="get_delivery_overview",
        parameters=[
            OpenApiParameter("range", enum=list(RANGES), description="How far back; `1d` unless it is said."),
            OpenApiParameter("destinationId", description="Only what goes to this destination."),
            OpenApiParameter("audienceId", description="Only what goes of this audience or computed trait."),
        ],
        responses=DeliveryOverviewAnswer,
    )
    def get(self, request: ApiRequest, space_id: str) -> Response:
        """What became of everything that was to be sent: filtered, delivered, retrying or failed, and why."""
        chosen = request.query_params.get("range") or "1d"
        if chosen not in RANGES:
            raise invalid(f"Must be one of {', '.join(RANGES)}.", "range")
        rows = request.space.subscriptions.filter(audience__deleted_at=None)
        if "destinationId" in request.query_params:
            rows = rows.filter(destination__public_id=request.query_params["destinationId"])
        if "audienceId" in request.query_params:
            rows = rows.filter(audience__public_id=request.query_params["audienceId"])
        overview = delivery_overview(
            request.space, list(rows.values_list("pk", flat=True)), chosen=RANGES[chosen], now=clock.now()
        )
        return answer(DeliveryOverviewAnswer, overview=overview)


@needs("space.read")
class CaughtView(PagedView):
    pagination_class = Pages.of("caught", order="-id")

    @extend_schema(operation_id="list_caught", responses=CaughtSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """What the catcher received, newest first, each message once; `times` says how often it came."""
        return self.paged(Caught.objects.filter(destination=_catcher(request, destination_id)), CaughtSerializer)


@needs("space.read")
class ListView(PagedView):
    pagination_class = Pages.of("list", beside={"key": {"type": "string", "examples": ["buyers"]}})

    @extend_schema(
        operation_id="list_held",
        parameters=[OpenApiParameter("key", required=True, description="Of the audience.")],
        responses=ListedSerializer(many=True),
    )
    def get(self, request: ApiRequest, space_id: str, destination_id: str) -> Response:
        """Whom the catcher holds in the audience `key`, derived from what it received and nothing else."""
        destination = _catcher(request, destination_id)
        key = request.query_params.get("key")
        if not key:
            raise invalid("Say which audience: its key.", "key")
        # Worked out from what was received, as a receiver would: so it is a proof that the calls say enough.
        return self.paged(queries.members_at_catcher(destination, key), ListedSerializer, key=key)


@needs("space.read", POST="space.use")
class SubscriptionsView(PagedView):
    pagination_class = Pages.of("subscriptions")

    @extend_schema(operation_id="list_subscriptions", responses=SubscriptionSerializer(many=True))
    def get(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Where this audience, or computed trait, goes."""
        rows = _owner(request, ids).subscriptions.select_related("audience", "destination")
        subscriptions = self.paginate_queryset(rows)
        context = {"tallies": queries.latest_counts(subscriptions)}
        return self.get_paginated_response(SubscriptionSerializer(subscriptions, many=True, context=context).data)

    @extend_schema(
        operation_id="create_subscription",
        request=CreateSubscription,
        responses={201: SubscriptionAnswer, 409: Errors},
    )
    @settings_inside("options")
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Send it to a destination: all there is once, then whatever changes."""
        audience = _owner(request, ids)  # first: a stranger learns nothing from a wrong body
        body = parsed(CreateSubscription, request)
        destination = request.space.destinations.filter(public_id=body["destinationId"]).first()
        if destination is None:
            raise invalid("There is no such destination.", "destinationId")
        subscription = services.subscribe(
            audience, destination, options=body["options"], sending=body["sending"], by=request
        )
        return answer(SubscriptionAnswer, 201, subscription=subscription)


@needs("space.read", PATCH="space.use", DELETE="space.use")
class SubscriptionView(APIView):
    @extend_schema(operation_id="get_subscription", responses=SubscriptionAnswer)
    def get(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """What goes to one destination, and how far it is."""
        return answer(SubscriptionAnswer, subscription=_subscription(request, ids))

    @extend_schema(operation_id="change_subscription", request=ChangeSubscription, responses=SubscriptionAnswer)
    @settings_inside("options")
    def patch(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Switch it on or off, or change what is sent from now on."""
        subscription = _subscription(request, ids)
        services.change_subscription(subscription, **parsed(ChangeSubscription, request), by=request)
        return answer(SubscriptionAnswer, subscription=subscription)

    @extend_schema(operation_id="delete_subscription", responses={200: Success})
    def delete(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Nothing more goes there. Who is there stays there."""
        services.unsubscribe(_subscription(request, ids), by=request)
        return done()


@needs("space.use")
class ResyncView(APIView):
    @extend_schema(operation_id="resync_subscription", request=None, responses=SubscriptionAnswer)
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Say everyone anew, for a tool that lost what it had."""
        subscription = _subscription(request, ids)
        services.resync(subscription, by=request)
        return answer(SubscriptionAnswer, subscription=subscription)


@needs("space.use")
class ResumeView(APIView):
    @extend_schema(operation_id="resume_subscription", request=None, responses=SubscriptionAnswer)
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Try again now, after it was parked or suspended."""
        subscription = _subscription(request, ids)
        services.resume(subscription, by=request)
        return answer(SubscriptionAnswer, subscription=subscription)


@needs("space.use")
class RetryView(APIView):
    @extend_schema(
        operation_id="retry_identifier", request=RetryIdentifier, responses={200: SubscriptionAnswer, 409: Errors}
    )
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Try again now what failed about one identifier; what was acknowledged is never said twice."""
        subscription = _subscription(request, ids)
        number = queries.identifier_number(request.space, parsed(RetryIdentifier, request)["identifier"])
        if number is None:
            raise invalid("There is no such identifier in the space", "identifier")
        services.retry_one(subscription, number, by=request)
        return answer(SubscriptionAnswer, subscription=subscription)


@needs("space.use")
@lane(CALLS)
class RehearsalView(APIView):
    @extend_schema(
        operation_id="rehearse_subscription", request=CreateRehearsal, responses={200: RehearsalAnswer, 409: Errors}
    )
    @settings_inside("options")
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """The exact calls about one person; with `send` they are made, and their answers read."""
        subscription = _subscription(request, ids)
        body = parsed(CreateRehearsal, request)
        type, _, value = body["identifier"].partition(":")
        # By the whole value, unlike the page's search: a program knows whom it means.
        person = holders(request.space, type, value).first()
        if person is None:
            raise invalid("Nobody in the space has this identifier", "identifier")
        now, entering = clock.now(), body["entering"]
        rules = {name: body[name] for name in ("sending", "options") if name in body}
        # A test of rules that are not saved would tell a tool what nobody decided to send.
        if body["send"]:
            if rules:
                raise invalid("Only what is saved can be sent", next(iter(rules)))
            sent = send_test(subscription, person, now=now, entering=entering, by=request)
            return answer(RehearsalAnswer, rehearsal=sent)
        rehearsal = rehearse(subscription, person, now=now, entering=entering, **rules)
        return answer(RehearsalAnswer, rehearsal=rehearsal)


@needs("space.read", POST="space.use")
@lane(CALLS)
class ReconciliationView(APIView):
    @extend_schema(operation_id="reconcile_subscription", responses={200: HoldingsAnswer, 409: Errors})
    def get(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Whom the destination says that it holds, against whom it should; 409 where it cannot be asked."""
        result = holdings.holdings(_subscription(request, ids))
        if result is None:
            raise Conflict("There are too many to compare at once: a resync sends everybody")
        return answer(HoldingsAnswer, reconciliation=result)

    @extend_schema(operation_id="mend_subscription", request=None, responses={200: SubscriptionAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Send whoever is missing over there, and take out whoever is too many."""
        return _done(holdings.mend, _subscription(request, ids), request)


@needs("space.admin")
class NodView(APIView):
    @extend_schema(operation_id="nod_subscription", request=None, responses={200: SubscriptionAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Let go what waits because it is about more people than `capPercent` of the space."""
        return _done(services.nod, _subscription(request, ids), request)


@needs("space.use")
class RecallView(APIView):
    @extend_schema(operation_id="recall_subscription", request=None, responses={200: SubscriptionAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """Take everybody out again. Nobody is sent there until they are sent again."""
        return _done(partial(services.recall, now=clock.now()), _subscription(request, ids), request)


@needs("space.use")
class SendAgainView(APIView):
    @extend_schema(operation_id="send_subscription", request=None, responses={200: SubscriptionAnswer, 409: Errors})
    def post(self, request: ApiRequest, space_id: str, **ids: str) -> Response:
        """After a recall, send everybody who should be there."""
        return _done(services.send_again, _subscription(request, ids), request)


def _done(change: Callable[..., object], subscription: Subscription, request: ApiRequest) -> Response:
    """The subscription after the change, or why it cannot be."""
    change(subscription, by=request)
    return answer(SubscriptionAnswer, subscription=subscription)


def _destination(request: ApiRequest, public_id: str) -> Destination:
    return get_object_or_404(request.space.destinations, public_id=public_id)


def _catcher(request: ApiRequest, public_id: str) -> Destination:
    destination = _destination(request, public_id)
    if adapter_of(destination.kind).transport != "catcher":
        raise NotFound(NOTHING)
    return destination


def _owner(request: ApiRequest, ids: dict[str, str]) -> Audience:
    """What goes somewhere, by the ids that the address has."""
    # By the id that the address has: audiences and computed traits are one table, seen by two managers.
    (name,) = OWNERS.keys() & ids
    return get_object_or_404(OWNERS[name].filter(space=request.space, deleted_at=None), public_id=ids[name])


def _subscription(request: ApiRequest, ids: dict[str, str]) -> Subscription:
    subscriptions = _owner(request, ids).subscriptions.select_related("audience", "destination")
    # Two names of one id, since the description says of each what it is.
    return get_object_or_404(subscriptions, public_id=ids.get("subscription_id") or ids["trait_subscription_id"])
