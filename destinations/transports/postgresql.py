"""PostgreSQL, through the door out: the statements of a request in one transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extras import execute_batch, execute_values

from audiences.warehouses.postgresql import connect, hung_up
from destinations.models import Destination
from destinations.rules.contract import DestinationRequest, json_body
from destinations.rules.send_batch import Unanswered
from destinations.rules.tables import TableStatement, statements_of, upserted_together
from spaces.answers import Answer
from spaces.outbound import OutboundError

GRACE_S = 5.0  # for the server's own limit, whose words are better than ours
# SQLSTATE classes: values that do not fit, rules that they break; then what stays wrong until somebody changes it.
ROWS_AT_FAULT, STANDS_STILL = {"22", "23"}, {"28", "3D", "3F", "42", "0L", "0P"}


@contextmanager
def calls(destination: Destination, settings: Any) -> Iterator[Callable[[DestinationRequest], Answer]]:
    """One connection for all calls of the block, opened with the first, and anew after a failure.

    For one thread: of two, one would be in the other's transaction.
    """
    connections: list[Any] = []

    def call(request: DestinationRequest) -> Answer:
        is_begun = False
        try:
            if not connections:
                connections.append(connect(settings, request.timeout_s))
            is_begun = True
            return Answer(200, body=_run(connections[0], request))
        # Before all others, which are the database's: our own door refused it.
        except OutboundError as error:
            raise Unanswered(str(error), permanent=error.permanent) from error
        except psycopg2.Error as error:
            while connections:
                connections.pop().close()
            return _failed(error, is_begun=is_begun)

    try:
        yield call
    finally:
        for connection in connections:
            connection.close()


def _run(connection: Any, request: DestinationRequest) -> bytes:
    """What the statement that reads gives; of others nothing."""
    result = b""
    with hung_up(connection, request.timeout_s + GRACE_S), connection, connection.cursor() as cursor:
        for statement in statements_of(request.body):
            if statement.reads:
                cursor.execute(statement.sql, statement.rows[0])
                result = json_body(cursor.fetchall())
            elif statement.key:
                _upsert(cursor, statement)
            elif statement.rows:
                # 200 in a round trip: `executemany` would make one for each row.
                execute_batch(cursor, statement.sql, statement.rows, page_size=200)
            else:
                cursor.execute(statement.sql)
    return result


def _failed(error: psycopg2.Error, *, is_begun: bool) -> Answer:
    """As a status. Raises Unanswered where the rows and the settings are not at fault."""
    state, words = str(error.pgcode or ""), str(error).strip()
    if state[:2] in ROWS_AT_FAULT:
        return Answer(422, body=words.encode())
    if state[:2] in STANDS_STILL or "authentication failed" in words:
        return Answer(403, body=words.encode())
    raise Unanswered(words, arrived=is_begun) from error


def _upsert(cursor: Any, statement: TableStatement) -> None:
    """Hundreds of rows in a statement: to read one for each row took the server longer than to write the rows."""
    of_a_row = f"({', '.join(['%s'] * len(statement.rows[0]))})"
    together = statement.sql.replace(of_a_row, "%s", 1)
    # A row cannot be written twice by one statement: somebody with two identifiers is in two of them.
    for rows in upserted_together(statement.rows, int(statement.key or 0)):
        execute_values(cursor, together, rows, page_size=500)
