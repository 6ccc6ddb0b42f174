"""Amplitude: a property of the user, and an event."""

from datetime import datetime
from typing import Annotated, Any, Literal

from destinations.rules.contract import (
    Adapter,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    PayloadComputation,
    outcome_of,
    read_by_status,
    retry_after_s,
    test_id,
)
from destinations.rules.payloads import CallOptions, EventOptions, TraitOptions, batch_id
from destinations.rules.vendors import decoded, event_properties, json_request, refused_rows, set_and_unset
from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration, label, secret

HOSTS = {"US": "https://api2.amplitude.com", "EU": "https://api.eu.amplitude.com"}
THROTTLED_S = 30.0  # how long Amplitude wants to be left alone about a user of whom it hears too much


class AmplitudeSettings(SettingsDeclaration, frozen=True):
    api_key: Annotated[
        str, secret("API key", help="In Amplitude: Settings, Projects, your project. The secret key is not needed")
    ]
    region: Annotated[Literal["US", "EU"], label("Data center")] = "US"


def plan(
    changes: Changes, about: PayloadComputation, settings: AmplitudeSettings, options: CallOptions, now: datetime
) -> list[DestinationRequest]:
    """One event for each row, which brings the property along."""
    events = []
    for change in changes:
        address = change.address
        event: dict[str, Any] = {
            **({"user_id": address.user_id} if address.user_id else {"device_id": address.anonymous_id}),
            "event_type": options.event(change) if options.send_track else "$identify",
            "time": int(change.at.timestamp() * 1000),
            "insert_id": f"{change.id}-track",  # a repetition within a week is ignored
        }
        if options.send_track:
            event["event_properties"] = event_properties(change, about, options)
        if options.send_identify:
            unset = {about.key: "-"}  # any value will do
            event["user_properties"] = set_and_unset(change, about.key, options.value(change), unset=unset)
        events.append(event)
    return [_post(settings, events, id=batch_id(changes), rows=changes)]


def _post(settings: AmplitudeSettings, events: object, *, id: str, rows: Changes) -> DestinationRequest:
    # Without min_id_length, user IDs of less than five characters would be dropped.
    content = {"api_key": settings.api_key, "events": events, "options": {"min_id_length": 1}}
    return json_request(f"{HOSTS[settings.region]}/2/httpapi", content, id=id, rows=rows)


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """400 names events, and takes none of the request: the others go again without them. A wrong key is a 400 too."""
    content = decoded(answer.body)
    if answer.status == 400 and "api key" in str(content.get("error", "")).lower():
        return [CallOutcome("suspended", f"400 {answer.text()}")] * len(request.rows)
    # Throttled is a user or a device, and the whole request waits for it.
    if answer.status == 429 and retry_after_s(answer) is None:
        return [CallOutcome("retry", outcome_of(answer).reason, THROTTLED_S)] * len(request.rows)
    # As of {"events_with_invalid_fields": {"time": [3]}, "silenced_events": [5]}: numbers of events.
    reasons = {
        number: f"{name} {field}".strip()
        for name, by_field in content.items()
        if name.startswith("events_with_") or name == "silenced_events"
        for field, numbers in (by_field if isinstance(by_field, dict) else {"": by_field}).items()
        for number in (numbers if isinstance(numbers, list) else ())
        if isinstance(number, int)
    }
    if answer.status != 400 or not reasons:
        return read_by_status(request, answer)
    return refused_rows(request, reasons, otherwise=CallOutcome("retry", "Others in the same request were refused"))


def test(settings: AmplitudeSettings, now: datetime) -> DestinationRequest:
    """An identification, without properties, of a device that nobody has: it counts as no event."""
    id = test_id(now)
    event = {"device_id": "personas-connection-test", "event_type": "$identify", "insert_id": id}
    return _post(settings, [event], id=id, rows=[])


adapter = Adapter(
    kind="amplitude",
    label="Amplitude",
    description="Sets a property of each user, and sends events.",
    settings=AmplitudeSettings,
    options=EventOptions,
    trait_options=TraitOptions,
    # 10 requests of 100 are the 1,000 events a second of the free plan.
    capabilities=Capabilities(
        styles=("event",),
        batch=100,
        per_second=10,
        identifiers=("user_id", "anonymous_id"),
        largest_body=1000000,
        limits=(
            DocumentedLimit(2000, "events in a request", "2026-11", "amplitude.com/docs/apis/analytics/http-v2"),
            DocumentedLimit.bytes(1000000, "2026-11", "amplitude.com/docs/apis/analytics/http-v2"),
            DocumentedLimit(
                1000, "events a second, in the free plan", "2026-11", "amplitude.com/docs/apis/analytics/http-v2"
            ),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
)
