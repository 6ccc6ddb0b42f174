"""Of which type a value is that somebody typed, by what was sent under its name: 42 may be a number, or be text."""

import copy
from collections.abc import Iterator

from audiences.rules.draft_form import Tree, WrittenQuestion, questions
from audiences.rules.properties import identifier, place
from audiences.rules.value_input import AUTO, types_of
from audiences.rules.values import ListElements, trait_places
from identity.history import scope_of
from sources.events import seen
from sources.events.sql import Sql, sql
from spaces.models import Space

TYPES = {"String": "text", "Bool": "truth", "Int64": "number", "UInt64": "number", "Double": "number"}
TYPES |= {"Float64": "number"}


def typed(space: Space, tree: Tree) -> Tree:
    """The same with a type for each value: what was sent under the name. Sent as several, it is what it reads as."""
    tree = copy.deepcopy(tree)
    for question, sent in _looked_up(space, tree):
        # Only text has to be said: what reads as a number and was sent as one is read as one anyhow.
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
        if len(types) > 1 and question.name and not question.computed:  # a computed value is what it reads as
            yield question, types & types_sent(space, event=question.event, name=question.name)


def types_sent(space: Space, *, event: str, name: str) -> set[str]:
    """As which of number, text and truth values were sent: of a property of the event, or of a trait when it is ""."""
    # From the newest rows alone (sources.events.seen): a form waits for it.
    scope = scope_of(space)
    if event:
        where = place(name)
        plain = sql("[toString(dynamicType(properties.%s))]", identifier(name))
        types = _types_in(where.elements) if isinstance(where, ListElements) else plain
        names = list(seen.property_values(scope, event, types))
    else:
        places = trait_places(name) if name else ()
        names = [type for key, there in places for type in seen.trait_values(scope, key, _types_in(there))]
    return {TYPES[name] for name in names if name in TYPES}


def _types_in(values: Sql) -> Sql:
    return sql("arrayMap(part -> toString(JSONType(part)), %s)", values)
