"""What a destination itself says that it holds, where it can be asked, against whom it should hold.

What it acknowledged is what is known otherwise (`reconciliation`): that is no help when somebody changed things over
there, or the tool lost what it had.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction
from django.db.models import F
from pyroaring import BitMap

from access.services import ActorLike, NotPossible, audit
from destinations import queries
from destinations.adapters import adapter_of
from destinations.calls import address_of
from destinations.intake import Recipients, recipients_of
from destinations.models import Acknowledged, Subscription
from destinations.rules.send_batch import Unanswered
from destinations.send import turns_of
from destinations.steps import StepFailed, take_steps
from destinations.transports import TRANSPORTS
from destinations.transports.http import LONGEST_LOOK_UP
from identity.models import Identifier
from spaces import personal
from spaces.chunks import chunks
from spaces.clock import clock
from spaces.settings_schema import load_stored

FIRST = 50  # of each side that are shown
MOST = 200_000  # identifiers that are compared while somebody waits
AT_A_TIME = 5_000

# (type, value), as the destination knows it. Most name a person by one text, which is of no type that we have.
PresentIdentifier = tuple[str, str]

PATIENCE_S = 20.0  # of calls, while somebody waits


class CannotBeAsked(NotPossible):
    """By its kind, or as it is set up. reason: a sentence without its end."""

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"{label} cannot be asked whom it holds. {reason}")
        self.reason = reason


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
    """missing: {as it is known there: numbers of identifiers} that should be there. extra: what is there, without
    numbers when nobody here has it."""

    desired: int
    existing: int
    missing: dict[PresentIdentifier, BitMap]
    extra: dict[PresentIdentifier, BitMap]


class _Tool:
    """How one subscription's destination is asked, and what it calls people. Raises NotPossible where it cannot be."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._adapter = adapter_of(subscription.destination.kind)
        if self._adapter.members is None and self._adapter.transport != "catcher":
            raise CannotBeAsked(self._adapter.label, self._adapter.unread)
        self._settings = queries.settings_of(subscription.destination)
        options = self._adapter.options_for(subscription.audience.kind)
        self._options = load_stored(options, subscription.options)
        self.rules = queries.identifier_rules(subscription)

    def name(self, type: str, value: str, recipients: Recipients) -> PresentIdentifier:
        """What an identifier is called there, value as it is shown there. recipients: whom its calls are about."""
        if self._adapter.members is None:
            return type, value
        return self._adapter.members.kind, self._adapter.members.name(address_of(recipients), self._settings)

    def existing(self) -> set[PresentIdentifier] | None:
        """Who is there, of the types that go there; None when they are too many."""
        subscription, members = self._subscription, self._adapter.members
        if members is None:
            caught = queries.members_at_catcher(subscription.destination, subscription.audience.key)
            # What goes along with others is there as well, and is not what is compared.
            return {identifier for identifier in caught if identifier[0] in self.rules}
        names: set[PresentIdentifier] = set()
        until, following = time.monotonic() + PATIENCE_S, ""
        about, in_turn = queries.about(subscription), turns_of(subscription.destination, longest_s=PATIENCE_S)
        with TRANSPORTS[self._adapter.transport](subscription.destination, self._settings) as call:
            try:
                # A token, and the id of the list: as a batch would ask for them, so that both know the same.
                taken = take_steps(
                    *(subscription.destination, subscription, self._adapter, about, self._settings, self._options),
                    call=call,
                    now=clock.now(),
                    in_turn=in_turn,
                )
                about = replace(about, remembered=taken.remembered)
                # A page names the next one: the tool may change while it is read, and is compared again after a mend.
                while request := members.ask(about, self._settings, self._options, following):
                    if time.monotonic() > until or len(names) > MOST or (in_turn and not in_turn()):
                        return None
                    answer = call(self._adapter.authorize(request, taken.remembered))
                    # Said in the tool's own words: whoever set it up knows what they mean.
                    if not answer.ok:
                        raise NotPossible(f"It answered {answer.status} {answer.text()}".strip())
                    if len(answer.body) >= LONGEST_LOOK_UP:  # it went on, and was read no further
                        return None
                    page = members.read(request, answer)
                    names |= {(members.kind, name) for name in page.names}
                    following = page.following
                    if not following:
                        return names
            except (StepFailed, Unanswered, ValueError, LookupError, TypeError) as error:
                raise NotPossible(f"It could not be asked: {error}") from error
        raise CannotBeAsked(self._adapter.label, members.wants)


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
        strangers=sum(not numbers for numbers in compared.extra.values()),
    )


def mend(subscription: Subscription, *, by: ActorLike) -> int:
    """What is known of the destination is what it says, so that the sync stage sends what differs. How many differ.

    Raises NotPossible where it cannot be asked, or when they are too many.
    """
    compared = _compare(subscription)
    if compared is None:
        raise NotPossible("There are too many to compare at once: a resync sends everybody")
    rules = queries.identifier_rules(subscription)
    missing, extra = (BitMap().union(*side.values()) for side in (compared.missing, compared.extra))
    with transaction.atomic():
        # Held: a batch that is being prepared would mark rows that change here.
        Subscription.objects.select_for_update().get(pk=subscription.pk)
        known = Acknowledged.objects.filter(subscription=subscription)
        # What waits for a call already is not touched: that call says what is right. Ids of messages are new, for a
        # receiver that lost what it had must not take these calls for repetitions.
        for numbers in chunks([*missing], AT_A_TIME):
            settled = known.filter(identifier__in=numbers, due=False)
            settled.update(state=Acknowledged.State.OUT, flip=F("flip") + 1, refused="")
        for numbers in chunks([*extra], AT_A_TIME):
            settled = known.filter(identifier__in=numbers, due=False)
            settled.update(state=Acknowledged.State.IN, entering=True, flip=F("flip") + 1, refused="")
        unknown = extra - BitMap(known.values_list("identifier", flat=True))
        identifiers = Identifier.objects.filter(space=subscription.space_id, number__in=[*unknown])
        columns: dict[str, Any] = {"workspace_id": subscription.workspace_id, "subscription": subscription}
        columns |= {"state": Acknowledged.State.IN, "entering": True, "flip": 1, "at": clock.now()}
        Acknowledged.objects.bulk_create(
            Acknowledged(identifier=number, profile=owner, sent={type: [number, rules[type].shown(value)]}, **columns)
            for number, type, value, owner in identifiers.values_list("number", "type", "value", "profile")
        )
        # Compared at once: what is known is not what is wanted any more, and no change says so.
        Subscription.objects.filter(pk=subscription.pk).update(compare_at=None, repeated=0)
        audit(by, "subscription.mended", subscription, missing=len(compared.missing), extra=len(extra))
    subscription.refresh_from_db()
    return len(compared.missing) + len(extra)


def _compare(subscription: Subscription) -> _Compared | None:
    tool = _Tool(subscription)
    desired = queries.desired_identifiers(
        subscription, queries.eligible(subscription, queries.desired_members(subscription))
    )
    # The tool is not asked at all when ours alone are too many.
    existing = tool.existing() if len(desired) <= MOST else None
    if existing is None or len(existing) > MOST:
        return None
    wanted: dict[PresentIdentifier, BitMap] = {}
    for numbers in chunks([*desired], AT_A_TIME):
        rows = Identifier.objects.filter(space=subscription.space_id, number__in=numbers)
        identifiers = list(rows.values_list("number", "type", "value", "profile"))
        recipients = recipients_of(subscription, identifiers)
        for number, type, value, _ in identifiers:
            name = tool.name(type, tool.rules[type].shown(value), recipients[number])
            # Several identifiers of one person may go by one name there, such as a row of a table.
            wanted.setdefault(name, BitMap()).add(number)
    missing = {name: numbers for name, numbers in wanted.items() if name not in existing}
    extra = _numbers(subscription, tool, existing - wanted.keys())
    return _Compared(len(wanted), len(existing), missing, extra)


def _numbers(subscription: Subscription, tool: _Tool, names: set[PresentIdentifier]) -> dict[PresentIdentifier, BitMap]:
    """The numbers in the space of what is called so there; none of what nobody here has."""
    numbers = {name: BitMap() for name in names}
    # Of a digest, and of somebody who is called by another identifier, it is known only of who was sent.
    # Only when somebody is too many, since all that was sent is read for it.
    for row in Acknowledged.objects.filter(subscription=subscription).iterator() if names else ():
        own = next(((type, value) for type, (number, value) in row.sent.items() if number == row.identifier), None)
        if own and (name := tool.name(*own, row.sent)) in numbers:
            numbers[name].add(row.identifier)
    by_value = {value: name for name in names if not numbers[name] for value in [name[1]]}
    for values in chunks([*by_value], AT_A_TIME):
        rows = Identifier.objects.filter(space=subscription.space_id, type__in=[*tool.rules], value__in=values)
        for number, type, value in rows.values_list("number", "type", "value"):
            name = by_value[value]
            if tool.name(type, value, {type: (number, value)}) == name:
                numbers[name].add(number)
    return numbers
