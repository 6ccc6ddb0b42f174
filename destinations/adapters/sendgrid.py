"""SendGrid Marketing Campaigns: a custom field of the contact, by which segments choose."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from destinations.rules.contract import (
    BYTES,
    PEOPLE,
    REQUESTS,
    Adapter,
    Capabilities,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    PayloadComputation,
)
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import as_text, json_request, value_of
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text

HOSTS = {"global": "https://api.sendgrid.com", "EU": "https://api.eu.sendgrid.com"}


class SendgridSettings(SettingsDeclaration, frozen=True):
    api_key: Annotated[
        str, secret("API key", help="In SendGrid: Settings, API keys; with full access to Marketing; begins with SG.")
    ]
    region: Annotated[Literal["global", "EU"], label("Region", help="EU for keys of an EU subuser")] = "global"


class SendgridOptions(SettingsDeclaration, frozen=True):
    field_id: Annotated[
        str,
        text("Custom field ID", help="Create the field in SendGrid first. Its ID, such as e1_T, ends with its type"),
    ] = ""

    def check(self) -> None:
        if not self.field_id.endswith(("_T", "_N", "_D")):
            raise InvalidSetting("fieldId", "The ID of a custom field ends with _T, _N or _D, such as e1_T")


class SendgridAudienceOptions(SendgridOptions, frozen=True):
    def check(self) -> None:
        super().check()
        if not self.field_id.endswith("_T"):
            raise InvalidSetting("fieldId", "SendGrid has no yes-or-no fields: choose a text field, which ends with _T")


def plan(
    changes: Sequence[IdentifierChange],
    about: PayloadComputation,
    settings: SendgridSettings,
    options: SendgridOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One request for all."""
    contacts = [
        {"email": change.address.email, "custom_fields": {options.field_id: _value(change, about, options)}}
        for change in changes
    ]
    url = f"{HOSTS[settings.region]}/v3/marketing/contacts"
    content = {"contacts": contacts}
    return [json_request(url, content, id=batch_id(changes), rows=changes, headers=_headers(settings), method="PUT")]


def _value(change: IdentifierChange, about: PayloadComputation, options: SendgridOptions) -> Any:
    """As a field of its type takes it. Assumed: null empties it."""
    value = value_of(change, about)
    return as_text(value) if value is not None and options.field_id.endswith("_T") else value


def _headers(settings: SendgridSettings) -> dict[str, str]:
    return {"authorization": f"Bearer {settings.api_key}"}


def test(settings: SendgridSettings, now: datetime) -> DestinationRequest:
    """Asks for the fields that contacts have."""
    url = f"{HOSTS[settings.region]}/v3/marketing/field_definitions"
    id = f"test-{int(now.timestamp() * 1000)}"
    return DestinationRequest(id=id, rows=[], method="GET", url=url, headers=_headers(settings))


adapter = Adapter(
    kind="sendgrid",
    label="SendGrid",
    # People can be put into a list by their address, but only taken out of it by an id that another call must ask for.
    description="Sets a custom field of each contact by its e-mail address, for segments. No lists.",
    settings=SendgridSettings,
    options=SendgridAudienceOptions,
    trait_options=SendgridOptions,
    # It is answered with 202 before it is done, or with 4xx for all: whom it leaves out later, no answer says.
    capabilities=Capabilities(
        styles=("event",),
        batch=500,
        per_second=1.5,
        identifiers=("email",),
        largest_body=6000000,
        limits=(
            DocumentedLimit(30000, PEOPLE, "2026-11", 'twilio.com/docs/sendgrid, "Add or update a contact"'),
            DocumentedLimit(6000000, BYTES, "2026-11", 'twilio.com/docs/sendgrid, "Add or update a contact"'),
            DocumentedLimit(1.5, REQUESTS, "2026-11", "not confirmed: that of its predecessor, 3 in 2 seconds"),
        ),
    ),
    plan=plan,
    test=test,
)
