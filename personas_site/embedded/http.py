"""HTTP as the ClickHouse interface needs it: requests in, bodies decompressed as they arrive, responses out.

The framing is h11's, which httpx brings along; sockets, compression and forms are handled here.
"""

from __future__ import annotations

import email.policy
import re
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl

import h11
import lz4.frame
import zstandard

HEAD_MAX = 1 << 20  # bytes: ClickHouse's own limit for a URL
BLOCK = 1 << 18
ONE_PACKET = 1 << 16
IDLE_TIMEOUT = 600.0
STALL_TIMEOUT = 120.0


class BadRequest(Exception):
    """The body cannot be decoded."""


@dataclass
class QueryRequest:
    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: Iterator[bytes]  # decompressed


class HttpConnection:
    """One client's connection. OSError: it has left, or takes nothing any more."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._framing = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
        self._method = ""

    def read_request(self) -> QueryRequest:
        """The next request, its body still to come. Raises h11.RemoteProtocolError."""
        if self._framing.our_state is h11.DONE:
            self._framing.start_next_cycle()
        self.sock.settimeout(IDLE_TIMEOUT)
        head = self._next_event()
        assert isinstance(head, h11.Request)
        self.sock.settimeout(STALL_TIMEOUT)
        self._method = head.method.decode()
        path, _, query = head.target.decode("latin-1").partition("?")
        params = dict(parse_qsl(query, keep_blank_values=True))
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        body = decompress(self._read_body(), headers.get("content-encoding", ""))
        return QueryRequest(self._method, path, params, headers, body)

    def drain(self, limit: int) -> None:
        """The rest of the body is read, so that the next request can follow, unless it is more than `limit` bytes."""
        with suppress(h11.RemoteProtocolError):  # then this connection is not reusable
            for block in self._read_body():
                limit -= len(block)
                if limit < 0:
                    return

    def respond(self, status: int, headers: Mapping[str, str], body: bytes | memoryview = b"") -> None:
        """Send a whole response."""
        head = self._head(status, {**headers, "Content-Length": str(len(body))})
        if self._method == "HEAD":
            body = b""
        end = self._framing.send_with_data_passthrough(h11.Data(data=body)) or []  # type: ignore[arg-type]
        self._framing.send(h11.EndOfMessage())
        # Head and body leave in one packet: in two, each small query waits 40 ms for the client's ACK.
        if len(body) < ONE_PACKET:
            self.sock.sendall(b"".join([head, *end]))
        else:
            for data in (head, *end):
                self.sock.sendall(data)

    def respond_in_chunks(self, headers: Mapping[str, str], blocks: Iterable[bytes]) -> None:
        """Send a response whose length is not known when it begins."""
        self.sock.sendall(self._head(200, headers))
        for block in blocks:
            self.sock.sendall(self._framing.send(h11.Data(data=block)) or b"")
        self.sock.sendall(self._framing.send(h11.EndOfMessage()) or b"")

    @property
    def has_response_begun(self) -> bool:
        return self._framing.our_state not in (h11.IDLE, h11.SEND_RESPONSE)

    @property
    def is_reusable(self) -> bool:
        """A request may come: both sides are done with the one before, and neither asked to close."""
        return self._framing.our_state is self._framing.their_state and self._framing.our_state in (h11.IDLE, h11.DONE)

    def _read_body(self) -> Iterator[bytes]:
        while self._framing.their_state is h11.SEND_BODY:
            event = self._next_event()
            if isinstance(event, h11.Data):
                yield event.data

    def _next_event(self) -> object:
        while (event := self._framing.next_event()) is h11.NEED_DATA:
            if self._framing.they_are_waiting_for_100_continue:
                self.sock.sendall(self._framing.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            received = self.sock.recv(BLOCK)
            if not received:
                raise ConnectionResetError("the client has left")
            self._framing.receive_data(received)
        return event

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        # A value that the client chose, such as a query's id, must not end its header.
        fields = [(name, re.sub(r"[^\x20-\x7e]", " ", value).strip()) for name, value in headers.items()]
        response = h11.Response(status_code=status, headers=fields, reason=HTTPStatus(status).phrase.encode())
        return self._framing.send(response) or b""


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


def decompress(blocks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """The plain bytes of a body. Raises BadRequest."""
    if coding in ("", "identity"):
        yield from blocks
        return
    if coding not in DECOMPRESSORS:
        raise BadRequest(f"Content-Encoding {coding} is not supported")
    frame: Decompressor | None = None
    for block in blocks:
        # clickhouse-connect sends each block as a frame of its own. Reading only the first frame of a body loses the
        # rest without an error.
        while block:
            frame = frame or DECOMPRESSORS[coding]()
            try:
                plain = frame.decompress(block)
            except (RuntimeError, zlib.error, zstandard.ZstdError) as error:
                raise BadRequest(f"the body is not {coding}: {error}") from error
            block, frame = (frame.unused_data or b"", None) if frame.eof else (b"", frame)
            if plain:
                yield plain
    if frame:
        raise BadRequest(f"the body ends in the middle of its {coding} data")


class Compressor(Protocol):
    def compress(self, data: bytes | memoryview, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Uncompressed:
    def compress(self, data: bytes | memoryview, /) -> bytes:
        return bytes(data)

    def flush(self) -> bytes:
        return b""


class Lz4Frame(lz4.frame.LZ4FrameCompressor):
    """One frame for each response: the client's decoder stops at the end of the first."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        start = b"" if self.started() else self.begin()
        return bytes(start + super().compress(data))


# The cheapest first.
COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "lz4": Lz4Frame,
    "zstd": lambda: zstandard.ZstdCompressor(level=1).compressobj(),
    "gzip": lambda: zlib.compressobj(1, zlib.DEFLATED, 31),
    "": Uncompressed,
}


def choose_coding(headers: Mapping[str, str]) -> str:
    """The cheapest compression that the client accepts; empty for none."""
    accepted = {word.split(";")[0].strip() for word in headers.get("accept-encoding", "").split(",")}
    return next((coding for coding in COMPRESSORS if coding in accepted), "")


def form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """The text fields of a multipart/form-data body. Raises BadRequest on a file: those are external tables."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    fields = {}
    for part in message_from_bytes(head + body, policy=email.policy.HTTP).iter_parts():
        disposition = part["Content-Disposition"]
        if part.get_filename() is not None or disposition is None or "name" not in disposition.params:
            raise BadRequest("external tables are not supported by the embedded ClickHouse")
        value = part.get_payload(decode=True)
        assert isinstance(value, bytes)
        fields[disposition.params["name"]] = value.decode()
    return fields
