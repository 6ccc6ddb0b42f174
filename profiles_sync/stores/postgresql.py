"""PostgreSQL: a batch is a transaction."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Annotated, Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extras import execute_values
from psycopg2.sql import SQL, Composed, Identifier

from audiences.rules.warehouse import WarehouseError, WarehouseSettings
from audiences.warehouses.postgresql import connect, hung_up
from profiles_sync.rules.tables import INTEGER, LOADED, MOMENT, TEXT, SyncTable
from profiles_sync.rules.warehouse import SyncKind, TableBatch
from spaces.faults import reach
from spaces.settings_schema import label, text

LONGEST_S, CONNECTED_S = 120.0, 600.0  # a statement, and all of a batch
NEWEST = "_batches"  # a table with one row: the number of the newest batch
TYPES = {TEXT: "text", INTEGER: "bigint", MOMENT: "timestamptz"}
AT_ONCE = 1_000  # rows of a statement


class PostgresqlSyncSettings(WarehouseSettings, frozen=True, kw_only=True):
    port: Annotated[int, label("Port", ge=1, le=65535)] = 5432
    user: Annotated[str, text("User", help="With the right to create tables in the schema, and to write to them")]
    schema: Annotated[str, text("Schema", help="It is created when it is not there", max_length=60)] = "personas"


class PostgresqlWriter:
    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection, self._schema = connection, schema

    def test(self) -> None:
        self._in_one([(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(self._schema)), ())])
        # Taken back: that it may be created is all that is to be known.
        with self._connection.cursor() as cursor:
            name = Identifier(self._schema, "personas_test")
            cursor.execute(SQL("CREATE TABLE {} (id text)").format(name))
        self._connection.rollback()

    def prepare(self, table: SyncTable, columns: Sequence[str]) -> None:
        name, newest, all_columns = self._name(table), Identifier(self._schema, NEWEST), table.with_columns(columns)
        key = SQL(", ").join(map(Identifier, table.key))
        own = SQL(", ").join(
            SQL("{} {}").format(Identifier(column), SQL(TYPES[type])) for column, type in table.columns.items()
        )
        statements = [
            SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(self._schema)),
            SQL("CREATE TABLE IF NOT EXISTS {} (one boolean PRIMARY KEY, number bigint)").format(newest),
            SQL("INSERT INTO {} VALUES (true, 0) ON CONFLICT DO NOTHING").format(newest),
            SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(name, own, key),
        ]
        # Apart from the table, so that one of an older run gets what came since.
        added = [
            SQL("ADD COLUMN IF NOT EXISTS {} {}").format(Identifier(column), SQL(TYPES[type]))
            for column, type in all_columns.items()
            if column not in table.columns
        ]
        statements.append(SQL("ALTER TABLE {} {}").format(name, SQL(", ").join(added)))
        # Of those whose key begins with the owner the key itself is such an index.
        if table.owner != table.key[0]:  # what is somebody's is looked for again and again
            index = Identifier(f"{table.name[:45]}_{table.owner[:12]}")
            owner = Identifier(table.owner)
            statements.append(SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(index, name, owner))
        self._in_one([(statement, ()) for statement in statements])

    def write(self, batch: TableBatch, columns: Mapping[SyncTable, Sequence[str]]) -> None:
        with self._connection, self._connection.cursor() as cursor:
            # First, and locked: whoever slept in the middle of an older batch must not write over a newer one.
            newest = Identifier(self._schema, NEWEST)
            cursor.execute(SQL("UPDATE {} SET number = %s WHERE number < %s").format(newest), [batch.number] * 2)
            if not cursor.rowcount:
                raise WarehouseError("Somebody else has written a later batch")
            for table, owners in batch.forgotten.items():
                statement = SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(self._name(table), Identifier(table.owner))
                cursor.execute(statement, [list(owners)])
            reach("profiles_sync:writing")
            for table, rows in batch.rows.items():
                names = [*table.with_columns(columns.get(table, ()))]
                listed = SQL(", ").join(map(Identifier, names))
                changed = SQL(", ").join(
                    SQL("{0} = excluded.{0}").format(Identifier(name)) for name in names if name not in table.key
                )
                statement = SQL("INSERT INTO {} ({}) VALUES %s ON CONFLICT ({}) DO UPDATE SET {}").format(
                    self._name(table), listed, SQL(", ").join(map(Identifier, table.key)), changed
                )
                loaded = {LOADED: batch.at}
                values = [[(row | loaded).get(name) for name in names] for row in map(dict, rows)]
                # Many rows in a statement: `executemany` would make a round trip for each.
                execute_values(cursor, statement, values, page_size=AT_ONCE)

    def _name(self, table: SyncTable) -> Composed | Identifier:
        return Identifier(self._schema, table.name)

    def _in_one(self, statements: Sequence[tuple[Composed, Sequence[Any]]]) -> None:
        with self._connection, self._connection.cursor() as cursor:
            for statement, values in statements:
                cursor.execute(statement, values)


@contextmanager
def open_store(settings: PostgresqlSyncSettings) -> Iterator[PostgresqlWriter]:
    try:
        with (
            closing(connect(settings, LONGEST_S)) as connection,
            hung_up(connection, CONNECTED_S),
        ):
            yield PostgresqlWriter(connection, settings.schema)
    except psycopg2.Error as error:
        # Without the details, which quote the row: whoever reads of it may not be one who may see people.
        raise WarehouseError(str(error).partition("\nDETAIL:")[0].strip()) from error


store = SyncKind(
    label="PostgreSQL",
    description="Tables in a schema of a PostgreSQL of yours.",
    settings=PostgresqlSyncSettings,
    open=open_store,
    credentials=(
        "CREATE ROLE personas LOGIN PASSWORD '…'; CREATE SCHEMA personas AUTHORIZATION personas; or let it create the "
        "schema: GRANT CREATE ON DATABASE shop TO personas."
    ),
)
