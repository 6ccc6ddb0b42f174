"""PURE. What can be asked of a property or a trait. One row of OPERATORS holds everything about one question.

Types are strict: a number equals no text. Negative questions are true only of a value that exists. Substring
questions also read a list, as its texts joined by commas. Dates are moments as `audiences.rules.dates` reads them;
some questions compare them with now, so that the passing of time alone changes the answer.
Some may compare with something that the person or an event has, in place of a value (`audiences.rules.references`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from audiences.rules import dates
from audiences.rules.references import PARENT, TRAIT, Reference, read_reference, reference_schema
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
from audiences.rules.windows import SCHEMA as DURATION_SCHEMA
from audiences.rules.windows import UNITS, Duration, read_duration, read_moment
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

    def values(self, of: Ask) -> Sql:
        """An array of something of each value there; NULL is left out."""

    def aggregate(self, function: str, of: Ask, rows: Sql) -> Sql:
        """The aggregate function over something of each value there, of certain rows."""


@dataclass(frozen=True)
class Operator:
    name: str
    label: str
    read: Callable[[Any, str], Any] | None  # reads its value; None = it takes none
    sql: Callable[[Place, Any, int], Sql]  # of a place, that value, and now in milliseconds. Never NULL
    phrase: str
    of_none: str = ""  # of a negative question: what is said of an element, before "for no element"
    # How long after the date that is asked about, in milliseconds, time changes the answer; negative = before it.
    turns: Callable[[Any], tuple[int, ...]] | None = None
    yearly: bool = False  # time changes the answer at midnight
    # Between two values, of a positive question or of the opposite of a negative one; None = it takes no reference.
    between: Callable[[Operand, Operand], Sql] | None = None

    @property
    def takes(self) -> str | None:
        """What kind of value, one of the words in VALUES; None = none."""
        return VALUES[self.read] if self.read else None

    @property
    def relative(self) -> bool:
        """Whether it compares a date with now."""
        return self.turns is not None or self.yearly

    @property
    def negative(self) -> bool:
        """Whether it is true of what is there when another question is not."""
        return bool(self.of_none) and self.read is not None

    @property
    def references(self) -> tuple[str, ...]:
        """What it may compare with beside a value."""
        if self.between is None:
            return ()
        # What follows an event is found by equal values, in one sorted array: a smaller one is not.
        return (TRAIT, PARENT) if self.between is _alike else (TRAIT,)


def _some(condition: Sql) -> Sql:
    # A value of another type is NULL as this one. NOT of NULL would be neither true nor false, for anybody.
    return sql("ifNull(%s, 0)", condition)


def _any(conditions: list[Sql]) -> Sql:
    return "(" + join(" OR ", conditions) + ")"


def _equals(operand: Operand, value: Any) -> Sql:
    if isinstance(value, bool):
        return _some(sql(f"%s = {'true' if value else 'false'}", operand.truth))
    if isinstance(value, str):
        return _some(sql("%s = %s", operand.text, value))
    return _any([_some(sql("%s = %s", number, value)) for number in operand.numbers])


def _alike(one: Operand, other: Operand) -> Sql:
    # Each as each type: a value of another type is NULL there, so that types are strict without asking for them.
    scalars = [_some(sql("%s = %s", *pair)) for pair in ((one.text, other.text), (one.truth, other.truth))]
    return _any([*scalars, _numbers("=")(one, other)])


def _numbers(sign: str) -> Callable[[Operand, Operand], Sql]:
    return lambda one, other: _any(
        [_some(sql(f"%s {sign} %s", mine, its)) for mine in one.numbers for its in other.numbers]
    )


def _moments(sign: str) -> Callable[[Operand, Operand], Sql]:
    def ask(one: Operand, other: Operand) -> Sql:
        mine, its = (dates.exact_moments(sql("ifNull(%s, '')", operand.text)) for operand in (one, other))
        # A text is one moment or none, so each array has one element at most.
        return sql(f"arrayExists(a -> arrayExists(b -> a {sign} b, %s), %s)", its, mine)

    return ask


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
    # Texts in one IN, which the engine looks up in a set; numbers and truth one by one, for each has several columns.
    among = [_some(sql("%s IN %s", operand.text, tuple(texts)))] if texts else []
    return _any(among + [_equals(operand, value) for value in values if not isinstance(value, str)])


def _dated(sign: str) -> Callable[[Operand, Any], Sql]:
    return lambda operand, value: dates.compares(
        sql("ifNull(%s, '')", operand.text), sign, dates.milliseconds(value) or 0
    )


def _ago(operand: Operand, value: Duration, now: int, *, before: bool) -> Sql:
    return _moment_in(
        operand, None if before else now - value.milliseconds, now - value.milliseconds if before else now
    )


def _ahead(operand: Operand, value: Duration, now: int, *, after: bool) -> Sql:
    return _moment_in(operand, now + value.milliseconds if after else now, None if after else now + value.milliseconds)


def _moment_in(operand: Operand, opens: int | None, closes: int | None) -> Sql:
    """Whether it is a moment in (opens, closes]."""
    # No moment is read from a text that is not there.
    text = sql("ifNull(%s, '')", operand.text)
    if opens is not None and closes is not None:
        return dates.within(text, opens, closes)
    return dates.compares(text, "<=", closes or 0) if opens is None else dates.compares(text, ">", opens)


def _anniversary(operand: Operand, days: int, now: int) -> Sql:
    """By the date as it is written, whatever its zone: a birthday is one."""
    text = sql("ifNull(%s, '')", operand.text)
    among = sql("substring(%s, 6, 5) IN %s", text, dates.days_of(now // UNITS["days"] + days))
    return sql("(%s AND notEmpty(%s))", among, dates.moments(text))


def _relative(ask: Callable[[Operand, Any, int], Sql]) -> Callable[[Place, Any, int], Sql]:
    return lambda place, value, now: place.some(lambda operand: ask(operand, value, now))


def _positive(ask: Callable[[Operand, Any], Sql]) -> Callable[[Place, Any, int], Sql]:
    return lambda place, value, now: place.some(lambda operand: ask(operand, value))


def _negative(ask: Callable[[Operand, Any], Sql]) -> Callable[[Place, Any, int], Sql]:
    return lambda place, value, now: sql(
        "(%s AND NOT %s)", _present(place, None, now), _positive(ask)(place, value, now)
    )


def _present(place: Place, value: Any, now: int) -> Sql:
    return place.some(lambda operand: operand.present)


def _days(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_DAYS:
        raise DefinitionError(path, f"must be a whole number of days from 0 to {MOST_DAYS}")
    return value


def _several(value: Any, path: str) -> tuple[Any, ...]:
    return tuple(scalar(item, f"{path}[{i}]") for i, item in enumerate(listed(value, path)))


def _of_numbers(name: str, label: str, sign: str) -> Operator:
    return Operator(
        name,
        label,
        number,
        _positive(
            lambda operand, value: _any([_some(sql(f"%s {sign} %s", number, value)) for number in operand.numbers])
        ),
        f"{label} {{}}",
        between=_numbers(sign),
    )


def _of_moments(name: str, sign: str) -> Operator:
    return Operator(name, f"is {name}", read_moment, _positive(_dated(sign)), f"is {name} {{}}", between=_moments(sign))


MOST_DAYS = 365
VALUES: dict[Any, str] = {
    scalar: "scalar",
    number: "number",
    text: "text",
    _several: "list",
    read_moment: "date",
    read_duration: "duration",
    _days: "days",
}
_contains = _in_text("position")
OPERATORS = {
    operator.name: operator
    for operator in (
        Operator("equals", "equals", scalar, _positive(_equals), "is {}", between=_alike),
        Operator(
            "notEquals",
            "does not equal",
            scalar,
            _negative(_equals),
            "is there and is not {}",
            "is there and is {}",
            between=_alike,
        ),
        _of_numbers("lessThan", "is less than", "<"),
        _of_numbers("greaterThan", "is greater than", ">"),
        _of_numbers("atMost", "is at most", "<="),
        _of_numbers("atLeast", "is at least", ">="),
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
        _of_moments("before", "<"),
        _of_moments("after", ">"),
        Operator("exists", "exists", None, _present, "is there"),
        Operator(
            "notExists",
            "does not exist",
            None,
            lambda place, value, now: "NOT " + _present(place, value, now),
            "is not there",
            "is there",
        ),
        Operator(
            "withinLast",
            "is within the last",
            read_duration,
            _relative(partial(_ago, before=False)),
            "is within the last {}",
            turns=lambda value: (0, value.milliseconds),
        ),
        Operator(
            "withinNext",
            "is within the next",
            read_duration,
            _relative(partial(_ahead, after=False)),
            "is within the next {}",
            turns=lambda value: (0, -value.milliseconds),
        ),
        Operator(
            "beforeLast",
            "is longer ago than",
            read_duration,
            _relative(partial(_ago, before=True)),
            "is {} ago or longer",
            turns=lambda value: (value.milliseconds,),
        ),
        Operator(
            "afterNext",
            "is further ahead than",
            read_duration,
            _relative(partial(_ahead, after=True)),
            "is more than {} ahead",
            turns=lambda value: (-value.milliseconds,),
        ),
        Operator(
            "anniversary",
            "has its anniversary in (days)",
            _days,
            _relative(_anniversary),
            "has its anniversary {}",
            yearly=True,
        ),
    )
}


@dataclass(frozen=True)
class Question:
    """An operator with its value, about one named property or trait. The value may be a Reference, which `sql` does not
    know: the sequence that the question belongs to compares it."""

    name: str
    operator: str
    value: Any = None

    @property
    def reference(self) -> Reference | None:
        return self.value if isinstance(self.value, Reference) else None

    def compares_with(self, of: str) -> bool:
        """of: TRAIT or PARENT."""
        return self.reference is not None and self.reference.of == of

    def sql(self, place: Place, now: int) -> Sql:
        return OPERATORS[self.operator].sql(place, self.value, now)

    def json(self) -> dict[str, Any]:
        if OPERATORS[self.operator].read is None:
            return {"op": self.operator}
        value = self.value.json() if isinstance(self.value, Duration | Reference) else self.value
        return {"op": self.operator, "value": list(value) if isinstance(value, tuple) else value}

    def sentence(self, *, of_elements: bool = False, parent: str = "") -> str:
        """of_elements: the name leads to the elements of a list. parent: what its sentence calls the event before."""
        operator = OPERATORS[self.operator]
        phrase = (of_elements and operator.of_none) or operator.phrase
        elements = f" for {'no' if operator.of_none else 'at least one'} element" if of_elements else ""
        return f"{quoted(self.name)} {phrase.format(_spoken(self.value, operator, parent))}{elements}"


def operators(*, relative: bool) -> dict[str, Operator]:
    """By name. relative: those that compare with now are among them."""
    return {name: operator for name, operator in OPERATORS.items() if relative or not operator.relative}


def read_question(fields: JsonReader, name: str, *, relative: bool, references: tuple[str, ...] = ()) -> Question:
    """Takes `name`, `op` and, where the operator wants one, `value`, which may be one of these references."""
    about = fields.name(name)
    op = fields.take("op")
    known = operators(relative=relative)
    if not isinstance(op, str) or op not in known:
        raise fields.error("op", f"must be one of {', '.join(known)}")
    read = known[op].read
    if read is None:
        return Question(about, op)
    value, path = fields.take("value"), fields.at("value")
    allowed = tuple(of for of in references if of in known[op].references)
    if allowed and isinstance(value, dict):
        return Question(about, op, read_reference(value, path, allowed))
    return Question(about, op, read(value, path))


def question_schema(name: str, *, relative: bool, references: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `read_question` takes, as JSON Schema."""
    known = operators(relative=relative)
    scalars = [{"type": "string", "maxLength": LONGEST_TEXT}, {"type": "number"}, {"type": "boolean"}]
    several = {"type": "array", "items": {"anyOf": scalars}, "minItems": 1, "maxItems": 500}
    takes = "; ".join(f"`{operator.name}`: {operator.takes or 'none'}" for operator in known.values())
    durations = [DURATION_SCHEMA] if relative else []
    compared = [reference_schema(of) for of in references]
    value = {"anyOf": [*scalars, several, *durations, *compared], "description": f"What each operator takes. {takes}."}
    return {
        "type": "object",
        "required": [name, "op"],
        "properties": {name: NAME_SCHEMA, "op": {"type": "string", "enum": [*known]}, "value": value},
        "additionalProperties": False,
    }


def quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _spoken(value: Any, operator: Operator, parent: str) -> str:
    if isinstance(value, Reference):
        return f"their trait {quoted(value.name)}" if value.of == TRAIT else f"the {quoted(value.name)} of {parent}"
    if isinstance(value, tuple):
        return " or ".join(quoted(item) for item in value)
    if operator.yearly:
        return "today" if value == 0 else "tomorrow" if value == 1 else f"in {value} days"
    return str(value) if isinstance(value, Duration) else quoted(value)
