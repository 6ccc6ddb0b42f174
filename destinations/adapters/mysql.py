"""A table in a MySQL or MariaDB of the customer's own."""

from collections.abc import Sequence
from typing import Annotated

from audiences.rules.warehouse import WarehouseSettings
from destinations.rules.tables import Dialect, seconds, table_adapter
from spaces.settings_schema import label, text

# Compared byte by byte: to other collations u1 and U1 are one person. 255 characters are what an index takes of two.
KEY = "varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"


class MysqlTableSettings(WarehouseSettings, frozen=True, kw_only=True):
    port: Annotated[int, label("Port", ge=1, le=65535)] = 3306
    user: Annotated[str, text("User", help="With the right to write to the table, or to create it")]


def upsert(table: str, key: Sequence[str], columns: Sequence[str], kept: Sequence[str]) -> str:
    names = [*key, *columns, *kept]
    new = {name: f"COALESCE(VALUES({name}), {name})" for name in kept} | {name: f"VALUES({name})" for name in columns}
    if "changed_at" in columns:
        new = {name: f"IF(VALUES(changed_at) >= changed_at, {value}, {name})" for name, value in new.items()}
        new["changed_at"] = new.pop("changed_at")  # the last: each column is compared with what it was before
    changed = ", ".join(f"{name} = {value}" for name, value in new.items())
    values = ", ".join(["%s"] * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values}) ON DUPLICATE KEY UPDATE {changed}"


DIALECT = Dialect("`", KEY, "text", "boolean", "datetime(3)", lambda at: seconds(at, ""), upsert)


adapter = table_adapter(
    "mysql",
    "MySQL or MariaDB",
    MysqlTableSettings,
    DIALECT,
    credentials=(
        "CREATE USER personas IDENTIFIED BY '…'; GRANT CREATE, ALTER, SELECT, INSERT, UPDATE, DELETE ON crm.* TO "
        "personas. CREATE and ALTER are needed only while the table, or its column, is not there."
    ),
)
