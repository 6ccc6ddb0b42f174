"""Processes that cannot outlive us: how one is started, watched, started again, and recognised afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personas_site.embedded.accounts import Account, become, libc, observer, run_in_account

PR_SET_PDEATHSIG = 1
REPORTS = "PERSONAS_REPORTS"  # the descriptor on which a service tells which processes of its own it has
MARK = "PERSONAS_SUPERVISED"  # in the environment of every service: what a kill of ours leaves is recognised by it
LEFTOVERS_ASKED_AFTER = 1.5
LEFTOVERS_END_WITHIN = 6.0
EARLIER_ENDS_WITHIN = 2.0
ASKED_EVERY = 5.0
BACKOFF_MAX = 15.0
STEADY_AFTER = 2.0  # seconds of life after which a death is no sign of a fault that comes back at once
QUICK_RESTARTS = 2
TAIL_LINES = 8


@dataclass(frozen=True)
class Service:
    """What to run, how to know that it is ready, and how to ask it to stop."""

    name: str
    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    cwd: Path = Path("/")
    before: Callable[[], None] = lambda: None  # run before each start
    ready: Callable[[], bool] = lambda: True
    workers: tuple[str, ...] = ()  # processes of its own, of which it reports
    runs_once: bool = False  # it is not started again
    ready_within: float = 60.0
    silent_within: float | None = None  # s: it hangs when it was ready and then is not for so long, and is ended
    retry_for: float = 0.0  # how long a first start may fail and be tried again


@dataclass
class Restarts:
    """When a process that ended starts again: at once, and ever more rarely while it keeps ending at once."""

    due: float | None = 0.0  # None while it runs
    deaths: int = 0
    started: float = 0.0

    @property
    def is_due(self) -> bool:
        return self.due is not None and self.due <= time.monotonic()

    def note_start(self) -> None:
        self.due, self.started = None, time.monotonic()

    def note_death(self) -> float:
        """The seconds until it is due."""
        now = time.monotonic()
        self.deaths = 1 if now - self.started > STEADY_AFTER else self.deaths + 1
        wait = 0.0 if self.deaths <= QUICK_RESTARTS else min(BACKOFF_MAX, 0.5 * 2 ** (self.deaths - 3))
        self.due = now + wait
        return wait


class Process:
    """A service's process, while it lives and between its lives."""

    def __init__(self, service: Service, log: Path, *, is_store: bool = False) -> None:
        self.service, self.log, self.is_store = service, log, is_store
        self.restarts = Restarts()
        self._created = time.monotonic()
        self.popen: subprocess.Popen[bytes] | None = None
        self.exit_code = 0
        self.workers: dict[str, int] = {}
        self._ready_workers: set[str] = set()
        self._reports, self._unread = -1, b""
        self._log_at = 0
        self._answered_at: float | None = None

    def start(self, env: Mapping[str, str]) -> None:
        """To be called from a thread that lives as long as the process shall."""
        self.restarts.note_start()
        self.service.before()
        with open(self.log, "ab") as log:
            self._log_at = log.tell()
            if not self.service.workers:
                self.popen = spawn(self.service, env, log.fileno())
            else:
                self._reports, theirs = os.pipe()
                os.set_blocking(self._reports, False)
                self.popen = spawn(self.service, {**env, REPORTS: str(theirs)}, log.fileno(), keep=[theirs])
                os.close(theirs)
        if self.service.silent_within is not None:
            threading.Thread(target=self._note_answers, args=(self.popen,), daemon=True).start()

    def send_signal(self, number: int) -> None:
        if self.popen:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.popen.pid, number)

    def kill(self) -> None:
        """It and what it started are about to end. `reap` says when."""
        self._answered_at = None
        if self.popen:
            with suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)

    def reap(self) -> bool:
        """Whether it has ended since it was last asked; then nothing that it started is left."""
        if not self.popen or not os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        # What it started may live on for a moment and hold its sockets. Its number is its own until it is reaped.
        self.kill()
        self.exit_code, self.popen = self.popen.wait(), None
        self.workers, self._ready_workers = {}, set()
        if self.service.workers:
            os.close(self._reports)
        return True

    def read_reports(self) -> list[str]:
        """The names of its workers that have ended meanwhile."""
        ended: list[str] = []
        if not self.service.workers or not self.popen:
            return ended
        with suppress(BlockingIOError):
            *lines, self._unread = (self._unread + os.read(self._reports, 1 << 16)).split(b"\n")
            for report in map(json.loads, lines):
                if report.get("ready"):
                    self._ready_workers.add(report["name"])
                elif report["pid"]:
                    self.workers[report["name"]] = report["pid"]
                else:
                    ended.append(report["name"])
                    self.workers.pop(report["name"], None)
        return ended

    @property
    def age(self) -> float:
        """Seconds since its first start."""
        return time.monotonic() - self._created

    def is_ready(self) -> bool:
        return bool(self.popen) and self._ready_workers.issuperset(self.service.workers) and self.service.ready()

    def is_silent(self) -> bool:
        """It has answered once, and not for a long time."""
        limit, answered_at = self.service.silent_within, self._answered_at
        return limit is not None and answered_at is not None and time.monotonic() - answered_at > limit

    def _note_answers(self, popen: subprocess.Popen[bytes]) -> None:
        # In a thread of its own: whoever hangs lets us wait for an answer.
        while self.popen is popen:
            time.sleep(ASKED_EVERY)
            if self.service.ready() and self.popen is popen:
                self._answered_at = time.monotonic()

    def tail(self) -> str:
        """The last lines of its log since it started, for a message."""
        with suppress(OSError), open(self.log, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_at if self._log_at <= size else 0, size - 4096))  # it may have been cut
            lines = log.read().decode(errors="replace").strip().splitlines()[-TAIL_LINES:]
            return "".join(f"\n    {line}" for line in lines) + f"\n    (all of it in {self.log})"
        return ""


def spawn(service: Service, env: Mapping[str, str], output: int, keep: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a service in a process group of its own, so that Ctrl-C reaches us alone, tied to the life of this thread.

    Not in a session of its own: Linux gives each session the same share of the processor (sched_autogroup), and all
    workers together would get as much as the web alone. While it was so, a flood of one workspace delayed the events
    of the others half as much again.

    The kernel sends the death signal when the *thread* that started it ends: call this from a thread that lives as
    long as it shall.
    """
    return subprocess.Popen(
        service.argv,
        env={**env, **service.env},
        cwd=service.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=keep,
        process_group=0,
        preexec_fn=_after_fork(service.account, service.stop_signal),
    )


def run_as(account: Account | None, argv: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end as this account, with `text` as its input. What it prints is kept."""
    return subprocess.run(
        argv,
        env={"LC_ALL": "C", "PATH": os.defpath},
        cwd="/",
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",  # names of folders may be in any encoding
        check=False,
        preexec_fn=_after_fork(account, signal.SIGKILL),
    )


def _after_fork(account: Account | None, death_signal: int) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        if account:
            become(account)
        # After the change of user: the kernel forgets the death signal when the user changes.
        die_with_parent(death_signal, parent)

    return prepare


def die_with_parent(death_signal: int, parent: int) -> None:
    """The kernel sends this process the signal when the thread that made it ends. To be called right after a fork."""
    libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:  # it ended in between: nobody would ever tell us
        os._exit(1)


def report(**facts: Any) -> None:
    """The supervisor hears of it, if there is one. One write, so that lines of several processes do not mix."""
    if descriptor := os.environ.get(REPORTS):
        with suppress(OSError):
            os.write(int(descriptor), json.dumps(facts).encode() + b"\n")


def answers_http(port: int, target: str, *headers: str) -> bool:
    """Whether somebody speaks HTTP there, whatever the answer."""
    lines = (f"GET {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers, "", "")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            probe.sendall("\r\n".join(lines).encode())
            return probe.recv(16).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


def leftovers(home: Path) -> list[int]:
    """Processes that an earlier supervisor of this home started. To be asked under its lock.

    PostgreSQL and Valkey are not among them: they see to their own past (`end_earlier`).
    """
    mark = os.fsencode(f"{MARK}={home}")
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                pids.append(int(folder.name))
    return [pid for pid in pids if pid not in (os.getpid(), os.getppid())]


def end_leftovers(home: Path, say: Callable[[str], None]) -> None:
    """No leftovers are left. After a kill of the supervisor most end by themselves, within a moment."""
    begun = time.monotonic()
    asked: set[int] = set()
    while pids := leftovers(home):
        waited = time.monotonic() - begun
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                if waited > LEFTOVERS_END_WITHIN:
                    os.kill(pid, signal.SIGKILL)
                elif waited > LEFTOVERS_ASKED_AFTER and pid not in asked:
                    asked.add(pid)
                    say(f"ending process {pid}, left over from an earlier run")
                    os.kill(pid, signal.SIGTERM)
        time.sleep(0.05)


def working_in(folder: Path, program: str, account: Account | None = None) -> list[int]:
    """Processes of this program that work in this folder, run by us or by this account.

    PostgreSQL and Valkey write their titles over their environment, but each works in a folder of its own.
    """

    def find() -> list[int]:
        pids = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has gone, or is none of ours
                if Path(os.readlink(process / "exe")).name == program and os.path.samefile(process / "cwd", folder):
                    pids.append(int(process.name))
        return pids

    return run_in_account(observer(account), find)


def end_earlier(folder: Path, program: str, account: Account | None = None) -> None:
    """No process of an earlier server is left in its folder. Only called under our own lock.

    Most end by themselves: a server by the death signal of a killed supervisor, PostgreSQL's backends when they see
    that their server is gone. One in the middle of a long query sees nothing. To kill it is safe: the log is replayed.
    """
    kill_at = time.monotonic() + EARLIER_ENDS_WITHIN
    while pids := working_in(folder, program, account):
        if time.monotonic() > kill_at:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
