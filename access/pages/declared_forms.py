"""Forms for what adapters declare: each setting becomes the field that its type, choices and bounds ask for."""

from collections.abc import Callable, Mapping
from typing import Any

from django import forms

from access.pages.forms import Styled
from access.services import NotPossible
from spaces.settings_schema import InvalidSetting, described


class Named(Styled):
    """What a destination, a channel or a warehouse is called here."""

    name = forms.CharField(label="Name", max_length=100)


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


class NamedSettings:
    """The name of something and its settings: two forms that are sent together. like: an example of a name.

    data: what was posted; None = nothing was, or something else than settings.
    """

    def __init__(
        self,
        declared: type[Any],
        data: Mapping[str, Any] | None,
        *,
        name: str,
        like: str,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self.named = Named(data, initial={"name": name})
        self.named.fields["name"].help_text = f"How it is called in this space, such as “{like}”"
        self.settings = declared_form(declared, prefix="settings", data=data, values=values)
        self.saved: Any = None  # what the service gave

    def save(self, service: Callable[..., Any]) -> bool:
        """Whether the service took them, as `name` and `settings`; else what is wrong stands in the forms."""
        if not all([self.named.is_valid(), self.settings.is_valid()]):
            return False
        try:
            self.saved = service(name=self.named.cleaned_data["name"], settings=self.settings.given)
        except InvalidSetting as error:
            self.settings.refuse(error)
        except NotPossible as error:
            self.named.add_error(None, str(error))
        return self.named.is_valid() and self.settings.is_valid()

    @property
    def context(self) -> dict[str, Styled]:
        """For a template."""
        return {"named": self.named, "settings": self.settings}


class DefaultedChoice(forms.ChoiceField):
    """A page from before an upgrade says nothing of a newer setting: it stays as it is, or takes its default."""

    def clean(self, value: Any) -> Any:
        return None if value in self.empty_values else super().clean(value)


def declared_form(
    declared: type[Any], *, prefix: str, data: Mapping[str, Any] | None = None, values: Mapping[str, Any] | None = None
) -> Declared:
    """values: what the fields show at first, in camelCase, as `declared.shown` makes it."""
    # A browser would offer this person's own password, and mark a key as a spelling mistake.
    quiet = {"autocomplete": "off", "spellcheck": "false"}
    fields: dict[str, forms.Field] = {}
    for about in described(declared):
        name, required = about["name"], about["required"]
        shared = {"label": about["label"], "help_text": about["help"], "initial": about["default"]}
        if about["type"] == "boolean":
            fields[name] = forms.BooleanField(required=False, **shared)
        elif about["choices"]:
            # Only the first letter: "EU" and "user ID" are written so.
            labels = [(choice, choice[:1].upper() + choice[1:]) for choice in about["choices"]]
            kind = forms.ChoiceField if required else DefaultedChoice
            fields[name] = kind(choices=labels, **shared)
        elif about["type"] == "integer":
            bounds = {"min_value": about["minimum"], "max_value": about["maximum"]}
            fields[name] = forms.IntegerField(required=required, **bounds, **shared)
        elif about["secret"] and not about["url"]:  # shown is the mask, or what this person typed a moment ago
            hidden = forms.PasswordInput(attrs=quiet | {"autocomplete": "new-password"}, render_value=True)
            fields[name] = forms.CharField(required=required, widget=hidden, **shared)
        else:
            fields[name] = forms.CharField(required=required, widget=forms.TextInput(attrs=quiet), **shared)
    form: type[Declared] = type(declared.__name__, (Declared,), fields)
    return form(data, prefix=prefix, initial=values or {})
