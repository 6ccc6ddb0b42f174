"""What the API takes and answers about syncs of profiles."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.declared import Declarations, DeclaredField, by_own_name
from access.api.serializers import MomentField, enveloped
from audiences.api.schedules import ScheduleFields
from profiles_sync.models import ProfilesSync, SyncRun
from profiles_sync.running import settings_of
from profiles_sync.services import CHOICES
from profiles_sync.stores import all_stores
from spaces.settings_schema import MASK, masked

KINDS = tuple(all_stores())
SETTINGS = {
    "host": "db.example.com",
    "port": 5432,
    "database": "shop",
    "user": "personas",
    "password": MASK,
    "tls": "verify",
    "schema": "personas",
}
CHOSEN = {
    "every": "hour",
    "at": "00:10",
    "weekday": 0,
    "timeZone": "UTC",
    "tables": ["user_traits", "user_identifiers"],
    "events": [],
    "traits": [],
    "audiences": [],
}


def _settings() -> Declarations:
    return by_own_name(kind.settings for kind in all_stores().values())


class SyncedNames(serializers.ListField):
    """Names that were chosen; none means all."""

    child = serializers.CharField(max_length=500)


class SyncChoices(ScheduleFields):
    tables = serializers.ListField(
        child=serializers.ChoiceField(choices=CHOICES),
        required=False,
        help_text="Which tables; none = all. track_events: one for each name of a track call.",
    )
    events = SyncedNames(required=False, help_text="Track calls of these names; none = of all.")
    traits = SyncedNames(required=False, help_text="Traits, computed ones too; none = all.")
    audiences = SyncedNames(required=False, help_text="Keys of audiences; none = all.")


class CreateProfilesSync(SyncChoices):
    """It runs at once, and then as its schedule says."""

    example: ClassVar = {"kind": "postgresql", "name": "Analytics", "settings": SETTINGS, **CHOSEN}

    kind = serializers.ChoiceField(choices=KINDS)
    name = serializers.CharField(max_length=100)
    settings = DeclaredField(_settings)


class ChangeProfilesSync(SyncChoices):
    """What is given changes. After another choice, or at another place, the next run tells everything anew."""

    example: ClassVar = {"enabled": False}

    name = serializers.CharField(max_length=100, required=False)
    settings = DeclaredField(_settings, is_change=True, required=False)
    enabled = serializers.BooleanField(required=False)


class RunProfilesSync(serializers.Serializer[Any]):
    example: ClassVar = {"anew": False}

    anew = serializers.BooleanField(
        required=False, help_text="Everything is told again, also what the warehouse should have."
    )


class ProfilesSyncSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "psy_2qKf0",
        "kind": "postgresql",
        "name": "Analytics",
        "settings": SETTINGS,
        **CHOSEN,
        "enabled": True,
    }

    id = serializers.CharField(source="public_id")
    kind = serializers.ChoiceField(choices=KINDS)
    name = serializers.CharField()
    # Masked here, once: no view can forget it.
    settings = serializers.SerializerMethodField()
    every = serializers.ChoiceField(choices=ProfilesSync.Every.choices)
    at = serializers.TimeField(format="%H:%M")
    weekday = serializers.IntegerField()
    timeZone = serializers.CharField(source="time_zone")
    tables = serializers.ListField(child=serializers.CharField())
    events = serializers.ListField(child=serializers.CharField())
    traits = serializers.ListField(child=serializers.CharField())
    audiences = serializers.ListField(child=serializers.CharField())
    enabled = serializers.BooleanField()
    nextAt = MomentField(source="next_at", allow_null=True)
    createdAt = MomentField(source="created_at")

    @extend_schema_field(DeclaredField(_settings))
    def get_settings(self, sync: ProfilesSync) -> dict[str, Any]:
        return masked(settings_of(sync))


class SyncRunSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "syr_2qKf0",
        "state": "done",
        "rows": {"user_traits": 3120, "tracks": 940},
        "removed": 2,
        "peopleTotal": 812,
        "peopleDone": 812,
        "eventsTotal": 940,
        "eventsDone": 940,
        "error": "",
    }

    id = serializers.CharField(source="public_id")
    state = serializers.ChoiceField(choices=SyncRun.State.choices)
    startedAt = MomentField(source="started_at")
    finishedAt = MomentField(source="finished_at", allow_null=True)
    rows = serializers.DictField(child=serializers.IntegerField(), help_text="By table, how many were written.")
    removed = serializers.IntegerField(help_text="Profiles that are no more, and were taken out.")
    peopleTotal = serializers.IntegerField(source="people_total", help_text="Whoever may have changed.")
    peopleDone = serializers.IntegerField(source="people_done")
    eventsTotal = serializers.IntegerField(source="events_total")
    eventsDone = serializers.IntegerField(source="events_done")
    error = serializers.CharField(help_text="In the warehouse's own words; of a run under way, why it waits.")


class ProfilesSyncTestSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"ok": True, "message": ""}

    ok = serializers.BooleanField()
    message = serializers.CharField(help_text="Why it cannot be written to, in the warehouse's own words.")


ProfilesSyncAnswer = enveloped("ProfilesSyncAnswer", profilesSync=ProfilesSyncSerializer())
ProfilesSyncTestAnswer = enveloped("ProfilesSyncTestAnswer", test=ProfilesSyncTestSerializer())
