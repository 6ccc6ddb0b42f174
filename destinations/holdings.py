"""What a destination itself says that it holds, where it can be asked, against whom it should hold.

What it acknowledged is what is known otherwise (`reconciliation`): that is no help when somebody changed things over
there, or the tool lost what it had.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F
from pyroaring import BitMap

from access.services import ActorLike, NotPossible, audit
from destinations import queries
from destinations.adapters import adapter_of
from destinations.models import Acknowledged, Destination, Subscription
from destinations.rules.sending import IdentifierRule
from identity.models import Identifier
from spaces import personal
from spaces.chunks import chunks
from spaces.clock import clock

FIRST = 50  # of each side that are shown
MOST = 200_000  # identifiers that are compared while somebody waits
AT_A_TIME = 5_000

PresentIdentifier = tuple[str, str]  # (type, value), as the destination knows it

# How those who are in an audience are read, by the transport of the kind. Where there is none, nobody can ask.
READERS: dict[str, Callable[[Destination, str], Sequence[PresentIdentifier]]] = {"catcher": queries.members_at_catcher}


@dataclass(frozen=True)
class Holdings:
    """Whom the destination holds, and whom it should. missing, extra: the first, to be shown, and how many there are.

    strangers: of the extra ones those that nobody in the space has, so that nothing can be done about them from here.
    """

    desired: int
    existing: int
    missing: Sequence[PresentIdentifier]
    missing_count: int
    extra: Sequence[PresentIdentifier]
    extra_count: int
    strangers: int

    @property
    def equal(self) -> bool:
        return not (self.missing_count or self.extra_count)


@dataclass(frozen=True)
class _Compared:
    """missing: {identifier: number} that should be there. extra: what is there, number 0 = nobody here has it."""

    desired: int
    existing: int
    missing: dict[PresentIdentifier, int]
    extra: dict[PresentIdentifier, int]


def readable(subscription: Subscription) -> bool:
    """Whether the destination can be asked whom it holds."""
    return adapter_of(subscription.destination.kind).transport in READERS


def holdings(subscription: Subscription) -> Holdings | None:
    """What it says now, against what is desired now. None when they are too many to be compared at once.

    Raises NotPossible where it cannot be asked.
    """
    compared = _compare(subscription)
    if compared is None:
        return None
    return Holdings(
        desired=compared.desired,
        existing=compared.existing,
        missing=personal.pairs(sorted(compared.missing)[:FIRST]),
        missing_count=len(compared.missing),
        extra=personal.pairs(sorted(compared.extra)[:FIRST]),
        extra_count=len(compared.extra),
        strangers=sum(number == 0 for number in compared.extra.values()),
    )


def mend(subscription: Subscription, *, by: ActorLike) -> int:
    """What is known of the destination is what it says, so that the sync stage sends what differs. How many differ.

    Raises NotPossible where it cannot be asked, or when they are too many.
    """
    compared = _compare(subscription)
    if compared is None:
        raise NotPossible("There are too many to compare at once: a resync sends everybody")
    extra = {identifier: number for identifier, number in compared.extra.items() if number}
    with transaction.atomic():
        # Held: a batch that is being prepared would mark rows that change here.
        Subscription.objects.select_for_update().get(pk=subscription.pk)
        known = Acknowledged.objects.filter(subscription=subscription)
        # What waits for a call already is not touched: that call says what is right. Ids of messages are new, for a
        # receiver that lost what it had must not take these calls for repetitions.
        for numbers in chunks([*compared.missing.values()], AT_A_TIME):
            settled = known.filter(identifier__in=numbers, due=False)
            settled.update(state=Acknowledged.State.OUT, flip=F("flip") + 1, refused="")
        for numbers in chunks([*extra.values()], AT_A_TIME):
            settled = known.filter(identifier__in=numbers, due=False)
            settled.update(state=Acknowledged.State.IN, entering=True, flip=F("flip") + 1, refused="")
        unknown = BitMap(extra.values()) - BitMap(known.values_list("identifier", flat=True))
        owners = dict(
            Identifier.objects.filter(space=subscription.space_id, number__in=[*unknown]).values_list(
                "number", "profile"
            )
        )
        columns: dict[str, Any] = {"workspace_id": subscription.workspace_id, "subscription": subscription}
        columns |= {"state": Acknowledged.State.IN, "entering": True, "flip": 1, "at": clock.now()}
        Acknowledged.objects.bulk_create(
            Acknowledged(identifier=number, profile=owners[number], sent={type: [number, value]}, **columns)
            for (type, value), number in extra.items()
            if number in owners
        )
        # Compared at once: what is known is not what is wanted any more, and no change says so.
        Subscription.objects.filter(pk=subscription.pk).update(compare_at=None, repeated=0)
        audit(by, "subscription.mended", subscription, missing=len(compared.missing), extra=len(extra))
    subscription.refresh_from_db()
    return len(compared.missing) + len(extra)


def _compare(subscription: Subscription) -> _Compared | None:
    read = READERS.get(adapter_of(subscription.destination.kind).transport)
    if read is None:
        raise NotPossible("This destination cannot be asked whom it holds")
    rules = queries.identifier_rules(subscription)
    people = queries.eligible(subscription, queries.desired_members(subscription))
    desired = queries.desired_identifiers(subscription, people)
    # What goes along with others is there as well, and is not what is compared.
    existing = {
        identifier for identifier in read(subscription.destination, subscription.audience.key) if identifier[0] in rules
    }
    if max(len(desired), len(existing)) > MOST:
        return None
    wanted: dict[PresentIdentifier, int] = {}
    for numbers in chunks([*desired], AT_A_TIME):
        rows = Identifier.objects.filter(space=subscription.space_id, number__in=numbers)
        for number, type, value in rows.values_list("number", "type", "value"):
            wanted[type, rules[type].shown(value)] = number
    missing = {identifier: number for identifier, number in wanted.items() if identifier not in existing}
    extra = existing - wanted.keys()
    return _Compared(len(wanted), len(existing), missing, _numbers(subscription, extra, rules))


def _numbers(
    subscription: Subscription, existing: set[PresentIdentifier], rules: dict[str, IdentifierRule]
) -> dict[PresentIdentifier, int]:
    """The number of each in the space; 0 of those that nobody has: of a digest it is known only of who was sent."""
    numbers = dict.fromkeys(existing, 0)
    for part in chunks(sorted(existing), AT_A_TIME):
        rows = Identifier.objects.filter(
            space=subscription.space_id, type__in={type for type, _ in part}, value__in={value for _, value in part}
        )
        for number, type, value in rows.values_list("number", "type", "value"):
            if (type, value) in numbers:
                numbers[type, value] = number
    if any(rules[type].hash != "none" for type, _ in existing):
        for row in Acknowledged.objects.filter(subscription=subscription).iterator():
            own = ((type, value) for type, (number, value) in row.sent.items() if number == row.identifier)
            numbers |= {identifier: row.identifier for identifier in own if identifier in numbers}
    return numbers
