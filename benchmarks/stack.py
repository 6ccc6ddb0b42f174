"""The whole product in a folder of its own, for as long as a benchmark runs."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil


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


@dataclass
class Stack:
    home: Path
    address: str
    supervisor: subprocess.Popen[bytes]
    token: str = ""
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=120))

    def api(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """One call of the REST API. Raises on anything but success."""
        answer = self.http.request(
            method, f"{self.address}/api/{path}", json=body or None, headers={"Authorization": f"Bearer {self.token}"}
        )
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        data: dict[str, Any] = answer.json()["data"]
        return data

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        root = psutil.Process(self.supervisor.pid)
        return [root, *root.children(recursive=True)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def use_a_folder_of_its_own() -> Path:
    """PERSONAS_HOME and the ports of this process, and of all that it starts, are fresh. Before settings are read."""
    home = Path(tempfile.mkdtemp(prefix="personas-bench-"))
    os.environ["PERSONAS_HOME"] = str(home)
    os.environ["PERSONAS_CLICKHOUSE_PORT"] = str(free_port())
    os.environ["PERSONAS_WEB_PORT"] = str(free_port())
    return home


@contextmanager
def stack(home: Path) -> Iterator[Stack]:
    """Everything `make up` starts, with an owner and a token; gone at the end, its folder too."""
    address = f"http://127.0.0.1:{os.environ['PERSONAS_WEB_PORT']}"
    supervisor = subprocess.Popen([sys.executable, "-m", "personas_site.up"], stdout=subprocess.DEVNULL)
    running = Stack(home, address, supervisor)
    try:
        until(lambda: _ready(running), within_s=60)
        running.token = _owner_token()
        yield running
    finally:
        supervisor.terminate()
        supervisor.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def until(true: Callable[[], Any], *, within_s: float) -> Any:
    """What `true` returns once it is true; looks twenty times a second."""
    give_up = time.monotonic() + within_s
    while not (found := true()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(0.05)
    return found


def median_of(runs: int, measure: Callable[[], float]) -> float:
    """The median of `runs` results, after one that warms up and does not count."""
    measure()
    return median(measure() for _ in range(runs))


def _ready(running: Stack) -> bool:
    if running.supervisor.poll() is not None:
        raise RuntimeError("the stack ended while starting; see its log above")
    try:
        return running.http.get(f"{running.address}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _owner_token() -> str:
    import json

    made = subprocess.run(
        [sys.executable, "manage.py", "create_owner", "--email", "bench@example.com", "--workspace", "Bench", "--json"],
        check=True,
        capture_output=True,
    )
    token: str = json.loads(made.stdout)["apiToken"]
    return token
