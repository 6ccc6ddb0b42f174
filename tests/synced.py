"""Warehouses that profiles are synced to, and what a reader finds in them, by the rules of the documentation."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pyarrow
from pyarrow import parquet

from profiles_sync.rules.tables import table_of
from profiles_sync.stores import postgresql as postgresql_store
from sources.events import client
from sources.events.sql import Sql, sql
from tests import stores, warehouses

INTERNAL = {"uuid_ts", "_batch", "_deleted"}
Rows = set[frozenset[tuple[str, Any]]]
Tables = dict[str, Rows]


@dataclass
class Target:
    """A kind of warehouse. settings(name): of one of its own, empty. tables(name): what is in it, by table; without
    columns that are empty, and without the moment of loading."""

    kind: str
    place: str
    settings: Callable[[str], dict[str, Any]]
    tables: Callable[[str], Tables]
    raw: Callable[[str], list[tuple[Any, ...]]]  # a query, as the customer asks it


def _rows(names: list[str], rows: list[Any]) -> Rows:
    said = [
        frozenset(
            (name, value) for name, value in zip(names, row, strict=True) if name not in INTERNAL and value is not None
        )
        for row in rows
    ]
    assert len(set(said)) == len(said), "nothing is there twice"
    return set(said)


@contextmanager
def postgresql() -> Iterator[Target]:
    with warehouses.postgresql("synced") as place:

        def raw(query: str) -> list[tuple[Any, ...]]:
            return stores.queried(place, query)

        def tables(schema: str) -> Tables:
            found = {}
            columns = "SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position)"
            where = f"FROM information_schema.columns WHERE table_schema = '{schema}' GROUP BY table_name"
            for table, names in raw(f"{columns} {where}"):
                if table == postgresql_store.NEWEST:
                    continue
                found[table] = _rows(names, raw(f'SELECT {", ".join(map(quoted, names))} FROM "{schema}"."{table}"'))
            return found

        yield Target(
            "postgresql", f"{place['host']}:{place['port']}", lambda name: place | {"schema": name}, tables, raw
        )


def quoted(name: str) -> str:
    return f'"{name}"'


@contextmanager
def clickhouse() -> Iterator[Target]:
    place = warehouses.clickhouse()
    databases = []

    def settings(name: str) -> dict[str, Any]:
        databases.append(name)
        client.run(Sql(f"CREATE DATABASE IF NOT EXISTS {name}"))
        return place | {"database": name}

    def raw(query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in client.rows(Sql(query))]

    def tables(database: str) -> Tables:
        found = {}
        for (table,) in client.rows(sql("SELECT name FROM system.tables WHERE database = %s", database)):
            where = sql("database = %s AND table = %s ORDER BY position", database, table)
            names = [name for (name,) in client.rows(sql("SELECT name FROM system.columns WHERE %s", where))]
            listed = ", ".join(f"`{name}`" for name in names)
            found[table] = _rows(names, client.rows(Sql(f"SELECT {listed} FROM {database}.`{table}` FINAL")))
        return found

    try:
        yield Target("clickhouse", f"{place['host']}:{place['port']}", settings, tables, raw)
    finally:
        for name in databases:
            client.run(Sql(f"DROP DATABASE IF EXISTS {name}"))


@contextmanager
def s3() -> Iterator[Target]:
    with stores.s3() as store:
        endpoint = store.settings["endpoint"]
        keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "secret-key"}
        bucket = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1", **keys).Bucket("people")

        def tables(prefix: str) -> Tables:
            files: dict[str, list[dict[str, Any]]] = {}
            for file in bucket.objects.filter(Prefix=f"{prefix}/"):
                if file.key.endswith(".parquet"):
                    rows: pyarrow.Table = parquet.read_table(io.BytesIO(file.get()["Body"].read()))
                    files.setdefault(file.key.split("/")[1], []).extend(rows.to_pylist())
            commits = files.pop("_commits", [])
            counting = {commit["_batch"] for commit in commits}
            return {name: _counting(name, rows, commits, counting) for name, rows in files.items()}

        yield Target("s3", store.places[0], lambda name: store.settings | {"prefix": name}, tables, lambda query: [])


def _counting(name: str, rows: list[dict[str, Any]], commits: list[dict[str, Any]], counting: set[int]) -> Rows:
    table = table_of(name)
    forgotten: dict[str, int] = {}
    for commit in commits:
        if commit["table"] == name:
            forgotten[commit["segment_id"]] = max(commit["_batch"], forgotten.get(commit["segment_id"], 0))
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["_batch"]):
        if row["_batch"] in counting:
            newest[tuple(row[column] for column in table.key)] = row
    left = [row for row in newest.values() if row["_batch"] >= forgotten.get(row[table.owner], 0)]
    return set().union(*(_rows([*row], [row.values()]) for row in left)) if left else set()


TARGETS = {"postgresql": postgresql, "clickhouse": clickhouse, "s3": s3}
