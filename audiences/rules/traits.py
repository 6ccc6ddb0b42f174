"""PURE. What every kind of computed trait has in common. A new kind is one file of `audiences/traits`: a subclass.

A computed trait is a question about the events of a person whose answer is a value, as JSON text. It is compiled as
conditions are: as aggregates, and what follows from them. A person of whom there is nothing to compute has no value.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from audiences.rules import sessions
from audiences.rules.aggregates import EXTREME, TEXTS, Aggregate, Answers
from audiences.rules.conditions import EventCondition
from audiences.rules.fields import EventSources, SourcesField, TextField, WindowField, declare
from audiences.rules.operators import Question
from audiences.rules.properties import WHERE, place, question_rows, questions_sentence
from audiences.rules.values import as_json
from audiences.rules.windows import Session, Window
from sources.events.sql import Sql, join, sql


@dataclass(frozen=True)
class TraitKind(EventCondition):
    """As a condition it is true of everybody who has a value."""

    where: tuple[Question, ...] = declare(WHERE, default=())
    when: Window | None = declare(WindowField(sessions=True), default=None)
    sources: EventSources | None = declare(SourcesField(), default=None, kw_only=True)

    @property
    def window(self) -> Window | None:
        return self.when

    def rows(self) -> Sql:
        return join(" AND ", [super().rows(), *question_rows(self.where)])

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        if isinstance(self.when, Session):
            return (sessions.aggregate(self.name, self.counted(now), self.opens(now), self.texts()),)
        return self.measures(now)

    def value(self, answers: Answers) -> Sql:
        """JSON text; '' when there is none. Never NULL."""
        if not isinstance(self.when, Session):
            return self.value_of([Sql(column) for column in answers.columns])
        # By names, since the events and what is measured of them are asked for many times: written out at each place,
        # a statement would be four times as long, and it is planned for longer than it runs.
        measured = self.of_events(Sql("own"))
        names = [f"measure{number}" for number in range(len(measured))]
        value = self.value_of([Sql(name) for name in names])
        each = join(", ", [sql("[%s]", column) for column in measured])
        named = sql(f"arrayMap(({', '.join(names)}) -> %s, %s)[1]", value, each)
        events = sessions.newest(answers.columns[0], self.when, answers.now)
        return sql("arrayMap(own -> %s, [%s])[1]", named, events)

    def measures(self, now: int) -> tuple[Aggregate, ...]:
        """What the value is made of."""
        return super().aggregates(now)

    @abstractmethod
    def value_of(self, columns: Sequence[Sql]) -> Sql:
        """The value, of what was measured."""

    def texts(self) -> Sql | None:
        """What an event has of it, an array of JSON texts; None = nothing but that it happened."""
        return None

    @abstractmethod
    def of_events(self, events: Sql) -> Sequence[Sql]:
        """What `measures` would be of these events alone, an array that has their `texts`."""

    def test(self, answers: Answers) -> Sql:
        return sql("notEmpty(%s)", self.value(answers))

    def events_sentence(self) -> str:
        """Which events it is about, to be read behind "of"."""
        window = f" {self.when.sentence()}" if self.when else ""
        return f"{self.event_sentence()}{questions_sentence(self.where)}{window}"


@dataclass(frozen=True)
class PropertyTrait(TraitKind):
    """One that is about a property of the events. `items[].sku`: of all elements of a list."""

    of: str = declare(TextField("property", "Property"), kw_only=True)

    def texts(self) -> Sql:
        return place(self.of).values(as_json)


def together(events: Sql) -> Sql:
    """The texts of all of the events as one array."""
    return sql("arrayFlatten(arrayMap(e -> e.6[1], %s))", events)


@dataclass(frozen=True)
class DifferentValues(PropertyTrait):
    """One that is about the different values, as JSON texts."""

    def measures(self, now: int) -> tuple[Aggregate, ...]:
        rows = self.counted(now)
        values = place(self.of).aggregate("groupUniqArray", as_json, rows)
        return (Aggregate(TEXTS, (self.name,), values, self.opens(now), rows),)

    def of_events(self, events: Sql) -> Sequence[Sql]:
        return [sql("arrayDistinct(%s)", together(events))]


@dataclass(frozen=True)
class ValueOfOneEvent(PropertyTrait):
    """The value of the last event that has the property, or of the first, in the order of the archive."""

    newest_first: ClassVar[bool]

    def measures(self, now: int) -> tuple[Aggregate, ...]:
        order = ("toUnixTimestamp64Milli(ts)", "toInt64(source)", "toInt64(origin_piece)", "toInt64(origin_position)")
        sign = "" if self.newest_first else "-"  # the first is the last of the negative order: one shape does for both
        # Of several elements of a list of one event the first.
        value = sql("ifNull(arrayElement(%s, 1), '')", self.texts())
        rows = sql("%s AND %s != ''", self.counted(now), value)
        event = sql(f"(1, {', '.join(sign + part for part in order)}, %s)", value)
        return (Aggregate(EXTREME, (self.name,), sql("maxIf(%s, %s)", event, rows), self.opens(now), rows),)

    def value_of(self, columns: Sequence[Sql]) -> Sql:
        return sql("%s.6", columns[0])

    def texts(self) -> Sql:
        # A list is a value as well: it is kept as its JSON text, which begins with a bracket.
        return place(self.of).values(
            lambda value: sql("coalesce(%s, if(startsWith(%s, '['), %s, NULL))", as_json(value), value.list, value.list)
        )

    def of_events(self, events: Sql) -> Sequence[Sql]:
        which = "arrayLast" if self.newest_first else "arrayFirst"
        text = sql(f"{which}(t -> notEmpty(t), arrayMap(e -> e.6[1], %s))[1]", events)
        return [sql("(1, 0, 0, 0, 0, %s)", text)]
