"""Amplitude: a property of the user, and an event."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from destinations.rules.contract import (
    BYTES,
    Adapter,
    CallOutcome,
    Capabilities,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    PayloadComputation,
    outcome_of,
    read_by_status,
    retry_after_s,
)
from destinations.rules.payloads import EventOptions, TraitOptions, batch_id
from destinations.rules.vendors import decoded, event_properties, json_request, refused_rows
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
    changes: Sequence[IdentifierChange],
    about: PayloadComputation,
    settings: AmplitudeSettings,
    options: EventOptions | TraitOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One event for each row, which brings the property along."""
    events = [_event(change, about, options) for change in changes]
    return [_post(settings, events, id=batch_id(changes), rows=changes)]


def _event(change: IdentifierChange, about: PayloadComputation, options: EventOptions | TraitOptions) -> dict[str, Any]:
    address, value = change.address, options.value(change)
    who = {"user_id": address.user_id} if address.user_id else {"device_id": address.anonymous_id}
    event: dict[str, Any] = {
        **who,
        "event_type": options.event(change) if options.send_track else "$identify",
        "time": int(change.at.timestamp() * 1000),
        "insert_id": f"{change.id}-track",  # a repetition within a week is ignored
    }
    if options.send_track:
        event["event_properties"] = event_properties(change, about, options)
    if options.send_identify:
        operation: dict[str, Any] = {"$unset": {about.key: "-"}} if value is None else {"$set": {about.key: value}}
        operation |= {"$set": {**change.fields, **operation.get("$set", {})}} if change.fields else {}
        event["user_properties"] = operation
    return event


def _post(
    settings: AmplitudeSettings, events: object, *, id: str, rows: Sequence[IdentifierChange]
) -> DestinationRequest:
    # Without min_id_length, user IDs of less than five characters would be dropped.
    content = {"api_key": settings.api_key, "events": events, "options": {"min_id_length": 1}}
    return json_request(f"{HOSTS[settings.region]}/2/httpapi", content, id=id, rows=rows)


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """400 names events, and takes none of the request: the others go again without them. A wrong key is a 400 too."""
    content = decoded(answer.body)
    if answer.status == 400 and "api key" in str(content.get("error", "")).lower():
        return [CallOutcome("suspended", f"400 {answer.text()}")] * len(request.rows)
    if answer.status == 429 and retry_after_s(answer) is None:
        return [CallOutcome("retry", outcome_of(answer).reason, THROTTLED_S)] * len(request.rows)
    reasons = dict(_refused(content))
    if answer.status != 400 or not reasons:
        return read_by_status(request, answer)
    return refused_rows(request, reasons, otherwise=CallOutcome("retry", "Others in the same request were refused"))


def _refused(content: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """(number of the event, reason), as of {"events_with_invalid_fields": {"time": [3]}, "silenced_events": [5]}."""
    for name, by_field in content.items():
        if not name.startswith("events_with_") and name != "silenced_events":
            continue
        fields = by_field if isinstance(by_field, dict) else {"": by_field}
        for field, numbers in fields.items():
            listed = numbers if isinstance(numbers, list) else []
            yield from ((number, f"{name} {field}".strip()) for number in listed if isinstance(number, int))


def test(settings: AmplitudeSettings, now: datetime) -> DestinationRequest:
    """An identification, without properties, of a device that nobody has: it counts as no event."""
    id = f"test-{int(now.timestamp() * 1000)}"
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
            DocumentedLimit(1000000, BYTES, "2026-11", "amplitude.com/docs/apis/analytics/http-v2"),
            DocumentedLimit(
                1000, "events a second, in the free plan", "2026-11", "amplitude.com/docs/apis/analytics/http-v2"
            ),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
)
