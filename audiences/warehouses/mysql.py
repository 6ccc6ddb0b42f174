"""MySQL and MariaDB."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from typing import Annotated, Any

import pymysql
from pymysql.cursors import SSCursor

from audiences.rules.warehouse import QueryResult, WarehouseError, WarehouseKind, WarehouseSettings
from spaces.outbound import CONNECT_S, checked_address
from spaces.settings_schema import label


class MysqlWarehouseSettings(WarehouseSettings, frozen=True, kw_only=True):
    port: Annotated[int, label("Port", ge=1, le=65535)] = 3306


@contextmanager
def ask(settings: MysqlWarehouseSettings, query: str, timeout_s: float) -> Iterator[QueryResult]:
    try:
        with (
            closing(connect(settings, timeout_s)) as connection,
            connection.cursor(SSCursor) as cursor,
        ):  # rows stay with the server until they are read
            # MySQL calls the limit by another name than MariaDB, and counts milliseconds.
            try:
                cursor.execute("SET SESSION max_statement_time = %s", [timeout_s])
            except pymysql.MySQLError:
                cursor.execute("SET SESSION max_execution_time = %s", [int(timeout_s * 1000)])
            # Whatever right the user has: what is asked here must not write.
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            cursor.execute(query)
            yield QueryResult([column[0] for column in cursor.description or ()], iter(cursor))
    except (pymysql.MySQLError, OSError) as error:
        raise WarehouseError(": ".join(str(word) for word in error.args) or type(error).__name__) from error


def connect(settings: Any, timeout_s: float) -> "pymysql.connections.Connection[pymysql.cursors.Cursor]":
    """A connection through the door out. settings: as of a warehouse."""
    connection = pymysql.connect(
        host=settings.host,  # for the certificate; the connection goes to the address that was checked
        port=settings.port,
        database=settings.database,
        user=settings.user,
        password=settings.password,
        ssl=None if settings.tls == "off" else _trusted(verified=settings.tls == "verify"),
        ssl_disabled=settings.tls == "off",  # else the library tries it all the same
        charset="utf8mb4",
        read_timeout=timeout_s,
        write_timeout=timeout_s,
        local_infile=False,  # else the server could read files of this machine
        defer_connect=True,
    )
    address = checked_address(settings.host, settings.port)
    connection.connect(socket.create_connection((address, settings.port), timeout=CONNECT_S))
    return connection


@cache
def _trusted(*, verified: bool) -> ssl.SSLContext:
    """One for all: to read the certificate authorities takes longer than most statements."""
    context = ssl.create_default_context()
    if not verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


warehouse = WarehouseKind("MySQL or MariaDB", MysqlWarehouseSettings, ask)
