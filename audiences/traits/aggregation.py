"""PURE. Sum, average, smallest or largest number under a property."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules import amounts
from audiences.rules.aggregates import Aggregate, Answers
from audiences.rules.fields import TextField, declare
from audiences.rules.operators import quoted
from audiences.rules.properties import place
from audiences.rules.traits import PropertyTrait
from sources.events.sql import Sql

FUNCTIONS = {"sum": "Sum", "average": "Average", "minimum": "Smallest", "maximum": "Largest"}


@dataclass(frozen=True)
class Aggregation(PropertyTrait):
    """Somebody who has no event with a number there has no value."""

    kind = "aggregation"
    label = "Aggregation"
    icon = "trait"
    type_of_value = "number"
    example: ClassVar = {"name": "Order Completed", "property": "revenue", "function": "sum"}

    function: str = declare(TextField("function", "Function", options=FUNCTIONS), kw_only=True)

    def sentence(self) -> str:
        what = {"minimum": "smallest", "maximum": "largest"}.get(self.function, self.function)
        return f"the {what} of {quoted(self.of)} of {self.events_sentence()}"

    def aggregates(self, now: int) -> tuple[Aggregate, ...]:
        rows, since = self.counted(now), self.opens(now)
        expressions = amounts.expressions(self.function, place(self.of), rows, counted=True)
        return tuple(Aggregate(shape, (self.name,), expression, since, rows) for shape, expression in expressions)

    def value(self, answers: Answers) -> Sql:
        return amounts.text(self.function, [Sql(column) for column in answers.columns])


trait = Aggregation
