"""Forms for what adapters declare: each setting becomes the field that its type, choices and bounds ask for."""

from collections.abc import Mapping
from typing import Any

from django import forms

from access.pages.forms import Styled
from spaces.settings_schema import InvalidSetting, described


class Named(Styled):
    """What a destination is called here."""

    name = forms.CharField(
        label="Name", max_length=100, help_text="How it is called in this space, such as “Newsletter tool”"
    )


class Declared(Styled):
    """The fields of a declared dataclass, named as the API names them.

    A secret shows its mask, which changes nothing when it is sent back. `given` is what `declared.parse` takes.
    """

    @property
    def given(self) -> dict[str, Any]:
        """What was entered; a number that was left empty counts as not given."""
        return {name: value for name, value in self.cleaned_data.items() if value is not None}

    def refuse(self, error: InvalidSetting) -> None:
        """Puts the error next to the field that it is about."""
        self.add_error(error.field if error.field in self.fields else None, str(error))


class DefaultedChoice(forms.ChoiceField):
    """A page from before an upgrade says nothing of a newer setting: it stays as it is, or takes its default."""

    def clean(self, value: Any) -> Any:
        return None if value in self.empty_values else super().clean(value)


def declared_form(
    declared: type[Any], *, prefix: str, data: Mapping[str, Any] | None = None, values: Mapping[str, Any] | None = None
) -> Declared:
    """values: what the fields show at first, in camelCase, as `declared.shown` makes it."""
    fields = {field["name"]: _field(field) for field in described(declared)}
    form: type[Declared] = type(declared.__name__, (Declared,), fields)
    return form(data, prefix=prefix, initial=values or {})


def _field(about: Mapping[str, Any]) -> forms.Field:
    shared = {"label": about["label"], "help_text": about["help"], "initial": about["default"]}
    if about["type"] == "boolean":
        return forms.BooleanField(required=False, **shared)
    if about["choices"]:
        # Only the first letter: "EU" and "user ID" are written so.
        labels = [(choice, choice[:1].upper() + choice[1:]) for choice in about["choices"]]
        kind = forms.ChoiceField if about["required"] else DefaultedChoice
        return kind(choices=labels, **shared)
    if about["type"] == "integer":
        low, high = about["minimum"], about["maximum"]
        return forms.IntegerField(required=about["required"], min_value=low, max_value=high, **shared)
    # A browser would offer this person's own password, and mark a key as a spelling mistake.
    quiet = {"autocomplete": "off", "spellcheck": "false"}
    widget: forms.Widget = forms.TextInput(attrs=quiet)
    if about["secret"] and not about["url"]:  # what is shown is the mask, or what this person typed a moment ago
        widget = forms.PasswordInput(attrs=quiet | {"autocomplete": "new-password"}, render_value=True)
    return forms.CharField(required=about["required"], widget=widget, **shared)
