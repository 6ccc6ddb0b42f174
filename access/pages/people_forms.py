"""Forms about people: whom to invite, and somebody's roles. Both ask for a role in each space."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, validate_email

from access import roles
from access.pages.forms import Styled
from access.services import Invited
from spaces.models import Space

MOST_PEOPLE = 50  # in one invitation, as by the API
NO_ROLE = ("", "None")


class Rights(Styled):
    """A role in the workspace, and one or none in each of its spaces.

    present: the roles in spaces now. origins: where they come from, by the public id of the space. open_to: primary
    keys of the spaces where they see personal data, whatever the role.
    """

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
        present: Mapping[Space, str] | None = None,
        origins: Mapping[str, str] | None = None,
        open_to: Collection[int] = (),
        **kwargs: Any,
    ) -> None:
        self.spaces, self.origins = spaces, origins or {}
        super().__init__(*args, **kwargs)
        choices = [NO_ROLE, *((role.key, role.label) for role in roles.SPACE_ROLES.values())]
        # After super(): a field for each space, which the class cannot declare, as spaces differ by workspace.
        for space in spaces:
            self.fields[f"in-{space.public_id}"] = forms.ChoiceField(
                label=f"Role in {space.name}",
                choices=choices,
                required=False,
                initial=(present or {}).get(space, ""),
                widget=forms.RadioSelect(attrs={"class": "form-check-input"}),
            )
            self.fields[f"sees-{space.public_id}"] = forms.BooleanField(
                label=f"Sees personal data in {space.name}",
                required=False,
                initial=space.pk in open_to,
                widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
            )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For the table of radio buttons: each space with its field, and where the present role comes from."""
        return [
            {
                "space": space,
                "field": self[f"in-{space.public_id}"],
                "sees": self[f"sees-{space.public_id}"],
                "origin": self.origins.get(space.public_id, ""),
            }
            for space in self.spaces
        ]

    @property
    def columns(self) -> list[str]:
        return [NO_ROLE[1], *(role.label for role in roles.SPACE_ROLES.values())]

    @property
    def meanings(self) -> list[tuple[str, str]]:
        """What each role in a space allows: (label, text)."""
        return [(role.label, roles.meaning(role)) for role in roles.SPACE_ROLES.values()]

    @property
    def in_spaces(self) -> dict[Space, str]:
        return {space: self.cleaned_data[f"in-{space.public_id}"] for space in self.spaces}

    @property
    def personal(self) -> list[Space]:
        """Where they see personal data, whatever the role."""
        return [space for space in self.spaces if self.cleaned_data[f"sees-{space.public_id}"]]


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
        """The addresses, without duplicates and in small letters. The error names all that are not valid."""
        # A dict and not a set: the message names them in the order in which they were typed.
        addresses = dict.fromkeys(re.split(r"[\s,;]+", self.cleaned_data["emails"].strip().lower()))
        invalid = []
        for address in addresses:
            try:
                validate_email(address)
                MaxLengthValidator(254)(address)  # the column's, which is the mail standard's; the other allows 320
            except ValidationError:
                invalid.append(address)
        if invalid:
            raise ValidationError(f"Not an e-mail address: {', '.join(invalid)}.")
        if len(addresses) > MOST_PEOPLE:
            raise ValidationError(f"These are {len(addresses)} addresses; {MOST_PEOPLE} can be invited at once.")
        return list(addresses)

    @property
    def people(self) -> list[Invited]:
        grants = [(space, role) for space, role in self.in_spaces.items() if role]
        # The same for everybody on the form: who needs other roles is invited by another one.
        role, personal = self.cleaned_data["role"], self.personal
        return [Invited(email, role, grants, personal) for email in self.cleaned_data["emails"]]


class NewToken(Styled):
    """The name of a new API token."""

    name = forms.CharField(
        label="Name",
        max_length=100,
        help_text="What will use it, such as “Nightly export”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class NewProfileToken(NewToken):
    """The name of a new token of a space's Profile API."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].help_text = "The program and where it runs, such as “shop/production”."
