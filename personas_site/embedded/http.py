"""HTTP/1.1 as the ClickHouse interface needs it: a request in, its body decoded as it arrives, an answer out."""

from __future__ import annotations

import re
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO, Protocol
from urllib.parse import parse_qsl, urlsplit

import lz4.frame
import zstandard

LINE_MAX = 1 << 20  # ClickHouse's own limit for a URL
HEADERS_MAX = 100
BLOCK = 1 << 18
ONE_PACKET = 1 << 16


class BadRequest(Exception):
    """What came is not HTTP, or not a body we can decode."""


class ClientGone(ConnectionError):
    """The client left before its request was complete."""


@dataclass
class Request:
    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    raw: Iterator[bytes]
    keep_alive: bool

    def body(self) -> Iterator[bytes]:
        """The body, decompressed, in pieces."""
        return decompressed(self.raw, self.headers.get("content-encoding", ""))

    def drain(self, most: int) -> bool:
        """Read what is left of the body, so that the next request can follow. False if it was more than `most`."""
        for block in self.raw:
            most -= len(block)
            if most < 0:
                return False
        return True


def read_request(rfile: BinaryIO) -> Request | None:
    """The next request of a connection, without its body. None when the client has closed."""
    line = _line(rfile)
    while line == b"\r\n":
        line = _line(rfile)
    if not line:
        return None
    words = line.decode("latin-1").split()
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest("not an HTTP/1 request")
    method, target, version = words
    headers = _headers(rfile)
    parts = urlsplit(target)
    wants = headers.get("connection", "").lower()
    return Request(
        method=method,
        path=parts.path or "/",
        params=dict(parse_qsl(parts.query, keep_blank_values=True)),
        headers=headers,
        raw=_transferred(rfile, headers),
        keep_alive=wants == "keep-alive" if version == "HTTP/1.0" else wants != "close",
    )


def _line(rfile: BinaryIO) -> bytes:
    line = rfile.readline(LINE_MAX)
    if line and not line.endswith(b"\n"):
        if len(line) == LINE_MAX:
            raise BadRequest("a line of the request is too long")
        raise ClientGone("in the head of a request")
    return line


def _headers(rfile: BinaryIO) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(HEADERS_MAX):
        line = _line(rfile).decode("latin-1").rstrip("\r\n")
        if not line:
            return headers
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    raise BadRequest("too many headers")


def _transferred(rfile: BinaryIO, headers: Mapping[str, str]) -> Iterator[bytes]:
    coding = headers.get("transfer-encoding", "").lower()
    if coding == "chunked":
        return _chunked(rfile)
    length = headers.get("content-length", "0")
    if coding or not length.isdigit():
        raise BadRequest("a body of unknown length")
    return _exactly(rfile, int(length))


def _exactly(rfile: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        block = rfile.read1(min(size, BLOCK))  # type: ignore[attr-defined]
        if not block:
            raise ClientGone("in the body of a request")
        size -= len(block)
        yield block


def _chunked(rfile: BinaryIO) -> Iterator[bytes]:
    while True:
        size = _line(rfile).split(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
            raise ClientGone("between two chunks") if not size else BadRequest("a chunk without a size")
        if int(size, 16) == 0:
            break
        yield from _exactly(rfile, int(size, 16))
        if _line(rfile) != b"\r\n":
            raise BadRequest("a chunk longer than its size")
    while _line(rfile) not in (b"\r\n", b""):
        pass


# Compressed bodies


class Decompressor(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, /) -> bytes: ...


DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
    "gzip": lambda: zlib.decompressobj(31),
    "deflate": lambda: zlib.decompressobj(15),
}


def decompressed(blocks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """The plain bytes of a body.

    A body may be several frames one after the other: clickhouse-connect sends each block as its own. Reading only the
    first frame loses the rest without an error.
    """
    if coding in ("", "identity"):
        yield from blocks
        return
    if coding not in DECOMPRESSORS:
        raise BadRequest(f"Content-Encoding {coding} is not supported")
    fresh = DECOMPRESSORS[coding]
    frame: Decompressor | None = None
    for block in blocks:
        while block:
            frame = frame or fresh()
            try:
                plain = frame.decompress(block)
            except (RuntimeError, zlib.error, zstandard.ZstdError) as error:
                raise BadRequest(f"the body is not {coding}: {error}") from error
            block = (frame.unused_data or b"") if frame.eof else b""
            frame = None if frame.eof else frame
            if plain:
                yield plain
    if frame:
        raise BadRequest(f"the body ends in the middle of its {coding} data")


class Packer(Protocol):
    def pack(self, data: bytes | memoryview) -> bytes: ...
    def end(self) -> bytes: ...


class Plain:
    def pack(self, data: bytes | memoryview) -> bytes:
        return bytes(data)

    def end(self) -> bytes:
        return b""


class Lz4:
    """One frame per answer: the client's decoder stops at the end of the first."""

    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._start = self._frame.begin()

    def pack(self, data: bytes | memoryview) -> bytes:
        start, self._start = self._start, b""
        return start + self._frame.compress(data)

    def end(self) -> bytes:
        return self._start + self._frame.flush()


class Zstd:
    def __init__(self) -> None:
        self._frame = zstandard.ZstdCompressor(level=1).compressobj()

    def pack(self, data: bytes | memoryview) -> bytes:
        return self._frame.compress(data)

    def end(self) -> bytes:
        return self._frame.flush()


class Gzip:
    def __init__(self) -> None:
        self._frame = zlib.compressobj(1, zlib.DEFLATED, 31)

    def pack(self, data: bytes | memoryview) -> bytes:
        return self._frame.compress(data)

    def end(self) -> bytes:
        return self._frame.flush()


PACKERS: dict[str, Callable[[], Packer]] = {"lz4": Lz4, "zstd": Zstd, "gzip": Gzip}


def accepted_coding(headers: Mapping[str, str]) -> str:
    """The cheapest compression the client takes, or none."""
    offered = {word.split(";")[0].strip() for word in headers.get("accept-encoding", "").split(",")}
    return next((coding for coding in PACKERS if coding in offered), "")


# Forms


def form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """The text fields of a multipart/form-data body. Raises BadRequest on a file: those are external tables."""
    boundary = re.search(r'boundary="?([^";,]+)', content_type)
    if not boundary:
        raise BadRequest("a form without a boundary")
    fields = {}
    for part in body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]*)"', head)
        if not name or b"filename=" in head:
            raise BadRequest("external tables are not supported by the embedded ClickHouse")
        fields[name[1].decode()] = value.removesuffix(b"\r\n").decode()
    return fields


# Answers


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    # A name that the client chose, such as a query's id, must not end its header.
    return "".join(re.sub(r"[\r\n]", " ", line) + "\r\n" for line in [*lines, ""]).encode("latin-1", "replace")


def send(sock: socket.socket, status: int, headers: Mapping[str, str], body: bytes | memoryview, *, bare: bool) -> None:
    """Send a whole answer. Head and body go in one packet: in two, each small query waits 40 ms for the client's ACK.

    bare: send the head alone, as for HEAD.
    """
    start = head(status, {**headers, "Content-Length": str(len(body))})
    if bare:
        sock.sendall(start)
    elif len(body) < ONE_PACKET:
        sock.sendall(start + bytes(body))
    else:
        sock.sendall(start)
        sock.sendall(body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST_CHUNK = b"0\r\n\r\n"
