"""The console that the quickstart talks to: the one that is running in this folder, or one that it starts."""

import ctypes
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PROJECT = Path(__file__).resolve().parent.parent
START_WITHIN = 120.0  # seconds; the first start makes the tables
STOP_WITHIN = 20.0
PR_SET_PDEATHSIG = 1
STORES_ONLY = "stores only"  # what a supervisor without a site says of itself

_libc = ctypes.CDLL(None)


class ConsoleError(Exception):
    """The console cannot be started, or has stopped; the message is for the user."""


@dataclass
class Console:
    """A running console. process: None when somebody else started it; then stopping it is not our business."""

    address: str
    home: Path
    process: subprocess.Popen[bytes] | None = None

    def owner(self, email: str, workspace: str, *, password: str) -> dict[str, Any]:
        """The owner with this password, a workspace and a new API token; made when they are not there."""
        create = ["create_owner", email, workspace, f"--password={password}", "--json"]  # it may begin with a dash
        command = [sys.executable, str(PROJECT / "manage.py"), *create]
        done = subprocess.run(command, capture_output=True, text=True, env=_environment(self.home), check=False)
        if done.returncode != 0:
            raise ConsoleError(f"manage.py create_owner failed: {_last_lines(done.stderr)}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def stop(self) -> None:
        """Nothing that we started runs any more."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait(self) -> int:
        """Until the console that we started ends; its status."""
        return self.process.wait() if self.process else 0


def open_console(home: Path) -> Console:
    """The console of this folder answers. One that is just starting or stopping is waited for. Raises ConsoleError."""
    give_up = time.monotonic() + START_WITHIN
    while (holder := _holder(home)) is not None:
        address = re.search(r"https?://\S+", holder)
        if address:
            with suppress(httpx.HTTPError):  # the site and its three stores answer
                if httpx.get(f"{address.group()}/readyz", timeout=10, trust_env=False).status_code == 200:
                    return Console(address.group(), home)
        if STORES_ONLY in holder:
            raise ConsoleError(f"only the stores are running in {home} ({holder}): stop them first")
        if time.monotonic() > give_up:
            raise ConsoleError(f"Personas is running in {home} ({holder or 'just starting'}), and does not answer")
        time.sleep(0.1)
    return _start(home)


def _holder(home: Path) -> str | None:
    """What the one who holds this folder's lock says of itself, None when nobody does."""
    # By the lock and not by a file with a number in it: a lock goes with its process, however that ends.
    try:
        with open(home / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return (home / "lock").read_text().strip()


def _start(home: Path) -> Console:
    log = home / "log" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output_file:  # appending: the supervisor cuts logs that have grown too long
        output_file.truncate(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "personas_site.up"],
            cwd=PROJECT,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=output_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone, and we stop it in order
            preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0),  # however we end, it ends too
        )
    console = Console("", home, process)
    try:
        give_up = time.monotonic() + START_WITHIN
        while time.monotonic() < give_up:
            output = log.read_text(errors="replace")
            if ready := re.search(r"ready in [\d.]+ s: (http\S+)", output):
                console.address = ready.group(1)
                return console
            if process.poll() is not None:
                raise ConsoleError(f"the console did not start: {_last_lines(output)}")
            time.sleep(0.1)
        raise ConsoleError(f"the console is not ready after {START_WITHIN:.0f} s: {_last_lines(output)}")
    except BaseException:
        console.stop()
        raise


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PERSONAS_HOME": str(home)}


def _last_lines(text: str, count: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-count:])
