"""Identify and track calls to any receiver of Segment's Tracking API, such as Segment, RudderStack and Jitsu.

Another Personas keeps them out of its spaces: they say that they come from one.
"""

from datetime import datetime
from typing import Annotated, Literal

from destinations.rules.contract import (
    Adapter,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    PayloadComputation,
    test_id,
)
from destinations.rules.payloads import CallOptions, EventOptions, TraitOptions, batch_id, messages
from destinations.rules.vendors import basic, json_request
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text
from spaces.times import iso

HOSTS = {"Segment US": "https://api.segment.io", "Segment EU": "https://events.eu1.segmentapis.com"}
OTHER = "other"


class SegmentHttpSettings(SettingsDeclaration, frozen=True):
    write_key: Annotated[str, secret("Write key", help="In Segment: Sources, your HTTP API source, Settings, API keys")]
    receiver: Annotated[Literal["Segment US", "Segment EU", "other"], label("Receiver")] = "Segment US"
    server: Annotated[str, text("Address of another receiver", url=True, help="Without the path /v1/batch")] = ""

    # Either a receiver that is known or an address: of both, nobody could say which counts.
    def check(self) -> None:
        if self.receiver == OTHER and not self.server.startswith(("http://", "https://")):
            raise InvalidSetting("server", "Must begin with http:// or https://")
        if self.receiver != OTHER and self.server:
            raise InvalidSetting("server", "Leave it empty, or choose “Other” as the receiver")


def plan(
    changes: Changes, about: PayloadComputation, settings: SegmentHttpSettings, options: CallOptions, now: datetime
) -> list[DestinationRequest]:
    """The calls of all in one batch, for every destination that the receiver has."""
    calls = [call for change in changes for call in messages(change, about, options, "")]
    for call in calls:
        if about.of == "accounts":  # nobody did it, and without an id of somebody it would be dropped
            call["anonymousId"] = call.get("groupId") or call["context"]["groupId"]
        del call["integrations"]  # it would keep the receiver from forwarding anything
    return [_post(settings, {"batch": calls, "sentAt": iso(now)}, id=batch_id(changes), rows=changes)]


def test(settings: SegmentHttpSettings, now: datetime) -> DestinationRequest:
    """An empty batch. Segment itself takes any write key without a word, so this proves the address alone."""
    return _post(settings, {"batch": [], "sentAt": iso(now)}, id=test_id(now), rows=[])


def _post(settings: SegmentHttpSettings, content: object, *, id: str, rows: Changes) -> DestinationRequest:
    # Of another receiver the address that was given.
    host = HOSTS.get(settings.receiver, settings.server.rstrip("/"))
    return json_request(f"{host}/v1/batch", content, id=id, rows=rows, headers=basic(settings.write_key))


adapter = Adapter(
    kind="segment_http",
    label="Segment Tracking API",
    description="Sends identify and track calls to Segment, or to anything that takes them as Segment does.",
    settings=SegmentHttpSettings,
    options=EventOptions,
    trait_options=TraitOptions,
    # A call needs a userId or an anonymousId; one without is dropped after it was answered with 200.
    capabilities=Capabilities(
        styles=("event",),
        batch=100,
        per_second=5,
        identifiers=("user_id", "anonymous_id"),
        accounts=True,
        largest_body=500000,
        limits=(
            DocumentedLimit.bytes(500000, "2026-11", 'segment.com/docs, "HTTP Tracking API"'),
            DocumentedLimit(1000, "calls a second", "2026-11", 'segment.com/docs, "HTTP Tracking API"'),
        ),
    ),
    plan=plan,
    test=test,
)
