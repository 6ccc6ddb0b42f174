"""An audience or a computed trait has failed, or cannot keep up for a while."""

from datetime import datetime, timedelta
from typing import Annotated

from django.db.models import Q

from alerts.rules.contract import AlertKind, Finding
from audiences import queries
from audiences.models import Audience, Version
from spaces.models import Space
from spaces.settings_schema import SettingsDeclaration, label


class AudienceFailedOptions(SettingsDeclaration, frozen=True):
    minutes: Annotated[
        int, label("Behind for … minutes", help="One that cannot keep up; a failed one counts at once", ge=1, le=10_080)
    ] = 60


def subjects(space: Space) -> list[tuple[str, str]]:
    computations = Audience.everything.filter(space=space, deleted_at=None).order_by("kind", "name", "pk")
    return list(computations.values_list("public_id", "name"))


def check(space: Space, options: AudienceFailedOptions, subject: str, now: datetime) -> list[Finding]:
    """By the version that serves, and by the newest."""
    late = Q(failing_since__lte=now - timedelta(minutes=options.minutes)) & ~Q(state=Version.State.LIVE)
    kept = queries.kept_versions().filter(audience__space=space, audience__ending_at=None)
    kept = kept.filter(audience__public_id=subject) if subject else kept
    troubled = kept.filter(Q(state=Version.State.FAILED) | late).order_by("audience__name", "audience", "-state")
    rows = troubled.values_list("audience__public_id", "audience__name", "state", "number")
    findings: dict[str, Finding] = {}
    for public_id, name, state, number in rows:
        what = "has failed" if state == Version.State.FAILED else f"is behind for more than {options.minutes} minutes"
        # One finding for each audience, though both of its versions may be in trouble.
        findings.setdefault(public_id, Finding(public_id, name, f"{name}: version {number} {what}."))
    return list(findings.values())


def sentence(options: AudienceFailedOptions, name: str) -> str:
    return f"{name or 'An audience or a computed trait'} fails, or is behind for more than {options.minutes} minutes."


kind = AlertKind(
    kind="audience_failed",
    label="An audience fails",
    description="An audience or a computed trait cannot be computed, or does not keep up.",
    options=AudienceFailedOptions,
    about="audience or computed trait",
    subjects=subjects,
    check=check,
    sentence=sentence,
)
