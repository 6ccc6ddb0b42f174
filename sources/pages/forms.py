"""Forms of the pages about sources."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django import forms

from access.pages.forms import Styled
from sources.models import Source
from sources.services import LONGEST_REPLAY_DAYS

DAYS = 30

ABOUT = {
    Source.SourceKind.WEBSITE: "Pages that people open in a browser.",
    Source.SourceKind.MOBILE: "An app on a phone or a tablet.",
    Source.SourceKind.SERVER: "Your own backend, with a library.",
    Source.SourceKind.HTTP: "Anything that can make an HTTP call.",
}


@dataclass(frozen=True)
class Card:
    """One choice of kind: the radio button, and what is said beside it."""

    option: Any
    icon: str
    about: str


class SourceForm(Styled):
    """What every source has."""

    name = forms.CharField(max_length=100, help_text="Such as: Website, iOS app, Orders.")
    kind = forms.ChoiceField(
        choices=Source.SourceKind.choices, initial=Source.SourceKind.WEBSITE, widget=forms.RadioSelect
    )

    @property
    def cards(self) -> list[Card]:
        return [
            Card(option, f"kind-{value}", ABOUT[Source.SourceKind(value)])
            for option, (value, _) in zip(self["kind"], Source.SourceKind.choices, strict=True)
        ]


class SourceSettings(SourceForm):
    """The same, with what can be switched."""

    enabled = forms.BooleanField(
        required=False,
        label="Accept what it sends",
        help_text="Off: its clients still get a 200, and every message is kept as rejected for a look.",
    )
    correct_clocks = forms.BooleanField(
        required=False,
        label="Correct wrong clocks",
        help_text="Event times are moved by how much the sender's clock is off. Off: times are taken as given.",
    )
    keep_days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=36_500,
        label="Days to keep its events",
        help_text="By event time; older ones are erased, in every space too. Empty: as this installation does.",
    )


class ReplayForm(Styled):
    """How far back a space is to have a source's past."""

    days = forms.IntegerField(
        min_value=1,
        max_value=LONGEST_REPLAY_DAYS,
        initial=DAYS,
        label="Days of its past",
        help_text=f"Counted back from now; at most {LONGEST_REPLAY_DAYS:,}.",
    )


class ConnectForm(Styled):
    """Which sources a space is to listen to, and how much of their past it wants."""

    sources = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple, error_messages={"required": "Choose at least one source."}
    )
    replay = forms.BooleanField(required=False, initial=True, label="Replay their past into this space")
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=LONGEST_REPLAY_DAYS,
        initial=DAYS,
        label="Days to replay",
        help_text=f"Usually {DAYS}; at most {LONGEST_REPLAY_DAYS:,}.",
    )

    def __init__(self, *args: Any, sources: Iterable[Source], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["sources"]
        # By public ids, and those of this workspace alone: a form that names another one's source is not valid.
        field.choices = [(source.public_id, source.name) for source in sources]

    def clean_days(self) -> int:
        return int(self.cleaned_data.get("days") or DAYS)  # who wants no replay may leave it empty
