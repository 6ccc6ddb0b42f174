"""A webhook: each change, or each batch of changes, posted to an address of the user's own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from destinations.rules.contract import (
    Adapter,
    Capabilities,
    DestinationRequest,
    IdentifierChange,
    PayloadComputation,
    json_body,
)
from destinations.rules.payloads import (
    EVERY_TYPE,
    STYLES_HELP,
    EventOptions,
    TraitOptions,
    batch_id,
    change_set,
    messages,
)
from destinations.rules.signing import key_of, new_secret, segment, standard
from spaces.chunks import chunks
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret
from spaces.times import iso

INTEGRATION = "Webhooks"  # the name in `integrations`, as Segment's own webhook destination is called
LARGEST_BATCH = 1000


class WebhookSettings(SettingsDeclaration, frozen=True):
    url: Annotated[str, secret("Address", url=True, help="Receives a POST with a JSON body")]
    style: Annotated[Literal["event", "list"], label("Send people as", help=STYLES_HELP)] = "event"
    batch_size: Annotated[
        int,
        label(
            "Changes per request",
            ge=1,
            le=LARGEST_BATCH,
            help="event style: 1 posts each call as an object, more post an array of calls",
        ),
    ] = 1
    signing_secret: Annotated[
        str,
        secret(
            "Signing secret",
            generate=new_secret,
            help="Standard Webhooks, whsec_…; several separated by spaces while you rotate. Generated when left empty",
        ),
    ] = ""
    shared_secret: Annotated[
        str, secret("Shared secret", help="Adds Segment's X-Signature (HMAC-SHA1 of the body)")
    ] = ""

    def check(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidSetting("url", "Must begin with http:// or https://")
        try:
            [key_of(secret) for secret in self.signing_secret.split()]
        except ValueError as error:
            raise InvalidSetting("signingSecret", f"A signing secret {error}") from error


def plan(
    changes: Sequence[IdentifierChange],
    about: PayloadComputation,
    settings: WebhookSettings,
    options: EventOptions | TraitOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """List style: one request per batch. Event style: one per call, or one array of calls per batch."""
    batches = list(chunks(changes, settings.batch_size))
    if settings.style == "list":
        return [_post(settings, batch_id(rows), rows, change_set(rows, about), now) for rows in batches]
    if settings.batch_size == 1:
        return [
            _post(settings, message["messageId"], [change], message, now)
            for change in changes
            for message in messages(change, about, options, INTEGRATION)
        ]
    return [
        _post(
            settings,
            batch_id(rows),
            rows,
            [m for row in rows for m in messages(row, about, options, INTEGRATION)],
            now,
        )
        for rows in batches
    ]


def test(settings: WebhookSettings, now: datetime) -> DestinationRequest:
    """A call that no receiver takes for a person."""
    id = f"test-{int(now.timestamp() * 1000)}"
    return _post(settings, id, [], {"type": "test", "messageId": id, "timestamp": iso(now)}, now)


def _post(
    settings: WebhookSettings, id: str, rows: Sequence[IdentifierChange], content: Any, now: datetime
) -> DestinationRequest:
    body = json_body(content)
    headers = {"content-type": "application/json"}
    if settings.signing_secret:
        headers |= standard(settings.signing_secret, id=id, at=now, body=body)
    if settings.shared_secret:
        headers |= segment(settings.shared_secret, body=body)
    return DestinationRequest(id=id, rows=rows, url=settings.url, headers=headers, body=body)


adapter = Adapter(
    kind="webhook",
    label="Webhook",
    description="Posts every change of an audience to an address of your own, signed.",
    settings=WebhookSettings,
    options=EventOptions,
    trait_options=TraitOptions,
    capabilities=Capabilities(styles=("event", "list"), batch=LARGEST_BATCH, concurrency=8, identifiers=EVERY_TYPE),
    plan=plan,
    test=test,
)
