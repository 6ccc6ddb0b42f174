"""PURE. Performed an event: how often, with which properties, within which time."""

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from audiences.rules.aggregates import EVENTS, Answers, Edge, Measure, at, kind_schema
from audiences.rules.operators import Place, Question, question_schema, quoted, read_question
from audiences.rules.validation import COUNT_SCHEMA, NAME_SCHEMA, DefinitionError, Fields
from audiences.rules.value_input import LABELS, QUESTION, meant, typed, whole
from audiences.rules.values import Each, One, elements, read_each
from audiences.rules.windows import SCHEMA as WINDOW_SCHEMA
from audiences.rules.windows import UNITS, Window, parse_window
from sources.events.sql import Sql, join, sql

SIGNS = {"atLeast": ">=", "exactly": "=", "atMost": "<="}
USUAL_COUNT = "7"  # what the form offers as soon as a unit of time is chosen
MOST_FILTERS = 50
WORDS = {"atLeast": "at least", "exactly": "exactly", "atMost": "at most"}


@dataclass(frozen=True)
class PropertyValue:
    """What an event has at a path (`sources.events.properties`). Only the columns of the types asked for are read."""

    path: Sql

    @property
    def present(self) -> Sql:
        return sql(
            "(isNotNull(properties.%s) OR notEmpty(JSONAllPaths(properties.^%s)) OR isNotNull(lists.%s))",
            self.path,
            self.path,
            self.path,
        )

    @property
    def text(self) -> Sql:
        return self._as("String")

    @property
    def list(self) -> Sql:
        return sql("ifNull(lists.%s.:`String`, '')", self.path)

    @property
    def numbers(self) -> tuple[Sql, ...]:
        return self._as("Int64"), self._as("Float64"), self._as("UInt64")

    @property
    def truth(self) -> Sql:
        return self._as("Bool")

    def _as(self, type: str) -> Sql:
        return sql(f"properties.%s.:`{type}`", self.path)


def place(name: str) -> Place:
    """Where the property of this name is."""
    literal = PropertyValue(identifier(name))
    each = read_each(name)
    if each is None:
        return One(literal)
    head, below = each
    return Each(elements(PropertyValue(identifier(head)).list, below), literal)


def identifier(name: str) -> Sql:
    """The path as one quoted identifier. All but plain letters are escaped: no name can end its quotes."""
    return Sql("`" + re.sub(rb"[^A-Za-z0-9_ .]", _hex, name.encode()).decode() + "`")


def _hex(byte: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % byte[0][0]


@dataclass(frozen=True)
class Performed:
    """People who did an event `frequency` `times`, zero included, within the window or at any time."""

    kind: ClassVar[str] = "event"
    label: ClassVar[str] = "Performed an event"
    fields: ClassVar[dict[str, str]] = {
        "name": "Event",
        "atLeast": "At least",
        "exactly": "Exactly",
        "atMost": "At most",
        "where": "With properties",
        "within": "Within the last",
    }
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "required": ["kind", "name"],
        "properties": {
            "kind": kind_schema("event"),
            "name": NAME_SCHEMA,
            "atLeast": COUNT_SCHEMA | {"minimum": 1},
            "exactly": COUNT_SCHEMA,
            "atMost": COUNT_SCHEMA,
            "where": {"type": "array", "items": question_schema("property"), "minItems": 1, "maxItems": MOST_FILTERS},
            "within": WINDOW_SCHEMA,
        },
        "additionalProperties": False,
        "examples": [{"kind": "event", "name": "Order Completed", "atLeast": 2, "within": {"days": 7}}],
    }
    icon: ClassVar[str] = "event"
    labels: ClassVar[dict[str, str]] = {**LABELS, **{unit: unit.title() for unit in UNITS}}
    blank: ClassVar[dict[str, Any]] = {
        "name": "",
        "frequency": "atLeast",
        "times": "1",
        "count": USUAL_COUNT,
        "unit": "",
        "where": [],
    }
    entry_of: ClassVar[dict[str, str]] = {"within": "count", "atLeast": "times", "exactly": "times", "atMost": "times"}
    rows: ClassVar[dict[str, dict[str, str]]] = {"where": {"property": "", **QUESTION}}

    name: str
    frequency: str = "atLeast"
    times: int = 1
    where: tuple[Question, ...] = ()
    within: Window | None = None
    since: int | None = None  # no part of the definition: where the audience's own history begins, in milliseconds

    @classmethod
    def parse(cls, value: dict[str, Any], path: str) -> "Performed":
        fields = Fields(value, path)
        fields.take("kind")
        found = cls(
            fields.name("name"),
            *_frequency(fields),
            fields.rows("where", _filter, most=MOST_FILTERS),
            parse_window(fields.take("within"), fields.at("within")) if "within" in fields else None,
        )
        fields.done()
        return found

    @staticmethod
    def sketch(value: dict[str, Any]) -> dict[str, Any]:
        frequency = next(each for each in SIGNS if each in value)
        unit, count = next(iter(value["within"].items())) if "within" in value else ("", USUAL_COUNT)
        return {
            "name": value["name"],
            "frequency": frequency,
            "times": str(value[frequency]),
            "count": str(count),
            "unit": unit,
            "where": [{"property": each["property"], **typed(each)} for each in value.get("where", [])],
        }

    @staticmethod
    def draw(entries: dict[str, Any]) -> dict[str, Any]:
        name = {"name": entries["name"]} if entries["name"] else {}
        within = {"within": {entries["unit"]: whole(entries["count"])}} if entries["unit"] else {}
        where = [
            ({"property": each["property"]} if each["property"] else {}) | meant(each) for each in entries["where"]
        ]
        times = {entries["frequency"]: whole(entries["times"])}
        return {**name, **times, **({"where": where} if where else {}), **within}

    def json(self) -> dict[str, Any]:
        where = {"where": [{"property": each.name, **each.json()} for each in self.where]} if self.where else {}
        within = {"within": self.within.json()} if self.within else {}
        return {"kind": self.kind, "name": self.name, self.frequency: self.times, **where, **within}

    def sentence(self) -> str:
        window = f" {self.within.sentence()}" if self.within else ""
        where = f" (where {' and '.join(_sentence(each) for each in self.where)})" if self.where else ""
        if self.times == 0:
            return f"did not perform {quoted(self.name)}{where}{window}"
        times = "once" if self.times == 1 else f"{self.times} times"
        return f"performed {quoted(self.name)}{where} {WORDS[self.frequency]} {times}{window}"

    def measures(self, now: int) -> tuple[Measure, ...]:
        opens = self._opens(now)
        rows = self._rows() if opens is None else sql("%s AND ts > %s", self._rows(), at(opens))
        if self.within is not None:
            rows = sql("%s AND ts <= %s", rows, at(now))
        return (Measure(EVENTS, self.name, sql("countIf(%s)", rows), opens, rows),)

    def _opens(self, now: int) -> int | None:
        """Up to when no event counts: where the window begins, or the audience's history, if that is later."""
        if self.within is None:
            return self.since
        return max(now - self.within.milliseconds, self.since or 0)

    def test(self, answers: Answers) -> Sql:
        return sql(f"({answers.columns[0]} {SIGNS[self.frequency]} %s)", self.times)

    def touches(self) -> frozenset[str]:
        return frozenset({f"event:{self.name}"})

    def edges(self) -> tuple[Edge, ...]:
        """Each event leaves the window; and enters it late, should it be dated after the evaluation's moment."""
        if self.within is None:
            return ()
        return Edge(self.name, self._rows(), self.within.milliseconds), Edge(self.name, self._rows(), 0)

    def audiences(self) -> frozenset[str]:
        return frozenset()

    def beginning(self, since: int) -> "Performed":
        return replace(self, since=since)

    def _rows(self) -> Sql:
        filters = [each.sql(place(each.name)) for each in self.where]
        return join(" AND ", [sql("event = %s", self.name), *filters])


def _frequency(fields: Fields) -> tuple[str, int]:
    """One of three; at least once when none is named. "At least 0" would be everyone, so it is refused."""
    named = [each for each in SIGNS if each in fields]
    if len(named) > 1:
        raise DefinitionError(fields.at(named[1]), f"cannot be used with {named[0]}")
    if not named:
        return "atLeast", 1
    return named[0], fields.count(named[0], least=1 if named[0] == "atLeast" else 0)


def _sentence(question: Question) -> str:
    return question.sentence(of_elements=read_each(question.name) is not None)


def _filter(value: Any, path: str) -> Question:
    fields = Fields(value, path)
    found = read_question(fields, "property")
    fields.done()
    return found


condition = Performed
