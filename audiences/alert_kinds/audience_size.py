"""The size of an audience changes by more than a share within a day."""

from datetime import datetime, timedelta
from typing import Annotated

from django.db.models import OuterRef, Subquery

from alerts.rules.contract import AlertKind, Finding
from audiences.models import Audience, Change
from audiences.rules.whom import WHOM
from spaces.models import Space
from spaces.settings_schema import SettingsDeclaration, label

DAY = timedelta(days=1)


class AudienceSizeOptions(SettingsDeclaration, frozen=True):
    percent: Annotated[int, label("By more than … %", help="More or fewer, of how many there were", ge=1, le=1000)] = 50
    least: Annotated[
        int, label("From … members on", help="Audiences that were smaller a day ago are left out", ge=1, le=10**9)
    ] = 100


def subjects(space: Space) -> list[tuple[str, str]]:
    audiences = Audience.objects.filter(space=space, deleted_at=None).order_by("name", "pk")
    return list(audiences.values_list("public_id", "name"))


def check(space: Space, options: AudienceSizeOptions, subject: str, now: datetime) -> list[Finding]:
    """Against how many there were a day ago; one that is younger has nothing to be compared with."""
    older = Change.objects.filter(audience=OuterRef("pk"), at__lte=now - DAY).order_by("-tick", "-pk")
    # What somebody ends or switches off shrinks on purpose.
    audiences = Audience.objects.filter(space=space, deleted_at=None, ending_at=None, enabled=True)
    audiences = audiences.filter(public_id=subject) if subject else audiences
    # By the kept sizes: an alert must not read bitmaps each five minutes.
    compared = audiences.filter(size__isnull=False).annotate(before=Subquery(older.values("size")[:1]))
    rows = compared.filter(before__gte=options.least).order_by("name", "pk")
    findings = []
    for public_id, name, of, size, before in rows.values_list("public_id", "name", "of", "size", "before"):
        if abs(size - before) * 100 > options.percent * before:
            change = f"{abs(size - before) * 100 / before:.0f} % {'more' if size > before else 'fewer'}"
            findings.append(
                Finding(public_id, name, f"{name}: {size:,} {WHOM[of].many}, {before:,} a day ago ({change}).")
            )
    return findings


def sentence(options: AudienceSizeOptions, name: str) -> str:
    who = name or f"an audience of at least {options.least:,} members"
    return f"The size of {who} changes by more than {options.percent} % within a day."


kind = AlertKind(
    kind="audience_size",
    label="The size of an audience jumps",
    description="More or fewer people than a day ago, by more than a share.",
    options=AudienceSizeOptions,
    about="audience",
    subjects=subjects,
    check=check,
    sentence=sentence,
    every_s=300,  # it reads the changes of a day
)
