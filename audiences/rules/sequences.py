"""PURE. One event and then another: of the events of a person in their order, which have after them what is asked for.

Each step follows the event itself or a step before it, within some time or at any time after it; an event counts when
all that follows it is as asked. Events of one moment follow each other as the archive has them, and no event follows
itself. What happened "not", "exactly" or "at most" so often within some time is known when that time has passed.

    the person's events, sorted:       t1   t2   t3   t4     with the steps that each may be, as bits
    per step, from the last one:       0    1    0    1      does it count? (the bit, and all that follows it)
      how many so far, the n-th time:  0    1    1    2      so the k-th after an event is one look into an array
"""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from audiences.rules.aggregates import EVENTS, SEQUENCE, Aggregate, EventTrigger, TimeTrigger, at
from sources.events.sql import Sql, join, sql

MOST_STEPS = 8  # after the event itself; their bits fit into 16


@dataclass(frozen=True)
class Step:
    """rows: which rows of the timeline may be it. within: milliseconds. follows: the place of a step before it."""

    name: str
    rows: Sql
    bound: str = "atLeast"
    number: int = 1
    within: int | None = None
    follows: int = 0


def aggregate(steps: Sequence[Step], opens: int | None, now: int, first: Sql) -> Aggregate:
    """The events that may be any of the steps. opens: none up to then counts. first: those that may be the first."""
    names = tuple(sorted({step.name for step in steps}))
    later = sql("ts <= %s", at(now)) if opens is None else sql("ts > %s AND ts <= %s", at(opens), at(now))
    bits = [
        sql("toUInt16(%s)", first),
        *(sql(f"{2**n} * toUInt16(%s)", step.rows) for n, step in enumerate(steps[1:], 1)),
    ]
    row = sql("(toUnixTimestamp64Milli(ts), source, origin_piece, origin_position, toUInt16(%s))", join(" + ", bits))
    some = sql("(%s)", join(" OR ", [step.rows for step in steps]))
    rows = sql("%s AND %s", some, later)
    return Aggregate(SEQUENCE, names, sql("groupArrayIf(%s, %s)", row, rows), opens, rows)


def times(column: str, steps: Sequence[Step], now: int) -> Sql:
    """How many events there are that all the steps follow."""
    name = f"s{crc32(repr((column, steps)).encode()):08x}"  # what its parts are called in SQL
    return sql("arraySum(%s)", _counting(name, column, steps, 0, now))


def time_triggers(steps: Sequence[Step]) -> list[TimeTrigger]:
    """When the time has passed in which something was not to happen; and when an event that is dated later has come."""
    if len(steps) == 1:
        return []
    waits = [
        EventTrigger(EVENTS, steps[step.follows].name, steps[step.follows].rows, step.within)
        for step in steps[1:]
        if step.within is not None and step.bound != "atLeast"
    ]
    return [*waits, *(EventTrigger(EVENTS, step.name, step.rows, 0) for step in steps)]


def _counting(name: str, column: str, steps: Sequence[Step], place: int, now: int) -> Sql:
    """An array: for each event of the person whether it counts as this step. Everything in it has a name of its own,
    so that it is worked out once."""
    events = f"{name}e"
    after = [
        _follows(name, column, steps, number, now)
        for number, step in enumerate(steps)
        if number and step.follows == place
    ]
    own = sql(f"arrayMap(e -> toUInt8(bitTest(e.5, {place})), (arraySort({column}) AS {events}))")
    if not after:
        return own
    both = join(" AND ", [Sql("o"), *(Sql(f"f{n}") for n in range(len(after)))])
    parts = ", ".join(f"f{n}" for n in range(len(after)))
    return sql(f"arrayMap((o, {parts}) -> toUInt8(%s), %s, %s)", both, own, join(", ", after))


def _follows(name: str, column: str, steps: Sequence[Step], place: int, now: int) -> Sql:
    """An array: for each event of the person whether this step is true of what came after it."""
    step, events = steps[place], f"{name}e"
    counts, so_far, moments = f"{name}c{place}", f"{name}n{place}", f"{name}t{place}"
    made = sql(
        f"(%s AS {counts}, arrayCumSum({counts}) AS {so_far},"
        f" arrayMap(e -> e.1, arrayFilter((e, c) -> c, {events}, {counts})) AS {moments})",
        _counting(name, column, steps, place, now),
    )
    until = "" if step.within is None else f" AND {moments}[n + %d] <= e.1 + {step.within}"

    def at_least(number: int) -> str:
        if number == 0:
            return "1"
        return f"(length({moments}) >= n + {number}{until and until % number})"

    answer = {
        "atLeast": at_least(step.number),
        "exactly": f"({at_least(step.number)} AND NOT {at_least(step.number + 1)})",
        "atMost": f"NOT {at_least(step.number + 1)}",
    }[step.bound]
    if step.within is not None and step.bound != "atLeast":
        answer = f"({answer} AND e.1 + {step.within} <= {now})"
    return sql(f"arrayMap((e, n) -> toUInt8({answer}), {events}, tupleElement(%s, 2))", made)
