"""PURE. A body of the user's own: JSON in which {{path}} stands for a part of a call, such as {{traits.email}}."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

PLACE = re.compile(r"\{\{\s*([A-Za-z_][\w.]*)\s*\}\}")


def parsed_template(text: str) -> Any:
    """The JSON of a template. Raises ValueError with a sentence."""
    try:
        template = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"Is not JSON: {error}") from error
    if not isinstance(template, dict | list):
        raise ValueError("Must be an object or an array")
    return template


def rendered(template: Any, call: Mapping[str, Any]) -> Any:
    """The template with the parts of a call.

    A text that is a place and nothing else takes the part's type. What a call does not have is null there, and nothing
    inside of other text.
    """
    if isinstance(template, dict):
        return {name: rendered(value, call) for name, value in template.items()}
    if isinstance(template, list):
        return [rendered(value, call) for value in template]
    if not isinstance(template, str):
        return template
    if whole := PLACE.fullmatch(template):
        return _part(call, whole[1])

    def text(place: re.Match[str]) -> str:
        part = _part(call, place[1])
        return part if isinstance(part, str) else "" if part is None else msgspec.json.encode(part).decode()

    return PLACE.sub(text, template)


def _part(call: Mapping[str, Any], path: str) -> Any:
    part: Any = call
    for name in path.split("."):
        part = part.get(name) if isinstance(part, Mapping) else None
    return part
