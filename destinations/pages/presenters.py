"""How destinations look on every page: pills, styles, cards; and the way back to where they are chosen."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from access.pages.tables import Pill
from access.requests import PageRequest
from destinations import queries
from destinations.adapters import adapter_of
from destinations.models import Destination, Subscription
from destinations.pages.destination_picker import CHOSEN
from destinations.rehearsal import RehearsedRequest
from destinations.rules.status import REFUSED, TONES
from destinations.rules.status import worst as worst_of

NOT_DELETED = "Nothing was deleted: the name that was typed is another one."
CATCHER = "catcher"  # the transport that keeps what it is given
OUTCOMES = {
    "delivered": Pill("Delivered", "good"),
    "retry": Pill("Will be tried again", "warn"),
    "refused": Pill("Refused", "bad"),
    "suspended": Pill("Suspended", "bad"),
    "filtered": Pill("Filtered"),
}
HELD_BACK = {
    "subscription": Pill("Disabled"),
    "destination": Pill("Destination disabled"),
}
STYLES = {
    "event": ("Send as events", "Each person who enters or leaves is an event there: good for campaigns and journeys."),
    "list": ("Send as a list", "Who was added and who was removed: good for tools that keep lists of people."),
}


@dataclass(frozen=True)
class StyleGroup:
    """Cards of one style, with what the style means."""

    style: str
    title: str
    about: str
    cards: Sequence[Any]


@dataclass(frozen=True)
class ShownRequest:
    """A rehearsed call as people read it. outcomes: (type, value, pill, reason) of each identifier."""

    call: RehearsedRequest
    body: str
    response: str
    outcomes: Sequence[tuple[str, str, Pill, str]]


def shown_request(call: RehearsedRequest) -> ShownRequest:
    outcomes = [(row.type, row.value, OUTCOMES[row.kind], row.reason) for row in call.outcomes]
    return ShownRequest(call, pretty(call.body), pretty(call.response), outcomes)


def pretty(body: str) -> str:
    """JSON as people read it; as it is when it is none, or the log has cut it off."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body


def status(row: Subscription) -> Pill:
    """What was switched off counts before whatever the sync stage says."""
    if row.held_back_by == "audience":
        return Pill(f"{row.audience.get_kind_display()} disabled")
    return HELD_BACK[row.held_back_by] if row.held_back_by else together([row])


def together(rows: Iterable[Subscription]) -> Pill:
    """How several stand: the worst of them, in its own words. There must be one."""
    going = list(rows)
    worst = worst_of(row.standing for row in going)
    # Only where it is the worst: how many are refused is no news while nothing gets through at all.
    refused = sum(row.counts.get("refused", 0) for row in going if row.standing == worst == REFUSED)
    label = f"{refused:,} refused" if refused else str(Subscription.Status(worst).label)
    return Pill(label, TONES[worst])


def working(row: Destination) -> Pill:
    """Whether calls get through to it: as its worst subscription stands; only enabled while nothing goes there."""
    if not row.enabled:
        return Pill("Disabled")
    going = queries.current_subscriptions(row)
    # Nothing of it says whether calls get through: only that it is switched on is known.
    idle = all(subscription.held_back_by for subscription in going)
    return Pill("Enabled", "" if going else "good") if idle else together(going)


def catches(row: Destination) -> bool:
    return adapter_of(row.kind).transport == CATCHER


def with_tallies(rows: Sequence[Subscription]) -> list[dict[str, Any]]:
    """Each subscription with its pill, its counts, and how many per cent of those desired are acknowledged."""
    tallies = queries.latest_counts(rows)
    return [{"row": row, "pill": status(row), **with_counts(tallies[row.pk])} for row in rows]


def grouped(cards: Iterable[tuple[str, Any]]) -> list[StyleGroup]:
    """(style, card) as groups, in the order of STYLES; those without a card are left out."""
    pairs = list(cards)
    groups = [StyleGroup(style, *STYLES[style], [card for own, card in pairs if own == style]) for style in STYLES]
    return [group for group in groups if group.cards]


def with_counts(tally: dict[str, int]) -> dict[str, Any]:
    """The counts, and how many per cent of those desired are acknowledged."""
    desired, acknowledged = tally["desired"], tally["acknowledged"]
    # More may be acknowledged than desired, while those who left are on their way out.
    percent = min(100.0, round(100 * acknowledged / desired, 1)) if desired else 0.0
    return {"tally": tally, "percent": percent}


NEW = "new"  # what the button that leads there sends as `to`


def to_make_one(request: PageRequest, back: str) -> str:
    """The address where a destination is made, and from which one comes back with it."""
    catalog = reverse("destination-catalog", args=[request.workspace.slug, request.space.slug])
    return f"{catalog}?{urlencode({'next': back})}"


def back_with(destination: Destination, back: str) -> str:
    """The address `back`, where the new destination is ticked if destinations are chosen there; "" stays so."""
    return f"{back}{'&' if '?' in back else '?'}{urlencode({CHOSEN: destination.public_id})}" if back else ""


def made_meanwhile(request: PageRequest) -> dict[str, dict[str, Any]]:
    """What the address ticks, with no options yet: it was made a moment ago, or ticked before that."""
    return {id: {} for id in request.GET.getlist(CHOSEN)}
