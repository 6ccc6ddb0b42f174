"""How many connections to PostgreSQL the whole of Personas may ever have, and whether the server takes so many.

The web's are bounded by its lanes, the workers' by their concurrency, and what is left is for commands and for whoever
has to look. So the workers' share is theirs, however much the web has to do: neither borrows from the other.
"""

import logging
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg2
from django.conf import settings
from django.db import connection

from personas_site.lanes import THREADS

logger = logging.getLogger(__name__)

EACH_WEB_PROCESS = sum(THREADS.values())
COMMANDS = 10  # `prepare`, a shell, a backup
SETTINGS = ("max_connections", "superuser_reserved_connections", "reserved_connections")


class TooFew(Exception):
    """The server takes fewer connections than this configuration may need. One sentence for whoever runs it."""


def needed(*, processes: int, workers: int) -> int:
    return processes * EACH_WEB_PROCESS + workers + COMMANDS


def check(limits: Mapping[str, int], *, processes: int, workers: int) -> None:
    """The server, with these of its settings, takes what may be needed. Raises TooFew."""
    most = limits["max_connections"] - limits["superuser_reserved_connections"] - limits.get("reserved_connections", 0)
    most_needed = needed(processes=processes, workers=workers)
    if most_needed > most:
        raise TooFew(
            f"PostgreSQL takes {most} connections, but Personas may need {most_needed}: {EACH_WEB_PROCESS} for each of "
            f"{processes} web processes, {workers} for workers and {COMMANDS} for commands. Raise max_connections "
            "there (and restart it), or lower PERSONAS_WEB_PROCESSES or PERSONAS_WORKER_CONNECTIONS here."
        )


def check_server(cursor: Any) -> None:
    """The server behind `cursor` takes what the settings of this installation may need. Raises TooFew."""
    cursor.execute("SELECT name, setting::int FROM pg_settings WHERE name = ANY(%s)", [list(SETTINGS)])
    check(dict(cursor.fetchall()), processes=settings.WEB_PROCESSES, workers=settings.WORKER_CONNECTIONS)


def check_at_start() -> None:
    """The same, on a connection of its own. Raises TooFew; a server that is away is not asked."""
    try:
        opened = psycopg2.connect(**connection.get_connection_params())
    except psycopg2.OperationalError as error:
        logger.warning("how many connections PostgreSQL takes is not known: %s", error)
        return
    with closing(opened), opened.cursor() as cursor:
        check_server(cursor)
