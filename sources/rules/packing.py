"""PURE. Bodies while they wait in the inbox: packed, since PostgreSQL takes ten times as long for what is not.

LZ4 takes some 20 microseconds for 50 kB of JSON, in a process that has the body anyway. PostgreSQL's own compression
takes a millisecond, after it has read the body as text of twice the length.
"""

from typing import Any

import lz4.block

WORTH_IT = 1024  # bytes: shorter ones are kept as they are


def pack(body: bytes) -> tuple[bytes, int | None]:
    """What is to be kept, and the length of the body; None when it is kept as it is."""
    if len(body) < WORTH_IT:
        return body, None
    packed = lz4.block.compress(body, store_size=False)
    return (packed, len(body)) if len(packed) < len(body) else (body, None)


def unpack(kept: Any, length: int | None) -> bytes:
    """The body, of what `pack` answered."""
    return bytes(kept) if length is None else lz4.block.decompress(kept, uncompressed_size=length)
