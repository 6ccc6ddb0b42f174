"""PURE. Performed an event: how often or how much, with which properties, when, and what came after it."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from audiences.rules import amounts, sequences
from audiences.rules.aggregates import Aggregate, Answers, TimeTrigger
from audiences.rules.conditions import EventCondition
from audiences.rules.fields import (
    Frequency,
    FrequencyField,
    QuestionField,
    QuestionsField,
    Step,
    StepsField,
    WindowField,
    declare,
)
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


WHERE = QuestionsField("where", "With properties", QuestionField("property", "Property"), most=50)


@dataclass(frozen=True)
class Performed(EventCondition):
    """People who did an event so many times, zero included, or so much of it, within the window or at any time. With
    `then`, an event counts for which all that is said of what came after it is true."""

    kind = "event"
    label = "Performed an event"
    icon = "event"
    example: ClassVar = {"name": "Order Completed", "atLeast": 2, "within": {"days": 7}}

    frequency: Frequency = declare(FrequencyField(), default=Frequency())
    where: tuple[Question, ...] = declare(WHERE, default=())
    when: Window | None = declare(WindowField(), default=None)
    then: tuple[Step, ...] = declare(StepsField("then", "And then", WHERE, most=sequences.MOST_STEPS), default=())

    @property
    def window(self) -> Window | None:
        return self.when

    def rows(self) -> Sql:
        return join(" AND ", [super().rows(), *_questions(self.where)])

    def sentence(self) -> str:
        window = f" {self.when.sentence()}" if self.when else ""
        performed = f"performed {quoted(self.name)}{_where(self.where)} {self.frequency.sentence()}{window}"
        if self.frequency.number == 0 and not self.frequency.measure:
            performed = f"did not perform {quoted(self.name)}{_where(self.where)}{window}"
        return performed + "".join(self._step_sentence(step) for step in self.then)

    def _step_sentence(self, step: Step) -> str:
        of = self.then[step.follows - 1].name if step.follows else self.name
        did = f"performed {quoted(step.name)}{_where(step.where)} {step.frequency.sentence()}"
        if step.frequency.number == 0:
            did = f"did not perform {quoted(step.name)}{_where(step.where)}"
        return f" and then {did} {f'within {step.within} of' if step.within else 'after'} {quoted(of)}"

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        if self.then:
            return (sequences.aggregate(self._steps(), self.opens(now), now, self.counted(now)),)
        if not self.frequency.measure:
            return super().aggregates(now)
        rows, since = self.counted(now), self.opens(now)
        expressions = amounts.expressions(self.frequency.measure, place(self.frequency.of), rows)
        return tuple(Aggregate(shape, (self.name,), expression, since, rows) for shape, expression in expressions)

    def test(self, answers: Answers) -> Sql:
        sign, number = self.frequency.sign, self.frequency.number
        if self.then:
            times = sequences.times(answers.columns[0], self._steps(), answers.now)
            return sql(f"(%s {sign} %s)", times, number)
        if self.frequency.measure:
            return amounts.test(self.frequency.measure, answers.columns, sign, number)
        return sql(f"({answers.columns[0]} {sign} %s)", number)

    def time_triggers(self) -> tuple[TimeTrigger, ...]:
        return tuple(dict.fromkeys((*super().time_triggers(), *sequences.time_triggers(self._steps()))))

    def _steps(self) -> list[sequences.Step]:
        """The event itself, and what comes after it."""
        first = sequences.Step(self.name, self.rows())
        return [first, *(self._step(step) for step in self.then)]

    def _step(self, step: Step) -> sequences.Step:
        rows = join(" AND ", [sql("event = %s", step.name), *_questions(step.where)])
        within = step.within.milliseconds if step.within else None
        return sequences.Step(step.name, rows, step.frequency.bound, int(step.frequency.number), within, step.follows)

    @classmethod
    def of_older(cls, entries: dict[str, Any]) -> dict[str, Any]:
        if "when" in entries:
            return entries
        return {**entries, "when": "within"} if entries.get("unit") else {**entries, "unit": "days"}


def _questions(where: tuple[Question, ...]) -> list[Sql]:
    return [question.sql(place(question.name), 0) for question in where]  # 0: none of them compares with now


def _where(where: tuple[Question, ...]) -> str:
    questions = [question.sentence(of_elements=read_list_name(question.name) is not None) for question in where]
    return f" (where {' and '.join(questions)})" if questions else ""


condition = Performed
