"""PURE. Have a custom trait. Its value is the newest by event time, over all profiles of the person."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import (
    NEWEST,
    TRAITS,
    Aggregate,
    AnniversaryTrigger,
    Answers,
    DateTrigger,
    TimeTrigger,
)
from audiences.rules.conditions import Condition
from audiences.rules.fields import QuestionField, declare
from audiences.rules.operators import OPERATORS, Question
from audiences.rules.values import (
    JsonValue,
    ListElements,
    SingleValue,
    cuts,
    elements,
    first,
    inside,
    read_list_name,
    texts_in,
    trait_keys,
    trait_places,
)
from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class HasTrait(Condition):
    """People whose trait answers the question."""

    kind = "trait"
    label = "Have a custom trait"
    icon = "trait"
    example: ClassVar = {"name": "plan", "op": "equals", "value": "pro"}

    question: Question = declare(QuestionField("name", "Trait", relative=True))

    def sentence(self) -> str:
        return f"have a profile where the {self.noun} {self.question.sentence(of_elements=self._list_name is not None)}"

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        row = "(ts, source, origin_piece, origin_position, value)"
        return tuple(Aggregate(NEWEST, (key,), sql(f"maxIf({row}, key = %s)", key)) for key in self._keys)

    def test(self, answers: Answers) -> Sql:
        columns = {key: Sql(f"{column}.5") for key, column in zip(self._keys, answers.columns, strict=True)}

        def at(name: str) -> Sql:
            return first([inside(columns[key], below) if below else columns[key] for key, below in cuts(name)])

        literal = JsonValue(at(self.question.name))
        if self._list_name is None:
            return self.question.sql(SingleValue(literal), answers.now)
        head, below = self._list_name
        return self.question.sql(ListElements(elements(at(head), below), literal), answers.now)

    def change_keys(self) -> frozenset[str]:
        return frozenset(f"trait:{key}" for key in self._keys)

    def time_triggers(self) -> tuple[TimeTrigger, ...]:
        """The clock comes to the date, or to so long before or after it, that any of its values ever held."""
        operator, value = OPERATORS[self.question.operator], self.question.value
        if not operator.relative:
            return ()
        texts = [(key, texts_in(json)) for key, json in trait_places(self.question.name)]
        if operator.yearly:
            return tuple(AnniversaryTrigger(TRAITS, key, there, value) for key, there in texts)
        turns = operator.turns(value) if operator.turns else ()
        return tuple(DateTrigger(TRAITS, key, there, turn) for key, there in texts for turn in turns)

    @property
    def noun(self) -> str:
        """What its sentence calls it."""
        return "trait"

    @property
    def _list_name(self) -> tuple[str, tuple[str, ...]] | None:
        return read_list_name(self.question.name)

    @property
    def _keys(self) -> tuple[str, ...]:
        return trait_keys(self.question.name)


condition = HasTrait
