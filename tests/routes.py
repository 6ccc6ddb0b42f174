"""Every route of the product, read from the URLconf, so that no test has a list of its own that can be forgotten."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, reverse
from rest_framework import serializers

from access.gate import view_class
from tests import contract

UNDESCRIBED = ("api/schema", "api/docs")
OF_CLIENTS = {  # routes by which client libraries send, or ask before they send
    *("collect", "collect-beacon", "collect-jitsu", "collect-unknown", "client-settings", "source-config", "pixel"),
    *("analytics-js", "bundle", "jitsu-script"),
}
PROFILE_API = {f"profile-api-{call}" for call in ("list", "batch", "read", "unknown")}  # read by a space's own tokens
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Route:
    """An address, with the names of what varies in it."""

    path: str
    name: str
    view: Callable[..., Any]
    kwargs: tuple[str, ...]

    @property
    def is_api(self) -> bool:
        return self.path.startswith("api/") and self.name not in OF_CLIENTS

    @property
    def methods(self) -> list[str]:
        """What it answers to, in capitals."""
        behind = view_class(self.view)
        if behind is None:
            return ["GET"]
        allowed = getattr(behind, "http_method_names", METHODS)
        return [method.upper() for method in METHODS if hasattr(behind, method) and method in allowed]

    def url(self, values: dict[str, str]) -> str:
        """The address with these values. KeyError for a kind of id that `values` does not know."""
        return reverse(self.name, kwargs={name: values[name] for name in self.kwargs})

    def takes(self, method: str) -> type[serializers.Serializer[Any]] | None:
        """The serializer of the body, as the view declares it."""
        behind: Any = view_class(self.view)
        if method in ("GET", "DELETE") or self.path in UNDESCRIBED:
            return None
        declared: Any = getattr(behind, method.lower()).kwargs["schema"]()
        declared.view, declared.method = behind(request=None, kwargs={}), method
        return declared.get_request_serializer()  # type: ignore[no-any-return]

    def asks(self) -> list[str]:
        """What may be asked of it in the query, but for the page."""
        operation = contract.described()["paths"].get("/" + re.sub(r"<\w+:(\w+)>", r"{\1}", self.path), {})
        parameters = operation.get("get", {}).get("parameters", [])
        return [each["name"] for each in parameters if each["in"] == "query" and "[" not in each["name"]]

    def __str__(self) -> str:
        return self.name or self.path


def routes() -> list[Route]:
    return list(_walk(get_resolver().url_patterns, "", ()))


def api_routes() -> list[Route]:
    return [route for route in routes() if route.is_api and view_class(route.view)]


def pages() -> list[Route]:
    return [route for route in routes() if not route.is_api and route.name not in OF_CLIENTS | PROFILE_API]


def _walk(patterns: list[Any], prefix: str, names: tuple[str, ...]) -> Iterator[Route]:
    for pattern in patterns:
        kwargs = (*names, *pattern.pattern.converters) or tuple(pattern.pattern.regex.groupindex)
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, path, kwargs)
        elif isinstance(pattern, URLPattern):
            yield Route(path.lstrip("^"), pattern.name or "", pattern.callback, kwargs)


def example(serializer: serializers.Serializer[Any], ids: dict[str, str]) -> dict[str, Any]:
    """The smallest body that the serializer takes; its fields that name rows (`…Id`, `…Ids`) are those of `ids`."""
    return {name: _value(name, field, ids) for name, field in serializer.fields.items() if _wanted(name, field)}


def _wanted(name: str, field: Any) -> bool:
    return field.required or name.endswith(("Id", "Ids")) or isinstance(field, serializers.BaseSerializer)


def _value(name: str, field: Any, ids: dict[str, str]) -> Any:
    if name.endswith("Ids"):
        return [ids[name.removesuffix("s")]]
    if name.endswith("Id"):
        return ids[name]
    if isinstance(field, serializers.ListSerializer):
        return [example(field.child, ids)]
    if isinstance(field, serializers.Serializer):
        return example(field, ids)
    for kind, value in EXAMPLES.items():
        if isinstance(field, kind):
            return value(field)
    raise AssertionError(f"no example for {type(field).__name__} {name}")


EXAMPLES: dict[type, Callable[[Any], Any]] = {
    serializers.EmailField: lambda field: "someone@example.com",
    serializers.ChoiceField: lambda field: next(iter(field.choices)),
    serializers.CharField: lambda field: "x",
    serializers.BooleanField: lambda field: True,
    serializers.IntegerField: lambda field: field.min_value or 1,
    serializers.DictField: lambda field: {},
    serializers.ListField: lambda field: [],
    serializers.JSONField: lambda field: {"kind": "event", "name": "User Signed Up", "atLeast": 1},
}
