"""PURE. The value of a question as somebody types it: a text, and what kind of value that text is."""

import json
import math
from collections.abc import Mapping
from typing import Any

from audiences.rules.operators import OPERATORS
from audiences.rules.references import PARENT, TRAIT

AUTO = "auto"  # as it was seen (audiences.value_types); where nobody looks, as it reads
# The entries of a blank question. unit: of a duration, whose count is the value.
BLANK_QUESTION = {"op": "equals", "type": AUTO, "unit": "days", "value": ""}
TYPES = {AUTO: "as it was sent", "text": "text", "number": "number", "truth": "true or false", "json": "JSON"}
TRUTHS = {"true": True, "false": False}
REFERENCES = {TRAIT: "their trait", PARENT: "the earlier event's"}  # to be read behind an operator


def referring(op: str, of: str) -> str:
    """The operator as a form has it, which compares with something of the person or of an event."""
    return f"{op} {of}"


def reference_in(op: str) -> tuple[str, str]:
    """(operator, what it compares with in place of a value, or "") of what a form has."""
    name, _, of = op.partition(" ")
    return (name, of) if of in REFERENCES else (op, "")


def question_entries(question: dict[str, Any]) -> dict[str, str]:
    """The entries that show the `op` and `value` of a definition. Several values stand in a line each."""
    op = question["op"]
    if "value" not in question:
        return {**BLANK_QUESTION, "op": op}
    value, entries = question["value"], {**BLANK_QUESTION, "op": op}
    if isinstance(value, dict) and value.keys() <= REFERENCES.keys():
        ((of, name),) = value.items()
        return entries | {"op": referring(op, of), "value": name}
    if OPERATORS[op].takes == "duration":
        unit, count = next(iter(value.items()))
        return entries | {"unit": unit, "value": str(count)}
    if OPERATORS[op].takes == "list":
        # One type for all lines of a box; of several types each line is JSON, which says its own.
        kinds = {_kind(item) for item in value}
        kind = kinds.pop() if len(kinds) == 1 else "json"
        return entries | {"type": kind, "value": "\n".join(_written(item, kind) for item in value)}
    kind = _kind(value)
    return entries | {"type": kind, "value": _written(value, kind)}


def question_json(entries: dict[str, str]) -> dict[str, Any]:
    """The `op` and `value` of a definition, which need not be right: the operator reads them strictly.

    What cannot be read as its kind stays the text that it is, and an empty one is left out.
    """
    (op, of), kind, written = reference_in(entries["op"]), entries["type"], entries["value"]
    takes = OPERATORS[op].takes if op in OPERATORS else "scalar"
    if takes is None or not written.strip():
        return {"op": op}
    if of:
        return {"op": op, "value": {of: written}}
    if takes == "duration":
        return {"op": op, "value": {entries["unit"]: whole(written)}}
    if takes == "list":
        lines = [line for line in written.splitlines() if line.strip()]
        return {"op": op, "value": [_read(line, kind) for line in lines]}
    if takes == "scalar" or kind == "json":
        return {"op": op, "value": _read(written, kind)}
    return {"op": op, "value": _read(written, "number") if takes in ("number", "days") else written}


def types_of(entries: Mapping[str, str]) -> set[str]:
    """The types that the values may have as they read; several only where the operator takes any of them."""
    op, written = entries["op"], entries["value"]
    takes = OPERATORS[op].takes if op in OPERATORS else None
    lines = written.splitlines() if takes == "list" else [written] if takes == "scalar" else []
    # Everything reads as text; nobody has to choose where that is all.
    return {"text", *(kind for line in lines if (kind := _guess(line)) != "text")}


def whole(written: str) -> int | str:
    """A whole number; what is none stays as it is written, for the grammar to refuse."""
    return int(written) if written.strip().isdecimal() and len(written) < 20 else written


def decimal(written: str) -> Any:
    """A number; what is none stays as it is written, for the grammar to refuse."""
    return _read(written, "number")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, str):
        # A text that is blank, or of several lines, would not come back from a box as it was: it is shown as JSON.
        return "text" if value.strip() and value.splitlines() == [value] else "json"
    return "number"


def _written(value: Any, kind: str) -> str:
    return value if kind == "text" else json.dumps(value)


def _guess(written: str) -> str:
    if written.strip().lower() in TRUTHS:
        return "truth"
    value = _read(written, "number")
    return "number" if isinstance(value, int | float) and math.isfinite(value) else "text"


def _read(written: str, kind: str) -> Any:
    if kind == AUTO:
        kind = _guess(written)
    if kind == "text":
        return written
    if kind == "truth":
        return TRUTHS.get(written.strip().lower())
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        # None is no value that any operator takes, so that the grammar says it.
        return None if kind == "json" else written
    return value if kind == "json" or not isinstance(value, str | bool) else written
