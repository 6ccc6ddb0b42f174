"""JSON to an address, through the door out. A message that is tried again has the same id."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from alerts.rules.contract import AlertMessage, ChannelError, ChannelKind
from spaces.outbound import OutboundError, check_url
from spaces.outbound import send as call
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret
from spaces.times import iso

PASSING = {408, 425, 429}  # of those below 500, the ones that another try may change


class WebhookChannelSettings(SettingsDeclaration, frozen=True):
    url: Annotated[str, secret("URL", url=True, help="Called with POST and JSON")]
    authorization: Annotated[str, secret("Authorization", help="Sent as the header of this name, if it is set")] = ""

    def check(self) -> None:
        try:
            check_url(self.url)
        except OutboundError as error:
            raise InvalidSetting("url", str(error)) from error
        if not self.authorization.isascii() or not self.authorization.isprintable():
            raise InvalidSetting("authorization", "Must be plain letters, digits and signs")


def send(settings: WebhookChannelSettings, message: AlertMessage) -> None:
    headers = {"authorization": settings.authorization} if settings.authorization else {}
    post(settings.url, body_of(message), headers)


def body_of(message: AlertMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "type": message.what,
        "at": iso(message.at),
        "space": message.space,
        "rule": message.rule,
        "title": message.title,
        "text": message.text,
        "url": message.url,
        "findings": [
            {"subjectId": finding.subject, "name": finding.name, "message": finding.message}
            for finding in message.findings
        ],
    }


def post(url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
    """One call. Raises ChannelError, without the address: it may hold a key."""
    content = json.dumps(body, ensure_ascii=False).encode()
    try:
        answer = call("POST", url, headers={"content-type": "application/json", **(headers or {})}, body=content)
    except OutboundError as error:
        raise ChannelError(str(error), permanent=error.permanent) from error
    if not answer.ok:
        # A 5xx may pass; a 4xx says that the call itself is wrong, and is so again in a minute.
        permanent = 400 <= answer.status < 500 and answer.status not in PASSING
        raise ChannelError(f"It answered with status {answer.status}", permanent=permanent)


channel = ChannelKind(
    kind="webhook",
    label="Webhook",
    description="JSON to an address of yours.",
    settings=WebhookChannelSettings,
    send=send,
)
