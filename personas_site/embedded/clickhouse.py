"""The embedded ClickHouse: its engine (chdb) behind ClickHouse's own HTTP interface, on loopback, in one process.

    python -m personas_site.embedded.clickhouse --home PERSONAS_HOME

Every request runs on an engine connection of its own, made in a fifth of a millisecond: its settings are SET there and
end with it, so that nothing can leak from one statement into another.
"""

from __future__ import annotations

import _thread
import argparse
import base64
import hmac
import itertools
import json
import os
import re
import socket
import sys
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn

import h11

from personas_site.embedded import http
from personas_site.embedded.engine import Engine, QueryRefused, check, stream
from personas_site.embedded.http import BadRequest, HttpConnection, QueryRequest
from personas_site.embedded.paths import PROJECT_ROOT, Paths
from personas_site.embedded.processes import Service, answers_http
from personas_site.embedded.shortage import Shortage
from personas_site.embedded.statements import (
    DataInsert,
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
OFF = ("", "0", "false")

INSERT_HEAD_MAX = 1 << 20  # bytes within which an INSERT comes to its rows
HOLD = 1 << 20  # bytes of a result kept back before the head goes out, so that a late error still gets its status
HOLD_WHOLE = 64 << 20  # the same when the client asked to wait for the end
WORTH_COMPRESSING = 1 << 10
DRAIN_MAX = 256 << 20

SUMMARY = ("read_rows", "read_bytes", "written_rows", "written_bytes", "result_rows", "result_bytes")
EXCEPTION_CODE = re.compile(r"Code: (\d+)\.")
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


class Query:
    """One request's statement, run on a connection of its own."""

    def __init__(self, engine: Engine, shortage: Shortage, request: QueryRequest, connection: HttpConnection) -> None:
        self.engine, self.shortage, self.request, self.connection = engine, shortage, request, connection
        self.params = request.params
        self.id = self.params.get("query_id") or str(uuid.uuid4())
        self.started = time.monotonic()

    def run(self) -> None:
        """The client has its result. Raises QueryRefused, RuntimeError (the engine's errors) and BadRequest."""
        body = self.request.body
        content_type = self.request.headers.get("content-type", "")
        if content_type.lower().startswith("multipart/form-data"):
            self.params.update(http.form_fields(content_type, b"".join(body)))
            body = iter(())
        if query := self.params.get("query"):
            body = itertools.chain([query.encode() + b"\n"], body)
        head = bytearray()
        for block in body:
            head += block
            if len(head) >= INSERT_HEAD_MAX:
                break
        insert = data_insert(bytes(head))
        for name in REFUSED_PARAMS & self.params.keys():
            if self.params[name] not in OFF:
                raise QueryRefused(48, "NOT_IMPLEMENTED", f"The embedded ClickHouse does not support '{name}'.")
        ours = INTERFACE_PARAMS | HARMLESS_PARAMS | REFUSED_PARAMS
        settings = {name: value for name, value in self.params.items() if name not in ours}
        if not insert:  # the engine takes parameters with its calls, except for inserts
            settings = {name: value for name, value in settings.items() if not name.startswith("param_")}
        if self.request.method in ("GET", "HEAD"):
            settings.setdefault("readonly", "2")
        settings.setdefault("log_comment", self.id)  # the engine knows no query ids: by it a statement is ended
        database = self.params.get("database") or self.request.headers.get("x-clickhouse-database", "")
        with self.engine.connection(settings, database) as conn:
            if insert:
                self._insert(conn, insert, itertools.chain([memoryview(head)[insert.data_at :]], body))
            else:
                self._execute(conn, b"".join([head, *body]))

    def fail(self, text: str) -> None:
        """The client learns what went wrong, in ClickHouse's words."""
        match = EXCEPTION_CODE.search(text)
        code = int(match[1]) if match else 1002
        headers = self._headers("TabSeparated", "") | {"X-ClickHouse-Exception-Code": str(code)}
        self.connection.respond(STATUS_OF_CODE.get(code, 500), headers, self._described(text).encode() + b"\n")

    def _insert(self, conn: Any, insert: DataInsert, blocks: Iterable[bytes | memoryview]) -> None:
        # From a file, in memory. The engine's own streams (`send_insert`) report success when a full disk, too many
        # parts or a constraint refuses the rows: they would be acknowledged, and nowhere. And nothing of a body that
        # breaks off is inserted.
        with open(os.memfd_create("insert"), "w+b") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            result = conn.query(insert.from_file(f"/proc/self/fd/{file.fileno()}"), "TSV")
            check(result)
            self._check_written()
        self._respond([], written_rows=result.rows_written(), written_bytes=result.bytes_written())

    def _execute(self, conn: Any, text: bytes) -> None:
        try:
            sql = text.decode().strip()
        except UnicodeDecodeError as error:
            raise QueryRefused(62, "SYNTAX_ERROR", f"The statement is not UTF-8: {error}") from error
        if not without_leading_comments(sql):
            raise QueryRefused(62, "SYNTAX_ERROR", "Empty query")
        if keeps_state(sql):
            advice = "keeps no state between requests: pass settings and the database with each"
            raise QueryRefused(48, "NOT_IMPLEMENTED", f"The embedded ClickHouse {advice}.")
        if re.match(r"KILL\s+QUERY\b", sql, re.I):
            sql = re.sub(r"\bquery_id\b", "Settings['log_comment']", sql)
        if ";" in sql.rstrip("; \n\t") and conn.classify_query(sql)["statement_count"] > 1:
            raise QueryRefused(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
        values = {k.removeprefix("param_"): v for k, v in self.params.items() if k.startswith("param_")}
        default = self.params.get("default_format") or self.request.headers.get("x-clickhouse-format", "TabSeparated")
        form, streamable = result_format(sql, default)
        is_select = is_query(sql)
        cancel = is_select and self.params.get("cancel_http_readonly_queries_on_client_close", "1") not in OFF
        with self.engine.disconnects.watching(self.connection.sock, self.id) if cancel else nullcontext():
            if is_select and streamable:
                statistics: Counter[str] = Counter()
                with closing(stream(conn, sql, default, values, statistics)) as blocks:
                    return self._stream(blocks, form, statistics)
            result = conn.query(sql, default, params=values)
            check(result)
        if not is_select:
            self._check_written()
        view = result.get_memview()
        self._respond(
            [view.view()] if view.size() else [],
            form,
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            result_rows=result.rows_read(),
            result_bytes=view.size(),
        )

    def _check_written(self) -> None:
        if self.shortage.since(self.started):
            text = "The disk has no room: what was to be written may not have been"
            raise QueryRefused(243, "NOT_ENOUGH_SPACE", text)

    def _stream(self, blocks: Iterator[bytes], form: str, statistics: Counter[str]) -> None:
        """Send a result as it is made: whole if it is small, else in chunks."""
        hold = HOLD_WHOLE if self.params.get("wait_end_of_query") == "1" else HOLD
        first = next(blocks, b"")
        coding = self._coding(first)
        compressed = self._compress(itertools.chain([first], blocks), coding)
        kept, size = [], 0
        for data in compressed:
            kept.append(data)
            size += len(data)
            if size > hold:
                headers = self._headers(form, coding) | {"X-ClickHouse-Exception-Tag": self._tag}
                return self.connection.respond_in_chunks(headers, itertools.chain(kept, compressed))
        self.connection.respond(200, self._headers(form, coding, **statistics), b"".join(kept))

    def _respond(self, blocks: Sequence[bytes | memoryview], form: str = "TabSeparated", **statistics: int) -> None:
        coding = self._coding(blocks[0]) if blocks else ""
        # An uncompressed result goes out as it lies in the engine's memory, not copied.
        body = b"".join(self._compress(blocks, coding)) if coding or not blocks else blocks[0]
        self.connection.respond(200, self._headers(form, coding, **statistics), body)

    def _coding(self, first: bytes | memoryview) -> str:
        """How to compress a result that starts like this: not at all if it is small, or nobody asked."""
        asked = self.params.get("enable_http_compression", "0") not in OFF
        return http.choose_coding(self.request.headers) if asked and len(first) >= WORTH_COMPRESSING else ""

    def _compress(self, blocks: Iterable[bytes | memoryview], coding: str) -> Iterator[bytes]:
        compressor = http.COMPRESSORS[coding]()
        try:
            for block in blocks:
                yield compressor.compress(block)
        except RuntimeError as error:
            if not self.connection.has_response_begun:
                raise
            # Since ClickHouse 25.11 an error that comes after the head is written into the body like this.
            tag, message = self._tag.encode(), self._described(str(error)).encode() + b"\n"
            late = b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (tag, message, len(message), tag)
            yield compressor.compress(late)
        yield compressor.flush()

    @property
    def _tag(self) -> str:
        return re.sub(r"\W", "", self.id)[:16].ljust(16, "x")

    def _described(self, text: str) -> str:
        text = text[text.index("Code: ") :] if "Code: " in text else f"Code: 1002. DB::Exception: {text}"
        return text if "(version " in text else f"{text.rstrip()} (version {self.engine.version})"

    def _headers(self, form: str, coding: str, **statistics: int) -> dict[str, str]:
        summary = {name: str(statistics.get(name, 0)) for name in SUMMARY}
        summary["elapsed_ns"] = str(int((time.monotonic() - self.started) * 1e9))
        is_text = form.startswith(("T", "JSON"))
        headers = {
            "Content-Type": "text/plain; charset=UTF-8" if is_text else "application/octet-stream",
            "X-ClickHouse-Server-Display-Name": "personas",
            "X-ClickHouse-Query-Id": self.id,
            "X-ClickHouse-Format": form,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Summary": json.dumps(summary),
        }
        return headers | ({"Content-Encoding": coding} if coding else {})


class Server:
    """Takes connections and gives each a thread: a client keeps few, and an idle one costs nothing."""

    def __init__(self, engine: Engine, token: str, listener: socket.socket) -> None:
        self.engine, self.token, self.listener = engine, token, listener
        self.shortage = Shortage(engine.free, began=engine.hold, over=start_anew)

    def serve(self) -> NoReturn:
        while True:
            try:
                sock, _ = self.listener.accept()
                try:
                    # Not a Thread, whose start waits for ever for one that had no memory to begin.
                    _thread.start_new_thread(self._converse, (sock,))
                except BaseException:
                    sock.close()
                    raise
            except (OSError, RuntimeError, MemoryError):  # no more descriptors, threads or memory
                time.sleep(0.1)  # until some have left

    def _converse(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            connection = HttpConnection(sock)
            while connection.is_reusable:
                try:
                    request = connection.read_request()
                except h11.RemoteProtocolError as error:
                    return connection.respond(error.error_status_hint, {"Connection": "close"}, f"{error}\n".encode())
                self._answer(request, connection)

    def _answer(self, request: QueryRequest, connection: HttpConnection) -> None:
        query = Query(self.engine, self.shortage, request, connection)
        try:
            is_ping = request.path in ("/ping", "/replicas_status")
            if not is_ping and request.path != "/":
                raise QueryRefused(36, "BAD_ARGUMENTS", f"There is no {request.path} here, only / and /ping.")
            if is_ping or (request.method in ("GET", "HEAD") and not request.params):
                connection.respond(200, {"Content-Type": "text/html; charset=UTF-8"}, b"Ok.\n")
            else:
                self._authenticate(request)
                query.run()
            return connection.drain(DRAIN_MAX)
        except OSError:
            raise
        except (QueryRefused, RuntimeError) as error:
            failure = str(error)
        except (BadRequest, h11.RemoteProtocolError) as error:
            failure = f"Code: 36. DB::Exception: {error}. (BAD_ARGUMENTS)"
        except Exception:
            traceback.print_exc()
            failure = "Code: 1002. DB::Exception: The embedded ClickHouse failed; its log says how. (UNKNOWN_EXCEPTION)"
        if connection.has_response_begun:
            raise ConnectionAbortedError(failure)  # the client sees that it is cut off
        # Before the answer: a client that still sends would see a broken pipe instead of it.
        connection.drain(DRAIN_MAX)
        query.fail(failure)

    def _authenticate(self, request: QueryRequest) -> None:
        """As ClickHouse: by basic authentication, in headers of its own, or in the URL."""
        headers, params = request.headers, request.params
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            except ValueError:  # of base64, or of UTF-8
                user = password = ""
        elif "x-clickhouse-user" in headers:
            user, password = headers["x-clickhouse-user"], headers.get("x-clickhouse-key", "")
        else:
            user, password = params.get("user", ""), params.get("password", "")
        if user != USER or not hmac.compare_digest(password.encode(), self.token.encode()):
            text = f"{user}: Authentication failed: password is incorrect, or there is no user with such name."
            raise QueryRefused(516, "AUTHENTICATION_FAILED", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="the folder of the embedded stores")
    paths = Paths(parser.parse_args().home)
    paths.make_home()
    try:
        # Before the data is opened. On loopback only: all that protects the interface is the token.
        listener = socket.create_server(("127.0.0.1", paths.clickhouse_port), backlog=128)
    except OSError as error:
        sys.exit(f"port {paths.clickhouse_port}: {error}; PERSONAS_CLICKHOUSE_PORT chooses another")
    engine = Engine(paths.clickhouse_data)
    server = Server(engine, paths.clickhouse_token, listener)
    threading.Thread(target=server.shortage.watch, name="shortage", daemon=True).start()
    print(f"ClickHouse {engine.version} answers on 127.0.0.1:{paths.clickhouse_port}", flush=True)
    for part in engine.set_aside():
        print(f"set aside, since it was not written whole: {part}", flush=True)
    # SIGTERM ends it at once, without closing the engine: threads that still run inside would meet a half-dismantled
    # interpreter. What was acknowledged is on disk, and the engine is made to be killed.
    server.serve()


def start_anew() -> None:
    """The supervisor starts it again. What was acknowledged is on disk."""
    print("the disk has room again: starting anew", flush=True)
    os._exit(1)


def service(paths: Paths) -> Service:
    key = base64.b64encode(f"{USER}:{paths.clickhouse_token}".encode()).decode()
    return Service(
        name="clickhouse",
        argv=[sys.executable, "-m", "personas_site.embedded.clickhouse", "--home", str(paths.home)],
        cwd=PROJECT_ROOT,
        # A statement, not /ping: the engine itself must answer.
        ready=lambda: answers_http(paths.clickhouse_port, "/?query=SELECT+1", f"Authorization: Basic {key}"),
        silent_within=60.0,
    )


if __name__ == "__main__":
    main()
