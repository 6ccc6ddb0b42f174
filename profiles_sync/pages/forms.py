"""When a sync runs, and what of the space it takes."""

from typing import Any

from django import forms

from audiences.pages.forms import ScheduleForm, time_of_day
from audiences.rules.schedules import PARTS
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


class SyncForm(ScheduleForm):
    at = time_of_day("00:10")
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
CHANGED = (*PARTS, *SELECTED)
