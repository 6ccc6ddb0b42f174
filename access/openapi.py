"""The OpenAPI description of every API view, without a word of it repeated in the views.

A view says what it takes with `takes = {"POST": SomeSerializer}`, and what may be asked of its list or its row with
`asks = {"include": "what else to show"}`; its text is the docstring of the method or the class; what it needs comes
from its mark; every answer is the envelope.
"""

import re
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_parameter_type

from access.gate import need_of
from spaces.needs import ANYONE

ANYTHING = {"type": "object", "additionalProperties": True}
ERRORS = {
    "type": "object",
    "required": ["errors"],
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {name: {"type": "string"} for name in ("type", "message", "field")},
            },
        }
    },
}
ENVELOPE = {"type": "object", "required": ["data"], "properties": {"data": ANYTHING}}
PAGED = ("pagination[count]", "rows per page"), ("pagination[cursor]", "the `next` of the page before")
BODILESS = ("GET", "DELETE")


class Schema(AutoSchema):
    """Reads our views as they are written."""

    def get_operation_id(self) -> str:
        """The method and the path: unique because they are."""
        words = re.sub(r"[^A-Za-z0-9]+", "_", self.path.removeprefix("/api/")).strip("_")
        return f"{self.method.lower()}_{words}"

    def get_tags(self) -> list[str]:
        words = [word for word in self.path.removeprefix("/api/").split("/") if word and not word.startswith("{")]
        return [words[1] if words[0] == "spaces" and len(words) > 1 else words[0]]

    def get_description(self) -> str:  # type: ignore[override]
        need = need_of(type(self.view), self.method)
        text = super().get_description() or ""
        return text if need == ANYONE else f"{text}\n\nNeeds the permission `{need}`.".strip()

    def get_auth(self) -> list[dict[str, list[str]]]:
        need = need_of(type(self.view), self.method)
        return [] if need == ANYONE else [{"token": []}]

    def get_request_serializer(self) -> Any:
        return getattr(self.view, "takes", {}).get(self.method)

    def _get_request_body(self, direction: Any = "request") -> dict[str, Any] | None:
        if self.method in BODILESS:
            return None
        if self.get_request_serializer() is None:
            return {"content": {"application/json": {"schema": ANYTHING}}}
        return super()._get_request_body(direction)

    def _get_parameters(self) -> list[dict[str, Any]]:
        names = re.findall(r"{(\w+)}", self.path)
        path = [build_parameter_type(name, {"type": "string"}, "path", required=True) for name in names]
        paged = PAGED if self.method == "GET" and getattr(self.view, "paged", not self.path.endswith("}")) else ()
        asked = (*getattr(self.view, "asks", {}).items(), *paged) if self.method == "GET" else ()
        return path + [
            build_parameter_type(name, {"type": "string"}, "query", description=text) for name, text in asked
        ]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        return {
            "2XX": _json(ENVELOPE, "What was asked for, or what was made."),
            "4XX": _json(ERRORS, "What is wrong, with the field when there is one."),
        }

    def get_serializer_name(self, serializer: Any, direction: Any) -> str:
        """With the app in front: two apps may each have a body of the same name."""
        app = type(serializer).__module__.partition(".")[0].capitalize()
        return f"{app}{super().get_serializer_name(serializer, direction)}"


def _json(schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}, "description": text}
