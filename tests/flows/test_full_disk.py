"""A disk that is full while events come in, and then has room again: nothing acknowledged is lost, doubled or false."""

import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.exceptions import Error

from benchmarks.stack import Stack, own_environment, until
from personas_site.embedded import clickhouse
from personas_site.embedded.paths import Paths
from personas_site.embedded.shortage import MARGIN
from personas_site.embedded.supervisor import Supervisor
from tests.flows.test_kills import SOURCES, World, verified

SIZE_MB, RESERVE_MB = 700, 300
WITHIN_S = 90
BLOCK = bytes(4096)
ROWS = 20_000  # of an insert


class Disk:
    """A small one of its own, where we may mount one; else as much of the disk there is as makes no difference."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.filler, self.reserve_mb = folder, folder / "filler", RESERVE_MB
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=0700", "personas-test", str(folder)]
        self.mounted = os.getuid() == 0 and subprocess.run(mount, check=False).returncode == 0
        if not self.mounted:
            self.reserve_mb = self.free_mb() - 2_000

    def free_mb(self) -> int:
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize >> 20

    def fill(self, *, but_mb: int = 0) -> None:
        """Nothing more can be written to it, or only so much (to a disk of others: little enough is free)."""
        with open(self.filler, "ab", buffering=0) as file:
            if self.mounted:
                if but_mb:
                    os.posix_fallocate(file.fileno(), file.tell(), self.free_mb() - but_mb << 20)
                    return
                with suppress(OSError):
                    while file.write(BLOCK):
                        pass
            else:
                os.posix_fallocate(file.fileno(), 0, 4_000 << 20)

    def clear(self) -> None:
        self.filler.unlink()

    def end(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.end()


@contextmanager
def running_on(disk: Disk, reserve_mb: int) -> Iterator[tuple[Stack, World, Counter[str]]]:
    """The whole stack, a world that events flow into, and how the requests were answered so far."""
    environ = own_environment(disk.folder, PERSONAS_DISK_RESERVE_MB=str(reserve_mb))
    running = Stack(disk.folder, environ)
    answers: Counter[str] = Counter()
    try:
        running.start()
        running.make_owner()
        world = World(running)
        world.sender.http.event_hooks["response"].append(lambda answer: answers.update([described(answer)]))
        world.furnish()
        assert world.connect(SOURCES[1])
        world.sender.start()
        until(lambda: answers["200"] > 20, within_s=WITHIN_S)
        answers.clear()
        yield running, world, answers
    finally:
        running.stop()


def described(answer: httpx.Response) -> str:
    if answer.status_code == 200:
        return "200"
    answer.read()
    return f"{answer.status_code} {answer.json()['code']} {'Retry-After' in answer.headers}"


def test_it_refuses_in_time_and_goes_on_by_itself(disk: Disk, tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_on(disk, disk.reserve_mb) as (running, world, answers):
        disk.fill()
        until(lambda: answers["503 disk_full True"] > 8, within_s=WITHIN_S)
        # A request may come before anybody has looked: then PostgreSQL refuses it.
        assert set(answers) <= {"200", "503 disk_full True", "503 unavailable True"}
        ready = running.http.get(f"{running.address}/readyz")
        assert ready.status_code == 503
        assert ready.json()["disk"] == "not ready"
        before = answers["200"]
        disk.clear()
        until(lambda: answers["200"] > before + 8, within_s=WITHIN_S)
        world.sender.end()
        verified(running, tmp_path_factory.mktemp("expected") / "expected.json", world)
        assert running.http.get(f"{running.address}/readyz").status_code == 200


def test_stores_that_run_into_it_go_on_as_well(disk: Disk, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without a reserve they do: another program may take all that is left at once. And some processes die."""
    with running_on(disk, reserve_mb=0) as (running, world, answers):
        disk.fill()
        until(lambda: answers["200"] > 8 or answers["503 unavailable True"] > 8, within_s=WITHIN_S)
        for name in ("clickhouse", "valkey", "beat", "worker-archive", "web", "postgres"):
            until(lambda name=name: running.kill(name), within_s=WITHIN_S)
            if disk.mounted:
                disk.fill()  # also what the dead one may have left free
        until(lambda: answers["503 unavailable True"] > 8 or not disk.mounted, within_s=WITHIN_S)
        before = answers["200"]
        disk.clear()
        until(lambda: answers["200"] > before + 8, within_s=WITHIN_S)
        world.sender.end()
        verified(running, tmp_path_factory.mktemp("expected") / "expected.json", world)
        assert running.supervisor
        assert running.supervisor.poll() is None


def test_the_embedded_clickhouse_has_what_it_acknowledged(disk: Disk) -> None:
    """Its engine says that inserts and merges went well of which it could write nothing."""
    paths = Paths(disk.folder, own_environment(disk.folder))
    acknowledged = set()

    def ask(statement: str) -> Any:
        with closing(clickhouse_connect.get_client(dsn=paths.clickhouse_url)) as client:
            return client.command(statement)

    def insert(first: int) -> bool:
        try:
            ask(f"INSERT INTO rows SELECT number + {first}, randomPrintableASCII(200) FROM numbers({ROWS})")
        except Error:
            return False
        acknowledged.add(first)
        return True

    def merge() -> None:
        with suppress(Error):
            ask("OPTIMIZE TABLE rows FINAL")

    def held() -> set[int]:
        """The first rows of those inserts that are there whole."""
        of_each = f"SELECT intDiv(a, {ROWS}) * {ROWS} FROM rows WHERE s != '' GROUP BY 1 HAVING uniqExact(a) = {ROWS}"
        with suppress(Error):
            return {int(first) for first in str(ask(of_each)).split()}
        return set()

    with Supervisor(paths.home, stores_only=True, stores=[clickhouse.service(paths)], environ=paths.environ):
        ask("CREATE TABLE rows (a UInt64, s String) ENGINE = MergeTree ORDER BY a SETTINGS old_parts_lifetime = 480")
        for first in range(0, 12 * ROWS, 2 * ROWS):
            until(lambda first=first: insert(first), within_s=WITHIN_S)
            disk.fill(but_mb=MARGIN // 2**20 + 10)
            writing = threading.Thread(target=random.choice((merge, partial(insert, first + ROWS))))
            writing.start()
            time.sleep(random.uniform(0.02, 0.15))
            disk.fill()
            writing.join()
            assert not (disk.mounted and insert(first + ROWS))
            disk.clear()
        until(lambda: insert(12 * ROWS), within_s=WITHIN_S)
        until(lambda: acknowledged <= held(), within_s=WITHIN_S)
        assert len(acknowledged) >= 7
