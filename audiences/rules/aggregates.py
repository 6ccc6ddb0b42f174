"""PURE. What a condition asks of the stores, so that many conditions become columns of one statement.

A condition is a *test* on *measures*. A measure is an aggregate over the rows of one profile: how often an event
happened, the newest value of a trait. Measures of a merged person's profiles are put together again (`Relation`),
and a person without rows has the relation's empty value, so that a test such as "at most 0" is right for people
of whom there is nothing to count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class Relation:
    """A table of rows with a profile, and how its measures are kept: one array column of one type."""

    table: str
    named_by: str  # the column that a measure's `name` is a value of
    column: str
    type: str  # of one measure
    together: str  # the aggregate function that puts two profiles' measures together
    over_time: bool  # rows have a moment that windows look at


EVENTS = Relation("timeline", "event", "counts", "UInt64", "sum", over_time=True)
# The newest by event time; ties as the archive has them. The value is JSON text; 'null' = removed, '' = never set.
TRAITS = Relation(
    "traits", "key", "newest", "Tuple(DateTime64(3, 'UTC'), UInt32, UInt64, UInt32, String)", "max", over_time=False
)
RELATIONS = (EVENTS, TRAITS)


def kind_schema(kind: str) -> dict[str, Any]:
    return {"type": "string", "enum": [kind]}


def at(milliseconds: int) -> Sql:
    """A moment given in milliseconds since 1970."""
    return sql("fromUnixTimestamp64Milli(toInt64(%s), 'UTC')", milliseconds)


@dataclass(frozen=True)
class Measure:
    """One number or value per profile."""

    relation: Relation
    name: str  # it reads rows with this name only
    aggregate: Sql
    since: int | None = None  # milliseconds; rows up to this moment do not count. None = all do
    rows: Sql | None = None  # which rows of that name it looks at, the evidence of its answer. None = all


@dataclass(frozen=True)
class Edge:
    """The passing of time may change an answer `after` milliseconds after each of these rows of `timeline`."""

    name: str
    rows: Sql
    after: int


@dataclass(frozen=True)
class Answers:
    """What a test may use: its measures' columns in order, and whether a person is in another audience."""

    columns: Sequence[str]
    is_in: Callable[[str], Sql]


class Condition(Protocol):
    """One kind of leaf of a definition; each is one file in `audiences/conditions`."""

    kind: ClassVar[str]
    label: ClassVar[str]
    fields: ClassVar[dict[str, str]]  # JSON field -> label
    labels: ClassVar[dict[str, str]]  # the same of fields inside of these
    icon: ClassVar[str]  # a symbol of static/icons.svg
    blank: ClassVar[dict[str, Any]]  # the entries of its form, saying nothing yet: texts, and lists of rows
    rows: ClassVar[dict[str, dict[str, str]]]  # of each such list: the entries of a blank row
    schema: ClassVar[dict[str, Any]]  # JSON Schema of its JSON: whatever `parse` takes, it takes
    entry_of: ClassVar[dict[str, str]]  # JSON field -> the entry it is made of, where that has another name

    @classmethod
    def parse(cls, value: dict[str, Any], path: str) -> "Condition":
        """Raises DefinitionError with the path."""

    @staticmethod
    def sketch(value: dict[str, Any]) -> dict[str, Any]:
        """The entries that show this JSON, which is valid."""

    @staticmethod
    def draw(entries: dict[str, Any]) -> dict[str, Any]:
        """The JSON that they mean, without its kind. What is missing or wrong stays so, for `parse` to refuse."""

    def json(self) -> dict[str, Any]: ...

    def sentence(self) -> str:
        """What is true of a person, to be read after "People who"."""

    def measures(self, now: int) -> tuple[Measure, ...]:
        """now: milliseconds since 1970."""

    def test(self, answers: Answers) -> Sql:
        """A boolean that is never NULL."""

    def touches(self) -> frozenset[str]:
        """The touch keys whose change may change the answer (identity.models.Touch)."""

    def edges(self) -> tuple[Edge, ...]:
        """When the passing of time alone may change it. A superset is allowed."""

    def audiences(self) -> frozenset[str]:
        """Keys of the audiences it asks about."""

    def beginning(self, since: int) -> "Condition":
        """The same, to which no event up to this moment counts, in milliseconds; itself, if it asks about none."""
