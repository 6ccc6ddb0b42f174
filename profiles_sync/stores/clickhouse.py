"""ClickHouse: newer rows take the place of older ones, and `FINAL` reads the newest alone.

It has no transactions over several tables. New rows come first, and only then are those marked as deleted that have
none: whoever looks in between sees people twice over, never nobody.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from audiences.rules.warehouse import WarehouseSettings
from audiences.warehouses.clickhouse import connected
from profiles_sync.rules.tables import INTEGER, LOADED, MOMENT, TEXT, SyncTable
from profiles_sync.rules.warehouse import SyncKind, TableBatch
from spaces.chunks import chunks
from spaces.faults import reach
from spaces.settings_schema import label, text

LONGEST_S = 300
TYPES = {
    TEXT: "Nullable(String)",
    INTEGER: "Nullable(Int64)",
    MOMENT: "Nullable(DateTime64(3, 'UTC'))",
}
BATCH, DELETED = "_batch", "_deleted"
OWNERS_AT_ONCE = 5_000  # ids in the text of a statement


class ClickhouseSyncSettings(WarehouseSettings, frozen=True, kw_only=True):
    port: Annotated[int, label("Port", ge=1, le=65535)] = 8443
    user: Annotated[str, text("User", help="With the right to create tables in the database, and to write to them")]


class ClickhouseWriter:
    def __init__(self, client: Client) -> None:
        self._client = client

    def test(self) -> None:
        name = quote_identifier("personas_test")
        self._client.command(f"CREATE TABLE IF NOT EXISTS {name} (id String) ENGINE = MergeTree ORDER BY id")
        self._client.command(f"DROP TABLE IF EXISTS {name}")

    def prepare(self, table: SyncTable, columns: Sequence[str]) -> None:
        name = quote_identifier(table.name)
        own = [f"{quote_identifier(column)} {_type(table, column)}" for column in table.columns]
        key = ", ".join(map(quote_identifier, table.key))
        # No index of the owner: with FINAL, granules that it skips could hold the newer row of a key.
        internal = f"{BATCH} UInt64, {DELETED} UInt8"
        engine = f"ReplacingMergeTree({BATCH}, {DELETED}) ORDER BY ({key})"
        self._client.command(f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(own)}, {internal}) ENGINE = {engine}")
        added = [
            f"ADD COLUMN IF NOT EXISTS {quote_identifier(column)} {TYPES[type]}"
            for column, type in table.with_columns(columns).items()
            if column not in table.columns
        ]
        self._client.command(f"ALTER TABLE {name} {', '.join(added)}")

    def write(self, batch: TableBatch, columns: Mapping[SyncTable, Sequence[str]]) -> None:
        internal = {BATCH: batch.number, DELETED: 0, LOADED: batch.at}
        for table, rows in batch.rows.items():
            names = [*table.with_columns(columns.get(table, ())), BATCH, DELETED]
            values = [[(row | internal).get(name) for name in names] for row in map(dict, rows)]
            self._client.insert(quote_identifier(table.name), values, column_names=names)
        reach("profiles_sync:writing")
        for table, owners in batch.forgotten.items():
            name = quote_identifier(table.name)
            listed = ", ".join(map(quote_identifier, table.columns))
            # Rows of theirs that this batch did not write. No lightweight DELETE: it would count for rows of a later
            # batch as well, and is the dearer of the two.
            statement = (
                f"INSERT INTO {name} ({listed}, {BATCH}, {DELETED})"
                f" SELECT {listed}, {batch.number}, 1 FROM {name} FINAL"
                f" WHERE {quote_identifier(table.owner)} IN %(owners)s AND {BATCH} < {batch.number}"
            )
            for part in chunks(owners, OWNERS_AT_ONCE):
                self._client.command(statement, parameters={"owners": part})


def _type(table: SyncTable, column: str) -> str:
    type = TYPES[table.columns[column]]
    # Sorting keys must not be NULL there, and these columns never are.
    is_there = column in table.key or column == table.owner
    return type.removeprefix("Nullable(").removesuffix(")") if is_there else type


@contextmanager
def open_store(settings: ClickhouseSyncSettings) -> Iterator[ClickhouseWriter]:
    limits = {"max_query_size": 16 * 1024 * 1024}
    with connected(settings, timeout_s=LONGEST_S, limits=limits, autogenerate_session_id=False) as client:
        yield ClickhouseWriter(client)


store = SyncKind(
    label="ClickHouse",
    description="Tables in a database of a ClickHouse of yours; read them with FINAL.",
    settings=ClickhouseSyncSettings,
    open=open_store,
    people=5_000,
    events=25_000,
    credentials=(
        "CREATE USER personas IDENTIFIED BY '…'; GRANT SELECT, INSERT, CREATE TABLE, DROP TABLE, ALTER ADD COLUMN ON "
        "crm.* TO personas."
    ),
    keeps=(
        "Rows that are deleted are marked at once, and with FINAL nobody reads them; they stay on the disk until you "
        "run OPTIMIZE TABLE … FINAL CLEANUP."
    ),
)
