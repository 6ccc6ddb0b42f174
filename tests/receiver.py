"""A real HTTP server on loopback that behaves as it is told, and remembers what it got."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CUT = -1


@dataclass
class Reply:
    """status 0: never answers, until the test is over. CUT: it hangs up without an answer."""

    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Got:
    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`answer` may be replaced at any time; it is asked for each request, which is kept whatever it says."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answer: Callable[[Got], Reply] = lambda got: Reply()
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.place}/hook?key=inside-the-address"

    def messages(self) -> list[dict[str, Any]]:
        """Every call received, arrays taken apart, in order."""
        return [each for got in self.got for each in (got.json if isinstance(got.json, list) else [got.json])]

    def ids(self) -> list[str]:
        return [message["messageId"] for message in self.messages()]


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """Listens until the end of the block; then nobody does. port: where one listened before; 0 = any that is free."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = self.rfile.read(length)
            if len(body) < length:  # the sender died while it spoke: no server takes that for a request
                self.close_connection = True
                return
            got = Got(self.path, {name.lower(): value for name, value in self.headers.items()}, body, self.command)
            receiver.got.append(got)
            reply = receiver.answer(got)
            if reply.status == 0:
                receiver.over.wait(20)
                self.close_connection = True
                return
            if reply.status == CUT:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if "Transfer-Encoding" not in reply.headers:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

        def log_message(self, *args: Any) -> None:
            pass

    sockets: list[socket.socket] = []

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, Any]:
            connected, address = super().get_request()
            sockets.append(connected)
            return connected, address

    server = Server(("127.0.0.1", port), Handler)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        server.server_close()
        for connected in sockets:  # also those that a client keeps for its next call
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
