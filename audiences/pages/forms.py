"""Forms about an audience that exists."""

from collections.abc import Sequence
from typing import Any

from django import forms

from access.pages.forms import Styled
from audiences.models import Scheduled
from audiences.pages.presenters import DOWNLOAD
from audiences.rules.folders import LONGEST_FOLDER, FolderRefused, tidied_folder
from audiences.rules.grammar import USERS
from audiences.rules.labels import LONGEST_LABEL, MOST_LABELS, LabelRefused, parted
from audiences.rules.schedules import DAYS, PARTS, time_zones
from audiences.rules.whom import WHOM


class LabelsBox(forms.CharField):
    """Labels in one box, parted by commas. Its value is a list."""

    def __init__(self, **options: Any) -> None:
        help_text = (
            f"Parted by commas: at most {MOST_LABELS}, of {LONGEST_LABEL} characters. Lists are filtered by them."
        )
        # Twice as long as all of them: what is too long by a little gets the sentence that says what.
        super().__init__(required=False, max_length=2 * MOST_LABELS * LONGEST_LABEL, help_text=help_text, **options)

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        try:
            return parted(super().clean(value))
        except LabelRefused as refusal:
            raise forms.ValidationError(str(refusal)) from refusal


class FolderBox(forms.CharField):
    """The path of a folder."""

    def __init__(self, **options: Any) -> None:
        help_text = "Where lists keep it, such as Campaigns/Summer. Empty: in no folder."
        super().__init__(required=False, max_length=2 * LONGEST_FOLDER, help_text=help_text, **options)

    def clean(self, value: Any) -> str:
        try:
            return tidied_folder(super().clean(value))
        except FolderRefused as refusal:
            raise forms.ValidationError(str(refusal)) from refusal


class AudienceSettings(Styled):
    """Its key is not among them: it never changes, since tools know the audience by it."""

    name = forms.CharField(max_length=255)
    description = forms.CharField(required=False, max_length=5000, widget=forms.Textarea(attrs={"rows": 3}))
    labels = LabelsBox()
    folder = FolderBox()
    enabled = forms.BooleanField(
        required=False,
        help_text="Switched off, it is not computed and nobody is sent. Whoever is in a tool stays there.",
    )


class Review(Styled):
    """The last step of a new audience."""

    name = forms.CharField(max_length=255, label="Name", help_text="How people know it, such as “New users, 7 days”")
    key = forms.CharField(
        required=False,
        max_length=255,
        label="Another key",
        help_text="By which your tools will know the audience, for good. Empty: the one made from the name.",
    )
    description = forms.CharField(required=False, max_length=5000, widget=forms.Textarea(attrs={"rows": 2}))
    labels = LabelsBox()
    folder = FolderBox()
    include_historical = forms.BooleanField(
        required=False,
        label="Gather historical data",
        help_text="Count what happened before now as well. Without it, only events from the creation on count; "
        "what is known of people counts either way. It cannot be changed later.",
    )


class TraitForm(Styled):
    """A new computed trait, but for how it is computed."""

    name = forms.CharField(max_length=255, help_text="How people know it, such as “Orders, 90 days”")
    of = forms.ChoiceField(
        choices=[(of, whom.title) for of, whom in WHOM.items()],
        initial=USERS,
        required=False,
        label="A value of each of the",
        help_text="An account has one of the events of all of its users. It cannot be changed later.",
    )
    description = forms.CharField(required=False, max_length=5000, widget=forms.Textarea(attrs={"rows": 2}))
    labels = LabelsBox()
    folder = FolderBox()
    include_anonymous = forms.BooleanField(
        required=False,
        label="Include anonymous people",
        help_text="People who never signed in: nothing but a browser or a device is known of them.",
    )
    include_historical = forms.BooleanField(
        required=False,
        initial=True,
        label="Gather historical data",
        help_text="Count what happened before now as well. It cannot be changed later.",
    )

    # It is about nothing that somebody else could have saved; what was typed is its own initial state.
    is_outdated = False

    def clean_of(self) -> str:
        return self.cleaned_data["of"] or USERS


class BetweenForm(Styled):
    """Two moments, in the time zone of whoever reads."""

    since = forms.DateTimeField(label="First moment", widget=forms.DateTimeInput(format="%Y-%m-%d %H:%M"))
    until = forms.DateTimeField(label="Second moment", widget=forms.DateTimeInput(format="%Y-%m-%d %H:%M"))

    # Nothing is saved by it.
    is_outdated = False


class DownloadForm(Styled):
    """The members as a file."""

    format = forms.ChoiceField(choices=[("csv", "CSV"), ("parquet", "Parquet")], widget=forms.RadioSelect)
    columns = forms.MultipleChoiceField(
        choices=[(name, name) for name in DOWNLOAD], widget=forms.CheckboxSelectMultiple, label="Columns"
    )
    hashed = forms.BooleanField(
        required=False,
        label="Hash e-mail addresses and other identifiers",
        help_text="SHA-256 of the text in lower case, as advertising tools take it",
    )

    # Nothing is saved by it.
    is_outdated = False

    def __init__(self, *args: Any, initial: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, initial={"format": "csv", **(initial or {})}, **kwargs)


def time_of_day(example: str) -> forms.TimeField:
    return forms.TimeField(
        widget=forms.TimeInput(format="%H:%M", attrs={"placeholder": example}),
        help_text="Such as 06:30. Of an hourly one the minute counts",
    )


class ScheduleForm(Styled):
    """When something is repeated. A subclass may give another example of a time of day."""

    every = forms.ChoiceField(choices=Scheduled.Every.choices, label="Runs")
    at = time_of_day("06:00")
    weekday = forms.TypedChoiceField(coerce=int, choices=list(enumerate(DAYS)), help_text="Of a weekly one")
    time_zone = forms.ChoiceField(choices=lambda: [(zone, zone) for zone in sorted(time_zones())])


class SqlTraitForm(ScheduleForm):
    """A query, and when it is asked. warehouses: (public id, name) of those that can be chosen; none of an old one."""

    name = forms.CharField(max_length=100, help_text="How people know it, such as “Customer tiers”")
    warehouse = forms.ChoiceField()
    query = forms.CharField(
        max_length=100_000,
        widget=forms.Textarea(attrs={"rows": 10, "class": "mono", "spellcheck": "false"}),
        help_text="One SELECT. A column user_id, email or anonymous_id says whom a row is about, once each; every "
        "other column is a trait of its name.",
    )
    description = forms.CharField(required=False, max_length=5000, widget=forms.Textarea(attrs={"rows": 2}))
    most_nulled = forms.IntegerField(
        min_value=0,
        max_value=100,
        label="Stop and ask above … %",
        help_text="Whoever is no longer in the answer loses the values. A run in which that is more than so many per "
        "cent of the people stops and asks.",
    )

    field_order = ("name", "warehouse", "query", "description", *PARTS, "most_nulled")

    def __init__(self, *args: Any, warehouses: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if warehouses:
            choice = self.fields["warehouse"]
            assert isinstance(choice, forms.ChoiceField)
            choice.choices = warehouses
        else:
            del self.fields["warehouse"]
