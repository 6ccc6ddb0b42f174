"""The webhook catcher: keeps what a webhook would have received, inside this installation.

An adapter of its own with a transport of its own, so that trying things out needs no hole in the door out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from destinations.adapters.webhook import chunks
from destinations.rules.contract import Adapter, Audience, Capabilities, Change, Request, json_body
from destinations.rules.payloads import EventOptions, batch_id, change_set, iso, messages
from destinations.rules.settings_schema import field

LABEL = "Webhook Catcher"
BATCH = 250


@dataclass(frozen=True)
class Settings:
    style: str = field(
        "Send people as",
        default="event",
        choices=("event", "list"),
        help="event: identify and track calls. list: who was added and removed",
    )


def plan(
    changes: Sequence[Change], audience: Audience, settings: Settings, options: EventOptions, now: datetime
) -> list[Request]:
    """Arrays of calls, or one change set per batch, exactly as a webhook gets them."""
    return [_request(rows, _content(rows, audience, settings, options)) for rows in chunks(changes, BATCH)]


def test(settings: Settings, now: datetime) -> Request:
    """A call that no receiver takes for a person."""
    id = f"test-{int(now.timestamp() * 1000)}"
    body = json_body([{"type": "test", "messageId": id, "timestamp": iso(now)}])
    return Request(id=id, rows=[], headers={"content-type": "application/json"}, body=body)


def _content(rows: Sequence[Change], audience: Audience, settings: Settings, options: EventOptions) -> list[object]:
    if settings.style == "list":
        return [change_set(rows, audience)]
    return [message for row in rows for message in messages(row, audience, options, LABEL)]


def _request(rows: Sequence[Change], content: list[object]) -> Request:
    headers = {"content-type": "application/json", "webhook-id": batch_id(rows)}
    return Request(id=batch_id(rows), rows=rows, headers=headers, body=json_body(content))


adapter = Adapter(
    kind="catcher",
    label="Webhook catcher",
    description="Keeps what it receives where you can look at it. Nothing leaves this installation.",
    settings=Settings,
    options=EventOptions,
    capabilities=Capabilities(styles=("event", "list"), batch=BATCH),
    plan=plan,
    test=test,
    transport="catcher",
)
