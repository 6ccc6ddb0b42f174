"""PURE. The first value of a property, by event time."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.operators import quoted
from audiences.rules.traits import ValueOfOneEvent


@dataclass(frozen=True)
class FirstValue(ValueOfOneEvent):
    """Of the first event that has the property."""

    kind = "first"
    label = "First"
    icon = "event"
    newest_first = False
    example: ClassVar = {"name": "Order Completed", "property": "currency"}

    def sentence(self) -> str:
        return f"the first {quoted(self.of)} of {self.events_sentence()}"


trait = FirstValue
