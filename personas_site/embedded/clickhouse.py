"""The embedded ClickHouse: its engine (chdb) behind ClickHouse's own HTTP interface, on loopback, in one process.

    python -m personas_site.embedded.clickhouse --home PERSONAS_HOME

Every request runs on an engine connection of its own, made in a fifth of a millisecond: its settings are SET there and
end with it, so that nothing can leak from one statement into another.
"""

from __future__ import annotations

import _thread
import argparse
import base64
import binascii
import errno
import hmac
import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

from personas_site.embedded import http
from personas_site.embedded.engine import Engine, Leavers, Refused, check, pieces_of
from personas_site.embedded.http import BadRequest, Request
from personas_site.embedded.paths import PROJECT_ROOT, Paths
from personas_site.embedded.processes import Service
from personas_site.embedded.shortage import Shortage
from personas_site.embedded.statements import (
    DataInsert,
    Undecided,
    data_insert,
    is_query,
    keeps_state,
    result_format,
    without_leading_comments,
)

USER = "personas"
# Parameters of the HTTP interface itself. Every other one is a setting of the engine.
INTERFACE_PARAMS = {"query", "user", "password", "database", "default_format", "query_id", "wait_end_of_query"}
# Accepted without effect, as they change nothing here: the answer's head is sent when the result is known, results are
# buffered anyway, and sessions keep no state (a statement that relies on one is refused).
HARMLESS_PARAMS = {
    *("session_id", "session_timeout", "session_check", "close_session", "quota_key", "stacktrace", "buffer_size"),
    *("client_protocol_version", "send_progress_in_http_headers", "http_headers_progress_interval_ms"),
    *("enable_http_compression", "http_zlib_compression_level", "cancel_http_readonly_queries_on_client_close"),
}
# Those that ask for something we do not have, unless they ask for nothing.
REFUSED_PARAMS = {"compress", "decompress", "role"}

HOLD = 1 << 20  # bytes of a result kept back before the head goes out, so that a late error still gets its status
HOLD_WHOLE = 64 << 20  # the same when the client asked to wait for the end
WORTH_PACKING = 1 << 10
DRAIN_MAX = 256 << 20
IDLE_TIMEOUT = 600.0
STALL_TIMEOUT = 120.0
STOP_WITHIN = 3.0
SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED}
ENDING = {signal.SIGTERM, signal.SIGINT}

CODE_OF = re.compile(r"Code: (\d+)\.")
STATUS_OF_CODE = {
    **dict.fromkeys((6, 16, 26, 27, 33, 36, 38, 41, 43, 53, 57, 62, 69, 70, 72, 117, 130, 131, 386, 456, 457), 400),
    **dict.fromkeys((194,), 401),
    **dict.fromkeys((192, 193, 497, 516), 403),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 81, 115, 123), 404),
    **dict.fromkeys((159,), 408),
    **dict.fromkeys((307, 396), 413),
    **dict.fromkeys((48,), 501),
    **dict.fromkeys((202, 209, 439), 503),
}


class Statement:
    """One request's statement, and how it goes back to the client."""

    def __init__(self, server: Server, request: Request, sock: socket.socket) -> None:
        self.server, self.request, self.sock = server, request, sock
        self.params = request.params
        self.query_id = self.params.get("query_id") or str(uuid.uuid4())
        self.sent = False  # whether the answer has begun
        self.started = time.monotonic()

    def run(self) -> None:
        blocks = self._merge_form() or self.request.body()
        query = self.params.get("query", "")
        if query:
            blocks = itertools.chain([query.encode() + b"\n"], blocks)
        insert, first, rest = _split(blocks)
        settings = self._settings(insert is not None)
        with self.server.engine.connection(settings, self._database()) as conn:
            if insert:
                self._insert(conn, insert, itertools.chain([first], rest))
            else:
                self._execute(conn, self._sql(first))

    def _merge_form(self) -> Iterator[bytes] | None:
        kind = self.request.headers.get("content-type", "")
        if not kind.lower().startswith("multipart/form-data"):
            return None
        self.params.update(http.form_fields(kind, b"".join(self.request.body())))
        return iter(())

    def _database(self) -> str:
        return self.params.get("database") or self.request.headers.get("x-clickhouse-database", "")

    def _settings(self, is_insert: bool) -> dict[str, str]:
        for name in REFUSED_PARAMS & self.params.keys():
            if self.params[name] not in ("", "0", "false"):
                raise Refused(48, "NOT_IMPLEMENTED", f"The embedded ClickHouse does not support '{name}'.")
        ours = INTERFACE_PARAMS | HARMLESS_PARAMS | REFUSED_PARAMS
        settings = {k: v for k, v in self.params.items() if k not in ours and not k.startswith("param_")}
        if is_insert:  # the engine takes parameters with its calls, except for inserts
            settings |= {k: v for k, v in self.params.items() if k.startswith("param_")}
        if self.request.method in ("GET", "HEAD"):
            settings.setdefault("readonly", "2")
        settings.setdefault("log_comment", self.query_id)
        return settings

    def _sql(self, text: bytes) -> str:
        try:
            sql = text.decode().strip()
        except UnicodeDecodeError as error:
            raise Refused(62, "SYNTAX_ERROR", f"The statement is not UTF-8: {error}") from error
        if not without_leading_comments(sql):
            raise Refused(62, "SYNTAX_ERROR", "Empty query")
        if keeps_state(sql):
            advice = "keeps no state between requests: pass settings and the database with each"
            raise Refused(48, "NOT_IMPLEMENTED", f"The embedded ClickHouse {advice}.")
        if re.match(r"KILL\s+QUERY\b", sql, re.I):
            return re.sub(r"\bquery_id\b", "Settings['log_comment']", sql)
        return sql

    # Inserts

    def _insert(self, conn: Any, insert: DataInsert, blocks: Iterable[bytes]) -> None:
        # From a file, in memory. The engine's own streams (`send_insert`) say that all is well when a full disk, too
        # many parts or a constraint refuses the rows: they would be acknowledged, and nowhere. And nothing of a body
        # that breaks off is inserted.
        with open(os.memfd_create("insert"), "w+b") as rows:
            for block in blocks:
                rows.write(block)
            rows.flush()
            done = conn.query(insert.from_file(f"/proc/self/fd/{rows.fileno()}"), "TSV")
            check(done)
            self._check_written()
        self._reply(b"", written_rows=done.rows_written(), written_bytes=done.bytes_written())

    # Everything else

    def _execute(self, conn: Any, sql: str) -> None:
        if ";" in sql.rstrip("; \n\t") and conn.classify_query(sql)["statement_count"] > 1:
            raise Refused(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
        values = {k.removeprefix("param_"): v for k, v in self.params.items() if k.startswith("param_")}
        default = self.params.get("default_format") or self.request.headers.get("x-clickhouse-format", "TabSeparated")
        form, streamable = result_format(sql, default)
        query = is_query(sql)
        cancel = query and self.params.get("cancel_http_readonly_queries_on_client_close", "1") not in ("0", "false")
        with self.server.leavers.watching(self.sock, self.query_id) if cancel else nullcontext():
            if query and streamable:
                figures: Counter[str] = Counter()
                with closing(pieces_of(conn, sql, default, values, figures)) as pieces:
                    return self._stream(pieces, form, figures)
            result = conn.query(sql, default, params=values)
            check(result)
        if not query:
            self._check_written()
        view = result.get_memview()
        self._reply(
            view.view() if view.size() else b"",
            form,
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            result_rows=result.rows_read(),
            result_bytes=view.size(),
        )

    def _stream(self, pieces: Iterator[bytes], form: str, figures: Counter[str]) -> None:
        """Send a result as it is made: whole if it is small, else in chunks."""
        hold = HOLD_WHOLE if self.params.get("wait_end_of_query") == "1" else HOLD
        first = next(pieces, b"")
        coding, packer = self._packer(first)
        held = [packer.pack(first)]
        size = len(held[0])
        for piece in pieces:
            held.append(packer.pack(piece))
            size += len(held[-1])
            if size > hold:
                return self._send_chunks(itertools.chain(held, self._rest(pieces, packer)), form, coding)
        held.append(packer.end())
        self._answer(200, b"".join(held), self._headers(form, coding, **figures))

    def _rest(self, pieces: Iterable[bytes], packer: http.Packer) -> Iterator[bytes]:
        try:
            for piece in pieces:
                yield packer.pack(piece)
        except RuntimeError as error:
            yield packer.pack(_late_error(self.query_id, self._described(str(error))))
        yield packer.end()

    def _send_chunks(self, packed: Iterable[bytes], form: str, coding: str) -> None:
        headers = self._headers(form, coding) | {"Transfer-Encoding": "chunked"}
        headers["X-ClickHouse-Exception-Tag"] = _tag(self.query_id)
        self.sent = True
        self.sock.sendall(http.head(200, headers))
        for data in packed:
            self.sock.sendall(http.chunk(data))
        self.sock.sendall(http.LAST_CHUNK)

    def _check_written(self) -> None:
        if self.server.shortage.since(self.started):
            text = "The disk has no room: what was to be written may not have been"
            raise Refused(243, "NOT_ENOUGH_SPACE", text)

    # Answers

    def _packer(self, first: bytes | memoryview) -> tuple[str, http.Packer]:
        """How to compress an answer that starts like this: not at all if it is small, or nobody asked."""
        asked = self.params.get("enable_http_compression", "0") not in ("", "0", "false")
        coding = http.accepted_coding(self.request.headers) if asked and len(first) >= WORTH_PACKING else ""
        return coding, http.PACKERS[coding]() if coding else http.Plain()

    def _reply(self, body: bytes | memoryview, form: str = "TabSeparated", **figures: int) -> None:
        coding, packer = self._packer(body)
        if coding:
            body = packer.pack(body) + packer.end()
        self._answer(200, body, self._headers(form, coding, **figures))

    def fail(self, text: str) -> None:
        """The client learns what went wrong, in ClickHouse's words."""
        found = CODE_OF.search(text)
        code = int(found[1]) if found else 1002
        body = self._described(text).encode() + b"\n"
        headers = self._headers("TabSeparated", "") | {"X-ClickHouse-Exception-Code": str(code)}
        self._answer(STATUS_OF_CODE.get(code, 500), body, headers)

    def _described(self, text: str) -> str:
        text = text[text.index("Code: ") :] if "Code: " in text else f"Code: 1002. DB::Exception: {text}"
        return text if "(version " in text else f"{text.rstrip()} (version {self.server.engine.version})"

    def _headers(self, form: str, coding: str, **figures: int) -> dict[str, str]:
        names = ("read_rows", "read_bytes", "written_rows", "written_bytes", "result_rows", "result_bytes")
        summary = {name: str(figures.get(name, 0)) for name in names}
        summary["elapsed_ns"] = str(int((time.monotonic() - self.started) * 1e9))
        headers = {
            "Content-Type": "text/plain; charset=UTF-8"
            if form.startswith(("T", "JSON"))
            else "application/octet-stream",
            "X-ClickHouse-Server-Display-Name": "personas",
            "X-ClickHouse-Query-Id": self.query_id,
            "X-ClickHouse-Format": form,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Summary": json.dumps(summary),
        }
        return headers | ({"Content-Encoding": coding} if coding else {})

    def _answer(self, status: int, body: bytes | memoryview, headers: dict[str, str]) -> None:
        self.sent = True
        http.send(self.sock, status, headers, body, bare=self.request.method == "HEAD")


def _split(blocks: Iterator[bytes]) -> tuple[DataInsert | None, bytes, Iterator[bytes]]:
    """The insert a body starts with, the first of its data, and the rest to come; or None and the whole statement."""
    text = b""
    for block in blocks:
        text += block
        try:
            insert = data_insert(text, whole=False)
        except Undecided:
            continue
        if insert:
            return insert, text[insert.data_at :], blocks
        return None, text + b"".join(blocks), iter(())
    insert = data_insert(text, whole=True)
    return insert, text[insert.data_at :] if insert else text, iter(())


def _tag(query_id: str) -> str:
    return query_id.replace("-", "")[:16].ljust(16, "x")


def _late_error(query_id: str, text: str) -> bytes:
    """How an error that comes after the head is written into the body, since ClickHouse 25.11."""
    tag, message = _tag(query_id).encode(), text.encode() + b"\n"
    return b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (tag, message, len(message), tag)


class Server:
    """Takes connections and gives each a thread: a client keeps few, and an idle one costs nothing."""

    def __init__(self, engine: Engine, token: str, listener: socket.socket) -> None:
        self.engine, self.listener = engine, listener
        self.leavers = Leavers(engine)
        self.shortage = Shortage(engine.free, began=engine.hold, over=start_anew)
        self._token = token
        self.closing = False
        self._running = 0
        self._changed = threading.Condition()

    def serve(self) -> None:
        while True:
            try:
                self._begin(self.listener.accept()[0])
            except (OSError, RuntimeError, MemoryError) as error:  # no more descriptors, threads or memory
                if self.closing:
                    return
                if isinstance(error, OSError) and error.errno not in SHORT:
                    raise
                time.sleep(0.1)  # until some have left

    def _begin(self, sock: socket.socket) -> None:
        try:
            # Not a Thread, whose start waits for ever for one that had no memory to begin.
            _thread.start_new_thread(self._converse, (sock,))
        except BaseException:
            sock.close()
            raise

    def settle(self, within: float) -> bool:
        """Wait for the running statements. True if all have ended."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, timeout=within)

    def _converse(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock, sock.makefile("rb", buffering=http.BLOCK) as rfile, suppress(OSError):
            while self._one_request(sock, rfile):
                pass

    def _one_request(self, sock: socket.socket, rfile: Any) -> bool:
        """Answer one request. False when the connection is of no more use."""
        sock.settimeout(IDLE_TIMEOUT)
        try:
            request = http.read_request(rfile)
        except BadRequest as error:
            http.send(sock, 400, {"Connection": "close"}, f"{error}\n".encode(), bare=False)
            return False
        if request is None:
            return False
        sock.settimeout(STALL_TIMEOUT)
        if request.headers.get("expect", "").lower() == "100-continue":
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        with self._changed:
            self._running += 1
        try:
            return self._respond(request, sock)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _respond(self, request: Request, sock: socket.socket) -> bool:
        statement = Statement(self, request, sock)
        failure = ""
        try:
            if self._is_probe(request):
                http.send(
                    sock, 200, {"Content-Type": "text/html; charset=UTF-8"}, b"Ok.\n", bare=request.method == "HEAD"
                )
            else:
                self._authenticate(request)
                statement.run()
        except (Refused, RuntimeError) as error:
            failure = str(error)
        except BadRequest as error:
            failure = f"Code: 36. DB::Exception: {error}. (BAD_ARGUMENTS)"
        except OSError:
            return False
        except Exception:
            traceback.print_exc()
            failure = "Code: 1002. DB::Exception: The embedded ClickHouse failed; its log says how. (UNKNOWN_EXCEPTION)"
        if statement.sent and failure:
            return False
        # Before the answer: a client that still sends would see a broken pipe instead of it.
        complete = request.drain(DRAIN_MAX)
        if failure:
            statement.fail(failure)
        return request.keep_alive and complete

    def _is_probe(self, request: Request) -> bool:
        if request.path in ("/ping", "/replicas_status"):
            return True
        if request.path != "/":
            raise Refused(36, "BAD_ARGUMENTS", f"There is no {request.path} here, only / and /ping.")
        return request.method in ("GET", "HEAD") and not request.params

    def _authenticate(self, request: Request) -> None:
        user, password = _credentials(request)
        known = hmac.compare_digest(password.encode(), self._token.encode())
        if user != USER or not known:
            text = f"{user}: Authentication failed: password is incorrect, or there is no user with such name."
            raise Refused(516, "AUTHENTICATION_FAILED", text)


def _credentials(request: Request) -> tuple[str, str]:
    headers, params = request.headers, request.params
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    if "x-clickhouse-user" in headers:
        return headers["x-clickhouse-user"], headers.get("x-clickhouse-key", "")
    return params.get("user", ""), params.get("password", "")


# The process


def listen(port: int) -> socket.socket:
    """Loopback only: the interface has one user, and any local process could reach it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="the folder of the embedded stores")
    paths = Paths(parser.parse_args(arguments).home)
    paths.make_home()
    try:
        listener = listen(paths.clickhouse_port)  # before the data is opened
    except OSError as error:
        print(f"port {paths.clickhouse_port}: {error}; PERSONAS_CLICKHOUSE_PORT chooses another", file=sys.stderr)
        return 1
    # Blocked here and so in every thread to come, the engine's too: no signal is lost between two calls of ours.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    engine = Engine(paths.clickhouse_data)
    server = Server(engine, paths.clickhouse_token, listener)
    threading.Thread(target=server.serve, name="accept", daemon=True).start()
    threading.Thread(target=server.shortage.watch, name="shortage", daemon=True).start()
    print(f"ClickHouse {engine.version} answers on 127.0.0.1:{paths.clickhouse_port}", flush=True)
    for part in engine.set_aside():
        print(f"set aside, since it was not written whole: {part}", flush=True)
    signal.sigwait(ENDING)
    server.closing = True
    listener.shutdown(socket.SHUT_RDWR)
    if server.settle(STOP_WITHIN):
        engine.close()
    # Not a normal exit: threads that still run inside the engine would meet a half-dismantled interpreter. What was
    # acknowledged is on disk; the engine is made to be killed.
    sys.stdout.flush()
    os._exit(0)


def start_anew() -> None:
    """The supervisor starts it again. What was acknowledged is on disk: the engine is made to be killed."""
    print("the disk has room again: starting anew", flush=True)
    os._exit(1)


# For the supervisor


def service(paths: Paths) -> Service:
    return Service(
        name="clickhouse",
        argv=[sys.executable, "-m", "personas_site.embedded.clickhouse", "--home", str(paths.home)],
        cwd=PROJECT_ROOT,
        ready=lambda: answers(paths),
        silent_within=60.0,
    )


def answers(paths: Paths) -> bool:
    """Whether the engine answers a statement, whatever it says."""
    key = base64.b64encode(f"{USER}:{paths.clickhouse_token}".encode()).decode()
    ask = f"GET /?query=SELECT+1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {key}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", paths.clickhouse_port), timeout=5) as probe:
            probe.sendall(ask.encode())
            return probe.recv(16).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
