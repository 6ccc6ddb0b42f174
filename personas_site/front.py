"""The front of the web process: it reads the body of a request, with deadlines, before a thread takes the request.

An ASGI application around Django's WSGI one. The event loop reads the body, a thread of the lane runs the request,
then the event loop sends the response: a thread never waits for a client. A request that its lane cannot start in
time gets 503 and Retry-After. `/livez` needs no thread. (docs/decisions/0017-lanes.md)
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache, partial
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from access.gate import view_class
from personas_site.bodies import Body, BodyRoom, Gone, NoRoom, Receive, TooSlow
from personas_site.errors import unserved
from personas_site.lanes import THREADS, Busy, Lane
from personas_site.requests import RESOLVED, Utf8Request
from sources.collect import is_collect, workspace_of
from spaces.lanes import COLLECT, CONSOLE, QUERIES

logger = logging.getLogger(__name__)

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], HttpResponseBase]
Headers = Iterable[tuple[str, str]]
Message = dict[str, Any]  # of ASGI
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, Headers, IO[bytes]]

ANSWER_IN_MEMORY = 1024 * 1024
ANSWER_PART = 64 * 1024
TAKEN_WITHIN_S = 30.0  # for the client to take one part of a response
BUSY = "The service is busy. Try again."
SLOW = "The body took too long."
FAILED = "Something went wrong on our side. It is in the log; please try again."
COOKIE = "HTTP_COOKIE"
CSV_ASKED = b"format=csv"  # access.pages.tables
LIVE_HEADERS = (("Content-Type", "text/plain"), ("Cache-Control", "no-store"))


class Front:
    """wsgi: the application that answers, in a thread of the lane that `lane_of` names."""

    def __init__(self, wsgi: Wsgi, lane_of: Callable[[Message], str]) -> None:
        self._wsgi, self._lane_of = wsgi, lane_of
        self._lanes = {name: Lane(name, threads) for name, threads in THREADS.items()}
        self._room = BodyRoom()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/livez" and scope["method"] in ("GET", "HEAD"):
            await _send(send, 200, LIVE_HEADERS, BytesIO(b"ok"))
            return
        body = Body(self._room)
        try:
            await body.read(receive)
            name, environ = self._lane_of(scope), environ_of(scope, body)
            workspace = workspace_of(environ) if name == COLLECT else None
            answer = await self._lanes[name].run(partial(_run, self._wsgi, environ), workspace)
        except Gone:
            return
        except TooSlow:
            answer = _unserved(scope, 408, SLOW)
        except (NoRoom, Busy):
            answer = _unserved(scope, 503, BUSY)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            answer = _unserved(scope, 500, FAILED)
        finally:
            body.drop()
        await _send(send, *answer)


def lane_of(scope: Message) -> str:
    """The lane that the view at this address is marked with (spaces.lanes); an export is a query wherever it is."""
    if is_collect(scope["path"]):
        return COLLECT
    try:
        match = resolve(scope["path"])
    except Resolver404:
        return CONSOLE
    scope[RESOLVED] = scope["path"], match
    view = match.func
    if CSV_ASKED in scope["query_string"]:
        return QUERIES
    lanes: dict[str, str] = getattr(view, "lanes", None) or getattr(view_class(view), "lanes", {})
    return lanes.get(scope["method"]) or lanes.get("", CONSOLE)


def environ_of(scope: Message, body: Body) -> dict[str, Any]:
    """The request as WSGI knows it (PEP 3333). Its body has a length, even when it came in chunks."""
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": scope["server"][0],
        "SERVER_PORT": str(scope["server"][1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body.file(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if RESOLVED in scope:
        environ[RESOLVED] = scope[RESOLVED]
    for raw_name, raw_value in scope["headers"]:
        if key := _key_of(raw_name):
            value = raw_value.decode("latin-1")
            environ[key] = f"{environ[key]}{'; ' if key == COOKIE else ','}{value}" if key in environ else value
    if body.length or scope["method"] in ("POST", "PUT", "PATCH"):
        environ["CONTENT_LENGTH"] = str(body.length)
    return environ


@lru_cache(maxsize=1024)  # a client may send names that no other does
def _key_of(raw_name: bytes) -> str:
    """The key of a header in the environ; "" for a header that is left out."""
    name = raw_name.decode("latin-1").upper()
    if "_" in name or name in ("CONTENT-LENGTH", "TRANSFER-ENCODING"):
        # With an underscore, `X_Forwarded_Proto` of a client would pass for the proxy's `X-Forwarded-Proto`.
        return ""
    return "CONTENT_TYPE" if name == "CONTENT-TYPE" else f"HTTP_{name.replace('-', '_')}"


def _run(wsgi: Wsgi, environ: dict[str, Any]) -> Answer:
    """The complete response. Raises what the application raises."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        started[:] = [int(status[:3]), headers]

    parts = wsgi(environ, start_response)
    try:
        # Read to its end here: a slow client then occupies the event loop's socket and no thread.
        content = _buffered(parts)
    finally:
        parts.close()  # sends request_finished, on which Django closes unusable connections
    return started[0], started[1], content


def _buffered(parts: HttpResponseBase) -> IO[bytes]:
    """The body of the response, in memory up to ANSWER_IN_MEMORY bytes and in a file beyond. The caller closes it."""
    if not parts.streaming and len(content := parts.content) <= ANSWER_IN_MEMORY:  # type: ignore[attr-defined]
        return BytesIO(content)
    file = SpooledTemporaryFile(ANSWER_IN_MEMORY)  # noqa: SIM115
    file.writelines(parts)
    file.seek(0)
    return file


def _unserved(scope: Message, status: int, message: str) -> Answer:
    """The error in the format of the address (JSON or a page), with the CORS headers for the origin that asked."""
    origin = b",".join(value for name, value in scope["headers"] if name == b"origin")
    headers, content = _unserved_answer(scope["raw_path"], origin, status, message)
    return status, headers, BytesIO(content)


@lru_cache(maxsize=256)  # under overload there may be thousands of these a second
def _unserved_answer(raw_path: bytes, origin: bytes, status: int, message: str) -> tuple[Headers, bytes]:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": unquote_to_bytes(raw_path).decode("latin-1"),
        "wsgi.input": BytesIO(),
    }
    if origin:
        environ["HTTP_ORIGIN"] = origin.decode("latin-1")
    answer = unserved(Utf8Request(environ), status, message)
    return tuple(answer.items()), answer.content


async def _send(send: Send, status: int, headers: Headers, content: IO[bytes]) -> None:
    """The response is sent and `content` closed. Raises TimeoutError when the client does not take a part in time."""
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    with content:
        await send({"type": "http.response.start", "status": status, "headers": raw})
        part = content.read(ANSWER_PART)
        while more := len(part) == ANSWER_PART:
            async with asyncio.timeout(TAKEN_WITHIN_S):
                await send({"type": "http.response.body", "body": part, "more_body": more})
            part = content.read(ANSWER_PART)
        await send({"type": "http.response.body", "body": part})
