"""PURE. A definition: JSON in a closed grammar, as a tree; what it means in one exact English sentence.

`{"all": [node, …]}`, `{"any": [node, …]}`, `{"not": node}`, or one condition `{"kind": …}`. A definition is about users
or about accounts. In one about accounts `{"users": "any", "all": [node, …]}` is about their users: any, all or none of
them; in one about users `{"accounts": "any", "all": [node, …]}` about the accounts that they belong to.
Whatever is unknown or malformed is an error with a path; it never matches everyone or no one.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from audiences.conditions import KINDS
from audiences.conditions.audience import PartOfAudience
from audiences.conditions.computed import HasComputedTrait
from audiences.rules.conditions import Condition
from audiences.rules.references import PastMembership
from audiences.rules.validation import DefinitionError, listed
from audiences.traits import TRAITS
from sources.events.sql import Sql, join

logger = logging.getLogger(__name__)

MOST_CONDITIONS = 500  # each is a column at least, and planning a column costs 1-3 ms (rules.compiler)
DEEPEST = 20
GROUPS = {"all": " and ", "any": " or "}
USERS, ACCOUNTS = "users", "accounts"  # whom a definition, or a part of it, is about
RELATED = (USERS, ACCOUNTS)
WHICH = ("any", "all", "none")
MOST_RELATED = 2  # groups about users or accounts in each other: each makes more people count for one
RELATED_WORDS = {
    (USERS, "any"): "have any users who",
    (USERS, "all"): "have only users who",
    (USERS, "none"): "have no users who",
    (ACCOUNTS, "any"): "belong to any accounts that",
    (ACCOUNTS, "all"): "belong only to accounts that",
    (ACCOUNTS, "none"): "belong to no accounts that",
}


@dataclass(frozen=True)
class Leaf:
    condition: Condition


@dataclass(frozen=True)
class Group:
    """of: it is about the users, or the accounts, of whom the definition around it is about; then which of them: any,
    all (and there is one), or none."""

    word: str  # all | any
    nodes: tuple["Node", ...]
    of: str = ""
    which: str = ""


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
    # 500, as `listed` takes at most: more rows than that no definition has.
    several = {"type": "array", "items": definition, "minItems": 1, "maxItems": 500}
    inside = {**dict.fromkeys(GROUPS, several), "not": definition}
    which = {"type": "string", "enum": [*WHICH]}
    groups = {
        f"{word.capitalize()}Group": {
            "type": "object",
            "required": [word],
            "properties": {word: schema} | ({} if word == "not" else {USERS: which, ACCOUNTS: which}),
            "additionalProperties": False,
            **({} if word == "not" else {"not": {"required": [*RELATED]}}),
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


def located(node: Node) -> Iterator[tuple[str, Condition]]:
    """The same, each with its path."""
    return ((path, condition) for path, condition, _ in about(node))


def about(node: Node, of: str = USERS, path: str = "") -> Iterator[tuple[str, Condition, str]]:
    """The same, each with its path and whom it is about. of: whom the definition is about."""
    if isinstance(node, Leaf):
        yield path, node.condition, of
    elif isinstance(node, Not):
        yield from about(node.node, of, _below(path, "not"))
    else:
        for i, inner in enumerate(node.nodes):
            yield from about(inner, node.of or of, f"{_below(path, node.word)}[{i}]")


def parts(node: Node, path: str = "") -> Iterator[tuple[str, Leaf | Group]]:
    """With their paths: the conditions on whom the definition is about, and its groups about others, which are not
    looked into."""
    if isinstance(node, Leaf) or (isinstance(node, Group) and node.of):
        yield path, node
    elif isinstance(node, Not):
        yield from parts(node.node, _below(path, "not"))
    else:
        for i, inner in enumerate(node.nodes):
            yield from parts(inner, f"{_below(path, node.word)}[{i}]")


def leaves(node: Node) -> Iterator[Condition]:
    """The conditions on whom the definition is about."""
    return (part.condition for _, part in parts(node) if isinstance(part, Leaf))


def related(node: Node) -> Iterator[Group]:
    """Its groups about others."""
    return (part for _, part in parts(node) if isinstance(part, Group))


def plain(group: Group) -> Group:
    """What it asks of each of the others."""
    return Group(group.word, group.nodes)


def reach(node: Node, of: str) -> int:
    """The answer depends on whoever is so many steps away, from user to account or from account to user.

    The events of an account are those of its users: they are a step away.
    """
    # One in another is one step further: an account's users' accounts.
    steps = [1 + reach(plain(group), group.of) for group in related(node)]
    if of == ACCOUNTS and any(key.startswith("event:") for leaf in leaves(node) for key in leaf.change_keys()):
        steps.append(1)
    return max(steps, default=0)


def check_of(node: Node, of: str) -> None:
    """Raises DefinitionError when a definition about these has a group about others than it can have."""
    for path, part in parts(node):
        if isinstance(part, Group) and part.of == of:
            other = ACCOUNTS if of == USERS else USERS
            raise DefinitionError(_below(path, part.of), f"is not known here: what is about {of} can ask about {other}")


def to_json(node: Node) -> dict[str, Any]:
    if isinstance(node, Leaf):
        return node.condition.json()
    if isinstance(node, Not):
        return {"not": to_json(node.node)}
    whom = {node.of: node.which} if node.of else {}
    return {**whom, node.word: [to_json(inner) for inner in node.nodes]}


def to_sql(node: Node, test: Callable[[Condition], Sql], of_others: Callable[[Group], Sql]) -> Sql:
    """The tree over the booleans of its parts, none of which is ever NULL."""
    if isinstance(node, Leaf):
        return test(node.condition)
    if isinstance(node, Not):
        return "NOT (" + to_sql(node.node, test, of_others) + ")"
    if node.of:
        return of_others(node)
    return "(" + join(GROUPS[node.word].upper(), [to_sql(inner, test, of_others) for inner in node.nodes]) + ")"


def sentence(node: Node, *, of: str = USERS, include_anonymous: bool = False, since: datetime | None = None) -> str:
    """of: whom the definition is about. since: no event up to then counts."""
    people = "People, anonymous ones included, who" if include_anonymous else "People who"
    whom = "Accounts that" if of == ACCOUNTS else people
    return f"{whom} {phrase(node, of)}{_counting(since)}."


def trait_sentence(leaf: Leaf, *, of: str = USERS, since: datetime | None = None) -> str:
    """What the value of a computed trait is."""
    text = leaf.condition.sentence()
    text = f"For each account, {text}" if of == ACCOUNTS else f"{text[:1].upper()}{text[1:]}"
    return f"{text}{_counting(since)}."


def _counting(since: datetime | None) -> str:
    return f", counting only events after {since:%d %B %Y, %H:%M:%S} UTC" if since else ""


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
        # Too many keys rather than too few: by these it is refused to delete what something asks about.
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
    # A tree is never changed: what a version asks for stays what it was, however its traits are computed now.
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
    return replace(node, nodes=tuple(_mapped(inner, change) for inner in node.nodes))


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


def _parse(value: Any, path: str, depth: int, around: tuple[str, ...] = ()) -> Node:
    """around: whom the groups about others around it are about."""
    if not isinstance(value, dict):
        raise DefinitionError(path, "must be an object")
    if depth > DEEPEST:  # also because each level is a call: a thousand of them would exhaust Python's stack
        raise DefinitionError(path, f"must not be nested deeper than {DEEPEST}")
    if "kind" in value:
        return Leaf(read_condition(value, path))
    # Only now: a condition has keys of its own, which may be called like these.
    word, of = _keys_of_group(value, path)
    inside = _below(path, word)
    if of:
        if value[of] not in WHICH:
            raise DefinitionError(_below(path, of), f"must be one of {', '.join(WHICH)}")
        if around and around[-1] == of:
            raise DefinitionError(_below(path, of), f"is not known here: it is about {of} already")
        if len(around) >= MOST_RELATED:
            other = f"must not be in more than {MOST_RELATED - 1} other group about users or accounts"
            raise DefinitionError(_below(path, of), other)
        around = (*around, of)
    if word == "not":
        return Not(_parse(value[word], inside, depth + 1, around))
    rows = listed(value[word], inside)
    nodes = tuple(_parse(row, f"{inside}[{i}]", depth + 1, around) for i, row in enumerate(rows))
    return Group(word, nodes, of, value[of] if of else "")


def _keys_of_group(value: dict[str, Any], path: str) -> tuple[str, str]:
    """How its nodes are joined, and about whom it is if that is somebody else."""
    unknown = sorted(str(key) for key in value if key not in ("all", "any", "not", USERS, ACCOUNTS))
    if unknown:
        raise DefinitionError(_below(path, unknown[0]), "is not known here")
    words = [key for key in ("all", "any", "not") if key in value]
    others = [key for key in RELATED if key in value]
    if len(words) != 1:
        raise DefinitionError(path, "must have a kind, or one of all, any, not")
    if others and (len(others) > 1 or words == ["not"]):
        raise DefinitionError(_below(path, others[-1]), "must stand beside one of all, any, and beside nothing else")
    return words[0], others[0] if others else ""


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


def phrase(node: Node, of: str) -> str:
    """What is true of these, to be read after "People who" or "Accounts that"."""
    if isinstance(node, Leaf):
        return node.condition.sentence()
    if isinstance(node, Not):
        return f"are not among those {'that' if of == ACCOUNTS else 'who'} ({phrase(node.node, of)})"
    if node.of:
        return f"{RELATED_WORDS[node.of, node.which]} ({phrase(plain(node), node.of)})"
    if len(node.nodes) == 1:
        return phrase(node.nodes[0], of)
    return GROUPS[node.word].join(_inside(inner, of) for inner in node.nodes)


def _inside(node: Node, of: str) -> str:
    """In parentheses when "and" and "or" would otherwise mix."""
    while isinstance(node, Group) and len(node.nodes) == 1 and not node.of:
        node = node.nodes[0]
    return f"({phrase(node, of)})" if isinstance(node, Group) and not node.of else phrase(node, of)
