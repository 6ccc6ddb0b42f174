"""PURE. A message as a person would tell it: who, what, with which values; the rest below."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MOST_FACTS = 60
LONGEST_VALUE = 300
WHO = ("userId", "anonymousId", "groupId", "previousId")
WHAT = (("properties", "Properties"), ("traits", "Traits"), ("context", "Context"))
ELSEWHERE = {"type", "event", "name", *WHO, *(key for key, _ in WHAT)}  # of the message's own fields


@dataclass(frozen=True)
class Section:
    title: str
    facts: list[tuple[str, str]]


def told(message: dict[str, Any]) -> list[Section]:
    """The parts of a message that have something in them, what matters most first."""
    who = {key: message[key] for key in WHO if message.get(key)}
    rest = {key: value for key, value in message.items() if key not in ELSEWHERE}
    parts = [("Who", who), *((title, message.get(key)) for key, title in WHAT), ("Message", rest)]
    return [Section(title, facts) for title, value in parts if (facts := _facts(value))]


def who(message: dict[str, Any]) -> str:
    """The identifier that a reader would know the person by; "" when there is none."""
    return next((str(message[key]) for key in WHO if message.get(key)), "")


def read(text: str | bytes) -> dict[str, Any]:
    """The message; an empty one when the text is no JSON object, as rejected messages may be."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def raw(text: str | bytes) -> str:
    """Indented JSON, or the text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def _facts(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        return []
    found = list(_flat(value, ""))
    cut = len(found) - MOST_FACTS
    return [*found[:MOST_FACTS], *([("…", f"{cut} more; see Raw")] if cut > 0 else [])]


def _flat(value: dict[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner and before.count(".") < 6:
            yield from _flat(inner, f"{before}{key}.")
        else:
            yield f"{before}{key}", _shown(inner)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
