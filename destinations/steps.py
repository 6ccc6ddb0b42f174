"""What an adapter has to be told before any call: tokens, and the ids of lists. Asked once, and kept sealed.

Whoever needs a value that is not known holds a lock until the answer is kept, but no transaction: others may read and
write meanwhile, however long the tool takes. So a token is renewed by one process for all audiences that go to its
destination, and no list is created twice side by side.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from django.db import transaction
from django.db.models import Q

from destinations.models import Destination, RememberedValues, Subscription
from destinations.rules.contract import (
    Adapter,
    AdapterStep,
    CallOutcome,
    DestinationRequest,
    PayloadComputation,
    RememberedAnswer,
)
from destinations.rules.send_batch import Attempt, Unanswered
from spaces.answers import Answer
from spaces.batches import owning_in_between
from spaces.secrets import Unopenable, open_sealed, seal
from spaces.times import milliseconds

logger = logging.getLogger(__name__)

LEFT_S = 60.0  # a token that ends sooner is not begun a batch with
LOCKED_S = 5.0  # what another process is told meanwhile is waited for; then others have their turn
Values = dict[str, tuple[str, int | None]]  # {name: (value, end in ms)}


@dataclass(frozen=True)
class TakenSteps:
    """remembered: all values, by name. tokens: those of them that end. new: whether one of these was given just now."""

    remembered: Mapping[str, str]
    tokens: tuple[str, ...] = ()
    new: bool = False


class StepFailed(Exception):
    """A step was refused, or not answered. `attempt`: the call, for no row yet; `outcome`: what it means for all;
    `taken`: the steps before it."""

    def __init__(self, attempt: Attempt, outcome: CallOutcome) -> None:
        super().__init__(outcome.reason)
        self.attempt, self.outcome, self.taken = attempt, outcome, TakenSteps({})


class StepsBusy(StepFailed):
    """Another process asks the same, and was not answered in time: nobody's fault, and soon over."""

    def __init__(self, name: str) -> None:
        attempt = _unlogged(name, DestinationRequest(id=name, rows=()))
        super().__init__(attempt, CallOutcome("retry", "Another process is asking the tool for the same. Try again"))


def take_steps(
    destination: Destination,
    subscription: Subscription | None,
    adapter: Adapter,
    about: PayloadComputation,
    settings: Any,
    options: Any,
    *,
    call: Callable[[DestinationRequest], Answer],
    now: datetime,
    in_turn: Callable[[], bool] | None = None,
) -> TakenSteps:
    """Everything that the adapter's steps give is known and kept. Raises StepFailed, and StepsBusy.

    subscription: None = only what is asked once for the destination. in_turn: waits for the destination's rate.
    """
    owners: dict[str, Subscription | None] = {"destination": None}
    owners |= {"subscription": subscription} if subscription else {}
    steps = [step for step in adapter.steps_for(about) if step.of in owners]
    remembered: dict[str, str] = {}
    tokens: set[str] = set()
    new = False

    def recall(row: RememberedValues | None) -> None:
        values = _opened(row)
        remembered.update(_usable(values, now))
        tokens.update(value for value, until in values.values() if until is not None)

    for of in owners if steps else ():
        recall(RememberedValues.objects.filter(destination=destination, subscription=owners[of]).first())
    for (of, name), alternatives in groupby(steps, key=lambda step: (step.of, step.gives)):
        if name in remembered:
            continue
        owner = owners[of]
        lock = f"steps:{destination.pk}:{owner.pk if owner else 'destination'}"
        # A lock of its own, since no transaction may be open while a tool is asked.
        with owning_in_between(lock, within_s=LOCKED_S) as is_ours:
            if not is_ours:
                raise StepsBusy(name)
            # Before the tool is asked: what it gives must have a place to be kept in.
            row, _ = RememberedValues.objects.get_or_create(
                destination=destination,
                subscription=owner,
                defaults={"workspace_id": destination.workspace_id, "sealed": seal({})},
            )
            recall(row)  # another process may have been told meanwhile
            request = None
            for step in alternatives:
                if name in remembered:
                    break
                asked = replace(about, remembered=remembered)
                with _told_as_failure(step.gives):
                    request = step.ask(asked, settings, options, now)
                if request is None:
                    continue
                # Steps spend from the same rate as everything else that goes there.
                if in_turn:
                    in_turn()
                try:
                    answered = _ask(step, request, adapter, remembered, call)
                except StepFailed as failed:
                    failed.taken = TakenSteps(remembered, tuple(tokens), new)
                    raise
                # From when the batch began, not from the answer: a token that ends a little early is only asked for
                # anew.
                until = milliseconds(now) + int(answered.lasts_s * 1000) if answered.lasts_s is not None else None
                _keep(row, {key: (value, until if key == name else None) for key, value in answered.values.items()})
                # What a tool has just given is taken for usable, however short it lasts.
                remembered |= answered.values
                if until is not None and name in answered.values:
                    tokens.add(answered.values[name])
                    new = True
            if request and name not in remembered:
                outcome = CallOutcome("retry", f"The tool was asked, and gave no {name}")
                raise StepFailed(_unlogged(name, request), outcome)
    return TakenSteps(remembered, tuple(tokens), new)


def known_values(
    subscription: Subscription, adapter: Adapter, about: PayloadComputation, settings: Any, options: Any, now: datetime
) -> dict[str, str]:
    """What the steps were told, without asking anybody; of what would be asked for now its name in angle brackets."""
    known: dict[str, str] = {}
    rows = RememberedValues.objects.filter(destination=subscription.destination)
    for row in rows.filter(Q(subscription=None) | Q(subscription=subscription)):
        known |= _usable(_opened(row), now)
    for step in adapter.steps_for(about):
        if step.gives not in known and step.ask(replace(about, remembered=known), settings, options, now):
            known[step.gives] = f"<{step.gives}>"
    return known


def forget_what_ends(destination: Destination) -> None:
    """Tokens are asked for anew, whenever they were to end: the tool does not take them any more."""
    with transaction.atomic():
        for row in RememberedValues.objects.select_for_update().filter(destination=destination, subscription=None):
            row.sealed = seal({name: (value, until) for name, (value, until) in _opened(row).items() if until is None})
            row.save(update_fields=["sealed"])


def forget(destination: Destination, subscription: Subscription | None = None) -> None:
    """Everything is asked for anew: of the destination with all that goes there, or of one subscription."""
    rows = RememberedValues.objects.filter(destination=destination)
    (rows.filter(subscription=subscription) if subscription else rows).delete()


def _keep(row: RememberedValues, values: Values) -> None:
    """Beside what is there. Not where everything was forgotten since: these may be another account's."""
    with transaction.atomic():
        current = RememberedValues.objects.select_for_update().filter(pk=row.pk).first()
        if current:
            current.sealed = seal(_opened(current) | values)
            current.save(update_fields=["sealed"])


def _ask(
    step: AdapterStep,
    request: DestinationRequest,
    adapter: Adapter,
    remembered: Mapping[str, str],
    call: Callable[[DestinationRequest], Answer],
) -> RememberedAnswer:
    """What the step was told. Raises StepFailed."""
    attempt = _unlogged(step.gives, request)
    try:
        answer = call(adapter.authorize(request, remembered))
    except Unanswered as error:
        outcome = CallOutcome("suspended" if error.permanent else "retry", error.message)
        raise StepFailed(attempt, outcome) from error
    attempt = replace(attempt, status=answer.status, milliseconds=answer.milliseconds)
    with _told_as_failure(step.gives):
        result = step.read(request, answer)
    if isinstance(result, CallOutcome):  # whatever is refused here, is nobody's fault who is in the audience
        raise StepFailed(attempt, replace(result, kind="suspended") if result.kind == "refused" else result)
    return result


@contextmanager
def _told_as_failure(name: str) -> Iterator[None]:
    """What an adapter raises fails this batch, and no other."""
    try:
        yield
    except Exception as error:
        logger.exception("an adapter failed at the step that gives %s", name)
        outcome = CallOutcome("retry", f"The adapter failed: {type(error).__name__}: {error}")
        raise StepFailed(_unlogged(name, DestinationRequest(id=name, rows=())), outcome) from error


def _unlogged(name: str, request: DestinationRequest) -> Attempt:
    """Neither the call nor its answer is logged: they are made of keys and tokens."""
    return Attempt(replace(request, body=b"", shown=f"Asked for {name}"), ())


def _opened(row: RememberedValues | None) -> Values:
    try:
        return {name: (value, until) for name, (value, until) in open_sealed(row.sealed).items()} if row else {}
    except Unopenable:  # a key is missing: what was remembered can be asked for again
        return {}


def _usable(values: Values, now: datetime) -> dict[str, str]:
    soon = milliseconds(now) + LEFT_S * 1000
    return {name: value for name, (value, until) in values.items() if until is None or until > soon}
