"""How many people, or accounts, may go to a destination in one go without anybody's nod: a share of the space's."""

from destinations import queries
from destinations.models import Subscription
from identity import queries as identity


def cap_of(subscription: Subscription) -> int | None:
    """People; None = as many as there are."""
    # Counted only where there is a cap: of a million people it takes a tenth of a second.
    percent = queries.sending_of(subscription).cap_percent
    if not percent:
        return None
    kind = identity.COLLECTIONS[subscription.audience.of]
    return identity.living(subscription.space, kind).count() * percent // 100


def is_over(subscription: Subscription, people: int) -> bool:
    cap = cap_of(subscription)
    return cap is not None and people > cap
