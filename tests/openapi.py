"""Whether docs/openapi.json is what the code says, and such that a client can be made of it: `make check` runs this."""

import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import django
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.contract import described

SAYING = {"$ref", "type", "enum", "oneOf", "anyOf", "allOf"}  # without one of these, anything is meant
METHODS = {"get", "post", "put", "patch", "delete"}
ALWAYS = {"401", "403", "default"}
# Where any JSON may be: what senders sent, what another release kept, JSON Schema itself.
FREE = {
    "traits",
    "properties",
    "message",
    "body",
    "definition",
    "settingsSchema",
    "optionsSchema",
    "traitOptionsSchema",
}


def main() -> int:
    document = described()
    wrong = faults(document)
    if document != generated():
        wrong.append("docs/openapi.json is not what the code says: run `make openapi`")
    print("\n".join(wrong) or "docs/openapi.json is up to date")
    return bool(wrong)


def generated() -> dict[str, Any]:
    """The description as the code has it now. Django is set up."""
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.renderers import OpenApiJsonRenderer

    schema = SchemaGenerator().get_schema(request=None, public=True)
    document: dict[str, Any] = json.loads(OpenApiJsonRenderer().render(schema, renderer_context={}))
    return document


def faults(document: dict[str, Any]) -> list[str]:
    """What a linter would say."""
    found = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    ids = [operation["operationId"] for _, operation in operations]
    found += [f"two operations are called {name}" for name in sorted({name for name in ids if ids.count(name) > 1})]
    for name, operation in operations:
        found += [f"{name}: {fault}" for fault in _of_operation(operation)]
    text = json.dumps(document)
    for kind in ("schemas", "responses"):
        for name, component in document["components"][kind].items():
            if f'"#/components/{kind}/{name}"' not in text:
                found.append(f"components/{kind}/{name} is used nowhere")
            schemas = (
                [media["schema"] for media in component["content"].values()] if kind == "responses" else [component]
            )
            found += [f"{name}: {fault}" for fault in _of_schema(schemas, "")]
    return found


def _of_operation(operation: dict[str, Any]) -> Iterator[str]:
    if not re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"]):
        yield "its id makes no good name of a function"
    if not operation.get("summary") or not operation.get("description"):
        yield "has no summary or no description"
    if len(operation.get("tags", [])) != 1:
        yield "has not just one tag"
    if not operation.get("security"):
        yield "does not say how to sign in"
    for parameter in operation.get("parameters", []):
        if not parameter.get("description"):
            yield f"the parameter {parameter['name']} is not described"
    if missing := ALWAYS - {*operation["responses"]}:
        yield f"has no answer for {', '.join(sorted(missing))}"
    if not any(code.startswith("2") for code in operation["responses"]):
        yield "has no answer for success"
    for body in [operation.get("requestBody", {}), *operation["responses"].values()]:
        for media in body.get("content", {}).values():
            if "example" not in media:
                yield "a body has no example"
            yield from _of_schema(media["schema"], "")


def _of_schema(schema: Any, name: str) -> Iterator[str]:
    """Every schema says what it takes, at any depth."""
    if isinstance(schema, list):
        for each in schema:
            yield from _of_schema(each, name)
    if not isinstance(schema, dict):
        return
    anything = schema.get("additionalProperties") in (True, {}) or not SAYING & {*schema}
    if anything and name not in FREE:
        yield f"{name or 'it'} may be anything"
    for inner, below in schema.get("properties", {}).items():
        yield from _of_schema(below, inner)
    if {"array", "object"} <= {*schema.get("type", ())}:  # any JSON: what is in its lists is any JSON as well
        return
    for word in ("items", "oneOf", "anyOf", "allOf"):
        yield from _of_schema(schema.get(word), name)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personas_site.settings")
    django.setup()
    sys.exit(main())
