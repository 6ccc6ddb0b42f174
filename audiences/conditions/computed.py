"""PURE. Have a computed trait. It is worked out with the question, so that the answer is as exact as the events."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from audiences.rules.aggregates import Aggregate, Answers, TimeTrigger
from audiences.rules.conditions import Condition
from audiences.rules.fields import QuestionField, declare
from audiences.rules.operators import Question
from audiences.rules.traits import TraitKind
from audiences.rules.validation import EACH
from audiences.rules.values import JsonValue, ListElements, SingleValue, elements
from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class HasComputedTrait(Condition):
    """People whose computed trait answers the question. `name`: its key, with `[]` for the elements of a list."""

    kind = "computed"
    label = "Have a computed trait"
    icon = "chart"
    example: ClassVar = {"name": "orders_90d", "op": "atLeast", "value": 3}

    question: Question = declare(QuestionField("name", "Computed trait"))
    # No part of the definition: how the trait is computed.
    trait: TraitKind | None = dataclasses.field(default=None, kw_only=True)

    def sentence(self) -> str:
        return f"have the computed trait {self.question.sentence(of_elements=self._of_elements)}"

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        return self._bound.aggregates(now)

    def test(self, answers: Answers) -> Sql:
        value = JsonValue(self._bound.value(answers))
        place = (
            ListElements(elements(value.list, [""]), JsonValue(Sql("''"))) if self._of_elements else SingleValue(value)
        )
        return self.question.sql(place, answers.now)

    def reading(self, answers: Answers) -> Sql:
        value = self._bound.value(answers)
        return sql("if(empty(%s), 'they have no value', concat('it is ', %s))", value, value)

    @property
    def read_from(self) -> str:
        return getattr(self._bound, "of", "")

    def change_keys(self) -> frozenset[str]:
        return self._bound.change_keys()

    def time_triggers(self) -> tuple[TimeTrigger, ...]:
        return self._bound.time_triggers()

    def traits(self) -> frozenset[str]:
        return frozenset({self.question.name.removesuffix(EACH)})

    def bound(self, traits: Mapping[str, Condition], sources: Mapping[str, int]) -> Condition:
        (key,) = self.traits()
        trait = traits.get(key)
        # Left as it is when the trait is gone; whoever then asks for its columns gets a LookupError.
        return replace(self, trait=trait) if isinstance(trait, TraitKind) else self

    @property
    def _of_elements(self) -> bool:
        return self.question.name.endswith(EACH)

    @property
    def _bound(self) -> TraitKind:
        if self.trait is None:
            raise LookupError(f"the computed trait {self.question.name} is not known")
        return self.trait


condition = HasComputedTrait
