"""PURE. What every kind of computed trait has in common. A new kind is one file of `audiences/traits`: a subclass.

A computed trait is a question about the events of a person whose answer is a value, as JSON text. It is compiled as
conditions are: as aggregates, and what follows from them. A person of whom there is nothing to compute has no value.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import EXTREME, TEXTS, Aggregate, Answers
from audiences.rules.conditions import EventCondition
from audiences.rules.fields import EventSources, SourcesField, TextField, WindowField, declare
from audiences.rules.operators import Operand, Question
from audiences.rules.properties import WHERE, place, question_rows, questions_sentence
from audiences.rules.values import as_json
from audiences.rules.windows import Window
from sources.events.sql import Sql, join, sql


@dataclass(frozen=True)
class TraitKind(EventCondition):
    """As a condition it is true of everybody who has a value."""

    type_of_value: ClassVar[str]  # number, text, list, or any: as it was sent

    where: tuple[Question, ...] = declare(WHERE, default=())
    when: Window | None = declare(WindowField(), default=None)
    sources: EventSources | None = declare(SourcesField(), default=None, kw_only=True)

    @property
    def window(self) -> Window | None:
        return self.when

    def rows(self) -> Sql:
        return join(" AND ", [super().rows(), *question_rows(self.where)])

    @abstractmethod
    def value(self, answers: Answers) -> Sql:
        """JSON text; '' when there is none. Never NULL."""

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


def different_values(trait: PropertyTrait, now: int) -> Aggregate:
    """As JSON texts."""
    rows = trait.counted(now)
    values = place(trait.of).aggregate("groupUniqArray", as_json, rows)
    return Aggregate(TEXTS, (trait.name,), values, trait.opens(now), rows)


def last_value(trait: PropertyTrait, now: int) -> Aggregate:
    return _extreme(trait, now, "")


def first_value(trait: PropertyTrait, now: int) -> Aggregate:
    return _extreme(trait, now, "-")


def _extreme(trait: PropertyTrait, now: int, sign: str) -> Aggregate:
    """The event that has the property and is the last of all, or the first, in the order of the archive."""
    order = ("toUnixTimestamp64Milli(ts)", "toInt64(source)", "toInt64(origin_piece)", "toInt64(origin_position)")
    # Of several elements of a list of one event the first.
    value = sql("ifNull(arrayElement(%s, 1), '')", place(trait.of).values(_with_lists))
    rows = sql("%s AND %s != ''", trait.counted(now), value)
    event = sql(f"(1, {', '.join(sign + part for part in order)}, %s)", value)
    return Aggregate(EXTREME, (trait.name,), sql("maxIf(%s, %s)", event, rows), trait.opens(now), rows)


def _with_lists(value: Operand) -> Sql:
    return sql("coalesce(%s, if(startsWith(%s, '['), %s, NULL))", as_json(value), value.list, value.list)
