"""PostgreSQL, and what speaks as it does."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from threading import Timer
from typing import Annotated, Any

import psycopg2

from audiences.rules.warehouse import QueryResult, WarehouseError, WarehouseKind, WarehouseSettings
from spaces.outbound import CONNECT_S, checked_address
from spaces.settings_schema import label

SSL_MODES = {"verify": "verify-full", "encrypt": "require", "off": "disable"}
AT_A_TIME = 2000  # rows
GRACE_S = 5.0  # for the server's own limit, whose words are better than ours


class PostgresqlWarehouseSettings(WarehouseSettings, frozen=True, kw_only=True):
    port: Annotated[int, label("Port", ge=1, le=65535)] = 5432


@contextmanager
def ask(settings: PostgresqlWarehouseSettings, query: str, timeout_s: float) -> Iterator[QueryResult]:
    try:
        with (
            closing(connect(settings, timeout_s, "-c default_transaction_read_only=on")) as connection,
            hung_up(connection, timeout_s + GRACE_S),
            connection.cursor(name="personas") as cursor,  # with a name: the server keeps the rows until they are read
        ):
            cursor.itersize = AT_A_TIME
            cursor.execute(query)
            first = cursor.fetchmany(AT_A_TIME)  # before it the names of the columns are not known

            def rows() -> Iterator[tuple[object, ...]]:
                yield from first
                yield from cursor

            yield QueryResult([column.name for column in cursor.description or ()], rows())
    except psycopg2.Error as error:
        raise WarehouseError(str(error).strip()) from error


@contextmanager
def hung_up(connection: "psycopg2.extensions.connection", after_s: float) -> Iterator[None]:
    """The connection ends after so long: a server that is silent would keep the thread for ever."""

    def end() -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as its:
            its.shutdown(socket.SHUT_RDWR)

    timer = Timer(after_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def connect(settings: Any, timeout_s: float, options: str = "") -> "psycopg2.extensions.connection":
    """A connection through the door out. settings: as of a warehouse. options: of the server, besides its limit."""
    return psycopg2.connect(
        host=settings.host,  # for the certificate; the connection goes to the address that was checked
        hostaddr=checked_address(settings.host, settings.port),
        port=settings.port,
        dbname=settings.database,
        user=settings.user,
        password=settings.password,
        sslmode=SSL_MODES[settings.tls],
        sslrootcert="system" if settings.tls == "verify" else None,
        connect_timeout=int(CONNECT_S),
        application_name="personas",
        options=f"{options} -c statement_timeout={int(timeout_s * 1000)}".strip(),
    )


warehouse = WarehouseKind("PostgreSQL", PostgresqlWarehouseSettings, ask)
