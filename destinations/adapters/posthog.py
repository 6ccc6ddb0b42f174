"""PostHog: a property of the person, and an event; in the cloud or on a server of one's own."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from destinations.rules.contract import (
    Adapter,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    PayloadComputation,
    test_id,
)
from destinations.rules.payloads import CallOptions, EventOptions, TraitOptions, batch_id
from destinations.rules.vendors import event_properties, json_request, set_and_unset, short_id
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text
from spaces.times import iso

HOSTS = {"US": "https://us.i.posthog.com", "EU": "https://eu.i.posthog.com"}


class PosthogSettings(SettingsDeclaration, frozen=True):
    project_key: Annotated[
        str, secret("Project API key", help="In PostHog: Settings, Project; begins with phc_. Not a personal key")
    ]
    region: Annotated[Literal["US", "EU", "own server"], label("Cloud region")] = "US"
    server: Annotated[
        str, text("Address of your own server", url=True, help="Only for that, such as https://posthog.example")
    ] = ""

    # Either a region or a server: of both, nobody could say which counts.
    def check(self) -> None:
        if self.region == "own server" and not self.server.startswith(("http://", "https://")):
            raise InvalidSetting("server", "Must begin with http:// or https://")
        if self.region != "own server" and self.server:
            raise InvalidSetting("server", "Leave it empty, or choose “Own server” as the region")


def plan(
    changes: Changes, about: PayloadComputation, settings: PosthogSettings, options: CallOptions, now: datetime
) -> list[DestinationRequest]:
    """One event for each row, which brings the property along."""
    batch = []
    for change in changes:
        properties: dict[str, Any] = {"$geoip_disable": True}  # the place would be our server's
        if options.send_track:
            properties |= event_properties(change, about, options)
        if options.send_identify:
            properties |= set_and_unset(change, about.key, options.value(change), unset=[about.key])
        batch.append(
            {
                "event": options.event(change) if options.send_track else "$set",
                "distinct_id": change.address.user_id or change.address.anonymous_id,
                "properties": properties,
                "timestamp": iso(change.at),
                "uuid": str(UUID(short_id(change.id))),  # a repetition with the same one, and the same time, is dropped
            }
        )
    return [_post(settings, batch, id=batch_id(changes), rows=changes)]


def _post(settings: PosthogSettings, batch: object, *, id: str, rows: Changes) -> DestinationRequest:
    host = HOSTS.get(settings.region, settings.server.rstrip("/"))
    return json_request(f"{host}/batch/", {"api_key": settings.project_key, "batch": batch}, id=id, rows=rows)


def test(settings: PosthogSettings, now: datetime) -> DestinationRequest:
    """An event that makes no person. PostHog takes any key that looks like one, so this proves the address alone."""
    event = {
        "event": "Personas connection test",
        "distinct_id": "personas-connection-test",
        "properties": {"$process_person_profile": False, "$geoip_disable": True},
        "timestamp": iso(now),
    }
    return _post(settings, [event], id=test_id(now), rows=[])


adapter = Adapter(
    kind="posthog",
    label="PostHog",
    description="Sets a property of each person, and sends events.",
    settings=PosthogSettings,
    options=EventOptions,
    trait_options=TraitOptions,
    # An answer is about all of them: what it drops later, it says nowhere.
    capabilities=Capabilities(
        styles=("event",),
        batch=500,
        concurrency=2,
        identifiers=("user_id", "anonymous_id"),
        largest_body=20000000,
        limits=(DocumentedLimit.bytes(20000000, "2026-11", "posthog.com/docs/api/capture"),),
    ),
    plan=plan,
    test=test,
)
