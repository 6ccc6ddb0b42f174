"""What was deleted from ClickHouse's tables leaves its files, too."""

from sources.events import client
from sources.events.schema import TABLES
from sources.events.sql import sql


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
        client.client().command(f"ALTER TABLE {table} APPLY DELETED MASK", settings={"mutations_sync": 2})
    return [table for (table,) in marked]
