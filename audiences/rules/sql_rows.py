"""PURE. What the rows of a SQL trait's query mean: whom each is about, and what is said of them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from spaces.times import iso

ID_COLUMNS = ("user_id", "email", "anonymous_id")  # whom a row is about: the first of these that there is
MOST_COLUMNS = 25  # spec/segment.md §7, as the next two
LONGEST_ROW = 16 * 1024  # bytes
LONGEST_NAME = 200


class RowsError(ValueError):
    """The query's answer cannot be used: why, for whoever wrote it."""


@dataclass(frozen=True)
class RowShape:
    """id: the column that says whom a row is about. traits: the names of the others."""

    names: Sequence[str]
    id: str

    @property
    def traits(self) -> list[str]:
        return [name for name in self.names if name != self.id]

    def identifier(self, row: Sequence[Any], number: int) -> str:
        """As identifiers are stored. number: of the row, from 1. Raises RowsError."""
        value = row[self.names.index(self.id)]
        text = str(plain(value)).strip() if value is not None else ""
        if not text:
            raise RowsError(f"Row {number} has no {self.id}")
        # As archive stores addresses.
        return text.lower() if self.id == "email" else text

    def values(self, row: Sequence[Any]) -> dict[str, Any]:
        """{trait: value}, None where there is none."""
        return {name: plain(value) for name, value in zip(self.names, row, strict=True) if name != self.id}


def shape(columns: Sequence[str]) -> RowShape:
    """Raises RowsError when rows of these columns cannot be used."""
    ids = [name for name in ID_COLUMNS if name in columns]
    if not ids:
        raise RowsError(
            f"No column says whom a row is about: one must be called {', '.join(ID_COLUMNS[:-1])} or {ID_COLUMNS[-1]}"
        )
    # Which of them a row were about would be a guess.
    if {"user_id", "anonymous_id"} <= {*ids}:
        raise RowsError("There must not be both a column user_id and a column anonymous_id")
    if len(columns) < 2:
        raise RowsError(f"Beside {ids[0]} there must be at least one column, which is a trait")
    if len(columns) > MOST_COLUMNS:
        raise RowsError(f"There are {len(columns)} columns, and at most {MOST_COLUMNS} are allowed")
    if len({*columns}) < len(columns):
        raise RowsError("Two columns have the same name")
    if wrong := [name for name in columns if not name or len(name) > LONGEST_NAME or "\0" in name]:
        raise RowsError(f"A column cannot be called {wrong[0][:LONGEST_NAME]!r}")
    return RowShape(columns, ids[0])


def plain(value: Any) -> Any:
    """The value as JSON has it: dates as ISO text, decimals as numbers. What has no such form is text."""
    if value is None or isinstance(value, bool | int | str):
        return value.replace("\0", "") if isinstance(value, str) else value
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return iso(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode(errors="replace").replace("\0", "")
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in value]
    return str(value.total_seconds()) if isinstance(value, timedelta) else str(value)


def digest(values: Mapping[str, Any]) -> bytes:
    """The same for the same values."""
    # Kept instead of the values: sixteen bytes of each person are enough to see that something has changed.
    return blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=16).digest()


def held(vanished: int, before: int, most_nulled: int) -> str:
    """Why a run must not go on by itself, or "". vanished: of those who had values `before`. most_nulled: per cent."""
    if not vanished or vanished * 100 <= before * most_nulled:
        return ""
    return (
        f"{vanished:,} of {before:,} people are no longer in the answer, and would lose their values. That is more "
        f"than {most_nulled} %. Nothing was changed."
    )
