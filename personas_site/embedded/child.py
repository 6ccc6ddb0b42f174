"""One process that the supervisor keeps alive, and how it is started so that it cannot outlive us."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
PR_CAPBSET_READ = 23
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
CAPABILITY_VERSION_3 = 0x20080522
EARLIER_ENDS_WITHIN = 2.0

# Loaded before any fork: between fork and exec only calls into it are safe.
libc = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """Something cannot start; the message is for the user."""


def always() -> bool:
    return True


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Account:
    """The user a child runs as, when that is not ours.

    capability: one Linux capability it keeps. PostgreSQL refuses to run as root, so as root it runs as `nobody`; when
    its files lie below a folder that only root may enter (/root, a temporary folder), it keeps the right to pass
    through folders, and we need not open anybody's folders to everyone.
    """

    uid: int
    gid: int
    capability: int | None = None


@dataclass(frozen=True)
class Child:
    """What to run, how to know that it is ready, and how to ask it to stop."""

    name: str
    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    cwd: Path | None = None
    before: Callable[[], None] = nothing  # run before each start
    ready: Callable[[], bool] = always
    members: tuple[str, ...] = ()  # processes of its own of which it reports, on the descriptor PERSONAS_REPORTS
    ready_within: float = 60.0
    retry_for: float = 0.0  # how long a first start may fail and be tried again


def unprivileged(program: Path, *paths: Path) -> Account | None:
    """The account for a program that refuses to run as root: None when we are not root, else `nobody`.

    It can run `program` and reach `paths`.
    """
    if os.getuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    runs = _may_enter(program, nobody)
    if runs and all(_may_enter(folder, nobody) for path in (program, *paths) for folder in path.parents):
        return Account(nobody.pw_uid, nobody.pw_gid)
    # The first is the smaller right, but it does not let a process run a program that is root's alone.
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if runs else (CAP_DAC_OVERRIDE,):
        if libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
            return Account(nobody.pw_uid, nobody.pw_gid, capability)
    raise StartError(
        f"{program} cannot run as root, and the user nobody cannot reach {', '.join(map(str, paths))}: "
        "start as an ordinary user, or use folders that others may enter"
    )


def _may_enter(path: Path, user: pwd.struct_passwd) -> bool:
    """Whether the user may pass through this folder, or run this program. What does not exist yet, we shall make."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return True
    bit = 0o100 if status.st_uid == user.pw_uid else 0o010 if status.st_gid == user.pw_gid else 0o001
    return bool(status.st_mode & bit)


def spawn(child: Child, env: Mapping[str, str], output: int, keep: Sequence[int] = ()) -> subprocess.Popen[bytes]:
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


def run_as(account: Account | None, argv: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end as this account, with `text` as its input. What it prints is kept."""
    return subprocess.run(
        argv,
        env={"LC_ALL": "C", "PATH": os.defpath},
        cwd="/",
        input=text,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_after_fork(account, signal.SIGKILL, os.getpid()),
    )


def _after_fork(account: Account | None, death_signal: int, parent: int) -> Callable[[], None]:
    def prepare() -> None:
        if account:
            _become(account)
        # After the change of user: the kernel forgets the death signal when the user changes.
        die_with_parent(death_signal, parent)

    return prepare


def die_with_parent(death_signal: int, parent: int) -> None:
    """The kernel sends this process the signal when the thread that made it ends. To be called right after a fork."""
    libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:  # it ended in between: nobody would ever tell us
        os._exit(1)


def working_in(folder: Path, program: str) -> list[int]:
    """Processes of this program that work in this folder.

    PostgreSQL and Valkey write their titles over their environment, but each works in a folder of its own.
    """
    return [int(process.name) for process in Path("/proc").glob("[0-9]*") if _works_in(process, folder, program)]


def _works_in(process: Path, folder: Path, program: str) -> bool:
    try:
        return os.path.samefile(process / "cwd", folder) and Path(os.readlink(process / "exe")).name == program
    except OSError:
        return False


def end_earlier(folder: Path, program: str) -> None:
    """No process of an earlier server is left in its folder. Only called under our own lock.

    Most end by themselves: a server by the death signal of a killed supervisor, PostgreSQL's backends when they see
    that their server is gone. One in the middle of a long query sees nothing. To kill it is safe: the log is replayed.
    """
    patience = time.monotonic() + EARLIER_ENDS_WITHIN
    while left := working_in(folder, program):
        if time.monotonic() > patience:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapabilitySets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def _become(account: Account) -> None:
    os.setgroups([])
    os.setgid(account.gid)
    libc.prctl(PR_SET_KEEPCAPS, int(account.capability is not None), 0, 0, 0)
    os.setuid(account.uid)
    if account.capability is None:
        return
    bit = 1 << account.capability
    sets = (_CapabilitySets * 2)(_CapabilitySets(bit, bit, bit), _CapabilitySets(0, 0, 0))
    header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
    if libc.capset(ctypes.byref(header), sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    if libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, account.capability, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_CAP_AMBIENT)")
