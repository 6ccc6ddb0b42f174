"""A table in a PostgreSQL of the customer's own, or in what speaks as it does."""

from collections.abc import Sequence
from typing import Annotated

from audiences.rules.warehouse import WarehouseSettings
from destinations.rules.tables import Dialect, seconds, table_adapter
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


adapter = table_adapter(
    "postgresql",
    "PostgreSQL",
    PostgresqlTableSettings,
    DIALECT,
    credentials=(
        "CREATE ROLE personas LOGIN PASSWORD '…'; GRANT CREATE, USAGE ON SCHEMA public TO personas; or create the "
        "table yourself, and grant SELECT, INSERT, UPDATE and DELETE on it."
    ),
)
