"""A tick of a space with a thousand audiences and 300 computed traits, beside one SELECT of their versions."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import median
from typing import Any
from unittest.mock import patch

import psutil

from benchmarks.figures import MIB, Figure
from benchmarks.sending import Connection, batch
from benchmarks.stack import Stack, until
from quickstart import making

AUDIENCES, TRAITS, MEMBERS, PEOPLE = 1_000, 300, 100_000, 1_000_000
RUNS, PATIENCE_S, SAMPLED_EVERY_S = 7, 60, 0.005
WINDOW, SOON = timedelta(days=7), timedelta(seconds=10)
CONCERNS = ("an event that concerns nobody", "an event that concerns one audience", "an event that leaves its window")


@dataclass
class Cost:
    """Of one tick. postgres, clickhouse: statements. mib: how much larger this process was at the most."""

    seconds: float = 0
    postgres: int = 0
    clickhouse: int = 0
    mib: float = 0


def measure(running: Stack) -> list[Figure]:
    source = running.api.post("sources", {"name": "Tick", "kind": "server"})["source"]
    space = making.a_space(running.api, "Tick", "dev")
    running.api.post(f"spaces/{space['id']}/connections", {"sourceIds": [source["id"]], "replay": False})
    with _evaluated_here(space["id"]) as number:
        _fill(number)
        costs: dict[str, list[Cost]] = {name: [] for name in CONCERNS}
        key = source["writeKeys"][0]
        for run in range(RUNS + 1):  # in turn; the first warms up
            for name, event in zip(CONCERNS, ("Nobody asks about it", "Event 7"), strict=False):
                _did(running, key, number, event, run)
                costs[name].append(_ticked(number))
            _did(running, key, number, "Event 8", run, ago=WINDOW - SOON)
            _ticked(number)
            until(lambda: _waits(number), within_s=PATIENCE_S, every_s=0.02)
            costs[CONCERNS[2]].append(_ticked(number))
        floor = median(_floor(number) for _ in range(RUNS))
    return [_figure(name, costs[name][1:], floor) for name in CONCERNS]


def _figure(name: str, costs: list[Cost], floor: float) -> Figure:
    statements = median(cost.postgres for cost in costs), median(cost.clickhouse for cost in costs)
    return Figure(
        f"tick with {name} ({AUDIENCES:,} audiences, {TRAITS} traits, {MEMBERS:,} members)",
        median(cost.seconds for cost in costs) * 1000,
        "ms",
        len(costs),
        "SELECT of the versions",
        floor * 1000,
        "{:.0f} statements to PostgreSQL, {:.0f} to ClickHouse; ".format(*statements)
        + f"{max(cost.mib for cost in costs):,.0f} MiB more",
    )


@contextmanager
def _evaluated_here(public_id: str) -> Iterator[int]:
    """The number of the space, which no worker evaluates meanwhile."""
    from spaces.batches import owning
    from spaces.models import Space

    space = Space.objects.get(public_id=public_id)
    with owning(f"evaluate:{space.pk}") as mine:
        assert mine
        yield space.pk


def _fill(number: int) -> None:
    """Everything is computed, and serves."""
    from audiences.models import Audience, Evaluation, Version
    from spaces.clock import clock
    from spaces.models import Space

    space, definitions = Space.objects.get(pk=number), _definitions()
    own = {"workspace_id": space.workspace_id}
    audiences = Audience.everything.bulk_create(
        Audience(**own, space=space, kind=kind, name=key, key=key, size=MEMBERS) for key, kind, _ in definitions
    )
    snapshots = _snapshots()
    versions = Version.objects.bulk_create(
        (
            Version(
                **own,
                audience=audience,
                number=1,
                definition=definition,
                state=Version.State.LIVE,
                snapshot=snapshots[place % len(snapshots)],
            )
            for place, (audience, (*_, definition)) in enumerate(zip(audiences, definitions, strict=True))
        ),
        batch_size=50,
    )
    for audience, version in zip(audiences, versions, strict=True):
        audience.serving = version
    Audience.everything.bulk_update(audiences, ["serving"])
    Evaluation.objects.update_or_create(space=space, defaults={**own, "clock_at": clock.now()})


def _definitions() -> list[tuple[str, str, dict[str, Any]]]:
    """(key, kind, definition). All have a window; each tenth audience asks about a trait."""
    definitions: list[tuple[str, str, dict[str, Any]]] = []
    for n in range(TRAITS):
        counts = {"kind": "event_counter", "name": f"Counted {n}", "within": {"days": 90}}
        definitions.append((f"trait_{n}", "trait", counts))
    for n in range(AUDIENCES):
        own: dict[str, Any] = {"kind": "event", "name": f"Event {n}", "within": {"days": 7}}
        asks = {"kind": "computed", "name": f"trait_{n % TRAITS}", "op": "atLeast", "value": 3}
        definitions.append((f"audience_{n}", "audience", own if n % 10 else {"any": [own, asks]}))
    return definitions


def _snapshots() -> list[bytes]:
    from pyroaring import BitMap

    return [BitMap(Random(seed).sample(range(2, PEOPLE), MEMBERS)).serialize() for seed in range(10)]


def _did(running: Stack, key: str, number: int, event: str, run: int, *, ago: timedelta = timedelta()) -> None:
    """The one person of the space did this; resolve has told of it, and evaluate has not yet heard."""
    from audiences.models import Evaluation
    from identity.models import ChangeSet

    connection = Connection(running.address)
    at = (datetime.now(UTC) - ago).isoformat(timespec="milliseconds")
    message = {"type": "track", "event": event, "messageId": f"{event}-{run}", "userId": "one", "timestamp": at}
    connection.send(batch(running.address, key, [message]))
    connection.close()
    touched = Evaluation.objects.get(space=number).touched
    mine = ChangeSet.objects.filter(space=number, key=ChangeSet.event(event), piece__gt=touched)
    until(mine.exists, within_s=PATIENCE_S, every_s=0.02)


def _waits(number: int) -> bool:
    from audiences import evaluate
    from spaces.clock import clock

    return number in evaluate.waiting(clock.now())


def _ticked(number: int) -> Cost:
    """What it cost to evaluate all that waits."""
    from django.db import connection

    from audiences.evaluate import STAGE
    from sources.events import client
    from spaces.batches import advance, open_log
    from spaces.models import Space

    cost = Cost()
    log = open_log(stage="evaluate", partition=number, workspace_id=Space.objects.get(pk=number).workspace_id)

    def postgres(execute: Callable[..., Any], *args: Any) -> Any:
        cost.postgres += 1
        return execute(*args)

    def clickhouse(ask: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **settings: Any) -> Any:
            cost.clickhouse += 1
            return ask(*args, **settings)

        return counted

    with (
        _sampling(cost),
        connection.execute_wrapper(postgres),
        patch.object(client, "rows", clickhouse(client.rows)),
        patch.object(client, "bitmaps", clickhouse(client.bitmaps)),
    ):
        begun = time.perf_counter()
        assert advance(STAGE, log)
        cost.seconds = time.perf_counter() - begun
    return cost


@contextmanager
def _sampling(cost: Cost) -> Iterator[None]:
    process, ended = psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not ended.wait(SAMPLED_EVERY_S):
            cost.mib = max(cost.mib, (process.memory_info().rss - before) / MIB)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _floor(number: int) -> float:
    """Seconds that PostgreSQL and Django take for the versions' light columns."""
    from audiences.models import Version

    begun = time.perf_counter()
    light = ("pk", "audience", "number", "state", "touched", "clock_at", "tick", "failures")
    assert len(Version.objects.filter(audience__space=number).values_list(*light)) == AUDIENCES + TRAITS
    return time.perf_counter() - begun
