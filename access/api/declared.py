"""Settings that kinds of things declare (spaces.settings_schema), as fields of a body and as schemas of the API."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from rest_framework import serializers

from access.api.schema import register
from spaces.settings_schema import MASK, SettingsDeclaration, json_schema


class DeclaredField(serializers.DictField):
    """What one of several declarations allows. It is read by the declaration itself, in the service that takes it."""

    is_change = False  # some of it is enough: the rest stays

    @staticmethod
    def declared() -> list[type[SettingsDeclaration]]:
        raise NotImplementedError


class DeclaredFieldExtension(OpenApiSerializerFieldExtension):
    target_class = DeclaredField
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        prefix = "Change" if self.target.is_change else ""
        more: dict[str, Any] = {"required": []} if self.target.is_change else {}
        return {
            "anyOf": [
                declared_schema(auto_schema, prefix + declared.__name__, declared, **more)
                for declared in self.target.declared()
            ]
        }


def declared_schema(auto_schema: Any, name: str, declared: type[SettingsDeclaration], **more: Any) -> dict[str, str]:
    """A reference to the declaration as a component. more: of its schema, in the place of what is declared."""
    schema = json_schema(declared) | more
    for field in schema["properties"].values():
        # A secret is answered too, as its mask: a generator of clients would leave a field out that is only written.
        if field.pop("writeOnly", False):
            field["description"] = f"{field.get('description', '')}. Shown as {MASK}".removeprefix(". ")
    return register(auto_schema, name, schema)
