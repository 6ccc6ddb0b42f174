"""Rows of a replay that ClickHouse copies by itself (`plain`): read as short as they may be, and copied."""

from collections.abc import Iterable

import pyarrow
from pyarrow import compute

from sources.events import archive_table, client, plain
from sources.events.archive_table import Key, Reach
from sources.events.schema import PLACES, PROFILE_EVENTS, TIMELINE
from sources.events.sql import moment, sql
from sources.events.timeline import of_batch


def read_replay_texts(
    workspace_id: int, reach: Reach, after: Key | None, limit: int, paths: Iterable[plain.Path]
) -> pyarrow.Table:
    """The same rows, without what nobody needs of most of them.

    Columns: source, piece, position, ts, message_id, text, plain. plain: whether the row can be copied (`plain`); then
    its text is a message with nothing but what stands at these paths, else the whole message.
    """
    text, is_plain = plain.text(paths)
    columns = sql("source, piece, position, ts, message_id, %s AS plain, %s AS text", is_plain, text)
    return archive_table.read_replay_slice(workspace_id, reach, after, limit, columns, **plain.SETTINGS)


def copy(rows: pyarrow.Table, *, workspace_id: int, space_id: int, piece: int) -> int:
    """Plain rows of the archive (`plain`) are in the timeline and on the pages of their profiles under this batch.

    rows: columns of `places`, and the event time. Returns how many of them the archive still had. Raises Unwritable.
    """
    if not rows.num_rows:
        return 0
    # At once, also while others are gathered: what follows needs them.
    client.put(PLACES, of_batch(rows.drop_columns(["ts"]), workspace_id, space_id, piece))
    mine = sql("space = %s AND piece = %s", space_id, piece)
    bounds = compute.min_max(rows["ts"]).as_py()
    # The conditions on the archive say nothing that the join does not; they are those that its order understands.
    archived = sql(
        "archive AS a INNER JOIN (SELECT * EXCEPT (workspace, piece, space) FROM places WHERE %s) AS p"
        " ON a.source = p.source AND a.piece = p.origin_piece AND a.position = p.origin_position"
        " WHERE a.workspace = %s AND a.source IN %s AND a.ts >= %s AND a.ts <= %s",
        mine,
        workspace_id,
        compute.unique(rows["source"]).to_pylist(),
        moment(bounds["min"]),
        moment(bounds["max"]),
    )
    # `position` is the place in the batch, by which pages go on; the archive's own is `origin_position`.
    columns = "position, profile, source, origin_piece, origin_position, ts, type, event, message_id"
    values = f"p.position, p.profile, a.source, a.piece, a.position, a.ts, a.type, {plain.EVENT}, a.message_id"
    more = {TIMELINE: ("properties_text, lists", f"{plain.PROPERTIES}, '{{}}'"),
            PROFILE_EVENTS: ("identifiers, message", "p.identifiers, a.message")}  # fmt: skip
    client.run_at_once(
        [
            sql(
                f"INSERT INTO {table.name} (workspace, space, piece, {columns}, {names})"
                f" SELECT %s, %s, %s, {values}, {taken} FROM %s",
                *(workspace_id, space_id, piece, archived),
            )
            for table, (names, taken) in more.items()
        ]
    )
    # Counted by the batch's own number: what the inserts answer says nothing of rows that the archive no longer had.
    copied = sql("SELECT count() FROM timeline WHERE workspace = %s AND %s", workspace_id, mine)
    count = int(client.rows(copied)[0][0])
    client.run(sql("ALTER TABLE places DROP PARTITION (%s, %s)", space_id, piece))
    return count
