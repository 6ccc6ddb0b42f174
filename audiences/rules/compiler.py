"""PURE. Many audiences as columns of one ClickHouse statement, over everyone or narrowed to those who changed.

    per relation, one scan:   raw profile -> its aggregates          (only the names and times that are asked about)
    + the universe:           raw profile -> is a person, is known
    overlay, after grouping:  raw -> canonical profile, aggregates put together again
    one row per person:       a boolean per audience
    answer:                   one row, a bitmap of profiles per audience

"Real time" is the same statement with `QueryScope.numbers`. Planning costs 1-3 ms a column, whatever the rows, and
grows faster than the columns do: callers keep a statement below about `MOST_AGGREGATES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyroaring import BitMap

from audiences.rules.aggregates import RELATIONS, Aggregate, Answers, Relation, TimeTrigger, at
from audiences.rules.conditions import Condition
from audiences.rules.grammar import Node, conditions, to_sql
from sources.events.sql import Sql, bitmap, join, sql

MOST_AGGREGATES = 100
LISTED = 1000  # up to so many profiles are a list, which the order key can use; more are a bitmap
# This pass of the planner costs 2 ms for every AND of three comparisons (chdb 26.9: 60 columns 225 ms -> 94).
SETTINGS = {"optimize_and_compare_chain": 0}


@dataclass(frozen=True)
class QueryScope:
    """Where and as of when. `seen`: the rows of one moment of the space's resolve log."""

    workspace: int
    space: int
    seen: Sql
    now: int  # milliseconds since 1970
    numbers: BitMap | None = None  # raw profile numbers, closed under merges; None = everyone

    def rows(self, profile: str = "profile") -> Sql:
        """The condition that a row of any of the space's tables is in scope."""
        here = sql("workspace = %s AND space = %s AND %s", self.workspace, self.space, self.seen)
        if self.numbers is None:
            return here
        if len(self.numbers) <= LISTED:
            return sql(f"%s AND {profile} IN %s", here, list(self.numbers) or [0])
        return sql(f"%s AND bitmapContains(%s, {profile})", here, bitmap(self.numbers))


@dataclass(frozen=True)
class Asked:
    """An audience whose members are asked for."""

    key: str
    definition: Node
    include_anonymous: bool = False


@dataclass(frozen=True)
class Span:
    """The part of the clock's log that one time trigger still has to be looked through: (since, now]."""

    trigger: TimeTrigger
    since: int


def aggregates(asked: Sequence[Asked], now: int) -> list[Aggregate]:
    """All aggregates that these audiences need, each once."""
    leaves = (leaf for audience in asked for leaf in conditions(audience.definition))
    return list(dict.fromkeys(aggregate for leaf in leaves for aggregate in leaf.aggregates(now)))


def members(scope: QueryScope, asked: Sequence[Asked], others: Mapping[str, BitMap]) -> Sql:
    """One row: the members in scope of each audience, in order, as groupBitmapState columns.

    An audience may ask about one before it in `asked`. others: members of the audiences they ask about beside.
    """
    columns = _columns(aggregates(asked, scope.now))
    flags = [sql(f"%s AS a{i}", _flag(asked, i, columns, scope.now, others)) for i in range(len(asked))]
    bitmaps = ", ".join(f"groupBitmapStateIf(profile, a{i})" for i in range(len(asked)))
    return sql(
        f"SELECT {bitmaps} FROM (SELECT profile, %s FROM (%s) WHERE person)", join(", ", flags), _people(scope, columns)
    )


def time_triggers(scope: QueryScope, spans: Sequence[Span], horizon: int) -> Sql:
    """One row with two columns per span, at least one span: raw profiles whose moment is in (since, now], as an
    array, and the time of the first row whose moment is in (now, now + horizon], 0 = none. All in milliseconds."""
    columns = join(", ", [column for span in spans for column in _moments(span, scope.now)])
    names = sorted({span.trigger.name for span in spans})
    oldest = min(span.since - span.trigger.after for span in spans)
    newest = max(scope.now + horizon - span.trigger.after for span in spans)
    return sql(
        f"SELECT %s FROM {EVENT_TABLE} WHERE %s AND event IN %s AND ts > %s AND ts <= %s",
        columns,
        scope.rows(),
        names,
        at(oldest),
        at(newest),
    )


EVENT_TABLE = "timeline"


def _columns(asked: Sequence[Aggregate]) -> dict[Relation, list[Aggregate]]:
    """The aggregates by relation, at the places they have in its array."""
    columns: dict[Relation, list[Aggregate]] = {}
    for relation in RELATIONS:
        if own := [aggregate for aggregate in asked if aggregate.relation == relation]:
            columns[relation] = own
    return columns


def _people(scope: QueryScope, columns: Mapping[Relation, Sequence[Aggregate]]) -> Sql:
    """One row per canonical profile, with its aggregates."""
    together = "".join(f", {relation.together}ForEach({relation.column}) AS {relation.column}" for relation in columns)
    relations = [_scan(scope, relation, columns) for relation in columns]
    return sql(
        f"SELECT if(winner = 0, raw, winner) AS profile, max(is_person) AS person, max(is_known) AS known{together}"
        " FROM (%s) AS rows LEFT JOIN (%s) AS merged ON loser = raw GROUP BY profile",
        join(" UNION ALL ", [_universe(scope, columns), *relations]),
        sql("SELECT loser, argMax(winner, piece) AS winner FROM overlay WHERE %s GROUP BY loser", scope.rows("loser")),
    )


def _universe(scope: QueryScope, columns: Mapping[Relation, Sequence[Aggregate]]) -> Sql:
    empty = "".join(f", CAST([] AS Array({relation.type})) AS {relation.column}" for relation in columns)
    return sql(
        f"SELECT profile AS raw, kind = 1 AS is_person, known AS is_known{empty} FROM profiles WHERE %s", scope.rows()
    )


def _scan(scope: QueryScope, relation: Relation, columns: Mapping[Relation, Sequence[Aggregate]]) -> Sql:
    """One grouped read of the relation's table: only named rows, and no older ones than anyone asks about."""
    own = columns[relation]
    opens = [aggregate.since for aggregate in own if aggregate.since is not None]
    # One that looks at all of history makes the scan go back for ever.
    since = sql(" AND ts > %s", at(min(opens))) if len(opens) == len(own) else Sql("")
    arrays = [
        sql(f"[%s] AS {other.column}", join(", ", [aggregate.expression for aggregate in own]))
        if other == relation
        else Sql(f"CAST([] AS Array({other.type})) AS {other.column}")
        for other in columns
    ]
    return sql(
        f"SELECT profile AS raw, 0 AS is_person, 0 AS is_known, %s FROM {relation.table}"
        f" WHERE %s AND {relation.named_by} IN %s%s GROUP BY profile",
        join(", ", arrays),
        scope.rows(),
        sorted({aggregate.name for aggregate in own}),
        since,
    )


def _flag(
    asked: Sequence[Asked],
    index: int,
    columns: Mapping[Relation, Sequence[Aggregate]],
    now: int,
    others: Mapping[str, BitMap],
) -> Sql:
    before = {audience.key: i for i, audience in enumerate(asked[:index])}

    def is_in(key: str) -> Sql:
        return Sql(f"a{before[key]}") if key in before else sql("bitmapContains(%s, profile)", bitmap(others[key]))

    def test(condition: Condition) -> Sql:
        places = []
        for aggregate in condition.aggregates(now):
            relation = aggregate.relation
            places.append(f"{relation.column}[{columns[relation].index(aggregate) + 1}]")  # arrays begin at 1
        return condition.test(Answers(places, is_in))

    holds = to_sql(asked[index].definition, test)
    return "(" + (holds if asked[index].include_anonymous else "known AND " + holds) + ")"


def _moments(span: Span, now: int) -> tuple[Sql, Sql]:
    after = span.trigger.after
    due = sql("ts > %s AND ts <= %s", at(span.since - after), at(now - after))
    return (
        sql("bitmapToArray(groupBitmapStateIf(profile, %s AND %s))", span.trigger.rows, due),
        sql("minIf(toUnixTimestamp64Milli(ts), %s AND ts > %s)", span.trigger.rows, at(now - after)),
    )
