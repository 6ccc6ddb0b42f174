"""A message in a channel of Slack, by an incoming webhook: docs.slack.dev, "Incoming webhooks"."""

from typing import Annotated

from alerts.channels.webhook import post
from alerts.rules.contract import AlertMessage, ChannelKind
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret


class SlackChannelSettings(SettingsDeclaration, frozen=True):
    webhook_url: Annotated[
        str, secret("Webhook URL", url=True, help="In Slack: your app, Incoming webhooks, of the channel")
    ]

    def check(self) -> None:
        if not self.webhook_url.startswith("https://"):
            raise InvalidSetting("webhookUrl", "Must begin with https://, as Slack shows it")


def send(settings: SlackChannelSettings, message: AlertMessage) -> None:
    # Slack reads these three as markup; an audience may be called "A & B".
    text = f"{message.title}\n{message.text}".replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    post(settings.webhook_url, {"text": text})


channel = ChannelKind(
    kind="slack",
    label="Slack",
    description="A message in a channel of Slack.",
    settings=SlackChannelSettings,
    send=send,
)
