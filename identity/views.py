"""Pages about people: the list, and one profile."""

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from access.listing import listed
from access.requests import PageRequest
from identity import profile_page as read
from spaces.needs import needs


@needs("space.read")
def profiles(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """People, or accounts, newest first; or those whom a search finds."""
    within = request.space
    wanted = request.GET.get("q", "").strip()
    kind = request.GET.get("kind", "users") if request.GET.get("kind") in read.KINDS else "users"
    rows = read.search(within, wanted) if wanted else read.living(within, read.KINDS[kind])
    found, pager = listed(request, rows, order="-number")
    context = {"people": read.people(within, found), "pager": pager, "wanted": wanted, "kind": kind}
    return render(request, "identity/profiles.html", context)


@needs("space.read")
def profile(request: PageRequest, workspace: str, space: str, profile: str) -> HttpResponse:
    """Everything known about one person. An id that was merged away leads to the profile it is part of now."""
    within = request.space
    found = read.canonical(within, profile)
    if found is None:
        raise Http404
    if found.public_id != profile:
        return redirect("profile", workspace=workspace, space=space, profile=found.public_id)
    held = read.identifiers(within, found)
    context = {
        "person": read.person(found, held),
        "identifiers": held,
        "traits": read.traits(found),
        "merges": read.merges(within, found),
        "relations": read.relations(within, found),
        "history": read.history(within, found),
        "audiences_url": reverse("profile-audiences", args=[workspace, space, profile]),
    }
    return render(request, "identity/profile.html", context)
