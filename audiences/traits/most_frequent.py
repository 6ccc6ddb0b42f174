"""PURE. The value of a property that occurs most often."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from audiences.rules.aggregates import TALLY, Aggregate
from audiences.rules.fields import NumberField, declare
from audiences.rules.operators import quoted
from audiences.rules.properties import place
from audiences.rules.traits import PropertyTrait, together
from audiences.rules.values import as_json
from sources.events.sql import Sql, sql


@dataclass(frozen=True)
class MostFrequent(PropertyTrait):
    """Of several that occur as often the first in alphabetical order of their JSON; none below a least frequency."""

    kind = "most_frequent"
    label = "Most frequent"
    icon = "trait"
    example: ClassVar = {"name": "Product Viewed", "property": "category", "minimum": 3}

    least: int = declare(NumberField("minimum", "At least so often", usual=2, least=1), default=2, kw_only=True)

    def sentence(self) -> str:
        often = "" if self.least == 1 else f" that occurs at least {self.least} times"
        return f"the most frequent {quoted(self.of)}{often} of {self.events_sentence()}"

    def measures(self, now: int) -> tuple[Aggregate, ...]:
        rows = self.counted(now)
        values = place(self.of).values(as_json)
        tally = sql("sumMapIf(%s, arrayMap(v -> toUInt64(1), %s), %s)", values, values, rows)
        return (Aggregate(TALLY, (self.name,), tally, self.opens(now), rows),)

    def value_of(self, columns: Sequence[Sql]) -> Sql:
        (tally,) = columns
        most = sql("arrayMin(arrayMap((v, n) -> (-toInt64(n), v), %s.1, %s.2))", tally, tally)
        # None of them is NULL, but the engine does not know: it takes no list out of what might be.
        value = sql(f"if(-(%s.1) >= {self.least}, assumeNotNull(%s.2), '')", most, most)
        return sql("if(empty(%s.1), '', %s)", tally, value)

    def of_events(self, events: Sql) -> Sequence[Sql]:
        texts = together(events)
        once = sql("arrayMap(v -> [v], %s), arrayMap(v -> [toUInt64(1)], %s)", texts, texts)
        return [sql("arrayReduce('sumMap', %s)", once)]


trait = MostFrequent
