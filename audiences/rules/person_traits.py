"""PURE. The custom traits of a person: each one's newest value by event time, over all profiles of the person."""

from collections.abc import Sequence

from audiences.rules.aggregates import NEWEST, Aggregate
from audiences.rules.operators import Place
from audiences.rules.values import (
    JsonValue,
    ListElements,
    SingleValue,
    cuts,
    elements,
    first,
    inside,
    read_list_name,
    trait_keys,
)
from sources.events.sql import Sql, sql


def newest(name: str) -> tuple[Aggregate, ...]:
    """One for each trait that the name may lead to."""
    # By event time, then as the archive has them: the same row wins however often it is asked.
    row = "(ts, source, origin_piece, origin_position, value)"
    return tuple(Aggregate(NEWEST, (key,), sql(f"maxIf({row}, key = %s)", key)) for key in trait_keys(name))


def place(name: str, columns: Sequence[str]) -> Place:
    """Where the name leads to. columns: of `newest`, in its order."""
    literal, several = _texts(name, columns)
    return SingleValue(JsonValue(literal)) if several is None else ListElements(several, JsonValue(literal))


def scalars(name: str, columns: Sequence[str]) -> Sql:
    """An array of the JSON texts there that are texts, numbers or truth values. Each is in the statement once, since
    what is asked of it is asked of an element."""
    literal, several = _texts(name, columns)
    texts = sql("[%s]", literal) if several is None else sql("arrayPushFront(%s, %s)", several, literal)
    return sql("arrayFilter(part -> JSONType(part) NOT IN ('Object', 'Array', 'Null'), %s)", texts)


def _texts(name: str, columns: Sequence[str]) -> tuple[Sql, Sql | None]:
    """The JSON text that is written just so, and an array of those of the elements, if the name asks for them."""
    by_key = {key: Sql(f"{column}.5") for key, column in zip(trait_keys(name), columns, strict=True)}

    def at(name: str) -> Sql:
        return first([inside(by_key[key], below) if below else by_key[key] for key, below in cuts(name)])

    list_name = read_list_name(name)
    if list_name is None:
        return at(name), None
    head, below = list_name
    return at(name), elements(at(head), below)
