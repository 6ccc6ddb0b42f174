"""A table in a PostgreSQL of the customer's own, or in what speaks as it does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from audiences.rules.warehouse import WarehouseSettings
from destinations.rules.contract import (
    Adapter,
    Capabilities,
    DestinationRequest,
    IdentifierChange,
    PayloadComputation,
)
from destinations.rules.tables import (
    FIELD_NAMES,
    IDENTIFIERS,
    Dialect,
    TableOptions,
    column_steps,
    plan_rows,
    seconds,
    table_steps,
    test_connection,
)
from spaces.settings_schema import label, text


class PostgresqlTableSettings(WarehouseSettings, frozen=True, kw_only=True):
    port: Annotated[int, label("Port", ge=1, le=65535)] = 5432
    user: Annotated[str, text("User", help="With the right to write to the table, or to create it")]


def upsert(table: str, key: Sequence[str], columns: Sequence[str], kept: Sequence[str]) -> str:
    names = [*key, *columns, *kept]
    changed = ", ".join(
        [
            *(f"{name} = excluded.{name}" for name in columns),
            *(f"{name} = COALESCE(excluded.{name}, {table}.{name})" for name in kept),
        ]
    )
    newer = f" WHERE {table}.changed_at <= excluded.changed_at" if "changed_at" in columns else ""
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}{newer}"
    )


DIALECT = Dialect('"', "text", "text", "boolean", "timestamptz", lambda at: seconds(at, "+00"), upsert)


def plan(
    changes: Sequence[IdentifierChange],
    about: PayloadComputation,
    settings: PostgresqlTableSettings,
    options: TableOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One transaction for all."""
    return plan_rows(DIALECT, changes, about, options)


adapter = Adapter(
    kind="postgresql",
    label="PostgreSQL",
    description="Keeps a table in your database: a row for each membership, or a column of people.",
    settings=PostgresqlTableSettings,
    options=TableOptions,
    trait_options=TableOptions,
    capabilities=Capabilities(styles=("event",), batch=500, identifiers=IDENTIFIERS, fields=FIELD_NAMES),
    plan=plan,
    test=test_connection,
    transport="postgresql",
    steps=table_steps(DIALECT),
    field_steps=lambda about: column_steps(DIALECT, about),
    credentials=(
        "CREATE ROLE personas LOGIN PASSWORD '…'; GRANT CREATE, USAGE ON SCHEMA public TO personas; or create the "
        "table yourself, and grant SELECT, INSERT, UPDATE and DELETE on it."
    ),
)
