"""PURE. Performed an event: how often, with which properties, within which time."""

import re
from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import Answers
from audiences.rules.conditions import EventCondition
from audiences.rules.fields import QuestionField, QuestionsField, Times, TimesField, WindowField, declare
from audiences.rules.operators import Place, Question, quoted
from audiences.rules.values import ListElements, SingleValue, elements, read_list_name
from audiences.rules.windows import Window
from sources.events.sql import Sql, join, sql


@dataclass(frozen=True)
class PropertyValue:
    """What an event has at a path (`sources.events.properties`). Only the columns of the types asked for are read."""

    path: Sql

    @property
    def present(self) -> Sql:
        return sql(
            "(isNotNull(properties.%s) OR notEmpty(JSONAllPaths(properties.^%s)) OR isNotNull(lists.%s))",
            self.path,
            self.path,
            self.path,
        )

    @property
    def text(self) -> Sql:
        return self._as("String")

    @property
    def list(self) -> Sql:
        return sql("ifNull(lists.%s.:`String`, '')", self.path)

    @property
    def numbers(self) -> tuple[Sql, ...]:
        return self._as("Int64"), self._as("Float64"), self._as("UInt64")

    @property
    def truth(self) -> Sql:
        return self._as("Bool")

    def _as(self, type: str) -> Sql:
        return sql(f"properties.%s.:`{type}`", self.path)


def place(name: str) -> Place:
    """Where the property of this name is."""
    literal = PropertyValue(identifier(name))
    list_name = read_list_name(name)
    if list_name is None:
        return SingleValue(literal)
    head, below = list_name
    return ListElements(elements(PropertyValue(identifier(head)).list, below), literal)


def identifier(name: str) -> Sql:
    """The path as one quoted identifier. All but plain letters are escaped: no name can end its quotes."""
    return Sql("`" + re.sub(rb"[^A-Za-z0-9_ .]", _hex, name.encode()).decode() + "`")


def _hex(byte: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % byte[0][0]


@dataclass(frozen=True)
class Performed(EventCondition):
    """People who did an event so many `times`, zero included, within the window or at any time."""

    kind = "event"
    label = "Performed an event"
    icon = "event"
    example: ClassVar = {"name": "Order Completed", "atLeast": 2, "within": {"days": 7}}

    times: Times = declare(TimesField(), default=Times())
    where: tuple[Question, ...] = declare(
        QuestionsField("where", "With properties", QuestionField("property", "Property"), most=50), default=()
    )
    within: Window | None = declare(WindowField("within", "Within the last"), default=None)

    @property
    def window(self) -> Window | None:
        return self.within

    def rows(self) -> Sql:
        return join(" AND ", [super().rows(), *(question.sql(place(question.name)) for question in self.where)])

    def sentence(self) -> str:
        questions = [
            question.sentence(of_elements=read_list_name(question.name) is not None) for question in self.where
        ]
        where = f" (where {' and '.join(questions)})" if questions else ""
        window = f" {self.within.sentence()}" if self.within else ""
        if self.times.number == 0:
            return f"did not perform {quoted(self.name)}{where}{window}"
        return f"performed {quoted(self.name)}{where} {self.times.sentence()}{window}"

    def test(self, answers: Answers) -> Sql:
        return sql(f"({answers.columns[0]} {self.times.sign} %s)", self.times.number)


condition = Performed
