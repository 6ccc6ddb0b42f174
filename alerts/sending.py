"""Sends what was left to be told, and says what became of it. One that fails is tried again, ever more rarely."""

import logging
from datetime import datetime

from django.db.models import Q
from django.urls import reverse

from alerts import queries
from alerts.channels import all_channels
from alerts.models import AlertNotification
from alerts.rules.contract import TEST, AlertMessage, ChannelError, Finding
from alerts.rules.decision import next_try
from spaces.settings_schema import secrets_of, strike
from spaces.text import storable

logger = logging.getLogger(__name__)

State = AlertNotification.State
LONGEST_ERROR = 500  # characters
A_TEST = "This is a test: nothing is wrong."


def due(now: datetime) -> list[int]:
    waiting = AlertNotification.objects.filter(state=State.PENDING, space__deleted_at=None)
    # A thousand at a time: beat comes again in a second.
    return list(waiting.filter(Q(retry_at=None) | Q(retry_at__lte=now)).values_list("pk", flat=True)[:1000])


def send(pk: int, now: datetime) -> bool:
    """It was tried once. A crash between the call and the note of it sends it twice, under the same id."""
    rows = AlertNotification.objects.filter(pk=pk, state=State.PENDING)
    notification = rows.select_related("channel", "rule", "space__workspace").first()
    if notification is None:
        return False
    deliver(notification, now)
    return True


def deliver(notification: AlertNotification, now: datetime, *, is_last: bool = False) -> None:
    """is_last: it is not tried again."""
    channel = notification.channel
    error, permanent = "", False
    try:
        settings = queries.settings_of(channel)
        try:
            all_channels()[channel.kind].send(settings, _message(notification))
        except ChannelError as failure:
            error, permanent = strike(str(failure), secrets_of(settings)), failure.permanent
    except Exception as failure:  # a bug of this release, or a lost key: people see that nothing was sent, and why
        logger.exception("the message %s cannot be sent", notification.public_id)
        error = f"{type(failure).__name__}: it is in the log of the server"
    notification.tries += 1
    notification.error = storable(error[:LONGEST_ERROR])
    if not error:
        notification.state, notification.sent_at, notification.retry_at = State.SENT, now, None
    else:
        notification.retry_at = None if permanent or is_last else next_try(notification.tries, now)
        notification.state = State.FAILED if notification.retry_at is None else State.PENDING
    notification.save(update_fields=["tries", "error", "state", "sent_at", "retry_at"])


def _message(notification: AlertNotification) -> AlertMessage:
    rule, space = notification.rule, notification.space
    url = ""
    if rule is not None and rule.origin:
        url = rule.origin + reverse("alerts", args=[space.workspace.slug, space.slug])
    return AlertMessage(
        id=notification.public_id,
        what=notification.what,
        rule=rule.name if rule else notification.channel.name,
        space=space.name,
        sentence=queries.sentence_of(rule) if rule else A_TEST,
        at=notification.at,
        findings=[Finding(*finding) for finding in notification.findings] if notification.what != TEST else [],
        url=url,
    )
