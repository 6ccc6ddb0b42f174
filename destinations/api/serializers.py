"""What the API takes and answers about destinations, which audiences go there, and what was sent."""

from typing import Any, ClassVar

import msgspec
from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.declared import Declarations, DeclaredField, by_own_name, declared_schema
from access.api.schema import register
from access.api.serializers import AT, Envelope, MomentField, TextOrNull, enveloped
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
    example: ClassVar = {
        "id": "dst_2qKf0",
        "kind": "webhook",
        "name": "Mail tool",
        "enabled": True,
        "status": "in_step",
        "settings": SETTINGS,
    }

    id = serializers.CharField(source="public_id")
    kind = serializers.CharField()
    name = serializers.CharField()
    enabled = serializers.BooleanField()
    status = serializers.SerializerMethodField(help_text="The worst of what goes there; null = nothing does.")
    settings = serializers.SerializerMethodField()
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

    example: ClassVar = {"enabled": False}

    name = serializers.CharField(max_length=100, required=False)
    settings = DeclaredField(_settings, is_change=True, required=False)
    enabled = serializers.BooleanField(required=False)


class CheckSerializer(serializers.Serializer[Any]):
    """What a test call came to."""

    example: ClassVar = {"ok": True, "message": "It answered as it should.", "status": 200, "milliseconds": 31.5}

    ok = serializers.BooleanField()
    message = serializers.CharField()
    status = serializers.IntegerField(help_text="Of the HTTP answer; 0 = there was none.")
    milliseconds = serializers.FloatField()


class CreatedDestinationAnswer(ChangedDestinationAnswer):
    test = CheckSerializer(help_text="A first harmless call: the destination is made whatever came of it.")


@extend_schema_field({"type": ["string", "boolean", "integer"]})
class DefaultField(serializers.JSONField):
    """A value of the setting's own type."""


class SettingSerializer(serializers.Serializer[Any]):
    """A field of a form."""

    example: ClassVar = {
        "name": "url",
        "label": "Address",
        "help": "Receives a POST with a JSON body",
        "type": "string",
        "required": True,
        "default": None,
        "secret": True,
        "url": True,
        "choices": [],
        "minimum": None,
        "maximum": None,
    }

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    help = serializers.CharField()
    type = serializers.ChoiceField(choices=["string", "boolean", "integer"])
    required = serializers.BooleanField()  # type: ignore[assignment]
    default = DefaultField(allow_null=True)
    secret = serializers.BooleanField(help_text=f"Shown as {MASK}; of an address with its host.")
    url = serializers.BooleanField(help_text="An address that is called.")
    choices = serializers.ListField(child=serializers.CharField())
    minimum = serializers.IntegerField(allow_null=True)
    maximum = serializers.IntegerField(allow_null=True)


class DocumentedLimitSerializer(serializers.Serializer[Any]):
    """What a tool takes at most, as its maker said on a date."""

    value = serializers.FloatField()
    of = serializers.CharField(help_text="Such as “people in a request”.")
    date = serializers.CharField(help_text="YYYY-MM, when it was read.")
    source = serializers.CharField(help_text="Whose page it was read on.")  # type: ignore[assignment]


class DestinationKindSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "kind": "webhook",
        "label": "Webhook",
        "description": "Posts every change of an audience to an address of your own, signed.",
        "styles": ["event", "list"],
        "identifiers": ["user_id", "email", "anonymous_id"],
        "fields": True,
        "credentials": "",
        "limits": [],
        "accounts": True,
        "settingsSchema": {"type": "object"},
        "options": [],
        "optionsSchema": {"type": "object"},
        "traitOptions": None,
        "traitOptionsSchema": None,
    }

    kind = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    description = serializers.CharField()
    styles = serializers.ListField(child=serializers.CharField())
    identifiers = serializers.ListField(child=serializers.CharField(), help_text="The most useful first.")
    fields = serializers.BooleanField(  # type: ignore[assignment]
        help_text="Whether there is a place for what goes besides (`sending.fields`)."
    )
    credentials = serializers.CharField(help_text="How to get them, where the help of the settings does not say it.")
    limits = DocumentedLimitSerializer(many=True)
    accounts = serializers.BooleanField(help_text="It takes what is about accounts, as events.")
    settings = SettingSerializer(many=True)
    settingsSchema = serializers.DictField(help_text="The same as JSON Schema.")
    options = SettingSerializer(many=True)
    optionsSchema = serializers.DictField(help_text="The same as JSON Schema.")
    traitOptions = SettingSerializer(many=True, allow_null=True, help_text="Of a computed trait; null = it takes none.")
    traitOptionsSchema = serializers.DictField(allow_null=True, help_text="The same as JSON Schema.")


class SubscriptionSerializer(serializers.Serializer[Any]):
    """An audience, or a computed trait, goes to a destination."""

    # Context: `tallies` by key, where there are many.

    example: ClassVar = {
        "id": "sub_2qKf0",
        "audienceId": "aud_2qKf0",
        "destinationId": "dst_2qKf0",
        "enabled": True,
        "status": "in_step",
        "heldBackBy": None,
        "options": OPTIONS,
        "sending": SENDING,
        "cappedPeople": 0,
        "recalledAt": None,
        "tick": 17,
        "desired": 31,
        "acknowledged": 31,
        "maybe": 0,
        "refused": 0,
        "due": 0,
        "retryAt": None,
        "error": "",
    }

    id = serializers.CharField(source="public_id")
    audienceId = serializers.CharField(source="audience.public_id", help_text="Or that of the computed trait.")
    destinationId = serializers.CharField(source="destination.public_id")
    enabled = serializers.BooleanField()
    status = serializers.ChoiceField(source="standing", choices=Subscription.Status.choices)
    heldBackBy = TextOrNull(source="held_back_by")
    options = serializers.SerializerMethodField()
    sending = serializers.SerializerMethodField(help_text="Of whom what is sent.")
    cappedPeople = serializers.IntegerField(
        source="capped_people", help_text="So many wait for a nod: see `capPercent`."
    )
    recalledAt = MomentField(source="recalled_at", allow_null=True, help_text="Since then nobody is to be there.")
    tick = serializers.IntegerField(allow_null=True, help_text="The change of the audience that was sent last.")
    desired = serializers.IntegerField(source="tally.desired", help_text="Identifiers that are to be there …")
    acknowledged = serializers.IntegerField(source="tally.acknowledged", help_text="… and those that are.")
    maybe = serializers.IntegerField(source="tally.maybe", help_text="Said, and not answered.")
    refused = serializers.IntegerField(source="tally.refused")
    due = serializers.IntegerField(source="tally.due", help_text="They wait for another try.")
    comparedAt = MomentField(source="compared_at", allow_null=True)
    syncedAt = MomentField(source="synced_at", allow_null=True)
    retryAt = MomentField(source="retry_at", allow_null=True)
    error = serializers.CharField()
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
    example: ClassVar = {"destinationId": "dst_2qKf0", "options": OPTIONS}

    destinationId = serializers.CharField(max_length=40)
    options = DeclaredField(_options, default=dict)
    sending = SendingField(default=dict, help_text="Of whom what is sent; nothing = what always was.")


class ChangeSubscription(serializers.Serializer[Any]):
    example: ClassVar = {"enabled": False}

    options = DeclaredField(_options, required=False)
    sending = SendingField(required=False, help_text="All of it: what is left out is as it always was.")
    enabled = serializers.BooleanField(required=False)


class CreateRehearsal(serializers.Serializer[Any]):
    """Whom it is about, and by which rules instead of the saved ones; with `send`, the saved ones count."""

    example: ClassVar = {"identifier": "email:ada@example.com", "entering": True, "send": False}

    identifier = serializers.CharField(max_length=600, help_text="As `type:value`, the whole value.")
    entering = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="As if they entered, or left; null = as it is."
    )
    send = serializers.BooleanField(default=False, help_text="Makes the calls: the tool may act on them.")
    options = DeclaredField(_options, required=False)
    sending = SendingField(required=False)


class RowOutcomeSerializer(serializers.Serializer[Any]):
    """What an answer means for one identifier."""

    example: ClassVar = {**IdentifierSerializer.example, "outcome": "delivered", "reason": ""}

    type = serializers.CharField()
    value = serializers.CharField()
    outcome = serializers.ChoiceField(source="kind", choices=queries.SENT_OUTCOMES)
    reason = serializers.CharField()


class RehearsedRequestSerializer(serializers.Serializer[Any]):
    """A call, as it would go out or went out, with secrets struck out."""

    example: ClassVar[dict[str, Any]] = {
        "method": "POST",
        "url": f"https://example.com/{MASK}",
        "headers": {"content-type": "application/json"},
        "content": '{"type": "track"}',
        "status": None,
        "milliseconds": 0,
        "response": "",
        "outcomes": [],
    }

    method = serializers.CharField()
    url = serializers.CharField()
    headers = serializers.DictField(child=serializers.CharField())
    content = serializers.CharField(source="body")
    identifiers = IdentifierSerializer(many=True)
    status = serializers.IntegerField(allow_null=True, help_text="Of the answer; 0 = there was none, null = not sent.")
    milliseconds = serializers.FloatField()
    response = serializers.CharField()
    outcomes = RowOutcomeSerializer(many=True)


class RehearsalSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"profileId": "use_2qKf0", "entering": True, "member": True, "keptOut": ""}

    profileId = serializers.CharField(source="person.public_id")
    entering = serializers.BooleanField(help_text="What the calls say.")
    member = serializers.BooleanField(help_text="Whether they are in the audience, or have a value.")
    keptOut = serializers.CharField(source="kept_out", help_text="Why filters or consent let nothing go.")
    requests = RehearsedRequestSerializer(many=True)


class HoldingsSerializer(serializers.Serializer[Any]):
    """Whom a destination says that it holds, against whom it should: identifiers of the types that go there."""

    example: ClassVar = {"desired": 31, "existing": 30, "missingCount": 1, "extra": [], "extraCount": 0, "strangers": 0}

    desired = serializers.IntegerField()
    existing = serializers.IntegerField()
    missing = IdentifierSerializer(many=True, help_text="The first of those that should be there and are not.")
    missingCount = serializers.IntegerField(source="missing_count")
    extra = IdentifierSerializer(many=True, help_text="The first of those that are there and should not be.")
    extraCount = serializers.IntegerField(source="extra_count")
    strangers = serializers.IntegerField(help_text="Of the extra ones those that nobody in the space has.")


class RetryIdentifier(serializers.Serializer[Any]):
    example: ClassVar = {"identifier": "email:ada@example.com"}

    identifier = serializers.CharField(max_length=600, help_text="as `type:value`")


class DeliverySerializer(serializers.Serializer[Any]):
    """One change on one call."""

    # Context: `names`, ids of subscriptions by key.

    example: ClassVar = {
        "subscriptionId": "sub_2qKf0",
        "entering": True,
        "messageId": "sub_2qKf0-7-1",
        "outcome": "delivered",
        "status": 200,
        "milliseconds": 31.5,
        "reason": "",
        "request": '{"type": "track"}',
        "response": "ok",
    }

    subscriptionId = serializers.SerializerMethodField()
    at = MomentField()
    identifier = IdentifierSerializer(source="who", allow_null=True, help_text="null = it is gone.")
    entering = serializers.BooleanField()
    messageId = serializers.CharField(source="message_id")
    outcome = serializers.ChoiceField(choices=queries.OUTCOMES)
    status = serializers.IntegerField(help_text="Of the HTTP answer; 0 = there was none.")
    milliseconds = serializers.SerializerMethodField()
    reason = serializers.CharField()
    request = serializers.CharField()
    response = serializers.CharField()

    def get_subscriptionId(self, delivery: queries.Delivery) -> str:
        return str(self.context["names"][delivery.subscription])

    def get_milliseconds(self, delivery: queries.Delivery) -> float:
        return round(delivery.milliseconds, 1)


class FailureReasonSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "outcome": "refused",
        "reason": "422 is not a customer",
        "messages": 3,
        "newestAt": AT,
        "samples": [IdentifierSerializer.example],
    }

    outcome = serializers.ChoiceField(choices=queries.OUTCOMES)
    reason = serializers.CharField(help_text="Its first words.")
    messages = serializers.IntegerField()
    newestAt = MomentField(source="newest_at")
    samples = IdentifierSerializer(many=True)


class DeliveryBucketSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"at": AT, "delivered": 31, "other": 0}

    at = MomentField()
    delivered = serializers.IntegerField(help_text="Attempts from then on, until the next one …")
    other = serializers.IntegerField(help_text="… and those that did not succeed.")


class LatencySerializer(serializers.Serializer[Any]):
    """Milliseconds that so many per cent of the answered calls took at most."""

    example: ClassVar = {"p50": 12.5, "p95": 80, "p99": 140}

    p50 = serializers.FloatField()
    p95 = serializers.FloatField()
    p99 = serializers.FloatField()


class DeliveryOverviewSerializer(serializers.Serializer[Any]):
    """Messages: a change of one identifier in one call, by what its newest attempt came to."""

    example: ClassVar = {
        "since": AT,
        "in": 40,
        "filtered": 2,
        "mapped": 38,
        "delivered": 34,
        "retrying": 1,
        "failed": 3,
        "latency": LatencySerializer.example,
        "reasons": [FailureReasonSerializer.example],
        "buckets": [DeliveryBucketSerializer.example],
    }

    since = MomentField()
    filtered = serializers.IntegerField(help_text="Kept out by filters, or for want of consent.")
    mapped = serializers.IntegerField(help_text="Made into calls, whatever came of them.")
    delivered = serializers.IntegerField()
    retrying = serializers.IntegerField()
    failed = serializers.IntegerField(help_text="Refused or suspended.")
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

    example: ClassVar = {
        "messageId": "sub_2qKf0-7-1",
        "times": 1,
        "headers": {"content-type": "application/json"},
        "body": CALL,
    }

    messageId = serializers.CharField(source="message_id")
    receivedAt = MomentField(source="received_at")
    times = serializers.IntegerField(help_text="How often it came.")
    headers = serializers.DictField(child=serializers.CharField())
    body = serializers.SerializerMethodField()

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
