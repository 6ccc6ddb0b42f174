"""SendGrid Marketing Campaigns: a custom field of the contact, by which segments choose."""

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Literal
from urllib.parse import urlencode

from destinations.rules.contract import (
    DELIVERED,
    Adapter,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    PayloadComputation,
    read_by_status,
    test_id,
)
from destinations.rules.lists import LIST, LIST_HELP, LONGEST_NAME, list_steps
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import (
    as_text,
    bearer_header,
    decoded,
    email_of,
    id_of_named,
    json_request,
    looked_up,
    value_of,
)
from spaces.answers import Answer
from spaces.chunks import chunks
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text

LOOKED_UP = 100  # addresses in a search
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
    list_name: Annotated[str, text("List", help=LIST_HELP, max_length=LONGEST_NAME)] = ""

    def check(self) -> None:
        if self.list_name and not self.field_id:
            return
        super().check()
        if not self.field_id.endswith("_T"):
            raise InvalidSetting("fieldId", "SendGrid has no yes-or-no fields: choose a text field, which ends with _T")


def plan(
    changes: Changes, about: PayloadComputation, settings: SendgridSettings, options: SendgridOptions, now: datetime
) -> list[DestinationRequest]:
    """One request for all; with a list one for each direction: people are taken out by ids that are asked for."""
    if list_id := about.remembered.get(LIST):
        return _memberships(changes, settings, list_id)
    contacts = []
    for change in changes:
        value = value_of(change, about)
        # A text field takes texts alone. Assumed: null empties a field.
        value = as_text(value) if value is not None and options.field_id.endswith("_T") else value
        fields = {**change.fields, options.field_id: value}
        contacts.append({"email": change.address.email, "custom_fields": fields})
    url, headers = f"{_api(settings)}/contacts", bearer_header(settings.api_key)
    content = {"contacts": contacts}
    return [json_request(url, content, id=batch_id(changes), rows=changes, headers=headers, method="PUT")]


def _api(settings: SendgridSettings) -> str:
    return f"{HOSTS[settings.region]}/v3/marketing"


def _memberships(changes: Changes, settings: SendgridSettings, list_id: str) -> list[DestinationRequest]:
    api, headers = _api(settings), bearer_header(settings.api_key)
    entering = [row for row in changes if row.entering]
    contacts = [
        {"email": row.address.email, **({"custom_fields": dict(row.fields)} if row.fields else {})} for row in entering
    ]
    # Whoever is not known is created by it.
    content = {"list_ids": [list_id], "contacts": contacts}
    requests = []
    if entering:
        url, id = f"{api}/contacts", batch_id(entering)
        requests.append(json_request(url, content, id=id, rows=entering, headers=headers, method="PUT"))
    # Looked up first, since there is no call that takes somebody out by the address.
    for rows in chunks([row for row in changes if not row.entering], LOOKED_UP):
        emails = {"emails": [row.address.email for row in rows]}
        look_up = json_request(f"{api}/contacts/search/emails", emails, id=batch_id(rows), rows=rows, headers=headers)
        requests.append(replace(look_up, then=partial(_taken_out, rows, f"{api}/lists/{list_id}/contacts", headers)))
    return requests


def _taken_out(rows: Changes, url: str, headers: dict[str, str], answer: Answer) -> list[DestinationRequest]:
    """Whoever is not known is in no list."""
    known = decoded(answer.body).get("result")
    if not isinstance(known, dict):
        raise ValueError(f"the answer has no result: {answer.text(200)}")
    ids = {email.lower(): entry["contact"]["id"] for email, entry in known.items() if "contact" in entry}
    leaving = [row for row in rows if email_of(row) in ids]
    if not leaving:
        return []
    query = urlencode({"contact_ids": ",".join(ids[email_of(row)] for row in leaving)})
    return [DestinationRequest(f"{batch_id(leaving)}-remove", leaving, "DELETE", f"{url}?{query}", headers)]


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """A search that finds nobody is answered with 404."""
    if answer.status == 404 and request.url.endswith("/search/emails"):
        return [DELIVERED] * len(request.rows)
    return read_by_status(request, answer)


def test(settings: SendgridSettings, now: datetime) -> DestinationRequest:
    """Asks for the fields that contacts have."""
    url = f"{_api(settings)}/field_definitions"
    return DestinationRequest(test_id(now), [], "GET", url, bearer_header(settings.api_key))


adapter = Adapter(
    kind="sendgrid",
    label="SendGrid",
    description="Sets a custom field of each contact by its e-mail address, for segments; or keeps a list.",
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
            DocumentedLimit.people(30000, "2026-11", 'twilio.com/docs/sendgrid, "Add or update a contact"'),
            DocumentedLimit.bytes(6000000, "2026-11", 'twilio.com/docs/sendgrid, "Add or update a contact"'),
            DocumentedLimit.requests(1.5, "2026-11", "not confirmed: that of its predecessor, 3 in 2 seconds"),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
    steps=list_steps(
        lambda settings, name: DestinationRequest(
            "", [], "GET", f"{_api(settings)}/lists?page_size=1000", bearer_header(settings.api_key)
        ),
        lambda answer, name: id_of_named(looked_up(answer, "result"), name),
        lambda settings, name: json_request(
            f"{_api(settings)}/lists", {"name": name}, id="", rows=[], headers=bearer_header(settings.api_key)
        ),
        lambda answer: decoded(answer.body).get("id"),
    ),
    unread="It tells of 50 contacts of a list at once, and of all of them only in a file, some minutes later",
)
