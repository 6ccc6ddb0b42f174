"""Settings that kinds of things declare (spaces.settings_schema), as fields of a body and as schemas of the API."""

from collections.abc import Callable, Iterable
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from rest_framework import serializers

from access.api.schema import register
from spaces.settings_schema import MASK, SettingsDeclaration, json_schema

Declarations = dict[str, type[SettingsDeclaration]]


class DeclaredField(serializers.DictField):
    """What one of several declarations allows. It is read by the declaration itself, in the service that takes it.

    declared() -> the declarations by the names of their components. is_change: some of it is enough: the rest stays.
    """

    def __init__(self, declared: Callable[[], Declarations], *, is_change: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.declared, self.is_change = declared, is_change


class DeclaredFieldExtension(OpenApiSerializerFieldExtension):
    target_class = DeclaredField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        prefix = "Change" if self.target.is_change else ""
        more: dict[str, Any] = {"required": []} if self.target.is_change else {}
        references = [
            declared_schema(auto_schema, prefix + name, declared, **more)
            for name, declared in self.target.declared().items()
        ]
        return {"anyOf": references} if len(references) > 1 else references[0]


def by_own_name(declarations: Iterable[type[SettingsDeclaration]]) -> Declarations:
    """Kinds that share a declaration are one component."""
    return {declared.__name__: declared for declared in declarations}


def declared_schema(auto_schema: Any, name: str, declared: type[SettingsDeclaration], **more: Any) -> dict[str, str]:
    """A reference to the declaration as a component. more: of its schema, in the place of what is declared."""
    schema = json_schema(declared) | more
    for field in schema["properties"].values():
        # A secret is answered too, as its mask: a generator of clients would leave a field out that is only written.
        if field.pop("writeOnly", False):
            field["description"] = f"{field.get('description', '')}. Shown as {MASK}".removeprefix(". ")
    return register(auto_schema, name, schema)
