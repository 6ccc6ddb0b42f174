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

    type = serializers.CharField(
        max_length=LONGEST_TYPE, help_text="Such as user_id, email or one of the space's own.", initial="email"
    )
    value = serializers.CharField(max_length=LONGEST, initial="ada@example.com")


class CreateRegulation(serializers.Serializer[Any]):
    """Whoever has one of these identifiers is meant, with everything that they hold."""

    regulationType = serializers.ChoiceField(
        choices=[*KINDS],
        help_text="\n".join(f"{kind.key}: {kind.about}" for kind in KINDS.values()),
        initial="SUPPRESS_WITH_DELETE",
    )
    subjects: Any = serializers.ListSerializer(child=SubjectSerializer(), min_length=1, max_length=MOST_SUBJECTS)


class StoreCountSerializer(serializers.Serializer[Any]):
    store = serializers.CharField(initial="ClickHouse")
    table = serializers.CharField(initial="timeline")
    erased = serializers.IntegerField(
        help_text="Rows; of deliveries and the archive also such as were made blank.", initial=120
    )
    left = serializers.IntegerField(allow_null=True, help_text="Counted afterwards; null = not yet.", initial=0)


class DestinationReportSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(initial="CRM")
    kind = serializers.CharField(initial="webhook")
    taken = serializers.BooleanField(help_text="It holds them in no list any more.", initial=True)
    forgotten = serializers.BooleanField(
        allow_null=True,
        help_text="It was made to forget them; null = that was not asked for, or it is kept here.",
        initial=True,
    )
    note = serializers.CharField(help_text="Why not, where it was not.", initial="")


class RegulationSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="reg_2qKf0")
    regulationType = serializers.ChoiceField(choices=[*KINDS], source="kind", initial="SUPPRESS_WITH_DELETE")
    spaceId = serializers.SerializerMethodField(help_text="null = the whole workspace.", initial=None)
    status = serializers.ChoiceField(choices=Regulation.State.values, source="state", initial="FINISHED")
    subjects = serializers.IntegerField(
        help_text="How many identifiers. Which, nobody knows any more when it is done.", initial=1
    )
    percent = serializers.SerializerMethodField(initial=100)
    step = serializers.SerializerMethodField(help_text="What is being done.", initial="")
    stores = serializers.SerializerMethodField()
    destinations = serializers.SerializerMethodField(help_text="Those that were ever told of them.")
    unreachable = serializers.SerializerMethodField(
        help_text="What no job can erase, and people must see to.",
        initial=["Backups made before 15 June 2026, 12:00 UTC still hold them."],
    )
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
    subjects: Any = serializers.ListSerializer(child=SubjectSerializer(), min_length=1, max_length=MOST_SUBJECTS)


class SuppressedSerializer(serializers.Serializer[Any]):
    type = serializers.CharField(initial="email")
    value = serializers.CharField(initial="ada@example.com")
    suppressed = serializers.BooleanField(initial=True)


class Known(serializers.Serializer[Any]):
    """All that is known about a person: of each kind of thing a list of objects, empty where there is none."""

    example: ClassVar = {
        **{part: [] for part in KNOWN},
        "audiences": [{"name": "Buyers", "key": "buyers", "since": AT}],
    }

    def get_fields(self) -> dict[str, Any]:
        return {part: _rows_field(columns) for part, (_, columns, _) in KNOWN.items()}


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
