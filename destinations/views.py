"""Pages about deliveries: what goes where, every call that was made, and what the catcher received."""

import json
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from access.listing import Pill, listed
from access.requests import PageRequest
from destinations import queries
from destinations.adapters import adapter_of
from destinations.models import Caught, Destination, Subscription
from spaces.needs import needs

CATCHER = "catcher"  # the transport that keeps what it is given
STATUSES = {
    Subscription.Status.IN_STEP: "good",
    Subscription.Status.SYNCING: "busy",
    Subscription.Status.WAITING: "busy",
    Subscription.Status.RETRYING: "warn",
    Subscription.Status.PARKED: "bad",
    Subscription.Status.SUSPENDED: "bad",
}
HELD_BACK = {
    "subscription": Pill("Disabled"),
    "destination": Pill("Destination disabled"),
    "audience": Pill("Audience disabled"),
}
OUTCOMES = {
    "delivered": Pill("Delivered", "good"),
    "retry": Pill("Will be tried again", "warn"),
    "refused": Pill("Refused", "bad"),
    "suspended": Pill("Suspended", "bad"),
}
ROWS = 50


@needs("space.read")
def deliveries(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Which audience goes where, in what state, and the newest calls."""
    within = request.space
    subscriptions = {row.pk: row for row in within.subscriptions.select_related("audience", "destination")}
    outcome = request.GET.get("outcome", "") if request.GET.get("outcome") in queries.OUTCOMES else ""
    log = queries.deliveries(within.subscriptions.all(), space=within, outcome=outcome or None)[:ROWS]
    context = {
        "subscriptions": _subscriptions([row for row in subscriptions.values() if row.audience.deleted_at is None]),
        "destinations": [_destination(request, row) for row in within.destinations.order_by("name", "id")],
        "log": [_delivery(row, subscriptions[row.subscription]) for row in log],
        "outcomes": [(key, OUTCOMES[key].label, key == outcome) for key in queries.OUTCOMES],
        "outcome": outcome,
        "most": ROWS,
    }
    return render(request, "destinations/deliveries.html", context)


@needs("space.read")
def caught(request: PageRequest, workspace: str, space: str, destination: str) -> HttpResponse:
    """What the catcher received, newest first, and whom that leaves in the audience `?key=`."""
    within = request.space
    found = within.destinations.filter(public_id=destination).first()
    if found is None or not _catches(found):
        raise Http404
    rows, pager = listed(request, Caught.objects.filter(destination=found), order="-id")
    keys = list(found.subscriptions.order_by("audience__key").values_list("audience__key", flat=True))
    key = request.GET.get("key", "") if request.GET.get("key") in keys else ""
    held = queries.held(found, key) if key else ()
    context = {
        "destination": found,
        "rows": [_caught(row) for row in rows],
        "pager": pager,
        "keys": keys,
        "key": key,
        "held": held[:ROWS],
        "size": len(held),
    }
    return render(request, "destinations/caught.html", context)


def _subscriptions(rows: list[Subscription]) -> list[dict[str, Any]]:
    tallies = queries.tallies(rows)
    return [{"row": row, "pill": _status(row), "tally": tallies[row.pk]} for row in rows]


def _status(row: Subscription) -> Pill:
    if row.held_back_by:
        return HELD_BACK[row.held_back_by]
    return Pill(row.get_status_display(), STATUSES.get(Subscription.Status(row.status), ""))


def _catches(destination: Destination) -> bool:
    return adapter_of(destination.kind).transport == CATCHER


def _destination(request: PageRequest, row: Destination) -> dict[str, Any]:
    slugs = [request.workspace.slug, request.space.slug]
    url = reverse("caught", args=[*slugs, row.public_id]) if _catches(row) else ""
    enabled = Pill("Enabled", "good") if row.enabled else Pill("Disabled")
    return {"row": row, "label": adapter_of(row.kind).label, "caught_url": url, "enabled": enabled}


def _delivery(row: queries.Delivery, subscription: Subscription) -> dict[str, Any]:
    who = f"{row.who['type']}: {row.who['value']}" if row.who else "somebody who is gone"
    verb = "entered" if row.entering else "left"
    shown = {"outcome": _outcome(row.outcome), "request": _pretty(row.request)}
    return {"row": row, "who": who, "verb": verb, "subscription": subscription, **shown}


def _pretty(body: str) -> str:
    """JSON as people read it; as it is when the log has cut it off."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body


def _outcome(key: str) -> Pill:
    return OUTCOMES.get(key, Pill(key))


def _caught(row: Caught) -> dict[str, Any]:
    body = row.body if isinstance(row.body, dict) else {}
    name = body.get("event") or body.get("type") or "request"
    who = body.get("userId") or body.get("anonymousId") or ""
    return {"row": row, "name": name, "who": who, "text": json.dumps(row.body, indent=2, ensure_ascii=False)}
