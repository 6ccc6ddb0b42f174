"""When a sync runs, and what of the space it takes."""

from typing import Any

from django import forms

from access.pages.forms import Styled
from audiences.rules.schedules import DAYS, time_zones
from profiles_sync.models import ProfilesSync
from profiles_sync.rules.tables import TRACK_TABLES
from profiles_sync.services import CHOICES, SELECTED

LABELS = {TRACK_TABLES: "a table for each name of a track call"}


class SyncNamesField(forms.CharField):
    """Names, one a line."""

    def __init__(self, **options: Any) -> None:
        rows = {"rows": 3, "spellcheck": "false", "class": "mono"}
        super().__init__(required=False, widget=forms.Textarea(attrs=rows), **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return [name for line in (value or "").splitlines() if (name := line.strip())]


class SyncForm(Styled):
    every = forms.ChoiceField(choices=ProfilesSync.Every.choices, label="Runs")
    at = forms.TimeField(
        widget=forms.TimeInput(format="%H:%M", attrs={"placeholder": "00:10"}),
        help_text="Such as 06:30. Of an hourly one the minute counts",
    )
    weekday = forms.TypedChoiceField(coerce=int, choices=list(enumerate(DAYS)), help_text="Of a weekly one")
    time_zone = forms.ChoiceField(choices=lambda: [(zone, zone) for zone in sorted(time_zones())])
    tables = forms.MultipleChoiceField(
        choices=[(name, LABELS.get(name, name)) for name in CHOICES],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="None is all of them",
    )
    events = SyncNamesField(label="Events", help_text="Names of track calls, one a line. Empty: all")
    traits = SyncNamesField(label="Traits", help_text="Names of traits, computed ones too, one a line. Empty: all")
    audiences = SyncNamesField(label="Audiences", help_text="Keys of audiences, one a line. Empty: all")


STARTS = {"every": ProfilesSync.Every.HOUR, "at": "00:10", "weekday": 0, "time_zone": "UTC"}
CHANGED = ("every", "at", "weekday", "time_zone", *SELECTED)
