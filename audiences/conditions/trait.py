"""PURE. Have a custom trait. Its value is the newest by event time, over all profiles of the person."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import TRAITS, Aggregate, Answers
from audiences.rules.conditions import Condition
from audiences.rules.fields import QuestionField, declare
from audiences.rules.operators import Question
from audiences.rules.values import (
    JsonValue,
    ListElements,
    SingleValue,
    cuts,
    elements,
    first,
    inside,
    read_list_name,
    trait_keys,
)
from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class HasTrait(Condition):
    """People whose trait answers the question."""

    kind = "trait"
    label = "Have a custom trait"
    icon = "trait"
    example: ClassVar = {"name": "plan", "op": "equals", "value": "pro"}

    question: Question = declare(QuestionField("name", "Trait"))

    def sentence(self) -> str:
        return f"have a profile where the trait {self.question.sentence(of_elements=self._list_name is not None)}"

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        row = "(ts, source, origin_piece, origin_position, value)"
        return tuple(Aggregate(TRAITS, key, sql(f"maxIf({row}, key = %s)", key)) for key in self._keys)

    def test(self, answers: Answers) -> Sql:
        columns = {key: Sql(f"{column}.5") for key, column in zip(self._keys, answers.columns, strict=True)}

        def at(name: str) -> Sql:
            return first([inside(columns[key], below) if below else columns[key] for key, below in cuts(name)])

        literal = JsonValue(at(self.question.name))
        if self._list_name is None:
            return self.question.sql(SingleValue(literal))
        head, below = self._list_name
        return self.question.sql(ListElements(elements(at(head), below), literal))

    def change_keys(self) -> frozenset[str]:
        return frozenset(f"trait:{key}" for key in self._keys)

    @property
    def _list_name(self) -> tuple[str, tuple[str, ...]] | None:
        return read_list_name(self.question.name)

    @property
    def _keys(self) -> tuple[str, ...]:
        return trait_keys(self.question.name)


condition = HasTrait
