"""MySQL and MariaDB, through the door out: the statements of a request in one transaction."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pymysql

from audiences.warehouses.mysql import connect
from destinations.models import Destination
from destinations.rules.contract import DestinationRequest, json_body
from destinations.rules.send_batch import Unanswered
from destinations.rules.tables import statements_of
from spaces.answers import Answer
from spaces.outbound import OutboundError

# MySQL's error codes: values that do not fit; then what stays wrong until somebody changes it, such as rights.
ROWS_AT_FAULT = {1048, 1062, 1264, 1265, 1292, 1366, 1406}
STANDS_STILL = {1044, 1045, 1049, 1054, 1064, 1142, 1143, 1146, 1227, 1698}


@contextmanager
def calls(destination: Destination, settings: Any) -> Iterator[Callable[[DestinationRequest], Answer]]:
    """A connection for each request: one of another thread would be in another's transaction."""
    yield lambda request: _answer(settings, request)


def _answer(settings: Any, request: DestinationRequest) -> Answer:
    is_begun, result = False, b""
    try:
        with closing(connect(settings, request.timeout_s)) as connection, connection.cursor() as cursor:
            is_begun = True
            cursor.execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")  # nothing is cut silently
            for statement in statements_of(request.body):
                if statement.reads:
                    cursor.execute(statement.sql, statement.rows[0])
                    result = json_body(cursor.fetchall())
                elif statement.rows:
                    cursor.executemany(statement.sql, statement.rows)
                else:
                    cursor.execute(statement.sql)
            connection.commit()
    # Before all others, which are the database's: our own door refused it.
    except OutboundError as error:
        raise Unanswered(str(error), permanent=error.permanent) from error
    except (pymysql.MySQLError, OSError) as error:
        code = error.args[0] if error.args else 0
        words = ": ".join(str(word) for word in error.args) or type(error).__name__
        if code in ROWS_AT_FAULT:
            return Answer(422, body=words.encode())
        if code in STANDS_STILL:
            return Answer(403, body=words.encode())
        # Once it was begun nobody knows whether the commit arrived.
        raise Unanswered(words, arrived=is_begun) from error
    return Answer(200, body=result)
