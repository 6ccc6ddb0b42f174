"""ClickHouse's tables are brought, step by step, to what the code needs; what is something else is refused.

A migration is a file `migrations/<number>_<name>.py` with `apply(run, engine)`. Which have been applied is written in
ClickHouse itself, so that a store that was restored or moved says what it holds. There is no transaction around one:
every statement of it can be run again, since one that was interrupted is begun anew.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from django.conf import settings

from sources.events import client, migrations
from sources.events.schema import TABLES
from sources.events.sql import Sql, sql

Rows = Sequence[Sequence[Any]]
Run = Callable[[str], Rows]  # runs one statement and waits until it is done on every replica; its rows, if any
WAITING = {"alter_sync": 2, "mutations_sync": 2}
# Any other engine merges rows of equal keys into one: they would be lost.
ENGINES = {"MergeTree", "ReplicatedMergeTree", "SharedMergeTree"}


class SchemaError(Exception):
    """The store is not one that this code can work with. The message is one sentence that says why."""


@dataclass(frozen=True)
class Migration:
    name: str  # 0001_tables
    apply: Callable[[Run, str], None]


def known() -> list[Migration]:
    """All migrations of this code, in their order."""
    names = sorted(module.name for module in iter_modules(migrations.__path__))
    return [Migration(name, import_module(f"{migrations.__name__}.{name}").apply) for name in names]


def migrate(run: Run | None = None) -> list[str]:
    """Every event table is as the code needs it. The names of the migrations that had not been applied before.

    One at a time: the caller holds a lock. Raises SchemaError; nothing is changed in a store that is newer than the
    code.
    """
    if settings.CLICKHOUSE_ENGINE.partition("(")[0].strip() not in ENGINES:
        raise SchemaError(f"CLICKHOUSE_ENGINE is {settings.CLICKHOUSE_ENGINE!r}, none of {', '.join(sorted(ENGINES))}.")
    done = applied()
    pending = [migration for migration in known() if migration.name not in done]
    apply(pending, run)
    check()
    return [migration.name for migration in pending]


def apply(pending: Iterable[Migration], run: Run | None = None) -> None:
    """These have been applied, one after the other."""
    run = run or _run
    run(
        "CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime DEFAULT now())"
        f" ENGINE = {settings.CLICKHOUSE_ENGINE} ORDER BY name"
    )
    for migration in pending:
        migration.apply(run, settings.CLICKHOUSE_ENGINE)
        # Afterwards: one that was interrupted is begun anew, and every statement of it can be run again.
        client.run(sql("INSERT INTO schema_migrations (name) VALUES (%s)", migration.name))


def check() -> None:
    """Raises SchemaError when the tables are not what the code needs, or not all migrations have been applied."""
    done = applied()
    pending = [migration.name for migration in known() if migration.name not in done]
    # What a pending migration would mend is not worth a word of its own.
    differences = [f"{name} has not been applied" for name in pending] or _differences()
    if differences:
        raise SchemaError(f"ClickHouse's tables are not what this release needs: {'; '.join(differences)}.")


def applied() -> set[str]:
    """The names of those that have been. Raises SchemaError when there is one that this code does not know."""
    exists = client.rows(Sql("EXISTS TABLE schema_migrations"))[0][0]
    done = {name for (name,) in client.rows(Sql("SELECT name FROM schema_migrations"))} if exists else set()
    newer = sorted(done - {migration.name for migration in known()})
    if newer:
        raise SchemaError(
            f"ClickHouse's tables were made by a newer release of Personas ({newer[-1]}): start that one, or restore"
            " the store from before it."
        )
    return done


def _differences() -> list[str]:
    """What of the declared tables is missing or other than declared. Columns that only the store has do no harm."""
    tables = {
        name: (engine, order, partition)
        for name, engine, order, partition in client.rows(
            Sql("SELECT name, engine, sorting_key, partition_key FROM system.tables WHERE database = currentDatabase()")
        )
    }
    columns = {
        (table, column): type
        for table, column, type in client.rows(
            Sql(
                "SELECT table, name, trimRight(concat(type, ' ', default_kind)) FROM system.columns"
                " WHERE database = currentDatabase()"
            )
        )
    }
    differences = []
    for table in TABLES:
        if table.name not in tables:
            differences.append(f"the table {table.name} is missing")
            continue
        engine, order, partition = tables[table.name]
        if engine not in ENGINES:
            differences.append(f"{table.name} has the engine {engine}, which is none of {', '.join(sorted(ENGINES))}")
        if order != table.order:
            differences.append(f"{table.name} is ordered by ({order}), not ({table.order})")
        if partition != table.partition:
            differences.append(f"{table.name} is partitioned by ({partition}), not ({table.partition})")
        for name, type in table.columns.items():
            actual = columns.get((table.name, name))
            if actual is None:
                differences.append(f"{table.name} has no column {name}")
            elif actual != type:
                differences.append(f"{table.name}.{name} is {actual}, not {type}")
    return differences


def _run(statement: str) -> Rows:
    return client.client().query(statement, settings=WAITING).result_rows
