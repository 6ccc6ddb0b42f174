"""PURE. A definition while it is being written: the tree behind the builder's form, which may be incomplete.

A group is `{"join": "all" | "any", "not": "0", "rows": [node, …]}`, a condition `{"kind": …, "not": "0", …}` with the
entries that its kind declares. Every entry is a text, as a form sends it. `not` counts how often a node is negated.
The root is a group. While it is `bare` and has one row, its definition is that row, without a group around it.
A node's path is `rows.1.rows.0`, the root's is empty; its form fields are named `tree.` + path + entry.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from audiences.conditions import KINDS
from audiences.rules import grammar
from audiences.rules.validation import DefinitionError

Sketch = dict[str, Any]

FIELD = "tree"
JOINS = ("all", "any")
GROUP = "group"  # what is added when it is not a condition
MOST_NEGATIONS = grammar.DEEPEST
PART = re.compile(r"[a-zA-Z]+|\d{1,3}", re.ASCII)


@dataclass(frozen=True)
class Flaw:
    """What is wrong at a node: `entry` is which of its entries, empty when it is the node itself."""

    path: str
    entry: str
    message: str


def group(join: str = "all", rows: list[Sketch] | None = None) -> Sketch:
    return {"join": join, "not": "0", "rows": rows or []}


def condition(kind: str) -> Sketch:
    """A condition without content."""
    return {"kind": kind, "not": "0", **copy.deepcopy(KINDS[kind].blank)}


def blank() -> Sketch:
    """What a new audience begins with: one condition that asks for an event."""
    return {"bare": "1", **group(rows=[condition("event")])}


def of_definition(value: Any) -> Sketch:
    """The sketch of a valid definition. Raises DefinitionError."""
    node = _of_node(grammar.to_json(grammar.parse(value)))
    if "rows" in node:
        return {"bare": "", **node}
    return {"bare": "1", **group(rows=[node])}


def definition(tree: Sketch) -> Any:
    """The JSON that it means. Raises DefinitionError, for the first of its flaws, with the definition's path."""
    made, _ = _drawn(tree)
    grammar.parse(made)
    return made


def flaws(tree: Sketch) -> list[Flaw]:
    """Everything that is wrong with it, in the order of the rows; the grammar's own word when no row is to blame."""
    found = list(_flaws(tree, ""))
    if not found:
        try:
            definition(tree)
        except DefinitionError as error:
            found.append(flaw_of(tree, error))
    return found


def flaw_of(tree: Sketch, error: DefinitionError) -> Flaw:
    """The place in the sketch that an error about its definition speaks of."""
    _, places = _drawn(tree)
    within = [place for place in places if _is_within(error.path, place)]
    if not within:
        return Flaw("", "", error.message)
    place = max(within, key=len)
    path = places[place]
    node = at(tree, path)
    entry = error.path[len(place) :].lstrip(".")
    if "kind" not in node:
        return Flaw(path, "", error.message)
    return Flaw(path, entry, _worded(node["kind"], entry, error.message))


def edited(tree: Sketch, verb: str, path: str, kind: str = "") -> tuple[Sketch, str]:
    """The tree after one act on the node or row at `path`, and the path that the focus goes to.

    Raises LookupError when there is no such act, or nothing there.
    """
    tree = copy.deepcopy(tree)
    return tree, _edit(tree, verb, path, kind)


def edited_by(tree: Sketch, acts: Sequence[tuple[str, str, str]]) -> tuple[Sketch, str]:
    """The tree after several acts (verb, path, kind), and the path that the focus goes to.

    All of their paths are those before the first one: whoever acts twice quickly has not seen yet what the first act
    made of the tree. An act on what is gone by then, or that does not exist, changes nothing.
    """
    tree, focus = copy.deepcopy(tree), ""
    meant = [(verb, _there(tree, path), kind) for verb, path, kind in acts]
    for verb, node, kind in meant:
        path = _path_to(node, tree)
        if path is not None:
            with suppress(LookupError, ValueError):
                focus = _edit(tree, verb, path, kind)
    return tree, focus


def at(tree: Sketch, path: str) -> Any:
    """The node, row or list at a path. Raises LookupError."""
    found: Any = tree
    for part in path.split(".") if path else []:
        if isinstance(found, list) and not part.isdigit():
            raise LookupError(path)
        found = found[int(part)] if isinstance(found, list) else found[part]
        if isinstance(found, str):
            raise LookupError(path)
    return found


def fields_of(tree: Sketch) -> dict[str, str]:
    """The form that shows it: field name -> entry."""
    return dict(_flat(tree, FIELD))


def of_fields(fields: Mapping[str, str]) -> Sketch:
    """The sketch that a form holds. What it does not know is left out; what is missing is blank."""
    raw: dict[str, Any] = {}
    for name, value in fields.items():
        parts = name.split(".")
        if parts[0] == FIELD and len(parts) < 60 and all(PART.fullmatch(part) for part in parts):
            _put(raw, parts[1:], value)
    return shaped(raw)


def shaped(raw: Any) -> Sketch:
    """Any JSON as a sketch."""
    root = _shaped(raw if isinstance(raw, dict) and "kind" not in raw else {}, 1)
    return {"bare": _text(raw.get("bare")) if isinstance(raw, dict) else "", **root}


def _edit(tree: Sketch, verb: str, path: str, kind: str) -> str:
    """Changes the tree itself. Where the focus goes."""
    if verb == "add":
        return _add(tree, path, kind)
    if verb == "negate":
        node = at(tree, path)
        node["not"] = "1" if node["not"] == "0" else str(int(node["not"]) - 1)
        return path
    above, _, place = path.rpartition(".")
    siblings = at(tree, above)
    if not isinstance(siblings, list) or not place.isdecimal() or int(place) >= len(siblings):
        raise LookupError(path)
    return f"{above}.{MOVES[verb](siblings, int(place))}".removesuffix(".None")


def _there(tree: Sketch, path: str) -> Any:
    """What is at the path; None when nothing is."""
    try:
        return at(tree, path)
    except LookupError:
        return None


def _path_to(node: Any, tree: Any, path: str = "") -> str | None:
    """Where this very node, not one like it, is in the tree now."""
    if tree is node:
        return path
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found = (_path_to(node, each, _below(path, str(part))) for part, each in below)
    return next((each for each in found if each is not None), None)


def _add(tree: Sketch, path: str, kind: str) -> str:
    """A new row at the end of the group, or of a list of the condition; where it is."""
    node = at(tree, path)
    if "kind" in node:
        entries, list_ = KINDS[node["kind"]].rows[kind], node[kind]
        list_.append(dict(entries))
        return _below(path, f"{kind}.{len(list_) - 1}")
    inner = f"rows.{len(node['rows'])}"
    if kind == GROUP:
        node["rows"].append(group("any" if node["join"] == "all" else "all", [condition("event")]))
        return _below(path, f"{inner}.rows.0")
    if kind not in KINDS:
        raise LookupError(kind)
    node["rows"].append(condition(kind))
    return _below(path, inner)


def _remove(siblings: list[Sketch], place: int) -> int | None:
    """Which sibling is next to where it was."""
    siblings.pop(place)
    return min(place, len(siblings) - 1) if siblings else None


def _duplicate(siblings: list[Sketch], place: int) -> int:
    siblings.insert(place + 1, copy.deepcopy(siblings[place]))
    return place + 1


def _move(step: int) -> Callable[[list[Sketch], int], int]:
    def move(siblings: list[Sketch], place: int) -> int:
        other = max(0, min(place + step, len(siblings) - 1))
        siblings[place], siblings[other] = siblings[other], siblings[place]
        return other

    return move


def _wrap(siblings: list[Sketch], place: int) -> int:
    siblings[place] = group("any", [siblings[place]])
    return place


def _unwrap(siblings: list[Sketch], place: int) -> int:
    """The rows of a group stand in its place. A negated group means something else without its border."""
    node = siblings[place]
    if "rows" not in node or node["not"] != "0":
        raise LookupError(place)
    siblings[place : place + 1] = node["rows"]
    return place


MOVES: dict[str, Callable[[list[Sketch], int], int | None]] = {
    "remove": _remove,
    "duplicate": _duplicate,
    "up": _move(-1),
    "down": _move(1),
    "group": _wrap,
    "ungroup": _unwrap,
}


def _shaped(raw: dict[str, Any], depth: int) -> Sketch:
    negated = _text(raw.get("not"))
    shared = {"not": negated if negated.isdecimal() and int(negated) <= MOST_NEGATIONS else "0"}
    kind = raw.get("kind")
    if isinstance(kind, str) and kind in KINDS:
        return {"kind": kind, **shared, **_filled(raw, KINDS[kind].blank, KINDS[kind].rows)}
    rows = _listed(raw.get("rows")) if depth <= grammar.DEEPEST else []
    join = raw.get("join")
    return {
        "join": join if join in JOINS else "all",
        **shared,
        "rows": [_shaped(row, depth + 1) for row in rows],
    }


def _filled(raw: dict[str, Any], blank: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `blank`, as in raw where they are there."""
    found: dict[str, Any] = {}
    for entry, default in blank.items():
        if entry in rows:
            found[entry] = [_filled(row, rows[entry], {}) for row in _listed(raw.get(entry))]
        else:
            found[entry] = raw[entry] if isinstance(raw.get(entry), str) else default
    return found


def _listed(raw: Any) -> list[dict[str, Any]]:
    """The rows of a list, which a form numbers, perhaps with gaps."""
    if isinstance(raw, dict):
        raw = [raw[key] for key in sorted((key for key in raw if key.isdigit()), key=int)]
    return [row for row in raw if isinstance(row, dict)] if isinstance(raw, list) else []


def _text(raw: Any) -> str:
    return raw if isinstance(raw, str) else ""


def _put(raw: dict[str, Any], parts: list[str], value: str) -> None:
    for part in parts[:-1]:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            return
    if parts:
        raw[parts[-1]] = value


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
        return
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _flat(each, f"{name}.{key}")


def _of_node(value: dict[str, Any], negations: int = 0) -> Sketch:
    if "not" in value:
        return _of_node(value["not"], negations + 1)
    if "kind" in value:
        kind = value["kind"]
        return {"kind": kind, "not": str(negations), **KINDS[kind].sketch(value)}
    join = next(iter(value))
    return {"join": join, "not": str(negations), "rows": [_of_node(row) for row in value[join]]}


def _drawn(tree: Sketch) -> tuple[Any, dict[str, str]]:
    """The definition, and where each of its nodes comes from: path in the definition -> path in the sketch."""
    places: dict[str, str] = {}
    if tree.get("bare") and len(tree["rows"]) == 1 and tree["not"] == "0":
        return _draw(tree["rows"][0], "rows.0", "", places), places
    return _draw(tree, "", "", places), places


def _draw(node: Sketch, path: str, place: str, places: dict[str, str]) -> Any:
    negations = int(node["not"])
    inner = ".".join([*([place] if place else []), *["not"] * negations])
    places[place], places[inner] = path, path
    if "kind" in node:
        made = {"kind": node["kind"], **KINDS[node["kind"]].draw(node)}
    else:
        below = f"{inner}.{node['join']}" if inner else node["join"]
        rows = enumerate(node["rows"])
        made = {node["join"]: [_draw(row, _below(path, f"rows.{i}"), f"{below}[{i}]", places) for i, row in rows]}
    for _ in range(negations):
        made = {"not": made}
    return made


def _flaws(node: Sketch, path: str) -> Iterator[Flaw]:
    if "kind" in node:
        try:
            grammar.read_condition({"kind": node["kind"], **KINDS[node["kind"]].draw(node)}, "")
        except DefinitionError as error:
            yield Flaw(path, error.path, _worded(node["kind"], error.path, error.message))
    elif not node["rows"]:
        yield Flaw(path, "", "Add a condition here, or remove this group.")
    else:
        for i, row in enumerate(node["rows"]):
            yield from _flaws(row, _below(path, f"rows.{i}"))


def _worded(kind: str, entry: str, message: str) -> str:
    """`where[0].value: is missing` as people read it: "Value is missing."."""
    names = [part for part in re.split(r"[.\[\]]+", entry) if part and not part.isdigit()]
    labels = {**KINDS[kind].fields, **KINDS[kind].labels}
    known = [labels[name] for name in names if name in labels]
    said = f"{known[-1]} {message}" if known else message
    return said[:1].upper() + said[1:] + "."


def _is_within(path: str, place: str) -> bool:
    return not place or path == place or path.startswith((place + ".", place + "["))


def _below(path: str, more: str) -> str:
    return f"{path}.{more}" if path else more
