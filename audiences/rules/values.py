"""PURE. JSON text as ClickHouse reads it, and how a name leads to values in it. One meaning for properties and traits.

A dot in a name goes into an object, or is part of a key: of what there is, that under the longer key counts. `[]`
behind a name stands for each element of the list there, so that `items[].price` asks for the prices of all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audiences.rules.operators import Ask, Operand
from audiences.rules.validation import EACH
from sources.events.sql import Sql, join, sql

MOST_AMOUNT = 1e20  # more is no amount, so that no sum can overflow
MOST_PARTS = 3  # of a name inside a value, all whose dots may be part of keys: each more doubles the statement


@dataclass(frozen=True)
class JsonValue:
    """JSON text, '' when there is none."""

    json: Sql

    @property
    def present(self) -> Sql:
        return sql("(%s NOT IN ('', 'null'))", self.json)

    @property
    def text(self) -> Sql:
        return sql("if(startsWith(%s, '\"'), JSONExtractString(%s), NULL)", self.json, self.json)

    @property
    def list(self) -> Sql:
        return sql("if(startsWith(%s, '['), %s, '')", self.json, self.json)

    @property
    def numbers(self) -> tuple[Sql, ...]:
        # Whole numbers of more than 64 bits are Strings to JSONType; doubles are written like that inside of lists.
        wide = "JSONType(%s) IN ('Double', 'String') AND NOT startsWith(%s, '\"')"
        return (
            self._of_type("Int64", "JSONExtractInt(%s)"),
            sql(f"if({wide}, JSONExtractFloat(%s), NULL)", self.json, self.json, self.json),
            self._of_type("UInt64", "JSONExtractUInt(%s)"),
        )

    @property
    def truth(self) -> Sql:
        return self._of_type("Bool", "JSONExtractBool(%s)")

    def _of_type(self, type: str, value: str) -> Sql:
        return sql(f"if(JSONType(%s) = '{type}', {value}, NULL)", self.json, self.json)


def texts_in(values: Sql) -> Sql:
    """An array of JSON texts as plain texts, without objects, lists and null."""
    text = "if(startsWith(part, '\"'), JSONExtractString(part), part)"
    # What a question compares with is a text, a number or a truth value: no list and no object ever answers.
    scalar = "JSONType(part) NOT IN ('Object', 'Array', 'Null')"
    return sql(f"arrayMap(part -> {text}, arrayFilter(part -> {scalar}, %s))", values)


def amount(value: Operand) -> Sql:
    """The number in whole millionths, as Int128; NULL when it is none, or beyond MOST_AMOUNT."""
    whole, float_, unsigned = value.numbers
    millionths = sql(
        "coalesce(toInt128(%s) * 1000000, toInt128(%s) * 1000000, if(abs(%s) <= %s,"
        # Whole and broken part apart: the product of a large double is not exact.
        " toInt128(trunc(%s)) * 1000000 + toInt128(round((%s - trunc(%s)) * 1000000)), NULL))",
        whole,
        unsigned,
        float_,
        MOST_AMOUNT,
        float_,
        float_,
        float_,
    )
    return sql("CAST(%s AS Nullable(Int128))", millionths)


def as_json(value: Operand) -> Sql:
    """A text, number or truth value as JSON text, equal values alike; NULL when it is none of these."""
    return sql(
        "coalesce(if(isNotNull(%s), toJSONString(%s), NULL), %s, %s)",
        value.text,
        value.text,
        _number(value),
        _truth(value),
    )


def _number(value: Operand) -> Sql:
    """As text, a whole number written the same whatever its type."""
    whole, float_, unsigned = value.numbers
    return sql("coalesce(toString(%s), toString(%s), toString(%s))", whole, unsigned, float_)


def exact_json(value: Operand) -> Sql:
    """As `as_json`, and a whole double is written as the whole number that it is, however large."""
    whole, float_, unsigned = value.numbers
    number = sql(
        f"coalesce(toString(%s), toString(%s), if(trunc(%s) = %s AND %s >= {-(2**63)} AND %s < {2**64},"
        " toString(toInt128(%s)), toString(%s)))",
        whole,
        unsigned,
        *(float_,) * 6,
    )
    return sql(
        "coalesce(if(isNotNull(%s), toJSONString(%s), NULL), %s, %s)", value.text, value.text, number, _truth(value)
    )


def _truth(value: Operand) -> Sql:
    return sql("if(isNull(%s), NULL, if(%s, 'true', 'false'))", value.truth, value.truth)


def mark(value: Operand) -> Sql:
    """A number for each different text, number and truth value; NULL for lists and objects, and when there is none."""
    # With its type: the text "1" and the number 1 are two values.
    parts = (("s", value.text), ("n", _number(value)), ("b", _truth(value)))
    return sql("coalesce(%s)", join(", ", [sql(f"sipHash64('{kind}', %s)", text) for kind, text in parts]))


@dataclass(frozen=True)
class SingleValue:
    """A place where one value is, or none."""

    value: Operand

    def some(self, ask: Ask) -> Sql:
        return ask(self.value)

    def values(self, of: Ask) -> Sql:
        return sql("arrayFilter(v -> isNotNull(v), [%s])", of(self.value))

    def aggregate(self, function: str, of: Ask, rows: Sql) -> Sql:
        return sql(f"{function}If(%s, %s)", of(self.value), rows)


@dataclass(frozen=True)
class ListElements:
    """The elements of a list; and the value whose key is written just so, if somebody has called it `tags[]`."""

    elements: Sql  # an array of JSON texts
    literal: Operand

    def some(self, ask: Ask) -> Sql:
        element = ask(JsonValue(Sql("each")))
        return sql("(%s OR arrayExists(each -> %s, %s))", ask(self.literal), element, self.elements)

    def values(self, of: Ask) -> Sql:
        below = sql("arrayMap(each -> %s, %s)", of(JsonValue(Sql("each"))), self.elements)
        return sql("arrayFilter(v -> isNotNull(v), arrayPushFront(%s, %s))", below, of(self.literal))

    def aggregate(self, function: str, of: Ask, rows: Sql) -> Sql:
        # The combinator takes each element by itself: one event with three prices counts three.
        return sql(f"{function}ArrayIf(%s, %s)", self.values(of), rows)


def read_list_name(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The name of a list, and for each `[]` the name inside of its elements, '' = they themselves. None = no `[]`."""
    head, *below = name.split(EACH)
    if not head or not below or not all(part == "" or (part[0] == "." and part != ".") for part in below):
        return None
    return head, tuple(part[1:] for part in below)


def trait_keys(name: str) -> tuple[str, ...]:
    """The traits that a name may lead to: dots may go into an object, or be part of the trait's own name."""
    list_name = read_list_name(name)
    names = [name, *([list_name[0]] if list_name else [])]
    return tuple(dict.fromkeys(key for whole in names for key, _ in cuts(whole)))


def trait_places(name: str) -> Iterator[tuple[str, Sql]]:
    """Each trait whose values the name may mean, with an array of the JSON texts there, from the column `value`."""
    head, below = read_list_name(name) or (name, None)
    for key, inner in cuts(head):
        json = inside(Sql("value"), inner) if inner else Sql("value")
        yield key, sql("[%s]", json) if below is None else elements(json, below)


def elements(json: Sql, below: Sequence[str]) -> Sql:
    """An array of the JSON texts that such a name leads to from a list's JSON text."""
    values = sql("JSONExtractArrayRaw(%s)", json)
    for number, name in enumerate(below):
        if number:
            values = sql("arrayFlatten(arrayMap(list -> JSONExtractArrayRaw(list), %s))", values)
        if name:
            values = sql("arrayMap(object -> %s, %s)", inside(Sql("object"), name), values)
    return values


def inside(json: Sql, name: str) -> Sql:
    """The JSON text that a name leads to inside of an object; '' when nothing is there."""
    return first(
        [sql("JSONExtractRaw(%s)", join(", ", [json, *(sql("%s", key) for key in keys)])) for keys in _keys(name)]
    )


def first(values: Sequence[Sql]) -> Sql:
    """The first of several JSON texts that is there."""
    if len(values) == 1:
        return values[0]
    return sql("arrayFirst(found -> found NOT IN ('', 'null'), [%s])", join(", ", values))


def _keys(name: str) -> list[tuple[str, ...]]:
    """The keys that may be meant, one behind the other: those with longer keys first."""
    parts = name.split(".")
    if len(parts) > MOST_PARTS:
        # Two ways for want of all: the whole name as one key, or each part as one.
        return [(name,), tuple(parts)]
    return [(name,)] + [(key, *rest) for key, inner in cuts(name)[1:] for rest in _keys(inner)]


def cuts(name: str) -> list[tuple[str, str]]:
    """(key, name inside of its value) that may be meant, the longest key first; a key is the name or up to 3 parts."""
    parts = name.split(".")
    lengths = [len(parts), *range(min(MOST_PARTS, len(parts) - 1), 0, -1)]
    return [(".".join(parts[:length]), ".".join(parts[length:])) for length in lengths]
