"""What can be done about a call that failed: try it alone, try all that waits, or nothing, and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from destinations.models import Acknowledged, Subscription
from destinations.queries import Delivery
from destinations.rules.backoff import LONGEST_ASKED
from spaces.clock import is_due

Way = Literal["one", "all", ""]
STOPPED = (Subscription.Status.SUSPENDED, Subscription.Status.PARKED)
DELIVERED = "delivered"
SAYS = "Says what holds for this identifier now, once; whatever was acknowledged is not repeated."


@dataclass(frozen=True)
class Again:
    """way: "one" identifier can be tried at once, only "all" that waits can, or nothing has to be done."""

    way: Way
    about: str
    button: str = ""


def ways(calls: Iterable[tuple[Delivery, Subscription]], *, now: datetime) -> list[Again | None]:
    """For each call, newest first, what can be done about it; None for one that was delivered. One query."""
    listed = list(calls)
    failed = [(call.subscription, call.identifier) for call, _ in listed if call.outcome != DELIVERED]
    rows = _rows(failed)
    told: set[tuple[int, int]] = set()
    found: list[Again | None] = []
    for call, subscription in listed:
        key = (call.subscription, call.identifier)
        if call.outcome == DELIVERED:
            found.append(None)
        elif key in told:
            found.append(Again("", "There is a newer call about this identifier above: that one counts."))
        else:
            found.append(way(subscription, rows.get(key), now=now))
        told.add(key)
    return found


def way(subscription: Subscription, row: Acknowledged | None, *, now: datetime) -> Again:
    """What can be done for one identifier as it stands now, whatever became of the call in question."""
    if row is None or not (row.due or row.refused):
        return Again("", "Settled since: the destination acknowledged it, or it is no longer to be said.")
    if subscription.held_back_by:
        return Again("", f"Nothing goes out while the {subscription.held_back_by} is disabled.")
    name = subscription.destination.name
    stopped = subscription.status in STOPPED
    waits = stopped or not is_due(subscription.retry_at, now, longest=LONGEST_ASKED)
    if row.refused:  # trying again all that waits leaves out what was refused
        return Again("one", f"{SAYS} It goes out once calls to {name} go on." if waits else SAYS, "Retry")
    if waits:
        why = "refuses or misses every call" if stopped else "does not answer"
        about = f"{name} {why}, so all calls to it wait. Trying again tries them all."
        return Again("all", about, f"Retry all that waits for {name}")
    if not is_due(row.retry_at, now, longest=LONGEST_ASKED):
        return Again("one", SAYS, "Retry")
    return Again("", "It is tried again by itself within seconds.")


def _rows(keys: list[tuple[int, int]]) -> dict[tuple[int, int], Acknowledged]:
    if not keys:
        return {}
    subscriptions, identifiers = {key[0] for key in keys}, {key[1] for key in keys}
    found = Acknowledged.objects.filter(subscription__in=subscriptions, identifier__in=identifiers)
    return {(row.subscription_id, row.identifier): row for row in found}
