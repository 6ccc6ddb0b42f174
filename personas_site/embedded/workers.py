"""The Celery workers and beat: one process loads the site, and each of them is a copy of it.

    python -m personas_site.embedded.workers worker-archive worker-bulk worker-sync beat

The copies share the pages of what was loaded, about 80 MB that four separate processes would each have for themselves,
and a worker that dies is back at once, with nothing to load. On real servers, run plain `celery worker` and
`celery beat` instead.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NoReturn

from personas_site.embedded.paths import Paths
from personas_site.embedded.processes import Restarts, die_with_parent, report

TO_STOP = {signal.SIGTERM, signal.SIGINT}
# What a worker and beat load when they start: loaded before, it is shared.
LOADED_LATER = (
    *("celery.bin.celery", "celery.apps.worker", "celery.apps.beat", "celery.concurrency.solo"),
    *("celery.concurrency.thread", "celery.events.state", "celery.worker.consumer", "celery.worker.autoscale"),
    "kombu.transport.redis",
)
# The solo pool runs tasks in the worker itself, instead of keeping a second process that only watches the first.
SOLO = ["--pool", "solo", "-c", "1"]
# Calls to destinations are mostly waiting, up to 20 s at a time: one that hangs may keep a thread, but not the others.
# One workspace has one lane of these: however much it sends, the other is there for everybody else.
LANES = ["--pool", "threads", "-c", "2"]
POOLS = {"sync": ["--pool", "threads", "-c", "8"], "archive": LANES, "resolve": LANES, "evaluate": LANES}


@dataclass
class Worker:
    """A worker or beat. arguments: of the `celery` command."""

    name: str
    arguments: list[str]
    pid: int | None = None
    restarts: Restarts = field(default_factory=Restarts)


def declare(name: str, paths: Paths) -> Worker:
    kind, _, queue = name.partition("-")
    if kind == "beat":
        # No pid file: after a kill it would refuse to start again.
        options = ["--pidfile=", f"--schedule={paths.home / 'celerybeat'}", "--loglevel", "WARNING"]
        return Worker(name, ["beat", *options])
    # One process for each queue, so that a long replay or a slow destination never keeps live work waiting.
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    return Worker(name, ["worker", "-Q", queue, "-n", f"{queue}@%h", *POOLS.get(queue, SOLO), *quiet])


def load(path: str) -> Any:
    """The Celery application, with everything that its workers will need, and no connection to anything."""
    module, _, name = path.partition(":")
    app = getattr(import_module(module), name)
    app.finalize()
    app.loader.import_default_modules()
    for later in LOADED_LATER:
        import_module(later)
    # The collector writes to what it visits: what is there now, it shall leave alone, so that it stays shared.
    gc.collect()
    gc.freeze()
    return app


def keep_running(workers: Sequence[Worker], run: Callable[[Worker], NoReturn]) -> None:
    """Each worker is a copy of this process that does `run`. Those that end start again, until we are told to stop."""
    parent, signals = os.getpid(), {signal.SIGCHLD, *TO_STOP}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    received = None
    while not received or received.si_signo not in TO_STOP:
        for worker in workers:
            if worker.restarts.is_due:
                worker.restarts.note_start()
                worker.pid = os.fork()
                if worker.pid == 0:
                    try:
                        die_with_parent(signal.SIGTERM, parent)
                        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
                        run(worker)
                    finally:
                        os._exit(1)
                report(name=worker.name, pid=worker.pid)
        due = [worker.restarts.due for worker in workers if worker.restarts.due is not None]
        received = signal.sigtimedwait(signals, max(0.0, min(due) - time.monotonic()) if due else 3600.0)
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                for worker in workers:
                    if worker.pid == pid:
                        worker.pid = None
                        worker.restarts.note_death()
                        report(name=worker.name, pid=None)
    # They finish what they are doing. Whoever told us to stop sets the limit.
    for worker in workers:
        if worker.pid:
            os.kill(worker.pid, signal.SIGTERM)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def run_celery(app: Any, paths: Paths, worker: Worker) -> NoReturn:
    """Be this worker from now on."""
    from celery.signals import beat_init, worker_ready

    log = os.open(paths.log(worker.name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def report_ready(**_: Any) -> None:
        report(name=worker.name, ready=True)

    worker_ready.connect(report_ready, weak=False)
    beat_init.connect(report_ready, weak=False)
    code: Any = 0
    try:
        app.start(worker.arguments)
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: what our parent registered for its own end is not for its copies to do.
    os._exit(code if isinstance(code, int) else 1)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workers", nargs="+")
    parser.add_argument("--app", default="personas_site.celery:app")
    options = parser.parse_args(arguments)
    paths = Paths.from_environ()
    # The workers' own check of the whole site would load every page of it; `prepare` has checked it.
    os.environ["CELERY_SKIP_CHECKS"] = "1"
    app = load(options.app)
    keep_running([declare(name, paths) for name in options.workers], lambda worker: run_celery(app, paths, worker))
    return 0


if __name__ == "__main__":
    sys.exit(main())
