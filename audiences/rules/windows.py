"""PURE. When events count: in the last so many days, between so many days ago, around a date, or in a session.

A rolling window is half-open: the last 7 days are (now − 7 days, now]. A day is 24 hours, and a date begins at
midnight UTC. A session is a run of those events, of all profiles of the person, with no more than so long between two.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from audiences.rules import dates
from audiences.rules.validation import COUNT_SCHEMA, DefinitionError, JsonReader, listed

UNITS = {"minutes": 60_000, "hours": 3_600_000, "days": 86_400_000, "weeks": 604_800_000}  # in milliseconds
LONGEST = 3660 * UNITS["days"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {unit: COUNT_SCHEMA | {"minimum": 1} for unit in UNITS},
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}
MOMENT_SCHEMA: dict[str, Any] = {"type": "string", "examples": ["2026-01-31", "2026-01-31T08:00:00Z"]}
DAY_SCHEMA: dict[str, Any] = {"type": "string", "format": "date"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "within": SCHEMA,
    "between": {"type": "array", "items": SCHEMA, "minItems": 2, "maxItems": 2},
    "after": MOMENT_SCHEMA,
    "before": MOMENT_SCHEMA,
    "on": DAY_SCHEMA,
}
LAST_SESSION, CURRENT_SESSION = "lastSession", "currentSession"
SESSION_SCHEMAS = {LAST_SESSION: SCHEMA, CURRENT_SESSION: SCHEMA}


@dataclass(frozen=True)
class Duration:
    count: int
    unit: str

    @property
    def milliseconds(self) -> int:
        return self.count * UNITS[self.unit]

    def json(self) -> dict[str, int]:
        return {self.unit: self.count}

    def __str__(self) -> str:
        return f"{self.count} {self.unit[:-1] if self.count == 1 else self.unit}"


class Window(ABC):
    """Which events count, by their times in milliseconds: those in (opens, closes]. None = without end."""

    @abstractmethod
    def opens(self, now: int) -> int | None: ...

    @abstractmethod
    def closes(self, now: int) -> int | None: ...

    @abstractmethod
    def json(self) -> dict[str, Any]: ...

    @abstractmethod
    def sentence(self) -> str: ...

    def turns(self) -> tuple[int, ...]:
        """How long after an event it begins or ceases to count."""
        return ()


@dataclass(frozen=True)
class Within(Window):
    duration: Duration

    def opens(self, now: int) -> int:
        return now - self.duration.milliseconds

    # No event that is dated ahead: it counts from its own moment on (`turns`).
    def closes(self, now: int) -> int:
        return now

    def turns(self) -> tuple[int, ...]:
        # An event that is dated after the moment of the evaluation begins to count later.
        return self.duration.milliseconds, 0

    def json(self) -> dict[str, Any]:
        return {"within": self.duration.json()}

    def sentence(self) -> str:
        one = self.duration.count == 1
        return f"in the last {self.duration.unit[:-1] if one else self.duration}"


@dataclass(frozen=True)
class Between(Window):
    """newest, oldest: how long ago; the former is the shorter one."""

    newest: Duration
    oldest: Duration

    def opens(self, now: int) -> int:
        return now - self.oldest.milliseconds

    def closes(self, now: int) -> int:
        return now - self.newest.milliseconds

    def turns(self) -> tuple[int, ...]:
        return self.oldest.milliseconds, self.newest.milliseconds

    def json(self) -> dict[str, Any]:
        return {"between": [self.newest.json(), self.oldest.json()]}

    def sentence(self) -> str:
        return f"between {self.newest} and {self.oldest} ago"


@dataclass(frozen=True)
class Dates(Window):
    """Between two moments, neither of which counts; one of them may be missing. As they are written."""

    after: str = ""
    before: str = ""

    def opens(self, now: int) -> int | None:
        return dates.milliseconds(self.after) if self.after else None

    def closes(self, now: int) -> int | None:
        before = dates.milliseconds(self.before) if self.before else None
        # Windows are closed at their end, in milliseconds: what is before a moment ends one before it.
        return None if before is None else before - 1

    def json(self) -> dict[str, Any]:
        return {key: value for key, value in (("after", self.after), ("before", self.before)) if value}

    def sentence(self) -> str:
        return " and ".join(f"{word} {value}" for word, value in self.json().items())


@dataclass(frozen=True)
class OnDay(Window):
    day: str

    def opens(self, now: int) -> int:
        return (dates.milliseconds(self.day) or 0) - 1

    def closes(self, now: int) -> int:
        return self.opens(now) + UNITS["days"]

    def json(self) -> dict[str, Any]:
        return {"on": self.day}

    def sentence(self) -> str:
        return f"on {self.day}"


@dataclass(frozen=True)
class Session(Window):
    """The newest session up to now. gap: the longest time between two of its events. current: only while one that came
    now would still belong to it; else it stays the last one until another begins."""

    gap: Duration
    current: bool = False

    def opens(self, now: int) -> None:
        return None

    def closes(self, now: int) -> int:
        return now

    def turns(self) -> tuple[int, ...]:
        # An event that is exactly so long ago still belongs to the current session.
        return (0, self.gap.milliseconds + 1) if self.current else (0,)

    def json(self) -> dict[str, Any]:
        return {CURRENT_SESSION if self.current else LAST_SESSION: self.gap.json()}

    def sentence(self) -> str:
        return f"in the {'current' if self.current else 'last'} session (ended by more than {self.gap} without one)"


def read_window(reader: JsonReader, *, sessions: bool = False) -> Window | None:
    """Takes the keys of one window; None when there is none."""
    named = [key for key in (SCHEMAS | SESSION_SCHEMAS if sessions else SCHEMAS) if key in reader]
    if not named:
        return None
    if len(named) > 1 and named != ["after", "before"]:
        raise reader.error(named[1], f"cannot be used with {named[0]}")
    if named[0] == "within":
        return Within(read_duration(reader.take("within"), reader.at("within")))
    if named[0] == "between":
        return _between(reader.take("between"), reader.at("between"))
    if named[0] in SESSION_SCHEMAS:
        gap = read_duration(reader.take(named[0]), reader.at(named[0]))
        return Session(gap, current=named[0] == CURRENT_SESSION)
    if named[0] == "on":
        day = reader.take("on")
        if len(read_moment(day, reader.at("on"))) != len("2026-01-31"):
            raise DefinitionError(reader.at("on"), "must be a date such as 2026-01-31, without a time")
        return OnDay(str(day))
    window = Dates(
        *(read_moment(reader.take(key), reader.at(key)) if key in reader else "" for key in ("after", "before"))
    )
    opens, closes = window.opens(0), window.closes(0)
    if opens is not None and closes is not None and opens >= closes:
        raise reader.error("before", "must be later than after")
    return window


def read_duration(value: Any, path: str) -> Duration:
    """`{"days": 7}`: one unit, at least one of it, at most ten years."""
    fields = JsonReader(value, path)
    named = [unit for unit in UNITS if unit in fields]
    if len(named) != 1:
        fields_left = sorted(set(value) - set(UNITS))
        if fields_left:
            raise fields.error(fields_left[0], "is not known here")
        raise DefinitionError(path, f"must have one of {', '.join(UNITS)}")
    # Not 0: a window of no length has nothing in it, which nobody means.
    duration = Duration(fields.count(named[0], least=1), named[0])
    fields.done()
    if duration.milliseconds > LONGEST:
        raise DefinitionError(path, "must not be longer than ten years")
    return duration


def read_moment(value: Any, path: str) -> str:
    if not isinstance(value, str) or dates.milliseconds(value) is None:
        raise DefinitionError(path, "must be a date such as 2026-01-31, or a moment such as 2026-01-31T08:00:00Z")
    return value


def _between(value: Any, path: str) -> Between:
    items = listed(value, path, most=2)
    if len(items) != 2:
        raise DefinitionError(path, "must be a list of two")
    newest, oldest = (read_duration(item, f"{path}[{i}]") for i, item in enumerate(items))
    # The window would be empty, or turned round.
    if newest.milliseconds >= oldest.milliseconds:
        raise DefinitionError(f"{path}[1]", "must be longer ago than the first")
    return Between(newest, oldest)
