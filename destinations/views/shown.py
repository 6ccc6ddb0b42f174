"""How destinations and subscriptions look on every page: pills, styles, cards."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from access.listing import Pill
from destinations import queries
from destinations.adapters import adapter_of
from destinations.models import Destination, Subscription

NOT_DELETED = "Nothing was deleted: the name that was typed is another one."
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
STYLES = {
    "event": ("Send as events", "Each person who enters or leaves is an event there: good for campaigns and journeys."),
    "list": ("Send as a list", "Who was added and who was removed: good for tools that keep lists of people."),
}


@dataclass(frozen=True)
class Group:
    """Cards of one style, with what the style means."""

    style: str
    title: str
    about: str
    cards: Sequence[Any]


def status(row: Subscription) -> Pill:
    """What was switched off counts before whatever the sync stage says."""
    if row.held_back_by:
        return HELD_BACK[row.held_back_by]
    return Pill(row.get_status_display(), STATUSES.get(Subscription.Status(row.status), ""))


def enabled(row: Destination) -> Pill:
    return Pill("Enabled", "good") if row.enabled else Pill("Disabled")


def catches(row: Destination) -> bool:
    return adapter_of(row.kind).transport == CATCHER


def with_tallies(rows: Sequence[Subscription]) -> list[dict[str, Any]]:
    """Each subscription with its pill, its counts, and how many per cent of those desired are acknowledged."""
    tallies = queries.tallies(rows)
    return [{"row": row, "pill": status(row), **_counts(tallies[row.pk])} for row in rows]


def grouped(cards: Iterable[tuple[str, Any]]) -> list[Group]:
    """(style, card) as groups, in the order of STYLES; those without a card are left out."""
    pairs = list(cards)
    groups = [Group(style, *STYLES[style], [card for own, card in pairs if own == style]) for style in STYLES]
    return [group for group in groups if group.cards]


def _counts(tally: dict[str, int]) -> dict[str, Any]:
    desired, acknowledged = tally["desired"], tally["acknowledged"]
    percent = min(100.0, round(100 * acknowledged / desired, 1)) if desired else 0.0
    return {"tally": tally, "percent": percent}
