"""Forms about an audience that exists."""

from typing import Any

from django import forms

from access.pages.forms import Styled
from audiences.rules.labels import LONGEST_LABEL, MOST_LABELS, LabelRefused, parted


class LabelsBox(forms.CharField):
    """Labels in one box, parted by commas. Its value is a list."""

    def __init__(self, **options: Any) -> None:
        help_text = (
            f"Parted by commas: at most {MOST_LABELS}, of {LONGEST_LABEL} characters. Lists are filtered by them."
        )
        super().__init__(required=False, max_length=2 * MOST_LABELS * LONGEST_LABEL, help_text=help_text, **options)

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        try:
            return parted(super().clean(value))
        except LabelRefused as refusal:
            raise forms.ValidationError(str(refusal)) from refusal


class AudienceSettings(Styled):
    """Its key is not among them: it never changes, since tools know the audience by it."""

    name = forms.CharField(max_length=255)
    description = forms.CharField(required=False, max_length=5000, widget=forms.Textarea(attrs={"rows": 3}))
    labels = LabelsBox()
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
    include_historical = forms.BooleanField(
        required=False,
        label="Gather historical data",
        help_text="Count what happened before now as well. Without it, only events from the creation on count; "
        "what is known of people counts either way. It cannot be changed later.",
    )


class TraitForm(Styled):
    """A new computed trait, but for how it is computed."""

    name = forms.CharField(max_length=255, help_text="How people know it, such as “Orders, 90 days”")
    description = forms.CharField(required=False, max_length=5000, widget=forms.Textarea(attrs={"rows": 2}))
    labels = LabelsBox()
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
