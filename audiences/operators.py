"""PURE. What can be asked of a property or a trait. One row of OPERATORS holds everything about one question.

Types are strict: a number equals no text. Negative questions are true only of a value that exists. Substring
questions also read a list of texts, as its elements joined by commas. Dates are full ISO timestamps with their
zone, or plain dates, which begin at midnight UTC.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from audiences.reading import DefinitionError, Fields, listed, number, scalar, text
from sources.events.sql import Sql, join, milliseconds, sql

DATE = r"(19[1-9]\d|2[0-2]\d\d)-\d\d-\d\d"  # what DateTime64 can hold in every zone
TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
MOMENT = f"^{DATE}(T{TIME})?$"


class Operand(Protocol):
    """One value of a row or a person, seen as each of the types it may have."""

    @property
    def present(self) -> Sql:
        """A boolean, never NULL."""

    @property
    def text(self) -> Sql:
        """NULL when it is none."""

    @property
    def joined(self) -> Sql:
        """A list of texts, '' when it is none."""

    @property
    def numbers(self) -> tuple[Sql, ...]:
        """One of each width, NULL when it is none."""

    @property
    def truth(self) -> Sql:
        """NULL when it is neither true nor false."""


@dataclass(frozen=True)
class Operator:
    name: str
    label: str
    read: Callable[[Any, str], Any] | None  # reads its value; None = it takes none
    sql: Callable[[Operand, Any], Sql]  # never NULL
    phrase: str

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
    return _any([_some(sql("%s = %s", each, value)) for each in operand.numbers])


def _compares(sign: str) -> Callable[[Operand, Any], Sql]:
    return lambda operand, value: _any([_some(sql(f"%s {sign} %s", each, value)) for each in operand.numbers])


def _in_text(function: str) -> Callable[[Operand, Any], Sql]:
    def ask(operand: Operand, value: str) -> Sql:
        return _any([_some(sql(f"{function}(%s, %s)", each, value)) for each in (operand.text, operand.joined)])

    return ask


def _but(ask: Callable[[Operand, Any], Sql]) -> Callable[[Operand, Any], Sql]:
    return lambda operand, value: sql("(%s AND NOT %s)", operand.present, ask(operand, value))


def _one_of(operand: Operand, values: Any) -> Sql:
    texts = [value for value in values if isinstance(value, str)]
    among = [_some(sql("%s IN %s", operand.text, tuple(texts)))] if texts else []
    return _any(among + [_equals(operand, value) for value in values if not isinstance(value, str)])


def _dated(sign: str) -> Callable[[Operand, Any], Sql]:
    def ask(operand: Operand, value: str) -> Sql:
        written = sql("ifNull(%s, '')", operand.text)
        read = sql("toUnixTimestamp64Milli(parseDateTime64BestEffortOrNull(%s, 3, 'UTC'))", written)
        return sql(f"(match(%s, %s) AND ifNull(%s {sign} %s, 0))", written, MOMENT, read, milliseconds(moment(value)))

    return ask


def moment(value: str) -> datetime:
    found = datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _date(value: Any, path: str) -> str:
    wrong = DefinitionError(path, "must be a date such as 2026-01-31, or a moment such as 2026-01-31T08:00:00Z")
    if not isinstance(value, str) or not re.match(MOMENT, value, re.ASCII) or value.endswith("\n"):
        raise wrong
    try:
        moment(value)
    except ValueError as error:
        raise wrong from error
    return value


def _several(value: Any, path: str) -> tuple[Any, ...]:
    return tuple(scalar(each, f"{path}[{i}]") for i, each in enumerate(listed(value, path)))


VALUES: dict[Any, str] = {scalar: "scalar", number: "number", text: "text", _several: "list", _date: "date"}
_contains, _smaller, _larger = _in_text("position"), _compares("<"), _compares(">")
OPERATORS = {
    operator.name: operator
    for operator in (
        Operator("equals", "equals", scalar, _equals, "is {}"),
        Operator("notEquals", "does not equal", scalar, _but(_equals), "is there and is not {}"),
        Operator("lessThan", "is less than", number, _smaller, "is less than {}"),
        Operator("greaterThan", "is greater than", number, _larger, "is greater than {}"),
        Operator("atMost", "is at most", number, _compares("<="), "is at most {}"),
        Operator("atLeast", "is at least", number, _compares(">="), "is at least {}"),
        Operator("contains", "contains", text, _contains, "contains {}"),
        Operator("notContains", "does not contain", text, _but(_contains), "is there and does not contain {}"),
        Operator("startsWith", "starts with", text, _in_text("startsWith"), "starts with {}"),
        Operator("endsWith", "ends with", text, _in_text("endsWith"), "ends with {}"),
        Operator("oneOf", "is one of", _several, _one_of, "is one of {}"),
        Operator("before", "is before", _date, _dated("<"), "is before {}"),
        Operator("after", "is after", _date, _dated(">"), "is after {}"),
        Operator("exists", "exists", None, lambda operand, _: operand.present, "is there"),
        Operator("notExists", "does not exist", None, lambda operand, _: "NOT " + operand.present, "is not there"),
    )
}


@dataclass(frozen=True)
class Question:
    """An operator with its value, about one named property or trait."""

    name: str
    operator: str
    value: Any = None

    def sql(self, operand: Operand) -> Sql:
        return OPERATORS[self.operator].sql(operand, self.value)

    def json(self) -> dict[str, Any]:
        value = {} if OPERATORS[self.operator].read is None else {"value": self.value}
        return {"op": self.operator} | (value if not isinstance(self.value, tuple) else {"value": list(self.value)})

    def sentence(self) -> str:
        return f"{quoted(self.name)} {OPERATORS[self.operator].phrase.format(_spoken(self.value))}"


def read_question(fields: Fields, name: str) -> Question:
    """Takes `name`, `op` and, where the operator wants one, `value`."""
    about = read_path(fields.name(name), fields.at(name))
    op = fields.take("op")
    if not isinstance(op, str) or op not in OPERATORS:
        raise fields.error("op", f"must be one of {', '.join(OPERATORS)}")
    read = OPERATORS[op].read
    if read is None:
        return Question(about, op)
    return Question(about, op, read(fields.take("value"), fields.at("value")))


def read_path(value: str, path: str) -> str:
    """A name in which dots go into nested objects."""
    if not all(value.split(".")):
        raise DefinitionError(path, "must have a name on each side of a dot")
    return value


def quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _spoken(value: Any) -> str:
    if isinstance(value, tuple):
        return " or ".join(quoted(each) for each in value)
    return quoted(value)
