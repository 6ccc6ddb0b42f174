"""What the whole stack costs when nothing happens: CPU seconds per minute, and memory."""

import time

from benchmarks.figures import MIB, Figure, cpu_seconds, memory
from benchmarks.stack import Stack

SETTLE_S, WATCH_S = 10, 60


def measure(running: Stack) -> list[Figure]:
    time.sleep(SETTLE_S)
    before = cpu_seconds(running)
    time.sleep(WATCH_S)
    spent = cpu_seconds(running) - before
    processes = running.processes()
    resident = sum(process.memory_info().rss for process in processes) / MIB
    return [
        Figure("idle CPU", spent * 60 / WATCH_S, "s/min"),
        Figure("idle memory, shared pages counted once", memory(running), "MiB", note=f"{len(processes)} processes"),
        Figure("idle memory, resident", resident, "MiB"),
    ]
