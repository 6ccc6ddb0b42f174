"""Whose fault an error is: of what is in a row, of a store that is away, or of our own code.

Only what a *store* refuses for what is in a row is the row's fault; whoever talks to the store raises `Unwritable`
for it. A store that is away, full, slow or short of memory is nobody's fault. Everything else is ours.
"""

from collections.abc import Callable
from typing import Any

import psycopg2
from clickhouse_connect.driver import exceptions as clickhouse
from django.db import DataError, InterfaceError, InternalError, OperationalError
from redis.exceptions import RedisError
from urllib3.exceptions import HTTPError

# What a store, or the way to it, raises when nobody is at fault.
AWAY: tuple[type[Exception], ...] = (
    *(OSError, MemoryError, HTTPError, RedisError, clickhouse.OperationalError),
    *(OperationalError, InterfaceError, InternalError, psycopg2.OperationalError, psycopg2.InterfaceError),
)

# ClickHouse, src/Common/ErrorCodes.cpp. What the rows of an insert cause: cannot parse text, a quoted string, an
# input, a date, a time, a number, an array, a domain, a boolean; out of range; incorrect; too large.
ROW_CODES = {6, 26, 27, 38, 41, 69, 72, 117, 130, 131, 321, 441, 467, 645}
# What only another release, or another table, cures: no such column, function, type, table, database, setting,
# parameter or format; columns that do not match in number or type; NULL where none may be; wrong arguments; syntax.
CODE_CODES = {7, 8, 10, 16, 20, 34, 35, 36, 42, 43, 44, 46, 47, 48, 50, 53, 60, 62, 63, 70, 73, 81, 115, 122, 179, 184}
CODE_CODES |= {215, 349, 352, 386, 456, 636}


class Unwritable(ValueError):
    """A store refused these rows for what is in them."""


def is_ours(error: BaseException) -> bool:
    """Whether only another release cures it; otherwise waiting does."""
    if isinstance(error, clickhouse.DatabaseError):
        return error.code in CODE_CODES
    return not isinstance(error, AWAY)


def refuse_rows(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    """For `connection.execute_wrapper`: what PostgreSQL, or its driver, cannot take of the parameters is Unwritable.

    Nothing but the driver runs in `execute`: a ValueError is a value that cannot be sent, such as NUL.
    """
    try:
        return execute(sql, params, many, context)
    except (DataError, ValueError) as error:
        raise Unwritable(str(error)) from error
