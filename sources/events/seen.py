"""What names and values occur and how often, to suggest them: a look at the newest rows, never at all of them.

like: only those that have this text in them, in letters of either size; "" = all.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any

from clickhouse_connect.driver.exceptions import DatabaseError

from sources.events import client
from sources.events.properties import askable
from sources.events.sql import Sql, join, sql
from sources.events.timeline import Scope

MOST = 50
LONGEST = 200
SAMPLED = 20_000  # newest rows of one event or trait that are looked at
SAMPLED_LISTS = 500  # of those with lists, whose texts are read here
# A suggestion that takes long is worth nothing: what was found by then is the answer.
LIMITS: dict[str, Any] = {
    "max_rows_to_read": 5_000_000,
    "read_overflow_mode": "break",
    "max_execution_time": 2,
    "timeout_overflow_mode": "break",
}
STRICT_LIMITS = LIMITS | {"read_overflow_mode": "throw", "timeout_overflow_mode": "throw"}
EDGE_LIMITS = LIMITS | {"max_rows_to_read": 100_000_000}  # of the times alone, eight bytes a row


def properties(scope: Scope, event: str, *, like: str = "") -> dict[str, int]:
    """Names of the event's properties, the most frequent first; dots go into objects, `[]` to the elements of lists.

    In how many of the newest events each was.
    """
    mine = sql("event = %s", event)
    names = _most(Sql("arrayJoin(JSONAllPaths(properties))"), _rows("timeline", "properties", scope, mine), like)
    holding = sql("%s AND notEmpty(JSONAllPaths(lists))", mine)
    query = sql("SELECT toJSONString(lists) FROM %s", _rows("timeline", "lists", scope, holding, SAMPLED_LISTS))
    counts = Counter(name for (lists,) in client.rows(query, **LIMITS) for name in askable(lists))
    wanted = {name: n for name, n in counts.items() if len(name) <= LONGEST and like.casefold() in name.casefold()}
    return names | {name: count for name, count in Counter(wanted).most_common(MOST) if name not in names}


def property_values(scope: Scope, event: str, texts: Sql, *, like: str = "") -> dict[str, int]:
    """Values that the property has, as texts, and in how many of the newest events each was.

    texts: an array of them, from the columns properties and lists.
    """
    rows = _rows("timeline", "properties, lists", scope, sql("event = %s", event))
    return _most("arrayJoin(" + texts + ")", rows, like)


def traits(scope: Scope, *, like: str = "") -> dict[str, int]:
    """Names of the traits that people have, in the order of the alphabet, and how often each was sent."""
    query = sql(
        f"SELECT key, count() FROM traits WHERE %s AND %s GROUP BY key ORDER BY key LIMIT {MOST}",
        scope.condition,
        _alike("key", like),
    )
    return {name: int(count) for name, count in client.rows(query, **LIMITS)}


def trait_values(scope: Scope, key: str, texts: Sql, *, like: str = "") -> dict[str, int]:
    """Values that the trait has, or what is inside of it, as texts, and how often each of the newest was sent.

    texts: an array of them, from the column value.
    """
    rows = _rows("traits", "value", scope, sql("key = %s AND value != 'null'", key))
    return _most("arrayJoin(" + texts + ")", rows, like)


def known_events(scope: Scope, names: Collection[str]) -> set[str]:
    """Those of these names of which the space has an event."""
    return _known("timeline", "event", scope, names)


def known_traits(scope: Scope, keys: Collection[str]) -> set[str]:
    """Those of these traits that somebody has or had."""
    return _known("traits", "key", scope, keys)


def has_property(scope: Scope, event: str, present: Sql) -> bool:
    """Whether any such event has it. present: that a row does. True when it takes too long to tell."""
    query = sql("SELECT 1 FROM timeline WHERE %s AND event = %s AND %s LIMIT 1", scope.condition, event, present)
    try:
        return bool(client.rows(query, **STRICT_LIMITS))
    except DatabaseError:
        return True


def _known(table: str, column: str, scope: Scope, names: Collection[str]) -> set[str]:
    if not names:
        return set()
    one = f"(SELECT {column} FROM {table} WHERE %s AND {column} = %s LIMIT 1)"  # found by the table's order
    query = join(" UNION ALL ", [sql(one, scope.condition, name) for name in sorted(names)])
    return {name for (name,) in client.rows(query, **LIMITS)}


def _rows(table: str, columns: str, scope: Scope, condition: Sql, most: int = SAMPLED) -> Sql:
    """The newest rows by event time. In two steps: first the time of the oldest of them, from the times alone."""
    mine = sql("%s AND %s", scope.condition, condition)
    edge = sql(
        f"SELECT toUnixTimestamp64Milli(ts) FROM {table} WHERE %s ORDER BY ts DESC LIMIT 1 OFFSET %s", mine, most - 1
    )
    if oldest := client.rows(edge, **EDGE_LIMITS):
        mine += sql(" AND ts >= fromUnixTimestamp64Milli(toInt64(%s), 'UTC')", oldest[0][0])
    return sql(f"(SELECT {columns} FROM {table} WHERE %s LIMIT %s)", mine, most)


def _most(value: Sql, sample: Sql, like: str) -> dict[str, int]:
    query = sql(
        f"SELECT v, count() AS n FROM (SELECT %s AS v FROM %s) WHERE v != '' AND length(v) <= {LONGEST} AND %s"
        f" GROUP BY v ORDER BY n DESC, v LIMIT {MOST}",
        value,
        sample,
        _alike("v", like),
    )
    return {name: int(count) for name, count in client.rows(query, **LIMITS)}


def _alike(column: str, like: str) -> Sql:
    return sql(f"positionCaseInsensitiveUTF8({column}, %s) > 0", like) if like else Sql("1")
