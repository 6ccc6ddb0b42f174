"""PURE. What a condition asks of the stores, so that many conditions become columns of one statement.

A condition is a *test* on *aggregates*. An aggregate is one column over the rows of one profile: how often an event
happened, the newest value of a trait. Aggregates of a merged person's profiles are put together again (`Relation`),
and a person without rows has the relation's empty value, so that a test such as "at most 0" is right for people
of whom there is nothing to count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class Relation:
    """A table of rows with a profile, and how its aggregates are kept: one array column of one type."""

    table: str
    named_by: str  # the column that an aggregate's `name` is a value of
    column: str
    type: str  # of one aggregate
    together: str  # the aggregate function that puts two profiles' aggregates together


EVENTS = Relation("timeline", "event", "counts", "UInt64", "sum")
# The newest by event time; ties as the archive has them. The value is JSON text; 'null' = removed, '' = never set.
TRAITS = Relation("traits", "key", "newest", "Tuple(DateTime64(3, 'UTC'), UInt32, UInt64, UInt32, String)", "max")
RELATIONS = (EVENTS, TRAITS)


def at(milliseconds: int) -> Sql:
    """A moment given in milliseconds since 1970."""
    return sql("fromUnixTimestamp64Milli(toInt64(%s), 'UTC')", milliseconds)


@dataclass(frozen=True)
class Aggregate:
    """One number or value per profile."""

    relation: Relation
    name: str  # it reads rows with this name only
    expression: Sql
    since: int | None = None  # milliseconds; rows up to this moment do not count. None = all do
    rows: Sql | None = None  # which rows of that name it looks at, the evidence of its answer. None = all


@dataclass(frozen=True)
class TimeTrigger:
    """The passing of time may change an answer `after` milliseconds after each of these rows of `timeline`."""

    name: str
    rows: Sql
    after: int


@dataclass(frozen=True)
class Answers:
    """What a test may use: its aggregates' columns in order, and whether a person is in another audience."""

    columns: Sequence[str]
    is_in: Callable[[str], Sql]
