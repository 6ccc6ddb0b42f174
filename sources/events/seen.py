"""What names and values occur, to suggest them: a look at the newest rows, never at all of them."""

from collections.abc import Sequence
from typing import Any

from sources.events import client
from sources.events.sql import Sql, join, sql
from sources.events.timeline import Scope

MOST = 50
LONGEST = 200
SAMPLED = 20_000  # newest rows of one event or trait that are looked at
# A suggestion that takes long is worth nothing: what was found by then is the answer.
LIMITS: dict[str, Any] = {
    "max_rows_to_read": 5_000_000,
    "read_overflow_mode": "break",
    "max_execution_time": 2,
    "timeout_overflow_mode": "break",
}
EDGE_LIMITS = LIMITS | {"max_rows_to_read": 100_000_000}  # of the times alone, eight bytes a row


def properties(scope: Scope, event: str) -> list[str]:
    """Names of the event's properties, the most frequent first; dots go into nested objects."""
    sample = _rows("timeline", "properties", scope, sql("event = %s", event))
    return _most(Sql("arrayJoin(JSONAllPaths(properties))"), sample)


def property_values(scope: Scope, event: str, path: Sql) -> list[str]:
    """Values that the property has, as texts. path: quoted identifiers joined by dots."""
    sample = _rows("timeline", "properties", scope, sql("event = %s", event))
    return _most("toString(properties." + path + ")", sample)


def traits(scope: Scope) -> list[str]:
    """Names of the traits that people have, in the order of the alphabet."""
    query = sql(f"SELECT DISTINCT key FROM traits WHERE %s ORDER BY key LIMIT {MOST}", scope.condition)
    return [key for (key,) in client.rows(query, **LIMITS)]


def trait_values(scope: Scope, key: str, inside: Sequence[str] = ()) -> list[str]:
    """Values that the trait has, or what lies at this path inside of it, as texts. Objects and lists are left out."""
    sample = _rows("traits", "value", scope, sql("key = %s AND value != 'null'", key))
    path = join(", ", [Sql("value"), *(sql("%s", name) for name in inside)])
    raw = "JSONExtractRaw(" + path + ")" if inside else Sql("value")
    whole = "JSONExtractString(" + path + ")" if inside else Sql("JSONExtractString(value)")
    return _most(sql("multiIf(startsWith(%s, '\"'), %s, match(%s, '^[{[n]'), '', %s)", raw, whole, raw, raw), sample)


def _rows(table: str, column: str, scope: Scope, condition: Sql) -> Sql:
    """The newest rows by event time. In two steps: first the time of the oldest of them, from the times alone."""
    mine = sql("%s AND %s", scope.condition, condition)
    edge = sql(
        f"SELECT toUnixTimestamp64Milli(ts) FROM {table} WHERE %s ORDER BY ts DESC LIMIT 1 OFFSET %s", mine, SAMPLED - 1
    )
    if found := client.rows(edge, **EDGE_LIMITS):
        mine += sql(" AND ts >= fromUnixTimestamp64Milli(toInt64(%s), 'UTC')", found[0][0])
    return sql(f"(SELECT {column} FROM {table} WHERE %s LIMIT %s)", mine, SAMPLED)


def _most(value: Sql, sample: Sql) -> list[str]:
    query = sql(
        f"SELECT v FROM (SELECT %s AS v FROM %s) WHERE v != '' AND length(v) <= {LONGEST}"
        f" GROUP BY v ORDER BY count() DESC, v LIMIT {MOST}",
        value,
        sample,
    )
    return [v for (v,) in client.rows(query, **LIMITS)]
