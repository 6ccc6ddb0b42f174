"""What the API takes and answers about warehouses and SQL traits."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.declared import Declarations, DeclaredField, by_own_name
from access.api.serializers import MomentField, enveloped
from audiences.models import SqlRun, SqlTrait, Warehouse
from audiences.rules.schedules import time_zones
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
    example: ClassVar = {"id": "whs_2qKf0", "kind": "postgresql", "name": "Shop database", "settings": SETTINGS}

    id = serializers.CharField(source="public_id")
    kind = serializers.ChoiceField(choices=KINDS)
    name = serializers.CharField()
    # Masked here, once: no view can forget it.
    settings = serializers.SerializerMethodField()
    createdAt = MomentField(source="created_at")

    @extend_schema_field(DeclaredField(_settings))
    def get_settings(self, warehouse: Warehouse) -> dict[str, Any]:
        return masked(settings_of(warehouse))


class CreateWarehouse(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=KINDS)
    name = serializers.CharField(max_length=100)
    settings = DeclaredField(_settings)

    example: ClassVar = {"kind": "postgresql", "name": "Shop database", "settings": SETTINGS}


class ChangeWarehouse(serializers.Serializer[Any]):
    """What is given changes."""

    example: ClassVar = {"name": "Shop database"}

    name = serializers.CharField(max_length=100, required=False)
    settings = DeclaredField(_settings, is_change=True, required=False)


class WarehouseTestSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"ok": True, "message": ""}

    ok = serializers.BooleanField()
    message = serializers.CharField(help_text="Why it does not answer, in its own words.")


class ScheduleFields(serializers.Serializer[Any]):
    description = serializers.CharField(max_length=5000, required=False, allow_blank=True)
    every = serializers.ChoiceField(choices=SqlTrait.Every.choices, required=False)
    at = serializers.TimeField(format="%H:%M", required=False, help_text="Of an hourly one only the minute counts.")
    weekday = serializers.IntegerField(
        min_value=0, max_value=6, required=False, help_text="Of a weekly one; 0 = Monday."
    )
    timeZone = serializers.CharField(source="time_zone", required=False, help_text="Such as Europe/Berlin.")
    mostNulled = serializers.IntegerField(
        source="most_nulled",
        min_value=0,
        max_value=100,
        required=False,
        help_text="A run that would take the values of more than so many per cent of the people stops and asks.",
    )

    def validate_timeZone(self, zone: str) -> str:
        # Those that this machine knows, since it is this machine that reckons by them.
        if zone not in time_zones():
            raise serializers.ValidationError("There is no such time zone.")
        return zone


class CreateSqlTrait(ScheduleFields):
    """It runs at once, and then as its schedule says."""

    example: ClassVar = {
        "name": "Customer tiers",
        "warehouseId": "whs_2qKf0",
        "query": QUERY,
        "every": "day",
        "at": "06:00",
    }

    name = serializers.CharField(max_length=100)
    warehouseId = serializers.CharField(max_length=40)
    # As it was written: whoever wrote it wants to find it again.
    query = serializers.CharField(max_length=LONGEST_QUERY, trim_whitespace=False)


class ChangeSqlTrait(ScheduleFields):
    """What is given changes. A query counts from the next run on."""

    example: ClassVar = {"enabled": False}

    name = serializers.CharField(max_length=100, required=False)
    query = serializers.CharField(max_length=LONGEST_QUERY, trim_whitespace=False, required=False)
    enabled = serializers.BooleanField(required=False)


class SqlRunSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "run_2qKf0",
        "state": "done",
        "rows": 31,
        "unknown": 2,
        "oversized": 0,
        "changed": 4,
        "nulled": 1,
        "error": "",
    }

    id = serializers.CharField(source="public_id")
    state = serializers.ChoiceField(
        choices=SqlRun.State.choices, help_text="held: it would null too many, and waits for a nod."
    )
    startedAt = MomentField(source="started_at")
    finishedAt = MomentField(source="finished_at", allow_null=True)
    rows = serializers.IntegerField()
    unknown = serializers.IntegerField(help_text="Of people whom the space does not know: they are left out.")
    oversized = serializers.IntegerField(help_text="Longer than 16 KB: they are left out.")
    changed = serializers.IntegerField(help_text="People whose values were sent.")
    nulled = serializers.IntegerField(help_text="People who vanished from the answer.")
    error = serializers.CharField()


class SqlTraitSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "sqt_2qKf0",
        "name": "Customer tiers",
        "description": "",
        "warehouseId": "whs_2qKf0",
        "query": QUERY,
        "every": "day",
        "at": "06:00",
        "weekday": 0,
        "timeZone": "UTC",
        "mostNulled": 20,
        "enabled": True,
        "traits": ["tier"],
    }

    id = serializers.CharField(source="public_id")
    name = serializers.CharField()
    description = serializers.CharField()
    warehouseId = serializers.CharField(source="warehouse.public_id")
    query = serializers.CharField()
    every = serializers.ChoiceField(choices=SqlTrait.Every.choices)
    at = serializers.TimeField(format="%H:%M")
    weekday = serializers.IntegerField()
    timeZone = serializers.CharField(source="time_zone")
    mostNulled = serializers.IntegerField(source="most_nulled")
    enabled = serializers.BooleanField()
    traits = serializers.ListField(
        source="columns", child=serializers.CharField(), help_text="The columns that the newest run gave."
    )
    nextAt = MomentField(source="next_at", allow_null=True)
    createdAt = MomentField(source="created_at")


class PreviewSqlTrait(serializers.Serializer[Any]):
    example: ClassVar = {"warehouseId": "whs_2qKf0", "query": QUERY}

    warehouseId = serializers.CharField(max_length=40)
    query = serializers.CharField(max_length=LONGEST_QUERY, trim_whitespace=False)


class PreviewedRowSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"identifier": "u1", "known": True, "traits": {"tier": "gold"}}

    identifier = serializers.CharField()
    known = serializers.BooleanField(help_text="Whether it is that of a profile of the space.")
    traits = serializers.DictField(source="values")


class SqlPreviewSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"type": "user_id"}

    type = serializers.ChoiceField(source="id", choices=ID_COLUMNS, help_text="Of the identifiers.")
    rows = PreviewedRowSerializer(many=True)


class RunSqlTrait(serializers.Serializer[Any]):
    example: ClassVar = {"approved": False}

    approved = serializers.BooleanField(default=False, help_text="However many people lose their values by it.")


# Whole answers.
WarehouseAnswer = enveloped("WarehouseAnswer", warehouse=WarehouseSerializer())
WarehouseTestAnswer = enveloped("WarehouseTestAnswer", test=WarehouseTestSerializer())
SqlTraitAnswer = enveloped("SqlTraitAnswer", sqlTrait=SqlTraitSerializer())
SqlPreviewAnswer = enveloped("SqlPreviewAnswer", preview=SqlPreviewSerializer())
