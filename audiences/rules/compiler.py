"""PURE. Many audiences as columns of one ClickHouse statement, over everyone or narrowed to those who changed.

    per relation, one scan:   raw profile -> its aggregates          (only the names and times that are asked about)
    + the universe:           raw profile -> is a person, is known
    overlay, after grouping:  raw -> canonical profile, aggregates put together again
    one row per person:       a boolean per audience
    answer:                   one row, a bitmap of profiles per audience

An account has the events of all of its users: each person's aggregates are put together once more, by account. What is
asked about the users of an account, or about the accounts of a user, is asked of these first (`inner`); who they are
is an answer like any other.

"Real time" is the same statement with `QueryScope.numbers`. Planning costs 1-3 ms a column, whatever the rows, and
grows faster than the columns do: callers keep a statement below about `MOST_AGGREGATES`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyroaring import BitMap

from audiences.rules.aggregates import (
    EVENTS,
    LOTS,
    RELATIONS,
    SHAPES,
    Aggregate,
    Answers,
    Relation,
    Shape,
    TimeTrigger,
    at,
)
from audiences.rules.conditions import Condition
from audiences.rules.grammar import ACCOUNTS, USERS, Group, Node, leaves, plain, reach, related, to_sql
from audiences.rules.references import PastMembership
from sources.events.sql import Sql, bitmap, join, not_replaced, sql

MOST_AGGREGATES = 100
LISTED = 1000  # up to so many profiles are a list, which the order key can use; more are a bitmap
# This pass of the planner costs 2 ms for every AND of three comparisons (chdb 26.9: 60 columns 225 ms -> 94). None of
# 40 others, switched off alone, gains more than a tenth. What counts is how much is written: about 4 ms per 1,000
# characters, a third of it for parsing (twice), a third for types, the rest for passes and the plan.
SETTINGS = {"optimize_and_compare_chain": 0}
KINDS = {USERS: 1, ACCOUNTS: 2}  # as `profiles` has them
# What a group about others says of `others`, the profiles that belong to this one or that it belongs to.
OTHERS = {
    "any": "arrayExists(other -> bitmapContains(%s, other), others)",
    "all": "(notEmpty(others) AND arrayAll(other -> bitmapContains(%s, other), others))",
    "none": "NOT arrayExists(other -> bitmapContains(%s, other), others)",
}
Key = str | Group  # by which an answer is known: an audience, or what a group asks of the others

NO_TABLES = Sql("")


@dataclass(frozen=True)
class QueryScope:
    """Where and as of when. `seen`: the rows of one moment of the space's resolve log."""

    workspace: int
    space: int
    seen: Sql
    now: int  # milliseconds since 1970
    numbers: BitMap | None = None  # raw profile numbers, closed under merges; None = everyone
    tables: Sql = NO_TABLES  # `WITH …`: tables that hide the stored ones (rules.cases)
    lot: Sql | None = None  # where everybody's lot is in each random split; None = by chance
    drawn_in: int | None = None  # the space whose lots they have, where the rows are under another number
    replaced: Sequence[tuple[int, Sequence[int]]] = ()  # (batch, profiles) whose older rows count no more

    def rows(self, profile: str = "profile") -> Sql:
        """The condition that a row of any of the space's tables is in scope."""
        here = sql("workspace = %s AND space = %s AND %s", self.workspace, self.space, self.seen)
        here += not_replaced(self.replaced, profile)
        if self.numbers is None:
            return here
        if len(self.numbers) <= LISTED:
            # No profile has the number 0: an empty list is no SQL.
            return sql(f"%s AND {profile} IN %s", here, list(self.numbers) or [0])
        return sql(f"%s AND bitmapContains(%s, {profile})", here, bitmap(self.numbers))


@dataclass(frozen=True)
class Asked:
    """An audience whose members are asked for. of: whom it is about. All accounts count, whatever is known of them."""

    key: Key
    definition: Node
    include_anonymous: bool = False
    of: str = USERS

    @property
    def reach(self) -> int:
        """How far from those in scope the rows are that it reads (`grammar.reach`)."""
        return reach(self.definition, self.of)

    @property
    def everyone(self) -> bool:
        return self.include_anonymous or self.of == ACCOUNTS


@dataclass(frozen=True)
class Span:
    """The part of the clock's log that one time trigger still has to be looked through: (since, now]."""

    trigger: TimeTrigger
    since: int


def aggregates(asked: Sequence[Asked], now: int) -> list[Aggregate]:
    """All aggregates that these audiences need, each once."""
    own = (leaf for audience in asked for leaf in leaves(audience.definition))
    return list(dict.fromkeys(aggregate for leaf in own for aggregate in leaf.aggregates(now)))


def inner(asked: Asked) -> Iterator[Asked]:
    """What is asked of others for its sake, the innermost first; each by the group that asks it. All users count."""
    for group in related(asked.definition):
        own = Asked(group, plain(group), include_anonymous=True, of=group.of)
        yield from inner(own)
        yield own


def members(scope: QueryScope, asked: Sequence[Asked], others: Mapping[Key, BitMap]) -> Sql:
    """One row: the members in scope of each audience, in order, as groupBitmapState columns. All are about the same.

    An audience may ask about one before it in `asked`. others: members of the audiences they ask about beside, of past
    memberships, by their names, and whom their groups about others mean. Where such answers reach beyond the scope
    (`Asked.reach`), those on its rim are not right.
    """
    columns = _columns(aggregates(asked, scope.now))
    flags = [sql(f"%s AS a{i}", _flag(asked, i, columns, scope, others)) for i in range(len(asked))]
    # Bitmaps, not rows: a million members are some hundred KB over the wire.
    bitmaps = ", ".join(f"groupBitmapStateIf(profile, a{i})" for i in range(len(asked)))
    return sql(
        f"%sSELECT {bitmaps} FROM (SELECT profile, %s FROM (%s) WHERE person)",
        scope.tables,
        join(", ", flags),
        _people(scope, columns, asked),
    )


def values(scope: QueryScope, asked: Sequence[Asked]) -> Sql:
    """A row for each person in scope who has any of these computed traits: the profile, and JSON text of each, '' =
    none. Each definition is one leaf, a computed trait."""

    def value(leaf: Condition, answers: Answers) -> Sql:
        return leaf.value(answers)  # type: ignore[attr-defined]

    some = " OR ".join(f"notEmpty(v{i})" for i in range(len(asked)))
    return sql(f"%sSELECT * FROM (%s) WHERE {some}", scope.tables, _texts(scope, asked, value))


def readings(scope: QueryScope, asked: Sequence[Asked]) -> Sql:
    """A row for each person in scope: the profile, and what each of these leaves comes to, as text."""
    return scope.tables + _texts(scope, asked, lambda leaf, answers: leaf.reading(answers))


def _texts(scope: QueryScope, asked: Sequence[Asked], text: Callable[[Condition, Answers], Sql]) -> Sql:
    columns = _columns(aggregates(asked, scope.now))
    parts = []
    for i, each in enumerate(asked):
        (leaf,) = leaves(each.definition)
        own = text(leaf, _answers(leaf, columns, scope, _nobody, _nobody))
        parts.append(sql(f"%s AS v{i}", own if each.everyone else sql("if(known, %s, '')", own)))
    return sql("SELECT profile, %s FROM (%s) WHERE person", join(", ", parts), _people(scope, columns, asked))


def _nobody(_: object) -> Sql:
    return Sql("0")


def time_triggers(scope: QueryScope, spans: Sequence[Span], *, until: int, most: int) -> Sql:
    """One row with two columns per span, at least one span: raw profiles whose moment is in (since, now], as an array,
    and the moments in (now, until] as an array of (moment, raw profile), the earliest `most` of them in their order.
    All in milliseconds."""
    places = range(len(spans))
    scans = []
    for relation in RELATIONS:
        if own := {place: spans[place] for place in places if spans[place].trigger.relation == relation}:
            columns = [
                column
                for place, span in own.items()
                for column in (
                    sql(
                        f"bitmapToArray(groupBitmapStateIf(profile, %s)) AS d{place}",
                        span.trigger.due(span.since, scope.now),
                    ),
                    sql(f"%s AS c{place}", span.trigger.coming(scope.now, until, most)),
                )
            ]
            names = sorted({span.trigger.name for span in own.values()})
            where = [scope.rows(), sql(f"{relation.named_by} IN %s", names)]
            times = [span.trigger.span(span.since, until) for span in own.values()]
            known = [time for time in times if time is not None]
            if len(known) == len(times):  # one that may be of any time makes the scan read all of them
                where.append(sql("ts > %s", at(min(oldest for oldest, _ in known))))
                where.append(sql("ts <= %s", at(max(newest for _, newest in known))))
            scans.append(
                sql(
                    f"(SELECT %s FROM {relation.table} WHERE %s) AS of_{relation.table}",
                    join(", ", columns),
                    join(" AND ", where),
                )
            )
    both = ", ".join(f"d{place}, c{place}" for place in places)
    return sql(f"SELECT {both} FROM %s", join(", ", scans))


def event_times(scope: QueryScope, families: Sequence[Sequence[Span]], *, until: int, most: int) -> Sql:
    """One row with a column per family: the rows with a moment in (since, until] of any of its spans, at most `most`,
    as an array of (time, raw profile). In milliseconds.

    The triggers of a family are about the same rows of events, at other times after them. A column for each of them,
    as `time_triggers` has it, would be planned for longer than few people's rows are read.
    """
    columns, edges = [], []
    for family in families:
        spans = [span.trigger.span(span.since, until) for span in family]
        lows, highs = ([ends[place] for ends in spans if ends] for place in (0, 1))
        edges.append((min(lows), max(highs)))
        within = sql("arrayExists((low, high) -> ms > low AND ms <= high, %s, %s)", lows, highs)
        rows = family[0].trigger.rows  # type: ignore[attr-defined]
        columns.append(sql(f"groupArrayIf({most})((ms, profile), %s AND %s)", rows, within))
    return sql(
        "SELECT %s FROM (SELECT *, toUnixTimestamp64Milli(ts) AS ms FROM timeline"
        " WHERE %s AND event IN %s AND ts > %s AND ts <= %s)",
        join(", ", columns),
        scope.rows(),
        sorted({family[0].trigger.name for family in families}),
        at(min(low for low, _ in edges)),
        at(max(high for _, high in edges)),
    )


def _columns(asked: Sequence[Aggregate]) -> dict[Shape, list[Aggregate]]:
    """The aggregates by shape, at the places they have in its array."""
    columns: dict[Shape, list[Aggregate]] = {}
    for shape in SHAPES:
        if own := [aggregate for aggregate in asked if aggregate.shape == shape]:
            columns[shape] = own
    return columns


def _people(scope: QueryScope, columns: Mapping[Shape, Sequence[Aggregate]], asked: Sequence[Asked]) -> Sql:
    """One row for each of whom these are about, with their aggregates, and `others` where they are asked about."""
    of = asked[0].of
    # Merged profiles are put together before accounts are: a user belongs to an account as one person.
    people = _profiles(scope, columns, KINDS[of])
    if of == ACCOUNTS and any(shape.relation == EVENTS for shape in columns):
        people = _accounts(scope, columns, people)
    if any(True for audience in asked for _ in related(audience.definition)):
        one, other = ("person", "account") if of == USERS else ("account", "person")
        belonging = sql(
            f"SELECT {one} AS one, groupUniqArray({other}) AS others FROM (%s) GROUP BY one", _links(scope, of)
        )
        people = sql("SELECT * FROM (%s) AS people LEFT JOIN (%s) AS belonging ON one = profile", people, belonging)
    return people


def _accounts(scope: QueryScope, columns: Mapping[Shape, Sequence[Aggregate]], profiles: Sql) -> Sql:
    """One row per account: its own traits, and the events of all of its users together. Whatever they did when they did
    not belong to it yet counts, too."""
    together = "".join(
        f", {shape.together}ForEach("
        + (shape.column if shape.relation == EVENTS else f"if(own, {shape.column}, CAST([] AS Array({shape.type})))")
        + f") AS {shape.column}"
        for shape in columns
    )
    links = sql(
        "SELECT person AS one, groupUniqArray(account) AS accounts FROM (%s) GROUP BY one", _links(scope, USERS)
    )
    each = sql(
        "SELECT *, arrayJoin(if(person, [profile], accounts)) AS account, account = profile AS own"
        " FROM (%s) AS profiles LEFT JOIN (%s) AS belonging ON one = profile",
        profiles,
        links,
    )
    return sql(f"SELECT account AS profile, max(own) AS person, 1 AS known{together} FROM (%s) GROUP BY account", each)


def _links(scope: QueryScope, of: str) -> Sql:
    """(person, account) of those of these in scope. Accounts are never merged: they have one identifier."""
    return sql(
        "SELECT if(winner = 0, user, winner) AS person, account FROM links"
        " LEFT JOIN (%s) AS merged ON loser = user WHERE %s%s",
        _winners(scope),
        scope.rows("user" if of == USERS else "account"),
        Sql("") if of == USERS else not_replaced(scope.replaced, "user"),
    )


def _profiles(scope: QueryScope, columns: Mapping[Shape, Sequence[Aggregate]], kind: int) -> Sql:
    """One row per canonical profile, with its aggregates. person: whether it is of this kind."""
    together = "".join(f", {shape.together}ForEach({shape.column}) AS {shape.column}" for shape in columns)
    relations = [relation for relation in RELATIONS if any(shape.relation == relation for shape in columns)]
    scans = [_scan(scope, relation, columns) for relation in relations]
    return sql(
        f"SELECT if(winner = 0, raw, winner) AS profile, max(is_person) AS person, max(is_known) AS known{together}"
        " FROM (%s) AS rows LEFT JOIN (%s) AS merged ON loser = raw GROUP BY profile",
        join(" UNION ALL ", [_universe(scope, columns, kind), *scans]),
        _winners(scope),
    )


def _winners(scope: QueryScope) -> Sql:
    return sql(
        "SELECT loser, argMax(winner, piece) AS winner FROM overlay WHERE %s GROUP BY loser", scope.rows("loser")
    )


def _universe(scope: QueryScope, columns: Mapping[Shape, Sequence[Aggregate]], kind: int) -> Sql:
    empty = "".join(f", CAST([] AS Array({shape.type})) AS {shape.column}" for shape in columns)
    return sql(
        f"SELECT profile AS raw, kind = {kind} AS is_person, known AS is_known{empty} FROM profiles WHERE %s",
        scope.rows(),
    )


def _scan(scope: QueryScope, relation: Relation, columns: Mapping[Shape, Sequence[Aggregate]]) -> Sql:
    """One grouped read of the relation's table: only named rows, and no older ones than anyone asks about."""
    own = [aggregate for aggregates in columns.values() for aggregate in aggregates if aggregate.relation == relation]
    opens = [aggregate.since for aggregate in own if aggregate.since is not None]
    # One that looks at all of history makes the scan go back for ever.
    # Months are skipped by it, which are partitions: without it, a question about last week would read years.
    since = sql(" AND ts > %s", at(min(opens))) if len(opens) == len(own) else Sql("")
    arrays = [
        sql(f"[%s] AS {shape.column}", join(", ", [aggregate.expression for aggregate in aggregates]))
        if shape.relation == relation
        else Sql(f"CAST([] AS Array({shape.type})) AS {shape.column}")
        for shape, aggregates in columns.items()
    ]
    return sql(
        f"SELECT profile AS raw, 0 AS is_person, 0 AS is_known, %s FROM {relation.table}"
        f" WHERE %s AND {relation.named_by} IN %s%s GROUP BY profile",
        join(", ", arrays),
        scope.rows(),
        sorted({name for aggregate in own for name in aggregate.names}),
        since,
    )


def _flag(
    asked: Sequence[Asked],
    index: int,
    columns: Mapping[Shape, Sequence[Aggregate]],
    scope: QueryScope,
    others: Mapping[Key, BitMap],
) -> Sql:
    # Those before it in the statement are its columns already; of all others the members are handed over.
    before = {audience.key: i for i, audience in enumerate(asked[:index])}

    def is_in(key: str) -> Sql:
        return Sql(f"a{before[key]}") if key in before else sql("bitmapContains(%s, profile)", bitmap(others[key]))

    def was_in(past: PastMembership) -> Sql:
        # Before this tick, as the changes say; or whoever enters in it: that no change says yet.
        enters = sql("(%s AND NOT bitmapContains(%s, profile))", is_in(past.key), bitmap(others[past.before]))
        return sql("(bitmapContains(%s, profile) OR %s)", bitmap(others[past.name]), enters)

    def test(condition: Condition) -> Sql:
        return condition.test(_answers(condition, columns, scope, is_in, was_in))

    def of_others(group: Group) -> Sql:
        return sql(OTHERS[group.which], bitmap(others[group]))

    # Anonymous people are left out here rather than by reading fewer: for another audience they may count.
    holds = to_sql(asked[index].definition, test, of_others)
    return "(" + (holds if asked[index].everyone else "known AND " + holds) + ")"


def _answers(
    condition: Condition,
    columns: Mapping[Shape, Sequence[Aggregate]],
    scope: QueryScope,
    is_in: Callable[[str], Sql],
    was_in: Callable[[PastMembership], Sql],
) -> Answers:
    places = []
    for aggregate in condition.aggregates(scope.now):
        shape = aggregate.shape
        places.append(f"{shape.column}[{columns[shape].index(aggregate) + 1}]")  # arrays begin at 1

    def lot(name: str) -> Sql:
        return scope.lot or sql(f"sipHash64(toUInt32(%s), %s, profile) %% {LOTS}", scope.drawn_in or scope.space, name)

    return Answers(places, scope.now, is_in, was_in, lot)
