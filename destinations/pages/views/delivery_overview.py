"""The page that says what became of everything that was to be sent, and how far each subscription is."""

from datetime import timedelta
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.timezone import localtime

from access.pages.charts import bars
from access.requests import PageRequest
from destinations.delivery_overview import RANGES, delivered_a_minute, delivery_overview, time_left
from destinations.models import Subscription
from destinations.pages.presenters import OUTCOMES, with_tallies
from destinations.pages.views.deliveries import filters_of
from spaces.clock import clock
from spaces.needs import needs

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
