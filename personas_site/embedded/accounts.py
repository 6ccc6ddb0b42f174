"""The user a child runs as when we are root: PostgreSQL refuses to be.

As root it runs as `nobody`. Its programs and files may lie below a folder that only root may enter (a clone below
/root, an umask of 077): then it keeps the right to pass through folders, and nobody's folders need be opened to all.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TypeVar

PR_SET_KEEPCAPS, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 8, 28, 47, 2
SECBIT_NO_SETUID_FIXUP, SECBIT_KEEP_CAPS = 1 << 2, 1 << 4
CAPABILITY_VERSION_3 = 0x20080522


class Capability(IntEnum):
    """A right of root, by its number in Linux."""

    CAP_CHOWN = 0
    CAP_DAC_OVERRIDE = 1
    CAP_DAC_READ_SEARCH = 2
    CAP_KILL = 5
    CAP_SETGID = 6
    CAP_SETUID = 7
    CAP_SYS_PTRACE = 19


# Without these, not even root can start a process as somebody else, give it files, reach its socket and end it.
NEEDED = (
    Capability.CAP_CHOWN,
    Capability.CAP_DAC_OVERRIDE,
    Capability.CAP_KILL,
    Capability.CAP_SETGID,
    Capability.CAP_SETUID,
)
# The first is the smaller right, but it does not let a process run a program that is root's alone.
PASSING = (Capability.CAP_DAC_READ_SEARCH, Capability.CAP_DAC_OVERRIDE)

# Loaded before any fork: between fork and exec only calls into it are safe.
libc = ctypes.CDLL(None, use_errno=True)

Answer = TypeVar("Answer")


class StartError(Exception):
    """Something cannot start; the message is for the user."""


class AlreadyRunning(StartError):
    """Another process has the folder."""


@dataclass(frozen=True)
class Account:
    """A user, by number. capabilities: the rights of root that its processes keep."""

    uid: int
    gid: int
    capabilities: tuple[Capability, ...] = ()


def unprivileged(program: Path, *paths: Path) -> Account | None:
    """The account for a program that refuses to run as root: None when we are not root, else `nobody`.

    It can run `program` and reach `paths`. Raises StartError.
    """
    if os.getuid() != 0:
        return None
    refuses = f"{program.name} refuses to run as root"
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise StartError(f"{refuses}, and there is no user nobody to run it as: start as an ordinary user") from None
    if missing := [capability.name for capability in NEEDED if not _may(capability)]:
        raise StartError(
            f"{refuses}, and without {', '.join(missing)} we cannot run it as nobody: start as an ordinary user, or "
            "give the container these capabilities"
        )
    folders = [next(folder for folder in path.parents if folder.exists()) for path in paths]

    def find_out_of_reach() -> list[str]:
        programs = [] if os.access(program, os.R_OK | os.X_OK) else [str(program)]
        return programs + [str(folder) for folder in folders if not (folder / "..").exists()]

    out_of_reach: list[str] = []
    for capabilities in ((), *((capability,) for capability in PASSING if _may(capability))):
        account = Account(nobody.pw_uid, nobody.pw_gid, capabilities)
        try:
            out_of_reach = run_in_account(account, find_out_of_reach)
        except OSError:  # not even this right can be handed on here
            continue
        if not out_of_reach:
            return account
    raise StartError(
        f"{refuses}, and the user nobody cannot reach {' and '.join(out_of_reach) or 'anything here'}: start as an "
        "ordinary user, or use folders (also for PERSONAS_HOME) that every user may pass through"
    )


def run_in_account(account: Account | None, question: Callable[[], Answer]) -> Answer:
    """What `question` returns to a process of this account. The answer must fit into JSON. Raises OSError."""
    if account is None:
        return question()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become(account)
            with open(theirs, "w") as pipe:
                json.dump(question(), pipe)
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    if not answer:
        raise OSError(f"a process cannot become user {account.uid} here")
    return json.loads(answer)


def become(account: Account) -> None:
    """This process is of that account. Between fork and exec. Raises OSError."""
    if account.capabilities:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        # Else access(2), by which PostgreSQL looks whether it may run its own programs, leaves out all capabilities.
        # Where we may not set it (it takes CAP_SETPCAP), the other rights still let it reach its data.
        libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS, 0, 0, 0)
    os.setgroups([])
    os.setgid(account.gid)
    os.setuid(account.uid)
    if account.capabilities:
        bits = sum(1 << capability for capability in account.capabilities)
        sets = (_CapabilitySets * 2)(_CapabilitySets(bits, bits, bits), _CapabilitySets(0, 0, 0))
        header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
        _check(libc.capset(ctypes.byref(header), sets), "capset")
        for capability in account.capabilities:
            _check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, int(capability), 0, 0), "prctl(PR_CAP_AMBIENT)")


def observer(account: Account | None) -> Account | None:
    """The account that sees which files the processes of `account` have open: None when it is our own.

    In a container, root often lacks the right to look at the processes of others.
    """
    if account is None or _may(Capability.CAP_SYS_PTRACE):
        return None
    # A process can look at another of its user only when it has all the rights that the other has.
    return Account(account.uid, account.gid, tuple(capability for capability in PASSING if _may(capability)))


def _may(capability: Capability) -> bool:
    header, sets = _CapabilityHeader(CAPABILITY_VERSION_3, 0), (_CapabilitySets * 2)()
    _check(libc.capget(ctypes.byref(header), sets), "capget")
    return bool(sets[0].effective >> capability & 1)


def _check(result: int, call: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), call)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapabilitySets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]
