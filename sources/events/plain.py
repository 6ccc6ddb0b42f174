"""PURE. Which archived messages ClickHouse itself can make timeline rows of, and what of them has to be read in Python.

A message is *plain* when everything that Python would make of it beside identifiers is the text that stands in it: it
brings no traits and no consent, does not ask to stay out of spaces, and its properties are a flat object without lists
or long numbers (sources.events.properties). What is not certain is not plain: then the whole message is read by Python.

The archive writes messages compactly, with the fields in one order and no key twice (sources.rules.spec). Without a
backslash in it every quote begins or ends a text, so that `"properties":` can be nothing but a key.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sources.events.sql import Sql, sql

Path = tuple[str, ...]  # keys that lead into a message
YES_OR_NO = "adTrackingEnabled"  # the one input that is no text
ELEMENTS = "externalIds"  # the one list that is read: of flat objects
# Numbers that are no short whole ones: ClickHouse spells them in its own way.
ODD_NUMBER = r"-?[0-9]+[.eE]|-0|-?[0-9]{19}"


def _with_key(properties: str, alias: str, field: str) -> str:
    """As identity.rules.messages: the name or category of a page joins its properties, unless they have such a key.

    alias: what the properties without it are called, since to plan a statement takes as long as its text is.
    """
    key = f"concat('\"', type, '_{field}\":')"
    open_end = f"concat(left({alias}, length({alias}) - 1), if({alias} = '{{}}', '', ','), {key}, '\"'"
    return (
        f"if(JSONType(message, '{field}') != 'String' OR position(({properties} AS {alias}), {key}) > 0, {alias},"
        f" concat({open_end}), JSONExtractString(message, '{field}'), '\"}}'))"
    )


_SENT = "if(position(message, '\"properties\":') = 0, '{}', simpleJSONExtractRaw(message, 'properties'))"
# The properties of a plain message, as the timeline takes them. Once in a statement: it names what it is made of.
PROPERTIES = f"if(type IN ('page', 'screen'), {_with_key(_with_key(_SENT, 'sent', 'name'), 'named', 'category')}, sent)"
# For the statement that asks for `text`. What short circuits save in looking they cost tenfold in moving rows about.
SETTINGS = {"output_format_json_skip_null_value_in_named_tuples": 1, "short_circuit_function_evaluation": "disable"}
EVENT = "multiIf(type = 'track', event, type = 'page', 'Page Viewed', type = 'screen', 'Screen Viewed', '')"


def text(paths: Iterable[Path]) -> tuple[Sql, Sql]:
    """(the message, or of a plain one another message that has only what stands at these paths; whether it is plain).

    Two messages with the same text are the same to whoever reads nothing but these paths.
    """
    tree: dict[str, Any] = {}
    for path in paths:
        inner = tree
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = None
    return sql("if(plain, toJSONString(JSONExtract(message, %s)), message)", _type(tree)), is_plain(tree)


def is_plain(tree: Mapping[str, Any]) -> Sql:
    """The condition. tree: what is read beside, by key; None where a path ends."""
    return sql(
        "type IN ('track', 'page', 'screen', 'alias') AND startsWith(message, concat('{\"type\":\"', type, '\"'))"
        " AND position(message, '\\\\') = 0 AND position(message, '\"categoryPreferences\"') = 0"
        " AND NOT (position(message, 'false') > 0 AND match(message, %s))"
        " AND NOT match(message, %s) AND isValidJSON(message)"
        " AND multiIf(countSubstrings(message, '\"properties\":') = 0, 1,"
        " countSubstrings(message, '\"properties\":') = 1, JSONType(message, 'properties') = 'Object', 0)"
        f" AND countSubstrings(({PROPERTIES} AS own), '{{') = 1 AND position(own, '[') = 0"
        " AND NOT match(own, '[0-9]{19}')",
        r'(?i)"(personas|all)"\s*:\s*false',
        _odd(tree),
    )


def _odd(tree: Mapping[str, Any]) -> str:
    """A pattern of what ClickHouse and Python would read as different values, wherever in the message it stands."""
    leaves, sections = set(), set()

    def walk(inner: Mapping[str, Any]) -> None:
        for key, below in inner.items():
            if below is None:
                leaves.add(key)
            else:
                sections.add(key)
                walk(below)

    walk(tree)
    has_list = ELEMENTS in sections
    texts, parts = _any_of(leaves - {YES_OR_NO}), _any_of(sections - {ELEMENTS})
    patterns = [rf'"{texts}":(true|false|[\[{{]|{ODD_NUMBER})', rf'"{YES_OR_NO}":[^tfn]', rf'"{parts}":\[']
    if has_list:
        # Not a list, or with something in it that is no object, or objects and lists deeper inside.
        patterns += [rf'"{ELEMENTS}":[^\[n]', rf'"{ELEMENTS}":\[(\{{[^\[\]{{}}]*\}},)*(\{{[^\[\]{{}}]*[\[{{]|[^{{\]])']
        patterns += ['"(type|collection|encoding)":[^"n]']
    return "|".join(patterns)


def _any_of(names: Iterable[str]) -> str:
    return f"({'|'.join(map(re.escape, sorted(names)))})"


def _type(tree: Mapping[str, Any]) -> str:
    """The type of ClickHouse's that a message is read into."""
    return f"Tuple({', '.join(f'`{key}` {_type_of(key, below)}' for key, below in tree.items())})"


def _type_of(key: str, below: Mapping[str, Any] | None) -> str:
    if below is None:
        return "Nullable(Bool)" if key == YES_OR_NO else "Nullable(String)"
    return f"Array({_type(below)})" if key == ELEMENTS else _type(below)
