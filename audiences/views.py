"""Pages about audiences: the list, and the ones that a person is in."""

from collections.abc import Sequence
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render

from access.listing import Pill, listed
from access.requests import PageRequest
from audiences import grammar, queries
from audiences.models import Audience, Evaluation, Version
from identity.profile_page import canonical
from spaces.needs import needs

STATES = {
    Version.State.COMPUTING: Pill("Computing", "busy"),
    Version.State.CATCHING_UP: Pill("Computing", "busy"),
    Version.State.FAILED: Pill("Failed", "bad"),
}
LIVE, DISABLED = Pill("Live", "good"), Pill("Disabled")


@needs("space.read")
def audiences(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Every audience of the space: who is meant, how many they are, and as of when."""
    within = request.space
    found, pager = listed(request, Audience.objects.filter(space=within, deleted_at=None), order="-id")
    newest = _newest(found)
    context = {
        "rows": [_row(audience, newest[audience.pk]) for audience in found],
        "pager": pager,
        "as_of": Evaluation.objects.filter(space=within).values_list("clock_at", flat=True).first(),
    }
    return render(request, "audiences/audiences.html", context)


@needs("space.read")
def of_profile(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """The part of a profile's page that names the audiences the person is in."""
    within = request.space
    found = canonical(within, profile)
    if found is None:
        raise Http404
    live = Audience.objects.filter(space=within, deleted_at=None, serving__isnull=False).order_by("name", "id")
    inside = [audience for audience in live if found.number in queries.members(audience)]
    return render(request, "audiences/_of_profile.html", {"audiences": inside})


def _newest(found: Sequence[Audience]) -> dict[int, Version]:
    """The newest version of each audience, without its members. One query."""
    versions = Version.objects.filter(audience__in=found).defer("snapshot")
    return {row.audience_id: row for row in versions.order_by("audience", "-number").distinct("audience")}


def _row(audience: Audience, version: Version) -> dict[str, Any]:
    sentence = grammar.sentence(grammar.parse(version.definition), include_anonymous=audience.include_anonymous)
    return {"audience": audience, "sentence": sentence, "state": _state(audience, version), "error": version.error}


def _state(audience: Audience, version: Version) -> Pill:
    if not audience.enabled:
        return DISABLED
    return STATES.get(Version.State(version.state), LIVE)
