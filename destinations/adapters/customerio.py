"""Customer.io: an attribute of the person, and an event that starts campaigns, by the Track API v2."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from destinations.rules.contract import (
    BYTES,
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
from destinations.rules.payloads import EventOptions, TraitOptions, batch_id
from destinations.rules.vendors import (
    EMAIL_HELP,
    basic,
    by_number,
    decoded,
    email_to_set,
    entries_of,
    event_properties,
    json_request,
    refused_rows,
)
from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration, label, secret, text

HOSTS = {"US": "https://track.customer.io", "EU": "https://track-eu.customer.io"}


class CustomerioSettings(SettingsDeclaration, frozen=True):
    site_id: Annotated[str, text("Site ID", help="In Customer.io: Settings, API credentials, Track API keys")]
    api_key: Annotated[str, secret("Track API key", help="Beside the site ID")]
    region: Annotated[Literal["US", "EU"], label("Region", help="Where the workspace is: Settings, Privacy")] = "US"
    send_email: Annotated[bool, label("Send e-mail addresses", help=EMAIL_HELP)] = True


def plan(
    changes: Sequence[IdentifierChange],
    about: PayloadComputation,
    settings: CustomerioSettings,
    options: EventOptions | TraitOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One request for all; the attribute of a person comes before the event."""
    batch = [entry for change in changes for entry in _entries(change, about, settings, options)]
    url = f"{HOSTS[settings.region]}/api/v2/batch"
    headers = basic(settings.site_id, settings.api_key)
    return [json_request(url, {"batch": batch}, id=batch_id(changes), rows=changes, headers=headers)]


def _entries(
    change: IdentifierChange,
    about: PayloadComputation,
    settings: CustomerioSettings,
    options: EventOptions | TraitOptions,
) -> list[dict[str, Any]]:
    address = change.address
    person = {
        "type": "person",
        "identifiers": {"id": address.user_id} if address.user_id else {"email": address.email},
    }
    email = email_to_set(change, wanted=settings.send_email)
    # Assumed: null takes an attribute away. The reference of this API does not say how one is removed.
    attributes = {**change.fields, about.key: options.value(change), **email}
    identify = {**person, "action": "identify", "attributes": attributes}
    track = {
        **person,
        "action": "event",
        "name": options.event(change),
        "timestamp": int(change.at.timestamp()),
        "attributes": event_properties(change, about, options),
    }
    return ([identify] if options.send_identify else []) + ([track] if options.send_track else [])


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """207 names the entries that were refused; all others are taken."""
    if answer.status != 207:
        return read_by_status(request, answer)
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
    return DestinationRequest(id=f"test-{int(now.timestamp() * 1000)}", rows=[], method="GET", url=url, headers=headers)


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
            DocumentedLimit(500000, BYTES, "2026-11", "docs.customer.io, Track API"),
            DocumentedLimit(100, REQUESTS, "2026-11", "docs.customer.io, Track API, fair use"),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
)
