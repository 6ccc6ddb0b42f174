"""PURE. How often somebody did something."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import Answers
from audiences.rules.traits import TraitKind
from sources.events.sql import Sql


@dataclass(frozen=True)
class EventCounter(TraitKind):
    """Somebody who never did it, or not in the window, has no value."""

    kind = "event_counter"
    label = "Event counter"
    icon = "event"
    type_of_value = "number"
    example: ClassVar = {"name": "Order Completed", "within": {"days": 90}}

    def sentence(self) -> str:
        return f"how often they performed {self.events_sentence()}"

    def value(self, answers: Answers) -> Sql:
        (count,) = answers.columns
        return Sql(f"if({count} = 0, '', toString({count}))")


trait = EventCounter
