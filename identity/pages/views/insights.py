"""What the evidence says about a space's identity rules, and whose an identifier was."""

from datetime import UTC, timedelta
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from access.pages.charts import bars
from access.pages.forms import Styled
from access.requests import PageRequest
from identity.insights import DAYS, Days, insights_of
from identity.owners import owner_at, owners
from identity.rules.insights import KINDS, Recommendation
from identity.rules.policy import policy_of
from spaces import personal
from spaces.clock import clock
from spaces.needs import needs


class OwnerForm(Styled):
    """Which identifier, and when; without a moment now."""

    type = forms.ChoiceField(label="Identifier")
    value = forms.CharField(label="Value", max_length=500)
    at = forms.DateTimeField(
        label="At",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="In your time zone; now when it is empty.",
    )

    def __init__(self, *args: Any, types: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["type"].choices = [(type, type) for type in types]  # type: ignore[attr-defined]


@needs("space.read")
def insights(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Violations and merges by day, hubs, the largest profiles, what never joins, and recommended rules."""
    known = insights_of(request.space, clock.now())
    total = sum(sum(days.values()) for days in known.violations.values())
    by_day: Days = {}
    for days in known.violations.values():
        for day, count in days.items():
            by_day[day] = by_day.get(day, 0) + count
    first = known.since.astimezone(UTC).date()
    every_day = [first + timedelta(days=number) for number in range(DAYS)]

    def chart(days: Days, label: str) -> Any:
        return bars([(f"{day:%-d %b}", days.get(day, 0)) for day in every_day], label=label) if days else None

    context = {
        "violations": [(KINDS[kind], sum(days.values())) for kind, days in sorted(known.violations.items())],
        "violations_total": total,
        "violations_chart": chart(by_day, "Sets of identifiers that broke a rule, by day"),
        "merges": sum(known.merges.values()),
        "merges_chart": chart(known.merges, "Merges by day"),
        "hubs": [(hub, personal.value(*hub.identifier), known.ids.get(hub.profile)) for hub in known.hubs],
        "largest": known.largest,
        "types": known.types,
        "recommended": [(advice, _in_words(advice)) for advice in known.recommended],
        "all_filled_in": "&".join(advice.filled_in for advice in known.recommended),
    }
    return render(request, "identity/insights.html", context)


@needs("space.read")
def identifier_owner(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Whose an identifier was at a moment, and who had it before and since."""
    types = list(policy_of(request.space.identity_policy).rank)
    form = OwnerForm(request.GET if "value" in request.GET else None, types=types)
    context: dict[str, Any] = {"form": form}
    if form.is_bound and form.is_valid():
        at = form.cleaned_data["at"] or timezone.now()
        periods = owners(request.space, form.cleaned_data["type"], form.cleaned_data["value"])
        context |= {"periods": periods, "at": at, "owner": owner_at(periods, at), "asked": True}
    return render(request, "identity/owner.html", context)


def _in_words(advice: Recommendation) -> str:
    if len(advice.block) > 1:
        return f"Block {len(advice.block)} values of {advice.type}"
    if advice.block:
        type, value = advice.block[0].identifier
        return f"Block {type} {personal.value(type, value)}"
    return f"Limit {advice.type} to {advice.limit}"
