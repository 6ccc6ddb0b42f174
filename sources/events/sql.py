"""PURE. A piece of ClickHouse SQL with its values apart, so that a value never becomes text by hand.

`%s` stands for a value; a literal per cent sign is `%%`. Whoever runs it renders the values (events.client).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pyroaring import BitMap

from sources.events.bitmap import to_clickhouse
from spaces.times import milliseconds


@dataclass(frozen=True)
class Sql:
    """Text with `%s` placeholders, and the values for them in order (text, numbers, tuples or lists of these)."""

    text: str
    values: tuple[object, ...] = ()

    def __add__(self, other: "Sql | str") -> "Sql":
        other = Sql(other) if isinstance(other, str) else other
        return Sql(self.text + other.text, self.values + other.values)

    def __radd__(self, other: str) -> "Sql":
        return Sql(other) + self


def sql(text: str, *values: object) -> Sql:
    """The text with each `%s` taken by one value; a value that is itself a Sql is spliced in."""
    parts = text.split("%s")
    if len(parts) != len(values) + 1:
        raise ValueError(f"{len(parts) - 1} places for {len(values)} values: {text}")
    out = Sql(parts[0])
    for value, part in zip(values, parts[1:], strict=True):
        out += (value if isinstance(value, Sql) else Sql("%s", (value,))) + part
    return out


def join(separator: str, parts: Iterable[Sql]) -> Sql:
    """The parts with the separator's text between them."""
    out = Sql("")
    for index, part in enumerate(parts):
        out += (separator + part) if index else part
    return out


def moment(at: datetime) -> Sql:
    """A moment as a DateTime64(3): milliseconds, by truncation."""
    return sql("fromUnixTimestamp64Milli(toInt64(%s), 'UTC')", milliseconds(at))


def bitmap(members: BitMap) -> Sql:
    """A set of 32-bit numbers as an AggregateFunction(groupBitmap, UInt32) value."""
    return sql("CAST(base64Decode(%s) AS AggregateFunction(groupBitmap, UInt32))", to_clickhouse(members))
