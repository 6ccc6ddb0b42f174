"""PostgreSQL, and what speaks as it does."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated

import psycopg2

from audiences.rules.warehouse import QueryResult, WarehouseError, WarehouseKind, WarehouseSettings
from spaces.outbound import CONNECT_S, checked_address
from spaces.settings_schema import label

SSL_MODES = {"verify": "verify-full", "encrypt": "require", "off": "disable"}
AT_A_TIME = 2000  # rows


class PostgresqlSettings(WarehouseSettings, frozen=True, kw_only=True):
    port: Annotated[int, label("Port", ge=1, le=65535)] = 5432


@contextmanager
def ask(settings: PostgresqlSettings, query: str, timeout_s: float) -> Iterator[QueryResult]:
    try:
        with closing(_connect(settings, timeout_s)) as connection, connection.cursor(name="personas") as cursor:
            cursor.itersize = AT_A_TIME
            cursor.execute(query)
            first = cursor.fetchmany(AT_A_TIME)  # before it the names of the columns are not known

            def rows() -> Iterator[tuple[object, ...]]:
                yield from first
                yield from cursor

            yield QueryResult([column.name for column in cursor.description or ()], rows())
    except psycopg2.Error as error:
        raise WarehouseError(str(error).strip()) from error


def _connect(settings: PostgresqlSettings, timeout_s: float) -> "psycopg2.extensions.connection":
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
        options=f"-c default_transaction_read_only=on -c statement_timeout={int(timeout_s * 1000)}",
    )


warehouse = WarehouseKind("PostgreSQL", PostgresqlSettings, ask)
