"""PURE. How often somebody did something."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.traits import TraitKind
from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class EventCounter(TraitKind):
    """Somebody who never did it, or not in the window, has no value."""

    kind = "event_counter"
    label = "Event counter"
    icon = "event"
    example: ClassVar = {"name": "Order Completed", "within": {"days": 90}}

    def sentence(self) -> str:
        return f"how often they performed {self.events_sentence()}"

    def value_of(self, columns: Sequence[Sql]) -> Sql:
        (count,) = columns
        return sql("if(%s = 0, '', toString(%s))", count, count)

    def of_events(self, events: Sql) -> Sequence[Sql]:
        return [sql("length(%s)", events)]


trait = EventCounter
