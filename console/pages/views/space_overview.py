"""The overview of a space: how much it has of everything, and how far each stage of the pipeline is."""

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from access.requests import PageRequest
from audiences import overview as audiences
from console.stages import (
    archive_status,
    evaluate_status,
    failure_status,
    resolve_status,
    silence_status,
    sync_status,
)
from identity.models import Profile
from identity.queries import living
from sources import queries as sources
from sources.consumption import listening
from spaces import pulse
from spaces.clock import clock
from spaces.needs import needs

# In the order of the pipeline: (name of the log, label, what it does, page that says more, how far it is).
STAGES = (
    ("archive", "Receive", "Sources send events", "space-sources", archive_status),
    ("resolve", "Resolve", "Events become profiles", "profiles", resolve_status),
    ("evaluate", "Evaluate", "Profiles form audiences", "audiences", evaluate_status),
    ("sync", "Deliver", "Audiences reach your tools", "deliveries", sync_status),
)


@needs("space.read")
def space(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """What is in the space, and whether events flow through it."""
    here, slugs = request.space, [workspace, space]
    profiles = reverse("profiles", args=slugs)
    connected = listening(here.pk).count()
    tiles = [
        ("People", living(here, Profile.Kind.USER).count(), profiles),
        ("Accounts", living(here, Profile.Kind.ACCOUNT).count(), f"{profiles}?kind=accounts"),
        ("Sources", connected, reverse("space-sources", args=slugs)),
        ("Audiences", audiences.audiences_of(here).count(), reverse("audiences", args=slugs)),
        ("Destinations", here.destinations.count(), reverse("destinations", args=slugs)),
    ]
    owners = {
        "archive": sources.heard_by(here),
        "resolve": [here.pk],
        "evaluate": [here.pk],
        "sync": list(here.subscriptions.values_list("pk", flat=True)),
    }
    show_error = request.membership.may("space.admin", here)
    stages, silent = [], pulse.silent()
    for stage, label, about, page, status_of in STAGES:
        # A failure comes first: whatever else is known of the stage, it does not move.
        failure = silence_status(stage, silent) or failure_status(stage, owners[stage], show_error=show_error)
        status = failure or status_of(here)
        stages.append({"label": label, "about": about, "url": reverse(page, args=slugs), "status": status})
    context = {
        "tiles": [{"label": label, "count": count, "url": url} for label, count, url in tiles],
        "stages": stages,
        "connected": connected,
        "put_back": audiences.put_back(here, clock.now()),
        "as_of": clock.now(),
    }
    return render(request, "console/space_overview.html", context)
