"""Braze: a custom attribute of the user, and a custom event that starts campaigns."""

from datetime import datetime
from typing import Annotated, Any, Literal

from destinations.rules.contract import (
    Adapter,
    Address,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    PayloadComputation,
    outcome_of,
    read_by_status,
    test_id,
)
from destinations.rules.payloads import CallOptions, EventOptions, TraitOptions, batch_id, deletion_id
from destinations.rules.vendors import (
    EMAIL_HELP,
    bearer_header,
    by_number,
    email_to_set,
    entries_of,
    event_properties,
    json_request,
    refused_rows,
)
from spaces.answers import Answer
from spaces.chunks import chunks
from spaces.settings_schema import SettingsDeclaration, label, secret
from spaces.times import iso

HOSTS = {  # braze.com/docs/api/basics, in November 2026
    **{f"US-0{number}": f"rest.iad-0{number}.braze.com" for number in range(1, 9)},
    **{f"EU-0{number}": f"rest.fra-0{number}.braze.eu" for number in (1, 2)},
    **{name: f"rest.{name.lower()}.braze.com" for name in ("US-09", "US-10", "AU-01", "ID-01", "JP-01")},
}
Instance = Literal[
    "US-01", "US-02", "US-03", "US-04", "US-05", "US-06", "US-07", "US-08", "US-09", "US-10",
    "EU-01", "EU-02", "AU-01", "ID-01", "JP-01",
]  # fmt: skip
MOST_OBJECTS = 75  # in a request, attributes and events together


class BrazeSettings(SettingsDeclaration, frozen=True):
    api_key: Annotated[
        str, secret("REST API key", help="In Braze: Settings, APIs and identifiers; with the permission users.track")
    ]
    instance: Annotated[Instance, label("Instance", help="As in the address of your dashboard: dashboard-01 is US-01")]
    send_email: Annotated[bool, label("Send e-mail addresses", help=EMAIL_HELP)] = True


def plan(
    changes: Changes, about: PayloadComputation, settings: BrazeSettings, options: CallOptions, now: datetime
) -> list[DestinationRequest]:
    """Attributes and events together, as many people in a request as it has room for."""
    requests = []
    for rows in chunks(changes, MOST_OBJECTS // (options.send_identify + options.send_track)):
        content: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            user = {"external_id": row.address.user_id} if row.address.user_id else {"email": row.address.email}
            if options.send_identify:
                email = email_to_set(row, wanted=settings.send_email)
                attributes = {**user, **email, **row.fields, about.key: options.value(row)}  # null takes one away
                content.setdefault("attributes", []).append(attributes)
            if options.send_track:
                properties = event_properties(row, about, options)
                event = {**user, "name": options.event(row), "time": iso(row.at), "properties": properties}
                content.setdefault("events", []).append(event)
        requests.append(_post(settings, content, id=batch_id(rows), rows=rows))
    return requests


def _post(settings: BrazeSettings, content: object, *, id: str, rows: Changes) -> DestinationRequest:
    url = f"https://{HOSTS[settings.instance]}/users/track"
    return json_request(url, content, id=id, rows=rows, headers=bearer_header(settings.api_key))


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """201 names the objects that were refused, by array and index; all others are taken. One row has one in each."""
    if answer.status == 429 and (seconds := answer.headers.get("x-ratelimit-retry-after", "")).isdecimal():
        return [CallOutcome("retry", outcome_of(answer).reason, float(seconds))] * len(request.rows)
    errors = by_number(entries_of(answer, "errors"), "index")
    if not answer.ok or not errors:
        return read_by_status(request, answer)
    reasons = {number: f"{error.get('input_array')}: {error.get('type')}" for number, error in errors.items()}
    return refused_rows(request, reasons)


def test(settings: BrazeSettings, now: datetime) -> DestinationRequest:
    """An update, of nothing, of a user whom nobody has: the key has no permission that could only read."""
    user = {"external_id": "personas-connection-test", "_update_existing_only": True, "first_name": None}
    return _post(settings, {"attributes": [user]}, id=test_id(now), rows=[])


def delete(address: Address, settings: BrazeSettings, now: datetime) -> DestinationRequest:
    """By the external id; who has none goes by the address. The key needs the permission users.delete."""
    who = {"external_ids": [address.user_id]} if address.user_id else {"email_addresses": [address.email]}
    url = f"https://{HOSTS[settings.instance]}/users/delete"
    headers = {"authorization": f"Bearer {settings.api_key}"}
    return json_request(url, who, id=deletion_id(address), rows=[], headers=headers)


adapter = Adapter(
    kind="braze",
    label="Braze",
    description="Sets a custom attribute of each user, and sends custom events that start campaigns.",
    settings=BrazeSettings,
    options=EventOptions,
    trait_options=TraitOptions,
    # Less with plans by active users, where X-Ratelimit-Retry-After says when to go on. A tenth leaves room for others.
    capabilities=Capabilities(
        styles=("event",),
        batch=500,
        per_second=100,
        concurrency=4,
        identifiers=("user_id", "email"),
        limits=(
            DocumentedLimit(75, "objects in a request", "2026-11", "braze.com/docs/api/api_limits"),
            DocumentedLimit.requests(1000, "2026-11", "braze.com/docs/api/api_limits"),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
    delete=delete,
    unread="It tells only who is in a segment, in files, some minutes later",
)
