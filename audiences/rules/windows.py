"""PURE. The last so many minutes, hours, days or weeks: half-open, (now − W, now]. A day is 24 hours."""

from dataclasses import dataclass
from typing import Any

from audiences.rules.validation import COUNT_SCHEMA, DefinitionError, JsonReader

UNITS = {"minutes": 60_000, "hours": 3_600_000, "days": 86_400_000, "weeks": 604_800_000}  # in milliseconds
LONGEST = 3660 * UNITS["days"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {unit: COUNT_SCHEMA | {"minimum": 1} for unit in UNITS},
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Window:
    count: int
    unit: str

    @property
    def milliseconds(self) -> int:
        return self.count * UNITS[self.unit]

    def json(self) -> dict[str, int]:
        return {self.unit: self.count}

    def sentence(self) -> str:
        return f"in the last {self.unit[:-1]}" if self.count == 1 else f"in the last {self.count} {self.unit}"


def parse_window(value: Any, path: str) -> Window:
    """`{"days": 7}`: one unit, at least one of it, at most ten years."""
    fields = JsonReader(value, path)
    named = [unit for unit in UNITS if unit in fields]
    if len(named) != 1:
        fields_left = sorted(set(value) - set(UNITS))
        if fields_left:
            raise fields.error(fields_left[0], "is not known here")
        raise DefinitionError(path, f"must have one of {', '.join(UNITS)}")
    window = Window(fields.count(named[0], least=1), named[0])
    fields.done()
    if window.milliseconds > LONGEST:
        raise DefinitionError(path, "must not be longer than ten years")
    return window
