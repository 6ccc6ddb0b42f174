"""READ THIS FIRST. The line of stages, and who is served when.

    collect ──► archive ──► resolve ──► evaluate ──► sync
    sources     sources     identity    audiences    destinations
    (HTTP)      per source  per space   per space    per subscription

Each stage has an owner, a log, and one function that moves the log by one batch (`spaces.batches.advance`). Each queue
has workers of its own. A wake-up is a Celery task that says no more than that somebody waits at a queue, at most one
pending per queue; the worker asks PostgreSQL who, and serves them by turns (`personas_site.turns`), a batch at a time,
so that no workspace keeps another waiting. Losing a wake-up costs a second: `beat` asks every queue. Nothing that
matters is in Redis.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from threading import Lock, local
from typing import Any

from celery.signals import worker_init
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection

from alerts import sending, watching
from alerts.models import AlertNotification
from audiences import backfill, dry_run_sizes, evaluate, sql_runs
from audiences.models import Audience, SqlTrait, Version
from console import sample
from console.models import Sample
from destinations import endings, sync
from destinations.models import Subscription
from identity import dry_runs, resolve_stage, splits
from identity.models import DryRun
from imports import running
from imports.models import ProfileImport
from personas_site import erasure, keys
from personas_site.celery import app  # by name: a web process that only sends tasks must know our broker, too
from personas_site.health import CHECKS
from personas_site.retention import retain
from personas_site.turns import MOST_KNOWN, Turns
from privacy import erasing
from privacy.models import Regulation
from profiles_sync import running as syncs
from profiles_sync.models import ProfilesSync
from sources import archive
from sources.events import client
from sources.events.compaction import compact
from sources.models import Source
from spaces import processor, pulse
from spaces.batches import ERASING, BatchGroup, Locks, Overtaken, Stage, advance, open_log, resting, sweep
from spaces.clock import clock
from spaces.disk_space import room
from spaces.limits import working
from spaces.models import Deletion, Log, Space, Workspace
from spaces.rates import pace

logger = logging.getLogger(__name__)

ROUND_S = 2.0  # a task serves so long, then makes way for whatever else is in its queue
LOOK_S = 0.1  # who waits is asked again after this, so that whoever comes new has a turn among the others
TOGETHER_S, TOGETHER_BYTES = 0.1, 16 * 2**20  # how old and how large what is written together grows, about
SWITCH_S = 0.001  # after so long a thread that computes makes way for another; Python's default is 0.005
EVERY_S = 0.25  # whoever always has more to do has a turn as often: the stores prefer few large batches
REST_S = 0.04  # a thread that had nobody to serve looks again after this at the earliest
LONG_S = 0.01  # a turn worth remembering
PENDING_S = 10  # a wake-up that Redis lost stops blocking later ones after this; one that lay so long is worth nothing

Job = tuple[str, int]  # (kind of work, owner)


@dataclass(frozen=True)
class Work:
    """A kind of work: at which queue, what model its owners are, who of them waits, and what happens in a turn.

    turn: serve one owner of a workspace; whether that got anything done. feeds: the queues with more to do then.
    stage: whose failures are waited out, and whose abandoned numbers are swept. paced: it inserts into ClickHouse,
    which takes few inserts a second. together: what several owners insert goes as one. shared: the most rows of a turn
    while other workspaces have turns, too: larger batches cost less for each row, but others wait for them. rests: a
    turn costs nearly the same however much has come, so an owner has at most half of the time; the stages before it
    need the stores as well. frees: it erases, which makes room on the disk, so it goes on when there is almost none,
    and waits for a backup.
    """

    queue: str
    owners: type[Any]
    waiting: Callable[[datetime], Iterable[int]]
    turn: Callable[[int, int], bool]
    feeds: tuple[str, ...] = ()
    stage: Stage[Any, Any, Any] | None = None
    paced: bool = False
    together: bool = False
    shared: int | None = None
    rests: bool = False
    frees: bool = False


def _piece(stage: Stage[Any, Any, Any], owner: int, workspace: int) -> bool:
    """One batch of the owner's log."""
    return advance(stage, open_log(stage=stage.name, partition=owner, workspace_id=workspace))


def _fill(sample_id: int, workspace: int) -> bool:
    if room().accepts:
        sample.advance_sample(sample_id)
    return False  # what comes next takes its time: beat asks again


def _stage(stage: Stage[Any, Any, Any], **work: Any) -> Work:
    return Work(stage=stage, turn=partial(_piece, stage), **work)


WORK = {
    "archive": _stage(
        archive.STAGE,
        queue="archive",
        owners=Source,
        waiting=archive.waiting,
        feeds=("resolve",),
        paced=True,
        together=True,
    ),
    "resolve": _stage(
        resolve_stage.STAGE,
        queue="resolve",
        owners=Space,
        waiting=lambda now: set(resolve_stage.waiting(now)) - resolve_stage.replaying(),
        feeds=("evaluate",),
        paced=True,
        together=True,
        shared=1_500,
    ),
    "replay": _stage(
        resolve_stage.STAGE,
        queue="bulk",
        owners=Space,
        waiting=lambda now: resolve_stage.replaying(),
        feeds=("resolve", "evaluate"),
        paced=True,
    ),
    "evaluate": _stage(
        evaluate.STAGE,
        queue="evaluate",
        owners=Space,
        waiting=evaluate.waiting,
        feeds=("sync",),
        paced=True,
        together=True,
        rests=True,
    ),
    "sync": _stage(
        sync.STAGE,
        queue="sync",
        owners=Subscription,
        waiting=sync.waiting,
    ),
    # Mostly waiting, as calls to destinations are.
    "sql_trait": Work(
        queue="sync",
        owners=SqlTrait,
        waiting=sql_runs.due,
        turn=lambda trait, workspace: sql_runs.run(trait, clock),
        feeds=("archive",),
    ),
    # As well; a turn is a batch, and whoever is far behind takes many.
    "profiles_sync": Work(
        queue="sync",
        owners=ProfilesSync,
        waiting=syncs.due,
        turn=lambda sync, workspace: syncs.advance(sync, clock),
    ),
    "compute": Work(
        queue="bulk",
        owners=Version,
        waiting=lambda now: backfill.computing(now),
        turn=lambda version, workspace: backfill.compute(version, clock) is not None,
        feeds=("evaluate",),
    ),
    "deletion": Work(
        queue="bulk",
        owners=Deletion,
        waiting=erasure.due,
        turn=lambda deletion, workspace: erasure.advance(deletion, clock.now()),
        frees=True,
    ),
    "regulation": Work(
        queue="bulk",
        owners=Regulation,
        waiting=erasing.due,
        turn=lambda regulation, workspace: erasing.advance(regulation, clock),
        feeds=("evaluate", "sync"),
        frees=True,
    ),
    "import": Work(
        queue="bulk",
        owners=ProfileImport,
        waiting=running.due,
        turn=lambda of, workspace: running.advance(of, clock),
        feeds=("archive", "evaluate"),
    ),
    "dry_run": Work(
        queue="bulk",
        owners=DryRun,
        waiting=lambda now: dry_runs.due(),
        turn=lambda dry_run, workspace: dry_runs.run(dry_run, clock, dry_run_sizes.sizes),
        feeds=("resolve",),
    ),
    "ending": Work(
        queue="bulk",
        owners=Audience,
        waiting=lambda now: endings.emptied(),
        turn=lambda audience, workspace: endings.finish(audience, clock.now()),
    ),
    # Mostly waiting, as calls to destinations are: no stage is kept by it.
    "alert": Work(
        queue="sync",
        owners=Space,
        waiting=watching.due,
        turn=lambda space, workspace: watching.look(space, clock.now()),
    ),
    "alert_message": Work(
        queue="sync",
        owners=AlertNotification,
        waiting=sending.due,
        turn=lambda notification, workspace: sending.send(notification, clock.now()),
    ),
    "sample": Work(
        queue="bulk",
        owners=Sample,
        waiting=lambda now: sample.unfinished_samples(),
        turn=_fill,
    ),
}
QUEUES = tuple(dict.fromkeys(work.queue for work in WORK.values()))


def wake(queue: str) -> None:
    """Who waits at the queue is served soon. A wake-up that cannot be sent is no error: beat makes up for it."""
    try:
        if cache.add(_pending(queue), 1, PENDING_S):
            work.apply_async((queue,), queue=queue, expires=PENDING_S)
    except Exception as error:
        logger.warning("no wake-up for %s: %s", queue, error)
        with suppress(Exception):  # nothing is pending, so nothing may keep beat from trying
            cache.delete(_pending(queue))


@app.task
def work(queue: str, **_: Any) -> None:
    """Serve those who wait at the queue by turns, for about two seconds, and wake whom that feeds."""
    time.sleep(max(0.0, _look_after.get(queue, 0.0) - time.monotonic()))
    with suppress(Exception):  # without Redis nothing is pending
        cache.delete(_pending(queue))
    end = time.monotonic() + ROUND_S
    with _locks_of_this_thread() as locks:
        served_any = False
        began: dict[Job, float] = {}  # of whom had a turn since the last look
        while jobs := who_waits(queue, clock.now()):
            rest = _rest(queue, jobs, began)
            began.clear()
            look_again, served = time.monotonic() + LOOK_S, False
            while (done := _turn(queue, jobs, locks, began)) is not None:
                served |= done
                if time.monotonic() > end or (served and time.monotonic() > look_again):
                    break
            served_any |= served
            if time.monotonic() > end and (served_any or rest):
                return wake(queue)
            if not served and not (rest and _waited(queue, rest)):
                break  # whoever is left cannot go on now, or another thread waits for them; beat tries again
    if _threads > 1 and not served_any:
        # Whoever is served by another thread may wake this one hundreds of times a second, and there is nothing to do.
        _look_after[queue] = time.monotonic() + REST_S


def _locks_of_this_thread() -> Locks:
    """Kept from task to task: what a connection costs would be most of what a single event does."""
    if not hasattr(_thread, "locks"):
        _thread.locks = Locks()
    locks: Locks = _thread.locks
    return locks


def _waited(queue: str, rest: float) -> bool:
    """Whether this is the thread that waits until somebody may go on; it did. The others are there for who is new."""
    with _lock:
        if queue in _waiting:
            return False
        _waiting.add(queue)
    time.sleep(min(rest, LOOK_S))
    with _lock:
        _waiting.discard(queue)
    return True


def _rest(queue: str, jobs: dict[Job, int], began: Mapping[Job, float]) -> float:
    """Seconds until the first may go on of those who rest; they are no longer among `jobs`. 0.0 = nobody rests.

    began: when the last turn of some of them did. Who waits again as soon as it is over has no end of work.
    """
    now = time.monotonic()
    with _lock:
        for job in jobs.keys() & began.keys():
            # How many times as long as the turn took. Mostly the stores work in a turn, and they have no lanes: where
            # the processor is short two thirds of the time are the others'.
            times = 2 if processor.short() and _turns_at(queue).shared(jobs[job]) else int(WORK[job[0]].rests)
            _rests[job] = max(began[job] + EVERY_S, now + times * (now - began[job]))
        for job in [job for job, until in _rests.items() if until <= now]:
            del _rests[job]
        resting = {job: _rests[job] for job in jobs if job in _rests}
    for job in resting:
        del jobs[job]
    return max(min(resting.values()) - now, 0.001) if resting else 0.0


def who_waits(queue: str, now: datetime) -> dict[Job, int]:
    """Whoever has work at the queue, and may be tried: job → workspace. On a disk almost full, who makes room."""
    works = room().works
    jobs: dict[Job, int] = {}
    for kind, work in WORK.items():
        if work.queue == queue and (works or work.frees):
            try:
                owners = _owners(work, now)
            except Exception:  # what is wrong with one kind of work keeps no other from being done
                logger.exception("nobody can tell who waits for %s", kind)
                connection.close_if_unusable_or_obsolete()
            else:
                jobs |= {(kind, owner): workspace for owner, workspace in owners.items()}
    return jobs


def _owners(work: Work, now: datetime) -> dict[int, int]:
    """Owner → workspace."""
    waiting = set(work.waiting(now))
    if waiting and work.stage:
        waiting -= resting(work.stage.name)
    return dict(work.owners.objects.filter(pk__in=waiting).values_list("pk", "workspace_id")) if waiting else {}


def _take(queue: str, jobs: Mapping[Job, int]) -> Job | None:
    """The job whose turn it is. Where several threads serve, another one looks for who else may run."""
    with _lock:
        turns = _turns_at(queue)
        job = turns.take(jobs)
        others = job and _threads > 1 and turns.free(jobs)
    if others:
        wake(queue)
    return job


def _turn(queue: str, jobs: dict[Job, int], locks: Locks, began: dict[Job, float]) -> bool | None:
    """Serve the next of them, or the next few together; whether that got anything done. None when nobody may be served.

    Who was served is no longer among `jobs`, and among `began` when it is work of which more at once costs less.
    """
    now = time.monotonic()
    job = _take(queue, jobs)
    if job is None:
        return None
    work = WORK[job[0]]
    served = [job]
    try:
        if work.paced and work.stage:
            pace(f"insert:{work.stage.name}", rate=settings.INSERTS_PER_SECOND)
        if work.together and work.stage:
            moved = _together(work, work.stage, jobs, served, locks)
            began |= dict.fromkeys(served, now)
        else:
            moved = _serve(job, jobs.pop(job), locks, work.turn)
    finally:
        try:
            locks.release()
        finally:  # it fails when PostgreSQL has gone; and who is not done is never taken again by this process
            with _lock:
                for served_job in served:
                    _turns_at(queue).done(served_job)
    if moved:
        for fed in work.feeds:
            wake(fed)
    return moved


def _together(work: Work, stage: Stage[Any, Any, Any], jobs: dict[Job, int], served: list[Job], locks: Locks) -> bool:
    """Serve the one that was taken, and more for as long as they make a batch of reasonable size and age.

    Whoever took longer the last time than there is time left has a turn of its own: nobody waits for it here.
    """
    rows = client.Gathered()
    group = BatchGroup(stage, rows)
    end = time.monotonic() + TOGETHER_S

    def turn(owner: int, workspace: int) -> bool:
        with _lock:
            most = work.shared if _turns_at(work.queue).shared(workspace, lanes=_threads) else None
        group.add(open_log(stage=stage.name, partition=owner, workspace_id=workspace), most)
        return True

    while True:
        begun = time.monotonic()
        _serve(served[-1], jobs.pop(served[-1]), locks, turn)
        now = time.monotonic()
        _note_time(served[-1], now - begun)
        if rows.size > TOGETHER_BYTES or now > end:
            break
        job = _take(work.queue, {job: workspace for job, workspace in jobs.items() if _took.get(job, 0) < end - now})
        if job is None:
            break
        served.append(job)
    return bool(group.write())


def _note_time(job: Job, took: float) -> None:
    with _lock:
        _took.pop(job, None)
        if took > LONG_S:
            _took[job] = took
            if len(_took) > MOST_KNOWN:
                del _took[next(iter(_took))]


def _serve(job: Job, workspace: int, locks: Locks, turn: Callable[[int, int], bool]) -> bool:
    """One turn of one owner; whether that got anything done. What is wrong with one owner stops no other."""
    kind, owner = job
    stage = WORK[kind].stage
    if not locks.take(f"{stage.name if stage else kind}:{owner}"):
        return False  # whoever has it now looks again before it ends, or beat does
    if WORK[kind].frees and not locks.take(ERASING, shared=True):
        return False
    try:
        with working(_public_id(workspace)):
            return turn(owner, workspace)
    except (Overtaken, Log.DoesNotExist) as error:
        logger.info("%s", error)
    except Exception as error:
        level = logging.INFO if stage else logging.ERROR  # a stage's log says it, and when it is tried again
        logger.log(level, "%s %s: %r", kind, owner, error, exc_info=None if stage else error)
        connection.close_if_unusable_or_obsolete()
    return False


@lru_cache(maxsize=10_000)
def _public_id(workspace: int) -> str:
    return Workspace.objects.values_list("public_id", flat=True).get(pk=workspace)


@app.task
def answer(queue: str, **_: Any) -> None:
    """A worker of the queue lives, and knows whether ClickHouse does."""
    pulse.note(queue)
    with suppress(Exception):  # whatever it says, it does not answer as it should
        CHECKS["clickhouse"].run()
        pulse.note(pulse.CLICKHOUSE)


@app.task
def beat(**_: Any) -> None:
    """Wake the queues at which somebody waits: what was lost on the way, and what only the clock brings."""
    _ask_for_answers()
    now = clock.now()
    for queue in QUEUES:
        if who_waits(queue, now):
            wake(queue)


def _ask_for_answers() -> None:
    """Every few seconds, of the workers of each queue, and beat's own."""
    global _asked
    if _asked and time.monotonic() < _asked + pulse.EVERY_S:
        return
    _asked = time.monotonic()
    try:
        pulse.note(pulse.BEAT)
        for queue in QUEUES:
            answer.apply_async((queue,), queue=queue, expires=pulse.EVERY_S)
    except Exception as error:  # without Redis everything is silent
        logger.warning("no worker is asked whether it lives: %s", error)


@app.task
def clean(**_: Any) -> None:
    """Forget what was abandoned more than a day ago, and what is older than it is kept."""
    with closing(Locks()) as locks:
        if not locks.take(ERASING, shared=True):
            return  # a backup is being made
        for stage in {work.stage.name: work.stage for work in WORK.values() if work.stage}.values():
            try:
                sweep(stage)
            except Exception:
                logger.exception("what %s abandoned is not cleaned", stage.name)
        splits.sweep()
        dry_runs.sweep(clock.now())
        retain(clock.now())
        compact()


# Of this process: how many threads serve, whose turn it is at each queue, and how long turns were.
_asked = 0.0  # when workers were asked whether they live
_threads = 1
_lock = Lock()
_thread = local()
_turns: dict[str, Turns[Job]] = {}
_look_after: dict[str, float] = {}
_rests: dict[Job, float] = {}  # until when
_waiting: set[str] = set()  # queues at which a thread waits for those who rest
_took: dict[Job, float] = {}  # how long the last turn was, in seconds, where it was long; the newest last


def _turns_at(queue: str) -> Turns[Job]:
    if queue not in _turns:
        _turns[queue] = Turns() if _threads == 1 else Turns(most=_threads - max(_threads // 4, 1))
    return _turns[queue]


@worker_init.connect
def _check_keys(**_: Any) -> None:
    try:
        with connection.cursor() as cursor:
            keys.check(cursor)
    except DatabaseError as error:
        logger.warning("the installation's keys are not known: %s", error)
    except keys.OtherKeys as error:
        sys.exit(f"personas: {error}")
    connection.close()  # who forks from here must not share it


@worker_init.connect
def _note_threads(sender: Any, **_: Any) -> None:
    global _threads
    _threads = sender.concurrency or 1
    if _threads > 1:  # whoever has little to do, and mostly waits for the stores, is not kept by whoever computes
        sys.setswitchinterval(SWITCH_S)


def _pending(queue: str) -> str:
    return f"pending:{queue}"
