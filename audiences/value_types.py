"""Of which type a value is that somebody typed, by what was sent under its name: 42 may be a number, or be text."""

import copy
from collections.abc import Iterator

from audiences.conditions.event import identifier
from audiences.rules.draft_form import Tree, WrittenQuestion, questions
from audiences.rules.value_input import AUTO, types_of
from audiences.rules.values import cuts, elements, inside, read_list_name
from identity.history import scope_of
from sources.events import seen
from sources.events.sql import Sql, join, sql
from spaces.models import Space

TYPES = {"String": "text", "Bool": "truth", "Int64": "number", "UInt64": "number", "Double": "number"}
TYPES |= {"Float64": "number"}


def typed(space: Space, tree: Tree) -> Tree:
    """The same with a type for each value: what was sent under the name. Sent as several, it is what it reads as."""
    tree = copy.deepcopy(tree)
    for question, sent in _looked_up(space, tree):
        if question.entries["type"] == AUTO and sent == {"text"}:
            question.entries["type"] = "text"
    return tree


def untyped(space: Space, tree: Tree) -> Tree:
    """The same without the types that nobody has to give, since `typed` gives them."""
    tree = copy.deepcopy(tree)
    for question in questions(tree):
        if question.entries["type"] == "text" and types_of(question.entries) == {"text"}:
            question.entries["type"] = AUTO
    for question, sent in _looked_up(space, tree):
        if {question.entries["type"]} == sent:
            question.entries["type"] = AUTO
    return tree


def undecided(space: Space, tree: Tree) -> set[str]:
    """The questions, by the prefix of their inputs, whose value may be of several types that were sent."""
    return {question.prefix for question, sent in _looked_up(space, tree) if len(sent) > 1}


def _looked_up(space: Space, tree: Tree) -> Iterator[tuple[WrittenQuestion, set[str]]]:
    """The questions whose value may be of several types as it reads, with those of them that were sent."""
    for question in questions(tree):
        types = types_of(question.entries)
        if len(types) > 1 and question.name:
            yield question, types & _sent(space, question)


def _sent(space: Space, question: WrittenQuestion) -> set[str]:
    scope, list_name = scope_of(space), read_list_name(question.name)
    head, below = list_name or (question.name, None)
    if question.event:
        types = (
            sql("[toString(dynamicType(properties.%s))]", identifier(head))
            if below is None
            else _types_in(elements(sql("ifNull(lists.%s.:`String`, '')", identifier(head)), below))
        )
        return _named(seen.property_values(scope, question.event, types))
    found: set[str] = set()
    for key, inner in cuts(head):
        json = inside(Sql("value"), inner) if inner else Sql("value")
        types = _types_in(sql("[%s]", json) if below is None else elements(json, below))
        found |= _named(seen.trait_values(scope, key, types))
    return found


def _types_in(values: Sql) -> Sql:
    return join("", [Sql("arrayMap(part -> toString(JSONType(part)), "), values, Sql(")")])


def _named(types: list[str]) -> set[str]:
    return {TYPES[type] for type in types if type in TYPES}
