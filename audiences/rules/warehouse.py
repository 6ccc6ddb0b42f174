"""PURE. What a kind of warehouse is: a database of the customer's own, of which one question is asked at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from spaces.settings_schema import SettingsDeclaration, label, secret, text

TLS_HELP = "verify: encrypted, and the certificate must be right. encrypt: any certificate. off: in clear"


class WarehouseError(Exception):
    """The warehouse gave no answer: its own words, without secrets."""


@dataclass(frozen=True)
class QueryResult:
    """The names of the columns, and the rows as they come."""

    columns: Sequence[str]
    rows: Iterator[Sequence[Any]]


class WarehouseSettings(SettingsDeclaration, frozen=True, kw_only=True):
    """What each kind needs."""

    host: Annotated[str, text("Host", place=True)]
    port: Annotated[int, label("Port", ge=1, le=65535)]
    database: Annotated[str, text("Database")]
    user: Annotated[str, text("User", help="Give it the right to read what the queries need, and no other")]
    password: Annotated[str, secret("Password")] = ""
    tls: Annotated[Literal["verify", "encrypt", "off"], label("TLS", help=TLS_HELP)] = "verify"


@dataclass(frozen=True)
class WarehouseKind:
    """One kind. ask(settings, query, timeout_s) -> the result, while the block lasts.

    The query is one SELECT that is ready to be sent. Nothing may be written, and it ends after `timeout_s`. Raises
    WarehouseError, with the database's own words, also while the rows are read, and spaces.outbound.OutboundError.
    """

    label: str
    settings: type[WarehouseSettings]
    ask: Callable[[Any, str, float], AbstractContextManager[QueryResult]]


def only_rows(query: str, most: int) -> str:
    """The query as one that gives at most so many rows, and that cannot be several statements by mistake."""
    return f"SELECT * FROM (\n{query.strip().rstrip(';').rstrip()}\n) AS personas LIMIT {most}"
