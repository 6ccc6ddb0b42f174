"""Rules that were tried: how far they are worked out, what they would come to, and applying them."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from access.pages.tables import Pill
from access.requests import PageRequest
from access.services import NotPossible
from identity import dry_run_reads, services
from identity.dry_run_reads import SampledProfile
from identity.models import DryRun
from identity.rules.policy import Policy
from spaces import personal
from spaces.needs import needs

State = DryRun.State
PILLS = {
    State.WAITING: Pill("Waiting", "busy"),
    State.RUNNING: Pill("Being worked out", "busy"),
    State.DONE: Pill("Worked out", "good"),
    State.FAILED: Pill("Failed", "bad"),
    State.CANCELLED: Pill("Cancelled"),
    State.APPLYING: Pill("Being applied: comparing", "busy"),
    State.MOVING: Pill("Being applied", "busy"),
    State.APPLIED: Pill("Applied", "good"),
    State.STOPPED: Pill("Stopped", "warn"),
}
FIGURES = (
    ("before", "People today"),
    ("after", "People there would be"),
    ("unchanged", "Stay as they are"),
    ("split", "Would come apart"),
    ("merged", "Would be one with another"),
    ("new", "New people"),
    ("gone", "Would be nobody"),
    ("nobodys", "Events that would be nobody’s"),
)


@needs("space.read", POST="space.admin")
def dry_run(request: PageRequest, workspace: str, space: str, dry_run: str) -> HttpResponse:
    """How far it is and what came of it. A POST applies the rules, saves them for new events, or stops what runs."""
    tried = get_object_or_404(
        DryRun.objects.select_related("space", "created_by"), space=request.space, public_id=dry_run
    )
    if request.method == "POST":
        return _changed(request, tried)
    state = State(tried.state)
    context: dict[str, Any] = {
        "dry_run": tried,
        "pill": PILLS[state],
        "changes": dry_run_reads.changes_of(tried),
        "under_way": state in DryRun.UNDER_WAY,
        "percent": dry_run_reads.percent(tried),
        "is_moving": state == State.MOVING,
        "figures": [(label, tried.result[name]) for name, label in FIGURES] if tried.result else [],
        "audiences": tried.result.get("audiences", []),
        "largest": dry_run_reads.largest_of(tried),
        "samples": [
            (list(map(_masked, sample.now)), list(map(_masked, sample.after)), sample)
            for sample in dry_run_reads.samples_of(tried)
        ],
        "why_not": tried.result.get("whyNot", ""),
        "may_apply": state in (State.DONE, State.STOPPED) and not tried.result.get("whyNot"),
        "may_save": state == State.DONE,
        "goes_on": state == State.STOPPED,
    }
    return render(request, "identity/dry_run.html", context)


def _changed(request: PageRequest, tried: DryRun) -> HttpResponse:
    here = (request.workspace.slug, request.space.slug)
    try:
        if "apply" in request.POST:
            services.apply_rules(tried, by=request)
            messages.success(request, "The rules count from now on, and are being applied to everybody.")
        elif "save" in request.POST:
            policy = None if tried.policy is None else Policy.from_json(tried.policy)
            services.change_policy(request.space, policy, by=request)
            messages.success(request, "The rules are saved. They count for events that come in from now on.")
            return redirect("identity-settings", *here)
        else:
            services.stop_dry_run(tried, by=request)
    except NotPossible as error:
        messages.error(request, str(error))
    return redirect("identity-dry-run", *here, tried.public_id)


def _masked(profile: SampledProfile) -> tuple[SampledProfile, list[tuple[str, str]]]:
    return profile, [(type, personal.value(type, value)) for type, value in profile.identifiers]
