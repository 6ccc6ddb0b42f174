"""What can be done about a call that failed: try it alone, try all that waits, or nothing, and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from destinations.models import Acknowledged, Subscription
from destinations.queries import Delivery
from destinations.rules.backoff import LONGEST_ASKED
from spaces.clock import is_due

RetryScope = Literal["one", "all", ""]
STOPPED = (Subscription.Status.SUSPENDED, Subscription.Status.PARKED)
DELIVERED = "delivered"
SAYS = "Sends the present state of this identifier, once; what was acknowledged is not repeated."


@dataclass(frozen=True)
class RetryOption:
    """scope: "one" identifier can be tried at once, only "all" that waits can, or nothing has to be done."""

    scope: RetryScope
    about: str
    button: str = ""


def retry_options(calls: Iterable[tuple[Delivery, Subscription]], *, now: datetime) -> list[RetryOption | None]:
    """For each call, newest first, what can be done about it; None for one that was delivered. One query."""
    listed = list(calls)
    failed = [(call.subscription, call.identifier) for call, _ in listed if call.outcome != DELIVERED]
    # One query for the page; pairs that are not on it may come along, and are not looked at.
    subscriptions, identifiers = {key[0] for key in failed}, {key[1] for key in failed}
    acknowledged = Acknowledged.objects.filter(subscription__in=subscriptions, identifier__in=identifiers)
    rows = {(row.subscription_id, row.identifier): row for row in acknowledged}
    seen: set[tuple[int, int]] = set()
    options: list[RetryOption | None] = []
    for call, subscription in listed:
        key = (call.subscription, call.identifier)
        if call.outcome == DELIVERED:
            options.append(None)
        elif key in seen:
            options.append(RetryOption("", "There is a newer call about this identifier above: that one counts."))
        else:
            options.append(retry_option(subscription, rows.get(key), now=now))
        seen.add(key)
    return options


def retry_option(subscription: Subscription, row: Acknowledged | None, *, now: datetime) -> RetryOption:
    """What can be done for one identifier as it stands now, whatever became of the call in question."""
    if row is None or not (row.due or row.refused):
        return RetryOption("", "Settled since: the destination acknowledged it, or nothing has to be sent any more.")
    if subscription.held_back_by:
        return RetryOption("", f"Nothing goes out while the {subscription.held_back_by} is disabled.")
    name = subscription.destination.name
    stopped = subscription.status in STOPPED
    waits = stopped or not is_due(subscription.retry_at, now, longest=LONGEST_ASKED)
    if row.refused:  # trying again all that waits leaves out what was refused
        return RetryOption("one", f"{SAYS} It goes out once calls to {name} go on." if waits else SAYS, "Retry")
    if waits:
        why = "refuses or misses every call" if stopped else "does not answer"
        about = f"{name} {why}, so all calls to it wait. Trying again tries them all."
        return RetryOption("all", about, f"Retry all that waits for {name}")
    if not is_due(row.retry_at, now, longest=LONGEST_ASKED):
        return RetryOption("one", SAYS, "Retry")
    return RetryOption("", "It is tried again by itself within seconds.")
