"""Forms of the pages outside of any workspace."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.password_validation import password_validators_help_texts

BOX = {"class": "form-control"}


class Styled(forms.Form):
    """A form of the console: every widget has the look of its kind, and says what is wrong with it to those who listen.

    Its labels end without a colon, and the browser leaves the checks to us.
    """

    use_required_attribute = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": ""} | kwargs)
        for field in self.fields.values():
            look = _look(field.widget)
            field.widget.attrs["class"] = f"{look} {field.widget.attrs.get('class', '')}".strip()


def _look(widget: forms.Widget) -> str:
    if isinstance(widget, forms.CheckboxInput | forms.RadioSelect | forms.CheckboxSelectMultiple):
        return "form-check-input"
    return "form-select" if isinstance(widget, forms.Select) else "form-control"


class SignIn(AuthenticationForm):
    """E-mail and password. The answer to a wrong one does not say which of the two is wrong."""

    error_messages = {"invalid_login": "No account has this e-mail address and password.", "inactive": "Not active."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "E-mail address"
        self.fields["username"].widget = forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True, **BOX})
        self.fields["password"].widget.attrs |= BOX

    def clean_username(self) -> str:
        """Addresses are kept in small letters."""
        return str(self.cleaned_data["username"]).strip().lower()


class Join(forms.Form):
    """What a new person tells when they accept an invitation."""

    name = forms.CharField(
        label="Your name", max_length=100, widget=forms.TextInput(attrs={"autocomplete": "name", **BOX})
    )
    password = forms.CharField(
        label="Password",
        max_length=200,
        help_text=" ".join(password_validators_help_texts()),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", **BOX}),
    )
