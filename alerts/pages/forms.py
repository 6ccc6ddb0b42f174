"""Forms about alerts, but for what kinds declare themselves."""

from collections.abc import Sequence
from typing import Any

from django import forms

from access.pages.forms import Styled
from alerts.services import LEAST_COOLDOWN, MOST_COOLDOWN


class AlertForm(Styled):
    """subjects, channels: (public id, name) of those that can be chosen. about: what the subjects are called."""

    name = forms.CharField(max_length=100, help_text="The title of its messages, such as “Sizes of audiences”")
    subject = forms.ChoiceField(required=False)
    channels = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple, label="Tell by")
    cooldown_minutes = forms.IntegerField(
        min_value=LEAST_COOLDOWN,
        max_value=MOST_COOLDOWN,
        label="Cooldown, in minutes",
        help_text="After a message about something new, so long no other one: what is still wrong then comes in one.",
    )
    enabled = forms.BooleanField(required=False)

    def __init__(
        self,
        *args: Any,
        subjects: Sequence[tuple[str, str]],
        channels: Sequence[tuple[str, str]],
        about: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        subject, channel = self.fields["subject"], self.fields["channels"]
        assert isinstance(subject, forms.ChoiceField)
        assert isinstance(channel, forms.ChoiceField)
        subject.choices, subject.label = [("", f"Any {about}"), *subjects], about.capitalize()
        channel.choices = channels
        if not channels:
            channel.help_text = "There is no channel yet. Until one is added, what is wrong only stands on the page."
