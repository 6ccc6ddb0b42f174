"""PURE. What a condition asks of the stores, so that many conditions become columns of one statement.

A condition is a *test* on *aggregates*. An aggregate is one column over the rows of one profile: how often an event
happened, the newest value of a trait. Aggregates of a merged person's profiles are put together again (`Shape`),
and a person without rows has the shape's empty value, so that a test such as "at most 0" is right for people
of whom there is nothing to count.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audiences.rules import dates
from audiences.rules.references import PastMembership
from audiences.rules.windows import UNITS
from sources.events.sql import Sql, join, sql
from spaces.times import from_milliseconds

LOTS = 1_000_000  # that a random split is made of


@dataclass(frozen=True)
class Relation:
    """A table whose rows have a profile and a name."""

    table: str
    named_by: str  # the column that an aggregate's names are values of


EVENTS = Relation("timeline", "event")
TRAITS = Relation("traits", "key")
RELATIONS = (EVENTS, TRAITS)


@dataclass(frozen=True)
class Shape:
    """What an aggregate of a relation is, and how it is kept: aggregates of one shape are one array column."""

    relation: Relation
    column: str
    type: str  # of one aggregate
    together: str  # the aggregate function that puts two profiles' aggregates together


COUNT = Shape(EVENTS, "counts", "UInt64", "sum")
# Amounts are whole millionths: their sums do not depend on the order in which they are added up.
SUM = Shape(EVENTS, "sums", "Int128", "sum")
LARGEST = Shape(EVENTS, "largest", "Nullable(Int128)", "max")  # NULL = there is none
DISTINCT = Shape(EVENTS, "marks", "Array(UInt64)", "groupUniqArrayArray")
# Events in their order: (ms, source, piece, position, which steps of a sequence each may be, as bits).
SEQUENCE = Shape(EVENTS, "sequences", "Array(Tuple(Int64, UInt32, UInt64, UInt32, UInt16))", "groupArrayArray")
# The same, each with the texts of some of its properties: JSON, equal values alike.
DETAILED = Shape(
    EVENTS,
    "details",
    "Array(Tuple(Int64, UInt32, UInt64, UInt32, UInt16, Array(Array(String))))",
    "groupArrayArray",
)
TALLY = Shape(EVENTS, "tallies", "Tuple(Array(String), Array(UInt64))", "sumMap")  # JSON texts, how often each occurs
TEXTS = Shape(EVENTS, "texts", "Array(String)", "groupUniqArrayArray")  # different JSON texts
# One of the events and what it has, as JSON text: the greatest. The first number is 1; 0 = there is none.
EXTREME = Shape(EVENTS, "extremes", "Tuple(UInt8, Int64, Int64, Int64, Int64, String)", "max")
# The newest by event time; ties as the archive has them. The value is JSON text; 'null' = removed, '' = never set.
NEWEST = Shape(TRAITS, "newest", "Tuple(DateTime64(3, 'UTC'), UInt32, UInt64, UInt32, String)", "max")
SHAPES = (COUNT, SUM, LARGEST, DISTINCT, SEQUENCE, DETAILED, TALLY, TEXTS, EXTREME, NEWEST)


DAY = UNITS["days"]
# What DateTime64(3) holds: the years 1900 to 2299. No event is from outside of them.
EARLIEST, LATEST = -2_208_988_800_000, 10_413_791_999_999


def event_row(bits: Sql, texts: Sequence[Sql]) -> Sql:
    """A row of the timeline as SEQUENCE has it, or as DETAILED with these arrays of texts."""
    if not texts:
        return sql("(toUnixTimestamp64Milli(ts), source, origin_piece, origin_position, toUInt16(%s))", bits)
    # None of them is NULL, and the engine is told so: it refuses to take lists out of what might be.
    details = sql("CAST([%s] AS Array(Array(String)))", join(", ", texts))
    return sql("(toUnixTimestamp64Milli(ts), source, origin_piece, origin_position, toUInt16(%s), %s)", bits, details)


def at(milliseconds: int) -> Sql:
    """A moment given in milliseconds since 1970, to compare `ts` with: as text, which is the shortest to plan."""
    moment = from_milliseconds(min(max(milliseconds, EARLIEST), LATEST))
    return sql("%s", f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}")


@dataclass(frozen=True)
class Aggregate:
    """One number or value per profile."""

    shape: Shape
    names: tuple[str, ...]  # it reads rows with these names only
    expression: Sql
    since: int | None = None  # milliseconds; rows up to this moment do not count. None = all do
    rows: Sql | None = None  # which rows of these names it looks at, the evidence of its answer. None = all

    @property
    def relation(self) -> Relation:
        return self.shape.relation


@dataclass(frozen=True)
class TimeTrigger(ABC):
    """The passing of time may change an answer, at moments that follow from rows of one name. In milliseconds."""

    relation: Relation
    name: str

    @abstractmethod
    def due(self, since: int, now: int) -> Sql:
        """Whether one of a row's moments is in (since, now]."""

    @abstractmethod
    def coming(self, now: int, until: int, most: int) -> Sql:
        """An array of (moment, profile): the rows' moments in (now, until], the earliest first, at most so many."""

    def span(self, since: int, until: int) -> tuple[int, int] | None:
        """Between which times the rows are whose moments are in (since, until]; None = they may be of any time."""
        return None


@dataclass(frozen=True)
class EventTrigger(TimeTrigger):
    """A moment comes `after` milliseconds after each of these rows of `timeline`."""

    rows: Sql
    after: int

    def due(self, since: int, now: int) -> Sql:
        if since >= now:  # as of a version that has just been computed
            return Sql("0")
        return sql("%s AND ts > %s AND ts <= %s", self.rows, at(since - self.after), at(now - self.after))

    def coming(self, now: int, until: int, most: int) -> Sql:
        moment = sql("(toUnixTimestamp64Milli(ts) + %s, profile)", self.after)
        return sql(f"groupArraySortedIf({most})(%s, %s)", moment, self.due(now, until))

    def span(self, since: int, until: int) -> tuple[int, int]:
        return since - self.after, until - self.after


@dataclass(frozen=True)
class DateTrigger(TimeTrigger):
    """A moment comes `after` milliseconds, or before if negative, after each date that a trait's value holds."""

    texts: Sql  # an array of plain texts
    after: int

    def due(self, since: int, now: int) -> Sql:
        within = dates.within(Sql("date"), since - self.after, now - self.after)
        return sql("(key = %s AND arrayExists(date -> %s, %s))", self.name, within, self.texts)

    def coming(self, now: int, until: int, most: int) -> Sql:
        moments = sql("arrayFlatten(arrayMap(date -> %s, %s))", dates.moments(Sql("date")), self.texts)
        within = sql("ms > %s AND ms <= %s", now - self.after, until - self.after)
        rows = sql("arrayMap(ms -> (ms + %s, profile), arrayFilter(ms -> %s, %s))", self.after, within, moments)
        return sql(f"groupArraySortedArrayIf({most})(%s, key = %s)", rows, self.name)


@dataclass(frozen=True)
class AnniversaryTrigger(TimeTrigger):
    """At midnight UTC the day changes whose anniversaries are asked about."""

    texts: Sql
    days: int  # ahead of today

    def due(self, since: int, now: int) -> Sql:
        first, last = since // DAY, now // DAY
        if first == last:
            return Sql("0")
        days = range(first, min(last, first + 366) + 1)
        written = {day for number in days for day in dates.days_of(number + self.days)}
        among = sql("arrayExists(date -> substring(date, 6, 5) IN %s, %s)", tuple(sorted(written)), self.texts)
        return sql("(key = %s AND %s)", self.name, among)

    def coming(self, now: int, until: int, most: int) -> Sql:
        """Within a day of those whose day it is; else of everybody who has such a value."""
        midnights = [*range((now // DAY + 1) * DAY, until + 1, DAY)[:most]]
        moments = sql("arrayMap(ms -> (ms, profile), CAST(%s AS Array(Int64)))", midnights)
        whose = self.due(now, until) if until - now <= DAY else sql("key = %s", self.name)
        return sql(f"groupArraySortedArrayIf({most})(%s, %s)", moments, whose)


@dataclass(frozen=True)
class Answers:
    """What a test may use: its aggregates' columns in order, when it is (ms), whether a person is or was in another
    audience, and a random number below LOTS of the person, always the same under the same name."""

    columns: Sequence[str]
    now: int
    is_in: Callable[[str], Sql]
    was_in: Callable[[PastMembership], Sql]
    lot: Callable[[str], Sql]
