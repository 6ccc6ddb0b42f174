"""One process that the supervisor keeps alive, and how it is started so that it cannot outlive us."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from personas_site.embedded.accounts import Account, asked_as, become, libc, observer

PR_SET_PDEATHSIG = 1
EARLIER_ENDS_WITHIN = 2.0


def always() -> bool:
    return True


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Service:
    """What to run, how to know that it is ready, and how to ask it to stop."""

    name: str
    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    cwd: Path | None = None
    before: Callable[[], None] = nothing  # run before each start
    ready: Callable[[], bool] = always
    workers: tuple[str, ...] = ()  # processes of its own of which it reports, on the descriptor PERSONAS_REPORTS
    ready_within: float = 60.0
    silent_within: float | None = None  # s: it hangs when it was ready and then is not for so long, and is ended
    retry_for: float = 0.0  # how long a first start may fail and be tried again


def spawn(child: Service, env: Mapping[str, str], output: int, keep: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C reaches us alone, tied to the life of this thread.

    The kernel sends the death signal when the *thread* that started the child ends: call this from a thread that lives
    as long as the children shall.
    """
    parent = os.getpid()
    prepare = _after_fork(child.account, child.stop_signal, parent)
    return subprocess.Popen(
        child.argv,
        env={**env, **child.env},
        cwd=child.cwd or "/",
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=keep,
        start_new_session=True,
        preexec_fn=prepare,
    )


def answers_http(port: int, target: str, *headers: str) -> bool:
    """Whether somebody speaks HTTP there, whatever the answer."""
    lines = (f"GET {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers, "", "")
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            probe.sendall("\r\n".join(lines).encode())
            return probe.recv(16).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


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
        preexec_fn=_after_fork(account, signal.SIGKILL, os.getpid()),
    )


def _after_fork(account: Account | None, death_signal: int, parent: int) -> Callable[[], None]:
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


def working_in(folder: Path, program: str, account: Account | None = None) -> list[int]:
    """Processes of this program that work in this folder, run by us or by this account.

    PostgreSQL and Valkey write their titles over their environment, but each works in a folder of its own.
    """
    return asked_as(
        observer(account),
        lambda: [int(each.name) for each in Path("/proc").glob("[0-9]*") if _works_in(each, folder, program)],
    )


def _works_in(process: Path, folder: Path, program: str) -> bool:
    try:
        return os.path.samefile(process / "cwd", folder) and Path(os.readlink(process / "exe")).name == program
    except OSError:
        return False


def end_earlier(folder: Path, program: str, account: Account | None = None) -> None:
    """No process of an earlier server is left in its folder. Only called under our own lock.

    Most end by themselves: a server by the death signal of a killed supervisor, PostgreSQL's backends when they see
    that their server is gone. One in the middle of a long query sees nothing. To kill it is safe: the log is replayed.
    """
    patience = time.monotonic() + EARLIER_ENDS_WITHIN
    while left := working_in(folder, program, account):
        if time.monotonic() > patience:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
