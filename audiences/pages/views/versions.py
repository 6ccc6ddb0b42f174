"""The versions of an audience or a computed trait, what each changed, and the way back to one of them."""

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from access.pages.tables import Pill, listed
from access.requests import PageRequest
from access.services import NotPossible
from audiences import services
from audiences.cases import BrokenCases, CaseOutcome
from audiences.failures import unreadable
from audiences.models import Audience, Version
from audiences.overview import audiences_of, overview, traits_of
from audiences.rules.validation import DefinitionError
from audiences.versions import described, newest_number, version_of, versions_of
from spaces.needs import needs

SHOWN = 20  # on a page
STATES = {
    Version.State.COMPUTING: Pill("Computing", "busy"),
    Version.State.CATCHING_UP: Pill("Catching up", "busy"),
    Version.State.LIVE: Pill("Live", "good"),
    Version.State.REPLACED: Pill("Replaced"),
    Version.State.FAILED: Pill("Failed", "bad"),
}
MEANWHILE = "Meanwhile somebody saved version {}: look at it below. Nothing was restored."


@needs("space.read", POST="space.use")
def versions(request: PageRequest, workspace: str, space: str, audience: str) -> HttpResponse:
    """What the audience asked for since it exists. A POST restores the version with the number `restore`."""
    row = get_object_or_404(audiences_of(request.space), public_id=audience)
    return _versions(request, row, "audiences/versions.html", {"audience": row})


@needs("space.read", POST="space.use")
def trait_versions(request: PageRequest, workspace: str, space: str, trait: str) -> HttpResponse:
    """The same of a computed trait."""
    row = get_object_or_404(traits_of(request.space), public_id=trait)
    return _versions(request, row, "audiences/traits/versions.html", {"trait": row, "details": overview(row)})


def _versions(request: PageRequest, row: Audience, template: str, context: dict[str, Any]) -> HttpResponse:
    error = ""
    broken: Sequence[CaseOutcome] = ()
    if "restore" in request.POST:
        try:
            error = _restore(request, row)
        except BrokenCases as refusal:
            broken = refusal.outcomes
        if not error and not broken:
            return redirect(request.path)
    page, pager = listed(request, versions_of(row), order="-number", count=SHOWN)
    context |= {
        "rows": [
            {"details": details, "state": STATES[Version.State(details.version.state)]}
            for details in described(row, page)
        ],
        "pager": pager,
        "base": newest_number(row),
        "error": error,
        "broken": broken,
        "again": request.POST.get("restore", ""),
    }
    return render(request, template, context, status=422 if error or broken else 200)


def _restore(request: PageRequest, row: Audience) -> str:
    """Why it was not done; "" when it was. `base`: the newest version that the page knew of. Raises BrokenCases."""
    newest = newest_number(row)
    if request.POST.get("base", str(newest)) != str(newest):
        return MEANWHILE.format(newest)
    version = version_of(row, request.POST["restore"])
    if version is None:
        raise Http404
    try:
        services.restore_version(version, despite_cases=request.POST.get("act") == "anyway", by=request)
    except DefinitionError as refusal:
        return unreadable(refusal) if not refusal.path else f"Version {version.number} cannot be restored: {refusal}."
    except NotPossible as refusal:
        return str(refusal)
    messages.success(request, f"Version {version.number} is restored. The newest one serves as soon as it is computed.")
    return ""
