"""The base class of all forms, and the forms of the pages outside a workspace."""

import hashlib
import json
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm, PasswordResetForm, SetPasswordForm
from django.contrib.auth.password_validation import password_validators_help_texts
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

STAMP = "opened-with"
BOX = {"class": "form-control"}


CHANGED = (
    "This was saved elsewhere since you opened the page: by somebody else, or by you in another tab. What you entered"
    " is below, and is not saved. Save again to replace what is there now, or open the page anew to see it."
)


class Styled(forms.Form):
    """A form whose widgets have Bootstrap's classes, and whose labels end without a colon.

    Of something that exists `initial` is how it is now, in every request: whoever saves after somebody else did is told
    and has to save again. For that a page has `{{ form.stamp }}` inside of its <form>.
    """

    # The server checks everything and says what is wrong next to the field; a browser's own bubbles would come first.
    use_required_attribute = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": ""} | kwargs)
        for field in self.fields.values():
            widget = field.widget
            # First what is ticked: RadioSelect and CheckboxSelectMultiple are also Selects to Django.
            if isinstance(widget, forms.CheckboxInput | forms.RadioSelect | forms.CheckboxSelectMultiple):
                css_class = "form-check-input"
            else:
                css_class = "form-select" if isinstance(widget, forms.Select) else "form-control"
            widget.attrs["class"] = f"{css_class} {widget.attrs.get('class', '')}".strip()

    @property
    def stamp(self) -> SafeString:
        """A hidden input that says how it was when the page was made."""
        return format_html('<input type="hidden" name="{}" value="{}">', self.add_prefix(STAMP), self._as_it_is)

    def clean(self) -> dict[str, Any]:
        entries = super().clean() or {}
        if self.is_outdated:  # not refused for good: the page comes back with the stamp of now
            self.add_error(None, CHANGED)
        return entries

    @property
    def is_outdated(self) -> bool:
        """Whether what it is about was saved elsewhere since the page was made."""
        return bool(self.data.get(self.add_prefix(STAMP), self._as_it_is) != self._as_it_is)

    @cached_property
    def _as_it_is(self) -> str:
        """Tells states apart, and gives away none."""
        now = {name: self.get_initial_for_field(field, name) for name, field in self.fields.items()}
        return hashlib.blake2b(json.dumps(now, default=str).encode(), digest_size=8).hexdigest()


class SignIn(AuthenticationForm):
    """E-mail address and password."""

    # One message for both: it must not tell who has an account.
    error_messages = {"invalid_login": "No account has this e-mail address and password.", "inactive": "Not active."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "E-mail address"
        self.fields["username"].widget = forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True, **BOX})
        self.fields["password"].widget.attrs |= BOX

    def clean_username(self) -> str:
        # Addresses are stored in small letters.
        return str(self.cleaned_data["username"]).strip().lower()


class Boxed(forms.Form):
    """A form of Django's own, with Bootstrap's boxes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs |= BOX


class NewPassword(Boxed, SetPasswordForm):
    """A new password, after a link in a mail."""


class OwnPassword(Boxed, PasswordChangeForm):
    """The password of somebody who is signed in."""


class Reset(PasswordResetForm):
    """Whose password is to be made anew."""

    email = forms.EmailField(
        label="E-mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email", **BOX})
    )


class Join(forms.Form):
    """The name and password of a new user."""

    name = forms.CharField(
        label="Your name", max_length=100, widget=forms.TextInput(attrs={"autocomplete": "name", **BOX})
    )
    password = forms.CharField(
        label="Password",
        max_length=200,
        help_text=" ".join(password_validators_help_texts()),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", **BOX}),
    )


class FirstOwner(Join):
    """The first account and its workspace."""

    field_order = ("email", "name", "password", "workspace")
    email = forms.EmailField(
        label="E-mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "username", **BOX})
    )
    workspace = forms.CharField(
        label="Workspace",
        max_length=100,
        help_text="What you and your team will see at the top, such as the name of your company.",
        widget=forms.TextInput(attrs={"autocomplete": "organization", **BOX}),
    )
