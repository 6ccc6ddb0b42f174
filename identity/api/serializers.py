"""What the API takes and answers about people, their events and their merges, and the rules that tell who is who."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.schema import register
from access.api.serializers import ANY_JSON, Envelope, MomentField
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
    waiting = serializers.IntegerField(help_text="Archived events that are not resolved yet.", initial=0)
    replaying = serializers.BooleanField(initial=False)
    asOf = MomentField()
    piece = serializers.IntegerField(help_text="The newest batch of the space's log.", initial=17)


class PlacedSerializer(serializers.Serializer[Any]):
    """An event of the timeline, with the profile that it belongs to now."""

    sourceId = serializers.CharField(
        source="source_id", allow_null=True, help_text="null = it was deleted.", initial="src_2qKf0"
    )
    messageId = serializers.CharField(source="row.message_id", initial="m17")
    profileId = serializers.CharField(source="profile_id", initial="use_2qKf0")
    timestamp = MillisecondsField(source="row.ts")
    piece = serializers.IntegerField(source="row.piece", initial=17)
    position = serializers.IntegerField(source="row.position", initial=0)


IDENTIFIER = {"type": "email", "value": "ada@example.com"}
ACME: dict[str, Any] = {"id": "use_2qKf1", "name": "Acme", "identifiers": [{"type": "group_id", "value": "acme"}]}


class IdentifierSerializer(serializers.Serializer[Any]):
    type = serializers.CharField(initial=IDENTIFIER["type"])
    value = serializers.CharField(initial=IDENTIFIER["value"])

    def to_representation(self, instance: Any) -> dict[str, Any]:
        if isinstance(instance, tuple | list):  # (type, value), as an event has them
            instance = dict(zip(("type", "value"), instance, strict=True))
        shown = super().to_representation(instance)
        return shown | {"value": personal.value(shown["type"], shown["value"])}


class ProfileSerializer(serializers.Serializer[Any]):
    # Context: `include`, which of the optional fields are wanted.

    id = serializers.CharField(source="public_id", initial="use_2qKf0")
    collection = serializers.SerializerMethodField(initial="users")
    firstSeenAt = MomentField(source="first_seen_at")
    traits = TraitsField(required=False, initial=TRAITS)
    identifiers = IdentifierSerializer(many=True, required=False, initial=[IDENTIFIER])

    def get_fields(self) -> dict[str, Any]:
        # Left out as fields, not as values: of rows that were read without identifiers there are none to render.
        unwanted = INCLUDED - {*self.context.get("include", INCLUDED)}
        return {name: field for name, field in super().get_fields().items() if name not in unwanted}

    @extend_schema_field(serializers.ChoiceField(choices=list(COLLECTIONS)))
    def get_collection(self, profile: Profile) -> str:
        return COLLECTION_OF[profile.kind]


class RelatedSerializer(serializers.Serializer[Any]):
    """An account of a user, or a user of an account."""

    id = serializers.CharField(source="public_id", initial=ACME["id"])
    name = serializers.SerializerMethodField(initial=ACME["name"])
    identifiers = IdentifierSerializer(many=True, initial=ACME["identifiers"])

    def get_name(self, profile: Any) -> str | None:
        return shown_name(profile.traits, [(row["type"], row["value"]) for row in profile.identifiers]) or None


@extend_schema_field(ANY_JSON)
class TraitValueField(serializers.JSONField):
    """Whatever was sent, or is worked out."""


class TraitDetailsSerializer(serializers.Serializer[Any]):
    """A trait with what it is and where its value is from."""

    key = serializers.CharField(initial="orders_90d")
    kind = serializers.ChoiceField(choices=derived.KINDS, initial="computed_trait")
    id = serializers.CharField(
        allow_null=True, help_text="Of the SQL trait, the computed trait or the audience.", initial="tra_2qKf0"
    )
    value = TraitValueField(help_text="Of an audience true.", initial=3)  # type: ignore[arg-type]
    sourceId = serializers.CharField(
        allow_null=True, help_text="Of a custom or a SQL trait; null = it was deleted.", initial=None
    )
    updatedAt = MomentField(allow_null=True, help_text="null = that is not recorded.")


class HeldSerializer(IdentifierSerializer):
    """An identifier, with the event that brought it."""

    # Context: `sources`, public ids by key.

    firstSeenAt = MomentField(source="first_seen_at")
    sourceId = SourceIdField(source="source_id", initial="src_2qKf0")
    messageId = serializers.CharField(source="message_id", initial="m17")


class WholeProfileSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(initial="use_2qKf0")
    collection = serializers.ChoiceField(choices=list(COLLECTIONS), initial="users")
    name = serializers.CharField(allow_null=True, initial="Ada")
    traits = AnyTraitsField(
        help_text="By key; where a custom trait has the key of another one, the custom one.",
        initial={**TRAITS, "orders_90d": 3},
    )
    traitDetails = TraitDetailsSerializer(many=True)
    identifiers = HeldSerializer(many=True)
    mergedIds = serializers.ListField(
        child=serializers.CharField(), help_text="Profiles that became part of this one.", initial=[]
    )
    accounts = RelatedSerializer(many=True, required=False, help_text="Of a user.", initial=[ACME])
    users = RelatedSerializer(many=True, required=False, help_text="Of an account.")
    relatedTotal = serializers.IntegerField(
        help_text=f"How many there are; of these the first {MANY:,} are named.", initial=1
    )
    firstSeenAt = MomentField()
    lastSeenAt = MomentField(allow_null=True)


class ProfileAnswer(Envelope):
    profile = WholeProfileSerializer()
    mergedFrom = serializers.CharField(
        allow_null=True, help_text="The id that was asked for, where it was merged into this one."
    )


class TraitSerializer(serializers.Serializer[Any]):
    """A trait's value with where it is from, for `verbose`."""

    kind = serializers.ChoiceField(choices=derived.KINDS, initial="custom")
    id = serializers.CharField(allow_null=True, initial=None)
    value = serializers.JSONField(initial="pro")  # type: ignore[arg-type]
    sourceId = serializers.CharField(allow_null=True, initial="src_2qKf0")
    updatedAt = MomentField(allow_null=True)


class ExternalIdSerializer(serializers.Serializer[Any]):
    """With the fields of Segment's Profile API."""

    # Context: `collection` of the profile.

    collection = serializers.SerializerMethodField(initial="users")
    type = serializers.CharField(initial="email")
    id = serializers.SerializerMethodField(initial="ada@example.com")
    encoding = serializers.SerializerMethodField(initial="none")

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
    createdAt = MomentField(source="first_seen_at")
    sourceId = SourceIdField(source="source_id", initial="src_2qKf0")
    firstMessageId = serializers.CharField(source="message_id", initial="m17")


class ProfileEventSerializer(serializers.Serializer[Any]):
    # Context: `collection` of the profile, and `sources`.

    externalIds = serializers.SerializerMethodField()
    type = serializers.CharField(initial="track")
    event = serializers.CharField(initial="Order Completed")
    messageId = serializers.CharField(source="message_id", initial="m17")
    sourceId = SourceIdField(source="source", initial="src_2qKf0")
    timestamp = MillisecondsField(source="ts")
    message = serializers.SerializerMethodField(
        help_text="As archived.",
        initial={"type": "track", "event": "Order Completed", "userId": "u1", "properties": {"total": 12}},
    )

    @extend_schema_field(ExternalIdSerializer(many=True))
    def get_externalIds(self, row: ProfileEvent) -> Any:
        pairs = [{"type": type, "value": value} for type, value in row.identifiers]
        return ExternalIdSerializer(pairs, many=True, context=self.context).data

    def get_message(self, row: ProfileEvent) -> dict[str, Any]:
        message: dict[str, Any] = personal.payload(json.loads(row.message))
        return message


class MergeSerializer(serializers.Serializer[Any]):
    # Context: `ids` by number, and `sources`.

    id = serializers.SerializerMethodField(help_text="The profile that became part of the other.", initial="use_2qKf1")
    into = serializers.SerializerMethodField(initial="use_2qKf0")
    at = MomentField()
    sourceId = SourceIdField(source="source_id", initial="src_2qKf0")
    messageId = serializers.CharField(source="message_id", initial="m17")
    reason = serializers.CharField(initial="shared email")
    piece = serializers.IntegerField(initial=17)

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
    label = serializers.SerializerMethodField(initial="VIP")  # type: ignore[assignment]
    text = serializers.SerializerMethodField(initial="Calls on Mondays.")
    changedBy = serializers.CharField(source="changed_by.public_id", default=None, allow_null=True, initial="usr_2qKf0")
    changedAt = MomentField(source="changed_at")

    def get_label(self, note: ProfileNote) -> str:
        return personal.text(note.label)

    def get_text(self, note: ProfileNote) -> str:
        return personal.text(note.text)


class WriteNote(serializers.Serializer[Any]):
    label = serializers.CharField(max_length=60, allow_blank=True, default="", initial="VIP")  # type: ignore[assignment]
    text = serializers.CharField(max_length=2_000, allow_blank=True, default="", initial="Calls on Mondays.")


class NoteAnswer(Envelope):
    note = NoteSerializer(allow_null=True, help_text="null = there is none.")
