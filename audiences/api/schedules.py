"""What the API takes of a schedule."""

from typing import Any

from rest_framework import serializers

from audiences.models import Scheduled
from audiences.rules.schedules import time_zones


class ScheduleFields(serializers.Serializer[Any]):
    every = serializers.ChoiceField(choices=Scheduled.Every.choices, required=False)
    at = serializers.TimeField(format="%H:%M", required=False, help_text="Of an hourly one only the minute counts.")
    weekday = serializers.IntegerField(
        min_value=0, max_value=6, required=False, help_text="Of a weekly one; 0 = Monday."
    )
    timeZone = serializers.CharField(source="time_zone", required=False, help_text="Such as Europe/Berlin.")

    def validate_timeZone(self, zone: str) -> str:
        # Those that this machine knows, since it is this machine that reckons by them.
        if zone not in time_zones():
            raise serializers.ValidationError("There is no such time zone.")
        return zone
