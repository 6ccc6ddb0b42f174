"""PURE. A definition while it is being written: the tree behind the builder's form, which may be incomplete.

The tree has the shape of a definition: `{"all": [node, …]}`, `{"any": […]}`, `{"not": node}` or `{"kind": …}`. Two
things differ: a group may be empty, and a condition has the entries that its kind declares, texts as a form sends them.

The form shows the root as a group. A root that is one condition, or a group about others, is `bare`: shown as the only
row of a group.
A row's path in the form is `rows.1.rows.0`, the root's is empty; negations are counted in `not` and have no path of
their own. Its inputs are named `tree.` + path + entry.
"""

import copy
import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from audiences.conditions import KINDS
from audiences.conditions.computed import HasComputedTrait
from audiences.rules import grammar
from audiences.rules.conditions import Condition
from audiences.rules.fields import QuestionField, QuestionsField, StepsField
from audiences.rules.validation import DefinitionError
from audiences.traits import TRAITS

Tree = dict[str, Any]

# What a form may have in a row: conditions; and a computed trait, as the only one.
FORMS: Mapping[str, type[Condition]] = ChainMap(KINDS, TRAITS)  # type: ignore[arg-type]
FIELD = "tree"
GROUP = "group"  # what is added when it is not a condition
# One more than a definition may have, so that the grammar says what is wrong. A form of thousands of levels would
# exhaust Python's stack.
DEEPEST = grammar.DEEPEST + 1
NAME_PART = re.compile(r"[a-zA-Z]+|\d{1,3}", re.ASCII)
NODE_PATH = re.compile(r"(?:(?:not|(?:all|any)\[(\d+)\])(?:\.|$))*")


@dataclass(frozen=True)
class Flaw:
    """What is wrong in a row of the form. entry: which of its entries, empty when it is the row itself."""

    path: str
    entry: str
    message: str


def condition(kind: str) -> Tree:
    """A condition without content."""
    return {"kind": kind, **copy.deepcopy(FORMS[kind].blank)}


def blank() -> Tree:
    """What a new audience begins with: one condition that asks for an event."""
    return condition("event")


@dataclass(frozen=True)
class WrittenQuestion:
    """A question of the form. prefix: of its inputs. entries: they themselves. event: whose property; "" = a trait,
    which may be computed."""

    prefix: str
    entries: dict[str, str]
    name: str
    event: str = ""
    computed: bool = False


def questions(tree: Tree) -> Iterator[WrittenQuestion]:
    """Every question in it, as the form has it."""
    for place in _places([as_group(tree)], ""):
        node = place.target
        if place.in_condition or "kind" not in node:
            continue
        for field in FORMS[node["kind"]].declared.values():
            if isinstance(field, QuestionField):
                computed = node["kind"] == HasComputedTrait.kind
                yield WrittenQuestion(place.path, node, node[field.key], computed=computed)
            elif isinstance(field, QuestionsField):
                yield from _property_questions(field, node, place.path, FORMS[node["kind"]].event_of(node))
            elif isinstance(field, StepsField):
                for i, step in enumerate(node[field.key]):
                    yield from _property_questions(
                        field.questions, step, _below(place.path, f"{field.key}.{i}"), step["name"]
                    )


def _property_questions(
    field: QuestionsField, entries: dict[str, Any], path: str, event: str
) -> Iterator[WrittenQuestion]:
    """Those about the properties of the event."""
    for i, row in enumerate(entries[field.key]):
        prefix = _below(path, f"{field.key}.{i}")
        yield WrittenQuestion(prefix, row, row[field.question.key], event)


def of_definition(value: Any) -> Tree:
    """The tree of a valid definition, of an audience or a computed trait. Raises DefinitionError."""
    node = grammar.to_json(_parse(value))
    return _map_conditions(node, lambda json: {"kind": json["kind"], **FORMS[json["kind"]].to_entries(json)})


def definition(tree: Tree) -> Any:
    """The JSON that it means. Raises DefinitionError, for the first of its flaws, with the definition's path."""
    value = _map_conditions(tree, lambda entries: FORMS[entries["kind"]].from_entries(entries))
    _parse(value)
    return value


def _parse(value: Any) -> grammar.Node:
    is_trait = isinstance(value, dict) and value.get("kind") in TRAITS
    return (grammar.parse_trait if is_trait else grammar.parse)(value)


def flaws(tree: Tree) -> list[Flaw]:
    """Everything that is wrong with it, in the order of the rows; the grammar's own word when no row is to blame."""
    # All of them at once: the grammar alone would tell of the first.
    row_flaws = list(_row_flaws(as_group(tree), ""))
    if not row_flaws:
        try:
            definition(tree)
        except DefinitionError as error:
            return [flaw_of(tree, error)]
    return row_flaws


def flaw_of(tree: Tree, error: DefinitionError) -> Flaw:
    """The row of the form, and the entry in it, that an error about the tree's definition speaks of."""
    inside = NODE_PATH.match(error.path)
    place = inside[0] if inside else ""
    indices = re.findall(r"\[(\d+)\]", place)
    if is_bare(tree):
        indices = ["0", *indices]
    path = ".".join(f"rows.{index}" for index in indices)
    node = next(place.target for place in _places([as_group(tree)], "") if place.path == path)
    if "kind" not in node:
        return Flaw(path, "", error.message)
    return _condition_flaw(node["kind"], path, error.path[len(place) :], error.message)


def without_not(node: Tree) -> Tree:
    """What is negated, however often; the node itself when it is not."""
    while "not" in node:
        node = node["not"]
    return node


def negations(node: Tree) -> int:
    return 1 + negations(node["not"]) if "not" in node else 0


def word_of(group: Tree) -> str:
    return "any" if "any" in group else "all"


def whom_of(group: Tree) -> str:
    """Whose users or accounts a group is about: one of grammar.RELATED; "" = it is about the same as what is around."""
    return next((of for of in grammar.RELATED if of in group), "")


def is_bare(tree: Tree) -> bool:
    """Whether the whole tree is one condition, or one group about others, negated or not."""
    node = without_not(tree)
    return "kind" in node or bool(whom_of(node))


def as_group(tree: Tree) -> Tree:
    """The root as the form shows it."""
    return {"all": [tree]} if is_bare(tree) else tree


def edited(tree: Tree, acts: Sequence[tuple[str, str, str]]) -> tuple[Tree, str]:
    """The tree after several acts (verb, path, kind), and the path that the focus goes to.

    All of their paths are those before the first one: whoever acts twice quickly has not seen yet what the first act
    made of the tree. An act on what is gone by then, or that does not exist, changes nothing.
    """
    bare, focus = is_bare(tree), ""
    roots = [as_group(copy.deepcopy(tree))]  # a list, so that the root, too, can be replaced where it is
    # By the paths before the first act; the objects behind them stay the same wherever they are moved.
    targets = {place.path: place.target for place in _places(roots, "")}
    for verb, path, kind in acts:
        # The very same object, not one like it, wherever earlier acts have moved it.
        place = next((place for place in _places(roots, "") if place.target is targets.get(path)), None)
        if place is not None:
            with suppress(LookupError):
                focus = _edit(place, verb, kind)
    return (_ungrouped(roots[0]) if bare else roots[0]), focus


def of_fields(fields: Mapping[str, str]) -> Tree:
    """The tree that a form holds. What it does not know is left out; what is missing is blank."""
    nested: dict[str, Any] = {}
    for name, value in fields.items():
        root, *parts = name.split(".")
        # Names of inputs are what anybody sends: what does not look like ours is not followed into any depth.
        if root != FIELD or not parts or len(parts) > 3 * DEEPEST or not all(map(NAME_PART.fullmatch, parts)):
            continue
        inside: Any = nested
        for part in parts[:-1]:
            inside = inside.setdefault(part, {}) if isinstance(inside, dict) else None
        if isinstance(inside, dict):
            inside[parts[-1]] = value
    return of_stored(nested)


def of_stored(value: Any) -> Tree:
    """Any JSON as a tree: a stored draft, also one of an older release, which looks like a nested form."""
    value = value if isinstance(value, dict) else {}
    # Whatever is there: what a form sends and what older releases kept must not be able to break a page.
    tree = _read(value, 1)
    return _ungrouped(tree) if value.get("bare") else tree


def _map_conditions(node: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """The same tree with each condition changed."""
    if "kind" in node:
        return change(node)
    if "not" in node:
        return {"not": _map_conditions(node["not"], change)}
    word, of = word_of(node), whom_of(node)
    return {**({of: node[of]} if of else {}), word: [_map_conditions(row, change) for row in node[word]]}


def _ungrouped(tree: Tree) -> Tree:
    """Without the group around the only row, where that is a condition and the group adds nothing."""
    rows = tree.get("all", [])
    return rows[0] if len(rows) == 1 and is_bare(rows[0]) else tree


@dataclass(frozen=True)
class RowPlace:
    """Where a row is: of the form, or of a list in a condition. The root is the only one of a list of its own."""

    path: str
    siblings: list[Any]
    index: int
    blank_rows: Mapping[str, Any] | None = None  # of a row in a condition: what its lists may get

    @property
    def in_condition(self) -> bool:
        return self.blank_rows is not None

    @property
    def row(self) -> Tree:
        row: Tree = self.siblings[self.index]
        return row

    @property
    def target(self) -> Tree:
        """What acts on this row are about: negating it does not make it another one."""
        return self.row if self.in_condition else without_not(self.row)


def _places(rows: list[Tree], list_path: str) -> Iterator[RowPlace]:
    """Every place in these rows and below. list_path: of the rows themselves, empty for the root's."""
    for index, row in enumerate(rows):
        path = f"{list_path}.{index}" if list_path else ""
        yield RowPlace(path, rows, index)
        node = without_not(row)
        if "kind" not in node:
            yield from _places(node[word_of(node)], _below(path, "rows"))
            continue
        yield from _places_inside(node, path, FORMS[node["kind"]].blank_rows)


def _places_inside(entries: dict[str, Any], path: str, blank_rows: Mapping[str, Any]) -> Iterator[RowPlace]:
    """The rows of the lists of a condition, and of the lists in these."""
    for name in blank_rows.keys() & entries.keys():
        for i, row in enumerate(entries[name]):
            row_path = _below(path, f"{name}.{i}")
            yield RowPlace(row_path, entries[name], i, blank_rows)
            yield from _places_inside(row, row_path, blank_rows)


def _edit(place: RowPlace, verb: str, kind: str) -> str:
    """Changes the tree at this place. Where the focus goes. Raises LookupError when there is no such act."""
    siblings, index, path = place.siblings, place.index, place.path
    list_path = path.rpartition(".")[0]
    if verb == "add":
        return _add(place, path, kind)
    if verb == "negate" and not place.in_condition:
        siblings[index] = siblings[index]["not"] if "not" in siblings[index] else {"not": siblings[index]}
        return path
    if not path:
        raise LookupError(verb)  # the root stays where it is
    if verb == "remove":
        gone, follows = index + 1, siblings.pop(index).get("follows", "0")
        # What followed it follows what it followed itself.
        instead = int(follows) if str(follows).isdecimal() and len(follows) < 4 else 0
        _renumber(siblings, lambda number: instead if number == gone else number - (number > gone))
        return f"{list_path}.{min(index, len(siblings) - 1)}" if siblings else list_path
    if verb == "duplicate":
        _renumber(siblings, lambda number: number + (number > index + 1))
        siblings.insert(index + 1, copy.deepcopy(siblings[index]))
        return f"{list_path}.{index + 1}"
    if verb in ("up", "down"):
        other = max(index - 1, 0) if verb == "up" else min(index + 1, len(siblings) - 1)
        siblings[index], siblings[other] = siblings[other], siblings[index]
        return f"{list_path}.{other}"
    if verb == "group" and not place.in_condition:
        siblings[index] = {"any": [siblings[index]]}
        return path
    row = siblings[index]
    # A negated group means something else without its border.
    if verb == "ungroup" and not place.in_condition and not is_bare(row) and "not" not in row:
        siblings[index : index + 1] = row[word_of(row)]
        return path
    raise LookupError(verb)


def _renumber(rows: list[Tree], number: Callable[[int], int]) -> None:
    """Those that follow another of the rows by its number follow it by its new one."""
    for row in rows:
        follows = str(row.get("follows", ""))
        if follows.isdecimal() and len(follows) < 4:
            row["follows"] = str(number(int(follows)))


def _add(place: RowPlace, path: str, kind: str) -> str:
    """A new row at the end of the group, or of a list of the condition or of a row of it; where it is."""
    node = place.target
    if place.blank_rows is not None or "kind" in node:
        blank_rows = place.blank_rows or FORMS[node["kind"]].blank_rows
        if kind not in blank_rows or kind not in node:
            raise LookupError(kind)
        node[kind].append(copy.deepcopy(blank_rows[kind]))
        return _below(path, f"{kind}.{len(node[kind]) - 1}")
    word = word_of(node)
    row_path = _below(path, f"rows.{len(node[word])}")
    if kind == GROUP:  # its conditions are joined the other way: else it would need no group
        node[word].append({"any" if word == "all" else "all": [condition("event")]})
        return _below(row_path, "rows.0")
    if kind in grammar.RELATED:
        node[word].append({kind: "any", "all": [condition("event")]})
        return _below(row_path, "rows.0")
    node[word].append(condition(kind))
    return row_path


def _read(value: dict[str, Any], depth: int) -> Tree:
    """A node from JSON that may be anything. A form, and drafts of older releases, give a group's word in `join`, its
    rows in `rows`, and how often a node is negated in `not`."""
    if isinstance(value.get("not"), dict) and depth < DEEPEST:
        return {"not": _read(value["not"], depth + 1)}
    negated = value.get("not")
    times = int(negated) if isinstance(negated, str) and re.fullmatch(r"\d{1,2}", negated, re.ASCII) else 0
    times = times if depth + times <= DEEPEST else 0
    kind = value.get("kind")
    if isinstance(kind, str) and kind in FORMS:
        node = {"kind": kind, **_filled(FORMS[kind].of_older(value), FORMS[kind].blank, FORMS[kind].blank_rows)}
    else:
        word = next((word for word in ("all", "any") if word in value or value.get("join") == word), "all")
        rows = _rows(value.get(word, value.get("rows"))) if depth + times < DEEPEST else []
        of = next((of for of in grammar.RELATED if value.get(of) in grammar.WHICH), "")
        node = {**({of: value[of]} if of else {}), word: [_read(row, depth + times + 1) for row in rows]}
    for _ in range(times):
        node = {"not": node}
    return node


def _filled(value: dict[str, Any], blank: Mapping[str, Any], blank_rows: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `blank`, as in the value where they are there."""
    entries: dict[str, Any] = {}
    for entry, default in blank.items():
        if entry in blank_rows:
            entries[entry] = [_filled(row, blank_rows[entry], blank_rows) for row in _rows(value.get(entry))]
        else:
            entries[entry] = value[entry] if isinstance(value.get(entry), str) else default
    return entries


def _rows(value: Any) -> list[dict[str, Any]]:
    """The rows of a list, which a form numbers, perhaps with gaps."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted((key for key in value if key.isdecimal()), key=int)]
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _row_flaws(row: Tree, path: str) -> Iterator[Flaw]:
    node = without_not(row)
    if "kind" in node:
        try:
            _parse(FORMS[node["kind"]].from_entries(node))
        except DefinitionError as error:
            yield _condition_flaw(node["kind"], path, error.path, error.message)
    elif not node[word_of(node)]:
        yield Flaw(path, "", "Add a condition here, or remove this group.")
    else:
        for i, inner in enumerate(node[word_of(node)]):
            yield from _row_flaws(inner, _below(path, f"rows.{i}"))


def _condition_flaw(kind: str, path: str, key_path: str, message: str) -> Flaw:
    """`where[0].value: is missing` as people read it, "Value is missing.", at the entry `where.0.value`.

    key_path: inside of the condition's JSON.
    """
    parts = [part for part in re.split(r"[.\[\]]+", key_path) if part]
    labels = FORMS[kind].fields | FORMS[kind].inner_labels
    label = next((labels[part] for part in reversed(parts) if part in labels), "")
    sentence = f"{label} {message}".strip()
    return Flaw(path, _entry_of(FORMS[kind], parts), f"{sentence[:1].upper()}{sentence[1:]}.")


def _entry_of(kind: type[Condition], parts: Sequence[str]) -> str:
    if len(parts) > 2 and parts[0] in kind.blank_rows:
        return f"{parts[0]}.{parts[1]}.{_entry_of(kind, parts[2:])}"
    known = (kind.entry_of[name] for name in (".".join(parts[:2]), *parts[:1]) if name in kind.entry_of)
    return next(known, ".".join(parts))


def _below(path: str, more: str) -> str:
    return f"{path}.{more}" if path else more
