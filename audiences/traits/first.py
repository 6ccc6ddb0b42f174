"""PURE. The first value of a property, by event time."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import Aggregate, Answers
from audiences.rules.operators import quoted
from audiences.rules.traits import PropertyTrait, first_value
from sources.events.sql import Sql


@dataclass(frozen=True)
class FirstValue(PropertyTrait):
    """Of the first event that has the property."""

    kind = "first"
    label = "First"
    icon = "event"
    type_of_value = "any"
    example: ClassVar = {"name": "Order Completed", "property": "currency"}

    def sentence(self) -> str:
        return f"the first {quoted(self.of)} of {self.events_sentence()}"

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        return (first_value(self, now),)

    def value(self, answers: Answers) -> Sql:
        return Sql(f"{answers.columns[0]}.6")


trait = FirstValue
