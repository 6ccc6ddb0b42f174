"""PURE. How many different values of a property there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.operators import quoted
from audiences.rules.traits import DifferentValues
from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class UniqueListCount(DifferentValues):
    """Somebody of whom there is none has no value."""

    kind = "unique_list_count"
    label = "Unique list count"
    icon = "trait"
    example: ClassVar = {"name": "Product Viewed", "property": "sku", "within": {"days": 30}}

    def sentence(self) -> str:
        return f"how many different values of {quoted(self.of)} there are of {self.events_sentence()}"

    def value_of(self, columns: Sequence[Sql]) -> Sql:
        (values,) = columns
        return sql("if(empty(%s), '', toString(length(%s)))", values, values)


trait = UniqueListCount
