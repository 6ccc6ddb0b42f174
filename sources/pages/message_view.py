"""PURE. A message as the debugger shows it: flat name and value pairs in titled sections, and indented JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MOST_FACTS = 60  # of one part; the message itself has them all
LONGEST_VALUE = 300
WHO = ("userId", "anonymousId", "groupId", "previousId")
WHAT = (("properties", "Properties"), ("traits", "Traits"), ("context", "Context"))
ELSEWHERE = {"type", "event", "name", *WHO, *(key for key, _ in WHAT)}  # of the message's own fields


@dataclass(frozen=True)
class Section:
    title: str
    facts: list[tuple[str, str]]


def sections(message: dict[str, Any]) -> list[Section]:
    """The sections of a message that are not empty, the most important one first."""
    identifiers = {key: message[key] for key in WHO if message.get(key)}
    rest = {key: value for key, value in message.items() if key not in ELSEWHERE}
    parts = [("Who", identifiers), *((title, message.get(key)) for key, title in WHAT), ("Message", rest)]
    shown = []
    for title, value in parts:
        # Whatever a sender put there: a rejected message may have any kind of value under these names.
        facts = list(_flatten(value, "")) if isinstance(value, dict) else []
        if beyond := facts[MOST_FACTS:]:
            facts[MOST_FACTS:] = [("…", f"{len(beyond)} more; see Raw")]
        if facts:
            shown.append(Section(title, facts))
    return shown


def identifier(message: dict[str, Any]) -> str:
    """The first of the identifiers in WHO that the message has; "" when it has none."""
    return next((str(message[key]) for key in WHO if message.get(key)), "")


def parse_message(text: str | bytes) -> dict[str, Any]:
    """The message; an empty one when the text is no JSON object, as rejected messages may be."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def format_json(text: str | bytes) -> str:
    """Indented JSON, or the text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def _flatten(value: dict[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner and before.count(".") < 6:  # deeper, the name is longer than the page
            yield from _flatten(inner, f"{before}{key}.")
        else:
            yield f"{before}{key}", short_text(inner)


def short_text(value: Any) -> str:
    """A value on one line: text as it is, anything else as JSON; cut where it is longer than a table shows."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
