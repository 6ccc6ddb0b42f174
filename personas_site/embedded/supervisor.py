"""One process that starts the stores and the site, starts again what dies, and leaves nothing behind."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from personas_site.embedded import services
from personas_site.embedded.accounts import StartError
from personas_site.embedded.paths import PROJECT_ROOT, Paths
from personas_site.embedded.processes import Service, spawn
from personas_site.embedded.workers import REPORTS

MARK = "PERSONAS_SUPERVISED"  # in the environment of every child, so that what a kill leaves over can be recognised
LOG_MAX = 10 << 20
TAIL_LINES = 8
POLL = 0.05
HOUSEKEEPING_EVERY = 10.0
ASKED_EVERY = 5.0
SERVICES_STOP_WITHIN = 5.5
STORES_STOP_WITHIN = 4.0
LOCK_WITHIN = 1.0  # also for ports
LEFTOVERS_ASKED_AFTER = 1.5
LEFTOVERS_STOP_WITHIN = 6.0
BACKOFF_MAX = 15.0
STEADY_AFTER = 2.0  # seconds of life after which a death is no sign of a fault that comes back at once
QUICK_RESTARTS = 2


class Stopping(Exception):
    """We were asked to stop while starting."""


@dataclass
class Running:
    """A child's process, and its record of deaths."""

    child: Service
    is_store: bool = False
    process: subprocess.Popen[bytes] | None = None
    log_at: int = 0
    started: float = 0.0
    deaths: int = 0
    restart_at: float | None = None
    workers: dict[str, int | None] = field(default_factory=dict)  # what it reported of its own processes
    ready: set[str] = field(default_factory=set)

    @property
    def alive(self) -> bool:
        return self.process is not None


@dataclass(frozen=True)
class Died:
    running: Running
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Hangs:
    running: Running
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Reported:
    running: Running
    process: subprocess.Popen[bytes]
    facts: dict[str, Any]


STOP = object()


def silent(_: str) -> None:
    pass


@dataclass
class Supervisor:
    """Start with `start()` or `with`, end with `stop()`.

    A thread of its own starts and watches the children: the kernel ties their lives to it, so it lives as long as
    they do, whatever thread calls us.
    """

    home: Path
    stores_only: bool = False
    say: Callable[[str], None] = silent
    stores: Sequence[Service] | None = None
    site: Sequence[Service] | None = None
    prepare: Sequence[str] | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    paths: Paths = field(init=False)

    def __post_init__(self) -> None:
        self.paths = Paths(self.home, self.environ)
        self._events: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._running: dict[str, Running] = {}
        self._started = threading.Event()
        self._own_sockets = False
        self._pids_unwritten = False
        self.failure: Exception | None = None
        self._lock: IO[str] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Everything runs and is ready. Raises StartError with nothing left running."""
        self._take_lock()
        try:
            self._check_ports()
            self._thread = threading.Thread(target=self._keep, name="supervisor", daemon=True)
            self._thread.start()
            self._started.wait()
            if self.failure:
                raise self.failure
        except BaseException:
            self.stop()
            raise

    def ask_to_stop(self) -> None:
        """Begin to stop. Safe in a signal handler."""
        self._events.put(STOP)

    def stop(self) -> None:
        """Nothing of it runs any more. May be called twice."""
        if self._thread:
            self.ask_to_stop()
            self._thread.join()
            self._thread = None
        if self._lock:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has stopped. True if it has."""
        if self._thread:
            self._thread.join(timeout)
        return not (self._thread and self._thread.is_alive())

    def pid(self, name: str) -> int | None:
        """The process a child has now."""
        return self._pids().get(name)

    # Before anything is opened

    def _take_lock(self) -> None:
        self.paths.make_home()
        file = open(self.paths.lock, "a+")  # noqa: SIM115 - held until stop()
        begun = time.monotonic()
        while not _locked(file):
            if time.monotonic() - begun > LOCK_WITHIN:  # a supervisor that was just killed needs a moment to let go
                file.seek(0)
                who = file.read().strip() or "just starting"
                file.close()
                raise StartError(f"Personas is already running in {self.paths.home}: {who}")
            time.sleep(POLL)
        self._lock = file
        file.truncate(0)
        address = "stores only" if self.stores_only else self.paths.web_url
        print(f"pid {os.getpid()}, {address}", file=file, flush=True)

    def _check_ports(self) -> None:
        self._end_leftovers()
        try:
            wanted = {"PERSONAS_CLICKHOUSE_PORT": self.paths.clickhouse_port}
            if not self.stores_only:
                wanted["PERSONAS_WEB_PORT"] = self.paths.web_port
        except ValueError as error:
            raise StartError(str(error)) from None
        if services.is_set(self.paths.environ, "CLICKHOUSE_URL"):
            del wanted["PERSONAS_CLICKHOUSE_PORT"]
        for setting, port in wanted.items():
            _check_port(port, setting)

    def _end_leftovers(self) -> None:
        """Nothing of an earlier run is left. After a kill of the supervisor its children need a moment to end."""
        begun = time.monotonic()
        asked: set[int] = set()
        while left := leftovers(self.paths):
            waited = time.monotonic() - begun
            for pid in left:
                if waited > LEFTOVERS_STOP_WITHIN:
                    _signal(pid, signal.SIGKILL)
                elif waited > LEFTOVERS_ASKED_AFTER and pid not in asked:
                    asked.add(pid)
                    self.say(f"ending process {pid}, left over from an earlier run")
                    _signal(pid, signal.SIGTERM)
            time.sleep(POLL)

    # The thread

    def _keep(self) -> None:
        try:
            self._start_all()
            self._started.set()
            self._watch()
        except Stopping:
            self.failure = StartError("stopped while starting")
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            self.failure = (
                StartError(f"the disk of {self.home} is full: make room, then start again") if full else error
            )
        except Exception as error:
            self.failure = error
        finally:
            self._stop_all()
            self._started.set()

    def _start_all(self) -> None:
        self.paths.logs.mkdir(mode=0o700, exist_ok=True)
        self._make_sockets()
        stores = services.stores(self.paths) if self.stores is None else self.stores
        self._start_group(stores, are_stores=True)
        if not self.stores_only:
            self._run_prepare()
            site = services.site(self.paths) if self.site is None else self.site
            self._start_group(site, are_stores=False)

    def _make_sockets(self) -> None:
        """The sockets' folder is ours alone: anyone may make folders in a temporary folder, under any name."""
        folder = self.paths.sockets
        with suppress(FileExistsError):
            folder.mkdir(mode=0o711 if os.getuid() == 0 else 0o700)
        status = folder.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o170022 != 0o040000:
            raise StartError(f"{folder} is not a folder of ours alone: remove it, or choose another PERSONAS_HOME")
        self._own_sockets = folder.parent != self.paths.home

    def _start_group(self, group: Iterable[Service], *, are_stores: bool) -> None:
        """All of the group run and are ready. A service that takes too long is only reported: it may yet come."""
        waiting = [Running(child, is_store=are_stores) for child in group]
        for running in waiting:
            self._running[running.child.name] = running
            self._launch(running)
        begun = time.monotonic()
        while waiting := [running for running in waiting if not self._is_ready(running)]:
            self._await_first_start(waiting, begun)
            late = [running for running in waiting if time.monotonic() - begun > running.child.ready_within]
            for running in late:
                text = (
                    f"{running.child.name} is not ready after {running.child.ready_within:.0f} s{self._tail(running)}"
                )
                if running.is_store:
                    raise StartError(text)
                self.say(text)
                waiting.remove(running)

    def _await_first_start(self, waiting: list[Running], begun: float) -> None:
        """Take what happens within a moment while children start."""
        try:
            event = self._events.get(timeout=POLL)
        except queue.Empty:
            self._restart_due()
            return
        died = self._take(event)
        if died and died in waiting:
            if time.monotonic() - begun > died.child.retry_for:
                raise StartError(f"{died.child.name} stopped while starting{self._tail(died)}")
            time.sleep(5 * POLL)
            self._launch(died)
        elif died:
            self._schedule(died)

    def _is_ready(self, running: Running) -> bool:
        return running.alive and running.ready.issuperset(running.child.workers) and running.child.ready()

    def _run_prepare(self) -> None:
        argv = services.prepare() if self.prepare is None else list(self.prepare)
        if not argv:
            return
        step = Running(Service(name="prepare", argv=argv, cwd=PROJECT_ROOT))
        self._running["prepare"] = step
        self._launch(step)
        process = step.process
        while step.alive:
            died = self._take(self._events.get())
            if died and died is not step:
                self._schedule(died)
        del self._running["prepare"]
        if process and process.returncode != 0:
            raise StartError(f"the preparation of the stores failed{self._tail(step)}")

    def _watch(self) -> None:
        """Start again what dies, until we are asked to stop."""
        while True:
            try:
                event = self._events.get(timeout=min(self._next_restart(), HOUSEKEEPING_EVERY))
            except queue.Empty:
                self._restart_due()
                self._keep_house()
                continue
            if event is STOP:
                return
            if died := self._take(event):
                self._schedule(died)

    def _take(self, event: object) -> Running | None:
        """The child that an event says has died, its whole process group gone. Raises Stopping."""
        if event is STOP:
            raise Stopping
        if isinstance(event, Reported):
            self._note(event)
            return None
        if isinstance(event, Hangs):
            self._end_hanging(event)
            return None
        assert isinstance(event, Died)
        running = event.running
        # What it started may live on for a moment and hold its sockets. Its number is still its own: not yet reaped.
        with suppress(ProcessLookupError):
            os.killpg(event.process.pid, signal.SIGKILL)
        event.process.wait()
        if running.process is not event.process:
            return None
        running.process = None
        running.workers.clear()
        running.ready.clear()
        self._write_pids()
        return running

    def _note(self, event: Reported) -> None:
        """What a child says of its own processes."""
        running, name = event.running, event.facts["name"]
        if event.process is not running.process:
            return
        if event.facts.get("ready"):
            running.ready.add(name)
            return
        if event.facts["pid"] is None:
            self.say(f"{name} stopped; starting it again")
        running.workers[name] = event.facts["pid"]
        self._write_pids()

    def _end_hanging(self, event: Hangs) -> None:
        """Its death comes as any other."""
        if event.process is event.running.process:
            self.say(f"{event.running.child.name} does not answer: ending it")
            with suppress(ProcessLookupError):
                os.killpg(event.process.pid, signal.SIGKILL)

    def _schedule(self, running: Running) -> None:
        now = time.monotonic()
        running.deaths = 1 if now - running.started > STEADY_AFTER else running.deaths + 1
        wait = 0.0 if running.deaths <= QUICK_RESTARTS else min(BACKOFF_MAX, 0.5 * 2 ** (running.deaths - 3))
        running.restart_at = now + wait
        self.say(f"{running.child.name} stopped; starting it again" + (f" in {wait:.1f} s" if wait else ""))
        if running.deaths > 1:
            self.say(f"{running.child.name} keeps stopping{self._tail(running)}")

    def _keep_house(self) -> None:
        """What the disk had no room for is written, and no log grows for ever."""
        if self._pids_unwritten:
            self._write_pids()
        for path in self.paths.logs.glob("*.log"):
            with suppress(OSError):
                if path.stat().st_size > LOG_MAX:
                    _cut(path)

    def _next_restart(self) -> float:
        due = [running.restart_at for running in self._running.values() if running.restart_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else HOUSEKEEPING_EVERY

    def _restart_due(self) -> None:
        for running in self._running.values():
            if running.restart_at is not None and running.restart_at <= time.monotonic():
                running.restart_at = None
                try:
                    self._launch(running)
                except Exception as error:
                    self.say(f"{running.child.name}: {error}")
                    self._schedule(running)

    # One child

    def _launch(self, running: Running) -> None:
        child = running.child
        child.before()
        with open(self.paths.log(child.name), "ab") as log:
            running.log_at = log.tell()
            process = self._spawn(running, log.fileno())
        running.process, running.started = process, time.monotonic()
        threading.Thread(target=self._report_death, args=(Died(running, process),), daemon=True).start()
        if child.silent_within is not None:
            args = (Hangs(running, process), child.silent_within)
            threading.Thread(target=self._report_silence, args=args, daemon=True).start()
        self._write_pids()

    def _spawn(self, running: Running, log: int) -> subprocess.Popen[bytes]:
        if not running.child.workers:
            return spawn(running.child, self._environment(), log)
        ours, theirs = os.pipe()
        process = spawn(running.child, self._environment() | {REPORTS: str(theirs)}, log, keep=[theirs])
        os.close(theirs)
        threading.Thread(target=self._listen, args=(running, process, ours), daemon=True).start()
        return process

    def _listen(self, running: Running, process: subprocess.Popen[bytes], reports: int) -> None:
        with open(reports, "rb") as lines:
            for line in lines:
                self._events.put(Reported(running, process, json.loads(line)))

    def _environment(self) -> dict[str, str]:
        return {
            **self.environ,
            "PERSONAS_HOME": str(self.paths.home),
            "PERSONAS_WEB_PORT": str(self.paths.web_port),
            "PERSONAS_CLICKHOUSE_PORT": str(self.paths.clickhouse_port),
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": "2",  # threads of the site share memory pools: 10-20 MB less for each process
            MARK: str(self.paths.home),
        }

    def _report_death(self, died: Died) -> None:
        # Without reaping it: its number must stay its own until its group is gone.
        with suppress(ChildProcessError):  # reaped by _stop_group, which had waited long enough
            os.waitid(os.P_PID, died.process.pid, os.WEXITED | os.WNOWAIT)
            self._events.put(died)

    def _report_silence(self, hangs: Hangs, within: float) -> None:
        running, answered = hangs.running, math.inf
        while time.monotonic() - answered < within:
            time.sleep(ASKED_EVERY)
            if running.process is not hangs.process:
                return
            if running.child.ready():
                answered = time.monotonic()
        self._events.put(hangs)

    def _write_pids(self) -> None:
        draft = self.paths.pids.with_suffix(".new")
        try:
            draft.write_text(json.dumps({"supervisor": os.getpid(), **self._pids()}, indent=1) + "\n")
            draft.replace(self.paths.pids)
        except OSError:  # the disk is full: whoever asks is told a little later
            self._pids_unwritten = True
        else:
            self._pids_unwritten = False

    def _pids(self) -> dict[str, int]:
        pids: dict[str, int] = {}
        for running in list(self._running.values()):
            if running.process:
                pids[running.child.name] = running.process.pid
                pids |= {name: pid for name, pid in running.workers.copy().items() if pid}
        return pids

    def _tail(self, running: Running) -> str:
        """The last lines of its log, for a message."""
        path = self.paths.log(running.child.name)
        with suppress(OSError), open(path, "rb") as log:
            size = path.stat().st_size
            log.seek(max(running.log_at if running.log_at <= size else 0, size - 4096))  # it may have been cut
            lines = log.read().decode(errors="replace").strip().splitlines()[-TAIL_LINES:]
            return "".join(f"\n    {line}" for line in lines) + f"\n    (all of it in {path})"
        return ""

    # The end

    def _stop_all(self) -> None:
        for are_stores, within in ((False, SERVICES_STOP_WITHIN), (True, STORES_STOP_WITHIN)):
            alive = [running for running in self._running.values() if running.alive and running.is_store == are_stores]
            self._stop_group(alive, within)
        self._running.clear()
        self.paths.pids.unlink(missing_ok=True)
        if self._own_sockets:  # under a temporary folder, where nobody else would clean up
            shutil.rmtree(self.paths.sockets, ignore_errors=True)

    def _stop_group(self, group: list[Running], within: float) -> None:
        for running in group:
            assert running.process
            _signal(running.process.pid, running.child.stop_signal)
        give_up = time.monotonic() + within
        left = {running.child.name: running for running in group}
        while left:
            try:
                event = self._events.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                break
            if isinstance(event, Died):
                self._take(event)
                left.pop(event.running.child.name, None)
        for running in left.values():
            self.say(f"{running.child.name} did not stop within {within:.0f} s: ending it")
            assert running.process
            with suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait()


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cut(path: Path) -> None:
    """The log begins again; what it held is in `.log.1`, if there is room. Its writers append, and notice nothing."""
    with suppress(OSError):
        shutil.copyfile(path, path.with_suffix(".log.1"))
    os.truncate(path, 0)


def _check_port(port: int, setting: str) -> None:
    """The port is free. A process that was just killed may hold it for a moment after it has gone from the list."""
    begun = time.monotonic()
    while problem := _cannot_bind(port):
        if time.monotonic() - begun > LOCK_WITHIN:
            reason = (
                "is taken by another program" if problem.errno == errno.EADDRINUSE else f"cannot be used: {problem}"
            )
            raise StartError(f"port {port} {reason}; set {setting} to a free one")
        time.sleep(POLL)


def _cannot_bind(port: int) -> OSError | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error
    return None


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def leftovers(paths: Paths) -> list[int]:
    """Processes that an earlier supervisor of this home started. To be asked under its lock.

    PostgreSQL and Valkey are not among them: they see to their own past (`end_earlier`).
    """
    mark = os.fsencode(f"{MARK}={paths.home}")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return [pid for pid in found if pid not in (os.getpid(), os.getppid())]


@contextmanager
def stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop it, during the start as well. For the main thread of a command."""

    def ask(*_: object) -> None:
        supervisor.ask_to_stop()

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
