"""What was deleted from ClickHouse's tables leaves its files, too."""

from sources.events import client
from sources.events.schema import TABLES
from sources.events.sql import Sql, sql


def compact() -> list[str]:
    """No part of an event table holds a deleted row any more. The tables that were rewritten.

    A DELETE only marks rows, so that readers skip them; only the parts that hold such rows are written anew. The old
    files go when the engine forgets them, after about eight minutes.
    """
    marked = client.rows(
        sql(
            "SELECT DISTINCT table FROM system.parts WHERE database = currentDatabase() AND active"
            " AND has_lightweight_delete AND table IN %s",
            [table.name for table in TABLES],
        )
    )
    for (table,) in marked:
        # 2 = wait for every replica: what is said to be gone must be gone everywhere.
        client.client().command(f"ALTER TABLE {table} APPLY DELETED MASK", settings={"mutations_sync": 2})
    # What the engine set aside because it was not written whole holds rows that no DELETE reaches. A day of grace,
    # for whoever has to find out what broke it.
    broken = client.rows(
        Sql(
            "SELECT table, name FROM system.detached_parts WHERE database = currentDatabase()"
            " AND reason LIKE 'broken%' AND modification_time < now() - INTERVAL 1 DAY"
        )
    )
    for table, part in broken:
        client.run(sql(f"ALTER TABLE {table} DROP DETACHED PART %s SETTINGS allow_drop_detached = 1", part))
    return [table for (table,) in marked]
