"""PURE. All different values of a property."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.operators import quoted
from audiences.rules.traits import DifferentValues
from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class UniqueList(DifferentValues):
    """In alphabetical order of their JSON. Of the elements of a list where the name says so: `items[].sku`."""

    kind = "unique_list"
    label = "Unique list"
    icon = "trait"
    example: ClassVar = {"name": "Product Viewed", "property": "sku"}

    def sentence(self) -> str:
        return f"the different values of {quoted(self.of)} of {self.events_sentence()}"

    def value_of(self, columns: Sequence[Sql]) -> Sql:
        (values,) = columns
        return sql("if(empty(%s), '', concat('[', arrayStringConcat(arraySort(%s), ','), ']'))", values, values)


trait = UniqueList
