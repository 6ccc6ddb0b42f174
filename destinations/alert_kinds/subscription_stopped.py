"""Nothing more goes to a destination: it was suspended or parked."""

from datetime import datetime

from alerts.rules.contract import AlertKind, Finding
from destinations.models import Subscription
from destinations.rules.status import PARKED, SUSPENDED
from spaces.models import Space
from spaces.settings_schema import SettingsDeclaration

WHY = {
    SUSPENDED: "was refused as a whole, and waits for somebody to change the settings",
    PARKED: "has not answered for long, and is rarely tried any more",
}


class SubscriptionStoppedOptions(SettingsDeclaration, frozen=True):
    """None."""


def name_of(subscription: Subscription) -> str:
    return f"{subscription.audience.name} → {subscription.destination.name}"


def going(space: Space, subject: str = "") -> list[Subscription]:
    """What goes from the space to its destinations, by name."""
    # Deleted ones keep their rows until they are erased.
    rows = Subscription.objects.filter(space=space, audience__deleted_at=None, destination__deleted_at=None)
    rows = rows.filter(public_id=subject) if subject else rows
    return list(rows.select_related("audience", "destination").order_by("audience__name", "destination__name", "pk"))


def subjects(space: Space) -> list[tuple[str, str]]:
    return [(row.public_id, name_of(row)) for row in going(space)]


def check(space: Space, options: SubscriptionStoppedOptions, subject: str, now: datetime) -> list[Finding]:
    """What somebody switched off is nothing to be told of."""
    return [
        Finding(row.public_id, name_of(row), f"{name_of(row)}: {WHY[row.standing]}.")
        for row in going(space, subject)
        if row.standing in WHY
    ]


def sentence(options: SubscriptionStoppedOptions, name: str) -> str:
    return f"{name or 'What goes to a destination'} is suspended or parked."


kind = AlertKind(
    kind="subscription_stopped",
    label="A destination takes nothing more",
    description="What goes there was refused as a whole, or has not been answered for long.",
    options=SubscriptionStoppedOptions,
    about="connection to a destination",
    subjects=subjects,
    check=check,
    sentence=sentence,
)
