"""Pages about deliveries: what goes where, every call that was made, and what the catcher received."""

import json
from typing import Any

from django.db.models import Count, Q
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from access.listing import Pill, listed
from access.requests import PageRequest
from destinations import queries
from destinations.adapters import adapter_of
from destinations.models import Acknowledged, Caught, Destination, Subscription
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
    subscriptions = list(within.subscriptions.select_related("audience", "destination").order_by("id"))
    outcome = request.GET.get("outcome", "") if request.GET.get("outcome") in queries.OUTCOMES else ""
    names = {row.pk: row for row in subscriptions}
    log = queries.deliveries(within.subscriptions.all(), space=within, outcome=outcome or None)[:ROWS]
    context = {
        "subscriptions": [_subscription(row, held) for row, held in _held(subscriptions)],
        "destinations": [_destination(request, row) for row in within.destinations.order_by("name", "id")],
        "log": [_delivery(row, names[row.subscription]) for row in log],
        "outcomes": [(key, OUTCOMES[key].label, key == outcome) for key in queries.OUTCOMES],
        "outcome": outcome,
        "most": ROWS,
    }
    return render(request, "destinations/deliveries.html", context)


@needs("space.read")
def caught(request: PageRequest, workspace: str, space: str, destination: str) -> HttpResponse:
    """What the catcher received, newest first."""
    within = request.space
    found = within.destinations.filter(public_id=destination).first()
    if found is None or not _catches(found):
        raise Http404
    rows, pager = listed(request, Caught.objects.filter(destination=found), order="-id")
    context = {"destination": found, "rows": [_caught(row) for row in rows], "pager": pager}
    return render(request, "destinations/caught.html", context)


def _held(subscriptions: list[Subscription]) -> list[tuple[Subscription, dict[str, int]]]:
    """Each with how many identifiers are over there, unknown, or refused. One query for all of them."""
    counts = (
        Acknowledged.objects.filter(subscription__in=subscriptions)
        .values("subscription")
        .annotate(
            inside=Count("id", filter=Q(state=Acknowledged.State.IN)),
            maybe=Count("id", filter=Q(state=Acknowledged.State.MAYBE)),
            refused=Count("id", filter=~Q(refused="")),
        )
    )
    found: dict[int, dict[str, int]] = {row["subscription"]: {**row} for row in counts}
    none = {"inside": 0, "maybe": 0, "refused": 0}
    return [(row, found.get(row.pk, none)) for row in subscriptions]


def _subscription(row: Subscription, held: dict[str, int]) -> dict[str, Any]:
    tone = STATUSES.get(Subscription.Status(row.status), "")
    return {"row": row, "pill": Pill(row.get_status_display(), tone), "held": held}


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
    return {"row": row, "who": who, "verb": verb, "subscription": subscription, "outcome": _outcome(row.outcome)}


def _outcome(key: str) -> Pill:
    return OUTCOMES.get(key, Pill(key))


def _caught(row: Caught) -> dict[str, Any]:
    body = row.body if isinstance(row.body, dict) else {}
    name = body.get("event") or body.get("type") or "request"
    who = body.get("userId") or body.get("anonymousId") or ""
    return {"row": row, "name": name, "who": who, "text": json.dumps(row.body, indent=2, ensure_ascii=False)}
