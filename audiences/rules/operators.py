"""PURE. What can be asked of a property or a trait. One row of OPERATORS holds everything about one question.

Types are strict: a number equals no text. Negative questions are true only of a value that exists. Substring
questions also read a list, as its texts joined by commas. Dates are moments as `audiences.rules.dates` reads them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from audiences.rules import dates
from audiences.rules.validation import (
    LONGEST_TEXT,
    NAME_SCHEMA,
    DefinitionError,
    JsonReader,
    listed,
    number,
    scalar,
    text,
)
from sources.events.sql import Sql, join, sql


class Operand(Protocol):
    """One value of a row or a person, seen as each of the types it may have."""

    @property
    def present(self) -> Sql:
        """A boolean, never NULL."""

    @property
    def text(self) -> Sql:
        """NULL when it is none."""

    @property
    def list(self) -> Sql:
        """Its JSON text, '' when it is none."""

    @property
    def numbers(self) -> tuple[Sql, ...]:
        """One of each width, NULL when it is none."""

    @property
    def truth(self) -> Sql:
        """NULL when it is neither true nor false."""


Ask = Callable[[Operand], Sql]  # a condition on one value that is never NULL


class Place(Protocol):
    """Where a name leads to: one value, or the elements of a list."""

    def some(self, ask: Ask) -> Sql:
        """Whether a value there answers. Never NULL."""


@dataclass(frozen=True)
class Operator:
    name: str
    label: str
    read: Callable[[Any, str], Any] | None  # reads its value; None = it takes none
    sql: Callable[[Place, Any], Sql]  # never NULL
    phrase: str
    of_none: str = ""  # of a negative question: what is said of an element, before "for no element"

    @property
    def takes(self) -> str | None:
        """What kind of value, one of the words in VALUES; None = none."""
        return VALUES[self.read] if self.read else None


def _some(condition: Sql) -> Sql:
    return sql("ifNull(%s, 0)", condition)


def _any(conditions: list[Sql]) -> Sql:
    return "(" + join(" OR ", conditions) + ")"


def _equals(operand: Operand, value: Any) -> Sql:
    if isinstance(value, bool):
        return _some(sql(f"%s = {'true' if value else 'false'}", operand.truth))
    if isinstance(value, str):
        return _some(sql("%s = %s", operand.text, value))
    return _any([_some(sql("%s = %s", number, value)) for number in operand.numbers])


def _compares(sign: str) -> Callable[[Operand, Any], Sql]:
    return lambda operand, value: _any([_some(sql(f"%s {sign} %s", number, value)) for number in operand.numbers])


def _in_text(function: str) -> Callable[[Operand, Any], Sql]:
    def ask(operand: Operand, value: str) -> Sql:
        in_text = _some(sql(f"{function}(%s, %s)", operand.text, value))
        # The list is taken apart only where there is one.
        in_list = sql(f"(%s != '' AND {function}(%s, %s))", operand.list, _joined(operand.list), value)
        return _any([in_text, in_list])

    return ask


def _joined(list: Sql) -> Sql:
    """The texts among the elements of a list, with commas between them."""
    text = "if(startsWith(part, '\"'), JSONExtractString(part), '')"
    return sql(
        f"arrayStringConcat(arrayFilter(t -> t != '', arrayMap(part -> {text}, JSONExtractArrayRaw(%s))), ',')", list
    )


def _one_of(operand: Operand, values: Any) -> Sql:
    texts = [value for value in values if isinstance(value, str)]
    among = [_some(sql("%s IN %s", operand.text, tuple(texts)))] if texts else []
    return _any(among + [_equals(operand, value) for value in values if not isinstance(value, str)])


def _dated(sign: str) -> Callable[[Operand, Any], Sql]:
    return lambda operand, value: dates.compares(
        sql("ifNull(%s, '')", operand.text), sign, dates.milliseconds(value) or 0
    )


def _positive(ask: Callable[[Operand, Any], Sql]) -> Callable[[Place, Any], Sql]:
    return lambda place, value: place.some(lambda operand: ask(operand, value))


def _negative(ask: Callable[[Operand, Any], Sql]) -> Callable[[Place, Any], Sql]:
    return lambda place, value: sql("(%s AND NOT %s)", _present(place, None), _positive(ask)(place, value))


def _present(place: Place, value: Any) -> Sql:
    return place.some(lambda operand: operand.present)


def _date(value: Any, path: str) -> str:
    if not isinstance(value, str) or dates.milliseconds(value) is None:
        raise DefinitionError(path, "must be a date such as 2026-01-31, or a moment such as 2026-01-31T08:00:00Z")
    return value


def _several(value: Any, path: str) -> tuple[Any, ...]:
    return tuple(scalar(item, f"{path}[{i}]") for i, item in enumerate(listed(value, path)))


VALUES: dict[Any, str] = {scalar: "scalar", number: "number", text: "text", _several: "list", _date: "date"}
_contains = _in_text("position")
OPERATORS = {
    operator.name: operator
    for operator in (
        Operator("equals", "equals", scalar, _positive(_equals), "is {}"),
        Operator(
            "notEquals", "does not equal", scalar, _negative(_equals), "is there and is not {}", "is there and is {}"
        ),
        Operator("lessThan", "is less than", number, _positive(_compares("<")), "is less than {}"),
        Operator("greaterThan", "is greater than", number, _positive(_compares(">")), "is greater than {}"),
        Operator("atMost", "is at most", number, _positive(_compares("<=")), "is at most {}"),
        Operator("atLeast", "is at least", number, _positive(_compares(">=")), "is at least {}"),
        Operator("contains", "contains", text, _positive(_contains), "contains {}"),
        Operator(
            "notContains",
            "does not contain",
            text,
            _negative(_contains),
            "is there and does not contain {}",
            "is there and contains {}",
        ),
        Operator("startsWith", "starts with", text, _positive(_in_text("startsWith")), "starts with {}"),
        Operator("endsWith", "ends with", text, _positive(_in_text("endsWith")), "ends with {}"),
        Operator("oneOf", "is one of", _several, _positive(_one_of), "is one of {}"),
        Operator("before", "is before", _date, _positive(_dated("<")), "is before {}"),
        Operator("after", "is after", _date, _positive(_dated(">")), "is after {}"),
        Operator("exists", "exists", None, _present, "is there"),
        Operator(
            "notExists",
            "does not exist",
            None,
            lambda place, value: "NOT " + _present(place, value),
            "is not there",
            "is there",
        ),
    )
}


@dataclass(frozen=True)
class Question:
    """An operator with its value, about one named property or trait."""

    name: str
    operator: str
    value: Any = None

    def sql(self, place: Place) -> Sql:
        return OPERATORS[self.operator].sql(place, self.value)

    def json(self) -> dict[str, Any]:
        value = {} if OPERATORS[self.operator].read is None else {"value": self.value}
        return {"op": self.operator} | (value if not isinstance(self.value, tuple) else {"value": list(self.value)})

    def sentence(self, *, of_elements: bool = False) -> str:
        """of_elements: the name leads to the elements of a list."""
        operator = OPERATORS[self.operator]
        phrase = (of_elements and operator.of_none) or operator.phrase
        elements = f" for {'no' if operator.of_none else 'at least one'} element" if of_elements else ""
        return f"{quoted(self.name)} {phrase.format(_spoken(self.value))}{elements}"


def read_question(fields: JsonReader, name: str) -> Question:
    """Takes `name`, `op` and, where the operator wants one, `value`."""
    about = fields.name(name)
    op = fields.take("op")
    if not isinstance(op, str) or op not in OPERATORS:
        raise fields.error("op", f"must be one of {', '.join(OPERATORS)}")
    read = OPERATORS[op].read
    if read is None:
        return Question(about, op)
    return Question(about, op, read(fields.take("value"), fields.at("value")))


def question_schema(name: str) -> dict[str, Any]:
    """What `read_question` takes, as JSON Schema."""
    scalars = [{"type": "string", "maxLength": LONGEST_TEXT}, {"type": "number"}, {"type": "boolean"}]
    several = {"type": "array", "items": {"anyOf": scalars}, "minItems": 1, "maxItems": 500}
    takes = "; ".join(f"`{operator.name}`: {operator.takes or 'none'}" for operator in OPERATORS.values())
    value = {"anyOf": [*scalars, several], "description": f"What each operator takes. {takes}."}
    return {
        "type": "object",
        "required": [name, "op"],
        "properties": {name: NAME_SCHEMA, "op": {"type": "string", "enum": [*OPERATORS]}, "value": value},
        "additionalProperties": False,
    }


def quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _spoken(value: Any) -> str:
    if isinstance(value, tuple):
        return " or ".join(quoted(item) for item in value)
    return quoted(value)
