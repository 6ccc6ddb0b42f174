"""PURE. A definition: JSON in a closed grammar, as a tree; what it means in one exact English sentence.

`{"all": [node, …]}`, `{"any": [node, …]}`, `{"not": node}`, or one condition `{"kind": …}`.
Whatever is unknown or malformed is an error with a path; it never matches everyone or no one.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audiences.conditions import KINDS
from audiences.conditions.audience import PartOfAudience
from audiences.conditions.computed import HasComputedTrait
from audiences.rules.conditions import Condition
from audiences.rules.memberships import PastMembership
from audiences.rules.validation import DefinitionError, listed
from audiences.traits import TRAITS
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


def parse_trait(value: Any) -> Leaf:
    """A computed trait, as a condition on having it. Raises DefinitionError, and nothing else."""
    if not isinstance(value, dict):
        raise DefinitionError("", "must be an object")
    return Leaf(_read_kind(value, "", TRAITS))


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


def trait_schemas(reference: str) -> dict[str, dict[str, Any]]:
    """The same of the definitions of computed traits."""
    kinds = {"".join(map(str.capitalize, kind.split("_"))) + "Trait": trait.schema() for kind, trait in TRAITS.items()}
    return {"TraitDefinition": {"oneOf": [{"$ref": reference.format(name)} for name in kinds]}, **kinds}


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


def trait_sentence(leaf: Leaf, *, since: datetime | None = None) -> str:
    """What the value of a computed trait is."""
    text = leaf.condition.sentence()
    counting = f", counting only events after {since:%d %B %Y, %H:%M:%S} UTC" if since else ""
    return f"{text[:1].upper()}{text[1:]}{counting}."


def change_keys(node: Node) -> frozenset[str]:
    """The keys of change sets it reads, beside those that concern every audience."""
    return frozenset().union(*(condition.change_keys() for condition in conditions(node)))


def audiences(node: Node) -> frozenset[str]:
    return frozenset().union(*(condition.audiences() for condition in conditions(node)))


def memberships(node: Node) -> frozenset[PastMembership]:
    """Which past memberships it asks about."""
    return frozenset().union(*(condition.memberships() for condition in conditions(node)))


def asked_in(value: Any, kind: str) -> frozenset[str]:
    """The keys of what a definition's JSON asks about, audiences or traits; also of one that cannot be read: then of
    whatever in it looks like such a condition."""
    try:
        return traits(parse(value)) if kind == "trait" else audiences(parse(value))
    except DefinitionError:
        return frozenset(_keys(value, HasComputedTrait.kind if kind == "trait" else PartOfAudience.kind))


def audiences_in(value: Any) -> frozenset[str]:
    return asked_in(value, "audience")


def traits(node: Node) -> frozenset[str]:
    """Keys of the computed traits that it asks about."""
    return frozenset().union(*(condition.traits() for condition in conditions(node)))


def beginning(node: Node, since: int) -> Node:
    """The same tree, to which no event up to this moment counts, in milliseconds."""
    return _mapped(node, lambda condition: condition.beginning(since))


def sources(node: Node) -> frozenset[str]:
    """Slugs of the sources that it names."""
    return frozenset(slug for condition in conditions(node) for slug in condition.slugs())


def check_sources(node: Node, known: Collection[str]) -> None:
    """Raises DefinitionError when a source is not one of these."""
    for path, condition in located(node):
        for slug in condition.slugs():
            if slug not in known:
                raise DefinitionError(_below(path, "sources"), f"must be sources of this workspace: there is no {slug}")


def bound(node: Node, leaves: Mapping[str, Node], sources: Mapping[str, int]) -> Node:
    """The same tree, whose conditions on computed traits know these: how each is computed; and those that name sources,
    their keys. A source that is gone has none, and no event. Raises DefinitionError."""
    known = {key: leaf.condition for key, leaf in leaves.items() if isinstance(leaf, Leaf)}
    for path, condition in located(node):
        for key in condition.traits():
            if key not in known:
                raise DefinitionError(
                    _below(path, "name"), f"must be a computed trait of this space: there is no {key}"
                )
    return _mapped(node, lambda condition: condition.bound(known, sources))


def _mapped(node: Node, change: Callable[[Condition], Condition]) -> Node:
    if isinstance(node, Leaf):
        return Leaf(change(node.condition))
    if isinstance(node, Not):
        return Not(_mapped(node.node, change))
    return Group(node.word, tuple(_mapped(inner, change) for inner in node.nodes))


def _keys(value: Any, kind: str) -> Iterator[str]:
    inside = [value]
    while inside:
        value = inside.pop()
        if isinstance(value, dict):
            key = value.get("key", value.get("name"))
            if value.get("kind") == kind and isinstance(key, str):
                yield key
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
    return _read_kind(value, path, KINDS)


def _read_kind(value: dict[str, Any], path: str, kinds: Mapping[str, type[Condition]]) -> Condition:
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise DefinitionError(_below(path, "kind"), f"must be one of {', '.join(kinds)}")
    try:
        return kinds[kind].parse(value, path)
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
