"""A destination refuses more than a share of the people."""

from datetime import datetime
from typing import Annotated

from alerts.rules.contract import AlertKind, Finding
from destinations.alert_kinds.subscription_stopped import going, name_of, subjects
from destinations.queries import latest_counts
from destinations.rules.status import DISABLED
from spaces.models import Space
from spaces.settings_schema import SettingsDeclaration, label


class SubscriptionRefusedOptions(SettingsDeclaration, frozen=True):
    percent: Annotated[int, label("More than … %", help="Of the identifiers that are to be there", ge=0, le=100)] = 5


def check(space: Space, options: SubscriptionRefusedOptions, subject: str, now: datetime) -> list[Finding]:
    """By the newest comparison of each."""
    rows = [row for row in going(space, subject) if row.standing != DISABLED]
    counts = latest_counts(rows)
    findings = []
    for row in rows:
        refused, desired = counts[row.pk]["refused"], counts[row.pk]["desired"]
        # 0 % means any at all.
        if refused and refused * 100 > options.percent * desired:
            message = f"{name_of(row)}: {refused:,} of {desired:,} identifiers were refused."
            findings.append(Finding(row.public_id, name_of(row), message))
    return findings


def sentence(options: SubscriptionRefusedOptions, name: str) -> str:
    return f"More than {options.percent} % of {name or 'what goes to a destination'} is refused."


kind = AlertKind(
    kind="subscription_refused",
    label="A destination refuses people",
    description="More than a share of the identifiers that are to be there.",
    options=SubscriptionRefusedOptions,
    about="connection to a destination",
    subjects=subjects,
    check=check,
    sentence=sentence,
)
