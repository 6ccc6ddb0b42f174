"""PURE. All different values of a property."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import Aggregate, Answers
from audiences.rules.operators import quoted
from audiences.rules.traits import PropertyTrait, different_values
from sources.events.sql import Sql


@dataclass(frozen=True)
class UniqueList(PropertyTrait):
    """In alphabetical order of their JSON. Of the elements of a list where the name says so: `items[].sku`."""

    kind = "unique_list"
    label = "Unique list"
    icon = "trait"
    type_of_value = "list"
    example: ClassVar = {"name": "Product Viewed", "property": "sku"}

    def sentence(self) -> str:
        return f"the different values of {quoted(self.of)} of {self.events_sentence()}"

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        return (different_values(self, now),)

    def value(self, answers: Answers) -> Sql:
        (values,) = answers.columns
        return Sql(f"if(empty({values}), '', concat('[', arrayStringConcat(arraySort({values}), ','), ']'))")


trait = UniqueList
