"""The Celery workers and beat: one process loads the site, and each of them is a copy of it.

    python -m personas_site.embedded.crew worker-archive worker-bulk worker-sync beat

The copies share the pages of what was loaded, about 80 MB that four separate processes would each have for themselves,
and a member that dies is back at once, with nothing to load. On real servers, run plain `celery worker` and
`celery beat` instead.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

from personas_site.embedded.child import die_with_parent
from personas_site.embedded.places import Places

REPORTS = "PERSONAS_REPORTS"  # the descriptor on which the supervisor hears which processes there are
STEADY_AFTER = 2.0
BACKOFF_MAX = 15.0
HEARD = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
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
class Member:
    name: str
    argv: list[str]
    pid: int | None = None
    started: float = 0.0
    deaths: int = 0
    due: float | None = 0.0  # when to start it; None while it runs


def member(name: str, places: Places) -> Member:
    kind, _, queue = name.partition("-")
    if kind == "beat":
        # No pid file: after a kill it would refuse to start again.
        options = ["--pidfile=", f"--schedule={places.home / 'celerybeat'}", "--loglevel", "WARNING"]
        return Member(name, ["beat", *options])
    # One process for each queue, so that a long replay or a slow destination never keeps live work waiting.
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    return Member(name, ["worker", "-Q", queue, "-n", f"{queue}@%h", *POOLS.get(queue, SOLO), *quiet])


def load(path: str) -> Any:
    """The Celery application, with everything that its members will need, and no connection to anything."""
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


class Crew:
    """Starts its members, and starts again those that die, until it is told to stop."""

    def __init__(self, members: list[Member], begin: Callable[[Member], NoReturn]) -> None:
        self.members, self.begin = members, begin

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        while True:
            self._start_due()
            heard = signal.sigtimedwait(HEARD, self._patience())
            if heard and heard.si_signo != signal.SIGCHLD:
                return self._stop()
            self._reap()

    def _patience(self) -> float:
        due = [member.due for member in self.members if member.due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else 3600.0

    def _start_due(self) -> None:
        for one in self.members:
            if one.due is not None and one.due <= time.monotonic():
                self._start(one)

    def _start(self, one: Member) -> None:
        parent = os.getpid()
        one.started, one.due = time.monotonic(), None
        one.pid = os.fork()
        if one.pid == 0:
            try:
                die_with_parent(signal.SIGTERM, parent)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
                self.begin(one)
            finally:
                os._exit(1)
        report(name=one.name, pid=one.pid)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                for one in self.members:
                    if one.pid == pid:
                        self._lost(one)

    def _lost(self, one: Member) -> None:
        now = time.monotonic()
        one.deaths = 1 if now - one.started > STEADY_AFTER else one.deaths + 1
        one.pid, one.due = None, now + (0.0 if one.deaths <= 2 else min(BACKOFF_MAX, 0.5 * 2 ** (one.deaths - 3)))
        report(name=one.name, pid=None)

    def _stop(self) -> None:
        """All members have finished what they were doing. Whoever told us to stop sets the limit."""
        for one in self.members:
            if one.pid:
                os.kill(one.pid, signal.SIGTERM)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)


def report(**facts: Any) -> None:
    """The supervisor hears of it, if there is one. One write, so that lines of several processes do not mix."""
    if descriptor := os.environ.get(REPORTS):
        with suppress(OSError):
            os.write(int(descriptor), json.dumps(facts).encode() + b"\n")


def begin(app: Any, places: Places, one: Member) -> NoReturn:
    """Be this member from now on."""
    from celery.signals import beat_init, worker_ready

    log = os.open(places.log(one.name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def ready(**_: Any) -> None:
        report(name=one.name, ready=True)

    worker_ready.connect(ready, weak=False)
    beat_init.connect(ready, weak=False)
    code: Any = 0
    try:
        app.start(one.argv)
    except SystemExit as done:
        code = done.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("members", nargs="+")
    parser.add_argument("--app", default="personas_site.celery:app")
    options = parser.parse_args(arguments)
    places = Places.from_environ()
    # The workers' own check of the whole site would load every page of it; `prepare` has checked it.
    os.environ["CELERY_SKIP_CHECKS"] = "1"
    app = load(options.app)
    Crew([member(name, places) for name in options.members], lambda one: begin(app, places, one)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
