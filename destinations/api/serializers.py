"""What the API takes and answers about destinations, which audiences go there, and what was sent."""

from typing import Any, ClassVar

import msgspec
from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.declared import Declarations, DeclaredField, by_own_name, declared_schema
from access.api.schema import register
from access.api.serializers import Envelope, MomentField, TextOrNull, enveloped
from destinations import queries
from destinations.adapters import adapter_of, all_adapters
from destinations.models import Destination, Subscription
from destinations.rules import status
from destinations.rules.contract import Adapter
from destinations.rules.sending import SendingRules, sending_json
from identity.api.serializers import IdentifierSerializer
from spaces import personal
from spaces.settings_schema import MASK, json_schema, load_stored, masked

SETTINGS = {"url": f"https://example.com/{MASK}", "style": "event", "batchSize": 1}
OPTIONS = {"sendIdentify": True, "sendTrack": True}
SENDING = {
    "identifiers": [{"type": "email", "which": "last", "hash": "sha256", "name": ""}],
    "mobile": False,
    "fields": [{"to": "tier", "value": {"kind": "trait", "key": "plan"}}],
    "only": [],
    "consent": "consent.marketing",
    "capPercent": 0,
}
CALL = {"type": "track", "event": "Audience Entered", "userId": "u1"}


def _settings() -> Declarations:
    """Of each kind of destination, as its adapter declares them."""
    return {f"{_named(kind)}Settings": adapter.settings for kind, adapter in all_adapters().items()}


def _options() -> Declarations:
    """Of an audience, or a computed trait, at a destination."""
    adapters = all_adapters().values()
    options = [options for adapter in adapters for options in (adapter.options, adapter.trait_options)]
    return by_own_name(declared for declared in options if declared)


class SendingField(serializers.DictField):
    """Of whom what is sent, as destinations.rules.sending declares it."""


class SendingFieldExtension(OpenApiSerializerFieldExtension):
    target_class = SendingField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        template = "#/components/schemas/{name}"
        (reference,), components = msgspec.json.schema_components([SendingRules], ref_template=template)
        # msgspec describes the rules from their types: the description cannot say something else.
        for name, schema in components.items():
            # Generators of clients name their classes by a title, and there is a name already.
            register(auto_schema, name, {key: value for key, value in schema.items() if key != "title"})
        return dict(reference)


def _named(kind: str) -> str:
    """A kind in the name of a schema, such as SegmentHttp."""
    return "".join(word.capitalize() for word in kind.split("_"))


class DestinationSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="dst_2qKf0")
    kind = serializers.CharField(initial="webhook")
    name = serializers.CharField(initial="Mail tool")
    enabled = serializers.BooleanField(initial=True)
    status = serializers.SerializerMethodField(
        help_text="The worst of what goes there; null = nothing does.", initial="in_step"
    )
    settings = serializers.SerializerMethodField(initial=SETTINGS)
    createdAt = MomentField(source="created_at")

    @extend_schema_field(serializers.ChoiceField(choices=Subscription.Status.choices, allow_null=True))
    def get_status(self, destination: Destination) -> str | None:
        # As `Subscription.standing`: switched off, nothing else is said.
        if not destination.enabled:
            return Subscription.Status.DISABLED
        return status.worst(each.standing for each in queries.current_subscriptions(destination)) or None

    @extend_schema_field(DeclaredField(_settings))
    def get_settings(self, destination: Destination) -> dict[str, Any]:
        return masked(queries.settings_of(destination))


class ChangedDestinationAnswer(Envelope):
    destination = DestinationSerializer()
    generated = serializers.DictField(
        child=serializers.CharField(), help_text="Secrets that were made for it, this once."
    )


class CreateDestination(serializers.Serializer[Any]):
    kind = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=100)
    settings = DeclaredField(_settings, default=dict)


class CreateDestinationExtension(OpenApiSerializerExtension):
    """By kind: each has settings of its own."""

    target_class = CreateDestination

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        named = {kind: f"Create{_named(kind)}Destination" for kind in all_adapters()}
        references = {kind: self._component(auto_schema, adapter_of(kind), name) for kind, name in named.items()}
        # By `kind` a generated client knows which settings it has to give.
        mapping = {kind: reference["$ref"] for kind, reference in references.items()}
        return {
            "oneOf": [*references.values()],
            "discriminator": {"propertyName": "kind", "mapping": mapping},
            "examples": [{"kind": "webhook", "name": "Mail tool", "settings": SETTINGS}],
        }

    def _component(self, auto_schema: Any, adapter: Adapter, name: str) -> dict[str, str]:
        # Of the plain serializer, without this extension, which would call itself.
        schema = auto_schema._map_serializer(self.target, direction="request", bypass_extensions=True)
        settings = declared_schema(auto_schema, f"{_named(adapter.kind)}Settings", adapter.settings)
        properties = schema["properties"] | {
            "kind": {"type": "string", "enum": [adapter.kind]},
            "settings": settings,
        }
        # A kind all of whose settings have defaults can be created without any.
        demanded = bool(json_schema(adapter.settings)["required"])
        required = [*schema["required"], *(["settings"] if demanded else [])]
        return register(auto_schema, name, {"type": "object", "required": required, "properties": properties})


class ChangeDestination(serializers.Serializer[Any]):
    """A masked secret stays; an empty one is made anew where one is made at all."""

    name = serializers.CharField(max_length=100, required=False)
    settings = DeclaredField(_settings, is_change=True, required=False)
    enabled = serializers.BooleanField(required=False, initial=False)


class CheckSerializer(serializers.Serializer[Any]):
    """What a test call came to."""

    ok = serializers.BooleanField(initial=True)
    message = serializers.CharField(initial="It answered as it should.")
    status = serializers.IntegerField(help_text="Of the HTTP answer; 0 = there was none.", initial=200)
    milliseconds = serializers.FloatField(initial=31.5)


class CreatedDestinationAnswer(ChangedDestinationAnswer):
    test = CheckSerializer(help_text="A first harmless call: the destination is made whatever came of it.")


@extend_schema_field({"type": ["string", "boolean", "integer"]})
class DefaultField(serializers.JSONField):
    """A value of the setting's own type."""


class SettingSerializer(serializers.Serializer[Any]):
    """A field of a form."""

    name = serializers.CharField(initial="url")
    label = serializers.CharField(initial="Address")  # type: ignore[assignment]
    help = serializers.CharField(initial="Receives a POST with a JSON body")
    type = serializers.ChoiceField(choices=["string", "boolean", "integer"], initial="string")
    required = serializers.BooleanField(initial=True)  # type: ignore[assignment]
    default = DefaultField(allow_null=True, initial=None)
    secret = serializers.BooleanField(help_text=f"Shown as {MASK}; of an address with its host.", initial=True)
    url = serializers.BooleanField(help_text="An address that is called.", initial=True)
    choices = serializers.ListField(child=serializers.CharField(), initial=[])
    minimum = serializers.IntegerField(allow_null=True, initial=None)
    maximum = serializers.IntegerField(allow_null=True, initial=None)


class DocumentedLimitSerializer(serializers.Serializer[Any]):
    """What a tool takes at most, as its maker said on a date."""

    value = serializers.FloatField()
    of = serializers.CharField(help_text="Such as “people in a request”.")
    date = serializers.CharField(help_text="YYYY-MM, when it was read.")
    source = serializers.CharField(help_text="Whose page it was read on.")  # type: ignore[assignment]


class DestinationKindSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(initial="webhook")
    label = serializers.CharField(initial="Webhook")  # type: ignore[assignment]
    description = serializers.CharField(initial="Posts every change of an audience to an address of your own, signed.")
    styles = serializers.ListField(child=serializers.CharField(), initial=["event", "list"])
    identifiers = serializers.ListField(
        child=serializers.CharField(), help_text="The most useful first.", initial=["user_id", "email", "anonymous_id"]
    )
    fields = serializers.BooleanField(  # type: ignore[assignment]
        help_text="Whether there is a place for what goes besides (`sending.fields`).", initial=True
    )
    credentials = serializers.CharField(
        help_text="How to get them, where the help of the settings does not say it.", initial=""
    )
    limits = DocumentedLimitSerializer(many=True, initial=[])
    accounts = serializers.BooleanField(help_text="It takes what is about accounts, as events.", initial=True)
    settings = SettingSerializer(many=True)
    settingsSchema = serializers.DictField(help_text="The same as JSON Schema.", initial={"type": "object"})
    options = SettingSerializer(many=True, initial=[])
    optionsSchema = serializers.DictField(help_text="The same as JSON Schema.", initial={"type": "object"})
    traitOptions = SettingSerializer(
        many=True, allow_null=True, help_text="Of a computed trait; null = it takes none.", initial=None
    )
    traitOptionsSchema = serializers.DictField(allow_null=True, help_text="The same as JSON Schema.", initial=None)


class SubscriptionSerializer(serializers.Serializer[Any]):
    """An audience, or a computed trait, goes to a destination."""

    # Context: `tallies` by key, where there are many.

    id = serializers.CharField(source="public_id", initial="sub_2qKf0")
    audienceId = serializers.CharField(
        source="audience.public_id", help_text="Or that of the computed trait.", initial="aud_2qKf0"
    )
    destinationId = serializers.CharField(source="destination.public_id", initial="dst_2qKf0")
    enabled = serializers.BooleanField(initial=True)
    status = serializers.ChoiceField(source="standing", choices=Subscription.Status.choices, initial="in_step")
    heldBackBy = TextOrNull(source="held_back_by", initial=None)
    options = serializers.SerializerMethodField(initial=OPTIONS)
    sending = serializers.SerializerMethodField(help_text="Of whom what is sent.", initial=SENDING)
    cappedPeople = serializers.IntegerField(
        source="capped_people", help_text="So many wait for a nod: see `capPercent`.", initial=0
    )
    recalledAt = MomentField(
        source="recalled_at", allow_null=True, help_text="Since then nobody is to be there.", initial=None
    )
    tick = serializers.IntegerField(
        allow_null=True, help_text="The change of the audience that was sent last.", initial=17
    )
    desired = serializers.IntegerField(
        source="tally.desired", help_text="Identifiers that are to be there …", initial=31
    )
    acknowledged = serializers.IntegerField(source="tally.acknowledged", help_text="… and those that are.", initial=31)
    maybe = serializers.IntegerField(source="tally.maybe", help_text="Said, and not answered.", initial=0)
    refused = serializers.IntegerField(source="tally.refused", initial=0)
    due = serializers.IntegerField(source="tally.due", help_text="They wait for another try.", initial=0)
    comparedAt = MomentField(source="compared_at", allow_null=True)
    syncedAt = MomentField(source="synced_at", allow_null=True)
    retryAt = MomentField(source="retry_at", allow_null=True, initial=None)
    error = serializers.CharField(initial="")
    createdAt = MomentField(source="created_at")

    def to_representation(self, subscription: Subscription) -> dict[str, Any]:
        # One subscription is counted now, exactly; of a list the newest comparison has to do.
        tally = self.context.get("tallies", {}).get(subscription.pk)
        subscription.tally = tally or queries.count_now(subscription)  # type: ignore[attr-defined]
        return super().to_representation(subscription)

    @extend_schema_field(DeclaredField(_options))
    def get_options(self, subscription: Subscription) -> dict[str, Any]:
        declared = adapter_of(subscription.destination.kind).options_for(subscription.audience.kind)
        return masked(load_stored(declared, subscription.options))

    @extend_schema_field(SendingField())
    def get_sending(self, subscription: Subscription) -> dict[str, Any]:
        return sending_json(queries.sending_of(subscription))


class CreateSubscription(serializers.Serializer[Any]):
    destinationId = serializers.CharField(max_length=40, initial="dst_2qKf0")
    options = DeclaredField(_options, default=dict, initial=OPTIONS)
    sending = SendingField(default=dict, help_text="Of whom what is sent; nothing = what always was.")


class ChangeSubscription(serializers.Serializer[Any]):
    options = DeclaredField(_options, required=False)
    sending = SendingField(required=False, help_text="All of it: what is left out is as it always was.")
    enabled = serializers.BooleanField(required=False, initial=False)


class CreateRehearsal(serializers.Serializer[Any]):
    """Whom it is about, and by which rules instead of the saved ones; with `send`, the saved ones count."""

    identifier = serializers.CharField(
        max_length=600, help_text="As `type:value`, the whole value.", initial="email:ada@example.com"
    )
    entering = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="As if they entered, or left; null = as it is.",
        initial=True,
    )
    send = serializers.BooleanField(
        default=False, help_text="Makes the calls: the tool may act on them.", initial=False
    )
    options = DeclaredField(_options, required=False)
    sending = SendingField(required=False)


class RowOutcomeSerializer(serializers.Serializer[Any]):
    """What an answer means for one identifier."""

    type = serializers.CharField(initial="email")
    value = serializers.CharField(initial="ada@example.com")
    outcome = serializers.ChoiceField(source="kind", choices=queries.SENT_OUTCOMES, initial="delivered")
    reason = serializers.CharField(initial="")


class RehearsedRequestSerializer(serializers.Serializer[Any]):
    """A call, as it would go out or went out, with secrets struck out."""

    method = serializers.CharField(initial="POST")
    url = serializers.CharField(initial=f"https://example.com/{MASK}")
    headers = serializers.DictField(child=serializers.CharField(), initial={"content-type": "application/json"})
    content = serializers.CharField(source="body", initial='{"type": "track"}')
    identifiers = IdentifierSerializer(many=True)
    status = serializers.IntegerField(
        allow_null=True, help_text="Of the answer; 0 = there was none, null = not sent.", initial=None
    )
    milliseconds = serializers.FloatField(initial=0)
    response = serializers.CharField(initial="")
    outcomes = RowOutcomeSerializer(many=True, initial=[])


class RehearsalSerializer(serializers.Serializer[Any]):
    profileId = serializers.CharField(source="person.public_id", initial="use_2qKf0")
    entering = serializers.BooleanField(help_text="What the calls say.", initial=True)
    member = serializers.BooleanField(help_text="Whether they are in the audience, or have a value.", initial=True)
    keptOut = serializers.CharField(source="kept_out", help_text="Why filters or consent let nothing go.", initial="")
    requests = RehearsedRequestSerializer(many=True)


class HoldingsSerializer(serializers.Serializer[Any]):
    """Whom a destination says that it holds, against whom it should: identifiers of the types that go there."""

    desired = serializers.IntegerField(initial=31)
    existing = serializers.IntegerField(initial=30)
    missing = IdentifierSerializer(many=True, help_text="The first of those that should be there and are not.")
    missingCount = serializers.IntegerField(source="missing_count", initial=1)
    extra = IdentifierSerializer(
        many=True, help_text="The first of those that are there and should not be.", initial=[]
    )
    extraCount = serializers.IntegerField(source="extra_count", initial=0)
    strangers = serializers.IntegerField(help_text="Of the extra ones those that nobody in the space has.", initial=0)


class RetryIdentifier(serializers.Serializer[Any]):
    identifier = serializers.CharField(max_length=600, help_text="as `type:value`", initial="email:ada@example.com")


class DeliverySerializer(serializers.Serializer[Any]):
    """One change on one call."""

    # Context: `names`, ids of subscriptions by key.

    subscriptionId = serializers.SerializerMethodField(initial="sub_2qKf0")
    at = MomentField()
    identifier = IdentifierSerializer(source="who", allow_null=True, help_text="null = it is gone.")
    entering = serializers.BooleanField(initial=True)
    messageId = serializers.CharField(source="message_id", initial="sub_2qKf0-7-1")
    outcome = serializers.ChoiceField(choices=queries.OUTCOMES, initial="delivered")
    status = serializers.IntegerField(help_text="Of the HTTP answer; 0 = there was none.", initial=200)
    milliseconds = serializers.SerializerMethodField(initial=31.5)
    reason = serializers.CharField(initial="")
    request = serializers.CharField(initial='{"type": "track"}')
    response = serializers.CharField(initial="ok")

    def get_subscriptionId(self, delivery: queries.Delivery) -> str:
        return str(self.context["names"][delivery.subscription])

    def get_milliseconds(self, delivery: queries.Delivery) -> float:
        return round(delivery.milliseconds, 1)


class FailureReasonSerializer(serializers.Serializer[Any]):
    outcome = serializers.ChoiceField(choices=queries.OUTCOMES, initial="refused")
    reason = serializers.CharField(help_text="Its first words.", initial="422 is not a customer")
    messages = serializers.IntegerField(initial=3)
    newestAt = MomentField(source="newest_at")
    samples = IdentifierSerializer(many=True)


class DeliveryBucketSerializer(serializers.Serializer[Any]):
    at = MomentField()
    delivered = serializers.IntegerField(help_text="Attempts from then on, until the next one …", initial=31)
    other = serializers.IntegerField(help_text="… and those that did not succeed.", initial=0)


class LatencySerializer(serializers.Serializer[Any]):
    """Milliseconds that so many per cent of the answered calls took at most."""

    p50 = serializers.FloatField(initial=12.5)
    p95 = serializers.FloatField(initial=80)
    p99 = serializers.FloatField(initial=140)


class DeliveryOverviewSerializer(serializers.Serializer[Any]):
    """Messages: a change of one identifier in one call, by what its newest attempt came to."""

    example: ClassVar = {"in": 40}

    since = MomentField()
    filtered = serializers.IntegerField(help_text="Kept out by filters, or for want of consent.", initial=2)
    mapped = serializers.IntegerField(help_text="Made into calls, whatever came of them.", initial=38)
    delivered = serializers.IntegerField(initial=34)
    retrying = serializers.IntegerField(initial=1)
    failed = serializers.IntegerField(help_text="Refused or suspended.", initial=3)
    latency = LatencySerializer(allow_null=True)
    reasons = FailureReasonSerializer(many=True, help_text="Of what is not delivered, the most frequent first.")
    buckets = DeliveryBucketSerializer(many=True)

    def get_fields(self) -> dict[str, Any]:
        # `in` cannot be the name of an attribute.
        return {
            "in": serializers.IntegerField(source="entered", help_text="Filtered and mapped."),
            **super().get_fields(),
        }


class CaughtSerializer(serializers.Serializer[Any]):
    """A call as the catcher received it."""

    messageId = serializers.CharField(source="message_id", initial="sub_2qKf0-7-1")
    receivedAt = MomentField(source="received_at")
    times = serializers.IntegerField(help_text="How often it came.", initial=1)
    headers = serializers.DictField(child=serializers.CharField(), initial={"content-type": "application/json"})
    body = serializers.SerializerMethodField(initial=CALL)

    def get_body(self, row: Any) -> dict[str, Any]:
        body: dict[str, Any] = personal.payload(row.body)
        return body


class ListedSerializer(IdentifierSerializer):
    """Whom the catcher holds, by the identifier that it was told."""


# Whole answers.
DestinationAnswer = enveloped("DestinationAnswer", destination=DestinationSerializer())
CheckAnswer = enveloped("CheckAnswer", test=CheckSerializer())
CatalogAnswer = enveloped("CatalogAnswer", destinationsCatalog=DestinationKindSerializer(many=True))
SubscriptionAnswer = enveloped("SubscriptionAnswer", subscription=SubscriptionSerializer())
RehearsalAnswer = enveloped("RehearsalAnswer", rehearsal=RehearsalSerializer())
HoldingsAnswer = enveloped("HoldingsAnswer", reconciliation=HoldingsSerializer())
DeliveryOverviewAnswer = enveloped("DeliveryOverviewAnswer", overview=DeliveryOverviewSerializer())
