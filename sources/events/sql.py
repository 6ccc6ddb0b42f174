"""PURE. A piece of ClickHouse SQL with its values apart, so that a value never becomes text by hand.

`%s` stands for a value; a literal per cent sign is `%%`. Whoever runs it renders the values (events.client). Sets of
numbers go there and back as the state of a groupBitmap, which is a Roaring bitmap in a frame of ClickHouse's.
"""

import struct
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pyroaring import BitMap

from spaces.times import milliseconds

SMALL = 32  # up to so many members ClickHouse writes them one by one (AggregateFunctionGroupBitmapData.h)


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
    # Counted here: the driver would say that something is missing, and not where.
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


def not_replaced(replaced: Iterable[tuple[int, Sequence[int]]], column: str) -> Sql:
    """` AND …`: a row is none that a later batch has written anew (spaces.batches.Visible). column: its key."""
    return join("", [sql(f" AND NOT (piece < %s AND {column} IN %s)", number, list(keys)) for number, keys in replaced])


def moment(at: datetime) -> Sql:
    """A moment as a DateTime64(3): milliseconds, by truncation."""
    return sql("fromUnixTimestamp64Milli(toInt64(%s), 'UTC')", milliseconds(at))


def bitmap(members: BitMap) -> Sql:
    """A set of 32-bit numbers as an AggregateFunction(groupBitmap, UInt32) value."""
    # In base64: the state's bytes are no text, and values are sent as text.
    state = b64encode(to_state(members)).decode()
    return sql("CAST(base64Decode(%s) AS AggregateFunction(groupBitmap, UInt32))", state)


def to_state(members: BitMap) -> bytes:
    """As RowBinary carries it: 0, count, little-endian values; or 1, varint size, portable Roaring bytes."""
    if len(members) <= SMALL:
        return bytes([0, len(members)]) + struct.pack(f"<{len(members)}I", *members)
    body = members.serialize()
    head, rest = bytearray(b"\x01"), len(body)
    while rest >= 0x80:  # seven bits a byte, the lowest first; the highest bit says that more follow
        head.append(rest & 0x7F | 0x80)
        rest >>= 7
    head.append(rest)
    return bytes(head) + body


def from_state(state: bytes) -> tuple[BitMap, int]:
    """The members, and how many bytes the state took of `state`."""
    if state[0] == 0:
        end = 2 + 4 * state[1]
        return BitMap(struct.unpack(f"<{state[1]}I", state[2:end])), end
    size, start = state[1] & 0x7F, 2
    while state[start - 1] & 0x80:
        size |= (state[start] & 0x7F) << 7 * (start - 1)
        start += 1
    return BitMap.deserialize(state[start : start + size]), start + size
