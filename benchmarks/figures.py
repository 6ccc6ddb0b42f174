"""What a benchmark finds out: medians, each beside a floor from the same run, and the memory that it took."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median

import psutil

from benchmarks.stack import Stack

MIB = 2**20
SAMPLED_EVERY_S = 1.0
GENERATOR = "generator"  # this process, and what it has started and waited for
LEAST_SHARE = 0.005  # of a core; what takes less is not named


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
    """Of the stack's processes, since each began."""
    return sum(seconds for name, seconds in cpu_by_name(running).items() if name != GENERATOR)


def cpu_by_name(running: Stack) -> Counter[str]:
    """Seconds of CPU since each began, by the supervisor's names, and those of whoever measures."""
    names = {pid: name for name, pid in running.pids().items()}
    seconds: Counter[str] = Counter()
    for process in running.processes():
        with suppress(psutil.NoSuchProcess):
            line = [process, *process.parents()]  # a worker is below the crew: the nearest name is its own
            name = next((names[one.pid] for one in line if one.pid in names), "supervisor")
            seconds[name] += _cpu_of(process)
    seconds[GENERATOR] = _cpu_of(psutil.Process())
    return seconds


def _cpu_of(process: psutil.Process) -> float:
    """With what its children took that are gone: PostgreSQL has one for each connection."""
    spent = process.cpu_times()
    return float(spent.user + spent.system + spent.children_user + spent.children_system)


@dataclass
class Cost:
    """What was used meanwhile. It tells a slow product from a machine that was busy with something else."""

    seconds: Counter[str] = field(default_factory=Counter)
    elapsed_s: float = 0.0
    mib: float = 0.0

    @property
    def cpu_s(self) -> float:
        """Of the stack."""
        return self.seconds.total() - self.seconds[GENERATOR]

    def __str__(self) -> str:
        shares = [(name, spent / self.elapsed_s) for name, spent in self.seconds.most_common()]
        named = ", ".join(f"{name} {share:.0%}" for name, share in shares if share >= LEAST_SHARE)
        return f"{self.cpu_s:,.1f} CPU s, at most {self.mib:,.0f} MiB in all processes; of a core: {named}"


@contextmanager
def watching(running: Stack, cost: Cost | None = None) -> Iterator[Cost]:
    """What is done meanwhile is added to the cost. Memory is looked at once a second and at both ends."""
    cost = cost or Cost()
    before, begun, ended = cpu_by_name(running), time.monotonic(), threading.Event()

    def look() -> None:
        cost.mib = max(cost.mib, memory(running))

    def watch() -> None:
        while not ended.wait(SAMPLED_EVERY_S):
            look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield cost
    finally:
        cost.elapsed_s += time.monotonic() - begun
        cost.seconds.update(cpu_by_name(running))
        cost.seconds.subtract(before)
        ended.set()
        watcher.join()
        look()
