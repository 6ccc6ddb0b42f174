"""HubSpot: a property of the contact, by which lists and workflows choose."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from destinations.rules.contract import (
    PEOPLE,
    REQUESTS,
    Adapter,
    CallOutcome,
    Capabilities,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    PayloadComputation,
    read_by_status,
)
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import PropertyOptions, as_text, entries_of, json_request, refused_rows, value_of
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret

CONTACTS = "https://api.hubapi.com/crm/v3/objects/contacts"


class HubspotSettings(SettingsDeclaration, frozen=True):
    access_token: Annotated[
        str,
        secret(
            "Access token",
            help="In HubSpot: Development, Legacy apps, a private app with crm.objects.contacts.read and .write",
        ),
    ]


class HubspotOptions(PropertyOptions, frozen=True):
    """The property must be there: a yes-or-no (single checkbox) one for an audience, one of its type for a trait."""

    def check(self) -> None:
        if self.property_name != self.property_name.lower() or " " in self.property_name:
            raise InvalidSetting("propertyName", "Give the internal name, which has neither capitals nor spaces")


def plan(
    changes: Sequence[IdentifierChange],
    about: PayloadComputation,
    settings: HubspotSettings,
    options: HubspotOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One request for all. Contacts that are not there yet are created."""
    name = options.property_name or about.key
    inputs = [
        {
            "idProperty": "email",
            "id": change.address.email,
            # As HubSpot writes values: texts, several with ; in between; the empty text takes one away.
            "properties": {"email": change.address.email, name: as_text(value_of(change, about), between=";")},
            "objectWriteTraceId": change.id,  # by which an error names it
        }
        for change in changes
    ]
    url, content = f"{CONTACTS}/batch/upsert", {"inputs": inputs}
    return [json_request(url, content, id=batch_id(changes), rows=changes, headers=_headers(settings))]


def _headers(settings: HubspotSettings) -> dict[str, str]:
    return {"authorization": f"Bearer {settings.access_token}"}


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """207 names the contacts that were refused by what we called them; all others are written."""
    # Nobody can be written until the property exists. Assumed: the name of this error; else all would be refused.
    if answer.status == 400 and b"PROPERTY_DOESNT_EXIST" in answer.body:
        return [CallOutcome("suspended", answer.text())] * len(request.rows)
    if answer.status != 207:
        return read_by_status(request, answer)
    refused = {
        id: str(error.get("message"))
        for error in entries_of(answer, "errors")
        for id in _trace_ids(error.get("context"))
    }
    return refused_rows(request, {n: refused[row.id] for n, row in enumerate(request.rows) if row.id in refused})


def _trace_ids(context: Any) -> list[str]:
    ids = context.get("objectWriteTraceId") if isinstance(context, dict) else None
    return [str(id) for id in ids] if isinstance(ids, list) else []


def test(settings: HubspotSettings, now: datetime) -> DestinationRequest:
    """Asks for one contact."""
    id = f"test-{int(now.timestamp() * 1000)}"
    return DestinationRequest(id=id, rows=[], method="GET", url=f"{CONTACTS}?limit=1", headers=_headers(settings))


adapter = Adapter(
    kind="hubspot",
    label="HubSpot",
    description="Sets a property of each contact by its e-mail address, for lists and workflows. It must exist there.",
    settings=HubspotSettings,
    options=HubspotOptions,
    trait_options=HubspotOptions,
    # Half of the rate is left to others. A property that does not exist is a 400.
    capabilities=Capabilities(
        styles=("event",),
        batch=100,
        per_second=5,
        identifiers=("email",),
        limits=(
            DocumentedLimit(100, PEOPLE, "2026-11", 'developers.hubspot.com, "Batch upsert"'),
            DocumentedLimit(10, REQUESTS, "2026-11", 'developers.hubspot.com, "Usage guidelines", the smallest plan'),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
)
