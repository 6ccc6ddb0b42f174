"""Everything the supervisor runs, declared in one place: the embedded stores, then the processes of the site."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping

from personas_site.embedded import clickhouse, postgres, valkey
from personas_site.embedded.child import Child
from personas_site.embedded.paths import PROJECT_ROOT, Places

# The URL that, when set, says that a store is somebody else's.
# PostgreSQL last: the others start while its files are made.
STORES = {"REDIS_URL": valkey.child, "CLICKHOUSE_URL": clickhouse.child, "DATABASE_URL": postgres.child}
MEMBERS = ("worker-archive", "worker-resolve", "worker-evaluate", "worker-bulk", "worker-sync", "beat")


def is_set(environ: Mapping[str, str], name: str) -> bool:
    return bool(environ.get(name) or environ.get(f"{name}_FILE"))


def stores(places: Places) -> list[Child]:
    """The stores that no URL in the environment replaces."""
    return [child(places) for url, child in STORES.items() if not is_set(places.environ, url)]


def prepare() -> list[str]:
    """The command between the stores and the site: roles' grants, migrations, ClickHouse's tables, static files."""
    return [sys.executable, "manage.py", "prepare", "--static"]


def services(places: Places) -> list[Child]:
    """In the order in which they stop: first what brings new work in."""
    return [_web(places), _crew()]


def _web(places: Places) -> Child:
    return Child(
        name="web",
        argv=[sys.executable, "-m", "personas_site.serve", "--port", str(places.web_port)],
        cwd=PROJECT_ROOT,
        ready=lambda: answers(places.web_port),
        silent_within=60.0,
    )


def _crew() -> Child:
    return Child(
        name="crew",
        argv=[sys.executable, "-m", "personas_site.embedded.workers", *MEMBERS],
        cwd=PROJECT_ROOT,
        members=MEMBERS,
        ready_within=30.0,
    )


def answers(port: int) -> bool:
    """Whether somebody speaks HTTP there, whatever it says."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            probe.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return probe.recv(16).startswith(b"HTTP/1.1 ")
    except OSError:
        return False
