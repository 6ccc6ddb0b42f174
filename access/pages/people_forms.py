"""Forms about people: whom to invite, and what somebody may do. Both ask for a role in each space."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from access import roles
from access.pages.forms import Styled
from access.services import Invited
from spaces.models import Space

MOST_PEOPLE = 50  # in one invitation, as by the API
NO_ROLE = ("", "None")


class Rights(Styled):
    """A role in the workspace, and in each of its spaces one or none."""

    role = forms.ChoiceField(
        label="Role in the workspace",
        choices=[(role.key, f"{role.label}. {role.about}.") for role in roles.WORKSPACE_ROLES.values()],
        initial=roles.MEMBER,
        widget=forms.RadioSelect,
    )

    def __init__(
        self,
        *args: Any,
        spaces: Sequence[Space],
        held: Mapping[Space, str] | None = None,
        origins: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.spaces, self.held, self.origins = spaces, held or {}, origins or {}
        super().__init__(*args, **kwargs)
        choices = [NO_ROLE, *((role.key, role.label) for role in roles.SPACE_ROLES.values())]
        for space in spaces:
            self.fields[f"in-{space.public_id}"] = forms.ChoiceField(
                label=f"Role in {space.name}",
                choices=choices,
                required=False,
                initial=self.held.get(space, ""),
                widget=forms.RadioSelect(attrs={"class": "form-check-input"}),
            )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For the table of radio buttons: each space with its field, and where the role that is held comes from."""
        return [
            {"space": space, "field": self[f"in-{space.public_id}"], "origin": self.origins.get(space.public_id, "")}
            for space in self.spaces
        ]

    @property
    def columns(self) -> list[str]:
        return [NO_ROLE[1], *(role.label for role in roles.SPACE_ROLES.values())]

    @property
    def meanings(self) -> list[tuple[str, str]]:
        """What each role in a space allows: (its label, in words)."""
        return [(role.label, roles.meaning(role)) for role in roles.SPACE_ROLES.values()]

    @property
    def in_spaces(self) -> dict[Space, str]:
        return {space: self.cleaned_data[f"in-{space.public_id}"] for space in self.spaces}


class Invite(Rights):
    """Several people at once, all with the same roles."""

    emails = forms.CharField(
        label="E-mail addresses",
        max_length=20_000,
        help_text=f"One on each line, or with commas between them; up to {MOST_PEOPLE} at once.",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "autocomplete": "off"}),
    )
    field_order = ("emails", "role")

    def clean_emails(self) -> list[str]:
        """Each address once, in small letters. Those that are none are named, all of them."""
        written = dict.fromkeys(re.split(r"[\s,;]+", self.cleaned_data["emails"].strip().lower()))
        if wrong := [address for address in written if not _is_address(address)]:
            raise ValidationError(f"Not an e-mail address: {', '.join(wrong)}.")
        if len(written) > MOST_PEOPLE:
            raise ValidationError(f"These are {len(written)} addresses; {MOST_PEOPLE} can be invited at once.")
        return list(written)

    @property
    def people(self) -> list[Invited]:
        grants = [(space, role) for space, role in self.in_spaces.items() if role]
        return [Invited(email, self.cleaned_data["role"], grants) for email in self.cleaned_data["emails"]]


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return len(text) <= 254


class NewToken(Styled):
    """What a new API token is called."""

    name = forms.CharField(
        label="Name",
        max_length=100,
        help_text="What will use it, such as “Nightly export”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
