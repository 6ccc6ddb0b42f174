"""PURE. The last value of a property, by event time."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.operators import quoted
from audiences.rules.traits import ValueOfOneEvent


@dataclass(frozen=True)
class LastValue(ValueOfOneEvent):
    """Of the last event that has the property."""

    kind = "last"
    label = "Last"
    icon = "event"
    newest_first = True
    example: ClassVar = {"name": "Order Completed", "property": "currency"}

    def sentence(self) -> str:
        return f"the last {quoted(self.of)} of {self.events_sentence()}"


trait = LastValue
