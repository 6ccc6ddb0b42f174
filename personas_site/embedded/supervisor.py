"""One process that starts the stores and the site, starts again what dies, and leaves nothing behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self, TypeVar

from personas_site.embedded import services
from personas_site.embedded.accounts import AlreadyRunning, StartError
from personas_site.embedded.paths import PROJECT_ROOT, Paths
from personas_site.embedded.processes import MARK, Process, Service, end_leftovers

LOG_MAX = 10 << 20
POLL = 0.05
WATCH_EVERY = 0.2  # a look takes 60 µs: far below 1 % of what an idle stack costs
LOGS_CUT_EVERY = 10.0
SITE_STOPS_WITHIN = 5.5
STORES_STOP_WITHIN = 4.0
FREED_WITHIN = 1.0  # a lock or port of a process that was just killed

Result = TypeVar("Result")


class Stopping(Exception):
    """We were asked to stop."""


@dataclass
class Supervisor:
    """Start with `start()` or `with`, end with `stop()`.

    A thread of its own starts and watches the processes: the kernel ties their lives to it, so it lives as long as
    they do, whatever thread calls us.
    """

    home: Path
    stores_only: bool = False
    say: Callable[[str], None] = lambda _: None
    stores: Sequence[Service] | None = None
    site: Sequence[Service] | None = None
    prepare: Sequence[str] | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    paths: Paths = field(init=False)
    failure: Exception | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.paths = Paths(self.home, self.environ)
        self._processes: list[Process] = []
        self._written_pids: dict[str, int] = {}
        self._cut_logs_at = 0.0
        self._stop_asked = False
        self._owns_sockets = False
        self._started = threading.Event()
        self._lock: IO[str] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Everything runs and is ready. Raises StartError with nothing left running."""
        self.paths.make_home()
        # Before any data is opened. It ends with this process, however that ends.
        lock = open(self.paths.lock, "a+")  # noqa: SIM115 - held until stop()
        try:
            _retry(fcntl.flock, lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with lock:
                lock.seek(0)
                owner = lock.read().strip() or "just starting"
            raise AlreadyRunning(f"Personas is already running in {self.paths.home}: {owner}") from None
        self._lock = lock
        lock.truncate(0)
        address = "stores only" if self.stores_only else self.paths.web_url
        print(f"pid {os.getpid()}, {address}", file=lock, flush=True)
        try:
            # Before the ports are tried: what is left over from an earlier run may hold them.
            end_leftovers(self.paths.home, self.say)
            self._check_ports()
            self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
            self._thread.start()
            self._started.wait()
            if self.failure:
                raise self.failure
        except BaseException:
            self.stop()
            raise

    def ask_to_stop(self) -> None:
        """Begin to stop. Safe in a signal handler."""
        self._stop_asked = True

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
        """The process that a service, or one of its workers, has now."""
        return self._pids().get(name)

    def _check_ports(self) -> None:
        try:
            ports = {"PERSONAS_CLICKHOUSE_PORT": self.paths.clickhouse_port, "PERSONAS_WEB_PORT": self.paths.web_port}
        except ValueError as error:
            raise StartError(str(error)) from None
        if services.is_set(self.paths.environ, "CLICKHOUSE_URL"):
            del ports["PERSONAS_CLICKHOUSE_PORT"]
        if self.stores_only:
            del ports["PERSONAS_WEB_PORT"]
        for setting, port in ports.items():
            try:
                _retry(socket.create_server, ("127.0.0.1", port)).close()
            except OSError as error:
                taken = error.errno == errno.EADDRINUSE
                reason = "is taken by another program" if taken else f"cannot be used: {error}"
                raise StartError(f"port {port} {reason}; set {setting} to a free one") from None

    # What follows runs in the supervisor's own thread.

    def _supervise(self) -> None:
        try:
            self._start_all()
            self._started.set()
            while True:
                time.sleep(WATCH_EVERY)
                self._look()
        except Stopping:
            if not self._started.is_set():
                self.failure = StartError("stopped while starting")
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            text = f"the disk of {self.home} is full: make room, then start again"
            self.failure = StartError(text) if full else error
        except Exception as error:
            self.failure = error
        finally:
            self._stop_all()
            self._started.set()

    def _start_all(self) -> None:
        self.paths.logs.mkdir(mode=0o700, exist_ok=True)
        # The sockets' folder is ours alone: anyone may make folders in a temporary folder, under any name.
        sockets = self.paths.sockets
        with suppress(FileExistsError):
            sockets.mkdir(mode=0o711 if os.getuid() == 0 else 0o700)
        status = sockets.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o170022 != 0o040000:
            raise StartError(f"{sockets} is not a folder of ours alone: remove it, or choose another PERSONAS_HOME")
        self._owns_sockets = True
        self._start_group(services.stores(self.paths) if self.stores is None else self.stores, are_stores=True)
        if self.stores_only:
            return
        if argv := services.prepare() if self.prepare is None else self.prepare:
            service = Service(name="prepare", argv=list(argv), cwd=PROJECT_ROOT, runs_once=True)
            step = Process(service, self.paths.log("prepare"))
            self._processes.append(step)
            step.start(self._environment())
            while step.popen:  # looking after the stores meanwhile: it may take minutes
                time.sleep(POLL)
                self._look()
            self._processes.remove(step)
            if step.exit_code != 0:
                raise StartError(f"the preparation of the stores failed{step.tail()}")
        self._start_group(services.site(self.paths) if self.site is None else self.site, are_stores=False)

    def _start_group(self, group: Sequence[Service], *, are_stores: bool) -> None:
        """All of the group run and are ready. What of the site takes too long is only reported: it may yet come."""
        starting = [Process(service, self.paths.log(service.name), is_store=are_stores) for service in group]
        for process in starting:
            self._processes.append(process)
            process.start(self._environment())
        self._look(starting)
        while starting := [process for process in starting if not process.is_ready()]:
            for process in list(starting):
                if process.age > process.service.ready_within:
                    text = f"{process.service.name} is not ready after {process.service.ready_within:.0f} s"
                    if are_stores:
                        raise StartError(text + process.tail())
                    self.say(text + process.tail())
                    starting.remove(process)
            time.sleep(POLL)
            self._look(starting)

    def _look(self, starting: Collection[Process] = ()) -> None:
        """What died is started again when it is due, what hangs is ended, and what is kept in files is up to date.

        starting: those that have not been ready yet. Raises Stopping, and StartError when one of these dies.
        """
        if self._stop_asked:
            raise Stopping
        for process in self._processes:
            for worker in process.read_reports():
                self.say(f"{worker} stopped; starting it again")
            if process.reap():
                if process.service.runs_once:
                    continue
                if process not in starting:
                    self._schedule(process)
                elif process.age < process.service.retry_for:
                    process.restarts.note_death()
                else:
                    raise StartError(f"{process.service.name} stopped while starting{process.tail()}")
            elif process.is_silent():
                self.say(f"{process.service.name} does not answer: ending it")
                process.kill()
            elif process.restarts.is_due:
                try:
                    process.start(self._environment())
                except Exception as error:
                    self.say(f"{process.service.name}: {error}")
                    self._schedule(process)
        if (pids := self._pids()) != self._written_pids:
            with suppress(OSError):  # the disk is full: tried again at the next look
                draft = self.paths.pids.with_suffix(".new")
                draft.write_text(json.dumps(pids, indent=1) + "\n")
                draft.replace(self.paths.pids)
                self._written_pids = pids
        if time.monotonic() > self._cut_logs_at:
            self._cut_logs()
            self._cut_logs_at = time.monotonic() + LOGS_CUT_EVERY

    def _schedule(self, process: Process) -> None:
        name, wait = process.service.name, process.restarts.note_death()
        self.say(f"{name} stopped; starting it again" + (f" in {wait:.1f} s" if wait else ""))
        if process.restarts.deaths > 1:
            self.say(f"{name} keeps stopping{process.tail()}")

    def _cut_logs(self) -> None:
        """A long log begins again, and `.log.1` has it if there is room. Its writers append, and notice nothing."""
        for path in self.paths.logs.glob("*.log"):
            with suppress(OSError):
                if path.stat().st_size > LOG_MAX:
                    with suppress(OSError):
                        shutil.copyfile(path, path.with_suffix(".log.1"))
                    os.truncate(path, 0)

    def _pids(self) -> dict[str, int]:
        pids = {"supervisor": os.getpid()}
        for process in list(self._processes):
            if popen := process.popen:
                pids |= {process.service.name: popen.pid, **process.workers}
        return pids

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

    def _stop_all(self) -> None:
        # The site before the stores: what it has under way can still be committed.
        for are_stores, within in ((False, SITE_STOPS_WITHIN), (True, STORES_STOP_WITHIN)):
            alive = [process for process in self._processes if process.popen and process.is_store == are_stores]
            for process in alive:  # all are asked before any is waited for
                process.send_signal(process.service.stop_signal)
            kill_at = time.monotonic() + within
            while (alive := [process for process in alive if not process.reap()]) and time.monotonic() < kill_at:
                time.sleep(POLL)
            for process in alive:
                self.say(f"{process.service.name} did not stop within {within:.0f} s: ending it")
                process.kill()
                while not process.reap():
                    time.sleep(POLL)
        self._processes.clear()
        self.paths.pids.unlink(missing_ok=True)
        # Below a temporary folder nobody else would clean up.
        if self._owns_sockets and self.paths.sockets.parent != self.paths.home:
            shutil.rmtree(self.paths.sockets, ignore_errors=True)


def _retry(attempt: Callable[..., Result], *arguments: object) -> Result:
    """What it returns, or the OSError it raises for longer than a process that was just killed may hold what it had."""
    give_up = time.monotonic() + FREED_WITHIN
    while True:
        try:
            return attempt(*arguments)
        except OSError:
            if time.monotonic() > give_up:
                raise
        time.sleep(POLL)


@contextmanager
def stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop it, during the start as well. For the main thread of a command."""

    def ask(*_: object) -> None:
        supervisor.ask_to_stop()

    handlers = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def stores_running(say: Callable[[str], None], *, may_run: bool) -> Iterator[None]:
    """The embedded stores run, if there are any; for a command. may_run: those of a running console will do.

    Raises StartError.
    """
    paths = Paths.from_environ()
    if not services.stores(paths):
        yield
        return
    supervisor = Supervisor(paths.home, stores_only=True, say=say)
    with ExitStack() as stack:
        try:
            stack.enter_context(supervisor)
        except AlreadyRunning:
            if not may_run:
                raise
        yield
