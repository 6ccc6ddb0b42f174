"""PURE. Performed an event: how often or how much, with which properties, when, and what came after it."""

from collections.abc import Sequence
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
from audiences.rules.properties import filters, place, question_rows, questions_sentence
from audiences.rules.references import PARENT, TRAIT
from audiences.rules.sequences import Chain, Step
from audiences.rules.windows import Window
from sources.events.sql import Sql, join, sql


@dataclass(frozen=True)
class Performed(EventCondition):
    """People who did an event so many times, zero included, or so much of it, within the window or at any time. With
    `then`, an event counts for which all that is said of what came after it is true.

    What compares with a trait of the person is a sequence, too, of one step: no row of an event knows the trait."""

    kind = "event"
    label = "Performed an event"
    icon = "event"
    example: ClassVar = {"name": "Order Completed", "atLeast": 2, "within": {"days": 7}}
    verbs: ClassVar = ("performed", "did not perform")

    frequency: Frequency = declare(FrequencyField(), default=Frequency())
    where: tuple[Question, ...] = declare(filters(TRAIT), default=())
    when: Window | None = declare(WindowField(), default=None)
    sources: EventSources | None = declare(SourcesField(), default=None, kw_only=True)
    then: tuple[NextStep, ...] = declare(
        StepsField("then", "And then", filters(TRAIT, PARENT), most=sequences.MOST_STEPS), default=()
    )

    @property
    def window(self) -> Window | None:
        return self.when

    def rows(self) -> Sql:
        return join(" AND ", [super().rows(), *question_rows(self.where)])

    def sentence(self) -> str:
        window = f" {self.when.sentence()}" if self.when else ""
        performed = _performed(self.verbs, self.event_sentence(), self.where, self.frequency)
        return performed + window + "".join(self._step_sentence(step) for step in self.then)

    def _step_sentence(self, step: NextStep) -> str:
        of = self.called
        if step.follows:
            of = f"{quoted(self.then[step.follows - 1].name)} (step {step.follows})"
        performed = _performed(Performed.verbs, quoted(step.name), step.where, step.frequency, of)
        return f" and then {performed} {f'within {step.within} of' if step.within else 'after'} {of}"

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        if self._is_sequence:
            return sequences.aggregates(self._steps, self.opens(now), now, self.counted(now), self._kept)
        if not self.frequency.measure:
            return super().aggregates(now)
        rows, since = self.counted(now), self.opens(now)
        expressions = amounts.expressions(self.frequency.measure, place(self.frequency.of), rows)
        return tuple(Aggregate(shape, (self.event,), expression, since, rows) for shape, expression in expressions)

    def test(self, answers: Answers) -> Sql:
        sign, number = self.frequency.sign, self.frequency.number
        if self.frequency.measure:
            return amounts.test(self.frequency.measure, self._measured(answers), sign, number)
        if self._is_sequence:
            return sql(f"(%s {sign} %s)", self._chain(answers).times(), number)
        return sql(f"({answers.columns[0]} {sign} %s)", number)

    def reading(self, answers: Answers) -> Sql:
        # How much of a property, of plain events or of those that a sequence leaves: `_measured` knows.
        if self.frequency.measure:
            amount = amounts.text(self.frequency.measure, self._measured(answers), empty="none")
            return sql("concat(%s, %s)", f"{MEASURES[self.frequency.measure]} {quoted(self.frequency.of)} of ", amount)
        if self._is_sequence:
            return sql("concat('it happened like this ', toString(%s), ' times')", self._chain(answers).times())
        return Sql("''")

    def time_triggers(self) -> tuple[TimeTrigger, ...]:
        return tuple(dict.fromkeys((*super().time_triggers(), *sequences.time_triggers(self._steps))))

    @property
    def _is_sequence(self) -> bool:
        return bool(self.then or self._steps[0].compared)

    @property
    def _steps(self) -> list[Step]:
        """The event itself, and what comes after it."""
        first = Step(self.event, self.rows(), compared=_compared(self.where))
        return [first, *map(self._step, self.then)]

    def _step(self, step: NextStep) -> Step:
        rows = join(" AND ", [sql("event = %s", step.name), *question_rows(step.where)])
        within = step.within.milliseconds if step.within else None
        # A step is counted, never measured (FrequencyField(measures=False)), so its number is whole.
        bound, number = step.frequency.bound, int(step.frequency.number)
        return Step(step.name, rows, bound, number, within, step.follows, _compared(step.where))

    @property
    def _kept(self) -> tuple[str, ...]:
        """The properties whose values are needed when the events of the person are together."""
        measured = {self.frequency.of} if self.frequency.measure else set()
        return tuple(sorted({*sequences.details(self._steps), *measured}))

    def _chain(self, answers: Answers) -> Chain:
        return Chain(answers.columns, self._steps, answers.now, self._kept)

    def _measured(self, answers: Answers) -> Sequence[Sql]:
        """The columns that say how much it is."""
        if not self._is_sequence:
            return [Sql(column) for column in answers.columns]
        return amounts.of_texts(self.frequency.measure, self._chain(answers).texts(self.frequency.of))

    @classmethod
    def of_older(cls, entries: dict[str, Any]) -> dict[str, Any]:
        if "when" in entries:
            return entries
        # Before there were other windows, a unit alone said that there is one.
        return {**entries, "when": "within"} if entries.get("unit") else {**entries, "unit": "days"}


def _compared(where: Sequence[Question]) -> tuple[Question, ...]:
    return tuple(question for question in where if question.reference)


def _performed(
    verbs: tuple[str, str], event: str, where: tuple[Question, ...], frequency: Frequency, parent: str = ""
) -> str:
    event += questions_sentence(where, parent)
    # "Exactly 0 times" and "at most 0 times" read as what they mean; a sum of 0 is a sum.
    never = frequency.number == 0 and not frequency.measure
    did, did_not = verbs
    return f"{did_not} {event}" if never else f"{did} {event} {frequency.sentence()}"


condition = Performed
