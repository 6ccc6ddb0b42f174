"""Everything the supervisor runs, declared in one place: the embedded stores, then the processes of the site."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from personas_site.embedded import clickhouse, postgres, valkey
from personas_site.embedded.paths import PROJECT_ROOT, Paths
from personas_site.embedded.processes import Service, answers_http

# The URL that, when set, says that a store is somebody else's.
# PostgreSQL last: the others start while its files are made.
STORES = {"REDIS_URL": valkey.service, "CLICKHOUSE_URL": clickhouse.service, "DATABASE_URL": postgres.service}
WORKERS = ("worker-archive", "worker-resolve", "worker-evaluate", "worker-bulk", "worker-sync", "beat")


def is_set(environ: Mapping[str, str], name: str) -> bool:
    return bool(environ.get(name) or environ.get(f"{name}_FILE"))


def stores(paths: Paths) -> list[Service]:
    """The stores that no URL in the environment replaces."""
    return [service(paths) for url, service in STORES.items() if not is_set(paths.environ, url)]


def prepare() -> list[str]:
    """The command between the stores and the site: roles' grants, migrations, ClickHouse's tables, static files."""
    return [sys.executable, "manage.py", "prepare", "--static"]


def site(paths: Paths) -> list[Service]:
    """In the order in which they stop: first what brings new work in."""
    web = Service(
        name="web",
        argv=[sys.executable, "-m", "personas_site.serve", "--port", str(paths.web_port)],
        cwd=PROJECT_ROOT,
        ready=lambda: answers_http(paths.web_port, "/livez"),
        silent_within=60.0,
    )
    workers = Service(
        name="workers",
        argv=[sys.executable, "-m", "personas_site.embedded.workers", *WORKERS],
        cwd=PROJECT_ROOT,
        workers=WORKERS,
        ready_within=30.0,
    )
    return [web, workers]
