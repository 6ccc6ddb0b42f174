"""No call to a destination got through for some minutes."""

from datetime import datetime, timedelta
from typing import Annotated

from alerts.rules.contract import AlertKind, Finding
from destinations.alert_kinds.subscription_stopped import going, name_of, subjects
from destinations.rules.status import DISABLED
from spaces.models import Space
from spaces.settings_schema import SettingsDeclaration, label


class SubscriptionFailingOptions(SettingsDeclaration, frozen=True):
    minutes: Annotated[int, label("For … minutes", ge=1, le=10_080)] = 15


def check(space: Space, options: SubscriptionFailingOptions, subject: str, now: datetime) -> list[Finding]:
    late = now - timedelta(minutes=options.minutes)
    return [
        Finding(
            row.public_id,
            name_of(row),
            f"{name_of(row)}: no call got through since {row.failing_since:%Y-%m-%d %H:%M} UTC.",
        )
        for row in going(space, subject)
        # Since the first failure in a row, not the last success: an idle one has none and fails nobody.
        if row.failing_since is not None and row.failing_since <= late and row.standing != DISABLED
    ]


def sentence(options: SubscriptionFailingOptions, name: str) -> str:
    return f"No call of {name or 'what goes to a destination'} gets through for {options.minutes} minutes."


kind = AlertKind(
    kind="subscription_failing",
    label="A destination is failing",
    description="No call got through for some minutes.",
    options=SubscriptionFailingOptions,
    about="connection to a destination",
    subjects=subjects,
    check=check,
    sentence=sentence,
)
