"""PURE. Sum, average, smallest or largest number under a property."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from audiences.rules import amounts
from audiences.rules.aggregates import Aggregate
from audiences.rules.fields import TextField, declare
from audiences.rules.operators import quoted
from audiences.rules.properties import place
from audiences.rules.traits import PropertyTrait, together
from audiences.rules.values import exact_json
from sources.events.sql import Sql

FUNCTIONS = {"sum": "Sum", "average": "Average", "minimum": "Smallest", "maximum": "Largest"}


@dataclass(frozen=True)
class Aggregation(PropertyTrait):
    """Somebody who has no event with a number there has no value."""

    kind = "aggregation"
    label = "Aggregation"
    icon = "trait"
    example: ClassVar = {"name": "Order Completed", "property": "revenue", "function": "sum"}

    function: str = declare(TextField("function", "Function", options=FUNCTIONS), kw_only=True)

    def sentence(self) -> str:
        what = {"minimum": "smallest", "maximum": "largest"}.get(self.function, self.function)
        return f"the {what} of {quoted(self.of)} of {self.events_sentence()}"

    def measures(self, now: int) -> tuple[Aggregate, ...]:
        rows, since = self.counted(now), self.opens(now)
        expressions = amounts.expressions(self.function, place(self.of), rows, counted=True)
        return tuple(Aggregate(shape, (self.name,), expression, since, rows) for shape, expression in expressions)

    def value_of(self, columns: Sequence[Sql]) -> Sql:
        return amounts.text(self.function, columns)

    def texts(self) -> Sql:
        return place(self.of).values(exact_json)

    def of_events(self, events: Sql) -> Sequence[Sql]:
        return amounts.of_texts(self.function, together(events))


trait = Aggregation
