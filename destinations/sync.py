"""The sync stage: each subscription keeps what its destination has in step with its audience.

*Prepare* compares what is desired with what was acknowledged, for the rows whose retry is due and the next people of
the pass (`intake`), and marks MAYBE the calls that follow (`calls`). *Write* makes them. *Commit* keeps the answers
(`outcomes`). A pass goes through the changed profiles by number, so that any number of them costs no more per batch;
what changes meanwhile is the next pass. Rows that got no answer are `due` and are looked at again, on their own time.

A pass goes where changes lead it, and a change may have been missed: while an audience stood still, say. So when
there is nothing else to do, desired and acknowledged are *compared* as sets, and calls are made about what differs.
Only a comparison says that a subscription is in step.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from django.db.models import Exists, OuterRef, Q

from audiences.models import Change as AudienceChange
from destinations.adapters import adapter_of
from destinations.calls import DecidedCall, FilteredCall, change_of, decide_calls, everyone_besides, filtered_calls
from destinations.delivery_log import log_attempts, log_filtered
from destinations.intake import (
    PassPosition,
    SyncIntake,
    ending_to_be_compared,
    is_ending_to_be_compared,
    read_comparison,
    read_due_and_changed,
    retry_is_due,
)
from destinations.models import Acknowledged, Subscription
from destinations.outcomes import refusal, save_comparison, save_outcomes, update_health, update_status
from destinations.rules import backoff
from destinations.rules.batch_size import LARGEST, SMALLEST, next_size
from destinations.rules.send_batch import SentBatch, postponed_batch
from destinations.send import send_changes
from destinations.steps import StepsBusy
from sources.events import client
from sources.events.schema import DELIVERY_LOG
from spaces import batches
from spaces.clock import Clock, clock, is_due, rows_due
from spaces.models import Log

logger = logging.getLogger(__name__)

BUSY_S = 2.0  # until another process was told what this one needs as well
SENDING_S = 20.0  # of calls per batch: no destination keeps a worker for longer


class PreparedSync(msgspec.Struct):
    """number: under which it was prepared; written under another one, it may have been begun before."""

    number: int
    rows: list[DecidedCall]
    equal: bool = False  # desired and acknowledged were compared, and nothing differed
    filtered: list[FilteredCall] = []


@dataclass(frozen=True)
class SyncOutcome:
    """What a Write led to. None: nothing was tried."""

    batch: SentBatch | None


class Sync:
    """The stage (spaces.batches.Stage). One log per subscription."""

    name = "sync"
    prepared = PreparedSync
    batch_size = LARGEST  # people, or due rows

    def __init__(self, clock: Clock = clock, sending_s: float = SENDING_S) -> None:
        self.clock, self.sending_s = clock, sending_s
        # Of batches, by subscription, as this process has learnt them: after a kill they are small again.
        self._sizes: dict[int, int] = {}

    def read(self, log: Log, limit: int) -> SyncIntake | None:
        now = self.clock.now()
        subscription = _subscription_of(log)
        if subscription is None or not is_due(subscription.retry_at, now, longest=backoff.LONGEST_ASKED):
            return None
        # Before the first compute is complete there is nobody to send, and everybody to take out.
        if subscription.audience.serving_id is None or subscription.audience.deleted_at is not None:
            return None
        # Where each call says everybody who is there, as few calls as can be.
        people = adapter_of(subscription.destination.kind).capabilities.people
        # In the same proportion, since the mechanism takes fewer while it searches for a row that cannot be prepared.
        usual = self._sizes.get(subscription.pk, SMALLEST)
        limit = limit * people // self.batch_size if people else min(limit, usual)
        intake = read_due_and_changed(subscription, limit, now) if subscription.sends else None
        longest, noted = backoff.LONGEST_ASKED, subscription.compared_at
        is_time = is_due(subscription.compare_at, now, longest=longest, noted=noted)
        if not is_time and not is_ending_to_be_compared(subscription, now):
            return intake
        # In the middle of a long pass it is compared for its counts, at its end for what the pass has overlooked.
        if intake and subscription.pass_tick is None:
            return intake
        return read_comparison(subscription, intake, limit)

    def size(self, intake: SyncIntake) -> int:
        return len(intake.numbers)

    def prepare(self, log: Log, intake: SyncIntake, number: int) -> PreparedSync | None:
        # Not its space as well: that would stop every other stage.
        locked = Subscription.objects.select_for_update(of=("self",))
        subscription = locked.select_related("space").get(pk=log.partition)
        if PassPosition.of(subscription) != intake.before:
            return None  # someone asked for a resync in the meantime
        now = self.clock.now()
        calls = decide_calls(subscription, intake, now)
        intake.after.save(subscription)
        if intake.capped is not None:  # asked again by each comparison, for people may have come back meanwhile
            Subscription.objects.filter(pk=subscription.pk).update(capped_people=intake.capped)
        save_comparison(subscription, intake, now)
        equal = intake.comparison is not None and intake.comparison.equal
        equal = equal and intake.before == intake.after and not calls
        return PreparedSync(number, calls, equal=equal, filtered=filtered_calls(intake, calls))

    def write(self, log: Log, prepared: PreparedSync, number: int) -> SyncOutcome:
        # Read anew: minutes may have passed since it was prepared, and somebody may have switched it off.
        subscription = _subscription_of(log)
        if subscription is None or not subscription.sends:
            return SyncOutcome(None)
        if prepared.filtered:
            log_filtered(subscription, prepared.filtered, number, self.clock.now())
        if not prepared.rows:
            return SyncOutcome(None)
        if not client.client().ping():
            raise ConnectionError("The delivery log is away: nothing is sent that could not be shown")
        changes = [change_of(subscription, decided) for decided in prepared.rows]
        everyone = partial(everyone_besides, subscription, {decided.identifier for decided in prepared.rows})
        begun = time.monotonic()
        try:
            batch = send_changes(subscription, changes, everyone=everyone, now=self.clock.now(), seconds=self.sending_s)
        except StepsBusy:
            batch = postponed_batch(changes, BUSY_S)
        self._sizes[subscription.pk] = next_size(
            self._sizes.get(subscription.pk, SMALLEST),
            settled=sum(verdict.kind in ("delivered", "refused") for verdict in batch.verdicts.values()),
            of=len(batch.verdicts),
            seconds=time.monotonic() - begun,
        )
        log_attempts(subscription, prepared.rows, batch, number, self.clock.now())
        return SyncOutcome(batch)

    def commit(self, log: Log, prepared: PreparedSync, number: int, outcome: SyncOutcome) -> None:
        locked = Subscription.objects.select_for_update(of=("self",)).select_related("audience")
        subscription = locked.filter(pk=log.partition).first()
        if subscription is None:
            return
        now = self.clock.now()
        first = prepared.number == number
        save_outcomes(subscription, prepared.rows, outcome.batch, first=first, now=now)
        # In this order: the status follows from what became of the rows, and from the health.
        update_health(subscription, prepared.rows, outcome.batch, now)
        update_status(subscription, outcome.batch, now, equal=prepared.equal)
        subscription.save()

    def split(self, prepared: PreparedSync) -> Sequence[PreparedSync]:
        if len(prepared.rows) < 2:
            return []
        middle = len(prepared.rows) // 2
        # With the number under which they were prepared: both halves may have been sent before.
        return [PreparedSync(prepared.number, half) for half in (prepared.rows[:middle], prepared.rows[middle:])]

    def refuse(self, log: Log, prepared: PreparedSync, error: Exception) -> None:
        """The row cannot even be put into a request: it is kept with the reason."""
        numbers = [call.identifier for call in prepared.rows]
        Acknowledged.objects.filter(subscription=log.partition, identifier__in=numbers).update(**refusal(error))

    def skip(self, log: Log, intake: SyncIntake, error: Exception) -> None:
        """Step over one person, or one row, that cannot be prepared."""
        logger.error("sync %s: stepped over %s: %s", log.partition, list(intake.numbers), error)
        subscription = Subscription.objects.get(pk=log.partition)
        acknowledged = Acknowledged.objects.filter(subscription=subscription, identifier__in=intake.numbers)
        acknowledged.update(**refusal(error))
        columns: dict[str, Any] = {
            "workspace_id": subscription.workspace_id,
            "subscription": subscription,
            "at": self.clock.now(),
            "state": Acknowledged.State.OUT,
            "entering": True,
            "flip": 1,
            **refusal(error),
        }
        # Who is not there yet gets a row: where everybody looks for who is missing, and not looked at again.
        missing = intake.owners.keys() - set(acknowledged.values_list("identifier", flat=True))
        Acknowledged.objects.bulk_create(
            Acknowledged(identifier=number, profile=intake.owners[number], **columns)
            for number in missing
            if intake.desired[number]
        )
        intake.after.save(subscription)
        Subscription.objects.filter(pk=subscription.pk).update(compare_at=None)

    def erase(self, log: Log, numbers: Sequence[int]) -> None:
        client.erase(DELIVERY_LOG, "subscription", log.partition, numbers)


STAGE = Sync()


def waiting(now: datetime) -> list[int]:
    """Subscriptions that have something to send, to try again, or to compare, at `now`."""
    changed = AudienceChange.objects.filter(audience=OuterRef("audience"), tick__gt=OuterRef("tick"))
    due = Acknowledged.objects.filter(retry_is_due(now), subscription=OuterRef("pk"), due=True)
    # As `Subscription.sends` says it of one.
    sends = Q(enabled=True, destination__enabled=True) & ~Q(status=Subscription.Status.SUSPENDED)
    sends &= Q(audience__enabled=True) | Q(audience__ending_at__isnull=False)
    to_pass = Q(full=True) | Q(pass_tick__isnull=False) | Exists(changed)
    to_send = (to_pass & Q(capped_people=0)) | Exists(due)
    to_compare = rows_due("compare_at", now, longest=backoff.LONGEST_ASKED, noted="compared_at")
    to_compare |= ending_to_be_compared(now)
    ready = Subscription.objects.filter(
        retry_is_due(now),
        (sends & to_send) | to_compare,
        audience__deleted_at=None,
        audience__serving__isnull=False,
    )
    # Also what was prepared and not committed: it is written again by whoever finds it.
    return sorted({*ready.values_list("pk", flat=True), *batches.unfinished(STAGE.name)})


def _subscription_of(log: Log) -> Subscription | None:
    return Subscription.objects.select_related("audience", "destination", "space").filter(pk=log.partition).first()
