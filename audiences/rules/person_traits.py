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
    row = "(ts, source, origin_piece, origin_position, value)"
    return tuple(Aggregate(NEWEST, (key,), sql(f"maxIf({row}, key = %s)", key)) for key in trait_keys(name))


def place(name: str, columns: Sequence[str]) -> Place:
    """Where the name leads to. columns: of `newest`, in its order."""
    by_key = {key: Sql(f"{column}.5") for key, column in zip(trait_keys(name), columns, strict=True)}

    def at(name: str) -> Sql:
        return first([inside(by_key[key], below) if below else by_key[key] for key, below in cuts(name)])

    literal = JsonValue(at(name))
    list_name = read_list_name(name)
    if list_name is None:
        return SingleValue(literal)
    head, below = list_name
    return ListElements(elements(at(head), below), literal)
