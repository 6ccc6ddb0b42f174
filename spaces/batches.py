"""Prepare, write, commit: the one mechanism by which every stage moves its log forward, exactly once.

PostgreSQL and ClickHouse share no transaction. So a stage works in numbered batches (design, "Batches"):

1. *Prepare*, one PostgreSQL transaction: what the batch takes, its number, and every result that is not a
   pure function of its input. What it comes to is kept in `Batch`.
2. *Write* to the outside (ClickHouse rows, calls to a destination), made only from what was prepared.
   Every row carries the batch's number.
3. *Commit*, one PostgreSQL transaction: the log's end moves to the number.

A batch that was prepared and not committed is written again under a new number by whoever finds it; the old
number is abandoned in the same transaction. Readers ask for `Visible`: numbers up to the end, without the
abandoned ones. So a crash anywhere, or a worker that stalls and wakes up late, neither loses, doubles nor
falsifies a row. Prepare and Commit expect a state (an UPDATE that must hit one row); the advisory lock only
saves two workers from working in vain.

Whoever is at fault for a failure (`spaces.errors`) bears it. Rows that a store refuses are found by halving, and kept
as rejects. Every other failure, in whatever step, leaves all as it was: the log waits, says why, and does the same
batch whole later; at once in a process that started after the failure: it may run the release that cures it.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import uniform
from typing import Any, Protocol, Self, TypeVar

import msgspec
import psycopg2
from django.db import Error, connection, transaction
from django.db.models import F
from django.utils import timezone

from spaces.errors import Unwritable, is_ours, refuse_rows
from spaces.faults import reach
from spaces.models import Abandoned, Batch, Log
from spaces.text import text_of
from spaces.times import is_due

logger = logging.getLogger(__name__)

STARTED = timezone.now()  # this process, or the one that it is a copy of
POISON_AFTER = 3  # refusals of the same rows in a row before they are halved
LONGEST_WAIT = {Log.Fault.STORE: timedelta(seconds=30), Log.Fault.CODE: timedelta(minutes=5)}  # between attempts
# Once more rows than these, and more than this part of the last ones, were refused, it is hardly the rows' fault.
MANY_REFUSED, MUCH_REFUSED, LAST_ROWS = 10, 0.1, 500
MANY_DEATHS = 5  # in a row
UNNUMBERED = 0  # a part that waits; it gets its number before its first write
TRIED_EVERY_S = 0.05  # a lock that another process has
ERASING = "erasing"  # a lock: whoever deletes committed rows shares it, whoever copies them has it alone
KEPT_ABANDONED = timedelta(days=1)  # until then a late insert under an abandoned number may still arrive


class Overtaken(Exception):
    """Another worker moved this log in the meantime. What was done here counts for nothing."""


class Died(Exception):
    """Processes that worked on a batch ended without a word, again and again: one may end others' work with its own."""


class Wholesale(Exception):
    """A store refuses row after row: what they have in common is more likely at fault than each of them."""


Found = TypeVar("Found")  # what a read found
Prepared = TypeVar("Prepared")  # what a prepared batch comes to, a msgspec Struct
Learnt = TypeVar("Learnt")  # what a write learnt


class Stage(Protocol[Found, Prepared, Learnt]):
    """One kind of log."""

    name: str
    prepared: type[Prepared]
    batch_size: int  # the most rows of a batch

    def read(self, log: Log, limit: int) -> Found | None:
        """What there is to do, at most `limit` rows; None when nothing. Outside any transaction."""

    def size(self, intake: Found) -> int:
        """How many rows these are."""

    def prepare(self, log: Log, intake: Found, number: int) -> Prepared | None:
        """Record what follows from `intake`; None takes it all back. Inside a transaction that holds the log."""

    def write(self, log: Log, prepared: Prepared, number: int) -> Learnt:
        """Put rows made only from `prepared` outside, each carrying `number`. Outside any transaction."""

    def commit(self, log: Log, prepared: Prepared, number: int, outcome: Learnt) -> None:
        """Make what follows visible, inside the transaction that moves the log's end."""

    def split(self, prepared: Prepared) -> Sequence[Prepared]:
        """Two that together are this one; empty when it is a single row."""

    def refuse(self, log: Log, prepared: Prepared, error: Exception) -> Prepared | None:
        """Keep the single row of `prepared` as a reject with its reason; what is left to write, if anything."""

    def skip(self, log: Log, intake: Found, error: Exception) -> None:
        """Keep the single row of `intake`, that cannot even be prepared, as a reject, and step over it."""

    def erase(self, log: Log, numbers: Sequence[int]) -> None:
        """Delete whatever rows carry these abandoned numbers."""


@dataclass(frozen=True)
class Visible:
    """Which numbers of one log a reader may see: one consistent moment of it."""

    # replaced: (number, keys), rows of these keys that are older than the number count no more.

    partition: int
    end: int
    abandoned: tuple[int, ...] = ()
    replaced: tuple[tuple[int, tuple[int, ...]], ...] = ()


def visible(log: Log) -> Visible:
    """The log as of now."""
    return visible_logs(stage=log.stage, partitions=[log.partition])[log.partition]


def visible_logs(*, stage: str, partitions: Sequence[int]) -> dict[int, Visible]:
    """The same for several partitions; one that has no log yet has end 0."""
    with connection.cursor() as cursor:  # one statement, so that all is of one snapshot
        cursor.execute(
            """SELECT l.owner, l.published, coalesce(array_agg(a.number) FILTER (WHERE a.number IS NOT NULL), '{}'),
                      (SELECT json_agg(json_build_array(r.number, r.keys) ORDER BY r.number) FROM spaces_replaced r
                       WHERE r.log_id = l.id AND r.number <= l.published)
               FROM spaces_log l LEFT JOIN spaces_abandoned a ON a.log_id = l.id AND a.number <= l.published
               WHERE l.stage = %s AND l.owner = ANY(%s) GROUP BY l.id""",
            [stage, list(partitions)],
        )
        known = {
            partition: Visible(
                partition, end, tuple(sorted(gone)), tuple((number, tuple(keys)) for number, keys in replaced or ())
            )
            for partition, end, gone, replaced in cursor.fetchall()
        }
    return {partition: known.get(partition, Visible(partition, 0)) for partition in partitions}


def open_log(*, stage: str, partition: int, workspace_id: int) -> Log:
    """The log of this partition, made when it is the first time."""
    return Log.objects.get_or_create(stage=stage, partition=partition, defaults={"workspace_id": workspace_id})[0]


def unfinished(stage: str) -> list[int]:
    """Partitions with a batch that was prepared and not committed."""
    return list(Batch.objects.filter(log__stage=stage).values_list("log__partition", flat=True).distinct())


def resting(stage: str) -> set[int]:
    """Partitions that failed, and are not to be tried again yet."""
    failed = Log.objects.filter(stage=stage, retry_at__gt=timezone.now())
    return {log.partition for log in failed if rests(log)}


def rests(log: Log) -> bool:
    """Whether it is too early to try again."""
    # A process that started since may run the release that cures it: it tries at once.
    tried_by_this_process = log.failed_at is None or log.failed_at > STARTED
    return tried_by_this_process and not is_due(log.retry_at, timezone.now(), longest=max(LONGEST_WAIT.values()))


def failing(stage: str, partitions: Iterable[int]) -> list[Log]:
    """Logs of these partitions that stand still because of failures, the one that does so longest first."""
    failed = Log.objects.filter(stage=stage, partition__in=list(partitions), failures__gt=0)
    return list(failed.order_by("failing_since", "pk"))


def advance(stage: Stage[Any, Any, Any], log: Log) -> bool:
    """Bring one batch from wherever it is to committed. False when there was nothing to do.

    Raises what went wrong in any step, once the log says it; the same is tried again later, under a new number.
    """
    return _to_the_end(_steps(stage, log))


class Rows(Protocol):
    """Rows on their way to a store."""

    def gathered(self) -> AbstractContextManager[None]:
        """What is inserted inside is not written yet, but comes to these rows."""

    def write(self) -> None:
        """All of them are in the store. Raises Unwritable when what is in some of them is why they are not."""


class BatchGroup:
    """Batches of several logs of one stage whose rows are written as one: a store takes few large inserts, not many.

    Each batch keeps its own number and its own Commit, so that it is as if each had been written by itself.
    """

    def __init__(self, stage: Stage[Any, Any, Any], rows: Rows) -> None:
        self._stage, self._rows = stage, rows
        self._open: list[tuple[Log, Generator[str, None, bool]]] = []
        self._done: list[Log] = []

    def add(self, log: Log, most: int | None = None) -> None:
        """The log's next batch, of at most so many rows, is prepared; its rows are among those that will be written.

        What was left unfinished is done at once, by itself: it may be that the store refuses it. Raises as `advance`.
        """
        steps = _steps(self._stage, log, most)
        try:
            if next(steps) == UNFINISHED:
                moved = _to_the_end(steps)
            else:
                with self._rows.gathered():
                    next(steps)
                self._open.append((log, steps))
                return
        except StopIteration as end:
            moved = end.value
        if moved:
            self._done.append(log)

    def write(self) -> list[Log]:
        """The rows are written and the batches committed. Returns the logs that went on; the others say why not."""
        try:
            if self._open:
                self._rows.write()
        except Unwritable as error:
            alone = len(self._open) == 1
            for log, steps in self._open:
                if alone:
                    self._end(log, partial(steps.throw, error))
                else:  # nobody knows whose rows are refused: each is written once more, alone, under a new number
                    steps.close()
                    self._end(log, partial(advance, self._stage, log))
        except Exception as error:
            for log, steps in self._open:
                self._end(log, partial(steps.throw, error))
        else:
            for log, steps in self._open:
                self._end(log, partial(next, steps))
        return self._done

    def _end(self, log: Log, go_on: Callable[[], object]) -> None:
        try:
            moved = go_on()
        except StopIteration as end:
            moved = end.value
        except Exception as error:  # the log says it, and when it is tried again
            logger.info("%s %s: %r", self._stage.name, log.partition, error)
            return
        if moved:
            self._done.append(log)


UNFINISHED, NEW, WRITTEN = "unfinished", "new", "written"


def _to_the_end(steps: Generator[str, None, bool]) -> bool:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bool(end.value)


def _steps(stage: Stage[Any, Any, Any], log: Log, most: int | None = None) -> Generator[str, None, bool]:
    """As `advance`, with stops: when it is known what comes next, UNFINISHED or NEW, and between Write and Commit."""
    log.refresh_from_db()
    if rests(log):
        return False
    try:
        batch = log.batches.order_by("id").first()
        yield UNFINISHED if batch else NEW
        if batch:
            prepared = msgspec.msgpack.decode(batch.prepared, type=stage.prepared)
            _renumber(log, batch)
        else:
            batch = _prepare(stage, log, most)
            if batch is None:
                return False
            prepared = msgspec.msgpack.decode(batch.prepared, type=stage.prepared)
        reach(f"{stage.name}:prepared")
        try:
            outcome = stage.write(log, prepared, batch.number)
            yield WRITTEN
            reach(f"{stage.name}:written")
            _commit(stage, log, batch, prepared, outcome)
        except Unwritable as error:
            logger.warning("%s %s: batch %s is refused: %s", stage.name, log.partition, batch.number, error)
            _poisoned(stage, log, batch, prepared, error)
    except (Overtaken, Log.DoesNotExist):
        raise
    except Exception as error:
        _back_off(log, error)
        with suppress(Error):
            log.batches.update(attempts=0)  # it ended, and told how
        raise
    reach(f"{stage.name}:committed")
    return True


def sweep(stage: Stage[Any, Any, Any]) -> None:
    """Delete the rows of numbers abandoned more than a day ago, then forget the numbers."""
    old = Abandoned.objects.filter(log__stage=stage.name, since__lt=timezone.now() - KEPT_ABANDONED)
    # Rows first: a number that is forgotten while some of its rows are there makes them readable.
    for log in Log.objects.filter(pk__in=old.values("log")):
        numbers = list(old.filter(log=log).values_list("number", flat=True))
        stage.erase(log, numbers)
        Abandoned.objects.filter(log=log, number__in=numbers).delete()


class Locks:
    """Locks that end with the process, however it ends. With `with`: they are released at the end.

    For one thread at a time, and never for another that shares it: the server lets whoever holds a lock take it again.
    On a connection of its own, made for the first of them and kept until `close`: Django's may be closed, or kept,
    around a task (foundations §4).
    """

    def __init__(self) -> None:
        self._connection: Any = None
        self._are_some_taken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.release()
        except psycopg2.Error:
            self._drop()

    def take(self, name: str, *, shared: bool = False) -> bool:
        """Whether this process is the one to work on `name` now; or one of those, when all of them share it."""
        try:
            taken = self._try(name, shared)
        except psycopg2.Error:
            self._drop()
            if self._are_some_taken:  # they went with the connection
                raise
            taken = self._try(name, shared)  # the server was started again since
        self._are_some_taken |= taken
        return taken

    def release(self) -> None:
        """All that were taken."""
        self._are_some_taken = False
        if self._connection:
            self._ask("SELECT pg_advisory_unlock_all()")

    def close(self) -> None:
        """They are released, and the connection is gone."""
        with self:  # the server takes its time to notice that a connection is gone
            pass
        self._drop()

    def _try(self, name: str, shared: bool) -> bool:
        if self._connection is None:
            alive = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
            self._connection = psycopg2.connect(**connection.get_connection_params() | alive)
            self._connection.autocommit = True
        return bool(self._ask(f"SELECT pg_try_advisory_lock{'_shared' if shared else ''}(%s)", _lock_key(name)))

    def _ask(self, statement: str, *values: int) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchone()[0]

    def _drop(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


@contextmanager
def owning(name: str) -> Iterator[bool]:
    """Whether this process is the one to work on `name` now. Ends with the process, however it ends."""
    with closing(Locks()) as locks:
        yield locks.take(name)


@contextmanager
def owning_in_between(name: str, *, within_s: float) -> Iterator[bool]:
    """Whether this process is the one to work on `name`, as it may be after waiting for so long.

    Held by the connection of this thread, in no transaction: for one call, where `Locks` would need a connection more
    of everybody who may make one (personas_site.budget). Ends with the process, however it ends.
    """
    key, end = _lock_key(name), time.monotonic() + within_s

    def ask(statement: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(statement, [key])
            return bool(cursor.fetchone()[0])

    while not (taken := ask("SELECT pg_try_advisory_lock(%s)")) and time.monotonic() < end:
        time.sleep(TRIED_EVERY_S)
    try:
        yield taken
    finally:
        if taken:
            try:
                ask("SELECT pg_advisory_unlock(%s)")
            except Error:  # a connection is kept for long, and its locks with it
                connection.close()


def _lock_key(name: str) -> int:
    """PostgreSQL names locks by 64-bit numbers; of all names that are ever locked no two are likely to share one."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)


def _take_number(log: Log) -> int:
    """The next number; holds the log's row until the transaction ends."""
    # The condition is what tells two owners apart: whoever saw an older number hits no row. A rolled-back Prepare
    # gives its number back, which a sequence would not.
    hit = Log.objects.filter(pk=log.pk, last_number=log.last_number).update(last_number=F("last_number") + 1)
    if not hit:
        raise Overtaken(f"{log.stage} {log.partition} is past {log.last_number}")
    log.last_number += 1
    return log.last_number


def _prepare(stage: Stage[Any, Any, Any], log: Log, most: int | None = None) -> Batch | None:
    """The next batch, of at most so many rows; None when there is nothing to do, or not now."""
    while True:
        limit = min(log.limit or stage.batch_size, stage.batch_size, most or stage.batch_size)
        intake = stage.read(log, limit)
        if intake is None:
            if log.failures:  # there is nothing to do: whatever failed before does so no more
                Log.objects.filter(pk=log.pk).update(**HEALTHY)
                _recovered(log)
            return None
        rows = max(stage.size(intake), 1)
        try:
            with transaction.atomic(), connection.execute_wrapper(refuse_rows):
                number = _take_number(log)
                prepared = stage.prepare(log, intake, number)
                if prepared is None:
                    transaction.set_rollback(True)
                    return None
                reach(f"{stage.name}:preparing")
                if log.limit:  # the row that cannot be prepared is among fewer now
                    suspects = log.suspects - rows
                    limit_after = max(suspects // 2, 1) if suspects > 0 else None
                    Log.objects.filter(pk=log.pk).update(suspects=max(suspects, 0), limit=limit_after)
                return Batch.objects.create(
                    workspace_id=log.workspace_id,
                    log=log,
                    number=number,
                    rows=rows,
                    attempts=1,
                    prepared=msgspec.msgpack.encode(prepared),
                )
        except Unwritable as error:
            logger.warning("%s %s: cannot be prepared: %s", stage.name, log.partition, error)
            log.refresh_from_db()
            _undecidable(stage, log, intake, min(limit, rows), error)
            log.refresh_from_db()
            if rests(log):
                return None


def _undecidable(stage: Stage[Any, Any, Any], log: Log, intake: Any, rows: int, error: Unwritable) -> None:
    """Count the refusal; from the third on take half as much, until the one bad row is alone and is skipped.

    While it is searched, every Prepare takes half of those that are left, so that it is found in as many steps as
    doubling takes to come to the batch size; then all is taken again.
    """
    refusals = log.refusals + 1
    kept = Log.objects.filter(pk=log.pk)
    if refusals < POISON_AFTER and not log.limit:
        kept.update(refusals=refusals)
    elif rows > 1:
        kept.update(refusals=POISON_AFTER - 1, suspects=rows, limit=rows // 2)
    elif refusals <= POISON_AFTER and _wholesale(log):
        kept.update(refusals=POISON_AFTER)
        _back_off(log, Wholesale(str(error)))
    else:
        with transaction.atomic(), connection.execute_wrapper(refuse_rows):
            stage.skip(log, intake, error)
            kept.update(refusals=0, suspects=0, limit=None, refused=F("refused") + 1)


def _renumber(log: Log, batch: Batch) -> None:
    """Give a found batch a new number and abandon the old one: its first writer may still be writing."""
    with transaction.atomic():
        old = batch.number
        number = _take_number(log)
        if not Batch.objects.filter(pk=batch.pk, number=old).update(number=number, attempts=F("attempts") + 1):
            raise Overtaken(f"batch {old} of {log.stage} {log.partition} has gone on")
        if old != UNNUMBERED:
            Abandoned.objects.create(workspace_id=log.workspace_id, log=log, number=old)
    batch.number = number
    if batch.attempts >= MANY_DEATHS:  # noted beforehand: afterwards nobody may be there to do it
        _back_off(log, Died(f"{batch.attempts} processes have ended while they worked on this"))


def _commit(stage: Stage[Any, Any, Any], log: Log, batch: Batch, prepared: Any, outcome: Any) -> None:
    # Counts that fade: about the last 500 rows say whether refusals are the exception.
    left = max(1 - batch.rows / LAST_ROWS, 0)  # of what was counted before
    counted = {"accepted": min(log.accepted * left + batch.rows, LAST_ROWS), "refused": log.refused * left}
    well = HEALTHY if batch.rows else {}
    with transaction.atomic(), connection.execute_wrapper(refuse_rows):
        moved = Log.objects.filter(pk=log.pk, committed__lt=batch.number).update(
            committed=batch.number, **counted, **well
        )
        gone = Batch.objects.filter(pk=batch.pk, number=batch.number).delete()[0]
        # Both, before the stage's own changes: a worker that stalled and wakes up late changes nothing at all.
        if not (moved and gone):
            raise Overtaken(f"batch {batch.number} of {log.stage} {log.partition} was taken over")
        stage.commit(log, prepared, batch.number, outcome)
        reach(f"{stage.name}:committing")
    if batch.rows:
        _recovered(log)


def _poisoned(stage: Stage[Any, Any, Any], log: Log, batch: Batch, prepared: Any, error: Unwritable) -> None:
    """Count the refusal; from the third on halve the batch, or refuse the one row that it is."""
    refusals = batch.refusals + 1
    with transaction.atomic(), connection.execute_wrapper(refuse_rows):
        log = Log.objects.select_for_update().get(pk=log.pk)
        parts = list(stage.split(prepared)) if refusals >= POISON_AFTER else []
        if parts:
            # What a part is refused for, it was refused for before: no need to see that three times more.
            _replace(log, batch, parts, rows=max(batch.rows // 2, 1), refusals=POISON_AFTER - 1)
            return
        if refusals > POISON_AFTER or (refusals == POISON_AFTER and not _wholesale(log)):
            rest = stage.refuse(log, prepared, error)
            Log.objects.filter(pk=log.pk).update(refused=F("refused") + 1)
            _replace(log, batch, [] if rest is None else [rest], rows=0, refusals=0)
            return
        Batch.objects.filter(pk=batch.pk, number=batch.number).update(refusals=refusals, attempts=0)
    if refusals == POISON_AFTER:
        _back_off(log, Wholesale(str(error)))


def _wholesale(log: Log) -> bool:
    """Whether so many rows were refused of late that the next one has to wait, and somebody to look."""
    return log.refused > MANY_REFUSED and log.refused > MUCH_REFUSED * (log.refused + log.accepted)


def _replace(log: Log, batch: Batch, parts: Sequence[Any], **fields: int) -> None:
    """Put `parts` where `batch` was, before whatever was queued behind it. fields: more of theirs."""
    behind = list(log.batches.filter(id__gt=batch.pk).order_by("id"))
    log.batches.filter(id__gte=batch.pk).delete()
    if batch.number != UNNUMBERED:
        Abandoned.objects.create(workspace_id=log.workspace_id, log=log, number=batch.number)
    # By new rows, since the order of a log's batches is that of their ids.
    new = [Batch(prepared=msgspec.msgpack.encode(part), **fields) for part in parts]
    new += [Batch(prepared=old.prepared, rows=old.rows, refusals=old.refusals) for old in behind]
    for one in new:
        one.workspace_id, one.log, one.number = log.workspace_id, log, UNNUMBERED
        one.save()


HEALTHY: dict[str, Any] = {"failures": 0, "failing_since": None, "failed_at": None, "retry_at": None}
HEALTHY |= {"fault": "", "error": ""}


def _back_off(log: Log, error: Exception) -> None:
    """The log says since when it fails, whose fault it is and why; nothing is tried again at once."""
    now = timezone.now()
    fault = Log.Fault.CODE if is_ours(error) else Log.Fault.STORE
    text = f"{type(error).__name__}: {text_of(error, 2000)}"
    # Every try uses up a number, and many that failed together should not come back together.
    longest = LONGEST_WAIT[fault]
    wait = min(timedelta(seconds=2 ** min(log.failures + 1, 16)), longest) * uniform(0.75, 1)
    with suppress(Error):  # PostgreSQL is away, too
        Log.objects.filter(pk=log.pk).update(
            failures=F("failures") + 1,
            failing_since=log.failing_since or now,
            failed_at=now,
            retry_at=now + wait,
            fault=fault,
            error=text,
        )
    known = log.fault == fault and log.error.partition(":")[0] == type(error).__name__
    level = logging.INFO if known else logging.ERROR if fault == Log.Fault.CODE else logging.WARNING
    logger.log(level, "%s %s stands still: %s", log.stage, log.partition, text, exc_info=None if known else error)


def _recovered(log: Log) -> None:
    if log.failures:
        logger.warning("%s %s goes on after %d failures: %s", log.stage, log.partition, log.failures, log.error)
