"""PURE. A part of a random split of the people, so that what a campaign does can be measured against nobody's."""

from dataclasses import dataclass
from typing import Any, ClassVar

from audiences.rules.aggregates import LOTS, Answers
from audiences.rules.conditions import Condition
from audiences.rules.fields import ConditionField, TextField, declare
from audiences.rules.operators import quoted
from audiences.rules.validation import JsonReader, number
from audiences.rules.value_input import decimal
from sources.events.sql import Sql, sql


class PartField(ConditionField):
    """From how many per cent of the people to how many, as `from` and `to`; from 0 when it is left out."""

    def __init__(self) -> None:
        super().__init__({"from": "From", "to": "To"}, {"from": "0", "to": "50"})
        self.required = ("to",)

    def read(self, reader: JsonReader) -> tuple[float, float]:
        first = number(reader.take("from"), reader.at("from")) if "from" in reader else 0
        last = number(reader.take("to"), reader.at("to"))
        if not 0 <= first < 100:
            raise reader.error("from", "must be at least 0 and less than 100")
        if not first < last <= 100:
            raise reader.error("to", f"must be more than {first} and at most 100")
        return first, last

    def schemas(self) -> dict[str, Any]:
        first = {"type": "number", "minimum": 0, "exclusiveMaximum": 100}
        return {"from": first, "to": {"type": "number", "exclusiveMinimum": 0, "maximum": 100}}

    def json(self, value: tuple[float, float]) -> dict[str, Any]:
        first, last = value
        return ({"from": first} if first else {}) | {"to": last}

    def to_entries(self, json: dict[str, Any]) -> dict[str, Any]:
        return {"from": str(json.get("from", 0)), "to": str(json["to"])}

    def from_entries(self, entries: dict[str, Any]) -> dict[str, Any]:
        return {key: decimal(entries[key]) for key in ("from", "to") if entries[key].strip()}


@dataclass(frozen=True)
class InSplit(Condition):
    """People whose lot under the name of the split is in this part. They keep it for ever; a merge takes the older
    profile's. Parts of one split that do not overlap have nobody in common."""

    kind = "split"
    label = "In a random split"
    icon = "split"
    example: ClassVar = {"name": "summer campaign", "from": 0, "to": 90}

    name: str = declare(TextField("name", "Split"))
    part: tuple[float, float] = declare(PartField(), default=(0, 50))

    def sentence(self) -> str:
        first, last = (f"{end:g}" for end in self.part)
        return f"are between {first} % and {last} % of the random split {quoted(self.name)}"

    def test(self, answers: Answers) -> Sql:
        # Whole lots, so that parts that touch, such as 0-10 and 10-100, have nobody in common and leave nobody out.
        first, last = (round(end * LOTS / 100) for end in self.part)
        lot = answers.lot(self.name)
        return sql("(%s >= %s AND %s < %s)", lot, first, lot, last)


condition = InSplit
