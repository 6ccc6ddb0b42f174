"""PURE. A definition: JSON in a closed grammar, as a tree; what it means in one exact English sentence.

`{"all": [node, …]}`, `{"any": [node, …]}`, `{"not": node}`, or one condition `{"kind": …}`.
Whatever is unknown or malformed is an error with a path; it never matches everyone or no one.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audiences.conditions import KINDS
from audiences.conditions.audience import PartOfAudience
from audiences.rules.conditions import Condition
from audiences.rules.validation import DefinitionError, listed
from sources.events.sql import Sql, join

logger = logging.getLogger(__name__)

MOST_CONDITIONS = 500
DEEPEST = 20
GROUPS = {"all": " and ", "any": " or "}


@dataclass(frozen=True)
class Leaf:
    condition: Condition


@dataclass(frozen=True)
class Group:
    word: str  # all | any
    nodes: tuple["Node", ...]


@dataclass(frozen=True)
class Not:
    node: "Node"


Node = Leaf | Group | Not


def parse(value: Any) -> Node:
    """Raises DefinitionError, and nothing else, whatever the value is."""
    node = _parse(value, "", 1)
    if sum(1 for _ in conditions(node)) > MOST_CONDITIONS:
        raise DefinitionError("", f"must not have more than {MOST_CONDITIONS} conditions")
    return node


def schemas(reference: str) -> dict[str, dict[str, Any]]:
    """The grammar as JSON Schema, by name. reference: how one refers to another, as in "#/$defs/{}".

    It takes all that `parse` takes, and little else: what it cannot say are depth, and how many conditions there are.
    """

    def refer(*names: str) -> list[dict[str, str]]:
        return [{"$ref": reference.format(name)} for name in names]

    (definition,) = refer("Definition")
    several = {"type": "array", "items": definition, "minItems": 1, "maxItems": 500}
    inside = {**dict.fromkeys(GROUPS, several), "not": definition}
    groups = {
        f"{word.capitalize()}Group": {
            "type": "object",
            "required": [word],
            "properties": {word: schema},
            "additionalProperties": False,
        }
        for word, schema in inside.items()
    }
    leaves = {f"{kind.capitalize()}Condition": condition.schema() for kind, condition in KINDS.items()}
    return {"Definition": {"oneOf": refer(*leaves, *groups)}, **leaves, **groups}


def conditions(node: Node) -> Iterator[Condition]:
    """Every condition, in the order in which they are written."""
    return (condition for _, condition in located(node))


def located(node: Node, path: str = "") -> Iterator[tuple[str, Condition]]:
    """The same, each with its path."""
    if isinstance(node, Leaf):
        yield path, node.condition
    elif isinstance(node, Not):
        yield from located(node.node, _below(path, "not"))
    else:
        for i, inner in enumerate(node.nodes):
            yield from located(inner, f"{_below(path, node.word)}[{i}]")


def to_json(node: Node) -> dict[str, Any]:
    if isinstance(node, Leaf):
        return node.condition.json()
    if isinstance(node, Not):
        return {"not": to_json(node.node)}
    return {node.word: [to_json(inner) for inner in node.nodes]}


def to_sql(node: Node, test: Callable[[Condition], Sql]) -> Sql:
    """The tree over its conditions' booleans, none of which is ever NULL."""
    if isinstance(node, Leaf):
        return test(node.condition)
    if isinstance(node, Not):
        return "NOT (" + to_sql(node.node, test) + ")"
    return "(" + join(GROUPS[node.word].upper(), [to_sql(inner, test) for inner in node.nodes]) + ")"


def sentence(node: Node, *, include_anonymous: bool = False, since: datetime | None = None) -> str:
    """since: no event up to then counts."""
    people = "People, anonymous ones included," if include_anonymous else "People"
    counting = f", counting only events after {since:%d %B %Y, %H:%M:%S} UTC" if since else ""
    return f"{people} who {_phrase(node)}{counting}."


def change_keys(node: Node) -> frozenset[str]:
    """The keys of change sets it reads, beside those that concern every audience."""
    return frozenset().union(*(condition.change_keys() for condition in conditions(node)))


def audiences(node: Node) -> frozenset[str]:
    return frozenset().union(*(condition.audiences() for condition in conditions(node)))


def audiences_in(value: Any) -> frozenset[str]:
    """The same of its JSON, also of one that cannot be read: then of whatever in it looks like such a condition."""
    try:
        return audiences(parse(value))
    except DefinitionError:
        return frozenset(_keys(value))


def beginning(node: Node, since: int) -> Node:
    """The same tree, to which no event up to this moment counts, in milliseconds."""
    if isinstance(node, Leaf):
        return Leaf(node.condition.beginning(since))
    if isinstance(node, Not):
        return Not(beginning(node.node, since))
    return Group(node.word, tuple(beginning(inner, since) for inner in node.nodes))


def _keys(value: Any) -> Iterator[str]:
    inside = [value]
    while inside:
        value = inside.pop()
        if isinstance(value, dict):
            if value.get("kind") == PartOfAudience.kind and isinstance(value.get("key"), str):
                yield value["key"]
            inside += value.values()
        elif isinstance(value, list):
            inside += value


def _parse(value: Any, path: str, depth: int) -> Node:
    if not isinstance(value, dict):
        raise DefinitionError(path, "must be an object")
    if depth > DEEPEST:
        raise DefinitionError(path, f"must not be nested deeper than {DEEPEST}")
    if "kind" in value:
        return Leaf(read_condition(value, path))
    word = _only_key(value, path)
    inside = _below(path, word)
    if word == "not":
        return Not(_parse(value[word], inside, depth + 1))
    rows = listed(value[word], inside)
    return Group(word, tuple(_parse(row, f"{inside}[{i}]", depth + 1) for i, row in enumerate(rows)))


def _only_key(value: dict[str, Any], path: str) -> str:
    unknown = sorted(str(key) for key in value if key not in ("all", "any", "not"))
    if unknown:
        raise DefinitionError(_below(path, unknown[0]), "is not known here")
    if len(value) != 1:
        raise DefinitionError(path, "must have a kind, or one of all, any, not")
    return next(iter(value))


def read_condition(value: dict[str, Any], path: str) -> Condition:
    """Raises DefinitionError, and nothing else."""
    kind = value["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise DefinitionError(_below(path, "kind"), f"must be one of {', '.join(KINDS)}")
    try:
        return KINDS[kind].parse(value, path)
    except DefinitionError:
        raise
    except Exception as error:  # a bug of this release, in one kind of condition
        logger.exception("a condition of kind %s cannot be read", kind)
        raise DefinitionError(path, f"cannot be read ({type(error).__name__})") from error


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _phrase(node: Node) -> str:
    if isinstance(node, Leaf):
        return node.condition.sentence()
    if isinstance(node, Not):
        return f"are not among those who ({_phrase(node.node)})"
    if len(node.nodes) == 1:
        return _phrase(node.nodes[0])
    return GROUPS[node.word].join(_inside(inner) for inner in node.nodes)


def _inside(node: Node) -> str:
    """In parentheses when "and" and "or" would otherwise mix."""
    while isinstance(node, Group) and len(node.nodes) == 1:
        node = node.nodes[0]
    return f"({_phrase(node)})" if isinstance(node, Group) else _phrase(node)
