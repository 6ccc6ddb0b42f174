"""Fifty workspaces with a hundred property names each in one timeline, beside one of them alone in a table like it: an
audience's statement with a property filter, and inserts.

A part of the table has a column for each of at most 256 property names (`max_dynamic_paths`); the rest share one.
Written by one workspace a part has all of its names; put together with parts of others it has not.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from benchmarks.figures import Figure
from benchmarks.stack import Stack
from benchmarks.world import COLUMNS, DAY_MS, EVENTS

FIRST = 1  # of the workspaces; spaces have their numbers
WORKSPACES, PROPERTIES, OF_EVENT = 50, 100, 10  # an event has so many of its workspace's properties
KINDS = PROPERTIES // OF_EVENT  # of events
ROWS = max(EVENTS // 10, WORKSPACES * 1000)  # of all workspaces
OF_WORKSPACE, PEOPLE, DAYS = ROWS // WORKSPACES, 1_000, 25
ASKED, RUNS = (
    (FIRST, WORKSPACES // 2, FIRST + WORKSPACES - 1),
    9,
)  # workspaces, and how often each property of the event is asked for
INSERTED, INSERTS = 20_000, 5
PIECE = 1


def _alone(workspace: int) -> str:
    """The database that has only this workspace."""
    return f"alone_{workspace}"


DATABASES = ("shared", *map(_alone, ASKED))


def measure(running: Stack) -> list[Figure]:
    from spaces.clock import clock
    from spaces.times import milliseconds

    now = milliseconds(clock.now())
    with _databases():
        for workspace in range(FIRST, FIRST + WORKSPACES):
            _insert("shared", workspace, OF_WORKSPACE, now)
        for workspace in ASKED:
            _insert(_alone(workspace), workspace, OF_WORKSPACE, now)
        apart = _paths("shared")
        filters = {"as they were written": _filters(now)}
        for database in DATABASES:
            _run(f"OPTIMIZE TABLE {database}.timeline FINAL")
        together = _paths("shared")
        filters["put together"] = _filters(now)
        inserts = _inserts(now)
    notes = {"as they were written": apart, "put together": together}
    return [
        *(
            Figure(
                f"property filter among {WORKSPACES} workspaces, parts {how}",
                shared,
                "ms",
                RUNS * OF_EVENT * len(ASKED),
                "alone",
                alone,
                f"{OF_WORKSPACE:,} events each; slowest property {slowest}; {notes[how]}",
            )
            for how, (shared, alone, slowest) in filters.items()
        ),
        *inserts,
    ]


def _filters(now: int) -> tuple[float, float, str]:
    """ms among all and alone, and the property with the worst ratio. Both must say the same people."""
    took: dict[str, list[tuple[float, float]]] = {}
    for workspace in ASKED:
        for name in _names(workspace, 0):
            both = [_statement(database, workspace, name, now) for database in ("shared", _alone(workspace))]
            answers = [ask() for ask in both]
            assert answers[0] == answers[1] != [], (workspace, name)
            assert answers[0][0], (workspace, name)
            took[name] = [(_milliseconds(both[0]), _milliseconds(both[1])) for _ in range(RUNS)]
    medians = {name: tuple(median(column) for column in zip(*pairs, strict=True)) for name, pairs in took.items()}
    name, (shared, alone) = max(medians.items(), key=lambda each: each[1][0] / each[1][1])
    middle = [median(column) for column in zip(*medians.values(), strict=True)]
    return middle[0], middle[1], f"{name} {shared:.1f} : {alone:.1f} ms"


def _statement(database: str, workspace: int, name: str, now: int) -> Callable[[], Any]:
    """An audience's, on the tables of this database."""
    from audiences.rules.compiler import SETTINGS, Asked, QueryScope, members
    from audiences.rules.grammar import parse
    from sources.events import client
    from sources.events.sql import Sql

    where = [{"property": name, "op": "equals", "value": "v3"}]
    definition = {"kind": "event", "name": "Event 0", "atLeast": 1, "where": where, "within": {"days": DAYS}}
    scope = QueryScope(workspace, workspace, Sql(f"piece <= {PIECE}"), now)
    statement = members(scope, [Asked("", parse(definition))], {})
    text = statement.text
    for table in ("timeline", "profiles", "overlay"):
        text = text.replace(f"FROM {table} ", f"FROM {database}.{table} ")
    assert text.count(f"FROM {database}.") == 3, text
    return lambda: client.bitmaps(Sql(text, statement.values), **SETTINGS)


def _inserts(now: int) -> list[Figure]:
    """One insert of rows of all workspaces, as resolve writes those that wait together, beside one of one workspace."""
    pairs = []
    for run in range(INSERTS + 1):  # in turn; the first warms up
        piece = PIECE + 1 + run
        shared = _milliseconds(lambda piece=piece: _insert("shared", None, INSERTED, now, piece))
        pairs.append((shared, _milliseconds(lambda piece=piece: _insert(_alone(FIRST), FIRST, INSERTED, now, piece))))
    shared, alone = (INSERTED / median(column) * 1000 for column in zip(*pairs[1:], strict=True))
    return [
        Figure(
            f"inserts of rows of {WORKSPACES} workspaces at once",
            shared,
            "events/s",
            INSERTS,
            "of one",
            alone,
            f"{INSERTED:,} rows each; {_paths('shared')}",
        )
    ]


def _insert(database: str, workspace: int | None, rows: int, now: int, piece: int = PIECE) -> None:
    """workspace: whose rows; None = of all of them in turn."""
    number = str(workspace) if workspace else f"{FIRST} + number % {WORKSPACES}"
    kind = f"intDiv(number, {WORKSPACES}) % {2 * KINDS}" if workspace is None else f"number % {2 * KINDS}"
    event = f"greatest(0, toInt32({kind}) - {KINDS})"  # more than half are `Event 0`
    names = f"concat('\"p', toString({number}), '_', toString({event} * {OF_EVENT} + k), '\":')"
    value = "concat('\"v', toString(intHash32(number * 10 + k) % 50), '\"')"
    text = f"concat('{{', arrayStringConcat(arrayMap(k -> concat({names}, {value}), range({OF_EVENT})), ','), '}}')"
    values = (
        f"{number}, {number}, {piece}, number, 1 + intHash32(number) % {PEOPLE}, 1, 1, number,"
        f" fromUnixTimestamp64Milli(toInt64({now} - intHash64(number) % {DAYS * DAY_MS}), 'UTC'), 'track',"
        f" concat('Event ', toString({event})), toString(number), {text}"
    )
    _run(f"INSERT INTO {database}.timeline ({COLUMNS}) SELECT {values} FROM numbers({rows})")


def _names(workspace: int, event: int) -> list[str]:
    """The properties of this event."""
    return [f"p{workspace}_{event * OF_EVENT + place}" for place in range(OF_EVENT)]


def _paths(database: str) -> str:
    """How the parts keep the properties."""
    rows = _rows(
        "SELECT count(), avg(own), sum(share) / sum(own + share) FROM (SELECT _part,"
        " length(groupUniqArrayArray(JSONDynamicPaths(properties))) AS own,"
        " length(groupUniqArrayArray(JSONSharedDataPaths(properties))) AS share"
        f" FROM {database}.timeline GROUP BY _part)"
    )
    parts, own, share = rows[0]
    return f"{parts} parts, {own:,.0f} names with a column of their own in each, {share:.0%} of names without"


@contextmanager
def _databases() -> Iterator[None]:
    """One for all workspaces and one for each that is asked. With tables like the product's own, and all people."""
    try:
        for database in DATABASES:
            _run(f"CREATE DATABASE {database}")
            for table in ("timeline", "profiles", "overlay"):
                _run(f"CREATE TABLE {database}.{table} AS {table}")
            _run(
                f"INSERT INTO {database}.profiles SELECT {FIRST} + intDiv(number, {PEOPLE}) AS w, w, {PIECE},"
                f" 1 + number % {PEOPLE}, 1, 1 FROM numbers({PEOPLE * WORKSPACES})"
            )
        yield
    finally:
        for database in DATABASES:
            _run(f"DROP DATABASE IF EXISTS {database}")


def _run(statement: str) -> None:
    from sources.events import client
    from sources.events.sql import Sql

    client.run(Sql(statement))


def _rows(statement: str) -> Sequence[Sequence[Any]]:
    from sources.events import client
    from sources.events.sql import Sql

    return client.rows(Sql(statement))


def _milliseconds(ask: Callable[[], object]) -> float:
    begun = time.perf_counter()
    ask()
    return (time.perf_counter() - begun) * 1000
