"""What the API takes and answers about people, their events and their merges, and the rules that tell who is who."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar

import msgspec
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.schema import register
from access.api.serializers import ANY_JSON, AT, Envelope, MomentField
from access.errors import invalid
from identity import derived, queries
from identity.derived import DerivedTraits
from identity.models import Merge, Profile, ProfileNote
from identity.naming import shown_name
from identity.queries import COLLECTIONS, MANY
from identity.rules.extract import ACCOUNT_TYPE
from identity.rules.policy import Policy, PolicyError
from sources.events.timeline import ProfileEvent
from spaces import personal
from spaces.times import from_milliseconds, iso_of

COLLECTION_OF = {int(kind): name for name, kind in COLLECTIONS.items()}
RULES = {
    "identifiers": [{"type": "user_id", "limit": {"count": 1, "period": "ever"}, "blocked": {"values": ["null"]}}],
    "max_merges": 100,
    "max_mappings": 1000,
}
INCLUDED = {"identifiers", "traits"}  # of a profile in a list, when they are asked for
TRAITS = {"name": "Ada", "plan": "pro"}


class MillisecondsField(MomentField):
    """A moment that is kept in milliseconds since 1970."""

    def to_representation(self, value: int) -> str | None:  # type: ignore[override]
        return iso_of(value)


class SourceIdField(serializers.CharField):
    """A source's public id, from its key. Context: `sources`, the ids by key."""

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_null=True, help_text="null = it was deleted.", **more)

    def to_representation(self, value: int) -> str | None:  # type: ignore[override]
        source: str | None = self.context["sources"].get(value)
        return source


class TraitsField(serializers.DictField):
    """By name; masked for whoever may not see them."""

    def to_representation(self, value: Any) -> dict[str, Any]:
        return super().to_representation(personal.traits(value))


class AnyTraitsField(serializers.DictField):
    """By key; masked already."""


class RulesField(serializers.JSONField):
    """A space's identity rules, as `identity.rules.policy.Policy` reads them."""


class RulesFieldExtension(OpenApiSerializerFieldExtension):
    target_class = RulesField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        """The schema that msgspec knows of the policy."""
        template = "#/components/schemas/Identity{name}"
        _, schemas = msgspec.json.schema_components([Policy], ref_template=template)
        for name, schema in schemas.items():
            del schema["title"]  # generated clients would take it for the name
            register(auto_schema, f"Identity{name}", schema | ({"examples": [RULES]} if name == "Policy" else {}))
        return {"$ref": template.format(name="Policy")}


class ChangeRules(serializers.Serializer[Any]):
    identityRules = RulesField(allow_null=True, help_text="null = the default ones")


def policy_in(body: Mapping[str, Any]) -> Policy | None:
    """The rules of a body; None = the default ones."""
    wanted = body["identityRules"]
    # By the policy's own parser, as the page does it: a serializer of our own would allow something else.
    try:
        return None if wanted is None else Policy.from_json(wanted)
    except PolicyError as error:
        raise invalid(error.message, f"identityRules.{error.path}" if error.path else "identityRules") from error


class RulesAnswer(Envelope):
    identityRules = RulesField()
    isDefault = serializers.BooleanField()


class ResolutionAnswer(Envelope):
    example: ClassVar = {"waiting": 0, "replaying": False, "piece": 17}

    waiting = serializers.IntegerField(help_text="Archived events that are not resolved yet.")
    replaying = serializers.BooleanField()
    asOf = MomentField()
    piece = serializers.IntegerField(help_text="The newest batch of the space's log.")


class PlacedSerializer(serializers.Serializer[Any]):
    """An event of the timeline, with the profile that it belongs to now."""

    example: ClassVar = {
        "sourceId": "src_2qKf0",
        "messageId": "m17",
        "profileId": "use_2qKf0",
        "piece": 17,
        "position": 0,
    }

    sourceId = serializers.CharField(source="source_id", allow_null=True, help_text="null = it was deleted.")
    messageId = serializers.CharField(source="row.message_id")
    profileId = serializers.CharField(source="profile_id")
    timestamp = MillisecondsField(source="row.ts")
    piece = serializers.IntegerField(source="row.piece")
    position = serializers.IntegerField(source="row.position")


class IdentifierSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"type": "email", "value": "ada@example.com"}

    type = serializers.CharField()
    value = serializers.CharField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        if isinstance(instance, tuple | list):  # (type, value), as an event has them
            instance = dict(zip(("type", "value"), instance, strict=True))
        shown = super().to_representation(instance)
        return shown | {"value": personal.value(shown["type"], shown["value"])}


class ProfileSerializer(serializers.Serializer[Any]):
    # Context: `include`, which of the optional fields are wanted.

    example: ClassVar = {
        "id": "use_2qKf0",
        "collection": "users",
        "traits": TRAITS,
        "identifiers": [IdentifierSerializer.example],
    }

    id = serializers.CharField(source="public_id")
    collection = serializers.SerializerMethodField()
    firstSeenAt = MomentField(source="first_seen_at")
    traits = TraitsField(required=False)
    identifiers = IdentifierSerializer(many=True, required=False)

    def get_fields(self) -> dict[str, Any]:
        # Left out as fields, not as values: of rows that were read without identifiers there are none to render.
        unwanted = INCLUDED - {*self.context.get("include", INCLUDED)}
        return {name: field for name, field in super().get_fields().items() if name not in unwanted}

    @extend_schema_field(serializers.ChoiceField(choices=list(COLLECTIONS)))
    def get_collection(self, profile: Profile) -> str:
        return COLLECTION_OF[profile.kind]


class RelatedSerializer(serializers.Serializer[Any]):
    """An account of a user, or a user of an account."""

    example: ClassVar = {
        "id": "use_2qKf1",
        "name": "Acme",
        "identifiers": [{"type": "group_id", "value": "acme"}],
    }

    id = serializers.CharField(source="public_id")
    name = serializers.SerializerMethodField()
    identifiers = IdentifierSerializer(many=True)

    def get_name(self, profile: Any) -> str | None:
        return shown_name(profile.traits, [(row["type"], row["value"]) for row in profile.identifiers]) or None


@extend_schema_field(ANY_JSON)
class TraitValueField(serializers.JSONField):
    """Whatever was sent, or is worked out."""


class TraitDetailsSerializer(serializers.Serializer[Any]):
    """A trait with what it is and where its value is from."""

    example: ClassVar = {"key": "orders_90d", "kind": "computed_trait", "id": "tra_2qKf0", "value": 3, "sourceId": None}

    key = serializers.CharField()
    kind = serializers.ChoiceField(choices=derived.KINDS)
    id = serializers.CharField(allow_null=True, help_text="Of the SQL trait, the computed trait or the audience.")
    value = TraitValueField(help_text="Of an audience true.")
    sourceId = serializers.CharField(allow_null=True, help_text="Of a custom or a SQL trait; null = it was deleted.")
    updatedAt = MomentField(allow_null=True, help_text="null = that is not recorded.")


class HeldSerializer(IdentifierSerializer):
    """An identifier, with the event that brought it."""

    # Context: `sources`, public ids by key.

    example: ClassVar = {
        **IdentifierSerializer.example,
        "firstSeenAt": AT,
        "sourceId": "src_2qKf0",
        "messageId": "m17",
    }

    firstSeenAt = MomentField(source="first_seen_at")
    sourceId = SourceIdField(source="source_id")
    messageId = serializers.CharField(source="message_id")


class WholeProfileSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "use_2qKf0",
        "collection": "users",
        "name": "Ada",
        "traits": {**TRAITS, "orders_90d": 3},
        "mergedIds": [],
        "accounts": [RelatedSerializer.example],
        "relatedTotal": 1,
    }

    id = serializers.CharField()
    collection = serializers.ChoiceField(choices=list(COLLECTIONS))
    name = serializers.CharField(allow_null=True)
    traits = AnyTraitsField(help_text="By key; where a custom trait has the key of another one, the custom one.")
    traitDetails = TraitDetailsSerializer(many=True)
    identifiers = HeldSerializer(many=True)
    mergedIds = serializers.ListField(child=serializers.CharField(), help_text="Profiles that became part of this one.")
    accounts = RelatedSerializer(many=True, required=False, help_text="Of a user.")
    users = RelatedSerializer(many=True, required=False, help_text="Of an account.")
    relatedTotal = serializers.IntegerField(help_text=f"How many there are; of these the first {MANY:,} are named.")
    firstSeenAt = MomentField()
    lastSeenAt = MomentField(allow_null=True)


class ProfileAnswer(Envelope):
    profile = WholeProfileSerializer()
    mergedFrom = serializers.CharField(
        allow_null=True, help_text="The id that was asked for, where it was merged into this one."
    )


class TraitSerializer(serializers.Serializer[Any]):
    """A trait's value with where it is from, for `verbose`."""

    example: ClassVar = {"kind": "custom", "id": None, "value": "pro", "sourceId": "src_2qKf0"}

    kind = serializers.ChoiceField(choices=derived.KINDS)
    id = serializers.CharField(allow_null=True)
    value = serializers.JSONField()
    sourceId = serializers.CharField(allow_null=True)
    updatedAt = MomentField(allow_null=True)


class ExternalIdSerializer(serializers.Serializer[Any]):
    """With the fields of Segment's Profile API."""

    # Context: `collection` of the profile.

    example: ClassVar = {"collection": "users", "type": "email", "id": "ada@example.com", "encoding": "none"}

    collection = serializers.SerializerMethodField()
    type = serializers.CharField()
    id = serializers.SerializerMethodField()
    encoding = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ChoiceField(choices=list(COLLECTIONS)))
    def get_collection(self, row: Any) -> str:
        type = row["type"] if isinstance(row, dict) else row.type
        # A group id names the account, also on the event of a person who is in it.
        return "accounts" if type == ACCOUNT_TYPE else str(self.context["collection"])

    def get_id(self, row: Any) -> str:
        return personal.value(*((row["type"], row["value"]) if isinstance(row, dict) else (row.type, row.value)))

    def get_encoding(self, row: Any) -> str:
        return "none"


class SeenIdSerializer(ExternalIdSerializer):
    example: ClassVar = {
        **ExternalIdSerializer.example,
        "createdAt": AT,
        "sourceId": "src_2qKf0",
        "firstMessageId": "m17",
    }

    createdAt = MomentField(source="first_seen_at")
    sourceId = SourceIdField(source="source_id")
    firstMessageId = serializers.CharField(source="message_id")


class ProfileEventSerializer(serializers.Serializer[Any]):
    # Context: `collection` of the profile, and `sources`.

    example: ClassVar = {
        "type": "track",
        "event": "Order Completed",
        "messageId": "m17",
        "sourceId": "src_2qKf0",
        "message": {"type": "track", "event": "Order Completed", "userId": "u1", "properties": {"total": 12}},
    }

    externalIds = serializers.SerializerMethodField()
    type = serializers.CharField()
    event = serializers.CharField()
    messageId = serializers.CharField(source="message_id")
    sourceId = SourceIdField(source="source")
    timestamp = MillisecondsField(source="ts")
    message = serializers.SerializerMethodField(help_text="As archived.")

    @extend_schema_field(ExternalIdSerializer(many=True))
    def get_externalIds(self, row: ProfileEvent) -> Any:
        pairs = [{"type": type, "value": value} for type, value in row.identifiers]
        return ExternalIdSerializer(pairs, many=True, context=self.context).data

    def get_message(self, row: ProfileEvent) -> dict[str, Any]:
        message: dict[str, Any] = personal.payload(json.loads(row.message))
        return message


class MergeSerializer(serializers.Serializer[Any]):
    # Context: `ids` by number, and `sources`.

    example: ClassVar = {
        "id": "use_2qKf1",
        "into": "use_2qKf0",
        "sourceId": "src_2qKf0",
        "messageId": "m17",
        "reason": "shared email",
        "piece": 17,
    }

    id = serializers.SerializerMethodField(help_text="The profile that became part of the other.")
    into = serializers.SerializerMethodField()
    at = MomentField()
    sourceId = SourceIdField(source="source_id")
    messageId = serializers.CharField(source="message_id")
    reason = serializers.CharField()
    piece = serializers.IntegerField()

    def get_id(self, merge: Merge) -> str:
        return str(self.context["ids"][merge.loser])

    def get_into(self, merge: Merge) -> str:
        return str(self.context["ids"][merge.winner])


def details_of(profile: Profile, more: DerivedTraits, kinds: Collection[str]) -> list[dict[str, Any]]:
    """Each trait of these kinds, as TraitDetailsSerializer has it, by key; masked. more: what is not sent."""
    seen, traits = profile.traits_seen, personal.traits(profile.traits)
    sources = queries.source_ids(stamp[1] for stamp in seen.values())
    rows: list[dict[str, Any]] = []
    for key, value in traits.items():
        at, source, *_ = seen.get(key) or (None, 0)
        kind = derived.SQL if source in more.queries else derived.CUSTOM
        where = {"id": more.queries.get(source), "sourceId": sources.get(source)}
        rows.append({"key": key, "kind": kind, "value": value, "updatedAt": at and from_milliseconds(at), **where})
    rows += [
        {
            "key": trait.key,
            "kind": trait.kind,
            "id": trait.id,
            "value": trait.value,
            "sourceId": None,
            "updatedAt": trait.at,
        }
        for trait in more.traits
    ]
    return sorted((row for row in rows if row["kind"] in kinds), key=lambda row: row["key"])


def by_key(details: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """One for each key: what was sent of the person, where something else has the same key."""
    rows: dict[str, dict[str, Any]] = {}
    for row in details:
        if row["key"] not in rows or row["kind"] in (derived.CUSTOM, derived.SQL):
            rows[row["key"]] = row
    return rows


class NoteSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"label": "VIP", "text": "Calls on Mondays.", "changedBy": "usr_2qKf0", "changedAt": AT}

    label = serializers.SerializerMethodField()  # type: ignore[assignment]
    text = serializers.SerializerMethodField()
    changedBy = serializers.CharField(source="changed_by.public_id", default=None, allow_null=True)
    changedAt = MomentField(source="changed_at")

    def get_label(self, note: ProfileNote) -> str:
        return personal.text(note.label)

    def get_text(self, note: ProfileNote) -> str:
        return personal.text(note.text)


class WriteNote(serializers.Serializer[Any]):
    example: ClassVar = {"label": "VIP", "text": "Calls on Mondays."}

    label = serializers.CharField(max_length=60, allow_blank=True, default="")  # type: ignore[assignment]
    text = serializers.CharField(max_length=2_000, allow_blank=True, default="")


class NoteAnswer(Envelope):
    note = NoteSerializer(allow_null=True, help_text="null = there is none.")
