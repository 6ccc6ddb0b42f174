"""Whatever goes wrong, at random and at once, under load: nothing is lost, doubled or false.

For longer runs: `FAULTS=300 SEED=7 make test TESTS=tests/flows/test_chaos.py`.
"""

import os
import random
import resource
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from benchmarks.stack import Stack, own_environment, until
from quickstart.client import Api, ApiError, Json
from tests.event_generator import SOURCES
from tests.flows.test_full_disk import Disk
from tests.flows.test_kills import PROCESSES, Sender, World, verified

FAULTS = int(os.environ.get("FAULTS", "12"))
SEED = int(os.environ.get("SEED", "1"))
LONGEST_BETWEEN_S = 1.0
LASTS_S = (0.5, 3.0)
BACK_WITHIN_S = 240
STORES = ("clickhouse", "postgres", "valkey")
BUGS = [
    f"{stage}:{step}" for stage in ("archive", "resolve", "evaluate", "sync") for step in ("deciding", "publishing")
]
BUGS += ["sync:written", "insert:archive", "insert:traits", "insert:membership_log"]  # half-way through Write
JUMPS_S = (-300, -90, 90, 300)  # more than a window is long, the second and the third less than two
PAST = {"Busy": 30, "Flood": 5}  # requests before the space listens
FLOOD, FLOOD_EVERY_S, FLOOD_MOST = 250, 0.05, 80  # messages of a request, pause, requests until it is told to again


def test_whatever_goes_wrong_nothing_is_lost_doubled_or_false(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_on_little(tmp_path) as (running, disk, clock, faults):
        worlds = worlds_of(running)
        for world in worlds:
            world.sender.start()
        until(lambda: all(map(computed, worlds)), within_s=BACK_WITHIN_S)
        mix = Mix(running, worlds, disk, clock, faults, random.Random(SEED))
        mix.go_on(FAULTS)
        for world in worlds:
            world.sender.end()
        until(lambda: running.kill("workers"), within_s=BACK_WITHIN_S)  # the release without bugs
        told = verified(running, tmp_path / "expected.json", *worlds)
        assert running.http.get(f"{running.address}/sign-in").status_code == 200
        with capsys.disabled():
            print(f"\nseed {SEED}: {mix.done.total()} faults {dict(mix.done)}")
            for name, world in zip(PAST, worlds, strict=True):
                sender = world.sender
                print(f"{name}: {sender.requests:,} requests acknowledged, {sender.retries:,} tries were not")
            print(told)


# The stack


@contextmanager
def running_on_little(folder: Path) -> Iterator[tuple[Stack, Disk, "WrongClock", Path]]:
    """The whole stack on a disk of its own, by a clock that can be put wrong."""
    home, faults = folder / "home", folder / "faults"
    home.mkdir()
    disk = Disk(home)
    reserve = {"PERSONAS_DISK_RESERVE_MB": str(disk.reserve_mb)}
    clock = WrongClock()
    running = Stack(home, own_environment(home, PERSONAS_FAULTS=str(faults), **reserve, **clock.environ))
    try:
        running.start()
        clock.install(running)
        running.make_owner()
        yield running, disk, clock, faults
    finally:
        running.stop()
        disk.end()
        clock.end()


class WrongClock:
    """PostgreSQL's clock, which is everybody's, ahead or behind by as much as a file says."""

    environ = {"PGOPTIONS": "-c search_path=public,wrong,pg_catalog"}  # ours is found before PostgreSQL's own

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="personas-clock-"))
        self._folder.chmod(0o755)  # PostgreSQL runs as somebody else
        self.put(0)

    def put(self, by_s: int) -> None:
        new = self._folder / "new"
        new.write_text(f"{by_s} seconds")
        new.chmod(0o644)
        new.replace(self._folder / "by")

    def install(self, running: Stack) -> None:
        with closing(psycopg2.connect(running.paths.database_owner_url)) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"""CREATE SCHEMA wrong;
                    CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql SECURITY DEFINER AS $$
                        SELECT pg_catalog.clock_timestamp() + pg_catalog.pg_read_file('{self._folder}/by')::interval
                    $$;
                    GRANT USAGE ON SCHEMA wrong TO PUBLIC"""
            )
            connection.commit()

    def end(self) -> None:
        shutil.rmtree(self._folder)


# The tenants


class Flood(Sender):
    """Sends much, but only while it is told to."""

    def __init__(self, address: str, sources: dict[str, Json]) -> None:
        super().__init__(address, sources, size=FLOOD, every_s=FLOOD_EVERY_S)
        self.on = threading.Event()

    def run(self) -> None:
        left = FLOOD_MOST
        while not self.failure and not self.ended.wait(self.every_s):
            if not self.on.is_set():
                left = FLOOD_MOST
            elif left:
                self.send()
                left -= 1


def worlds_of(running: Stack) -> list[World]:
    """Two workspaces, each with sources, audiences and destinations."""
    worlds = []
    for name, past in PAST.items():
        world = World(running, Api(running.address, running.owner_of(name)))
        if name == "Flood":
            world.sender = Flood(running.address, world.sources)
        world.furnish(past)
        assert world.connect(SOURCES[1])
        worlds.append(world)
    return worlds


def computed(world: World) -> bool:
    return all(each["status"] == "live" for each in audiences_of(world))


def audiences_of(world: World) -> list[Json]:
    return list(world.api.all(f"spaces/{world.space['id']}/audiences", "audiences"))


@contextmanager
def flooding(world: World) -> Iterator[None]:
    assert isinstance(world.sender, Flood)
    world.sender.on.set()
    try:
        yield
    finally:
        world.sender.on.clear()


# The faults


class Mix:
    """Faults that begin one after the other, and go on beside each other. done: how many of each kind there were."""

    def __init__(
        self, running: Stack, worlds: Sequence[World], disk: Disk, clock: WrongClock, faults: Path, dice: random.Random
    ) -> None:
        self.running, self.worlds, self.disk, self.clock = running, worlds, disk, clock
        self.faults, self.dice = faults, dice
        self.done: Counter[str] = Counter()
        self._going: dict[str, tuple[float, ExitStack]] = {}  # until when, and how it ends
        self._calls = ThreadPoolExecutor(1)  # what may wait for a store; the faults are this thread's

    def go_on(self, count: int) -> None:
        """So many faults have begun, and all are over."""
        kinds: list[Callable[[], AbstractContextManager[None]]] = [
            *(self.a_kill, self.a_slow_store, self.a_full_disk, self.a_memory_error),
            *(self.a_clock_jump, self.a_bug, self.a_disconnect, self.a_flood),
        ]
        dealt = list(islice(cycle(kinds), count))
        self.dice.shuffle(dealt)
        try:
            for kind in dealt:
                self._begin(kind)
            self.wait(lambda: not self._going)
        finally:
            self._end(*self._going)

    def _begin(self, kind: Callable[[], AbstractContextManager[None]]) -> None:
        at = time.monotonic() + self.dice.uniform(0, LONGEST_BETWEEN_S)
        self.wait(lambda: time.monotonic() > at)
        name = kind.__name__
        self._end(name)
        stack = ExitStack()
        stack.enter_context(kind())
        self._going[name] = time.monotonic() + self.dice.uniform(*LASTS_S), stack
        self.done[name] += 1

    def wait(self, true: Callable[[], Any]) -> Any:
        """What `true` returns once it is true; faults that have lasted long enough end meanwhile."""

        def or_end() -> Any:
            now = time.monotonic()
            self._end(*(name for name, (over, _) in self._going.items() if now > over))
            return true()

        return until(or_end, within_s=BACK_WITHIN_S)

    def _end(self, *names: str) -> None:
        for name in names:
            _, stack = self._going.pop(name, (0, ExitStack()))
            stack.close()

    @contextmanager
    def a_kill(self) -> Iterator[None]:
        (name,) = self.dice.choices(list(PROCESSES), list(PROCESSES.values()))
        if name == "supervisor":
            self._end(*self._going)  # it starts only on stores that answer
        self.wait(lambda: self.running.kill(name))
        if name == "supervisor":
            self.running.start()
        yield

    @contextmanager
    def a_slow_store(self) -> Iterator[None]:
        """It does nothing at all."""
        found = self._processes(self.dice.choice(STORES))
        stopped = self.dice.choice((found, found[-1:]))  # the newest: one backend of PostgreSQL, perhaps
        for each in stopped:
            with suppress(psutil.NoSuchProcess):
                each.suspend()
        try:
            yield
        finally:
            for each in stopped:
                with suppress(psutil.NoSuchProcess):
                    each.resume()

    @contextmanager
    def a_full_disk(self) -> Iterator[None]:
        self.disk.fill()
        try:
            yield
        finally:
            self.disk.clear()

    @contextmanager
    def a_memory_error(self) -> Iterator[None]:
        """ClickHouse gets no more memory than it has: none for more threads, none for large results."""
        (short,) = self._processes("clickhouse")
        with suppress(psutil.NoSuchProcess):
            short.rlimit(resource.RLIMIT_AS, (short.memory_info().vms, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            with suppress(psutil.NoSuchProcess):
                short.rlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    @contextmanager
    def a_clock_jump(self) -> Iterator[None]:
        self.clock.put(self.dice.choice(JUMPS_S))
        try:
            yield
        finally:
            self.clock.put(0)

    @contextmanager
    def a_bug(self) -> Iterator[None]:
        self.faults.write_text(f"{self.dice.choice(BUGS)}=bug")
        try:
            yield
        finally:
            self.faults.write_text("")

    @contextmanager
    def a_disconnect(self) -> Iterator[None]:
        world, source = self.dice.choice(self.worlds), self.dice.choice(SOURCES)
        self._call(lambda: listens(world, source, wanted=False))
        try:
            yield
        finally:
            self._call(lambda: listens(world, source, wanted=True))

    @contextmanager
    def a_flood(self) -> Iterator[None]:
        with flooding(self.worlds[1]):
            yield

    def _processes(self, name: str) -> list[psutil.Process]:
        def found() -> list[psutil.Process]:
            with suppress(psutil.NoSuchProcess):
                if root := self.running.process(name):
                    return [root, *root.children(recursive=True)]
            return []

        processes: list[psutil.Process] = self.wait(found)
        return processes

    def _call(self, true: Callable[[], bool]) -> None:
        def until_true() -> None:
            until(true, within_s=BACK_WITHIN_S)

        call = self._calls.submit(until_true)
        self.wait(call.done)
        call.result()


def listens(world: World, source: str, *, wanted: bool) -> bool:
    """Whether the space listens to the source as it should; when it does not, that was asked for."""
    path = f"spaces/{world.space['id']}/connections"
    with suppress(ApiError):
        found = {each["sourceId"]: each["id"] for each in world.api.all(path, "connections")}
        connection = found.get(world.sources[source]["id"])
        if bool(connection) == wanted:
            return True
        if wanted:
            world.connect(source)
        else:
            world.api.delete(f"{path}/{connection}")
    return False
