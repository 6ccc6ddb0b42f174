"""The archive: every event as received, in numbered batches per source. Written once, read in two orders.

*Log order* is (source, piece, position), for what is live. *Event order* is (ts, source, piece, position), for a
replay. Both readers go on from a place, so a reader that stops anywhere can be taken up by another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy
import pyarrow
from pyarrow import compute

from sources.events import client
from sources.events.schema import ARCHIVE
from sources.events.sql import Sql, join, moment, sql
from spaces.batches import Visible
from spaces.times import milliseconds

WHOLE_PIECE = 2**32 - 1  # a position after every row of a batch
PARTS = (64, 8, 1)  # how much of the time that is left is looked through for the end of a slice, one after another
AT_ONCE = 1_000  # places that one statement asks for
LOOKED_AT = 5_000  # how many of the newest rows, and of the newest batches, a look at them may touch
BEGINNING = (0, -1)  # before the first row of any source
COLUMNS = "source, piece, position, ts, received_at, type, event, message_id, message"
ALL = Sql(COLUMNS)
EVENT_ORDER = "ts, source, piece, position"
MILLISECONDS = pyarrow.timestamp("ms", tz="UTC")


class ArchivedRow(NamedTuple):
    """One event to archive. Times in milliseconds since 1970; `message` is JSON text in UTF-8."""

    ts: int
    received_at: int
    type: str
    event: str
    message_id: str
    message: bytes


@dataclass(frozen=True)
class LogPlace:
    """How far a live reader has come in the log of one source: every row up to (piece, position) is done.

    `position` is WHOLE_PIECE when nothing of the batch is left.
    """

    log: Visible
    piece: int
    position: int

    @property
    def has_more(self) -> bool:
        """Whether there may be rows after this place. False is certain."""
        return self.log.end > self.piece or (self.log.end == self.piece and self.position < WHOLE_PIECE)


RowPlace = tuple[int, int]  # a row in the log of one source: (piece, position)
Key = tuple[int, int, int, int]  # a place in event order: (ts in milliseconds, source, piece, position)


class Region(NamedTuple):
    """Rows of one source: in its log after `after` and up to `upto`, from `since` on, in event order up to `key`.

    since: ms since 1970. Its bounds are of both orders, since a live reader follows the one and a replay the other.
    """

    source: int
    after: RowPlace
    upto: RowPlace
    since: int
    key: Key | None  # None = all


@dataclass(frozen=True)
class Reach:
    """What a replay covers: of each source the log up to its cut-off, and event times in [since, until].

    consumed: what is left out, since the space has it already.
    """

    logs: tuple[Visible, ...]
    since: datetime
    until: datetime
    consumed: tuple[Region, ...] = ()


def up_to(log: Visible, cutoff: int) -> Visible:
    """The log as it was when its end was `cutoff`."""
    return replace(log, end=min(cutoff, log.end))


def insert(*, workspace_id: int, source_id: int, piece: int, rows: Sequence[ArchivedRow]) -> None:
    """The rows are in the archive under this batch, numbered from 0 in their order."""
    count = len(rows)
    # By columns, in their own types: the store takes these as they lie, and parses no text.
    columns = {
        "workspace": _same(workspace_id, count, pyarrow.uint32()),
        "source": _same(source_id, count, pyarrow.uint32()),
        "piece": _same(piece, count, pyarrow.uint64()),
        "position": pyarrow.array(numpy.arange(count, dtype=numpy.uint32)),
        "ts": pyarrow.array([row.ts for row in rows], MILLISECONDS),
        "received_at": pyarrow.array([row.received_at for row in rows], MILLISECONDS),
        "type": pyarrow.array([row.type for row in rows], pyarrow.string()),
        "event": pyarrow.array([row.event for row in rows], pyarrow.string()),
        "message_id": pyarrow.array([row.message_id for row in rows], pyarrow.string()),
        "message": pyarrow.array([row.message for row in rows], pyarrow.binary()),
    }
    client.insert(ARCHIVE, pyarrow.table(columns))


def read_live(workspace_id: int, places: Sequence[LogPlace], limit: int) -> tuple[pyarrow.Table, list[LogPlace]]:
    """At most about `limit` rows after these places, and the places after them.

    Columns: source, piece, position, ts, received_at, type, event, message_id, message. Each source's rows are in
    its log order; sources are interleaved by receipt and share the limit evenly, so that none waits behind another.
    The places also move over batches that hold no row (all of it doubled), so they may move when no row comes.
    """
    open_places = [place for place in places if place.has_more]
    if not open_places:
        return _nothing(), list(places)
    share = max(1, limit // len(open_places))
    newer = f"(SELECT {COLUMNS} FROM archive WHERE %s ORDER BY piece, position LIMIT %s)"
    # One more than asked for, to know whether a source has come to its end.
    parts = [sql(newer, _is_after(workspace_id, place), share + 1) for place in open_places]
    rows = client.arrow(sql("SELECT * FROM (%s)", join(" UNION ALL ", parts)))
    taken, moved = [], {}
    for place in open_places:
        mine = rows.filter(compute.equal(rows["source"], place.log.partition))
        # UNION ALL keeps no order, not even inside of its parts.
        mine = mine.sort_by([("piece", "ascending"), ("position", "ascending")])
        if mine.num_rows > share:
            mine = mine.slice(0, share)
            end = replace(place, piece=mine["piece"][-1].as_py(), position=mine["position"][-1].as_py())
        else:
            end = replace(place, piece=place.log.end, position=WHOLE_PIECE)
        taken.append(mine)
        moved[place.log.partition] = end
    return _interleaved(taken), [moved.get(place.log.partition, place) for place in places]


def count_live(workspace_id: int, places: Sequence[LogPlace]) -> int:
    """How many rows are after these places."""
    parts = [_is_after(workspace_id, place) for place in places if place.has_more]
    return _count(join(" OR ", [sql("(%s)", part) for part in parts])) if parts else 0


def count_range(workspace_id: int, reach: Reach) -> int:
    """How many rows a replay of this reach has."""
    return _count(_within(workspace_id, reach))


def count_by_source(workspace_id: int, reach: Reach) -> dict[int, int]:
    """How many rows of this reach each source has; a source with none is not in it."""
    asked = sql("SELECT source, count() FROM archive WHERE %s GROUP BY source", _within(workspace_id, reach))
    return {int(source): int(count) for source, count in client.rows(asked)}


def count_by_day(workspace_id: int, reach: Reach, zone: str) -> dict[date, int]:
    """How many rows of this reach each day of this time zone has, by event time; a day with none is not in it."""
    within = _within(workspace_id, reach)
    asked = sql("SELECT toDate(ts, %s) AS day, count() FROM archive WHERE %s GROUP BY day", zone, within)
    return {day: int(count) for day, count in client.rows(asked)}


def read_newest(
    workspace_id: int,
    log: Visible,
    limit: int,
    *,
    after: RowPlace = BEGINNING,
    before: RowPlace | None = None,
    types: Sequence[str] = (),
    wanted: str = "",
) -> tuple[pyarrow.Table, RowPlace]:
    """At most `limit` rows of a source, newest first, among the newest 5,000 before `before`; and how far it looked.

    Columns as of `read_live`. after, before: only rows between these places, both left out. wanted: text in the
    message, in small or capital letters. Every row from the second answer on was looked at. Never a walk over the
    whole archive: how far back it looks is settled beforehand.
    """
    top = min(before[0], log.end) if before else log.end
    # Batches may hold no row at all (all of them doubled), so the number of rows alone would bound nothing.
    oldest_piece = max(top - LOOKED_AT, after[0])
    newer = _of_source(workspace_id, log, before)
    newer += sql(" AND piece >= %s AND (piece > %s OR position > %s)", oldest_piece, *after)
    in_order = "ORDER BY piece DESC, position DESC LIMIT"
    edge = client.rows(
        sql(f"SELECT piece, position FROM archive WHERE %s {in_order} 1 OFFSET %s", newer, LOOKED_AT - 1)
    )
    bottom = (int(edge[0][0]), int(edge[0][1])) if edge else (oldest_piece, 0)
    if edge:
        newer += sql(" AND piece >= %s AND (piece > %s OR position >= %s)", bottom[0], *bottom)
    if types:
        newer += sql(" AND type IN %s", list(types))
    if wanted:
        newer += sql(" AND positionCaseInsensitiveUTF8(message, %s) > 0", wanted)
    rows = client.arrow(sql(f"SELECT {COLUMNS} FROM archive WHERE %s {in_order} %s", newer, limit))
    if rows.num_rows == limit:
        bottom = (rows["piece"][-1].as_py(), rows["position"][-1].as_py())
    return rows, bottom


def has_before(workspace_id: int, log: Visible, place: RowPlace) -> bool:
    """Whether the source has a row before this place."""
    return bool(client.rows(sql("SELECT 1 FROM archive WHERE %s LIMIT 1", _of_source(workspace_id, log, place))))


def read_replay_slice(
    workspace_id: int, reach: Reach, after: Key | None, limit: int, columns: Sql = ALL, **limits: Any
) -> pyarrow.Table:
    """The next `limit` rows of the reach in event order, after the key `after`; fewer when they are the last.

    columns: by default those of `read_live`. In two steps: first the key of the last row, from narrow columns alone,
    then the messages between the two keys, so that a long replay does not read and sort all messages for every slice.
    """
    if not reach.logs:
        return _nothing()
    rest = _within(workspace_id, reach)
    if after is not None:
        rest += _compared(">", after)
    begin, end = milliseconds(reach.since), milliseconds(reach.until)
    begin = max(begin, after[0]) if after else begin
    for parts in PARTS:
        # Of what is earlier every row comes first, so the first part of time that has enough of them has the end. What
        # is left may be long, and a source's batches are mostly in the order of time: little of it is read.
        part = sql(" AND ts <= %s", _ts(begin + (end - begin) // parts)) if parts > 1 else Sql("")
        last = client.rows(
            sql(
                f"SELECT toUnixTimestamp64Milli(ts), source, piece, position FROM archive WHERE %s "
                f"ORDER BY {EVENT_ORDER} LIMIT 1 OFFSET %s",
                rest + part,
                limit - 1,
            )
        )
        if last:
            rest += _compared("<=", tuple(last[0]))
            break
    return client.arrow(sql(f"SELECT %s FROM archive WHERE %s ORDER BY {EVENT_ORDER}", columns, rest), **limits)


def read_rows(workspace_id: int, places: Sequence[tuple[int, int, int]]) -> pyarrow.Table:
    """The rows at these places, each (source, piece, position), in event order. Columns as of `read_live`."""
    # A statement has its values as text, and takes longer for each the more they are.
    parts = [_read_rows(workspace_id, places[start : start + AT_ONCE]) for start in range(0, len(places), AT_ONCE)]
    if len(parts) < 2:
        return parts[0] if parts else _nothing()
    return pyarrow.concat_tables(parts).sort_by([(name, "ascending") for name in EVENT_ORDER.split(", ")])


def _read_rows(workspace_id: int, places: Sequence[tuple[int, int, int]]) -> pyarrow.Table:
    at = join(", ", [sql("(%s, %s, %s)", *place) for place in places])
    asked = sql("workspace = %s AND source IN %s", workspace_id, sorted({source for source, _, _ in places}))
    # The condition on `source` above says nothing new; it is the one that the order of the table understands.
    asked += sql(" AND (source, piece, position) IN (%s)", at)
    return client.arrow(sql(f"SELECT {COLUMNS} FROM archive WHERE %s ORDER BY {EVENT_ORDER}", asked))


def key_of(rows: pyarrow.Table, index: int = -1) -> Key:
    """Where a row of a slice is in event order; by default the last."""
    row = rows.slice(index % rows.num_rows, 1)
    # Whole milliseconds, which is how a cursor keeps it.
    ts = row["ts"].cast(MILLISECONDS).cast(pyarrow.int64())[0].as_py()
    return ts, row["source"][0].as_py(), row["piece"][0].as_py(), row["position"][0].as_py()


def erase(source_id: int, numbers: Sequence[int]) -> None:
    """No row of these batches of the source is left."""
    client.erase(ARCHIVE, "source", source_id, numbers)


def _same(value: int, count: int, kind: pyarrow.DataType) -> pyarrow.Array:
    return pyarrow.repeat(pyarrow.scalar(value, kind), count)


def _nothing() -> pyarrow.Table:
    kinds = {
        "source": pyarrow.uint32(),
        "piece": pyarrow.uint64(),
        "position": pyarrow.uint32(),
        "ts": MILLISECONDS,
        "received_at": MILLISECONDS,
    }
    names = COLUMNS.split(", ")
    return pyarrow.table({name: pyarrow.array([], kinds.get(name, pyarrow.string())) for name in names})


def _count(condition: Sql) -> int:
    return int(client.rows(sql("SELECT count() FROM archive WHERE %s", condition))[0][0])


def _of_source(workspace_id: int, log: Visible, before: RowPlace | None) -> Sql:
    """The condition that a row is of this log, and, if there is such a place, before it."""
    # Of a message that was erased with a person only the place is left (sources.events.people).
    there = Sql("message_id != ''")
    mine = sql("workspace = %s AND source = %s AND %s AND %s", workspace_id, log.partition, client.seen(log), there)
    return (
        mine if before is None else mine + sql(" AND piece <= %s AND (piece < %s OR position < %s)", before[0], *before)
    )


def _is_after(workspace_id: int, place: LogPlace) -> Sql:
    return sql(
        "workspace = %s AND source = %s AND piece >= %s AND (piece > %s OR position > %s) AND %s",
        workspace_id,
        place.log.partition,
        place.piece,
        place.piece,
        place.position,
        client.seen(place.log),
    )


def _interleaved(parts: list[pyarrow.Table]) -> pyarrow.Table:
    """All rows, by receipt, but never against the log order of their source."""
    rows = pyarrow.concat_tables(parts)
    if len(parts) < 2 or not rows.num_rows:
        return rows
    # The inbox's order is not quite that of receipt: a row counts as received no earlier than the one before it.
    turns = [
        numpy.maximum.accumulate(part["received_at"].to_numpy().astype("int64")) for part in parts if part.num_rows
    ]
    return rows.take(pyarrow.array(numpy.argsort(numpy.concatenate(turns), kind="stable")))


def _within(workspace_id: int, reach: Reach) -> Sql:
    within = sql(
        "workspace = %s AND %s AND ts >= %s AND ts <= %s",
        workspace_id,
        client.seen_by_owner(reach.logs, "source"),
        moment(reach.since),
        moment(reach.until),
    )
    for region in reach.consumed:
        inside = sql(
            "source = %s AND (piece, position) > (%s, %s) AND (piece, position) <= (%s, %s) AND ts >= %s",
            region.source,
            *region.after,
            *region.upto,
            _ts(region.since),
        )
        within += sql(" AND NOT (%s)", inside if region.key is None else inside + _compared("<=", region.key))
    return within


def _compared(sign: str, key: Key) -> Sql:
    # The first condition says nothing new; it is the one that the index of `ts` understands.
    ts = _ts(key[0])
    text = f" AND ts {sign[0]}= %s AND (ts, source, piece, position) {sign} (%s, %s, %s, %s)"
    return sql(text, ts, ts, *key[1:])


def _ts(ms: int) -> Sql:
    return sql("fromUnixTimestamp64Milli(toInt64(%s), 'UTC')", ms)
