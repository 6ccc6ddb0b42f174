"""Between a client and the console: it answers the first request that carries events with 503, as an overload would."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

QUIET_S = 3.5
HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


class Proxy(ThreadingHTTPServer):
    """refused: how many requests were. asked_at: when the last of all came."""

    def __init__(self, behind: str, *, refuses: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind, self.refuses = urlsplit(behind), refuses
        self.refused = 0
        self.asked_at = time.monotonic()
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def is_quiet(self) -> bool:
        """Whether nothing has come for longer than any client waits before it tries again."""
        return time.monotonic() - self.asked_at > QUIET_S

    def takes(self) -> bool:
        """Whether the next request with events goes on."""
        with self.lock:
            if self.refused < self.refuses:
                self.refused += 1
                return False
            return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.startswith("/v1/m") and not self.server.takes():
            self.server.asked_at = time.monotonic()
            origin = {"Access-Control-Allow-Origin": self.headers["Origin"]} if "Origin" in self.headers else {}
            more = {"Access-Control-Allow-Credentials": "true", "Access-Control-Expose-Headers": "Retry-After"}
            text = json.dumps({"success": False, "code": "unavailable", "message": "later"}).encode()
            return self._say(503, {"Retry-After": "1", "Content-Type": "application/json"} | origin | more, text)
        return self._pass_on(body)

    def do_GET(self) -> None:
        if self.path.startswith("/v1/pixel"):
            self.server.takes()
        self._pass_on(None)

    do_OPTIONS = do_GET

    def _pass_on(self, body: bytes | None) -> None:
        self.server.asked_at = time.monotonic()
        behind = http.client.HTTPConnection(self.server.behind.hostname or "", self.server.behind.port, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        try:
            behind.request(self.command, self.path, body, headers)
            answer = behind.getresponse()
            content = answer.read()
        finally:
            behind.close()
        self._say(answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in HOP}, content)

    def _say(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def proxy(behind: str, *, refuses: int) -> Iterator[Proxy]:
    """refuses: how many of the first requests with events."""
    server = Proxy(behind, refuses=refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
