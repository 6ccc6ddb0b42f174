"""What pages, the API and messages say of alert rules and channels."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Count, Q, QuerySet

from alerts.channels import all_channels
from alerts.kinds import all_kinds
from alerts.models import AlertChannel, AlertRule
from spaces.models import Space
from spaces.secrets import open_sealed
from spaces.settings_schema import SettingsDeclaration, described, json_schema, load_stored


def settings_of(channel: AlertChannel) -> SettingsDeclaration:
    """Secrets included. For sending; never for showing."""
    return load_stored(all_channels()[channel.kind].settings, open_sealed(channel.settings))


def options_of(rule: AlertRule) -> SettingsDeclaration:
    return load_stored(all_kinds()[rule.kind].options, rule.options)


def rules_of(space: Space) -> "QuerySet[AlertRule]":
    """The space's rules, each with `open`, how many things are wrong by it now. Of a kind that there is."""
    open_now = Count("occurrences", filter=Q(occurrences__ended_at=None), distinct=True)
    # A kind of another release is left alone, and shown by the release that knows it.
    rules = AlertRule.objects.filter(space=space, kind__in=all_kinds()).select_related("space")
    return rules.prefetch_related("channels").annotate(open=open_now)


def sentence_of(rule: AlertRule, subjects: Sequence[tuple[str, str]] | None = None) -> str:
    """What it watches for. subjects: of its kind, when they are known already."""
    kind = all_kinds()[rule.kind]
    if not rule.subject:
        return kind.sentence(options_of(rule), "")
    names: dict[str, str] = dict(kind.subjects(rule.space) if subjects is None else subjects)
    return kind.sentence(options_of(rule), f"“{names.get(rule.subject, 'something that is gone')}”")


def catalogue() -> list[dict[str, Any]]:
    """A card for each kind of alert."""
    return [
        {
            "kind": kind.kind,
            "label": kind.label,
            "description": kind.description,
            "about": kind.about,
            "options": described(kind.options),
            "optionsSchema": json_schema(kind.options),
        }
        for kind in all_kinds().values()
    ]
