"""What a benchmark finds out: medians, each beside a floor from the same run, and the memory that it took."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import median

import psutil

from benchmarks.stack import Stack

MIB = 2**20
SAMPLED_EVERY_S = 1.0


@dataclass(frozen=True)
class Figure:
    """A median of several runs, and the floor or peer that it is to be compared with."""

    name: str
    value: float
    unit: str
    runs: int = 1
    floor_name: str = ""
    floor: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None


def median_of(runs: int, measure: Callable[[], float]) -> float:
    """The median of `runs` results, after one that warms up and does not count."""
    measure()
    return median(measure() for _ in range(runs))


def memory(running: Stack) -> float:
    """MiB of the whole stack, shared pages counted once."""
    found = 0
    for process in running.processes():
        with suppress(psutil.NoSuchProcess):
            found += process.memory_full_info().pss
    return found / MIB


def cpu_seconds(running: Stack) -> float:
    """Of all processes that are there, since each began."""
    found = 0.0
    for process in running.processes():
        with suppress(psutil.NoSuchProcess):
            spent = process.cpu_times()
            found += spent.user + spent.system
    return found


@dataclass
class Cost:
    """What the whole stack used. It tells a slow product from a machine that was busy with something else."""

    cpu_s: float
    mib: float

    def __str__(self) -> str:
        return f"{self.cpu_s:,.1f} CPU s, at most {self.mib:,.0f} MiB in all processes"


@contextmanager
def watching(running: Stack) -> Iterator[Cost]:
    """The cost of what is done meanwhile, complete at the end. Memory is looked at once a second and at both ends."""
    cost, ended = Cost(-cpu_seconds(running), memory(running)), threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLED_EVERY_S):
            cost.mib = max(cost.mib, memory(running))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield cost
    finally:
        ended.set()
        watcher.join()
        cost.mib = max(cost.mib, memory(running))
        cost.cpu_s += cpu_seconds(running)
