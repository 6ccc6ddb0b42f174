"""Every answer of the API that a test gets is held against docs/openapi.json: nothing missing, nothing undeclared."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from django.http import HttpResponseBase
from django.urls import Resolver404, resolve
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

OPENAPI = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"
UNLISTED = ("/api/schema", "/api/docs", "/api/s/")  # the last is for clients of Jitsu


def check(method: str, path: str, answer: HttpResponseBase) -> None:
    """Raises AssertionError for an answer that the description does not allow."""
    if not path.startswith("/api/") or path.startswith(UNLISTED) or method in ("HEAD", "OPTIONS", "TRACE"):
        return
    validator = _validator(method.lower(), _template(path), answer.status_code)
    whole(answer)
    faults = [f"{error.json_path} {error.message}"[:300] for error in validator.iter_errors(json.loads(answer.content))]
    assert not faults, f"{method} {path} answers {answer.status_code}, and docs/openapi.json does not: {faults[:3]}"


def whole(answer: HttpResponseBase) -> None:
    """The answer has a `content` also where it is streamed, and can be read once more."""
    if answer.streaming:
        content = b"".join(answer)  # type: ignore[call-overload]
        answer.streaming_content = [content]  # type: ignore[attr-defined]
        # The class has a property there that raises.
        answer.__class__ = type("Whole", (answer.__class__,), {"content": content})


@cache
def described() -> dict[str, Any]:
    """docs/openapi.json, which nobody changes: to read it takes 20 ms, and tests ask for it at every route."""
    document: dict[str, Any] = json.loads(OPENAPI.read_text())
    return document


def examples(document: dict[str, Any]) -> list[tuple[str, Draft202012Validator, Any]]:
    """(where, validator, value) of every example of a body."""
    found = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for place, body in {"request": operation.get("requestBody", {}), **operation["responses"]}.items():
                for media in body.get("content", {}).values():
                    found.append((f"{method} {path} {place}", _strictly(media["schema"]), media["example"]))
    return found


def _strictly(schema: dict[str, Any]) -> Draft202012Validator:
    """References lead into the description."""
    text = json.dumps(_closed(schema)).replace('"#/', '"openapi:#/')
    return Draft202012Validator(json.loads(text), registry=_strict()[1])


def _template(path: str) -> str:
    """The path as it is described, "" for one that is not."""
    try:
        return "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", resolve(path).route)
    except Resolver404:
        return ""


@cache
def _validator(method: str, template: str, status: int) -> Draft202012Validator:
    document, registry = _strict()
    operation = document["paths"].get(template, {}).get(method)
    if operation is None:
        assert status >= 400, f"{method} {template} is not described"
        return Draft202012Validator({"$ref": "openapi:#/components/schemas/Errors"}, registry=registry)
    code = str(status) if str(status) in operation["responses"] else "default"
    assert code != "default" or status >= 400, f"{method} {template} does not say that it answers {status}"
    response = operation["responses"][code]
    place = response["$ref"].split("/")[1:] if "$ref" in response else ["paths", template, method, "responses", code]
    place += ["content", "application/json", "schema"]
    pointer = "/".join(part.replace("~", "~0").replace("/", "~1") for part in place)
    return Draft202012Validator({"$ref": f"openapi:#/{pointer}"}, registry=registry)


@cache
def _strict() -> tuple[dict[str, Any], Registry[Any]]:
    """The description, of which every object has the declared fields only."""
    document = _closed(described())
    resource: Resource[Any] = Resource.from_contents(document, default_specification=DRAFT202012)
    return document, Registry().with_resource("openapi:", resource)


def _closed(value: Any) -> Any:
    if isinstance(value, list):
        return [_closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    closed = {name: _closed(each) for name, each in value.items()}
    if isinstance(value.get("properties"), dict) and value.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
