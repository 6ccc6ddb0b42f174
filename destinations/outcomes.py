"""What a batch and a comparison lead to: for each identifier, for the health and status of the subscription."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from pyroaring import BitMap

from destinations.calls import DecidedCall, message_id
from destinations.intake import SyncIntake, due_rows
from destinations.models import Acknowledged, Subscription
from destinations.rules import backoff, comparison
from destinations.rules.comparison import state_after
from destinations.rules.send_batch import SentBatch, Verdict
from destinations.rules.status import ALARMED_AFTER, SubscriptionFacts, status_of

logger = logging.getLogger(__name__)

LONGEST_REASON = 2000  # characters
STOPPED = {Subscription.Status.SUSPENDED, Subscription.Status.PARKED}

SAVE_OUTCOMES = """
    UPDATE destinations_acknowledged AS stored
    SET state = row.state, due = row.due, tries = row.tries, retry_at = row.retry_at, refused = row.refused
    FROM unnest(%s::bigint[], %s::smallint[], %s::bool[], %s::int[], %s::timestamptz[], %s::text[])
        AS row(id, state, due, tries, retry_at, refused)
    WHERE stored.id = row.id
"""


# Each row is looked up: else, while the table grows faster than its statistics, all of a subscription would be read.
SAVE_DELIVERED = """
    WITH delivered AS (
        SELECT row.id FROM unnest(%s::bigint[], %s::int[], %s::bool[]) AS call(identifier, flip, entering)
        CROSS JOIN LATERAL (
            SELECT id FROM destinations_acknowledged
            WHERE subscription_id = %s AND identifier = call.identifier
                  AND flip = call.flip AND entering = call.entering AND due LIMIT 1
        ) AS row
    )
    UPDATE destinations_acknowledged AS stored
    SET state = stored.entering::int, due = false, tries = 0, retry_at = NULL, refused = ''
    FROM delivered WHERE stored.id = delivered.id
"""


def refusal(error: Exception) -> dict[str, object]:
    """The columns of a row that cannot be sent, whatever is tried: it is kept with the reason."""
    reason = str(error)[:LONGEST_REASON] or type(error).__name__
    return {"refused": reason, "due": False, "retry_at": None}


def save_outcomes(
    subscription: Subscription,
    calls: Sequence[DecidedCall],
    batch: SentBatch | None,
    *,
    first: bool,
    now: datetime,
) -> None:
    """Each identifier as the destination answered.

    batch: None when nothing was tried. first: this is the only attempt to write the batch.
    """
    delivered: list[DecidedCall] = []
    others: list[tuple[DecidedCall, Verdict]] = []
    for call in calls:
        verdict = batch.verdicts[message_id(subscription, call)] if batch else Verdict()
        if verdict.kind == "delivered":
            delivered.append(call)
        else:
            others.append((call, verdict))
    _execute_with_columns(
        SAVE_DELIVERED, [(call.identifier, call.flip, call.entering) for call in delivered], subscription.pk
    )
    if not others:
        return
    alive = batch is not None and batch.alive
    numbers = [call.identifier for call, _ in others]
    rows = Acknowledged.objects.select_for_update().filter(subscription=subscription, identifier__in=numbers)
    # The few columns that are asked for: whole rows of a large batch would take longer than to send it.
    kept = rows.values_list("identifier", "flip", "entering", "due", "pk", "tries")
    acknowledged = {(number, flip, entering, due): (pk, tries) for number, flip, entering, due, pk, tries in kept}
    changed = []
    for call, verdict in others:
        known = acknowledged.get((call.identifier, call.flip, call.entering, True))
        # A row that changed direction or was resynced since the batch was prepared is about another call now.
        if known is None:
            continue
        pk, tries = known
        # A batch that is written again may have been sent before, whatever happened this time.
        touched = verdict.touched or not first
        state = state_after(entering=call.entering, was=call.was, kind=verdict.kind, touched=touched)
        refused = verdict.reason[:LONGEST_REASON] if verdict.kind == "refused" else ""
        tries = tries + 1 if verdict.kind == "retry" else tries
        # When others get through, it is this row that has a problem, and it waits alone.
        alone = verdict.kind == "retry" and (alive or call.alone)
        retry_at = now + backoff.wait(tries) if alone else None
        changed.append((pk, state, verdict.kind != "refused", tries, retry_at, refused))
    _execute_with_columns(SAVE_OUTCOMES, changed)


def _execute_with_columns(statement: str, rows: Sequence[Sequence[Any]], *more: int) -> None:
    """Run a statement that takes each column of `rows` as an array: what the ORM would send is far slower."""
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(statement, [*map(list, zip(*rows, strict=True)), *more])


def update_health(
    subscription: Subscription, calls: Sequence[DecidedCall], batch: SentBatch | None, now: datetime
) -> None:
    """Whether the destination answers, and when to try again; the caller saves the subscription.

    Unchanged when nothing was tried, or only what fails alone: that says nothing of the destination.
    """
    if batch is None or not batch.attempts:
        if batch and batch.hold_s:
            subscription.retry_at = now + backoff.asked(batch.hold_s)
        return
    # Rows that fail alone have their own waits; the others' calls go on meanwhile.
    if all(call.alone for call in calls) and not (batch.alive or batch.hold_s or batch.any("suspended")):
        return
    failed = batch.any("retry") and not batch.alive
    # Rounds, not rows: of a tool that is away every row fails, and one round is one try.
    subscription.failures = subscription.failures + 1 if failed else 0
    subscription.failing_since = (subscription.failing_since or now) if failed else None
    subscription.error = batch.reason("suspended") or (batch.reason("retry") if failed else "")
    wait = backoff.wait(subscription.failures) if failed else timedelta()
    wait = max(wait, backoff.asked(batch.hold_s))
    subscription.retry_at = now + wait if wait else None
    # Last of all is whether it may go on: a suspension outweighs any wait.
    if batch.any("suspended"):
        subscription.status, subscription.retry_at = Subscription.Status.SUSPENDED, None
    elif failed and backoff.parked(subscription.failing_since or now, now):
        subscription.status = Subscription.Status.PARKED
        subscription.retry_at = now + max(backoff.PROBED_EVERY, backoff.asked(batch.hold_s))
    elif failed or subscription.status in STOPPED:
        subscription.status = Subscription.Status.RETRYING


def update_status(subscription: Subscription, batch: SentBatch | None, now: datetime, *, equal: bool) -> None:
    """The status that follows from everything known; the caller saves the subscription.

    equal: a comparison of this batch showed no difference. In step stays what was in step while every call since
    then is acknowledged.
    """
    stopped = subscription.status in STOPPED and (subscription.failures or subscription.error)
    verdicts = batch.verdicts.values() if batch else ()
    refused = subscription.counts.get("refused", 0) + sum(verdict.kind == "refused" for verdict in verdicts)
    subscription.counts["refused"] = refused
    subscription.status = status_of(
        SubscriptionFacts(
            enabled=subscription.enabled,
            computed=subscription.audience.serving_id is not None,
            stopped=subscription.status if stopped else "",
            failures=subscription.failures,
            refused=refused,
            due=due_rows(subscription).exists(),
            repeated=subscription.repeated,
            unsettled=subscription.unsettled,
            capped=subscription.capped_people > 0,
            sending=subscription.full or subscription.pass_tick is not None,
            equal=equal or subscription.status == Subscription.Status.IN_STEP,
        )
    )
    if subscription.status == Subscription.Status.IN_STEP:
        subscription.synced_at = now


def save_comparison(subscription: Subscription, intake: SyncIntake, now: datetime) -> None:
    """The result of the intake's comparison, if there is one, and when the next one takes place."""
    row = Subscription.objects.filter(pk=subscription.pk)
    result = intake.comparison
    midway = intake.after.pass_tick is not None
    if result is None:
        if subscription.compare_at is not None and not subscription.repeated:
            # Soon after a batch, for it may have brought them together; as soon as a comparison's cost allows.
            pauses = [comparison.pause(subscription.counts.get("desired", 0))]
            if subscription.status == Subscription.Status.IN_STEP:
                pauses.append(comparison.CALM)
            if midway:
                pauses.append(comparison.MIDWAY)
            soon = max(now, (subscription.compared_at or now) + max(pauses))
            row.update(compare_at=min(soon, subscription.compare_at))
        return
    pause = comparison.pause(result.desired)
    if midway:
        pause = max(pause, comparison.MIDWAY)
    row.update(counts=result.counts, compared_at=now, compare_at=now + pause, unsettled=result.unsettled)
    if intake.due or intake.before.pass_tick is not None:
        return  # this one was for the counts: what still differs when the pass is over, is another question
    # What waits for a nod differs for a known reason.
    overlooked = result.overlooked if subscription.sends and not intake.capped else BitMap()
    fingerprint = comparison.fingerprint(overlooked)
    repeated = subscription.repeated + 1 if fingerprint and fingerprint == subscription.overlooked else 0
    if overlooked:
        level = logging.ERROR if repeated >= ALARMED_AFTER else logging.INFO
        times = repeated + 1
        logger.log(level, "sync %s: %d identifiers differ, for %d comparisons", subscription.pk, len(overlooked), times)
    if repeated:
        wait = min(backoff.wait(repeated), comparison.PATIENCE)
    elif result.unsettled:
        wait = comparison.CALM
    else:
        wait = timedelta() if overlooked else comparison.EVERY
    row.update(compare_at=now + max(wait, pause), overlooked=fingerprint, repeated=repeated)
