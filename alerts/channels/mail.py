"""A mail, as invitations are sent."""

import re
from smtplib import SMTPException
from typing import Annotated

from django.conf import settings as site
from django.core.mail import send_mail

from alerts.rules.contract import AlertMessage, ChannelError, ChannelKind
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, text

MOST_ADDRESSES = 10
# Enough to catch a slip; whether there is such a mailbox only a mail can tell.
ADDRESS = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+\.[^\s@,;<>\".]+")


class MailSettings(SettingsDeclaration, frozen=True):
    addresses: Annotated[str, text("Addresses", help="E-mail addresses, parted by commas: 10 at most")]

    def check(self) -> None:
        addresses = addresses_in(self.addresses)
        if not 1 <= len(addresses) <= MOST_ADDRESSES:
            raise InvalidSetting("addresses", f"Must be 1 to {MOST_ADDRESSES} e-mail addresses")
        for address in addresses:
            if not ADDRESS.fullmatch(address) or len(address) > 254:
                raise InvalidSetting("addresses", f"“{address}” is no e-mail address")


def addresses_in(text: str) -> list[str]:
    return list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


def send(settings: MailSettings, message: AlertMessage) -> None:
    try:
        send_mail(
            subject=f"{message.title} on Personas",
            message=f"{message.text}\n",
            from_email=site.DEFAULT_FROM_EMAIL,
            recipient_list=addresses_in(settings.addresses),
        )
    except (OSError, SMTPException) as error:
        raise ChannelError(f"The mail cannot be sent: {error}") from error


channel = ChannelKind(
    kind="mail",
    label="Mail",
    description="A mail to some addresses.",
    settings=MailSettings,
    send=send,
)
