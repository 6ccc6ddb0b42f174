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
from identity.api.serializers import IDENTIFIER, IdentifierSerializer

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
    count = serializers.IntegerField(
        source="size", allow_null=True, help_text="null before the first computation.", initial=31
    )


class ProblemSerializer(serializers.Serializer[Any]):
    """Why an audience is not what it is to be."""

    reason = serializers.CharField(initial="It is worked out again.")
    since = MomentField(allow_null=True)
    retryAt = MomentField(source="retry_at", allow_null=True, initial=None)


class AudienceSerializer(serializers.Serializer[Any]):
    # Of an `Overview`. Context: `as_of`, the moment that the space's audiences are as of.

    id = serializers.CharField(source="audience.public_id", initial="aud_2qKf0")
    key = serializers.CharField(
        source="audience.key", help_text="Names it in tools and definitions; never changes.", initial="buyers"
    )
    name = serializers.CharField(source="audience.name", initial="Buyers")
    description = serializers.CharField(source="audience.description", initial="")
    labels = serializers.ListField(child=serializers.CharField(), source="audience.labels", initial=["vip"])
    of = serializers.ChoiceField(source="audience.of", choices=WHOM, help_text="Whom it is about.", initial="users")
    folder = serializers.CharField(
        source="audience.folder", help_text="A path; empty = in no folder.", initial="Campaigns/Summer"
    )
    sentence = serializers.CharField(help_text="What the definition says, in words.", initial=SENTENCE)
    # Of the newest version: whoever changes an audience changes that one, also while an older one serves.
    definition: DefinitionField = KeptDefinitionField(source="version.definition", initial=DEFINITION)
    includeAnonymous = serializers.BooleanField(source="audience.include_anonymous", initial=False)
    includeHistoricalData = serializers.SerializerMethodField(initial=True)
    enabled = serializers.BooleanField(source="audience.enabled", initial=True)
    endingAt = MomentField(
        source="audience.ending_at",
        allow_null=True,
        help_text="Since then everybody is sent out; it is deleted when they are.",
        initial=None,
    )
    status = serializers.ChoiceField(choices=Audience.Status.choices, initial="live")
    updating = serializers.BooleanField(help_text="A newer definition is being computed.", initial=False)
    error = serializers.CharField(source="version.error", help_text="Of the newest definition.", initial="")
    problem = ProblemSerializer(allow_null=True, initial=None)
    size = SizeSerializer(source="audience")
    asOf = serializers.SerializerMethodField(initial=AT)
    version = serializers.IntegerField(source="version.number", initial=1)
    createdBy = serializers.CharField(
        source="audience.created_by.public_id", default=None, allow_null=True, initial="usr_2qKf0"
    )
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
    name = serializers.CharField(max_length=255, initial="Buyers")
    definition = DefinitionField(initial=DEFINITION)
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
    name = serializers.CharField(max_length=255, required=False, initial="Frequent buyers")
    description = serializers.CharField(max_length=10_000, allow_blank=True, required=False)
    labels = LabelsField(required=False)
    folder = folder_of_body(required=False)
    enabled = serializers.BooleanField(required=False)
    definition = DefinitionField(required=False)
    despiteCases = serializers.BooleanField(
        source="despite_cases", default=False, help_text="Save the definition on purpose, though it breaks test cases."
    )


class RestoreVersion(serializers.Serializer[Any]):
    despiteCases = serializers.BooleanField(
        source="despite_cases", default=False, help_text="On purpose, though it breaks test cases.", initial=False
    )


class DuplicateAudience(serializers.Serializer[Any]):
    name = serializers.CharField(
        max_length=255, required=False, help_text="That of the original with “copy”, if none.", initial="Buyers, Norway"
    )
    key = serializers.CharField(max_length=LONGEST_NAME, required=False, help_text="Made of the name when not given.")


class ChangeSeveral(serializers.Serializer[Any]):
    """The same change to several."""

    action = serializers.ChoiceField(choices=list(ACTIONS))
    label = serializers.CharField(max_length=LONGEST_LABEL, required=False, help_text="The one that `label` adds.")  # type: ignore[assignment]
    folder = folder_of_body(required=False)


def ids_field(example: str) -> serializers.ListField:
    child = serializers.CharField(max_length=64)
    return serializers.ListField(child=child, min_length=1, max_length=MOST_AT_ONCE, initial=[example])


class ChangeAudiences(ChangeSeveral):
    example: ClassVar = {"action": "label", "label": "vip"}

    audienceIds = ids_field("aud_2qKf0")


class ChangeTraits(ChangeSeveral):
    example: ClassVar = {"action": "disable"}

    traitIds = ids_field("tra_2qKf0")


class BulkOutcomeSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="audience.public_id", initial="aud_2qKf0")
    done = serializers.SerializerMethodField(initial=False)
    problem = serializers.CharField(
        help_text="Why it was not done; empty when it was.", initial="It is part of other audiences: buyers."
    )

    def get_done(self, outcome: Any) -> bool:
        return not outcome.problem


class PreviewAudience(serializers.Serializer[Any]):
    definition = DefinitionField(initial=DEFINITION)
    of = of_field()
    includeAnonymous = serializers.BooleanField(default=False)
    includeHistoricalData = serializers.BooleanField(default=True)
    # Of each person in the sample the identifiers are looked up: many would make a preview slow.
    sampleSize = serializers.IntegerField(min_value=0, max_value=50, default=10, initial=10)


class PersonSerializer(serializers.Serializer[Any]):
    profileId = serializers.CharField(source="profile.public_id", initial="use_2qKf0")
    name = serializers.CharField(initial="Ada")
    identifiers = IdentifierSerializer(many=True)


class NeverSeenSerializer(serializers.Serializer[Any]):
    """Something that the definition asks about and that was never seen in the space."""

    path = serializers.CharField(help_text="Where in the definition.", initial="all[1].not.name")
    what = serializers.ChoiceField(choices=["event", "page", "screen", "property", "trait"], initial="event")
    name = serializers.CharField(initial="Orderd")
    event = TextOrNull(help_text="Whose property it is.", initial=None)
    like = TextOrNull(help_text="One that was seen and is called alike.", initial="Ordered")


class StepSerializer(serializers.Serializer[Any]):
    """A row of the definition. With "all" some are lost at each, with "any" some are won."""

    path = serializers.CharField(help_text="Where in the definition.", initial="all[1]")
    size = serializers.IntegerField(help_text="How many it means on its own.", initial=412)
    left = serializers.IntegerField(help_text="How many there are with it and the rows before it.", initial=31)


class PreviewSerializer(serializers.Serializer[Any]):
    # Context: `sample`, people; `unseen`, what of the definition was never seen.

    size = LengthField(source="members", help_text="How many, exactly.", initial=31)
    asOf = MomentField(source="as_of")
    sentence = serializers.CharField(initial=SENTENCE)
    milliseconds = serializers.SerializerMethodField(help_text="How long it took.", initial=41.5)
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

    profileId = serializers.CharField(source="profile_id", initial="use_2qKf0")
    identifiers = IdentifierSerializer(many=True, required=False, initial=[IDENTIFIER])

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

    count = serializers.IntegerField(help_text="How many, exactly.", initial=1)
    profileIds = serializers.ListField(
        child=serializers.CharField(),
        source="profile_ids",
        help_text=f"At most {MOST_NAMED} of them.",
        initial=["use_2qKf0"],
    )


class ChangeSerializer(serializers.Serializer[Any]):
    id = serializers.SerializerMethodField(initial="17-events")
    tick = serializers.IntegerField(initial=17)
    at = MomentField()
    cause = serializers.ChoiceField(choices=Change.Cause.choices, initial="events")
    entered = serializers.SerializerMethodField()
    left = serializers.SerializerMethodField(initial={"count": 0, "profileIds": []})
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

    value = serializers.CharField(help_text="As text, also of a number.", initial="Order Completed")
    count = serializers.IntegerField(allow_null=True, help_text="How often; null = it is not counted.", initial=1204)


class SeenAnswer(Envelope):
    seen = SeenSerializer(many=True)
    types = serializers.ListField(
        child=serializers.ChoiceField(choices=["number", "text", "truth"]),
        help_text="As what values were sent.",
    )


class ConditionKindSerializer(serializers.Serializer[Any]):
    kind = serializers.CharField(initial="trait")
    label = serializers.CharField(initial="Have a custom trait")  # type: ignore[assignment]
    # DRF keeps its own fields under this name, so the method cannot be called get_fields.
    fields = serializers.SerializerMethodField("named_fields", initial=[{"name": "op", "label": "Operator"}])  # type: ignore[assignment]

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
    name = serializers.CharField(initial="equals")
    label = serializers.CharField(initial="equals")  # type: ignore[assignment]
    value = serializers.CharField(
        source="takes", allow_null=True, help_text="What it takes; null = nothing.", initial="scalar"
    )
    traitsOnly = serializers.BooleanField(source="relative", help_text="It compares a date with now.", initial=False)


class LimitsSerializer(serializers.Serializer[Any]):
    conditions = serializers.IntegerField(initial=500)
    depth = serializers.IntegerField(initial=20)


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

    example: ClassVar = {"id": "tra_2qKf0", "key": "orders_90d", "name": "Orders, 90 days", "sentence": TRAIT_SENTENCE}

    definition = KeptTraitDefinitionField(source="version.definition", initial=TRAIT_DEFINITION)


class CreateTrait(CreateAudience):
    example: ClassVar = {"name": "Orders, 90 days"}

    definition = TraitDefinitionField(initial=TRAIT_DEFINITION)


class ChangeTrait(ChangeAudience):
    example: ClassVar = {"name": "Orders, 90 days"}

    definition = TraitDefinitionField(required=False)


class PreviewTrait(PreviewAudience):
    example: ClassVar = {"sampleSize": 10}

    definition = TraitDefinitionField(initial=TRAIT_DEFINITION)


class DifferenceSerializer(serializers.Serializer[Any]):
    """A part of a text that was changed."""

    kind = serializers.ChoiceField(choices=[SAME, REMOVED, ADDED], initial="added")
    text = serializers.CharField(initial="7")


class VersionSerializer(serializers.Serializer[Any]):
    # Of `VersionDetails`.

    number = serializers.IntegerField(source="version.number", initial=2)
    createdAt = MomentField(source="version.created_at")
    state = serializers.ChoiceField(source="version.state", choices=Version.State.choices, initial="live")
    serving = serializers.BooleanField(source="is_serving", help_text="Who is in it is by this one.", initial=True)
    error = serializers.CharField(source="version.error", initial="")
    sentence = serializers.CharField(help_text="What it says, in words.", initial=SENTENCE)
    definition: DefinitionField = KeptDefinitionField(source="version.definition", initial=DEFINITION)
    changes = DifferenceSerializer(
        many=True,
        help_text="Against the version before: the words of the sentence or, where that is the same, the lines of the "
        "definition as JSON. Empty where nothing was changed, and for the first.",
        initial=[
            {"kind": "same", "text": 'People who performed "Order Completed" at least 2 times in the last'},
            {"kind": "removed", "text": "30"},
            {"kind": "added", "text": "7"},
            {"kind": "same", "text": "days."},
        ],
    )


class TraitVersionSerializer(VersionSerializer):
    example: ClassVar = {
        "sentence": TRAIT_SENTENCE,
        "changes": [
            {"kind": "same", "text": 'How often they performed "Order Completed" in the last'},
            {"kind": "removed", "text": "30"},
            {"kind": "added", "text": "90"},
            {"kind": "same", "text": "days."},
        ],
    }

    definition = KeptTraitDefinitionField(source="version.definition", initial=TRAIT_DEFINITION)


class ValueField(serializers.JSONField):
    """What a computed trait has as its value."""

    example = 3


class ValueFieldExtension(OpenApiSerializerFieldExtension):
    target_class = ValueField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        scalars = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]
        return {"anyOf": [*scalars, {"type": "array", "items": {"anyOf": scalars}}]}


class PersonValueSerializer(serializers.Serializer[Any]):
    """A person, and their value of a computed trait."""

    profileId = serializers.CharField(source="profile_id", initial="use_2qKf0")
    value = ValueField()


class BarSerializer(serializers.Serializer[Any]):
    label = serializers.CharField(help_text="A value, or a range of numbers.", initial="3")  # type: ignore[assignment]
    count = serializers.IntegerField(initial=120)


class TraitPreviewSerializer(serializers.Serializer[Any]):
    # Context: `sample`, people with their values; `spread`, the distribution.

    size = LengthField(source="values", help_text="How many have a value.", initial=812)
    asOf = MomentField(source="as_of")
    sentence = serializers.CharField(initial=TRAIT_SENTENCE)
    milliseconds = serializers.SerializerMethodField(help_text="How long it took.", initial=41.5)
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

    id = serializers.CharField(source="trait.public_id", initial="tra_2qKf0")
    key = serializers.CharField(source="trait.key", initial="orders_90d")
    name = serializers.CharField(source="trait.name", initial="Orders, 90 days")
    value = ValueField(source="shown")
    since = MomentField(source="at")


class SeenRowSerializer(serializers.Serializer[Any]):
    """An event, or a trait's newest value."""

    what = serializers.CharField(initial="Order Completed")
    at = MomentField()
    source = serializers.CharField(initial="Website")  # type: ignore[assignment]


class ReasonSerializer(serializers.Serializer[Any]):
    """A condition of the definition, asked about one person."""

    sentence = serializers.CharField(initial='They performed "Order Completed" at least 2 times in the last 7 days.')
    holds = serializers.BooleanField(initial=True)
    wanted = serializers.BooleanField(help_text="False: the audience asks that it does not hold.", initial=True)
    answer = serializers.CharField(help_text="What was found.", initial="3 such events")
    turnsAt = MomentField(source="turns_at", allow_null=True, help_text="Time alone may change it then.")
    seen = SeenRowSerializer(many=True, help_text="The newest evidence.")


class ExplanationSerializer(serializers.Serializer[Any]):
    member = serializers.BooleanField(help_text="As last evaluated.", initial=True)
    since = MomentField(source="since.at", allow_null=True)
    matches = serializers.BooleanField(help_text="As asked of the events now.", initial=True)
    anonymous = serializers.BooleanField(
        help_text="They match, and are left out because nobody knows who they are.", initial=False
    )
    sentence = serializers.CharField(initial=SENTENCE)
    asOf = MomentField(source="as_of")
    reasons = ReasonSerializer(many=True)
    more = serializers.IntegerField(help_text="Conditions that are not among the reasons.", initial=0)


class MovementSerializer(serializers.Serializer[Any]):
    """Whoever entered and left again in between is in neither number."""

    before = LengthField(help_text="People in it at the first moment.", initial=31)
    after = LengthField(help_text="At the second.", initial=30)
    entered = LengthField(initial=4)
    left = LengthField(initial=5)


class OverlapSerializer(serializers.Serializer[Any]):
    onlyThis = LengthField(source="only_this", help_text="People in this audience alone.", initial=20)
    both = LengthField(initial=11)
    onlyThat = LengthField(source="only_that", help_text="People in the other one alone.", initial=5)


class ForecastSerializer(serializers.Serializer[Any]):
    """Against now."""

    at = MomentField()
    size = serializers.IntegerField(initial=27)
    entered = serializers.IntegerField(initial=0)
    left = serializers.IntegerField(initial=4)


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
