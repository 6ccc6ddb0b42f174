"""Events of a space for whoever keeps them elsewhere: in the order in which they were resolved, and of some people."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow
from pyroaring import BitMap

from sources.events import client
from sources.events.schema import MEMBERSHIP_LOG, PROFILE_EVENTS, TRAIT_LOG
from sources.events.sql import Sql, sql
from sources.events.timeline import Scope
from spaces.batches import Visible

Place = tuple[int, int, int]  # of a row: (piece, position, profile); a group call is a row of its user and its account
START: Place = (0, -1, 0)
COLUMNS = "piece, position, profile, source, toUnixTimestamp64Milli(ts) AS at, type, event, message_id, message"


@dataclass(frozen=True)
class Origin:
    """An event that something came of. profile: whose it was when it came."""

    profile: int
    type: str
    event: str
    message_id: str


def after(scope: Scope, place: Place, *, end: int, limit: int) -> pyarrow.Table:
    """The next rows behind a place, of batches up to `end`. moved: of these, whether it was resolved once more."""
    rest = _rest(scope, place, end)
    order = "ORDER BY piece, position, profile"
    # First the place of the last one, from narrow columns: else all messages that come after would be read and sorted.
    last = client.rows(
        sql(f"SELECT piece, position FROM {PROFILE_EVENTS.name} WHERE %s {order} LIMIT 1 OFFSET %s", rest, limit - 1)
    )
    if last:
        rest += sql(" AND (piece, position) <= (%s, %s)", *last[0])
    query = f"SELECT {COLUMNS}, first_piece != piece AS moved FROM {PROFILE_EVENTS.name} WHERE %s {order}"
    return client.arrow(sql(query, rest))


def count_after(scope: Scope, place: Place, *, end: int) -> int:
    query = sql(f"SELECT count() FROM {PROFILE_EVENTS.name} WHERE %s", _rest(scope, place, end))
    return int(client.rows(query)[0][0])


def _rest(scope: Scope, place: Place, end: int) -> Sql:
    # The first condition says nothing new; it is the one that leaves out whole blocks.
    here = sql("%s AND piece >= %s AND piece <= %s", scope.condition, place[0], end)
    return here + sql(" AND (piece, toInt64(position), profile) > (%s, %s, %s)", *place)


def of_people(scope: Scope, numbers: Sequence[int]) -> pyarrow.Table:
    """All rows of these numbers."""
    query = f"SELECT {COLUMNS} FROM {PROFILE_EVENTS.name} WHERE %s AND profile IN %s ORDER BY piece, position, profile"
    return client.arrow(sql(query, scope.condition, list(numbers)))


def first_of(scope: Scope, numbers: Sequence[int]) -> dict[int, Origin]:
    """By number, the event that was resolved first."""
    query = sql(
        "SELECT profile, argMin((type, event, message_id), (first_piece, first_position))"
        f" FROM {PROFILE_EVENTS.name} WHERE %s AND profile IN %s GROUP BY profile",
        scope.condition,
        list(numbers),
    )
    return {number: Origin(number, type, event, id) for number, (type, event, id) in client.rows(query)}


def with_ids(scope: Scope, numbers: Sequence[int], message_ids: Sequence[str]) -> dict[tuple[int, str], Origin]:
    """Those events of these numbers that have these message ids, by source and message id."""
    query = sql(
        "SELECT source, message_id, argMin((profile, type, event), (first_piece, first_position, profile))"
        f" FROM {PROFILE_EVENTS.name} WHERE %s AND profile IN %s AND message_id IN %s GROUP BY source, message_id",
        scope.condition,
        list(numbers),
        list(message_ids),
    )
    return {(source, id): Origin(profile, type, event, id) for source, id, (profile, type, event) in client.rows(query)}


def evaluated_between(workspace_id: int, space_id: int, log: Visible, tick: int) -> BitMap:
    """Whose membership or computed value changed after the tick, in this part of the log."""
    changed = BitMap()
    for table in (MEMBERSHIP_LOG, TRAIT_LOG):
        here = sql("workspace = %s AND space = %s AND piece > %s", workspace_id, space_id, tick)
        query = f"SELECT groupBitmapState(profile) FROM {table.name} WHERE %s AND %s"
        (numbers,) = client.bitmaps(sql(query, here, client.seen(log)))
        changed |= numbers
    return changed
