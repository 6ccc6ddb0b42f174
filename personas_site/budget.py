"""How many connections to PostgreSQL all processes of Personas may open, and whether the server allows so many.

The lanes bound those of the web, the concurrency bounds those of the workers, and COMMANDS are kept for commands and
administrators. Web and workers do not share: a busy web takes no connection from the workers.
"""

import logging
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg2
from django.conf import settings
from django.db import connection

from personas_site import keys
from personas_site.lanes import THREADS

logger = logging.getLogger(__name__)

PER_WEB_PROCESS = sum(THREADS.values())
COMMANDS = 10  # `prepare`, a shell, a backup
SETTINGS = ("max_connections", "superuser_reserved_connections", "reserved_connections")


class TooFew(Exception):
    """The server allows fewer connections than this configuration may need. The message tells the administrator."""


def check(limits: Mapping[str, int], *, processes: int, workers: int) -> None:
    """A server with these settings allows the connections that may be needed. Raises TooFew."""
    most = limits["max_connections"] - limits["superuser_reserved_connections"] - limits.get("reserved_connections", 0)
    most_needed = processes * PER_WEB_PROCESS + workers + COMMANDS
    if most_needed > most:
        raise TooFew(
            f"PostgreSQL takes {most} connections, but Personas may need {most_needed}: {PER_WEB_PROCESS} for each of "
            f"{processes} web processes, {workers} for workers and {COMMANDS} for commands. Raise max_connections "
            "there (and restart it), or lower PERSONAS_WEB_PROCESSES or PERSONAS_WORKER_CONNECTIONS here."
        )


def check_server(cursor: Any) -> None:
    """The server behind `cursor` allows the connections that this installation may need. Raises TooFew."""
    cursor.execute("SELECT name, setting::int FROM pg_settings WHERE name = ANY(%s)", [list(SETTINGS)])
    check(dict(cursor.fetchall()), processes=settings.WEB_PROCESSES, workers=settings.WORKER_CONNECTIONS)


def check_at_start() -> None:
    """`check_server` and `keys.check`, on a connection of its own. A server that does not answer is only logged."""
    try:
        server = psycopg2.connect(**connection.get_connection_params())
    except psycopg2.OperationalError as error:
        logger.warning("PostgreSQL's settings and the installation's keys are not known: %s", error)
        return
    with closing(server), server.cursor() as cursor:
        check_server(cursor)
        keys.check(cursor)
