"""Pages about people: the list, and one profile."""

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.listing import listed
from access.requests import PageRequest
from identity import profile_page as read
from identity import queries
from spaces.needs import needs


@needs("space.read")
def profiles(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """People, or accounts, newest first; or those whom a search finds."""
    within = request.space
    wanted = request.GET.get("q", "").strip()
    kind = request.GET.get("kind", "users") if request.GET.get("kind") in read.KINDS else "users"
    rows = read.search(within, wanted) if wanted else queries.living(within, read.KINDS[kind])
    found, pager = listed(request, rows, order="-number")
    context = {"people": read.people(within, found), "pager": pager, "wanted": wanted, "kind": kind}
    return render(request, "identity/profiles.html", context)


@needs("space.read")
def profile(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """Everything known about one person. An id that was merged away leads to the profile it is part of now."""
    within = request.space
    found = queries.profile_of(within, profile)
    if found is None:
        raise Http404
    if found.public_id != profile:
        return redirect("profile", workspace=workspace, space=space, profile=found.public_id)
    numbers = queries.all_numbers(within, [found.number])
    held = list(queries.held_by(found)[: queries.MANY])
    before = request.GET.get("before", "")
    context = {
        "person": read.person(found, held),
        "identifiers": read.identifiers(held),
        "traits": read.traits(found),
        "merges": read.merges(within, numbers),
        "refusals": read.refusals(within, numbers),
        "relations": read.relations(within, numbers),
        "history": read.history(within, numbers, before=before),
        "before": before,
        "audiences_url": reverse("profile-audiences", args=[workspace, space, profile]),
    }
    return render(request, "identity/profile.html", context)
