"""Slack: one message in a channel for each batch of changes."""

from datetime import datetime
from typing import Annotated

from destinations.rules.contract import Adapter, Capabilities, Changes, DestinationRequest, PayloadComputation, test_id
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import json_request, people
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text


class SlackSettings(SettingsDeclaration, frozen=True):
    webhook_url: Annotated[
        str, secret("Webhook URL", url=True, help="In Slack: your app, Incoming webhooks, of the channel")
    ]

    def check(self) -> None:
        if not self.webhook_url.startswith("https://"):
            raise InvalidSetting("webhookUrl", "Must begin with https://, as Slack shows it")


class SlackOptions(SettingsDeclaration, frozen=True):
    mention: Annotated[str, text("Mention", help="Put before each message, such as <!here> or <@U012ABC>")] = ""


def plan(
    changes: Changes, about: PayloadComputation, settings: SlackSettings, options: SlackOptions, now: datetime
) -> list[DestinationRequest]:
    """One message for all changes: how many people entered the audience, and how many left."""
    # Slack reads these three as markup; an audience may be called "A & B".
    name = about.name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # People, not identifiers: whoever reads it would count somebody with two addresses twice.
    entered, left = people(changes, entering=True), people(changes, entering=False)
    message = f"{options.mention} *{name}*: {entered} entered, {left} left".strip()
    return [json_request(settings.webhook_url, {"text": message}, id=batch_id(changes), rows=changes)]


def test(settings: SlackSettings, now: datetime) -> DestinationRequest:
    """A message that says what it is."""
    id = test_id(now)
    return json_request(settings.webhook_url, {"text": "A test from Personas"}, id=id, rows=[])


adapter = Adapter(
    kind="slack",
    label="Slack",
    description="Says in a channel how many people entered and left.",
    settings=SlackSettings,
    options=SlackOptions,
    # docs.slack.dev, "Rate limits", in 2026: one message a second for an incoming webhook; 429 with Retry-After.
    # Nobody is named in a message, so there is no room for the values of a computed trait.
    capabilities=Capabilities(styles=("event",), batch=1000, per_second=1, fields=None),
    plan=plan,
    test=test,
    unread="A channel has messages, and no people",
)
