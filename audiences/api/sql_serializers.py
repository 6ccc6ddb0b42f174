"""What the API takes and answers about warehouses and SQL traits."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.declared import Declarations, DeclaredField, by_own_name
from access.api.serializers import MomentField, enveloped
from audiences.api.schedules import ScheduleFields
from audiences.models import SqlRun, SqlTrait, Warehouse
from audiences.rules.sql_rows import ID_COLUMNS
from audiences.sql_traits import LONGEST_QUERY, settings_of
from audiences.warehouses import all_warehouses
from spaces.settings_schema import MASK, masked

KINDS = tuple(all_warehouses())
QUERY = "SELECT user_id, tier FROM customers"
SETTINGS = {
    "host": "db.example.com",
    "port": 5432,
    "database": "shop",
    "user": "personas",
    "password": MASK,
    "tls": "verify",
}


def _settings() -> Declarations:
    return by_own_name(kind.settings for kind in all_warehouses().values())


class WarehouseSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="whs_2qKf0")
    kind = serializers.ChoiceField(choices=KINDS, initial="postgresql")
    name = serializers.CharField(initial="Shop database")
    # Masked here, once: no view can forget it.
    settings = serializers.SerializerMethodField(initial=SETTINGS)
    createdAt = MomentField(source="created_at")

    @extend_schema_field(DeclaredField(_settings))
    def get_settings(self, warehouse: Warehouse) -> dict[str, Any]:
        return masked(settings_of(warehouse))


class CreateWarehouse(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=KINDS, initial="postgresql")
    name = serializers.CharField(max_length=100, initial="Shop database")
    settings = DeclaredField(_settings, initial=SETTINGS)


class ChangeWarehouse(serializers.Serializer[Any]):
    """What is given changes."""

    name = serializers.CharField(max_length=100, required=False, initial="Shop database")
    settings = DeclaredField(_settings, is_change=True, required=False)


class WarehouseTestSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField(initial=True)
    message = serializers.CharField(help_text="Why it does not answer, in its own words.", initial="")


class SqlTraitChoices(ScheduleFields):
    description = serializers.CharField(max_length=5000, required=False, allow_blank=True)
    mostNulled = serializers.IntegerField(
        source="most_nulled",
        min_value=0,
        max_value=100,
        required=False,
        help_text="A run that would take the values of more than so many per cent of the people stops and asks.",
    )


class CreateSqlTrait(SqlTraitChoices):
    """It runs at once, and then as its schedule says."""

    example: ClassVar = {"every": "day", "at": "06:00"}

    name = serializers.CharField(max_length=100, initial="Customer tiers")
    warehouseId = serializers.CharField(max_length=40, initial="whs_2qKf0")
    # As it was written: whoever wrote it wants to find it again.
    query = serializers.CharField(max_length=LONGEST_QUERY, trim_whitespace=False, initial=QUERY)


class ChangeSqlTrait(SqlTraitChoices):
    """What is given changes. A query counts from the next run on."""

    name = serializers.CharField(max_length=100, required=False)
    query = serializers.CharField(max_length=LONGEST_QUERY, trim_whitespace=False, required=False)
    enabled = serializers.BooleanField(required=False, initial=False)


class SqlRunSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="run_2qKf0")
    state = serializers.ChoiceField(
        choices=SqlRun.State.choices, help_text="held: it would null too many, and waits for a nod.", initial="done"
    )
    startedAt = MomentField(source="started_at")
    finishedAt = MomentField(source="finished_at", allow_null=True)
    rows = serializers.IntegerField(initial=31)
    unknown = serializers.IntegerField(
        help_text="Of people whom the space does not know: they are left out.", initial=2
    )
    oversized = serializers.IntegerField(help_text="Longer than 16 KB: they are left out.", initial=0)
    changed = serializers.IntegerField(help_text="People whose values were sent.", initial=4)
    nulled = serializers.IntegerField(help_text="People who vanished from the answer.", initial=1)
    error = serializers.CharField(initial="")


class SqlTraitSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id", initial="sqt_2qKf0")
    name = serializers.CharField(initial="Customer tiers")
    description = serializers.CharField(initial="")
    warehouseId = serializers.CharField(source="warehouse.public_id", initial="whs_2qKf0")
    query = serializers.CharField(initial=QUERY)
    every = serializers.ChoiceField(choices=SqlTrait.Every.choices, initial="day")
    at = serializers.TimeField(format="%H:%M", initial="06:00")  # type: ignore[arg-type]
    weekday = serializers.IntegerField(initial=0)
    timeZone = serializers.CharField(source="time_zone", initial="UTC")
    mostNulled = serializers.IntegerField(source="most_nulled", initial=20)
    enabled = serializers.BooleanField(initial=True)
    traits = serializers.ListField(
        source="columns",
        child=serializers.CharField(),
        help_text="The columns that the newest run gave.",
        initial=["tier"],
    )
    nextAt = MomentField(source="next_at", allow_null=True)
    createdAt = MomentField(source="created_at")


class PreviewSqlTrait(serializers.Serializer[Any]):
    warehouseId = serializers.CharField(max_length=40, initial="whs_2qKf0")
    query = serializers.CharField(max_length=LONGEST_QUERY, trim_whitespace=False, initial=QUERY)


class PreviewedRowSerializer(serializers.Serializer[Any]):
    identifier = serializers.CharField(initial="u1")
    known = serializers.BooleanField(help_text="Whether it is that of a profile of the space.", initial=True)
    traits = serializers.DictField(source="values", initial={"tier": "gold"})


class SqlPreviewSerializer(serializers.Serializer[Any]):
    type = serializers.ChoiceField(source="id", choices=ID_COLUMNS, help_text="Of the identifiers.", initial="user_id")
    rows = PreviewedRowSerializer(many=True)


class RunSqlTrait(serializers.Serializer[Any]):
    approved = serializers.BooleanField(
        default=False, help_text="However many people lose their values by it.", initial=False
    )


# Whole answers.
WarehouseAnswer = enveloped("WarehouseAnswer", warehouse=WarehouseSerializer())
WarehouseTestAnswer = enveloped("WarehouseTestAnswer", test=WarehouseTestSerializer())
SqlTraitAnswer = enveloped("SqlTraitAnswer", sqlTrait=SqlTraitSerializer())
SqlPreviewAnswer = enveloped("SqlPreviewAnswer", preview=SqlPreviewSerializer())
