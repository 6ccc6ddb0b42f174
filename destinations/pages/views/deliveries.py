"""Pages about deliveries: what became of all that was to be sent, every call, and what the catcher received."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.timezone import localtime

from access.pages.charts import bars
from access.pages.tables import Pager, Pill, listed, row_number
from access.requests import PageRequest
from access.services import NotPossible
from audiences.models import Audience
from destinations import queries, services
from destinations.adapters import adapter_of
from destinations.delivery_overview import RANGES, delivered_a_minute, delivery_overview, overview_since, time_left
from destinations.models import Caught, Subscription
from destinations.pages.presenters import OUTCOMES, catches, pretty, with_tallies, working
from destinations.retry import retry_options
from spaces import personal
from spaces.clock import clock
from spaces.needs import needs

ROWS = 50


@dataclass(frozen=True)
class DeliveryFilter:
    """A choice above the log. any: what it is called when nothing is chosen. options: (key, label)."""

    name: str
    label: str
    any: str
    options: Sequence[tuple[str, str]]
    chosen: str


@needs("space.read", POST="space.use")
def deliveries(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """Which audience goes where, in what state, and the calls that the filter leaves, newest first.

    A POST tries again what failed: what waits about one identifier, or all that waits for its destination.
    """
    if request.method == "POST":
        return _retry(request) if "subscription" in request.POST else HttpResponseBadRequest()
    within = request.space
    rows = list(within.subscriptions.select_related("audience", "destination"))
    living = [row for row in rows if row.audience.deleted_at is None]
    filters, person = filters_of(request, rows), request.GET.get("person", "").strip()[:600]
    log, pager = _log(request, rows, {filter.name: filter.chosen for filter in filters}, person)
    destinations = queries.with_subscriptions(within.destinations.all()).order_by("name", "id")
    context = {
        "subscriptions": with_tallies(living),
        "destinations": [
            {
                "row": row,
                "label": adapter_of(row.kind).label,
                "caught_url": reverse("caught", args=[workspace, space, row.public_id]) if catches(row) else "",
                "pill": working(row),
            }
            for row in destinations
        ],
        "log": log,
        "pager": pager,
        "filters": filters,
        "person": person,
        "filtered": bool(person) or any(filter.chosen for filter in filters),
    }
    return render(request, "destinations/deliveries.html", context)


def _retry(request: PageRequest) -> HttpResponse:
    asked, identifier = request.POST["subscription"], request.POST.get("identifier", "")
    row = get_object_or_404(request.space.subscriptions.select_related("destination"), public_id=asked)
    if request.POST.get("do") == "all":
        services.resume(row, by=request)
        messages.success(request, f"Everything that waits for {row.destination.name} is tried again now.")
    else:
        number = row_number(identifier)
        if number is None:
            raise Http404
        try:
            services.retry_one(row, number, by=request)
        except NotPossible as error:
            messages.info(request, f"{error}.")
        else:
            messages.success(request, "It is tried again now. The new call is in the log within seconds.")
    return redirect(f"{request.get_full_path()}#log")


def _log(
    request: PageRequest, rows: Sequence[Subscription], chosen: dict[str, str], person: str
) -> tuple[list[dict[str, Any]], Pager]:
    """One page of the calls. A filter that names nothing there is leaves none."""
    own = {
        row.pk: row
        for row in rows
        if chosen["destination"] in ("", row.destination.public_id)
        and chosen["audience"] in ("", row.audience.public_id)
    }
    identifier = queries.identifier_like(request.space, person) if person else None
    if person and identifier is None:
        return [], Pager("", "", "")
    # Anything may stand in an address; beyond five digits no log is read page by page.
    page = int(text) if (text := request.GET.get("page", "")).isascii() and text.isdigit() and len(text) < 6 else 1
    subscriptions = request.space.subscriptions.filter(pk__in=own)
    outcome = chosen["outcome"] or None
    # Not counted, as other lists are: the log may have many millions of lines.
    calls = queries.deliveries(
        subscriptions,
        space=request.space,
        outcome=outcome,
        identifier=identifier,
        since=overview_since(RANGES[chosen["range"]], clock.now()) if chosen["range"] else None,
        newest=bool(chosen["newest"]),
    )
    start = max(page - 1, 0) * ROWS
    newest = calls[start : start + ROWS + 1]  # one more than a page shows: is there a next page?
    back = _page_url(request, page - 1) if page > 1 else ""
    on = _page_url(request, page + 1) if len(newest) > ROWS else ""
    calls_of_page = [(row, own[row.subscription]) for row in newest[:ROWS]]
    retries = retry_options(calls_of_page, now=clock.now())
    log = []
    for (row, subscription), retry in zip(calls_of_page, retries, strict=True):
        entered, left = VERBS[subscription.audience.kind]
        log.append(
            {
                "row": row,
                "who": f"{row.who['type']}: {row.who['value']}" if row.who else "somebody who is gone",
                "verb": entered if row.entering else left,
                "subscription": subscription,
                "retry": retry,
                "outcome": OUTCOMES.get(row.outcome, Pill(row.outcome)),
                "request": pretty(row.request),
            }
        )
    return log, Pager(back, on, f"Page {page}", "Newer")


def _page_url(request: PageRequest, page: int) -> str:
    query = request.GET.copy()
    query["page"] = str(page)
    return f"?{query.urlencode()}#log"


def filters_of(request: PageRequest, rows: Sequence[Subscription]) -> list[DeliveryFilter]:
    destinations = {row.destination.public_id: row.destination.name for row in rows}
    audiences = {row.audience.public_id: row.audience.name for row in rows}
    outcomes = {key: OUTCOMES[key].label for key in queries.OUTCOMES}
    outcomes |= {"failed": "Failed: refused or suspended", "mapped": "Sent, whatever came of it"}
    ranges = {key: f"The last {chosen.label}" for key, chosen in RANGES.items()}
    return [
        _filter(request, "destination", "Destination", "All destinations", destinations),
        _filter(request, "audience", "Audience", "All audiences", audiences),
        _filter(request, "outcome", "Outcome", "All outcomes", outcomes),
        _filter(request, "range", "Time", "At any time", ranges, arranged=False),
        _filter(request, "newest", "Attempts", "Every attempt", {"1": "The newest attempt of each"}),
    ]


def _filter(
    request: PageRequest, name: str, label: str, any: str, options: dict[str, str], *, arranged: bool = True
) -> DeliveryFilter:
    """What the address names counts only when there is such a thing. arranged: by label."""
    asked = request.GET.get(name, "")
    choices = sorted(options.items(), key=lambda option: option[1]) if arranged else list(options.items())
    return DeliveryFilter(name, label, any, choices, asked if asked in options else "")


# What is true of somebody since a call: of an audience, of a computed trait.
VERBS: dict[str, tuple[str, str]] = {
    Audience.Kind.AUDIENCE: ("entered", "left"),
    Audience.Kind.TRAIT: ("has a new value of", "has no value any more of"),
}


@needs("space.read")
def caught(request: PageRequest, workspace: str, space: str, destination: str) -> HttpResponse:
    """What the catcher received, newest first, and who is in the audience `?key=` by that."""
    within = request.space
    catcher = within.destinations.filter(public_id=destination).first()
    if catcher is None or not catches(catcher):
        raise Http404
    rows, pager = listed(request, Caught.objects.filter(destination=catcher), order="-id")
    keys = list(catcher.subscriptions.order_by("audience__key").values_list("audience__key", flat=True))
    key = request.GET.get("key", "") if request.GET.get("key") in keys else ""
    stated = queries.stated_at_catcher(catcher, key) if key else ()
    shown = [who for who, _ in stated[:ROWS]]
    context = {
        "destination": catcher,
        "rows": [_caught(row) for row in rows],
        "pager": pager,
        "keys": keys,
        "key": key,
        "stated": [
            (*who, personal.payload({key: value})[key])
            for who, (_, value) in zip(personal.pairs(shown), stated[:ROWS], strict=True)
        ],
        "size": len(stated),
    }
    return render(request, "destinations/caught.html", context)


def _caught(row: Caught) -> dict[str, Any]:
    shown = personal.payload(row.body)
    body = shown if isinstance(shown, dict) else {}
    name = body.get("event") or body.get("type") or "request"
    who = body.get("userId") or body.get("anonymousId") or ""
    return {"row": row, "name": name, "who": who, "text": json.dumps(shown, indent=2, ensure_ascii=False)}


# (attribute of a DeliveryOverview, label, what it counts, outcome in the log)
STAGES = (
    ("entered", "In", "messages about identifiers that changed", ""),
    ("filtered", "Filtered", "kept out by filters or a want of consent", "filtered"),
    ("mapped", "Mapped", "made into calls", "mapped"),
    ("delivered", "Delivered", "acknowledged", "delivered"),
    ("retrying", "Retrying", "wait for another try", "retry"),
    ("failed", "Failed", "refused, or the destination is suspended", "failed"),
)


@needs("space.read")
def overview(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """How many messages of `?range=` were filtered, delivered, wait or failed, why, and how fast; each number leads to
    its rows. And of each subscription how far it is, how fast, and when it was last in step."""
    now = clock.now()
    rows = [
        row
        for row in request.space.subscriptions.select_related("audience", "destination").order_by(
            "audience__name", "pk"
        )
        if row.audience.deleted_at is None
    ]
    filters = filters_of(request, rows)[:2]
    chosen = {filter.name: filter.chosen for filter in filters}
    shown = [
        row
        for row in rows
        if chosen["destination"] in ("", row.destination.public_id)
        and chosen["audience"] in ("", row.audience.public_id)
    ]
    asked = request.GET.get("range", "")
    range_key = asked if asked in RANGES else "1d"
    numbers = [row.pk for row in shown]
    result = delivery_overview(request.space, numbers, chosen=RANGES[range_key], now=now)
    rates = delivered_a_minute(request.space, numbers, now)
    # The log opens with the same choices, so that it has as many lines as the number said.
    link = {**{name: value for name, value in chosen.items() if value}, "range": range_key, "newest": "1"}
    written = "%d %b" if RANGES[range_key].step >= timedelta(hours=6) else "%H:%M"  # below the bars of the chart
    log = f"{reverse('deliveries', args=[request.workspace.slug, request.space.slug])}?{urlencode(link)}"
    context = {
        "overview": result,
        "stages": [
            (label, about, getattr(result, name), f"{log}{f'&outcome={outcome}' if outcome else ''}#log")
            for name, label, about, outcome in STAGES
        ],
        "reasons": [
            (OUTCOMES[reason.outcome], reason, f"{log}&outcome={reason.outcome}#log") for reason in result.reasons
        ],
        "chart": bars(
            [(f"{localtime(bucket.at):{written}}", bucket.delivered) for bucket in result.buckets],
            label=f"Calls delivered in the last {RANGES[range_key].label}",
        ),
        "troubles": sum(bucket.other for bucket in result.buckets),
        "filters": filters,
        "ranges": [(key, chosen.label, key == range_key) for key, chosen in RANGES.items()],
        "range": range_key,
        "subscriptions": [
            {**entry, "rate": rates.get(entry["row"].pk, 0.0), "left": _left(entry["row"], rates)}
            for entry in with_tallies(shown)
        ],
    }
    return render(request, "destinations/overview.html", context)


def _left(row: Subscription, rates: dict[int, float]) -> str:
    """How long it still takes, as text; "" when nobody can say, or there is nothing left."""
    left = time_left(row, rates.get(row.pk, 0.0)) if row.status == Subscription.Status.SYNCING else None
    if left is None:
        return ""
    minutes = max(1, round(left / timedelta(minutes=1)))
    return f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"
