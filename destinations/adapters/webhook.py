"""A webhook: each change, or each batch of changes, posted to an address of the user's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from destinations.rules.contract import Adapter, Audience, Capabilities, Change, Request, json_body
from destinations.rules.payloads import EventOptions, batch_id, change_set, iso, messages
from destinations.rules.settings_schema import InvalidSetting, field, secret
from destinations.rules.signing import key_of, new_secret, segment, standard

LABEL = "Webhooks"  # the name in `integrations`, as Segment's own webhook destination is called
LARGEST_BATCH = 1000
T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    url: str = field("Address", url=True, help="Receives a POST with a JSON body")
    style: str = field(
        "Send people as",
        default="event",
        choices=("event", "list"),
        help="event: identify and track calls. list: who was added and removed",
    )
    batch_size: int = field(
        "Changes per request",
        default=1,
        low=1,
        high=LARGEST_BATCH,
        help="event style: 1 posts each call as an object, more post an array of calls",
    )
    signing_secret: str = secret(
        "Signing secret",
        default="",
        make=new_secret,
        help="Standard Webhooks, whsec_…; several parted by spaces while you rotate. Made when left empty",
    )
    shared_secret: str = secret("Shared secret", default="", help="Adds Segment's X-Signature (HMAC-SHA1 of the body)")

    def check(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidSetting("url", "Must begin with http:// or https://")
        try:
            [key_of(each) for each in self.signing_secret.split()]
        except ValueError as error:
            raise InvalidSetting("signingSecret", f"A signing secret {error}") from error


def plan(
    changes: Sequence[Change], audience: Audience, settings: Settings, options: EventOptions, now: datetime
) -> list[Request]:
    """List style: one request per batch. Event style: one per call, or one array of calls per batch."""
    batches = list(chunks(changes, settings.batch_size))
    if settings.style == "list":
        return [_post(settings, batch_id(rows), rows, change_set(rows, audience), now) for rows in batches]
    if settings.batch_size == 1:
        return [
            _post(settings, message["messageId"], [change], message, now)
            for change in changes
            for message in messages(change, audience, options, LABEL)
        ]
    return [
        _post(settings, batch_id(rows), rows, [m for row in rows for m in messages(row, audience, options, LABEL)], now)
        for rows in batches
    ]


def test(settings: Settings, now: datetime) -> Request:
    """A call that no receiver takes for a person."""
    id = f"test-{int(now.timestamp() * 1000)}"
    return _post(settings, id, [], {"type": "test", "messageId": id, "timestamp": iso(now)}, now)


def chunks(rows: Sequence[T], size: int) -> list[list[T]]:
    it = iter(rows)
    return list(iter(lambda: list(islice(it, size)), []))


def _post(settings: Settings, id: str, rows: Sequence[Change], content: Any, now: datetime) -> Request:
    body = json_body(content)
    return Request(id=id, rows=rows, url=settings.url, headers=_headers(settings, id, body, now), body=body)


def _headers(settings: Settings, id: str, body: bytes, now: datetime) -> Mapping[str, str]:
    headers = {"content-type": "application/json"}
    if settings.signing_secret:
        headers |= standard(settings.signing_secret, id=id, at=now, body=body)
    return headers | (segment(settings.shared_secret, body=body) if settings.shared_secret else {})


adapter = Adapter(
    kind="webhook",
    label="Webhook",
    description="Posts every change of an audience to an address of your own, signed.",
    settings=Settings,
    options=EventOptions,
    capabilities=Capabilities(styles=("event", "list"), batch=LARGEST_BATCH, concurrency=8),
    plan=plan,
    test=test,
)
