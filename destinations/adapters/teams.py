"""Microsoft Teams: one card in a channel for each batch of changes, by a workflow that takes webhook requests."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from destinations.rules.contract import (
    Adapter,
    Capabilities,
    Changes,
    DestinationRequest,
    PayloadComputation,
    test_id,
)
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import json_request, people
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text


class TeamsSettings(SettingsDeclaration, frozen=True):
    webhook_url: Annotated[
        str,
        secret(
            "Webhook URL",
            url=True,
            help="In Teams: the channel, Workflows, “Post to a channel when a webhook request is received”",
        ),
    ]

    def check(self) -> None:
        if not self.webhook_url.startswith("https://"):
            raise InvalidSetting("webhookUrl", "Must begin with https://, as the workflow shows it")


class TeamsOptions(SettingsDeclaration, frozen=True):
    note: Annotated[str, text("Note", help="Below each message, such as what is to be done", max_length=500)] = ""


def plan(
    changes: Changes, about: PayloadComputation, settings: TeamsSettings, options: TeamsOptions, now: datetime
) -> list[DestinationRequest]:
    """One card for all changes: how many people entered the audience, and how many left."""
    entered, left = people(changes, entering=True), people(changes, entering=False)
    lines = [about.name, f"{entered} entered, {left} left", *([options.note] if options.note else [])]
    return [json_request(settings.webhook_url, _card(lines), id=batch_id(changes), rows=changes)]


def _card(lines: Sequence[str]) -> dict[str, Any]:
    """As workflows take it, and the incoming webhooks that they replace."""
    heading, *rest = lines
    blocks: list[dict[str, Any]] = [{"type": "TextBlock", "text": heading, "weight": "Bolder", "wrap": True}]
    blocks += [{"type": "TextBlock", "text": line, "wrap": True} for line in rest]
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": blocks,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return {"type": "message", "attachments": [attachment]}


def test(settings: TeamsSettings, now: datetime) -> DestinationRequest:
    """A card that says what it is."""
    id = test_id(now)
    return json_request(settings.webhook_url, _card(["A test from Personas"]), id=id, rows=[])


adapter = Adapter(
    kind="teams",
    label="Microsoft Teams",
    description="Says in a channel how many people entered and left.",
    settings=TeamsSettings,
    options=TeamsOptions,
    # learn.microsoft.com, "Create an Incoming Webhook", in 2026: throttled above four requests a second, 28 KB each.
    # Assumed of workflows as well; they answer 202 before the card is there, and say nothing of what became of it.
    capabilities=Capabilities(styles=("event",), batch=1000, per_second=1, fields=None),
    plan=plan,
    test=test,
    unread="A channel has messages, and no people",
)
