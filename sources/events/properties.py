"""PURE. What the timeline keeps of an archived message: its name, and its properties, of one meaning whatever other
events came before or with it.

A JSON column of ClickHouse gives a list the type of its elements together with those of lists beside it, reads
`[1, true]` as `[1, 1]`, keeps no object that has no value, and takes whole numbers of more than 64 bits for text. So:

    properties   every text, number and boolean under its path, as String, Int64, UInt64, Float64 or Bool.
    lists        each outermost list under its path, as a String of JSON; and `{}` of each object in which there is
                 nothing for `properties`, so that it is there at all.

Whole numbers of more than 64 bits are the nearest double. Dots join keys to a path, so `{"a.b": 1}` and
`{"a": {"b": 1}}` have the same one; of two values with one path that with the longer key counts. null is not there.

Before either, `storable_json` replaces what JSON allows and a store refuses: PostgreSQL's jsonb takes no \\u0000 and no
halves of surrogate pairs, ClickHouse's JSON type neither the latter nor deep nesting. One such value must not cost the
other rows of its batch anything. Numbers beyond a double, which ClickHouse refuses too, are null in the archive already
(sources.rules.spec): looking for them would cost more than all the rest.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from spaces.text import storable

DEEPEST = 100  # ClickHouse reads to 1,000, PostgreSQL to where its stack ends
NOTHING = b"{}"
SMALLEST, LARGEST = -(2**63), 2**64 - 1
LONG = b"0" * 19  # digits of a number that may not fit
DIGITS = bytes(48 if 48 <= letter <= 57 else 32 for letter in range(256))
EVENT_NAMES = {"page": "Page Viewed", "screen": "Screen Viewed"}
_encode = msgspec.json.encode


def event_name(type: str, event: str | None) -> str:
    """What the event is called in the timeline; "" for identify, group and alias."""
    return event or "" if type == "track" else EVENT_NAMES.get(type, "")


def stays_out_of_spaces(message: Mapping[str, Any]) -> bool:
    """Whether an archived message's `integrations` keep it out of spaces, in small letters or capital ones.

    They say `{"Personas": false}`, or `{"All": false}` and nothing of Personas; or its `context.integrations` say
    `{"personas": false}`, as our calls to destinations do, so that a receiver that forwards to us makes no loop.
    """
    personas = _choices(message.get("integrations"), "personas")
    everyone = _choices(message.get("integrations"), "all")
    context = message.get("context")
    guard = _choices(context.get("integrations"), "personas") if isinstance(context, dict) else []
    return any(choice is False for choice in (*guard, *(personas or everyone)))


def _choices(integrations: Any, name: str) -> list[Any]:
    """What is said of it; several things where it is written in several ways."""
    pairs = integrations.items() if isinstance(integrations, dict) else ()
    return [choice for key, choice in pairs if key.lower() == name and choice is not None]


def storable_json(text: bytes) -> bytes:
    """The same JSON value without what a store refuses: such characters become U+FFFD, such values null."""
    if b"\\u" not in text and text.count(b"[") + text.count(b"{") < DEEPEST:
        return text
    try:
        value = json.loads(
            text,
            parse_float=lambda digits: number if math.isfinite(number := float(digits)) else None,
            parse_int=lambda digits: int(digits) if len(digits) < 300 else None,  # beyond a double
        )
    except RecursionError:
        return b"{}" if text.startswith(b"{") else b"null"
    return json.dumps(_clean(value, 0), ensure_ascii=False, separators=(",", ":")).encode()


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return storable(value)
    if depth >= DEEPEST and isinstance(value, list | dict):
        return None
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {storable(key): _clean(item, depth + 1) for key, item in value.items()}
    return value


def split(text: bytes) -> tuple[bytes, bytes]:
    """What goes into `properties` and into `lists`, each the JSON of an object. text: that of an object."""
    # Most are flat, and are not decoded: a bracket or a long number in a text only costs the time to look.
    if text.count(b"{") == 1 and b"[" not in text and LONG not in text.translate(DIGITS):
        return text, NOTHING
    tree = _read(text)
    if _is_plain(tree):
        return text, NOTHING
    by_path: dict[str, Any] = {}
    # Longer keys first: of two values with one path setdefault keeps the one that came first.
    if dict in map(type, tree.values()):
        for keys, value in sorted(_below(tree, ()), key=lambda node: [-len(key) for key in node[0]]):
            if value is not None:
                by_path.setdefault(".".join(keys), value)
    else:  # no two paths can be the same
        by_path = {key: value for key, value in tree.items() if value is not None}
    properties = {path: _stored(value) for path, value in by_path.items() if not isinstance(value, dict | list)}
    lists = {path: _encode(_stored(value)).decode() for path, value in by_path.items() if isinstance(value, list)}
    # An object is told of only where nothing else shows that it is there: no property below it has a value.
    objects = {path for path, value in by_path.items() if isinstance(value, dict)}
    objects |= {above for path in (*lists, *objects) if "." in path for above in _above(path)} - by_path.keys()
    if objects:
        objects -= {above for path in properties for above in _above(path)}
    return _encode(properties), _encode(lists | dict.fromkeys(sorted(objects), "{}"))


def readable(text: bytes) -> bytes:
    """The same JSON value with no number that ClickHouse would take for text."""
    if len(text) < 20 or text.startswith(b'"'):  # too short for such a number, or a text
        return text
    return _encode(_stored(_read(text)))


def askable(lists: str) -> list[str]:
    """Names that ask for elements of the lists in one row of `lists`: `tags[]`, `items[].price`."""
    names: dict[str, None] = {}
    for path, text in _below(_read(lists.encode()), ()):
        elements = _read(text.encode()) if isinstance(text, str) else None
        for element in elements if isinstance(elements, list) else []:
            if isinstance(element, dict):
                leaves = [keys for keys, value in _below(element, ()) if not isinstance(value, dict | list | None)]
                names |= {f"{'.'.join(path)}[].{'.'.join(keys)}": None for keys in leaves}
            elif not isinstance(element, list):
                names[f"{'.'.join(path)}[]"] = None
    return list(names)


def _read(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # a number beyond a double
        return json.loads(text)


def _below(value: dict[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value inside, with the keys that lead to it. Lists are not gone into."""
    for key, inner in value.items():
        yield (*keys, key), inner
        if isinstance(inner, dict):
            yield from _below(inner, (*keys, key))


def _stored(value: Any) -> Any:
    """The value with doubles for the numbers that do not fit, and null for those beyond a double."""
    kind = type(value)
    if kind is dict:
        return {key: _stored(item) for key, item in value.items()}
    if kind is list:
        return [_stored(item) for item in value]
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is not int or SMALLEST <= value <= LARGEST:
        return value
    try:
        return float(value)
    except OverflowError:
        return None


def _is_plain(tree: dict[str, Any]) -> bool:
    """Whether every value in it is a scalar that fits, no object is without one, and no key has a dot."""
    there = False
    for key, value in tree.items():
        if isinstance(value, dict):
            if not _is_plain(value):
                return False
            there = True
        # By `type`: True is an int to isinstance, and is stored as what it is.
        elif isinstance(value, list) or (type(value) is int and not SMALLEST <= value <= LARGEST):
            return False
        elif value is not None:
            there = True
        if "." in key:
            return False
    return there


def _above(path: str) -> Iterator[str]:
    """The paths of the objects that it leads through."""
    return (path[:at] for at, letter in enumerate(path) if letter == ".")
