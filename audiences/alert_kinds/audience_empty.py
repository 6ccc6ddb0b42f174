"""Nobody is left in an audience."""

from datetime import datetime

from django.db.models import Exists, OuterRef

from alerts.rules.contract import AlertKind, Finding
from audiences.alert_kinds.audience_size import subjects
from audiences.models import Audience, Change
from spaces.models import Space
from spaces.settings_schema import SettingsDeclaration


class AudienceEmptyOptions(SettingsDeclaration, frozen=True):
    """None."""


def check(space: Space, options: AudienceEmptyOptions, subject: str, now: datetime) -> list[Finding]:
    """One that never had anybody did not drop."""
    had = Change.objects.filter(audience=OuterRef("pk"), size__gt=0)
    audiences = Audience.objects.filter(space=space, deleted_at=None, ending_at=None, enabled=True, size=0)
    audiences = audiences.filter(public_id=subject) if subject else audiences
    rows = audiences.filter(Exists(had)).order_by("name", "pk").values_list("public_id", "name")
    return [Finding(public_id, name, f"{name}: nobody is left in it.") for public_id, name in rows]


def sentence(options: AudienceEmptyOptions, name: str) -> str:
    return f"Nobody is left in {name or 'an audience'}."


kind = AlertKind(
    kind="audience_empty",
    label="An audience drops to zero",
    description="Somebody was in it, and nobody is any more.",
    options=AudienceEmptyOptions,
    about="audience",
    subjects=subjects,
    check=check,
    sentence=sentence,
)
