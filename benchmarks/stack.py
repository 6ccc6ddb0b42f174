"""Everything that `make up` starts, in a folder and on ports of its own: for benchmarks, and for tests that kill it."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks import prepared
from personas_site.embedded.paths import PROJECT_ROOT, Paths
from personas_site.embedded.processes import Service, spawn
from quickstart.client import Api

EMAIL, PASSWORD, WORKSPACE = "owner@example.com", "a long enough password", "Stack"
URLS = ("DATABASE_URL", "DATABASE_OWNER_URL", "CLICKHOUSE_URL", "REDIS_URL")
READY_WITHIN_S = 240
# Below the ports that the kernel gives to clients: one that tries again and again would come to be connected to itself.
PORTS = range(20_000, 32_000)


@dataclass(eq=False)
class Stack:
    """environ: of everything it runs. supervisor: None while it is not running."""

    home: Path
    environ: dict[str, str]
    supervisor: subprocess.Popen[bytes] | None = None
    token: str = ""
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30, trust_env=False))

    @property
    def paths(self) -> Paths:
        return Paths(self.home, self.environ)

    @property
    def address(self) -> str:
        return self.paths.web_url

    @property
    def log(self) -> Path:
        """What the supervisor says."""
        return self.home / "up.log"

    @cached_property
    def api(self) -> Api:
        """To be asked for once there is an owner."""
        return Api(self.address, self.token)

    def start(self) -> None:
        """Every process runs, and the site answers. To be called by the thread that stays: they end with it."""
        if not self.paths.postgres_data.exists():
            prepared.prepare(self.home, self.environ)
        command = Service(name="up", argv=[sys.executable, "-m", "personas_site.up"], cwd=PROJECT_ROOT)
        with open(self.log, "ab") as log:
            self.supervisor = spawn(command, self.environ, log.fileno())
        until(self._answers, within_s=READY_WITHIN_S)

    def stop(self) -> None:
        if self.supervisor and self.supervisor.poll() is None:
            self.supervisor.terminate()
            self.supervisor.wait(30)
        self.supervisor = None

    def kill(self, name: str) -> bool:
        """SIGKILL of one process, by the supervisor's name for it. False when it is not there just now."""
        if name == "supervisor":
            assert self.supervisor
            self.supervisor.kill()
            self.supervisor.wait()
            return True
        with suppress(psutil.NoSuchProcess):
            if process := self.process(name):
                process.kill()
                return True
        return False

    def process(self, name: str) -> psutil.Process | None:
        """By the supervisor's name for it; None when it is not there just now."""
        pid = self.pids().get(name)
        return next((each for each in self.processes() if each.pid == pid), None)  # it may be somebody else's by now

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        assert self.supervisor
        root = psutil.Process(self.supervisor.pid)
        return [root, *root.children(recursive=True)]

    def run(self, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """A Python command with the same environment, to its end."""
        argv = [sys.executable, *command]
        return subprocess.run(
            argv, cwd=PROJECT_ROOT, env=self.environ, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def make_owner(self) -> None:
        """There is an owner with a workspace; `api` and EMAIL with PASSWORD are theirs."""
        self.token = self.owner_of(WORKSPACE)

    def owner_of(self, workspace: str) -> str:
        """The API token of the owner of this workspace, which is there."""
        made = self.run("manage.py", "create_owner", EMAIL, workspace, "--password", PASSWORD, "--json")
        if made.returncode:
            raise RuntimeError(made.stderr)
        return str(json.loads(made.stdout)["api_token"])

    def pids(self) -> dict[str, int]:
        """By the supervisor's names."""
        with suppress(OSError, ValueError):
            found: dict[str, int] = json.loads(self.paths.pids.read_text())
            return found
        return {}

    def _answers(self) -> bool:
        if self.supervisor and self.supervisor.poll() is not None:
            raise RuntimeError(f"the stack ended while starting:\n{self.log.read_text()[-2000:]}")
        try:
            return self.http.get(f"{self.address}/readyz").status_code == 200
        except httpx.TransportError:
            return False


def own_environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment, but with that folder, free ports and embedded stores."""
    environ = {name: value for name, value in os.environ.items() if name not in URLS}
    ports = {"PERSONAS_CLICKHOUSE_PORT": str(free_port()), "PERSONAS_WEB_PORT": str(free_port())}
    return environ | ports | {"PERSONAS_HOME": str(home)} | more


@contextmanager
def stack(**more: str) -> Iterator[Stack]:
    """A running stack with an owner; gone at the end, its folder too. more: of its environment."""
    home = Path(tempfile.mkdtemp(prefix="personas-stack-"))
    running = Stack(home, own_environment(home, **more))
    try:
        running.start()
        running.make_owner()
        yield running
    finally:
        running.stop()
        shutil.rmtree(home, ignore_errors=True)


def free_port() -> int:
    """Nobody listens there."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(true: Callable[[], Any], *, within_s: float, every_s: float = 0.05) -> Any:
    """What `true` returns once it is true. Raises TimeoutError."""
    give_up = time.monotonic() + within_s
    while not (found := true()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(every_s)
    return found
