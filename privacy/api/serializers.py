"""What the API takes and answers about privacy: regulations, their reports, and who is suppressed."""

from collections.abc import Sequence
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.serializers import ANY_JSON, AT, MomentField, enveloped
from privacy import queries
from privacy.export import KNOWN
from privacy.models import Regulation
from privacy.rules.kinds import KINDS
from privacy.rules.subjects import LONGEST, LONGEST_TYPE, MOST_SUBJECTS


class SubjectSerializer(serializers.Serializer[Any]):
    """An identifier of somebody."""

    example: ClassVar = {"type": "email", "value": "ada@example.com"}

    type = serializers.CharField(max_length=LONGEST_TYPE, help_text="Such as user_id, email or one of the space's own.")
    value = serializers.CharField(max_length=LONGEST)


class CreateRegulation(serializers.Serializer[Any]):
    """Whoever has one of these identifiers is meant, with everything that they hold."""

    example: ClassVar = {"regulationType": "SUPPRESS_WITH_DELETE"}

    regulationType = serializers.ChoiceField(
        choices=[*KINDS], help_text="\n".join(f"{kind.key}: {kind.about}" for kind in KINDS.values())
    )
    subjects: Any = serializers.ListSerializer(child=SubjectSerializer(), min_length=1, max_length=MOST_SUBJECTS)


class StoreCountSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"store": "ClickHouse", "table": "timeline", "erased": 120, "left": 0}

    store = serializers.CharField()
    table = serializers.CharField()
    erased = serializers.IntegerField(help_text="Rows; of deliveries and the archive also such as were made blank.")
    left = serializers.IntegerField(allow_null=True, help_text="Counted afterwards; null = not yet.")


class DestinationReportSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"name": "CRM", "kind": "webhook", "taken": True, "forgotten": True, "note": ""}

    name = serializers.CharField()
    kind = serializers.CharField()
    taken = serializers.BooleanField(help_text="It holds them in no list any more.")
    forgotten = serializers.BooleanField(
        allow_null=True, help_text="It was made to forget them; null = that was not asked for, or it is kept here."
    )
    note = serializers.CharField(help_text="Why not, where it was not.")


class RegulationSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "reg_2qKf0",
        "regulationType": "SUPPRESS_WITH_DELETE",
        "spaceId": None,
        "status": "FINISHED",
        "subjects": 1,
        "percent": 100,
        "step": "",
        "unreachable": ["Backups made before 15 June 2026, 12:00 UTC still hold them."],
    }

    id = serializers.CharField(source="public_id")
    regulationType = serializers.ChoiceField(choices=[*KINDS], source="kind")
    spaceId = serializers.SerializerMethodField(help_text="null = the whole workspace.")
    status = serializers.ChoiceField(choices=Regulation.State.values, source="state")
    subjects = serializers.IntegerField(help_text="How many identifiers. Which, nobody knows any more when it is done.")
    percent = serializers.SerializerMethodField()
    step = serializers.SerializerMethodField(help_text="What is being done.")
    stores = serializers.SerializerMethodField()
    destinations = serializers.SerializerMethodField(help_text="Those that were ever told of them.")
    unreachable = serializers.SerializerMethodField(help_text="What no job can erase, and people must see to.")
    createdAt = MomentField(source="requested_at")
    finishedAt = MomentField(source="finished_at", allow_null=True)

    def get_spaceId(self, regulation: Regulation) -> str | None:
        return regulation.space.public_id if regulation.space else None

    def get_percent(self, regulation: Regulation) -> int:
        return queries.percent(regulation)

    def get_step(self, regulation: Regulation) -> str:
        return queries.step_of(regulation)

    @extend_schema_field(StoreCountSerializer(many=True))
    def get_stores(self, regulation: Regulation) -> Any:
        return StoreCountSerializer(queries.stores_of(regulation), many=True).data

    @extend_schema_field(DestinationReportSerializer(many=True))
    def get_destinations(self, regulation: Regulation) -> Any:
        return DestinationReportSerializer(queries.destinations_of(regulation), many=True).data

    def get_unreachable(self, regulation: Regulation) -> list[str]:
        return queries.unreachable(regulation)


class LookUpSuppressed(serializers.Serializer[Any]):
    example: ClassVar = {"subjects": [SubjectSerializer.example]}

    subjects: Any = serializers.ListSerializer(child=SubjectSerializer(), min_length=1, max_length=MOST_SUBJECTS)


class SuppressedSerializer(serializers.Serializer[Any]):
    example: ClassVar = {**SubjectSerializer.example, "suppressed": True}

    type = serializers.CharField()
    value = serializers.CharField()
    suppressed = serializers.BooleanField()


class Known(serializers.Serializer[Any]):
    """All that is known about a person: of each kind of thing a list of objects, empty where there is none."""

    example: ClassVar = {
        **{part: [] for part in KNOWN},
        "audiences": [{"name": "Buyers", "key": "buyers", "since": AT}],
    }

    def get_fields(self) -> dict[str, Any]:
        return {part: _rows_field(columns) for part, (_, columns) in KNOWN.items()}


def _rows_field(columns: Sequence[str]) -> serializers.Field[Any, Any, Any, Any]:
    """A value is text, or whatever JSON was sent: a trait, a message."""
    row = {"type": "object", "required": [*columns], "properties": dict.fromkeys(columns, ANY_JSON)}

    @extend_schema_field({"type": "array", "items": row})
    class KnownRows(serializers.ListField):
        pass

    return KnownRows()


# Whole answers.
RegulationAnswer = enveloped("RegulationAnswer", regulation=RegulationSerializer())
SuppressedAnswer = enveloped("SuppressedAnswer", subjects=SuppressedSerializer(many=True))
KnownAnswer = enveloped("KnownAnswer", known=Known())
