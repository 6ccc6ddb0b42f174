"""What destinations were told about people who are to be forgotten: taken back, forwarded, and erased here."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from pyroaring import BitMap

from destinations import queries
from destinations.adapters import adapter_of
from destinations.models import Acknowledged, Destination, Subscription
from destinations.rules.contract import Address, PayloadComputation
from destinations.rules.send_batch import Unanswered
from destinations.send import turns_of
from destinations.steps import StepFailed, StepsBusy, take_steps
from destinations.transports import TRANSPORTS
from spaces.models import Space

TURN_S = 20.0  # of calls: no destination keeps a worker for longer
KEPT_HERE = "catcher"  # the transport whose calls never leave the installation


def acknowledged_of(space: Space, identifiers: BitMap, profiles: BitMap) -> "QuerySet[Acknowledged]":
    """What destinations of the space are known to hold of these identifiers, or of these people by others."""
    theirs = Q(identifier__in=[*identifiers]) | Q(profile__in=[*profiles])
    mine = Subscription.everything.filter(space=space).values("pk")
    return Acknowledged.objects.filter(theirs, subscription__in=[*mine.values_list("pk", flat=True)])


def take_back(rows: "QuerySet[Acknowledged]") -> None:
    """The next batch of each subscription takes these identifiers out, once nobody holds them any more.

    Not through the audience's change: a subscription that is behind, or that missed one, is told all the same.
    """
    rows.exclude(state=Acknowledged.State.OUT).update(due=True, retry_at=None, refused="")


def not_yet_out(rows: "QuerySet[Acknowledged]") -> "QuerySet[Acknowledged]":
    """Those of these that a destination may still hold, with their subscriptions."""
    rows = rows.select_related("subscription__destination", "subscription__audience")
    return rows.filter(~Q(state=Acknowledged.State.OUT) | Q(due=True)).exclude(
        # Nobody was ever told of whoever was refused from the first call on.
        Q(state=Acknowledged.State.OUT) & ~Q(refused="")
    )


@dataclass(frozen=True)
class ToldDestination:
    """A destination that was told of some of these people, and by which addresses."""

    destination: Destination
    addresses: Sequence[Address]


def told(rows: "QuerySet[Acknowledged]") -> list[ToldDestination]:
    """By destination, what the newest calls said of these people: nobody is told of an id that it has never seen."""
    kept: dict[int, dict[str, Address]] = {}
    destinations: dict[int, Destination] = {}
    for row in rows.select_related("subscription__destination"):
        destination = row.subscription.destination
        destinations[destination.pk] = destination
        values = {type: value for type, (_, value) in row.sent.items()}
        user_id, anonymous_id, email = (values.pop(type, None) for type in ("user_id", "anonymous_id", "email"))
        address = Address(user_id, anonymous_id, email, values)
        kept.setdefault(destination.pk, {})[repr(address)] = address
    return [ToldDestination(destinations[pk], [*addresses.values()]) for pk, addresses in sorted(kept.items())]


def can_delete(destination: Destination) -> bool:
    return adapter_of(destination.kind).delete is not None


def is_kept_here(destination: Destination) -> bool:
    """Whether what it is sent stays in our own tables, and is erased with them."""
    return adapter_of(destination.kind).transport == KEPT_HERE


def forward(destination: Destination, addresses: Iterable[Address], *, now: datetime) -> tuple[int, str]:
    """(how many it was made to forget, one after the other, why not the next); "" = all, or as many as fit in a turn.

    A call may be made again: who is not there any more is forgotten already. The reason is in our own words: a tool's
    answer, and the address that was called, may name the very person, and reasons are kept.
    """
    adapter = adapter_of(destination.kind)
    if adapter.delete is None:
        raise ValueError(f"{destination.kind} cannot delete")
    settings, in_turn = queries.settings_of(destination), turns_of(destination, longest_s=TURN_S)
    about = PayloadComputation("", "", "", destination.space.public_id)
    done, end = 0, time.monotonic() + TURN_S
    try:
        with TRANSPORTS[adapter.transport](destination, settings) as call:
            taken = take_steps(destination, None, adapter, about, settings, None, call=call, now=now)
            for address in addresses:
                if time.monotonic() > end:
                    break
                if in_turn:
                    in_turn()
                request = adapter.authorize(adapter.delete(address, settings, now), taken.remembered)
                answer = call(request)
                # Only where the address names the person does 404 say that nobody of that name is there.
                if not answer.ok and (request.method, answer.status) != ("DELETE", 404):
                    return done, f"It answered {answer.status}."
                done += 1
    except StepsBusy:
        return done, "Somebody else asks it for a token at the moment."
    except StepFailed:
        return done, "It gave no token."
    except Unanswered:
        return done, "It did not answer."
    return done, ""
