"""What resolve makes of the archive: whose each event is, in two orders, their traits, merges and who is known.

The number in `profile` is that of the event's own moment; whoever reads follows `overlay` or the identity graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow
from pyroaring import BitMap

from sources.events import client
from sources.events.schema import LINKS, OVERLAY, PLACES, PROFILE_EVENTS, PROFILES, TIMELINE, TRAITS, Table
from sources.events.sql import Sql, join, moment, not_replaced, sql
from spaces.batches import Visible

WRITTEN = (
    TIMELINE,
    PROFILE_EVENTS,
    TRAITS,
    OVERLAY,
    PROFILES,
    LINKS,
)  # by every resolve batch, at most one insert each
Key = tuple[int, int, int, int]  # a place in event order: (ts in milliseconds, source, piece, position)
START = (0, -1)


@dataclass(frozen=True)
class Scope:
    """One space's events, as of one moment of its resolve log."""

    workspace_id: int
    space_id: int
    log: Visible

    @property
    def condition(self) -> Sql:
        return self.rows()

    def rows(self, profile: str = "profile") -> Sql:
        """The condition that a row is of this moment. profile: the column with the number of its profile."""
        here = sql("workspace = %s AND space = %s AND %s", self.workspace_id, self.space_id, client.seen(self.log))
        return here + not_replaced(self.log.replaced, profile)


@dataclass(frozen=True)
class Recorded:
    """A row of the timeline, where it stands there."""

    source: int
    message_id: str
    profile: int
    ts: int
    piece: int
    position: int


@dataclass(frozen=True)
class ProfileEvent:
    """An event on a profile's page. identifiers: (type, value) as they were on it. message: JSON text."""

    ts: int
    source: int
    origin_piece: int
    origin_position: int
    profile: int
    type: str
    event: str
    message_id: str
    identifiers: Sequence[tuple[str, str]]
    message: str

    @property
    def key(self) -> Key:
        return self.ts, self.source, self.origin_piece, self.origin_position


@dataclass(frozen=True)
class Which:
    """Which events: of these calls, names and sources, without those, of times in [start, end)."""

    types: Sequence[str] = ()
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    sources: Sequence[int] = ()
    start: datetime | None = None
    end: datetime | None = None

    @property
    def condition(self) -> Sql:
        parts = [Sql("1")]  # so that there is always something for AND to join
        parts += [sql("type IN %s", list(self.types))] if self.types else []
        parts += [sql("event IN %s", list(self.include))] if self.include else []
        parts += [sql("event NOT IN %s", list(self.exclude))] if self.exclude else []
        parts += [sql("source IN %s", list(self.sources))] if self.sources else []
        parts += [sql("ts >= %s", moment(self.start))] if self.start else []
        parts += [sql("ts < %s", moment(self.end))] if self.end else []
        return join(" AND ", parts)


EVERY = Which()


def insert(table: Table, rows: pyarrow.Table, *, workspace_id: int, space_id: int, piece: int) -> None:
    """These rows are in the table under this batch: one insert, or none when there are no rows."""
    client.insert(table, of_batch(rows, workspace_id, space_id, piece))


def of_batch(rows: pyarrow.Table, workspace_id: int, space_id: int, piece: int) -> pyarrow.Table:
    # The number comes last, when it is known: a batch that is written again has the same rows under a new one.
    for name, value, kind in (
        ("workspace", workspace_id, pyarrow.uint32()),
        ("space", space_id, pyarrow.uint32()),
        ("piece", piece, pyarrow.uint64()),
    ):
        rows = rows.append_column(name, pyarrow.repeat(pyarrow.scalar(value, kind), rows.num_rows))
    return rows


def erase(space_id: int, numbers: Sequence[int]) -> None:
    """No row of these resolve batches of the space is left."""
    for table in (*WRITTEN, PLACES):
        client.erase(table, "space", space_id, numbers)


def page(scope: Scope, *, after: tuple[int, int] = START, limit: int) -> list[Recorded]:
    """The timeline in the order in which it was resolved, after a (piece, position).

    In two steps: first the batch of the last row, from narrow columns alone, so that a page of a long timeline does
    not read and sort all message ids that come after it.
    """
    rest = sql("%s AND piece >= %s AND (piece > %s OR position > %s)", scope.condition, after[0], *after)
    in_order = "WHERE %s ORDER BY piece, position LIMIT"
    # Narrow columns alone: of a long timeline the wide ones are the most part.
    last = client.rows(sql(f"SELECT piece FROM timeline {in_order} 1 OFFSET %s", rest, limit - 1))
    if last:
        rest += sql(" AND piece <= %s", last[0][0])
    columns = "source, message_id, profile, toUnixTimestamp64Milli(ts), piece, position"
    return [Recorded(*row) for row in client.rows(sql(f"SELECT {columns} FROM timeline {in_order} %s", rest, limit))]


def events_of(
    scope: Scope, profiles: Sequence[int], *, which: Which = EVERY, beyond: Key | None = None, limit: int
) -> list[ProfileEvent]:
    """The events of these profile numbers together, newest first; those beyond a key, which are older."""
    return _events(scope, profiles, which, beyond, limit, "<", "DESC")


def oldest_events_of(
    scope: Scope, profiles: Sequence[int], *, which: Which = EVERY, beyond: Key | None = None, limit: int
) -> list[ProfileEvent]:
    """The same, oldest first; those beyond a key are newer."""
    return _events(scope, profiles, which, beyond, limit, ">", "ASC")


def _events(
    scope: Scope, profiles: Sequence[int], which: Which, beyond: Key | None, limit: int, side: str, order: str
) -> list[ProfileEvent]:
    rest = sql("1")
    if beyond is not None:
        ts = sql("fromUnixTimestamp64Milli(toInt64(%s), 'UTC')", beyond[0])
        # The first condition says nothing new; it is the one that the table's order understands.
        rest = sql(
            f"ts {side}= %s AND (ts, source, origin_piece, origin_position) {side} (%s, %s, %s, %s)",
            ts,
            ts,
            *beyond[1:],
        )
    query = sql(
        "SELECT toUnixTimestamp64Milli(ts), source, origin_piece, origin_position, profile, type, event, message_id, "
        "identifiers, message FROM profile_events WHERE %s AND profile IN %s AND %s AND %s "
        f"ORDER BY ts {order}, source {order}, origin_piece {order}, origin_position {order} LIMIT %s",
        scope.condition,
        list(profiles),
        which.condition,
        rest,
        limit,
    )
    return [ProfileEvent(*row) for row in client.rows(query)]


def component(scope: Scope, profiles: Sequence[int], *, most: int) -> pyarrow.Table:
    """The events of these numbers, as `archive_table` has them, with the profile and the identifiers that were read
    from each when it was resolved; in the order of their first resolve.

    At most so many, and one more where there are more.
    """
    # One more than may be: so the caller knows that there are others, without a count.
    query = sql(
        "SELECT source, origin_piece AS piece, origin_position AS position, ts, message_id, message, profile,"
        " first_piece, first_position, identifiers FROM (SELECT * FROM profile_events WHERE %s AND profile IN %s)"
        " ORDER BY first_piece, first_position LIMIT %s",
        scope.condition,
        list(profiles),
        most + 1,
    )
    return client.arrow(query)


def events_by_profile(scope: Scope) -> list[tuple[int, int]]:
    """(number, events) of each profile that any event has, by number."""
    return [
        (int(profile), int(events))
        for profile, events in client.rows(
            sql(
                "SELECT profile, count() FROM profile_events WHERE %s GROUP BY profile ORDER BY profile",
                scope.condition,
            )
        )
    ]


def messages_of(scope: Scope, first: int, last: int) -> pyarrow.Table:
    """The events of the profiles with these numbers and those between, with their place in the order of their first
    resolve; in no order."""
    # A range of numbers is a range of the table: each row of it is read once, whoever reads all of it range by range.
    query = sql(
        "SELECT profile, toUnixTimestamp64Milli(ts) AS at, message, first_piece, first_position FROM profile_events"
        " WHERE %s AND profile >= %s AND profile <= %s",
        scope.condition,
        first,
        last,
    )
    return client.arrow(query)


def profile_at(scope: Scope, profiles: Sequence[int], *, source: int, message_id: str) -> int | None:
    """Which of these numbers the event had at its own moment; None when it is not kept."""
    query = sql(
        "SELECT profile FROM profile_events WHERE %s AND profile IN %s AND source = %s AND message_id = %s LIMIT 1",
        scope.condition,
        list(profiles),
        source,
        message_id,
    )
    rows = client.rows(query)
    return int(rows[0][0]) if rows else None


def oldest(scope: Scope) -> int | None:
    """The event time in ms of the oldest event that is kept; None when none is."""
    query = sql("SELECT count(), toUnixTimestamp64Milli(min(ts)) FROM profile_events WHERE %s", scope.condition)
    ((count, at),) = client.rows(query)
    return int(at) if count else None


def trait_rows(scope: Scope, profiles: Sequence[int]) -> pyarrow.Table:
    """The rows of `traits` of these numbers."""
    columns = ", ".join(("profile", "source", "origin_piece", "origin_position", "ts", "key", "value", "position"))
    return client.arrow(
        sql(f"SELECT {columns} FROM traits WHERE %s AND profile IN %s", scope.condition, list(profiles))
    )


def erase_replaced(workspace_id: int, space_id: int, number: int, profiles: Sequence[int]) -> None:
    """No row of these profiles is left that is older than the batch of this number."""
    # A note is kept until all of them are done, so a delete that fails is done once more.
    for table in WRITTEN:
        # These two say in columns of their own whom a row is about.
        column = {OVERLAY: "loser", LINKS: "user"}.get(table, "profile")
        mine = sql("workspace = %s AND space = %s AND piece < %s", workspace_id, space_id, number)
        client.run(sql(f"DELETE FROM {table.name} WHERE %s AND {column} IN %s", mine, list(profiles)))


def profiles_of_source(scope: Scope, source: int) -> BitMap:
    """The profile numbers that events of the source have."""
    query = sql("SELECT DISTINCT profile FROM profile_events WHERE %s AND source = %s", scope.condition, source)
    return BitMap(number for (number,) in client.rows(query))


def erase_source(workspace_id: int, space_id: int, source: int) -> None:
    """No row of the source's events is left of the space."""
    mine = sql("workspace = %s AND space = %s AND source = %s", workspace_id, space_id, source)
    # The others have no source: what they say of these people is written anew by whoever calls this.
    for table in (TIMELINE, PROFILE_EVENTS, TRAITS):
        client.run(sql(f"DELETE FROM {table.name} WHERE %s", mine))


def ends_of(scope: Scope, profiles: Sequence[int]) -> tuple[tuple[int, int, str], tuple[int, int, str]] | None:
    """(event time in ms, source, message id) of the first and the last event of these profile numbers; None when
    there are no events."""
    event, key = "(toUnixTimestamp64Milli(ts), source, message_id)", "(ts, source, origin_piece, origin_position)"
    query = sql(
        f"SELECT count(), argMin({event}, {key}), argMax({event}, {key}) FROM profile_events"
        " WHERE %s AND profile IN %s",
        scope.condition,
        list(profiles),
    )
    ((count, first, last),) = client.rows(query)
    return (tuple(first), tuple(last)) if count else None


def counts_of(scope: Scope, profiles: Sequence[int], *, which: Which = EVERY) -> list[tuple[str, str, int, int, int]]:
    """(type, event, events, first and last event time in ms) of these profile numbers, most frequent first."""
    query = sql(
        "SELECT type, event, count() AS events, toUnixTimestamp64Milli(min(ts)), toUnixTimestamp64Milli(max(ts)) "
        "FROM profile_events WHERE %s AND profile IN %s AND %s GROUP BY type, event ORDER BY events DESC, type, event",
        scope.condition,
        list(profiles),
        which.condition,
    )
    return [tuple(row) for row in client.rows(query)]


def sources_of(scope: Scope, profiles: Sequence[int]) -> list[int]:
    """Which sources sent the events of these profile numbers."""
    query = "SELECT DISTINCT source FROM profile_events WHERE %s AND profile IN %s"
    return [source for (source,) in client.rows(sql(query, scope.condition, list(profiles)))]


def per_day(scope: Scope, profiles: Sequence[int], *, which: Which, zone: str) -> dict[date, int]:
    """How many events of these profile numbers there are on each day, in this time zone, that has any."""
    # By the zone of whoever looks: a day of UTC would end in the middle of their evening.
    query = sql(
        "SELECT toDate(ts, %s) AS day, count() FROM profile_events WHERE %s AND profile IN %s AND %s GROUP BY day",
        zone,
        scope.condition,
        list(profiles),
        which.condition,
    )
    return {day: int(events) for day, events in client.rows(query)}


def count(scope: Scope) -> int:
    """How many events the timeline holds."""
    return int(client.rows(sql("SELECT count() FROM timeline WHERE %s", scope.condition))[0][0])
