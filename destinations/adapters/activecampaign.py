"""ActiveCampaign: a custom field of the contact, by which segments and automations choose."""

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from destinations.rules.contract import (
    Adapter,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    MembersPage,
    MembersReading,
    PayloadComputation,
    test_id,
)
from destinations.rules.vendors import (
    as_text,
    decoded,
    in_small_letters,
    json_request,
    looked_up,
    value_of,
)
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text

READ = 100  # of anything that is listed, in a page at most


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


def _members(
    about: PayloadComputation, settings: ActivecampaignSettings, options: ActivecampaignOptions, following: str
) -> DestinationRequest | None:
    """Who has "true" in the field, by the ids of contacts, and then the addresses of these.

    developers.activecampaign.com, "List all custom field values" and "List, search, and filter contacts", 2026-11.
    """
    if about.kind == "trait":
        return None
    offset, *ids = following.split(" ")
    if ids:
        # The id says which page of values comes next, of which the answer, about contacts, knows nothing.
        path, id = f"contacts?{urlencode([('limit', READ), *(('ids[]', id) for id in ids)])}", offset
    else:
        query = {"filters[fieldid]": options.field_id, "filters[val]": "true", "limit": READ, "offset": offset or 0}
        path, id = f"fieldValues?{urlencode(query)}", offset or "0"
    return DestinationRequest(id, [], "GET", f"{_api(settings)}/{path}", {"api-token": settings.api_key})


def _members_page(request: DestinationRequest, answer: Answer) -> MembersPage:
    content = decoded(answer.body)
    if "contacts" in content:
        emails = [entry["email"] for entry in looked_up(answer, "contacts")]
        return MembersPage([email.lower() for email in emails if email], request.id)
    values = looked_up(answer, "fieldValues")
    # A filter that it does not know it leaves out, without a word.
    ids = [str(entry["contact"]) for entry in values if entry["value"] == "true"]
    read = int(request.id) + len(values)
    following = str(read) if values and read < int(content["meta"]["total"]) else ""
    return MembersPage([], " ".join([following, *ids]))


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
    members=MembersReading(
        _members, _members_page, in_small_letters, "e-mail address", wants="Only whom an audience holds is compared"
    ),
)
