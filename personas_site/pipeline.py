"""READ THIS FIRST. The line of stages, and how they wake one another.

    collect ──► archive ──► resolve ──► evaluate ──► sync
    sources     sources     identity    audiences    destinations
    (HTTP)      per source  per space   per space    per subscription

Each stage has an owner, a log, and one function that moves the log by one piece (`spaces.pieces.advance`).
A wake-up is a Celery task, at most one pending per owner. Losing one costs seconds: `beat` asks every stage,
with one query, who has work. Nothing that matters is in Redis.
"""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.core.exceptions import ObjectDoesNotExist

from audiences import computes, evaluate
from destinations import sync
from identity import resolve
from personas_site import sample
from personas_site.celery import app  # by name: a web process that only sends tasks must know our broker, too
from sources import archive
from sources.models import Connection
from spaces.clock import clock
from spaces.models import Log
from spaces.pieces import Overtaken, Stage, advance, open_log, owning, resting, sweep

logger = logging.getLogger(__name__)

SLICE_S = 2.0  # a task works so long, then queues itself again, so that no owner starves another
PENDING_S = 10  # a wake-up that Redis lost stops blocking later ones after this


@dataclass(frozen=True)
class Line:
    """A stage in the line: where it runs, who has work, which workspace an owner is of, whom it wakes."""

    stage: Stage[Any, Any, Any]
    queue: Callable[[int], str]
    waiting: Callable[[datetime], Iterable[int]]
    workspace: Callable[[int], int]
    next: Callable[[int], Iterable[tuple[str, int]]]


def _listening_spaces(source: int) -> list[tuple[str, int]]:
    spaces = Connection.objects.filter(source=source).exclude(state=Connection.State.DISCONNECTED)
    return [("resolve", space) for space in spaces.values_list("space", flat=True)]


LINES = {
    "archive": Line(
        stage=archive.STAGE,
        queue=lambda source: "live",
        waiting=archive.waiting,
        workspace=archive.workspace_of,
        next=_listening_spaces,
    ),
    "resolve": Line(
        stage=resolve.STAGE,
        queue=lambda space: "bulk" if resolve.replaying(space) else "live",
        waiting=resolve.waiting,
        workspace=resolve.workspace_of,
        next=lambda space: [("evaluate", space)],
    ),
    "evaluate": Line(
        stage=evaluate.STAGE,
        queue=lambda space: "live",
        waiting=evaluate.waiting,
        workspace=evaluate.workspace_of,
        next=lambda space: [("sync", subscription) for subscription in sync.subscriptions_of(space)],
    ),
    "sync": Line(
        stage=sync.STAGE,
        queue=lambda subscription: "sync",
        waiting=sync.waiting,
        workspace=sync.workspace_of,
        next=lambda subscription: (),
    ),
}


def wake(name: str, owner: int) -> None:
    """The owner's stage will run soon. A wake-up that cannot be sent is not an error: beat makes up for it."""
    try:
        if cache.add(_pending(name, owner), 1, PENDING_S):
            work.apply_async((name, owner), queue=LINES[name].queue(owner))
    except Exception as error:
        logger.warning("no wake-up for %s %s: %s", name, owner, error)
        with suppress(Exception):  # nothing is pending, so nothing may keep beat from trying
            cache.delete(_pending(name, owner))


@app.task
def work(name: str, owner: int, **_: Any) -> None:
    """Advance one owner's log for about two seconds, then wake whom it feeds."""
    cache.delete(_pending(name, owner))
    line = LINES[name]
    with owning(f"{name}:{owner}") as mine:
        if not mine:
            return  # whoever owns it now looks again before it ends, or beat does
        try:
            log = open_log(stage=name, owner=owner, workspace_id=line.workspace(owner))
        except ObjectDoesNotExist:
            return  # the owner was deleted in the meantime
        moved, more = _advance(line.stage, log)
    if moved:
        for next_name, next_owner in line.next(owner):
            wake(next_name, next_owner)
    if more:
        wake(name, owner)


def _advance(stage: Stage[Any, Any, Any], log: Log) -> tuple[bool, bool]:
    """(whether any piece was done, whether there may be more)."""
    end = time.monotonic() + SLICE_S
    moved = False
    try:
        while advance(stage, log):
            moved = True
            if time.monotonic() > end:
                return True, True
    except (Overtaken, Log.DoesNotExist) as error:
        logger.info("%s", error)
    except Exception as error:  # the log says it, and when it is tried again
        logger.info("%s %s: %r", log.stage, log.owner, error)
    return moved, False


@app.task
def compute(version: int, **_: Any) -> None:
    """Run the full query of an audience version; it joins the next tick."""
    with owning(f"compute:{version}") as mine:
        if mine:
            space = computes.compute(version, clock)
            if space is not None:
                wake("evaluate", space)


@app.task
def beat(**_: Any) -> None:
    """Wake whoever has work: what was lost on the way, and what only the clock brings."""
    now = clock.now()
    for name in LINES:
        try:
            owners = _ready(name, now)
        except Exception:  # what is wrong with one stage keeps no other from its work
            logger.exception("beat cannot tell who has work for %s", name)
            continue
        for owner in owners:
            wake(name, owner)
    for version in computes.computing():
        if cache.add(f"compute:{version}", 1, PENDING_S):
            compute.apply_async((version,), queue="bulk")
    for sample_id in sample.unfinished():
        if cache.add(f"sample:{sample_id}", 1, 1):
            fill.apply_async((sample_id,), queue="bulk", expires=5)


def _ready(name: str, now: datetime) -> list[int]:
    """Owners that have work, and did not fail a moment ago."""
    return sorted(set(LINES[name].waiting(now)) - resting(name))


@app.task
def fill(sample_id: int, **_: Any) -> None:
    """Bring a workspace's sample data a step further."""
    sample.go_on(sample_id)


@app.task
def clean(**_: Any) -> None:
    """Forget what was abandoned more than a day ago."""
    for name, line in LINES.items():
        try:
            sweep(line.stage)
        except Exception:
            logger.exception("what %s abandoned is not cleaned", name)


def _pending(name: str, owner: int) -> str:
    return f"pending:{name}:{owner}"
