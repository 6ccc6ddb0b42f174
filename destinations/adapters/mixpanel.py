"""Mixpanel: a property of the user's profile, and an event."""

from datetime import datetime
from typing import Annotated, Literal

from destinations.rules.contract import (
    Adapter,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    PayloadComputation,
    read_by_status,
    test_id,
)
from destinations.rules.payloads import CallOptions, EventOptions, TraitOptions, batch_id
from destinations.rules.vendors import (
    basic,
    by_number,
    decoded,
    entries_of,
    event_properties,
    json_request,
    refused_rows,
    set_and_unset,
    short_id,
)
from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration, label, secret

HOSTS = {
    "US": "https://api.mixpanel.com",
    "EU": "https://api-eu.mixpanel.com",
    "India": "https://api-in.mixpanel.com",
}


class MixpanelSettings(SettingsDeclaration, frozen=True):
    project_token: Annotated[
        str, secret("Project token", help="In Mixpanel: Settings, Project settings, Overview, Access keys")
    ]
    region: Annotated[Literal["US", "EU", "India"], label("Data residency")] = "US"


def plan(
    changes: Changes, about: PayloadComputation, settings: MixpanelSettings, options: CallOptions, now: datetime
) -> list[DestinationRequest]:
    """The profiles of all, then their events."""
    # Two endpoints, and so two requests about the same people: a row is delivered when both took it.
    id, host, requests = batch_id(changes), HOSTS[settings.region], []
    if options.send_identify:
        # ip=0: else our server's place would become the person's. verbose=1: else the answer is 0 or 1.
        profiles = [
            {
                "$token": settings.project_token,
                "$distinct_id": _distinct_id(change),
                **set_and_unset(change, about.key, options.value(change), unset=[about.key]),
            }
            for change in changes
        ]
        url = f"{host}/engage?ip=0&verbose=1"
        requests.append(json_request(url, profiles, id=f"{id}-identify", rows=changes))
    if options.send_track:
        events = [
            {
                "event": options.event(change),
                "properties": {
                    "time": int(change.at.timestamp() * 1000),
                    "distinct_id": _distinct_id(change),
                    "$insert_id": short_id(f"{change.id}-track"),  # no longer ids are taken
                    **event_properties(change, about, options),
                },
            }
            for change in changes
        ]
        url, headers = f"{host}/import?strict=1", basic(settings.project_token)
        requests.append(json_request(url, events, id=f"{id}-track", rows=changes, headers=headers))
    return requests


def _distinct_id(change: IdentifierChange) -> str | None:
    # Assumed: their SDK is given our anonymous id. Its own begins with "$device:" in projects with simplified merge.
    return change.address.user_id or change.address.anonymous_id


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """Of /import, 400 names the events that were refused; all others are taken. /engage says 200 and status 0 when it
    refuses all."""
    failed = entries_of(answer, "failed_records")
    if answer.status == 400 and failed:
        reasons = {number: str(record.get("message")) for number, record in by_number(failed, "index").items()}
        return refused_rows(request, reasons)
    # The token alone is wrong for everybody; any other fault is in a profile.
    content = decoded(answer.body)
    if answer.ok and content.get("status") == 0:
        at_fault = "token" in str(content.get("error"))
        return [CallOutcome("suspended" if at_fault else "refused", answer.text())] * len(request.rows)
    return read_by_status(request, answer)


def test(settings: MixpanelSettings, now: datetime) -> DestinationRequest:
    """Asks whether there is a project with this token. Assumed of all regions: it is asked at the same place."""
    url = "https://mixpanel.com/api/app/validate-project-credentials/"
    id = test_id(now)
    return json_request(url, {"project_token": settings.project_token}, id=id, rows=[])


adapter = Adapter(
    kind="mixpanel",
    label="Mixpanel",
    description="Sets a property of each user's profile, and sends events.",
    settings=MixpanelSettings,
    options=EventOptions,
    trait_options=TraitOptions,
    # People are known there by one id: an e-mail address alone is none.
    capabilities=Capabilities(
        styles=("event",),
        batch=500,
        per_second=20,
        identifiers=("user_id", "anonymous_id"),
        largest_body=10000000,
        limits=(
            DocumentedLimit.people(2000, "2026-11", 'docs.mixpanel.com, "Import events" and "Limits"'),
            DocumentedLimit.bytes(10000000, "2026-11", 'docs.mixpanel.com, "Import events" and "Limits"'),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
)
