"""Runs of SQL traits: the query is asked, compared with what was said before, and only what changed is sent.

What is sent are identify calls into the inbox of the space's source of SQL traits, in the transaction that notes what
was said: a run that is killed has said nothing, and one that was not says nothing twice.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Semaphore
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from pyroaring import BitMap

from access.services import COMMAND
from audiences.models import SqlRun, SqlTrait, SqlValue
from audiences.rules import sql_rows
from audiences.rules.sql_rows import RowsError, RowShape
from audiences.rules.warehouse import only_rows
from audiences.sql_traits import asking, source_of
from identity.models import Identifier
from sources.inbox import InboxFull, Sender, keep
from spaces.chunks import chunks
from spaces.clock import Clock
from spaces.times import iso

logger = logging.getLogger(__name__)

AT_A_TIME = 2000  # rows that are looked up together
PER_CALL = 500  # messages
CLAIMED_FOR = timedelta(minutes=15)  # then whoever had it is taken for dead; longer than any run lasts
LONGEST_S = 300.0
AGAIN = timedelta(minutes=5)  # after a run that could not be kept, for want of room
KEPT_RUNS = 200  # of each
MOST_AT_ONCE = 2  # of a process: the other threads are for destinations, however slow all warehouses are
TYPES = {"user_id": "userId", "anonymous_id": "anonymousId"}  # the identifiers by which a person can be called
Row = tuple[str, dict[str, Any]]  # whom it is about, and what is said
_slots = Semaphore(MOST_AT_ONCE)


@dataclass
class _Answer:
    """What a query gave. said: {identifier number: digest}. changed: {identifier number: traits} to be sent."""

    shape: RowShape
    rows: int = 0
    unknown: int = 0
    oversized: int = 0
    said: BitMap = field(default_factory=BitMap)
    changed: dict[int, tuple[bytes, dict[str, Any]]] = field(default_factory=dict)


def due(now: datetime) -> list[int]:
    """SQL traits that are to run at `now`."""
    return list(_ready(now).values_list("pk", flat=True))


def _ready(now: datetime) -> QuerySet[SqlTrait]:
    free = Q(claimed_at=None) | Q(claimed_at__lt=now - CLAIMED_FOR)
    return SqlTrait.objects.filter(free, enabled=True, next_at__lte=now, space__deleted_at=None)


def run(trait_id: int, clock: Clock) -> bool:
    """One run. False when there is nothing to do, another worker has it, or this one has enough of them."""
    if not _slots.acquire(blocking=False):
        return False
    try:
        return _run(trait_id, clock)
    finally:
        _slots.release()


def _run(trait_id: int, clock: Clock) -> bool:
    now = clock.now()
    # Of several workers the one whose UPDATE finds the row unclaimed has it.
    if not _ready(now).filter(pk=trait_id).update(claimed_at=now):
        return False
    trait = SqlTrait.objects.select_related("warehouse", "space", "source").get(pk=trait_id)
    SqlRun.objects.filter(sql_trait=trait, state=SqlRun.State.RUNNING).update(
        state=SqlRun.State.FAILED, finished_at=now, error="The run broke off, and nothing was sent."
    )
    attempt = SqlRun.objects.create(workspace_id=trait.workspace_id, sql_trait=trait, started_at=now)
    again = None
    try:
        _ask_and_send(trait, attempt, now, clock)
    except RowsError as error:
        attempt.state, attempt.error = SqlRun.State.FAILED, str(error)
    except InboxFull:
        attempt.state, attempt.error = SqlRun.State.FAILED, "There is no room for what it says; it is tried again soon."
        again = now + AGAIN
    except Exception as error:
        logger.exception("SQL trait %s", trait.public_id)
        attempt.state, attempt.error = SqlRun.State.FAILED, f"Something of ours broke: {type(error).__name__}."
        again = now + AGAIN
    attempt.finished_at = clock.now()
    with transaction.atomic():
        attempt.save()
        # Whoever asked for another run meanwhile gets one.
        unasked = SqlTrait.objects.filter(pk=trait.pk, next_at=trait.next_at)
        unasked.update(next_at=again or trait.following(clock.now()))
        SqlTrait.objects.filter(pk=trait.pk, claimed_at=now).update(claimed_at=None)
        kept = SqlRun.objects.filter(sql_trait=trait).order_by("-pk").values_list("pk", flat=True)[:KEPT_RUNS]
        SqlRun.objects.filter(sql_trait=trait).exclude(pk__in=list(kept)).delete()
    return True


def _ask_and_send(trait: SqlTrait, attempt: SqlRun, now: datetime, clock: Clock) -> None:
    """The run's state says what became of it. Raises RowsError and InboxFull; then nothing was sent."""
    if trait.source is None or trait.source.deleted_at is not None:
        # With the source went all that it said: there is another one, and nothing was said yet.
        with transaction.atomic():
            trait.source = source_of(trait.space, clock, COMMAND)
            SqlTrait.objects.filter(pk=trait.pk).update(source=trait.source)
            SqlValue.objects.filter(sql_trait=trait).delete()
    answer = _read(trait)
    attempt.rows, attempt.unknown, attempt.oversized = answer.rows, answer.unknown, answer.oversized
    before = BitMap(SqlValue.objects.filter(sql_trait=trait).values_list("identifier", flat=True))
    vanished = before - answer.said
    attempt.changed, attempt.nulled = len(answer.changed), len(vanished)
    if not trait.approved and (why := sql_rows.held(len(vanished), len(before), trait.most_nulled)):
        attempt.state, attempt.error = SqlRun.State.HELD, why
        return
    removed = dict.fromkeys({*trait.columns} - {*answer.shape.traits})
    nulls = dict.fromkeys({*trait.columns, *answer.shape.traits})
    said = {number: traits | removed for number, (_, traits) in answer.changed.items()}
    said |= dict.fromkeys(vanished, nulls)
    with transaction.atomic():
        mine = SqlTrait.objects.select_for_update().filter(pk=trait.pk, claimed_at=trait.claimed_at)
        if not mine.update(columns=answer.shape.traits, approved=False):
            raise RowsError("Another run began meanwhile. Nothing was sent.")
        # What is sent and what is noted as said are one transaction: a crash in between would say it again, or never.
        _send(trait, attempt, said, now)
        _note(trait, {number: digest for number, (digest, _) in answer.changed.items()}, vanished)
    attempt.state = SqlRun.State.DONE


def _read(trait: SqlTrait) -> _Answer:
    """Every row of the query, compared with what was said before. Raises RowsError."""
    most = settings.SQL_TRAIT_ROWS
    # One row more than may be, by which it is known that there are too many.
    with asking(trait.warehouse, only_rows(trait.query, most + 1), LONGEST_S) as result:
        answer = _Answer(sql_rows.shape(result.columns))
        # When a column has gone, everybody is told so.
        anew = bool({*trait.columns} - {*answer.shape.traits})
        for rows in chunks(result.rows, AT_A_TIME):
            _take(trait, answer, _texts(answer, rows), anew=anew)
            if answer.rows > most:
                raise RowsError(f"The query gives more than {most:,} rows, which is the limit")
    return answer


def _texts(answer: _Answer, rows: Sequence[Sequence[Any]]) -> Iterator[Row]:
    for row in rows:
        answer.rows += 1
        identifier, values = answer.shape.identifier(row, answer.rows), answer.shape.values(row)
        if len(json.dumps(values).encode()) > sql_rows.LONGEST_ROW:
            answer.oversized += 1
            continue
        yield identifier, values


def _take(trait: SqlTrait, answer: _Answer, rows: Iterator[Row], *, anew: bool) -> None:
    """These rows are compared. Raises RowsError when one is about somebody whom an earlier one is about."""
    by_text = list(rows)
    values = dict(by_text)
    known = Identifier.objects.filter(space=trait.space_id, type=answer.shape.id, value__in=list(values))
    numbers = dict(known.values_list("value", "number"))
    answer.unknown += sum(text not in numbers for text in values)
    twice = [text for text, number in numbers.items() if number in answer.said]
    if twice or len(values) < len(by_text):
        texts = [text for text, _ in by_text]
        which = twice[0] if twice else next(text for text in texts if texts.count(text) > 1)
        raise RowsError(f"Two rows are about the {answer.shape.id} {which}")
    stored = SqlValue.objects.filter(sql_trait=trait, identifier__in=numbers.values())
    before = {number: bytes(kept) for number, kept in stored.values_list("identifier", "digest")}
    for text, number in numbers.items():
        answer.said.add(number)
        digest = sql_rows.digest(values[text])
        if anew or before.get(number) != digest:
            answer.changed[number] = digest, values[text]


def _send(trait: SqlTrait, attempt: SqlRun, said: Mapping[int, Mapping[str, Any]], now: datetime) -> None:
    """Identify calls about whoever still has these identifiers. Raises InboxFull."""
    if trait.source is None or not said:
        return
    sender = Sender(trait.source.pk, trait.workspace_id, trait.source.enabled)
    for numbers in chunks(said, PER_CALL):
        callable_as = _callable_as(trait.space_id, numbers)
        messages = [
            {
                "type": "identify",
                "messageId": f"{attempt.public_id}-{number}",
                **callable_as[number],
                "traits": said[number],
                "timestamp": iso(now),
                "context": {"library": {"name": "personas-sql-traits"}},
            }
            for number in numbers
            if number in callable_as
        ]
        keep(sender, call="batch", body=json.dumps({"batch": messages}).encode())


def _callable_as(space: int, numbers: Sequence[int]) -> dict[int, dict[str, str]]:
    """{identifier number: how its person is called in a message}; the oldest user id, or else anonymous id."""
    owners = dict(Identifier.objects.filter(space=space, number__in=numbers).values_list("number", "profile"))
    theirs = Identifier.objects.filter(space=space, profile__in=set(owners.values()), type__in=TYPES)
    names: dict[int, dict[str, str]] = {}
    for profile, type, value in theirs.order_by("-type", "number").values_list("profile", "type", "value"):
        names.setdefault(profile, {TYPES[type]: value})
    return {number: names[profile] for number, profile in owners.items() if profile in names}


NOTE = """
    INSERT INTO audiences_sqlvalue (workspace_id, sql_trait_id, identifier, digest)
    SELECT %s, %s, said.identifier, said.digest FROM unnest(%s::bigint[], %s::bytea[]) AS said(identifier, digest)
    ON CONFLICT (sql_trait_id, identifier) DO UPDATE SET digest = excluded.digest
"""


def _note(trait: SqlTrait, digests: Mapping[int, bytes], vanished: BitMap) -> None:
    for numbers in chunks(digests, AT_A_TIME * 5):
        with connection.cursor() as cursor:
            kept = [digests[number] for number in numbers]
            cursor.execute(NOTE, [trait.workspace_id, trait.pk, list(numbers), kept])
    for gone in chunks(vanished, AT_A_TIME * 5):
        SqlValue.objects.filter(sql_trait=trait, identifier__in=gone).delete()
