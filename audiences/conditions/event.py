"""PURE. Performed an event: how often or how much, with which properties, when, and what came after it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from audiences.rules import amounts, sequences
from audiences.rules.aggregates import Aggregate, Answers, TimeTrigger
from audiences.rules.conditions import EventCondition
from audiences.rules.fields import (
    MEASURES,
    EventSources,
    Frequency,
    FrequencyField,
    NextStep,
    SourcesField,
    StepsField,
    WindowField,
    declare,
)
from audiences.rules.operators import Question, quoted
from audiences.rules.properties import WHERE, place, question_rows, questions_sentence
from audiences.rules.windows import Window
from sources.events.sql import Sql, join, sql


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
    sources: EventSources | None = declare(SourcesField(), default=None, kw_only=True)
    then: tuple[NextStep, ...] = declare(StepsField("then", "And then", WHERE, most=sequences.MOST_STEPS), default=())

    @property
    def window(self) -> Window | None:
        return self.when

    def rows(self) -> Sql:
        return join(" AND ", [super().rows(), *question_rows(self.where)])

    def sentence(self) -> str:
        window = f" {self.when.sentence()}" if self.when else ""
        performed = _performed(self.event_sentence(), self.where, self.frequency)
        return performed + window + "".join(self._step_sentence(step) for step in self.then)

    def _step_sentence(self, step: NextStep) -> str:
        of = quoted(self.name)
        if step.follows:
            of = f"{quoted(self.then[step.follows - 1].name)} (step {step.follows})"
        performed = _performed(quoted(step.name), step.where, step.frequency)
        return f" and then {performed} {f'within {step.within} of' if step.within else 'after'} {of}"

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

    def reading(self, answers: Answers) -> Sql:
        if self.then:
            times = sequences.times(answers.columns[0], self._steps(), answers.now)
            return sql("concat('it happened like this ', toString(%s), ' times')", times)
        if not self.frequency.measure:
            return Sql("''")
        amount = amounts.text(self.frequency.measure, answers.columns, empty="none")
        return sql("concat(%s, %s)", f"{MEASURES[self.frequency.measure]} {quoted(self.frequency.of)} of ", amount)

    def time_triggers(self) -> tuple[TimeTrigger, ...]:
        return tuple(dict.fromkeys((*super().time_triggers(), *sequences.time_triggers(self._steps()))))

    def _steps(self) -> list[sequences.Step]:
        """The event itself, and what comes after it."""
        first = sequences.Step(self.name, self.rows())
        return [first, *(self._step(step) for step in self.then)]

    def _step(self, step: NextStep) -> sequences.Step:
        rows = join(" AND ", [sql("event = %s", step.name), *question_rows(step.where)])
        within = step.within.milliseconds if step.within else None
        return sequences.Step(step.name, rows, step.frequency.bound, int(step.frequency.number), within, step.follows)

    @classmethod
    def of_older(cls, entries: dict[str, Any]) -> dict[str, Any]:
        if "when" in entries:
            return entries
        return {**entries, "when": "within"} if entries.get("unit") else {**entries, "unit": "days"}


def _performed(event: str, where: tuple[Question, ...], frequency: Frequency) -> str:
    event += questions_sentence(where)
    never = frequency.number == 0 and not frequency.measure
    return f"did not perform {event}" if never else f"performed {event} {frequency.sentence()}"


condition = Performed
