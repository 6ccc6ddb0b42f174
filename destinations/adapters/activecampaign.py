"""ActiveCampaign: a custom field of the contact, by which segments and automations choose."""

from datetime import datetime
from typing import Annotated

from destinations.rules.contract import (
    Adapter,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    PayloadComputation,
    test_id,
)
from destinations.rules.vendors import as_text, json_request, value_of
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text


class ActivecampaignSettings(SettingsDeclaration, frozen=True):
    api_url: Annotated[
        str, text("API URL", url=True, help="In ActiveCampaign: Settings, Developer; such as https://yours.api-us1.com")
    ]
    api_key: Annotated[str, secret("API key", help="Beside the URL")]

    def check(self) -> None:
        if not self.api_url.startswith("https://"):
            raise InvalidSetting("apiUrl", "Must begin with https://, as the page shows it")


class ActivecampaignOptions(SettingsDeclaration, frozen=True):
    field_id: Annotated[
        str, text("Custom field ID", help="The number of a text field, which the API names: GET /api/3/fields")
    ] = ""

    def check(self) -> None:
        # Empty is refused as well: without a field there is nothing to be set.
        if not self.field_id.isdecimal():
            raise InvalidSetting("fieldId", "Give the number of a custom field, which must exist")


def plan(
    changes: Changes,
    about: PayloadComputation,
    settings: ActivecampaignSettings,
    options: ActivecampaignOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """A request for each row: what takes many is answered before it is done."""
    return [
        json_request(
            f"{_api(settings)}/contact/sync",
            {
                "contact": {
                    # The contact is found by it, and created when it is not there.
                    "email": change.address.email,
                    # Assumed: the empty text empties a field.
                    "fieldValues": [
                        {"field": field, "value": as_text(value)}
                        for field, value in {**change.fields, options.field_id: value_of(change, about)}.items()
                    ],
                }
            },
            id=change.id,
            rows=[change],
            headers={"api-token": settings.api_key},
        )
        for change in changes
    ]


def _api(settings: ActivecampaignSettings) -> str:
    return f"{settings.api_url.rstrip('/')}/api/3"


def test(settings: ActivecampaignSettings, now: datetime) -> DestinationRequest:
    """Asks who owns the key."""
    return DestinationRequest(test_id(now), [], "GET", f"{_api(settings)}/users/me", {"api-token": settings.api_key})


adapter = Adapter(
    kind="activecampaign",
    label="ActiveCampaign",
    description="Sets a custom field of each contact by its e-mail address, for segments and automations.",
    settings=ActivecampaignSettings,
    options=ActivecampaignOptions,
    trait_options=ActivecampaignOptions,
    capabilities=Capabilities(
        styles=("event",),
        batch=100,
        per_second=5,
        concurrency=2,
        identifiers=("email",),
        limits=(DocumentedLimit.requests(5, "2026-11", 'developers.activecampaign.com, "Rate limits"'),),
    ),
    plan=plan,
    test=test,
)
