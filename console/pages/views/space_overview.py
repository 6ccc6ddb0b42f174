"""The first page of a space: how many there are of what, and how far each stage of the line is."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from access.pages.tables import Pill
from access.requests import PageRequest
from audiences import overview as audiences
from audiences.models import Audience
from destinations.models import Subscription
from destinations.pages.presenters import together
from identity import queries as identity_queries
from identity.models import Profile
from sources import queries as sources
from spaces.batches import failing
from spaces.clock import clock
from spaces.models import Log, Space
from spaces.needs import needs

SHOWN_OF_ERROR = 300  # characters
Held = Audience.Status
Sync = Subscription.Status


@dataclass(frozen=True)
class Step:
    """A stage of the line as the page shows it. `page`: the name of the page that says more."""

    label: str
    about: str
    page: str
    pill: Pill
    text: str
    at: datetime | None = None


@needs("space.read")
def space(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """What is in the space, and whether events flow through it."""
    within = request.space
    connected = sources.listening(within.pk).count()
    rows = list(within.subscriptions.values_list("pk", flat=True))
    owners = {"archive": sources.heard_by(within), "resolve": [within.pk], "evaluate": [within.pk], "sync": rows}
    looks = [_receiving, _resolving, _evaluating, _delivering]
    told = request.membership.may("space.admin", within)
    steps = [
        _standing_still(look(within), failing(stage, owners[stage]), told=told)
        for stage, look in zip(owners, looks, strict=True)
    ]
    context = {
        "tiles": _tiles(within, [workspace, space], connected),
        "steps": [(step, reverse(step.page, args=[workspace, space])) for step in steps],
        "connected": connected,
        "put_back": audiences.put_back(within, clock.now()),
        "as_of": clock.now(),
    }
    return render(request, "console/space_overview.html", context)


def _tiles(space: Space, slugs: list[str], connected: int) -> list[dict[str, Any]]:
    """Label, number, where to look. connected: how many sources it listens to."""
    profiles = reverse("profiles", args=slugs)
    counts = [
        ("People", identity_queries.living(space, Profile.Kind.USER).count(), profiles),
        ("Accounts", identity_queries.living(space, Profile.Kind.ACCOUNT).count(), f"{profiles}?kind=accounts"),
        ("Sources", connected, reverse("space-sources", args=slugs)),
        ("Audiences", audiences.audiences_of(space).count(), reverse("audiences", args=slugs)),
        ("Destinations", space.destinations.count(), reverse("destinations", args=slugs)),
    ]
    return [{"label": label, "count": count, "url": url} for label, count, url in counts]


def _standing_still(step: Step, logs: list[Log], *, told: bool) -> Step:
    """The step, or that it stands still, and since when. told: whether also why, in the words of the machine."""
    if not logs:
        return step
    log = logs[0]
    pill = Pill("Stands still", "bad") if log.fault == Log.Fault.CODE else Pill("Held up", "warn")
    whose = f"{log.get_fault_display()}. " if log.fault else ""
    why = f"{log.error[:SHOWN_OF_ERROR]} — " if told and log.error else ""
    text = f"{whose}{why}Nothing is lost: it is tried again. Tries so far: {log.failures:,}, since"
    return replace(step, pill=pill, text=text, at=log.failing_since)


def _receiving(space: Space) -> Step:
    found = [row.source for row in sources.listening(space.pk).select_related("source__tally")]
    waiting = sum(fate.waiting for fate in sources.fates(found).values())
    times = [row.tally.last_received_at for row in found if hasattr(row, "tally") and row.tally.last_received_at]
    step = _step("Receive", "Sources send events", "space-sources")
    if not found:
        return step(Pill("No source"), "Connect one or two sources; their last 30 days are replayed.")
    if waiting:
        return step(Pill("Archiving", "busy"), f"Requests waiting to be archived: {waiting:,}.")
    if not times:
        return step(Pill("Nothing yet"), "No connected source has sent anything.")
    return step(Pill("Up to date", "good"), "Newest request:", max(times))


def _resolving(space: Space) -> Step:
    found = identity_queries.resolution(space)
    step = _step("Resolve", "Events become profiles", "profiles")
    waiting = f"Events waiting: {found.waiting:,}."
    if found.replaying:
        return step(Pill("Replaying", "busy"), f"The past comes in, oldest first. {waiting}")
    if found.waiting:
        return step(Pill("Resolving", "busy"), waiting)
    if not found.piece:
        return step(Pill("Nothing yet"), "No event has come in.")
    return step(Pill("Up to date", "good"), "Every archived event belongs to somebody.")


def _evaluating(space: Space) -> Step:
    held = Counter(each.status for each in audiences.overviews(space, audiences.audiences_of(space)))
    at = audiences.as_of(space)
    step = _step("Evaluate", "Profiles form audiences", "audiences")
    if not held:
        return step(Pill("No audience"), "Describe whom you want to reach.")
    if held[Held.FAILED]:
        return step(Pill("Failed", "bad"), _counted(held, Held))
    if held[Held.BEHIND]:
        return step(Pill("Behind", "warn"), _counted(held, Held))
    if held[Held.COMPUTING] or held[Held.WAITING]:
        return step(Pill("Computing", "busy"), _counted(held, Held))
    return step(Pill("Up to date", "good"), f"{_counted(held, Held)}, as of", at)


def _delivering(space: Space) -> Step:
    rows = list(space.subscriptions.filter(audience__deleted_at=None).select_related("audience", "destination"))
    step = _step("Deliver", "Audiences reach your tools", "deliveries")
    if not rows:
        return step(Pill("Nothing connected"), "Send an audience to a destination.")
    return step(together(rows), _counted(Counter(Sync(row.standing) for row in rows), Sync))


def _step(label: str, about: str, page: str) -> Any:
    """What is known of a stage before it is looked at."""

    def step(pill: Pill, text: str, at: datetime | None = None) -> Step:
        return Step(label, about, page, pill, text, at)

    return step


def _counted(held: Counter[Any], kinds: Iterable[Any]) -> str:
    """How many are in which state: `2 live, 1 computing`."""
    return ", ".join(f"{held[kind]:,} {kind.label.lower()}" for kind in kinds if held[kind])
