"""Decide, write, publish: the one mechanism by which every stage moves its log forward, exactly once.

PostgreSQL and ClickHouse share no transaction. So a stage works in numbered pieces (design, "Pieces"):

1. *Decide*, one PostgreSQL transaction: what the piece takes, its number, and every result that is not a
   pure function of its input. The decision is kept in `Piece`.
2. *Write* to the outside (ClickHouse rows, calls to a destination), made only from what was decided.
   Every row carries the piece's number.
3. *Publish*, one PostgreSQL transaction: the log's end moves to the number.

A piece that was decided and not published is written again under a new number by whoever finds it; the old
number is abandoned in the same transaction. Readers ask for `Visible`: numbers up to the end, without the
abandoned ones. So a crash anywhere, or an owner that stalls and wakes up late, neither loses, doubles nor
falsifies a row. Decide and Publish expect a state (an UPDATE that must hit one row); the advisory lock only
saves two owners from working in vain.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import msgspec
import psycopg2
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from spaces.faults import reach
from spaces.models import Abandoned, Log, Piece

logger = logging.getLogger(__name__)

POISON_AFTER = 3  # failures of the same piece before it is halved
LONGEST_WAIT = timedelta(seconds=30)  # between attempts while a store is away
UNNUMBERED = 0  # a part that waits; it gets its number before its first write
KEPT_ABANDONED = timedelta(days=1)  # until then a late insert under an abandoned number may still arrive

# What the input itself causes, and no waiting cures. All other errors mean that something is away.
POISON: tuple[type[Exception], ...] = (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError)


class Unwritable(ValueError):
    """The store refused these rows for what is in them. Raised by whoever talks to the store."""


class Overtaken(Exception):
    """Another owner moved this log in the meantime. What was done here counts for nothing."""


Found = TypeVar("Found")  # what a read found
Decided = TypeVar("Decided")  # the decision, a msgspec Struct
Learnt = TypeVar("Learnt")  # what a write learnt


class Stage(Protocol[Found, Decided, Learnt]):
    """One kind of log."""

    name: str
    decision: type[Decided]
    batch: int  # the most rows a Decide takes

    def read(self, log: Log, limit: int) -> Found | None:
        """What there is to do, at most `limit` rows; None when nothing. Outside any transaction."""

    def decide(self, log: Log, intake: Found, number: int) -> Decided | None:
        """Record what follows from `intake`; None takes it all back. Inside a transaction that holds the log."""

    def write(self, log: Log, decision: Decided, number: int) -> Learnt:
        """Put rows made only from `decision` outside, each carrying `number`. Outside any transaction."""

    def publish(self, log: Log, decision: Decided, number: int, outcome: Learnt) -> None:
        """Make what follows visible, inside the transaction that moves the log's end."""

    def split(self, decision: Decided) -> Sequence[Decided]:
        """Two decisions that together are this one; empty when it is a single row."""

    def refuse(self, log: Log, decision: Decided, error: Exception) -> Decided | None:
        """Keep the single row of `decision` as a reject with its reason; what is left to write, if anything."""

    def skip(self, log: Log, intake: Found, error: Exception) -> None:
        """Keep the single row of `intake`, that cannot even be decided, as a reject, and step over it."""

    def erase(self, log: Log, numbers: Sequence[int]) -> None:
        """Delete whatever rows carry these abandoned numbers."""


@dataclass(frozen=True)
class Visible:
    """Which numbers of one log a reader may see: one consistent moment of it."""

    owner: int
    end: int
    abandoned: tuple[int, ...] = ()


def visible(log: Log) -> Visible:
    """The log as of now."""
    return visible_logs(stage=log.stage, owners=[log.owner])[log.owner]


def visible_logs(*, stage: str, owners: Sequence[int]) -> dict[int, Visible]:
    """The same for several owners; one that has no log yet has end 0."""
    with connection.cursor() as cursor:  # one statement, so that end and abandoned are of one snapshot
        cursor.execute(
            """SELECT l.owner, l.published, coalesce(array_agg(a.number) FILTER (WHERE a.number IS NOT NULL), '{}')
               FROM spaces_log l LEFT JOIN spaces_abandoned a ON a.log_id = l.id AND a.number <= l.published
               WHERE l.stage = %s AND l.owner = ANY(%s) GROUP BY l.id""",
            [stage, list(owners)],
        )
        found = {owner: Visible(owner, end, tuple(sorted(gone))) for owner, end, gone in cursor.fetchall()}
    return {owner: found.get(owner, Visible(owner, 0)) for owner in owners}


def open_log(*, stage: str, owner: int, workspace_id: int) -> Log:
    """The log of this owner, made when it is the first time."""
    return Log.objects.get_or_create(stage=stage, owner=owner, defaults={"workspace_id": workspace_id})[0]


def unfinished(stage: str) -> list[int]:
    """Owners with a piece that was decided and not published, and that may be tried again now."""
    due = Q(log__retry_at=None) | Q(log__retry_at__lte=timezone.now())
    pieces = Piece.objects.filter(due, log__stage=stage)
    return list(pieces.values_list("log__owner", flat=True).distinct())


def advance(stage: Stage[Any, Any, Any], log: Log) -> bool:
    """Bring one piece from wherever it is to published. False when there was nothing to do.

    Raises what a store raises when it is away; the piece stays and is tried again later, under a new number.
    """
    log.refresh_from_db()
    if log.retry_at and log.retry_at > timezone.now():
        return False
    piece = log.pieces.order_by("id").first()
    piece = _renumber(log, piece) if piece else _decide(stage, log)
    if piece is None:
        return False
    reach(f"{stage.name}:decided")
    decision = msgspec.msgpack.decode(piece.decision, type=stage.decision)
    try:
        outcome = stage.write(log, decision, piece.number)
    except POISON as error:
        logger.warning("%s %s: piece %s cannot be written: %s", stage.name, log.owner, piece.number, error)
        _poisoned(stage, log, piece, decision, error)
        return True
    except Exception as error:
        _wait(log, piece, error)
        raise
    reach(f"{stage.name}:written")
    _publish(stage, log, piece, decision, outcome)
    reach(f"{stage.name}:published")
    return True


def sweep(stage: Stage[Any, Any, Any]) -> None:
    """Delete the rows of numbers abandoned more than a day ago, then forget the numbers."""
    old = Abandoned.objects.filter(log__stage=stage.name, since__lt=timezone.now() - KEPT_ABANDONED)
    for log in Log.objects.filter(pk__in=old.values("log")):
        numbers = list(old.filter(log=log).values_list("number", flat=True))
        stage.erase(log, numbers)
        Abandoned.objects.filter(log=log, number__in=numbers).delete()


@contextmanager
def owning(name: str) -> Iterator[bool]:
    """Whether this process is the one to work on `name` now. Ends with the process, however it ends.

    On a connection of its own: Django's may be closed, or kept, around a task (foundations §4).
    """
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)
    lock = psycopg2.connect(
        **connection.get_connection_params() | {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
    )
    try:
        lock.autocommit = True
        with lock.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
            try:
                yield cursor.fetchone()[0]
            finally:
                with suppress(psycopg2.Error):  # the server takes its time to notice that a connection is gone
                    cursor.execute("SELECT pg_advisory_unlock_all()")
    finally:
        lock.close()


def _take_number(log: Log) -> int:
    """The next number; holds the log's row until the transaction ends."""
    hit = Log.objects.filter(pk=log.pk, last_number=log.last_number).update(last_number=F("last_number") + 1)
    if not hit:
        raise Overtaken(f"{log.stage} {log.owner} is past {log.last_number}")
    log.last_number += 1
    return log.last_number


def _decide(stage: Stage[Any, Any, Any], log: Log) -> Piece | None:
    limit = min(log.limit or stage.batch, stage.batch)
    intake = stage.read(log, limit)
    if intake is None:
        return None
    try:
        with transaction.atomic():
            number = _take_number(log)
            decision = stage.decide(log, intake, number)
            if decision is None:
                transaction.set_rollback(True)
                return None
            if log.failures or log.limit:
                grown = limit * 2 if limit * 2 < stage.batch else None
                Log.objects.filter(pk=log.pk).update(failures=0, limit=grown)
            return Piece.objects.create(
                workspace_id=log.workspace_id, log=log, number=number, decision=msgspec.msgpack.encode(decision)
            )
    except POISON as error:
        logger.exception("%s %s: cannot decide", stage.name, log.owner)
        _undecidable(stage, log, intake, limit, error)
        raise


def _undecidable(stage: Stage[Any, Any, Any], log: Log, intake: Any, limit: int, error: Exception) -> None:
    """Count the failure; from the third on take half as much, until the one bad row is alone and is skipped."""
    if log.failures + 1 < POISON_AFTER:
        Log.objects.filter(pk=log.pk).update(failures=F("failures") + 1)
    elif limit > 1:
        Log.objects.filter(pk=log.pk).update(failures=F("failures") + 1, limit=limit // 2)
    else:
        with transaction.atomic():
            stage.skip(log, intake, error)
            Log.objects.filter(pk=log.pk).update(failures=0, limit=None)


def _renumber(log: Log, piece: Piece) -> Piece | None:
    """Give a found piece a new number and abandon the old one: its first writer may still be writing."""
    with transaction.atomic():
        old = piece.number
        number = _take_number(log)
        if not Piece.objects.filter(pk=piece.pk, number=old).update(number=number, attempts=F("attempts") + 1):
            raise Overtaken(f"piece {old} of {log.stage} {log.owner} has gone on")
        if old != UNNUMBERED:
            Abandoned.objects.create(workspace_id=log.workspace_id, log=log, number=old)
    piece.number = number
    return piece


def _publish(stage: Stage[Any, Any, Any], log: Log, piece: Piece, decision: Any, outcome: Any) -> None:
    with transaction.atomic():
        moved = Log.objects.filter(pk=log.pk, published__lt=piece.number).update(published=piece.number, retry_at=None)
        gone = Piece.objects.filter(pk=piece.pk, number=piece.number).delete()[0]
        if not (moved and gone):
            raise Overtaken(f"piece {piece.number} of {log.stage} {log.owner} was taken over")
        stage.publish(log, decision, piece.number, outcome)


def _poisoned(stage: Stage[Any, Any, Any], log: Log, piece: Piece, decision: Any, error: Exception) -> None:
    """Count the failure; at the third halve the piece, or refuse the one row that it is."""
    with transaction.atomic():
        Log.objects.select_for_update().get(pk=log.pk)
        if log.failures + 1 < POISON_AFTER:
            Log.objects.filter(pk=log.pk).update(failures=F("failures") + 1)
            Piece.objects.filter(pk=piece.pk, number=piece.number).update(error=_said(error))
            return
        Log.objects.filter(pk=log.pk).update(failures=0)
        parts = list(stage.split(decision))
        if not parts:
            rest = stage.refuse(log, decision, error)
            parts = [] if rest is None else [rest]
        _replace(log, piece, parts)


def _replace(log: Log, piece: Piece, parts: Sequence[Any]) -> None:
    """Put `parts` where `piece` was, before whatever was queued behind it."""
    behind = list(log.pieces.filter(id__gt=piece.pk).order_by("id"))
    log.pieces.filter(id__gte=piece.pk).delete()
    if piece.number != UNNUMBERED:
        Abandoned.objects.create(workspace_id=log.workspace_id, log=log, number=piece.number)
    decisions = [msgspec.msgpack.encode(part) for part in parts] + [bytes(later.decision) for later in behind]
    for decision in decisions:
        Piece.objects.create(workspace_id=log.workspace_id, log=log, number=UNNUMBERED, decision=decision)


def _wait(log: Log, piece: Piece, error: Exception) -> None:
    """Note why, and do not try again at once: every try uses up a number."""
    Piece.objects.filter(pk=piece.pk).update(error=_said(error))
    wait = min(timedelta(seconds=2**piece.attempts), LONGEST_WAIT) if piece.attempts < 10 else LONGEST_WAIT
    Log.objects.filter(pk=log.pk).update(retry_at=timezone.now() + wait)


def _said(error: Exception) -> str:
    """What went wrong, as PostgreSQL takes it: errors quote what they are about, and it may hold anything."""
    return str(error)[:2000].encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
