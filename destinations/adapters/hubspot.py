"""HubSpot: a property of the contact, by which lists and workflows choose."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from destinations.rules.contract import (
    DELIVERED,
    Adapter,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    MembersPage,
    MembersReading,
    PayloadComputation,
    read_by_status,
    test_id,
)
from destinations.rules.lists import LIST, LIST_HELP, LONGEST_NAME, list_steps
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import (
    PropertyOptions,
    as_text,
    bearer_header,
    decoded,
    email_of,
    entries_of,
    in_small_letters,
    json_request,
    looked_up,
    refused_rows,
    value_of,
)
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text

LISTS = "https://api.hubapi.com/crm/v3/lists"
CONTACT = "0-1"  # the type of object
CONTACTS = "https://api.hubapi.com/crm/v3/objects/contacts"
READ = 100  # contacts that are read at once: a batch, at most


class HubspotSettings(SettingsDeclaration, frozen=True):
    access_token: Annotated[
        str,
        secret(
            "Access token",
            help="In HubSpot: Development, Legacy apps, a private app with crm.objects.contacts.read and .write, and "
            "for lists crm.lists.read and .write",
        ),
    ]


class HubspotOptions(PropertyOptions, frozen=True):
    """The property must be there: a yes-or-no (single checkbox) one for an audience, one of its type for a trait."""

    def check(self) -> None:
        if self.property_name != self.property_name.lower() or " " in self.property_name:
            raise InvalidSetting("propertyName", "Give the internal name, which has neither capitals nor spaces")


class HubspotAudienceOptions(HubspotOptions, frozen=True):
    list_name: Annotated[str, text("Static list", help=LIST_HELP, max_length=LONGEST_NAME)] = ""


def plan(
    changes: Changes, about: PayloadComputation, settings: HubspotSettings, options: HubspotOptions, now: datetime
) -> list[DestinationRequest]:
    """One request for all. Contacts that are not there yet are created.

    Places in a list are by ids of HubSpot's own, which are asked for first.
    """
    if list_id := about.remembered.get(LIST):
        return [
            _look_up([row for row in changes if row.entering == entering], settings, list_id)
            for entering in (True, False)
            if any(row.entering == entering for row in changes)
        ]
    name = options.property_name or about.key
    inputs = [_contact(change, {name: value_of(change, about)}) for change in changes]
    url, headers = f"{CONTACTS}/batch/upsert", bearer_header(settings.access_token)
    return [json_request(url, {"inputs": inputs}, id=batch_id(changes), rows=changes, headers=headers)]


def _contact(change: IdentifierChange, more: Mapping[str, Any]) -> dict[str, Any]:
    """An input of an upsert. Values are texts, several with ; in between; the empty text takes one away."""
    properties = {field: as_text(content, between=";") for field, content in {**change.fields, **more}.items()}
    return {
        "idProperty": "email",
        "id": change.address.email,
        "properties": {**properties, "email": change.address.email},
        "objectWriteTraceId": change.id,  # by which an error names it
    }


def _look_up(rows: Changes, settings: HubspotSettings, list_id: str) -> DestinationRequest:
    """The ids of these contacts, and then their places in the list. Whoever leaves need not be there."""
    content: dict[str, Any]

    def placed(answer: Answer) -> list[DestinationRequest]:
        ids = {str(entry["properties"]["email"]).lower(): entry["id"] for entry in looked_up(answer, "results")}
        known = [row for row in rows if email_of(row) in ids]
        if not known:
            return []
        numbers = [ids[email_of(row)] for row in known]
        url = f"{LISTS}/{list_id}/memberships/{'add' if known[0].entering else 'remove'}"
        # Another id than that of the look-up, which is about the same people.
        id, headers = f"{batch_id(known)}-list", bearer_header(settings.access_token)
        return [json_request(url, numbers, id=id, rows=known, headers=headers, method="PUT")]

    if rows[0].entering:
        url, content = f"{CONTACTS}/batch/upsert", {"inputs": [_contact(row, {}) for row in rows]}
    else:
        inputs = [{"id": row.address.email} for row in rows]
        url, content = f"{CONTACTS}/batch/read", {"idProperty": "email", "properties": ["email"], "inputs": inputs}
    request = json_request(url, content, id=batch_id(rows), rows=rows, headers=bearer_header(settings.access_token))
    return replace(request, then=placed)


def _members(
    about: PayloadComputation, settings: HubspotSettings, options: HubspotAudienceOptions, following: str
) -> DestinationRequest | None:
    """Of a list the ids, and then the addresses of these. Who has a property a search tells only of 10,000 people.

    developers.hubspot.com, "Lists" (memberships) and "Contacts" (batch/read), November 2026.
    """
    if not about.remembered.get(LIST):
        return None
    after, *ids = following.split(" ")
    headers = bearer_header(settings.access_token)
    if ids:
        content = {"properties": ["email"], "inputs": [{"id": id} for id in ids]}
        # The id says which page of the list comes next: the answer is about contacts, and knows of no list.
        return json_request(f"{CONTACTS}/batch/read", content, id=after, rows=[], headers=headers)
    url = f"{LISTS}/{about.remembered[LIST]}/memberships?limit={READ}{f'&after={quote(after)}' if after else ''}"
    return DestinationRequest("members", [], "GET", url, headers)


def _members_page(request: DestinationRequest, answer: Answer) -> MembersPage:
    results = looked_up(answer, "results")
    if request.url.endswith("/batch/read"):
        # A contact may have lost its address, which is all that we know of it.
        emails = [entry["properties"].get("email") for entry in results]
        return MembersPage([email.lower() for email in emails if email], request.id)
    following = (decoded(answer.body).get("paging") or {}).get("next") or {}
    after = str(following.get("after") or "")
    return MembersPage([], " ".join([after, *(str(entry["recordId"]) for entry in results)]))


def _find(settings: HubspotSettings, name: str) -> DestinationRequest:
    url = f"{LISTS}/object-type-id/{CONTACT}/name/{quote(name, safe='')}"
    return DestinationRequest("", [], "GET", url, bearer_header(settings.access_token))


def _create(settings: HubspotSettings, name: str) -> DestinationRequest:
    content = {"name": name, "objectTypeId": CONTACT, "processingType": "MANUAL"}
    return json_request(LISTS, content, id="", rows=[], headers=bearer_header(settings.access_token))


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """207 names the contacts that were refused by what we called them; all others are written."""
    # Nobody can be written until the property exists. Assumed: the name of this error; else all would be refused.
    if answer.status == 400 and b"PROPERTY_DOESNT_EXIST" in answer.body:
        return [CallOutcome("suspended", answer.text())] * len(request.rows)
    if answer.status != 207 and not (request.then and answer.ok):
        return read_by_status(request, answer)
    refused: dict[str, str] = {}
    for error in entries_of(answer, "errors"):
        context = error.get("context")
        ids = context.get("objectWriteTraceId") if isinstance(context, dict) else None
        refused |= dict.fromkeys(map(str, ids if isinstance(ids, list) else ()), str(error.get("message")))
    # Whoever enters a list, and is neither refused nor named with an id, is not there yet.
    is_lost = request.then and request.url.endswith("/upsert")
    otherwise = CallOutcome("retry", "HubSpot did not say which contact this is") if is_lost else DELIVERED
    # By the ids that we gave: addresses in the answer may be written otherwise.
    reasons = {n: refused[row.id] for n, row in enumerate(request.rows) if row.id in refused}
    return refused_rows(request, reasons, otherwise=otherwise)


def test(settings: HubspotSettings, now: datetime) -> DestinationRequest:
    """Asks for one contact."""
    return DestinationRequest(test_id(now), [], "GET", f"{CONTACTS}?limit=1", bearer_header(settings.access_token))


adapter = Adapter(
    kind="hubspot",
    label="HubSpot",
    description="Sets a property of each contact by its e-mail address, which must exist; or keeps static lists.",
    settings=HubspotSettings,
    options=HubspotAudienceOptions,
    trait_options=HubspotOptions,
    # Half of the rate is left to others. A property that does not exist is a 400.
    capabilities=Capabilities(
        styles=("event",),
        batch=100,
        per_second=5,
        identifiers=("email",),
        limits=(
            DocumentedLimit.people(100, "2026-11", 'developers.hubspot.com, "Batch upsert"'),
            DocumentedLimit.requests(10, "2026-11", 'developers.hubspot.com, "Usage guidelines", the smallest plan'),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
    steps=list_steps(
        _find,
        lambda answer, name: decoded(answer.body)["list"]["listId"],
        _create,
        lambda answer: decoded(answer.body)["list"]["listId"],
    ),
    members=MembersReading(_members, _members_page, in_small_letters, "e-mail address"),
)
