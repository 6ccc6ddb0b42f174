"""The calls about some changes of one subscription: as its adapter plans them, within what its kind can take."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial

from destinations import queries
from destinations.adapters import adapter_of
from destinations.models import Destination, Subscription
from destinations.rules.contract import CallOutcome, Changes, IdentifierChange
from destinations.rules.send_batch import SentBatch, refused_batch, send_batch
from destinations.steps import StepFailed, StepsBusy, forget_what_ends, take_steps
from destinations.transports import TRANSPORTS
from spaces.rates import pace
from spaces.secrets import Unopenable
from spaces.settings_schema import load_stored, secrets_of


def turns_of(destination: Destination, *, longest_s: float) -> Callable[[], bool] | None:
    """Waits for the next turn, but no longer than this, and says whether it has come; None = there is no rate."""
    # The rate is the destination's: whatever other audiences go there spend from it as well.
    rate = adapter_of(destination.kind).capabilities.per_second
    return partial(pace, f"destination:{destination.pk}", rate=rate, longest_s=longest_s) if rate else None


def send_changes(
    subscription: Subscription,
    changes: Changes,
    *,
    everyone: Callable[[], Iterable[IdentifierChange]] = tuple,
    now: datetime,
    seconds: float,
) -> SentBatch:
    """What became of each change, without secrets. Raises ConnectionError when the settings cannot be read, StepsBusy.

    everyone: whom the destination holds besides, for kinds that are told everybody. seconds: no call begins after them.
    """
    destination, audience = subscription.destination, subscription.audience
    adapter = adapter_of(destination.kind)
    can = adapter.capabilities
    try:
        settings = queries.settings_of(destination)
    except Unopenable as error:  # the key is missing: away like a store, and no row is at fault for it
        raise ConnectionError(f"The settings of {destination.public_id} cannot be read: {error}") from error
    options = load_stored(adapter.options_for(audience.kind), subscription.options)
    about = queries.about(subscription, everyone=everyone)
    in_turn = turns_of(destination, longest_s=seconds)
    with TRANSPORTS[adapter.transport](destination, settings) as call:
        try:
            taken = take_steps(
                destination, subscription, adapter, about, settings, options, call=call, now=now, in_turn=in_turn
            )
        except StepsBusy:
            raise
        except StepFailed as failed:
            taken, batch = failed.taken, refused_batch(changes, failed.attempt, failed.outcome)
        else:
            about = replace(about, remembered=taken.remembered)
            batch = send_batch(
                changes,
                # `now` once: batches are halved in threads that must not ask the database.
                plan=lambda rows: adapter.plan(rows, about, settings, options, now),
                read=adapter.read,
                call=lambda request: call(adapter.authorize(request, taken.remembered)),
                largest=None if can.full else can.batch,
                concurrency=can.concurrency,
                seconds=seconds,
                wait_for_turn=in_turn,
                largest_body=can.largest_body,
            )
    if taken.tokens and not taken.new and batch.any("suspended"):
        # It was taken before: perhaps it was called back. If the next one is refused as well, it is not the token.
        forget_what_ends(destination)
        batch = batch.failed(CallOutcome("retry", f"{batch.reason('suspended')} (asked for a new token)"))
    return batch.without([*secrets_of(settings), *taken.tokens])
