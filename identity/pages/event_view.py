"""PURE. What an event says, as names and values that a person reads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sources.pages.message_view import MOST_FACTS, short_text

SAID = (("Properties", "properties"), ("Traits", "traits"))


@dataclass(frozen=True)
class EventSection:
    """Rows of (name, value) under a title. more: how many are not among them."""

    title: str
    rows: Sequence[tuple[str, str]]
    more: int = 0


def parts(message: Mapping[str, Any], identifiers: Sequence[tuple[str, str]]) -> list[EventSection]:
    """Properties, traits and identifiers, those that there are; then what the message itself is."""
    # A message may hold anything under these names: what is no object has nothing to show.
    sections = [_part(title, list(_leaves(message.get(key)))) for title, key in SAID]
    context = message.get("context")
    inside = context.get("traits") if isinstance(context, dict) else None
    sections.append(_part("Traits in the context", list(_leaves(inside))))
    sections.append(_part("Identifiers", [(type, value) for type, value in identifiers]))
    about = [(name, message[name]) for name in ("messageId", "timestamp") if message.get(name)]
    return [part for part in (*sections, _part("Message", about)) if part.rows]


def _part(title: str, rows: Sequence[tuple[str, Any]]) -> EventSection:
    shown = [(name or "value", short_text(value)) for name, value in rows[:MOST_FACTS]]
    return EventSection(title, shown, len(rows) - len(shown))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What lies at each path; an object that holds nothing is a value of its own, but not the outermost."""
    if isinstance(value, dict) and value:
        for key, inside in value.items():
            yield from _leaves(inside, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, value
