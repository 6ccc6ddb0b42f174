"""ClickHouse's engine (chdb) inside this process: its settings, its connections, and queries whose clients left."""

from __future__ import annotations

import os
import re
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from personas_site.embedded.statements import quoted, quoted_name

# The engine's defaults are for a machine of its own; ours is shared with the other stores and the site.
SERVER_SETTINGS = {
    "max_server_memory_usage_to_ram_ratio": "0.5",
    "mark_cache_size": str(256 << 20),
    "primary_index_cache_size": str(256 << 20),
    "memory_worker_period_ms": "1000",  # it measures its memory: at the default of 50 ms half of what idling costs
}
# As on a server, where a statement cannot start in the middle.
QUERY_SETTINGS = {"implicit_select": "0", "allow_introspection_functions": "0"}


class QueryRefused(Exception):
    """A statement or request is not carried out. code: ClickHouse's number for it."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text} ({name})")


class Engine:
    """The data, opened by this process alone."""

    def __init__(self, folder: Path) -> None:
        # chdb loads pyarrow if it finds it, for conversions we never ask for: 40 MB of memory.
        sys.modules.setdefault("pyarrow", None)  # type: ignore[arg-type]
        from chdb import _chdb

        os.chdir(folder.parent)  # a relative name cannot contain what a connection string gives a meaning to
        self._connect: Callable[[str], Any] = _chdb.connect  # type: ignore[attr-defined]
        self._name = folder.name
        # The engine lives as long as a connection is open, and takes its own settings from the first.
        self._root = self._connect(f"{self._name}?{urlencode(SERVER_SETTINGS | QUERY_SETTINGS)}")
        self._root_lock = threading.Lock()
        self.disconnects = Disconnects(self.kill)
        self.version = self._root.query("SELECT version()", "TSV").data().strip()

    @contextmanager
    def connection(self, settings: Mapping[str, str], database: str) -> Iterator[Any]:
        """A connection of its own, with these settings."""
        conn = self._connect(f"{self._name}?{urlencode(QUERY_SETTINGS)}")
        try:
            for name in settings:
                if not re.fullmatch(r"\w+", name):
                    raise QueryRefused(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'.")
            if settings:
                conn.query("SET " + ", ".join(f"{name} = {quoted(value)}" for name, value in settings.items()), "TSV")
            if database and database != "default":
                conn.query(f"USE {quoted_name(database)}", "TSV")
            yield conn
        finally:
            conn.close()

    def free(self) -> int:
        """Bytes that the disk has left for us."""
        status = os.statvfs(self._name)
        return status.f_bavail * status.f_frsize

    def hold(self) -> None:
        """No parts are merged any more, and none that were merged are removed, as long as the process lives."""
        with self._root_lock:
            self._root.query("SYSTEM STOP MERGES", "TSV")
            self._root.query("SYSTEM STOP CLEANUP", "TSV")

    def set_aside(self) -> list[str]:
        """The parts that it found broken when it started, by now and earlier."""
        broken = "SELECT path FROM system.detached_parts WHERE reason LIKE 'broken%' ORDER BY path"
        with self._root_lock:
            return str(self._root.query(broken, "TSV").data()).split("\n")[:-1]

    def kill(self, query_id: str) -> None:
        """The statement with this id is told to end. (The engine's own ids cannot be chosen: see `log_comment`.)"""
        with self._root_lock, suppress(RuntimeError):
            self._root.query(f"KILL QUERY WHERE Settings['log_comment'] = {quoted(query_id)} ASYNC", "TSV")


class Disconnects(threading.Thread):
    """Clients that leave while their query runs: it is ended, as a server does."""

    def __init__(self, kill: Callable[[str], None]) -> None:
        super().__init__(name="disconnects", daemon=True)
        self._kill = kill
        self._poll = select.epoll()
        self._queries: dict[int, str] = {}
        self.start()

    @contextmanager
    def watching(self, sock: socket.socket, query_id: str) -> Iterator[None]:
        self._queries[sock.fileno()] = query_id
        self._poll.register(sock.fileno(), select.EPOLLRDHUP)
        try:
            yield
        finally:
            self._poll.unregister(sock.fileno())
            self._queries.pop(sock.fileno(), None)

    def run(self) -> None:
        while True:
            with suppress(MemoryError):
                for descriptor, _ in self._poll.poll():
                    if query_id := self._queries.get(descriptor):
                        self._kill(query_id)
            time.sleep(0.1)  # then again, while they wind down: a query may have left before the engine knew it


def stream(
    conn: Any, sql: str, form: str, values: Mapping[str, str], statistics: Counter[str]
) -> Generator[bytes, None, None]:
    """The result of a SELECT as the engine makes it, counted in `statistics`. Left early, the query is ended."""
    result = conn.send_query(sql, form, params=values)
    try:
        while True:
            block = conn.streaming_fetch_result(result)
            check(block)
            rows, data = block.rows_read(), block.bytes()
            statistics.update(
                result_rows=rows,
                result_bytes=len(data),
                read_rows=block.storage_rows_read(),
                read_bytes=block.storage_bytes_read(),
            )
            if data:
                yield data
            if rows == 0:
                return
    finally:
        with suppress(RuntimeError):
            conn.streaming_cancel_query(result)


def check(result: Any) -> None:
    if result.has_error():
        raise RuntimeError(result.error_message())
