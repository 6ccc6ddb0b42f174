"""Ten audiences and seven computed traits over ten million events, beside the same questions in SQL that was written by
hand, and beside a scan of the same columns in memory. All three must say the same people and the same values."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import numpy
from pyroaring import BitMap

from benchmarks.figures import Figure, median_of, watching
from benchmarks.stack import Stack
from benchmarks.world import CATEGORIES, DAY_MS, DAYS, MERGED, NAMES, PEOPLE, SEEN, furnished

RUNS, EDITS = 5, 25


@dataclass(frozen=True)
class Columns:
    """The same events in memory, people as they are after merges. ms: how long ago."""

    person: Any
    event: Any
    ago: Any
    cents: Any
    category: Any
    sku: Any


@dataclass(frozen=True)
class Question:
    """definition: as the product takes it. by_hand: SQL that gives (person, …) of whoever is meant. scan: in memory."""

    name: str
    definition: dict[str, Any]
    by_hand: str
    scan: Callable[[Columns], Any]


def measure(running: Stack) -> list[Figure]:
    where = furnished(running)
    columns = _columns(where)
    figures = [_audience(running, where, columns, question) for question in AUDIENCES]
    figures += [_trait(running, where, columns, question) for question in TRAITS]
    return [*figures, _together(running, where), *_edits(running, where)]


def _columns(where: dict[str, int]) -> Columns:
    from sources.events import client

    parts = ["profile", f"toUInt8(indexOf({list(NAMES)}, event) - 1)", f"{where['now']} - toUnixTimestamp64Milli(ts)"]
    parts += [CENTS, f"toUInt8(indexOf({list(CATEGORIES)}, properties.category.:`String`) - 1)"]
    parts += ["toUInt16(substring(properties.sku.:`String`, 2))"]
    query = f"SELECT {', '.join(f'{part} AS c{n}' for n, part in enumerate(parts))} FROM timeline WHERE "
    table = client.client().query_arrow(query + SEEN.format(**where))
    person, *rest = (column.to_numpy() for column in table.columns)
    return Columns(numpy.where(person > PEOPLE - MERGED, person - (PEOPLE - MERGED), person), *rest)


def _audience(running: Stack, where: dict[str, int], columns: Columns, question: Question) -> Figure:
    from sources.events import client

    wrapped = f"SELECT groupBitmapState(person) FROM ({question.by_hand})"
    asked, by_hand = _statement(where, [question.definition]), _filled(wrapped, where)
    answers = [client.bitmaps(asked, **_settings())[0], client.bitmaps(by_hand)[0], BitMap(question.scan(columns))]
    assert answers[0] == answers[1] == answers[2], (question.name, [len(answer) for answer in answers])
    return _figure(
        running,
        f"{question.name}: {len(answers[0]):,} people",
        lambda: client.bitmaps(asked, **_settings()),
        lambda: client.bitmaps(by_hand),
        lambda: question.scan(columns),
    )


def _trait(running: Stack, where: dict[str, int], columns: Columns, question: Question) -> Figure:
    from audiences.rules.compiler import Asked, values
    from audiences.rules.grammar import parse_trait
    from sources.events import client

    asked = values(_scope(where), [Asked("", parse_trait(question.definition))])
    by_hand = _filled(question.by_hand, where)
    ours = {person: json.loads(value) for person, value in client.rows(asked, **_settings())}
    theirs = {person: value for person, value, *_ in client.rows(by_hand)}
    differing = {person: (ours.get(person), theirs.get(person)) for person in {*ours, *theirs}}
    differing = {person: pair for person, pair in differing.items() if pair[0] != pair[1]}
    assert not differing, (question.name, len(differing), [*differing.items()][:3])
    return _figure(
        running,
        f"{question.name}: {len(ours):,} values",
        lambda: client.rows(asked, **_settings()),
        lambda: client.rows(by_hand),
        lambda: question.scan(columns),
    )


def _figure(
    running: Stack, name: str, asked: Callable[[], Any], by_hand: Callable[[], Any], scan: Callable[[], Any]
) -> Figure:
    took: list[tuple[float, float]] = []
    with watching(running) as cost:
        for _ in range(RUNS + 1):  # in turn, so that whatever else the machine does falls on both alike
            took.append((_milliseconds(asked), _milliseconds(by_hand)))
    ours, theirs = (median(column) for column in zip(*took[1:], strict=True))
    in_memory = median_of(3, lambda: _milliseconds(scan))
    note = f"in memory {in_memory:,.0f} ms: {ours / in_memory:.2f}; {cost}"
    return Figure(name, ours, "ms", RUNS, "SQL by hand", theirs, note)


def _together(running: Stack, where: dict[str, int]) -> Figure:
    """All ten as the product asks them, beside one statement for all."""
    from audiences import queries
    from audiences.rules.compiler import Asked
    from audiences.rules.grammar import parse
    from sources.events import client

    definitions = [question.definition for question in AUDIENCES]
    together = _statement(where, definitions)
    asked = [Asked(str(place), parse(definition)) for place, definition in enumerate(definitions)]
    took = median_of(RUNS, lambda: _milliseconds(lambda: queries.answer(_scope(where), asked, {})))
    floor = median_of(RUNS, lambda: _milliseconds(lambda: client.bitmaps(together, **_settings())))
    return Figure("ten audiences together", took, "ms", RUNS, "one statement for all", floor)


def _edits(running: Stack, where: dict[str, int]) -> list[Figure]:
    """Previews by the API while somebody changes a number in the conditions."""
    from spaces.models import Space

    path = f"spaces/{Space.objects.get(pk=where['space']).public_id}/audiences/previews"

    def edited(days: int) -> float:
        window = {"within": {"days": days}}
        viewed = {"kind": "event", "name": "Product Viewed", "atLeast": 3, **window}
        ordered = {"kind": "event", "name": "Order Completed", "atLeast": 1, **window}
        body = {"definition": {"all": [viewed, {"not": ordered}]}}
        return _milliseconds(lambda: running.api.post(path, body))

    edited(30)
    with watching(running) as cost:
        took = [edited(7 + number) for number in range(EDITS)]
    ranks = quantiles(took, n=100)
    return [
        Figure("preview after a small edit, p50", ranks[49], "ms", EDITS, "guide", 200.0, str(cost)),
        Figure("preview after a small edit, p99", ranks[98], "ms", EDITS, "guide", 600.0),
    ]


def _statement(where: dict[str, int], definitions: Sequence[dict[str, Any]]) -> Any:
    from audiences.rules.compiler import Asked, members
    from audiences.rules.grammar import parse

    return members(_scope(where), [Asked("", parse(definition)) for definition in definitions], {})


def _scope(where: dict[str, int]) -> Any:
    from audiences.rules.compiler import QueryScope
    from sources.events.sql import Sql

    return QueryScope(where["workspace"], where["space"], Sql(f"piece <= {where['piece']}"), where["now"])


def _settings() -> dict[str, Any]:
    from audiences.rules.compiler import SETTINGS

    return dict(SETTINGS)


def _filled(text: str, where: dict[str, int]) -> Any:
    """By hand: {seen}, {merged} and {since_N} (N days ago) are filled in."""
    from sources.events.sql import Sql

    since = {
        f"since_{days}": f"ts > fromUnixTimestamp64Milli(toInt64({where['now'] - days * DAY_MS}), 'UTC')"
        for days in (7, 14, 30, 60, 90)
    }
    seen = SEEN.format(**where)
    merged = f"LEFT JOIN (SELECT loser, winner FROM overlay WHERE {seen}) AS merged ON loser = profile"
    return Sql(
        text.format(
            seen=seen, merged=merged, person="if(winner = 0, profile, winner) AS person", now=where["now"], **since
        )
    )


def _milliseconds(ask: Callable[[], object]) -> float:
    begun = time.perf_counter()
    ask()
    return (time.perf_counter() - begun) * 1000


def _grouped(aggregate: str, together: str, where: str, having: str) -> str:
    """First by profile, then by person: what somebody who knows the engine would write."""
    inner = f"SELECT profile, {aggregate} AS a FROM timeline WHERE {{seen}} AND {where} GROUP BY profile"
    return f"SELECT {{person}}, {together}(a) AS v FROM ({inner}) AS t {{merged}} GROUP BY person HAVING {having}"


def _count(columns: Columns, event: int, days: int | None = None, also: Any = True) -> Any:
    """By person: how many such events."""
    rows = (columns.event == event) & also
    if days is not None:
        rows &= columns.ago < days * DAY_MS
    return numpy.bincount(columns.person[rows], minlength=PEOPLE + 1)


def _total(columns: Columns, days: int | None = None) -> Any:
    rows = columns.event == 3
    if days is not None:
        rows &= columns.ago < days * DAY_MS
    return numpy.bincount(columns.person[rows], weights=columns.cents[rows], minlength=PEOPLE + 1)


def _did(counts: Any) -> Any:
    return numpy.flatnonzero(counts)


def _everybody() -> Any:
    return numpy.arange(1, PEOPLE - MERGED + 1)


def _abandoned(columns: Columns) -> Any:
    """Added something in 30 days and did not order within 3 days of it."""
    limit = 3 * DAY_MS
    added = (columns.event == 1) & (columns.ago < 30 * DAY_MS) & (columns.ago >= limit)
    ordered = columns.event == 3
    at = (DAYS + 1) * DAY_MS - columns.ago
    span = numpy.int64((DAYS + 5) * DAY_MS)
    orders = numpy.sort(columns.person[ordered].astype("i8") * span + at[ordered])
    adds = columns.person[added].astype("i8") * span + at[added]
    # An order of the same millisecond does not come after it, whatever their order in the archive: there is none.
    following = numpy.searchsorted(orders, adds, side="left")
    soon = (following < len(orders)) & (orders[numpy.minimum(following, len(orders) - 1)] <= adds + limit)
    return numpy.unique(columns.person[added][~soon])


def _different(columns: Columns, event: int, days: int) -> Any:
    rows = (columns.event == event) & (columns.ago < days * DAY_MS)
    pairs = numpy.unique(columns.person[rows].astype("i8") * 1000 + columns.sku[rows])
    return numpy.bincount(pairs // 1000, minlength=PEOPLE + 1)


def _event(name: str, frequency: dict[str, Any], days: int | None = None, **more: Any) -> dict[str, Any]:
    return {"kind": "event", "name": name, **frequency, **({"within": {"days": days}} if days else {}), **more}


ORDERED, VIEWED, ADDED = "event = 'Order Completed'", "event = 'Product Viewed'", "event = 'Product Added'"
CENTS = "toInt64(round(100 * ifNull(properties.total.:`Float64`, toFloat64(properties.total.:`Int64`))))"
TOTAL = f"sum({CENTS})"
ALL = "SELECT {person} FROM (SELECT profile FROM profiles WHERE {seen}) AS everybody {merged} GROUP BY person"
SKUS = "groupUniqArray(properties.sku.:`String`)"
ORDERS_IN_7 = _grouped("count()", "sum", f"{ORDERED} AND {{since_7}}", "v >= 2")
NOT_THEN = [{"name": "Order Completed", "exactly": 0, "within": {"days": 3}}]
SHOES = {"where": [{"property": "category", "op": "equals", "value": "Shoes"}]}

AUDIENCES = [
    Question(
        "at least 2 orders in 7 days",
        _event("Order Completed", {"atLeast": 2}, 7),
        ORDERS_IN_7,
        lambda c: _did(_count(c, 3, 7) >= 2),
    ),
    Question(
        "viewed shoes at least 5 times in 30 days",
        _event("Product Viewed", {"atLeast": 5}, 30, **SHOES),
        _grouped("count()", "sum", f"{VIEWED} AND properties.category.:`String` = 'Shoes' AND {{since_30}}", "v >= 5"),
        lambda c: _did(_count(c, 0, 30, c.category == 0) >= 5),
    ),
    Question(
        "revenue of at least 300 in 90 days",
        _event("Order Completed", {"sum": "total", "atLeast": 300}, 90),
        _grouped(TOTAL, "sum", f"{ORDERED} AND {{since_90}}", "v >= 30000"),
        lambda c: _did(_total(c, 90) >= 30_000),
    ),
    Question(
        "at least 8 different products in 30 days",
        _event("Product Viewed", {"distinct": "sku", "atLeast": 8}, 30),
        _grouped(SKUS, "groupUniqArrayArray", f"{VIEWED} AND {{since_30}}", "length(v) >= 8"),
        lambda c: _did(_different(c, 0, 30) >= 8),
    ),
    Question(
        "at least 3 sessions in 60 days, none in 14",
        {
            "all": [
                _event("Session Started", {"atLeast": 3}, 60),
                {"not": _event("Session Started", {"atLeast": 1}, 14)},
            ]
        },
        _grouped(
            "(count(), countIf({since_14}))",
            "sumMap",
            "event = 'Session Started' AND {since_60}",
            "v.1 >= 3 AND v.2 = 0",
        ).replace("sumMap(a) AS v", "(sum(a.1), sum(a.2)) AS v"),
        lambda c: _did((_count(c, 5, 60) >= 3) & (_count(c, 5, 14) == 0)),
    ),
    Question(
        "added and did not then order within 3 days",
        _event("Product Added", {"atLeast": 1}, 30, then=NOT_THEN),
        "SELECT person FROM (SELECT {person}, groupArrayArray(x) AS adds, groupArrayArray(y) AS orders FROM"
        " (SELECT profile,"
        f" groupArrayIf(toUnixTimestamp64Milli(ts), {ADDED} AND {{since_30}}) AS x,"
        f" groupArrayIf(toUnixTimestamp64Milli(ts), {ORDERED}) AS y FROM timeline"
        " WHERE {seen} AND event IN ('Product Added', 'Order Completed') AND {since_30} GROUP BY profile) AS t {merged}"
        " GROUP BY person) WHERE arrayExists(a -> a + 259200000 <= {now} AND"
        " NOT arrayExists(o -> o >= a AND o <= a + 259200000, orders), adds)",
        _abandoned,
    ),
    Question(
        "signed up, ever",
        _event("Signed Up", {"atLeast": 1}),
        _grouped("count()", "sum", "event = 'Signed Up'", "v >= 1"),
        lambda c: _did(_count(c, 4)),
    ),
    Question(
        "never ordered",
        _event("Order Completed", {"exactly": 0}),
        f"{ALL} HAVING person NOT IN (SELECT {{person}} FROM (SELECT DISTINCT profile FROM timeline"
        f" WHERE {{seen}} AND {ORDERED}) AS t {{merged}})",
        lambda c: numpy.setdiff1d(_everybody(), _did(_count(c, 3))),
    ),
    Question(
        "checked out or added 3 times in 7 days",
        {"any": [_event("Checkout Started", {"atLeast": 1}, 7), _event("Product Added", {"atLeast": 3}, 7)]},
        _grouped(
            f"(countIf(event = 'Checkout Started'), countIf({ADDED}))",
            "sumMap",
            "event IN ('Checkout Started', 'Product Added') AND {since_7}",
            "v.1 >= 1 OR v.2 >= 3",
        ).replace("sumMap(a) AS v", "(sum(a.1), sum(a.2)) AS v"),
        lambda c: _did((_count(c, 2, 7) >= 1) | (_count(c, 1, 7) >= 3)),
    ),
    Question(
        "exactly one view in 7 days",
        _event("Product Viewed", {"exactly": 1}, 7),
        _grouped("count()", "sum", f"{VIEWED} AND {{since_7}}", "v = 1"),
        lambda c: _did(_count(c, 0, 7) == 1),
    ),
]


def _of(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "within": {"days": 30}, **more}


LAST = "max(((toUnixTimestamp64Milli(ts), position), properties.sku.:`String`))"
TRAITS = [
    Question(
        "how often ordered in 30 days",
        {"kind": "event_counter", **_of("Order Completed")},
        _grouped("count()", "sum", f"{ORDERED} AND {{since_30}}", "v > 0"),
        lambda c: _count(c, 3, 30),
    ),
    Question(
        "revenue in 30 days",
        {"kind": "aggregation", "function": "sum", "property": "total", **_of("Order Completed")},
        _grouped(TOTAL, "sum", f"{ORDERED} AND {{since_30}}", "1").replace("sum(a) AS v", "sum(a) / 100 AS v"),
        lambda c: _total(c, 30),
    ),
    Question(
        "largest order in 30 days",
        {"kind": "aggregation", "function": "maximum", "property": "total", **_of("Order Completed")},
        _grouped(f"max({CENTS})", "max", f"{ORDERED} AND {{since_30}}", "1").replace(
            "max(a) AS v", "max(a) / 100 AS v"
        ),
        lambda c: numpy.maximum.at(
            numpy.zeros(PEOPLE + 1),
            c.person[(c.event == 3) & (c.ago < 30 * DAY_MS)],
            c.cents[(c.event == 3) & (c.ago < 30 * DAY_MS)],
        ),
    ),
    Question(
        "how many different products ordered in 30 days",
        {"kind": "unique_list_count", "property": "sku", **_of("Order Completed")},
        _grouped(SKUS, "groupUniqArrayArray", f"{ORDERED} AND {{since_30}}", "1").replace(
            "groupUniqArrayArray(a) AS v", "length(groupUniqArrayArray(a)) AS v"
        ),
        lambda c: _different(c, 3, 30),
    ),
    Question(
        "the products ordered in 30 days",
        {"kind": "unique_list", "property": "sku", **_of("Order Completed")},
        _grouped(SKUS, "groupUniqArrayArray", f"{ORDERED} AND {{since_30}}", "1").replace(
            "groupUniqArrayArray(a) AS v", "arraySort(groupUniqArrayArray(a)) AS v"
        ),
        lambda c: _different(c, 3, 30),
    ),
    Question(
        "the last product ordered in 30 days",
        {"kind": "last", "property": "sku", **_of("Order Completed")},
        _grouped(LAST, "max", f"{ORDERED} AND {{since_30}}", "1").replace("max(a) AS v", "max(a).2 AS v"),
        lambda c: numpy.lexsort((-c.ago[c.event == 3], c.person[c.event == 3])),
    ),
    Question(
        "the category viewed most in 30 days",
        {"kind": "most_frequent", "property": "category", "minimum": 1, **_of("Product Viewed")},
        "SELECT person, argMin(value, (-n, value)) AS v FROM (SELECT {person}, value, sum(a) AS n FROM (SELECT profile,"
        f" properties.category.:`String` AS value, count() AS a FROM timeline WHERE {{seen}} AND {VIEWED}"
        " AND {since_30}"
        " GROUP BY profile, value) AS t {merged} GROUP BY person, value) GROUP BY person",
        lambda c: numpy.bincount(
            c.person[(c.event == 0) & (c.ago < 30 * DAY_MS)].astype("i8") * 5
            + c.category[(c.event == 0) & (c.ago < 30 * DAY_MS)]
        ),
    ),
]
