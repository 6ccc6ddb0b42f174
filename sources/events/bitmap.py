"""PURE. Roaring bitmaps between Python and ClickHouse's groupBitmapState over UInt32 (foundations §6)."""

import struct
from base64 import b64encode

from pyroaring import BitMap

SMALL = 32  # up to so many members ClickHouse writes them one by one


def to_clickhouse(members: BitMap) -> str:
    """The state's bytes in base64, for `CAST(base64Decode(…) AS AggregateFunction(groupBitmap, UInt32))`."""
    return b64encode(to_state(members)).decode()


def to_state(members: BitMap) -> bytes:
    """As RowBinary carries it: 0, count, little-endian values; or 1, varint size, portable Roaring bytes."""
    if len(members) <= SMALL:
        return bytes([0, len(members)]) + struct.pack(f"<{len(members)}I", *members)
    body = members.serialize()
    return b"\x01" + _varint(len(body)) + body


def from_state(state: bytes) -> tuple[BitMap, int]:
    """The members, and how many bytes the state took of `state`."""
    if state[0] == 0:
        end = 2 + 4 * state[1]
        return BitMap(struct.unpack(f"<{state[1]}I", state[2:end])), end
    size, start = _read_varint(state, 1)
    return BitMap.deserialize(state[start : start + size]), start + size


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
