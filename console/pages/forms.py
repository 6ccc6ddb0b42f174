"""Forms about spaces: a new one with its identity rules, and the settings of an existing one."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from access.pages.forms import Styled
from identity.rules.policy import Policy, policy_of
from spaces.models import Space

KINDS = {
    Space.Kind.DEV: "To try things out. Connect real sources, check profiles, build audiences: nobody relies on it.",
    Space.Kind.PROD: "For real. What worked in a Dev space is set up here, and reaches your customers.",
}
DEFAULT, IMPORT, OWN = "default", "import", "own"
RULES = {
    DEFAULT: ("Default rules", "One user_id for each person, up to five of everything else. Right for most."),
    IMPORT: (
        "Copy from another space",
        "The rules of that space as they are now: priority, limits and blocked values.",
    ),
    OWN: ("Custom rules", "You set them on the next page, before any source is connected."),
}


class SpaceName(Styled):
    """The name of a space and its kind, Dev or Prod."""

    name = forms.CharField(label="Name", max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    kind = forms.ChoiceField(
        label="What it is for", choices=Space.Kind.choices, initial=Space.Kind.DEV, widget=forms.RadioSelect
    )

    @property
    def kinds(self) -> list[dict[str, Any]]:
        return _cards(self["kind"], {kind.value: about for kind, about in KINDS.items()})


class NewSpace(SpaceName):
    """A new space and its identity rules: the default ones, a copy of another space's, or rules of its own."""

    rules = forms.ChoiceField(
        label="Identity rules",
        choices=[(key, label) for key, (label, _) in RULES.items()],
        initial=DEFAULT,
        widget=forms.RadioSelect,
    )
    # Required only when rules are copied, which clean() checks.
    origin = forms.ChoiceField(label="Copy the rules from", required=False)

    def __init__(self, *args: Any, spaces: Sequence[Space], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spaces = {space.public_id: space for space in spaces}
        origin: Any = self.fields["origin"]
        origin.choices = [("", "Choose a space"), *((key, space.name) for key, space in self.spaces.items())]
        if not self.spaces:  # nothing to copy from: the choice would only lead to an error
            rules: Any = self.fields["rules"]
            rules.choices = [choice for choice in rules.choices if choice[0] != IMPORT]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("rules") == IMPORT and not cleaned.get("origin"):
            self.add_error("origin", "Choose a space to copy the rules from.")
        return cleaned

    @property
    def rule_cards(self) -> list[dict[str, Any]]:
        return _cards(self["rules"], {key: about for key, (_, about) in RULES.items()})

    @property
    def policy(self) -> Policy | None:
        """The identity rules that the space starts with; None = the default ones."""
        if self.cleaned_data["rules"] != IMPORT:
            return None
        stored = self.spaces[self.cleaned_data["origin"]].identity_policy
        return None if stored is None else policy_of(stored)

    @property
    def wants_own_rules(self) -> bool:
        return bool(self.cleaned_data["rules"] == OWN)


def _cards(field: Any, about: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"option": option, "about": about[str(option.data["value"])]} for option in field]
