"""Pages about audiences: the list, and the ones that a person is in."""

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render

from access.listing import Pill, listed
from access.requests import PageRequest
from audiences import overview, queries
from audiences.models import Audience
from audiences.overview import Overview
from identity.queries import profile_of
from spaces.needs import needs

STATUSES = {
    Audience.Status.COMPUTING: Pill("Computing", "busy"),
    Audience.Status.LIVE: Pill("Live", "good"),
    Audience.Status.DISABLED: Pill("Disabled"),
    Audience.Status.FAILED: Pill("Failed", "bad"),
}
UPDATING = Pill("Updating", "busy")


@needs("space.read")
def audiences(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Every audience of the space: who is meant, how many they are, and as of when."""
    found, pager = listed(request, overview.audiences_of(request.space), order="-id")
    context = {
        "rows": [_row(overview.overview(audience)) for audience in found],
        "pager": pager,
        "as_of": overview.as_of(request.space),
    }
    return render(request, "audiences/audiences.html", context)


@needs("space.read")
def of_profile(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """The part of a profile's page that names the audiences the person is in."""
    found = profile_of(request.space, profile)
    if found is None:
        raise Http404
    live = list(
        Audience.objects.filter(space=request.space, deleted_at=None, serving__isnull=False).order_by("name", "id")
    )
    members = queries.members_of(live)
    inside = [audience for audience in live if found.number in members[audience.pk]]
    return render(request, "audiences/_of_profile.html", {"audiences": inside})


def _row(found: Overview) -> dict[str, Any]:
    return {
        "audience": found.audience,
        "sentence": found.sentence,
        "state": UPDATING if found.updating else STATUSES[found.status],
        "error": found.version.error,
    }
