"""Audiences that end: everybody is sent out of their destinations first, and they are deleted when that is done.

Nothing is told to the subscriptions. Of an audience that ends nobody is desired (queries.desired_members), so that a
comparison finds whoever is left, and the sync stage sends them out. What had been read before the end was noted may
still be under way: only a comparison SETTLED after it says that nobody is there.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from access.services import COMMAND, NotPossible
from audiences.models import Audience
from audiences.services import delete_audience
from destinations.intake import SETTLED
from destinations.models import Subscription

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeavingFrom:
    """How far an audience that ends is at one destination. left: identifiers; None = not counted yet."""

    subscription: Subscription
    left: int | None
    done: bool


def leaving(audience: Audience) -> Sequence[LeavingFrom]:
    """How far it is, of an audience that ends, by the name of the destination."""
    subscriptions = audience.subscriptions.select_related("destination").order_by("destination__name", "pk")
    return [_leaving_from(audience, subscription) for subscription in subscriptions]


def emptied() -> list[int]:
    """Audiences that end and of which nobody is left anywhere. One that was never computed has sent nobody."""
    ending = Audience.objects.filter(ending_at__isnull=False, deleted_at=None)
    return [
        audience.pk
        for audience in ending
        if audience.serving_id is None
        or all(_leaving_from(audience, subscription).done for subscription in audience.subscriptions.all())
    ]


def finish(pk: int, now: datetime) -> bool:
    """The audience is deleted. False when it cannot be, or was."""
    audience = Audience.objects.filter(pk=pk, deleted_at=None).select_related("space").first()
    if audience is None:
        return False
    try:
        delete_audience(audience, now=now, by=COMMAND)
    except NotPossible as refusal:
        logger.warning("audience %s ends and cannot be deleted: %s", audience.public_id, refusal)
        return False
    return True


def _leaving_from(audience: Audience, subscription: Subscription) -> LeavingFrom:
    compared_at, ending_at = subscription.compared_at, audience.ending_at
    if ending_at is None or compared_at is None or compared_at < ending_at:
        return LeavingFrom(subscription, None, done=False)
    counts = subscription.counts
    # Those that may be there count too; those due may be counted in both, so the larger number is shown.
    left = max(counts["acknowledged"] + counts["maybe"], counts["due"])
    return LeavingFrom(subscription, left, done=left == 0 and compared_at >= ending_at + SETTLED)
