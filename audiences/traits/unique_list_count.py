"""PURE. How many different values of a property there are."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import Aggregate, Answers
from audiences.rules.operators import quoted
from audiences.rules.traits import PropertyTrait, different_values
from sources.events.sql import Sql


@dataclass(frozen=True)
class UniqueListCount(PropertyTrait):
    """Somebody of whom there is none has no value."""

    kind = "unique_list_count"
    label = "Unique list count"
    icon = "trait"
    type_of_value = "number"
    example: ClassVar = {"name": "Product Viewed", "property": "sku", "within": {"days": 30}}

    def sentence(self) -> str:
        return f"how many different values of {quoted(self.of)} there are of {self.events_sentence()}"

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        return (different_values(self, now),)

    def value(self, answers: Answers) -> Sql:
        (values,) = answers.columns
        return Sql(f"if(empty({values}), '', toString(length({values})))")


trait = UniqueListCount
