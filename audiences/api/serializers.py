"""What the API takes and answers about audiences, who is in them, and what they may ask."""

from typing import Any, ClassVar

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.schema import register
from access.api.serializers import AT, Envelope, MomentField, TextOrNull, enveloped, moment
from audiences import overview
from audiences.bulk import ACTIONS, MOST_AT_ONCE
from audiences.models import Audience, Change, Version
from audiences.overview import Overview
from audiences.rules.difference import ADDED, REMOVED, SAME
from audiences.rules.folders import LONGEST_FOLDER, MOST_PARTS
from audiences.rules.grammar import ACCOUNTS, GROUPS, USERS, schemas, trait_schemas
from audiences.rules.labels import LONGEST_LABEL, MOST_LABELS
from audiences.rules.validation import LONGEST_NAME
from audiences.rules.windows import UNITS
from identity.api.serializers import IdentifierSerializer

MOST_NAMED = 100  # people of one side of a change
WHOM = [USERS, ACCOUNTS]
DEFINITION = {"kind": "event", "name": "Order Completed", "atLeast": 2, "within": {"days": 7}}
SENTENCE = 'People who performed "Order Completed" at least 2 times in the last 7 days.'


class DefinitionField(serializers.JSONField):
    """A definition, as `audiences.rules.grammar` reads it."""

    described = staticmethod(schemas)
    schema_name = "Definition"
    kept = False  # one that is kept may be of another release, which this one cannot read


class KeptDefinitionField(DefinitionField):
    kept = True


class TraitDefinitionField(DefinitionField):
    """That of a computed trait."""

    described = staticmethod(trait_schemas)
    schema_name = "TraitDefinition"


class KeptTraitDefinitionField(TraitDefinitionField):
    kept = True


class DefinitionFieldExtension(OpenApiSerializerFieldExtension):
    target_class = DefinitionField
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        for name, schema in self.target.described("#/components/schemas/{}").items():
            register(auto_schema, name, schema)
        # A client that is made of the description gets a type for what it sends; what it is answered it must not
        # refuse.
        readable = {"$ref": f"#/components/schemas/{self.target.schema_name}"}
        if not self.target.kept:
            return readable
        return {"anyOf": [readable, {"description": "Anything else: one of another release, which cannot be read."}]}


class LengthField(serializers.IntegerField):
    """How many are in a set or a mapping, of which nobody is named."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, **options)

    def to_representation(self, value: Any) -> int:
        return len(value)


class SizeSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"count": 31}

    count = serializers.IntegerField(source="size", allow_null=True, help_text="null before the first computation.")


class ProblemSerializer(serializers.Serializer[Any]):
    """Why an audience is not what it is to be."""

    example: ClassVar = {"reason": "It is worked out again.", "retryAt": None}

    reason = serializers.CharField()
    since = MomentField(allow_null=True)
    retryAt = MomentField(source="retry_at", allow_null=True)


class AudienceSerializer(serializers.Serializer[Any]):
    # Of an `Overview`. Context: `as_of`, the moment that the space's audiences are as of.

    example: ClassVar = {
        "id": "aud_2qKf0",
        "key": "buyers",
        "name": "Buyers",
        "description": "",
        "labels": ["vip"],
        "of": "users",
        "folder": "Campaigns/Summer",
        "sentence": SENTENCE,
        "definition": DEFINITION,
        "includeAnonymous": False,
        "includeHistoricalData": True,
        "enabled": True,
        "endingAt": None,
        "status": "live",
        "updating": False,
        "error": "",
        "problem": None,
        "asOf": AT,
        "version": 1,
        "createdBy": "usr_2qKf0",
    }

    id = serializers.CharField(source="audience.public_id")
    key = serializers.CharField(source="audience.key", help_text="Names it in tools and definitions; never changes.")
    name = serializers.CharField(source="audience.name")
    description = serializers.CharField(source="audience.description")
    labels = serializers.ListField(child=serializers.CharField(), source="audience.labels")
    of = serializers.ChoiceField(source="audience.of", choices=WHOM, help_text="Whom it is about.")
    folder = serializers.CharField(source="audience.folder", help_text="A path; empty = in no folder.")
    sentence = serializers.CharField(help_text="What the definition says, in words.")
    # Of the newest version: whoever changes an audience changes that one, also while an older one serves.
    definition: DefinitionField = KeptDefinitionField(source="version.definition")
    includeAnonymous = serializers.BooleanField(source="audience.include_anonymous")
    includeHistoricalData = serializers.SerializerMethodField()
    enabled = serializers.BooleanField(source="audience.enabled")
    endingAt = MomentField(
        source="audience.ending_at",
        allow_null=True,
        help_text="Since then everybody is sent out; it is deleted when they are.",
    )
    status = serializers.ChoiceField(choices=Audience.Status.choices)
    updating = serializers.BooleanField(help_text="A newer definition is being computed.")
    error = serializers.CharField(source="version.error", help_text="Of the newest definition.")
    problem = ProblemSerializer(allow_null=True)
    size = SizeSerializer(source="audience")
    asOf = serializers.SerializerMethodField()
    version = serializers.IntegerField(source="version.number")
    createdBy = serializers.CharField(source="audience.created_by.public_id", default=None, allow_null=True)
    createdAt = MomentField(source="audience.created_at")
    updatedAt = MomentField(source="audience.updated_at")

    def get_includeHistoricalData(self, found: Overview) -> bool:
        return found.audience.events_since is None

    @extend_schema_field(MomentField(allow_null=True))
    def get_asOf(self, found: Overview) -> str | None:
        # One that is behind says as of when its members are; all others are as of the newest tick of their space.
        return moment(found.exact_at or self.context["as_of"])


class LabelsField(serializers.ListField):
    """Labels that are given to something."""

    def __init__(self, **options: Any) -> None:
        help_text = f"At most {MOST_LABELS}, of {LONGEST_LABEL} characters, none of which is a comma."
        child = serializers.CharField(max_length=LONGEST_LABEL)
        super().__init__(child=child, max_length=MOST_LABELS, help_text=help_text, **options)


# Functions, since a field object belongs to the one serializer that declares it.
def of_field() -> serializers.ChoiceField:
    return serializers.ChoiceField(choices=WHOM, default=USERS, help_text="Whom it is about; never changes.")


def folder_of_body(**options: Any) -> serializers.CharField:
    help_text = f"A path such as Campaigns/Summer, at most {MOST_PARTS} deep; empty = in no folder."
    return serializers.CharField(max_length=LONGEST_FOLDER, allow_blank=True, help_text=help_text, **options)


class CreateAudience(serializers.Serializer[Any]):
    example: ClassVar = {"name": "Buyers", "definition": DEFINITION}

    name = serializers.CharField(max_length=255)
    definition = DefinitionField()
    description = serializers.CharField(max_length=10_000, allow_blank=True, default="")
    labels = LabelsField(default=list)
    of = of_field()
    folder = folder_of_body(default="")
    includeAnonymous = serializers.BooleanField(
        default=False, help_text="Count people who have nothing but an anonymous id. All users of an account count."
    )
    includeHistoricalData = serializers.BooleanField(default=True, help_text="False: only events from now on count.")
    key = serializers.CharField(max_length=LONGEST_NAME, required=False, help_text="Made of the name when not given.")


class ChangeAudience(serializers.Serializer[Any]):
    example: ClassVar = {"name": "Frequent buyers"}

    name = serializers.CharField(max_length=255, required=False)
    description = serializers.CharField(max_length=10_000, allow_blank=True, required=False)
    labels = LabelsField(required=False)
    folder = folder_of_body(required=False)
    enabled = serializers.BooleanField(required=False)
    definition = DefinitionField(required=False)
    despiteCases = serializers.BooleanField(
        source="despite_cases", default=False, help_text="Save the definition on purpose, though it breaks test cases."
    )


class RestoreVersion(serializers.Serializer[Any]):
    example: ClassVar = {"despiteCases": False}

    despiteCases = serializers.BooleanField(
        source="despite_cases", default=False, help_text="On purpose, though it breaks test cases."
    )


class DuplicateAudience(serializers.Serializer[Any]):
    example: ClassVar = {"name": "Buyers, Norway"}

    name = serializers.CharField(max_length=255, required=False, help_text="That of the original with “copy”, if none.")
    key = serializers.CharField(max_length=LONGEST_NAME, required=False, help_text="Made of the name when not given.")


class ChangeSeveral(serializers.Serializer[Any]):
    """The same change to several."""

    action = serializers.ChoiceField(choices=list(ACTIONS))
    label = serializers.CharField(max_length=LONGEST_LABEL, required=False, help_text="The one that `label` adds.")  # type: ignore[assignment]
    folder = folder_of_body(required=False)


def ids_field() -> serializers.ListField:
    child = serializers.CharField(max_length=64)
    return serializers.ListField(child=child, min_length=1, max_length=MOST_AT_ONCE)


class ChangeAudiences(ChangeSeveral):
    example: ClassVar = {"action": "label", "label": "vip", "audienceIds": ["aud_2qKf0"]}

    audienceIds = ids_field()


class ChangeTraits(ChangeSeveral):
    example: ClassVar = {"action": "disable", "traitIds": ["tra_2qKf0"]}

    traitIds = ids_field()


class BulkOutcomeSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"id": "aud_2qKf0", "done": False, "problem": "It is part of other audiences: buyers."}

    id = serializers.CharField(source="audience.public_id")
    done = serializers.SerializerMethodField()
    problem = serializers.CharField(help_text="Why it was not done; empty when it was.")

    def get_done(self, outcome: Any) -> bool:
        return not outcome.problem


class PreviewAudience(serializers.Serializer[Any]):
    example: ClassVar = {"definition": DEFINITION, "sampleSize": 10}

    definition = DefinitionField()
    of = of_field()
    includeAnonymous = serializers.BooleanField(default=False)
    includeHistoricalData = serializers.BooleanField(default=True)
    # Of each person in the sample the identifiers are looked up: many would make a preview slow.
    sampleSize = serializers.IntegerField(min_value=0, max_value=50, default=10)


class PersonSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"profileId": "use_2qKf0", "name": "Ada"}

    profileId = serializers.CharField(source="profile.public_id")
    name = serializers.CharField()
    identifiers = IdentifierSerializer(many=True)


class NeverSeenSerializer(serializers.Serializer[Any]):
    """Something that the definition asks about and that was never seen in the space."""

    example: ClassVar = {"path": "all[1].not.name", "what": "event", "name": "Orderd", "event": None, "like": "Ordered"}

    path = serializers.CharField(help_text="Where in the definition.")
    what = serializers.ChoiceField(choices=["event", "page", "screen", "property", "trait"])
    name = serializers.CharField()
    event = TextOrNull(help_text="Whose property it is.")
    like = TextOrNull(help_text="One that was seen and is called alike.")


class StepSerializer(serializers.Serializer[Any]):
    """A row of the definition. With "all" some are lost at each, with "any" some are won."""

    example: ClassVar = {"path": "all[1]", "size": 412, "left": 31}

    path = serializers.CharField(help_text="Where in the definition.")
    size = serializers.IntegerField(help_text="How many it means on its own.")
    left = serializers.IntegerField(help_text="How many there are with it and the rows before it.")


class PreviewSerializer(serializers.Serializer[Any]):
    # Context: `sample`, people; `unseen`, what of the definition was never seen.

    example: ClassVar = {
        "size": 31,
        "sentence": SENTENCE,
        "milliseconds": 41.5,
    }

    size = LengthField(source="members", help_text="How many, exactly.")
    asOf = MomentField(source="as_of")
    sentence = serializers.CharField()
    milliseconds = serializers.SerializerMethodField(help_text="How long it took.")
    steps = StepSerializer(many=True, help_text="Its rows, where there are 2 to 20.")
    sample = serializers.SerializerMethodField(help_text="Some of them.")
    neverSeen = serializers.SerializerMethodField(help_text="What nobody ever sent: perhaps a slip.")

    def get_milliseconds(self, preview: Any) -> float:
        return round(preview.milliseconds, 1)

    @extend_schema_field(PersonSerializer(many=True))
    def get_sample(self, preview: Any) -> Any:
        return PersonSerializer(self.context["sample"], many=True).data

    @extend_schema_field(NeverSeenSerializer(many=True))
    def get_neverSeen(self, preview: Any) -> Any:
        return NeverSeenSerializer(self.context["unseen"], many=True).data


class MemberSerializer(serializers.Serializer[Any]):
    # Context: `included`, whether identifiers are wanted.

    example: ClassVar = {"profileId": "use_2qKf0", "identifiers": [IdentifierSerializer.example]}

    profileId = serializers.CharField(source="profile_id")
    identifiers = IdentifierSerializer(many=True, required=False)

    # Left out rather than answered empty: an empty list would say that somebody has no identifiers.
    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        if not self.context.get("included", True):
            del fields["identifiers"]
        return fields


class MovedPersonSerializer(MemberSerializer):
    """Somebody who entered or left, by the id that they have now."""


class SideSerializer(serializers.Serializer[Any]):
    """Who entered, or left."""

    example: ClassVar = {"count": 1, "profileIds": ["use_2qKf0"]}

    count = serializers.IntegerField(help_text="How many, exactly.")
    profileIds = serializers.ListField(
        child=serializers.CharField(), source="profile_ids", help_text=f"At most {MOST_NAMED} of them."
    )


class ChangeSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "17-events",
        "tick": 17,
        "cause": "events",
        "left": {"count": 0, "profileIds": []},
    }

    id = serializers.SerializerMethodField()
    tick = serializers.IntegerField()
    at = MomentField()
    cause = serializers.ChoiceField(choices=Change.Cause.choices)
    entered = serializers.SerializerMethodField()
    left = serializers.SerializerMethodField()
    size = SizeSerializer(source="*", help_text="Of the audience afterwards.")

    def get_id(self, change: Change) -> str:
        # What a tick does to an audience has at most one change for each cause, so this names it for ever.
        return f"{change.tick}-{change.cause}"

    @extend_schema_field(SideSerializer)
    def get_entered(self, change: Change) -> Any:
        # By the ids of now: whoever was merged since is the winner.
        return SideSerializer(overview.moved(change.space, change.entered, MOST_NAMED)).data

    @extend_schema_field(SideSerializer)
    def get_left(self, change: Change) -> Any:
        return SideSerializer(overview.moved(change.space, change.left, MOST_NAMED)).data


class SeenSerializer(serializers.Serializer[Any]):
    """Something that was seen in the space."""

    example: ClassVar = {"value": "Order Completed", "count": 1204}

    value = serializers.CharField(help_text="As text, also of a number.")
    count = serializers.IntegerField(allow_null=True, help_text="How often; null = it is not counted.")


class SeenAnswer(Envelope):
    seen = SeenSerializer(many=True)
    types = serializers.ListField(
        child=serializers.ChoiceField(choices=["number", "text", "truth"]),
        help_text="As what values were sent.",
    )


class ConditionKindSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "kind": "trait",
        "label": "Have a custom trait",
        "fields": [{"name": "op", "label": "Operator"}],
    }

    kind = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    # DRF keeps its own fields under this name, so the method cannot be called get_fields.
    fields = serializers.SerializerMethodField("named_fields")  # type: ignore[assignment]

    @extend_schema_field(
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "label"],
                "properties": {"name": {"type": "string"}, "label": {"type": "string"}},
            },
        }
    )
    def named_fields(self, kind: Any) -> list[dict[str, str]]:
        return [{"name": name, "label": label} for name, label in kind.fields.items()]


class OperatorSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"name": "equals", "label": "equals", "value": "scalar", "traitsOnly": False}

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    value = serializers.CharField(source="takes", allow_null=True, help_text="What it takes; null = nothing.")
    traitsOnly = serializers.BooleanField(source="relative", help_text="It compares a date with now.")


class LimitsSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"conditions": 500, "depth": 20}

    conditions = serializers.IntegerField()
    depth = serializers.IntegerField()


class ConditionKindsAnswer(Envelope):
    conditionKinds = ConditionKindSerializer(many=True)
    groups = serializers.ListField(child=serializers.ChoiceField(choices=[*GROUPS, "not"]))
    operators = OperatorSerializer(many=True)
    windows = serializers.ListField(child=serializers.ChoiceField(choices=list(UNITS)))
    limits = LimitsSerializer()


TRAIT_DEFINITION = {"kind": "event_counter", "name": "Order Completed", "within": {"days": 90}}
TRAIT_SENTENCE = 'How often they performed "Order Completed" in the last 90 days.'


class ComputedTraitSerializer(AudienceSerializer):
    # Of an `Overview` of a computed trait. Context: as of an audience.

    example: ClassVar = {
        **AudienceSerializer.example,
        "id": "tra_2qKf0",
        "key": "orders_90d",
        "name": "Orders, 90 days",
        "sentence": TRAIT_SENTENCE,
        "definition": TRAIT_DEFINITION,
    }

    definition = KeptTraitDefinitionField(source="version.definition")


class CreateTrait(CreateAudience):
    example: ClassVar = {"name": "Orders, 90 days", "definition": TRAIT_DEFINITION}

    definition = TraitDefinitionField()


class ChangeTrait(ChangeAudience):
    example: ClassVar = {"name": "Orders, 90 days"}

    definition = TraitDefinitionField(required=False)


class PreviewTrait(PreviewAudience):
    example: ClassVar = {"definition": TRAIT_DEFINITION, "sampleSize": 10}

    definition = TraitDefinitionField()


class DifferenceSerializer(serializers.Serializer[Any]):
    """A part of a text that was changed."""

    example: ClassVar = {"kind": "added", "text": "7"}

    kind = serializers.ChoiceField(choices=[SAME, REMOVED, ADDED])
    text = serializers.CharField()


class VersionSerializer(serializers.Serializer[Any]):
    # Of `VersionDetails`.

    example: ClassVar = {
        "number": 2,
        "state": "live",
        "serving": True,
        "error": "",
        "sentence": SENTENCE,
        "definition": DEFINITION,
        "changes": [
            {"kind": "same", "text": 'People who performed "Order Completed" at least 2 times in the last'},
            {"kind": "removed", "text": "30"},
            {"kind": "added", "text": "7"},
            {"kind": "same", "text": "days."},
        ],
    }

    number = serializers.IntegerField(source="version.number")
    createdAt = MomentField(source="version.created_at")
    state = serializers.ChoiceField(source="version.state", choices=Version.State.choices)
    serving = serializers.BooleanField(source="is_serving", help_text="Who is in it is by this one.")
    error = serializers.CharField(source="version.error")
    sentence = serializers.CharField(help_text="What it says, in words.")
    definition: DefinitionField = KeptDefinitionField(source="version.definition")
    changes = DifferenceSerializer(
        many=True,
        help_text="Against the version before: the words of the sentence or, where that is the same, the lines of the "
        "definition as JSON. Empty where nothing was changed, and for the first.",
    )


class TraitVersionSerializer(VersionSerializer):
    example: ClassVar = {
        **VersionSerializer.example,
        "sentence": TRAIT_SENTENCE,
        "definition": TRAIT_DEFINITION,
        "changes": [
            {"kind": "same", "text": 'How often they performed "Order Completed" in the last'},
            {"kind": "removed", "text": "30"},
            {"kind": "added", "text": "90"},
            {"kind": "same", "text": "days."},
        ],
    }

    definition = KeptTraitDefinitionField(source="version.definition")


class ValueField(serializers.JSONField):
    """What a computed trait has as its value."""


class ValueFieldExtension(OpenApiSerializerFieldExtension):
    target_class = ValueField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        scalars = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]
        return {"anyOf": [*scalars, {"type": "array", "items": {"anyOf": scalars}}]}


class PersonValueSerializer(serializers.Serializer[Any]):
    """A person, and their value of a computed trait."""

    example: ClassVar = {"profileId": "use_2qKf0", "value": 3}

    profileId = serializers.CharField(source="profile_id")
    value = ValueField()


class BarSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"label": "3", "count": 120}

    label = serializers.CharField(help_text="A value, or a range of numbers.")  # type: ignore[assignment]
    count = serializers.IntegerField()


class TraitPreviewSerializer(serializers.Serializer[Any]):
    # Context: `sample`, people with their values; `spread`, the distribution.

    example: ClassVar = {
        "size": 812,
        "sentence": TRAIT_SENTENCE,
        "milliseconds": 41.5,
    }

    size = LengthField(source="values", help_text="How many have a value.")
    asOf = MomentField(source="as_of")
    sentence = serializers.CharField()
    milliseconds = serializers.SerializerMethodField(help_text="How long it took.")
    distribution = serializers.SerializerMethodField(help_text="At most ten values or ranges.")
    sample = serializers.SerializerMethodField(help_text="Some people who have one.")

    def get_milliseconds(self, preview: Any) -> float:
        return round(preview.milliseconds, 1)

    @extend_schema_field(BarSerializer(many=True))
    def get_distribution(self, preview: Any) -> Any:
        return BarSerializer(self.context["spread"].bars, many=True).data

    @extend_schema_field(PersonValueSerializer(many=True))
    def get_sample(self, preview: Any) -> Any:
        return PersonValueSerializer(self.context["sample"], many=True).data


class KeptValueSerializer(serializers.Serializer[Any]):
    """A computed trait of a person."""

    example: ClassVar = {"id": "tra_2qKf0", "key": "orders_90d", "name": "Orders, 90 days", "value": 3}

    id = serializers.CharField(source="trait.public_id")
    key = serializers.CharField(source="trait.key")
    name = serializers.CharField(source="trait.name")
    value = ValueField(source="shown")
    since = MomentField(source="at")


class SeenRowSerializer(serializers.Serializer[Any]):
    """An event, or a trait's newest value."""

    example: ClassVar = {"what": "Order Completed", "source": "Website"}

    what = serializers.CharField()
    at = MomentField()
    source = serializers.CharField()  # type: ignore[assignment]


class ReasonSerializer(serializers.Serializer[Any]):
    """A condition of the definition, asked about one person."""

    example: ClassVar = {
        "sentence": 'They performed "Order Completed" at least 2 times in the last 7 days.',
        "holds": True,
        "wanted": True,
        "answer": "3 such events",
    }

    sentence = serializers.CharField()
    holds = serializers.BooleanField()
    wanted = serializers.BooleanField(help_text="False: the audience asks that it does not hold.")
    answer = serializers.CharField(help_text="What was found.")
    turnsAt = MomentField(source="turns_at", allow_null=True, help_text="Time alone may change it then.")
    seen = SeenRowSerializer(many=True, help_text="The newest evidence.")


class ExplanationSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"member": True, "matches": True, "anonymous": False, "sentence": SENTENCE, "more": 0}

    member = serializers.BooleanField(help_text="As last evaluated.")
    since = MomentField(source="since.at", allow_null=True)
    matches = serializers.BooleanField(help_text="As asked of the events now.")
    anonymous = serializers.BooleanField(help_text="They match, and are left out because nobody knows who they are.")
    sentence = serializers.CharField()
    asOf = MomentField(source="as_of")
    reasons = ReasonSerializer(many=True)
    more = serializers.IntegerField(help_text="Conditions that are not among the reasons.")


class MovementSerializer(serializers.Serializer[Any]):
    """Whoever entered and left again in between is in neither number."""

    example: ClassVar = {"before": 31, "after": 30, "entered": 4, "left": 5}

    before = LengthField(help_text="People in it at the first moment.")
    after = LengthField(help_text="At the second.")
    entered = LengthField()
    left = LengthField()


class OverlapSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"onlyThis": 20, "both": 11, "onlyThat": 5}

    onlyThis = LengthField(source="only_this", help_text="People in this audience alone.")
    both = LengthField()
    onlyThat = LengthField(source="only_that", help_text="People in the other one alone.")


class ForecastSerializer(serializers.Serializer[Any]):
    """Against now."""

    example: ClassVar = {"size": 27, "entered": 0, "left": 4}

    at = MomentField()
    size = serializers.IntegerField()
    entered = serializers.IntegerField()
    left = serializers.IntegerField()


# Whole answers.
AudienceAnswer = enveloped("AudienceAnswer", audience=AudienceSerializer())
SeveralAnswer = enveloped("SeveralAnswer", outcomes=BulkOutcomeSerializer(many=True))
PreviewAnswer = enveloped("PreviewAnswer", preview=PreviewSerializer())
TraitAnswer = enveloped("TraitAnswer", computedTrait=ComputedTraitSerializer())
TraitPreviewAnswer = enveloped("TraitPreviewAnswer", preview=TraitPreviewSerializer())
ExplanationAnswer = enveloped("ExplanationAnswer", explanation=ExplanationSerializer())
OverlapAnswer = enveloped("OverlapAnswer", overlap=OverlapSerializer())
MovementAnswer = enveloped("MovementAnswer", movement=MovementSerializer())
ForecastAnswer = enveloped("ForecastAnswer", forecast=ForecastSerializer(many=True))
