"""The one client of ClickHouse: reads and writes of the event tables go through here."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from django.conf import settings
from pyroaring import BitMap

from sources.events.schema import Table
from sources.events.sql import Sql, from_state, join, sql
from spaces.batches import Visible
from spaces.errors import ROW_CODES, Unwritable
from spaces.faults import reach
from spaces.limits import of_statement

_local = threading.local()

WRITERS = 4  # tables that are written to at once; resolve writes to as many, and a fifth when profiles merge
BUSY_S, BUSY_BYTES = 1, 100_000_000  # what one statement takes of an engine that is not idle
SETTINGS = {
    "max_query_size": 256 * 1024 * 1024,  # one statement may carry a bitmap of millions of members as text
    "max_partitions_per_insert_block": 0,
    # A property stays what it was sent as: text that looks like a date is text …
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    # … and {"a": {"b": 1}, "a.b": 2} keeps its first value instead of failing the insert.
    "type_json_skip_duplicated_paths": 1,
}


def client() -> Client:
    """This thread's client; made at first use, and again after a fork."""
    connected: Client | None = getattr(_local, "client", None)
    if connected is None or _local.url != settings.CLICKHOUSE_URL:
        url = urlsplit(settings.CLICKHOUSE_URL)
        connected = clickhouse_connect.get_client(
            host=url.hostname,
            port=url.port or 8123,
            username=url.username or "default",
            password=url.password or "",
            database=url.path.strip("/") or "default",
            secure=url.scheme == "https",
            settings=SETTINGS,
            autogenerate_session_id=False,  # one session allows one query at a time
            autogenerate_query_id=False,
            send_receive_timeout=600,
        )
        _local.client, _local.url = connected, settings.CLICKHOUSE_URL
    return connected


def rows(query: Sql, **limits: Any) -> Sequence[Sequence[Any]]:
    """All rows of the answer. `limits`: ClickHouse settings for this statement."""
    return client().query(query.text, parameters=query.values or None, settings=_within(limits)).result_rows


def arrow(query: Sql, **limits: Any) -> pyarrow.Table:
    """The answer as an Arrow table."""
    return client().query_arrow(query.text, parameters=query.values or None, settings=_within(limits))


def bitmaps(query: Sql, **limits: Any) -> list[BitMap]:
    """The columns of a one-row answer, each a groupBitmapState over UInt32."""
    state = client().raw_query(query.text, parameters=query.values or None, settings=_within(limits), fmt="RowBinary")
    sets, at = [], 0
    while at < len(state):
        members, size = from_state(state[at:])
        sets.append(members)
        at += size
    return sets


def native(query: Sql) -> Any:
    """A stream, to be read: the rows of the answer in ClickHouse's own format, for `insert_native`."""
    return client().raw_stream(query.text, parameters=query.values or None, fmt="Native")


def insert_native(table: str, columns: Collection[str], rows: bytes) -> None:
    # Not as bytes: those the driver sends a second time when the connection breaks before the answer.
    client().raw_insert(table, list(columns), BytesIO(rows), fmt="Native")


def busy() -> bool:
    """Whether the engine works on anything that takes long or much memory. Raises when it does not answer at all."""
    heavy = f"elapsed > {BUSY_S} OR memory_usage > {BUSY_BYTES}"
    return bool(rows(Sql(f"SELECT count() FROM system.processes WHERE query_id != queryID() AND ({heavy})"))[0][0])


def _within(own: Mapping[str, Any]) -> dict[str, Any] | None:
    """A statement's own settings, and no more of anything than the workspace may take."""
    most = of_statement()
    return {**most, **own, **{name: min(most[name], own[name]) for name in most.keys() & own.keys()}} or None


def run(query: Sql) -> None:
    """Run a statement that answers nothing."""
    client().command(query.text, parameters=query.values or None)


def insert(table: Table, batch: pyarrow.Table) -> None:
    """All rows of the batch, in one insert. Raises Unwritable when what is in them is the reason.

    While they are gathered (`Gathered`) they only come to the others.
    """
    if not batch.num_rows:
        return
    gathered: Gathered | None = getattr(_local, "gathered", None)
    if gathered:
        gathered.add(table, batch)
    else:
        put(table, batch)


def put(table: Table, batch: pyarrow.Table) -> None:
    """As `insert`, but now, also while others are gathered."""
    reach(f"insert:{table.name}")
    with _refusing_rows():
        # Not as bytes: those the driver sends a second time when the connection breaks before the answer.
        client().insert_arrow(table.name, batch)


@contextmanager
def _refusing_rows() -> Iterator[None]:
    """What the store says of rows that it does not take is Unwritable."""
    try:
        yield
    except DatabaseError as error:
        if getattr(error, "code", None) in ROW_CODES:
            raise Unwritable(str(error)[:1000]) from error
        raise


class Gathered:
    """Rows of several inserts (spaces.batches.Rows), that become one insert per table."""

    def __init__(self) -> None:
        self._batches: dict[tuple[Table, pyarrow.Schema], list[pyarrow.Table]] = {}
        self.size = 0  # bytes

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """What this thread inserts inside comes to the rows."""
        _local.gathered = self
        try:
            yield
        finally:
            _local.gathered = None

    def add(self, table: Table, batch: pyarrow.Table) -> None:
        self._batches.setdefault((table, batch.schema), []).append(batch)
        self.size += batch.nbytes

    def write(self) -> None:
        """All of them are in their tables. Raises as `insert`.

        All tables at once: each insert waits for the disk, and while one is being packed here another is being
        unpacked there. When it raises, none is under way any more.
        """
        inserts = [(table, pyarrow.concat_tables(batches)) for (table, _), batches in self._batches.items()]
        if len(inserts) == 1:
            put(*inserts[0])
            return
        _wait_for([_writers().submit(put, *batch) for batch in inserts])


def run_at_once(statements: Sequence[Sql]) -> None:
    """Run statements that answer nothing, all at once. Raises as `insert`, when none is under way any more."""

    def one(statement: Sql) -> None:
        with _refusing_rows():
            run(statement)

    _wait_for([_writers().submit(one, statement) for statement in statements])


def _wait_for(running: Sequence[Future[None]]) -> None:
    """All of them are done. That a store is away counts before that it refuses rows: of these, it is known only when
    everything else went well."""
    errors = [error for future in running if (error := future.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, Unwritable)):
        raise error


@contextmanager
def at_once() -> Iterator[None]:
    """What this thread inserts inside is in its tables at the end of it, or gathered when it is being gathered."""
    if getattr(_local, "gathered", None):
        yield
        return
    together = Gathered()
    with together.gathered():
        yield
    together.write()


@cache
def _writers() -> ThreadPoolExecutor:
    """Made at first use, since no thread outlives a fork; each thread keeps its connection."""
    return ThreadPoolExecutor(WRITERS, thread_name_prefix="insert")


class Joined:
    """Inserts of several threads into one table, of which those that wait for the one under way become one."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._waiting: list[Future[None]] = []
        self._batches: list[pyarrow.Table] = []

    def insert(self, batch: pyarrow.Table, pace: Callable[[], object]) -> None:
        """As `insert`; raises what the insert of all of them raises. pace: called before each, to wait for its time."""
        mine: Future[None] = Future()
        with self._lock:
            self._waiting.append(mine)
            self._batches.append(batch)
        with self._turn:
            if not mine.done():
                pace()
                with self._lock:
                    waiting, self._waiting = self._waiting, []
                    batches, self._batches = self._batches, []
                try:
                    insert(self._table, pyarrow.concat_tables(batches))
                except Exception as error:
                    for one in waiting:
                        one.set_exception(error)
                else:
                    for one in waiting:
                        one.set_result(None)
        mine.result()


def seen(log: Visible, column: str = "piece") -> Sql:
    """The condition that a row is of this moment of the log."""
    within = sql(f"{column} <= %s", log.end)
    return within + sql(f" AND {column} NOT IN %s", list(log.abandoned)) if log.abandoned else within


def seen_by_owner(logs: Sequence[Visible], owner_column: str) -> Sql:
    """The same over several logs of one table, each with its own end; nothing when there are no logs."""
    if not logs:
        return Sql("0")
    return "(" + join(" OR ", [sql(f"({owner_column} = %s AND %s)", log.partition, seen(log)) for log in logs]) + ")"


def erase(table: Table, owner_column: str, owner: int, numbers: Sequence[int]) -> None:
    """No row of these batch numbers is left."""
    run(sql(f"DELETE FROM {table.name} WHERE {owner_column} = %s AND piece IN %s", owner, list(numbers)))
