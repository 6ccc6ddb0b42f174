"""A webhook: each change, or each batch of changes, posted to an address of the user's own."""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

from destinations.rules.contract import (
    Adapter,
    Address,
    Capabilities,
    Changes,
    DestinationRequest,
    IdentifierChange,
    PayloadComputation,
    json_body,
    test_id,
)
from destinations.rules.payloads import (
    EVERY_TYPE,
    STYLES_HELP,
    CallOptions,
    EventOptions,
    TraitOptions,
    batch_id,
    change_set,
    deletion,
    deletion_id,
    messages,
)
from destinations.rules.signing import key_of, new_secret, segment, standard
from destinations.rules.templates import parsed_template, rendered
from spaces.chunks import chunks
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text
from spaces.times import iso

INTEGRATION = "Webhooks"  # the name in `integrations`, as Segment's own webhook destination is called
LARGEST_BATCH = 1000
HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
# What signs and frames the call: a header of the user's own would break it, or fake it.
OURS = {"host", "content-length", "connection", "transfer-encoding", "x-signature"} | {
    f"webhook-{name}" for name in ("id", "timestamp", "signature")
}


class WebhookSettings(SettingsDeclaration, frozen=True):
    url: Annotated[str, secret("Address", url=True, help="Receives JSON")]
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

    method: Annotated[Literal["POST", "PUT", "PATCH"], label("Method")] = "POST"
    headers: Annotated[
        str, secret("Headers of your own", help='As JSON, such as {"Authorization": "Bearer …"}. Not signed')
    ] = ""
    body: Annotated[
        str,
        text(
            "Body of your own",
            help='Of each call, as JSON: {"who": "{{userId}}", "email": "{{traits.email}}", "event": "{{event}}"}. '
            "Empty: the call as it is",
        ),
    ] = ""

    def check(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidSetting("url", "Must begin with http:// or https://")
        try:
            [key_of(secret) for secret in self.signing_secret.split()]
        except ValueError as error:
            raise InvalidSetting("signingSecret", f"A signing secret {error}") from error
        if self.body and self.style == "list":
            raise InvalidSetting("body", "Only calls have a body of your own: send people as events")
        try:
            parsed_template(self.body or "{}")
        except ValueError as error:
            raise InvalidSetting("body", str(error)) from error
        own_headers(self.headers)


@lru_cache(maxsize=256)  # asked for each of thousands of calls
def own_headers(text: str) -> Mapping[str, str]:
    """From the JSON of the setting. Raises InvalidSetting."""
    try:
        headers = msgspec.json.decode(text or "{}", type=dict[str, str])
    except msgspec.DecodeError as error:
        raise InvalidSetting("headers", "Must be a JSON object of texts") from error
    for name, value in headers.items():
        if not HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise InvalidSetting("headers", "Names have letters, digits and -, values are ASCII text of one line")
        if name.lower() in OURS:
            raise InvalidSetting("headers", f"{name} is set by the call itself")
    return {name.lower(): value for name, value in headers.items()}


def plan(
    changes: Changes, about: PayloadComputation, settings: WebhookSettings, options: CallOptions, now: datetime
) -> list[DestinationRequest]:
    """List style: one request per batch. Event style: one per call, or one array of calls per batch."""
    # By whatever size the receiver asked for; the stage gives many more at once.
    batches = list(chunks(changes, settings.batch_size))
    if settings.style == "list":
        return [_post(settings, batch_id(rows), rows, change_set(rows, about), now) for rows in batches]
    template = parsed_template(settings.body) if settings.body else None

    def bodies(row: IdentifierChange) -> list[tuple[str, Any]]:
        """(message id, content) of each call."""
        calls = messages(row, about, options, INTEGRATION)
        return [(call["messageId"], rendered(template, call) if template else call) for call in calls]

    # An object, not an array of one: receivers of single calls read no arrays.
    if settings.batch_size == 1:
        return [_post(settings, id, [change], content, now) for change in changes for id, content in bodies(change)]
    return [
        _post(settings, batch_id(rows), rows, [content for row in rows for _, content in bodies(row)], now)
        for rows in batches
    ]


def test(settings: WebhookSettings, now: datetime) -> DestinationRequest:
    """A call that no receiver takes for a person."""
    id = test_id(now)
    return _post(settings, id, [], {"type": "test", "messageId": id, "timestamp": iso(now)}, now)


def delete(address: Address, settings: WebhookSettings, now: datetime) -> DestinationRequest:
    """As Segment's own webhooks are told: {"type": "delete", "userId": …}, with whatever else the person went by."""
    id = deletion_id(address)
    return _post(settings, id, [], {"type": "delete", "messageId": id, "timestamp": iso(now), **deletion(address)}, now)


def _post(settings: WebhookSettings, id: str, rows: Changes, content: Any, now: datetime) -> DestinationRequest:
    body = json_body(content)
    headers = {"content-type": "application/json", **own_headers(settings.headers)}
    if settings.signing_secret:
        # With the time of this attempt: receivers refuse what was signed long ago.
        headers |= standard(settings.signing_secret, id=id, at=now, body=body)
    if settings.shared_secret:
        headers |= segment(settings.shared_secret, body=body)
    return DestinationRequest(id=id, rows=rows, method=settings.method, url=settings.url, headers=headers, body=body)


adapter = Adapter(
    kind="webhook",
    label="Webhook",
    description="Posts every change of an audience to an address of your own, signed.",
    settings=WebhookSettings,
    options=EventOptions,
    trait_options=TraitOptions,
    capabilities=Capabilities(
        styles=("event", "list"), batch=LARGEST_BATCH, concurrency=8, identifiers=EVERY_TYPE, accounts=True
    ),
    plan=plan,
    test=test,
    delete=delete,
)
