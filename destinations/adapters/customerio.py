"""Customer.io: an attribute of the person, and an event that starts campaigns, by the Track API v2."""

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from destinations.rules.contract import (
    Adapter,
    Address,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    MembersPage,
    MembersReading,
    PayloadComputation,
    read_by_status,
    test_id,
)
from destinations.rules.payloads import CallOptions, EventOptions, TraitOptions, batch_id, deletion_id
from destinations.rules.vendors import (
    EMAIL_HELP,
    basic,
    bearer_header,
    by_number,
    decoded,
    email_to_set,
    entries_of,
    event_properties,
    json_request,
    looked_up,
    named_by,
    refused_rows,
    user_id_or_email,
)
from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration, label, secret, text

HOSTS = {"US": "https://track.customer.io", "EU": "https://track-eu.customer.io"}
APP_HOSTS = {"US": "https://api.customer.io", "EU": "https://api-eu.customer.io"}
READ = 1000  # people in an answer of the App API, at most
APP_KEY_HELP = (
    "Only to check what exists: Settings, Account settings, API credentials, App API keys. Empty: it is not asked"
)


class CustomerioSettings(SettingsDeclaration, frozen=True):
    site_id: Annotated[str, text("Site ID", help="In Customer.io: Settings, API credentials, Track API keys")]
    api_key: Annotated[str, secret("Track API key", help="Beside the site ID")]
    region: Annotated[Literal["US", "EU"], label("Region", help="Where the workspace is: Settings, Privacy")] = "US"
    send_email: Annotated[bool, label("Send e-mail addresses", help=EMAIL_HELP)] = True
    app_api_key: Annotated[str, secret("App API key", help=APP_KEY_HELP)] = ""


def plan(
    changes: Changes, about: PayloadComputation, settings: CustomerioSettings, options: CallOptions, now: datetime
) -> list[DestinationRequest]:
    """One request for all; the attribute of a person comes before the event."""
    batch: list[dict[str, Any]] = []
    for change in changes:
        address = change.address
        identifiers = {"id": address.user_id} if address.user_id else {"email": address.email}
        person = {"type": "person", "identifiers": identifiers}
        if options.send_identify:
            email = email_to_set(change, wanted=settings.send_email)
            # Assumed: null takes an attribute away. The reference of this API does not say how one is removed.
            attributes = {**change.fields, about.key: options.value(change), **email}
            batch.append({**person, "action": "identify", "attributes": attributes})
        if options.send_track:
            event = {"name": options.event(change), "timestamp": int(change.at.timestamp())}
            attributes = event_properties(change, about, options)
            batch.append({**person, "action": "event", **event, "attributes": attributes})
    url, headers = f"{HOSTS[settings.region]}/api/v2/batch", basic(settings.site_id, settings.api_key)
    return [json_request(url, {"batch": batch}, id=batch_id(changes), rows=changes, headers=headers)]


def _members(
    about: PayloadComputation, settings: CustomerioSettings, options: CallOptions, following: str
) -> DestinationRequest | None:
    """Whose attribute is true. docs.customer.io, App API, "Search for customers", November 2026.

    Assumed: attributes are compared as texts, so that true is "true".
    """
    if about.kind == "trait" or not (settings.app_api_key and options.send_identify):
        return None
    query = {"limit": READ, **({"start": following} if following else {})}
    condition = {"attribute": {"field": about.key, "operator": "eq", "value": "true"}}
    url, headers = f"{APP_HOSTS[settings.region]}/v1/customers?{urlencode(query)}", bearer_header(settings.app_api_key)
    return json_request(url, {"filter": {"and": [condition]}}, id="members", rows=[], headers=headers)


def _members_page(request: DestinationRequest, answer: Answer) -> MembersPage:
    names = named_by(looked_up(answer, "identifiers"), "id")
    return MembersPage(names, str(decoded(answer.body).get("next") or ""))


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """207 names the entries that were refused; all others are taken."""
    if answer.status != 207:
        return read_by_status(request, answer)
    # Each row has one entry, or one of each kind.
    entries_per_row = len(decoded(request.body)["batch"]) // len(request.rows)
    reasons = {
        number // entries_per_row: " ".join(
            str(error[part]) for part in ("field", "reason", "message") if part in error
        )
        for number, error in by_number(entries_of(answer, "errors"), "batch_index").items()
    }
    return refused_rows(request, reasons)


def test(settings: CustomerioSettings, now: datetime) -> DestinationRequest:
    """Asks in which region the workspace is."""
    headers = basic(settings.site_id, settings.api_key)
    url = f"{HOSTS[settings.region]}/api/v1/accounts/region"
    return DestinationRequest(test_id(now), [], "GET", url, headers)


def delete(address: Address, settings: CustomerioSettings, now: datetime) -> DestinationRequest:
    """Everything there is about the person goes; a later call about the same id would make them anew."""
    who = quote(address.user_id or address.email or "", safe="")
    url = f"{HOSTS[settings.region]}/api/v1/customers/{who}"
    headers = basic(settings.site_id, settings.api_key)
    return DestinationRequest(id=deletion_id(address), rows=[], method="DELETE", url=url, headers=headers)


adapter = Adapter(
    kind="customerio",
    label="Customer.io",
    description="Sets an attribute of each person, and sends events that start campaigns.",
    settings=CustomerioSettings,
    options=EventOptions,
    trait_options=TraitOptions,
    # Anonymous ids can only have events there, no attributes.
    capabilities=Capabilities(
        styles=("event",),
        batch=250,
        per_second=100,
        identifiers=("user_id", "email"),
        largest_body=500000,
        limits=(
            DocumentedLimit.bytes(500000, "2026-11", "docs.customer.io, Track API"),
            DocumentedLimit.requests(100, "2026-11", "docs.customer.io, Track API, fair use"),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
    delete=delete,
    members=MembersReading(
        _members,
        _members_page,
        user_id_or_email,
        "user ID or e-mail address",
        wants="It needs an App API key in the settings, and an audience whose attribute is sent",
    ),
)
