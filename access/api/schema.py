"""What drf-spectacular cannot know of the API by itself: needed permissions, the envelope, examples."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.plumbing import ResolvedComponent, force_instance
from drf_standardized_errors.openapi import AutoSchema
from rest_framework.fields import empty
from rest_framework.serializers import ListSerializer, Serializer, SerializerMethodField

from access.api.pagination import PAGINATION
from access.errors import NOTHING, TYPES
from access.gate import need_of
from access.roles import PERMISSIONS

PATHS = {
    "space_id": "The space, such as `spa_2qKf0`.",
    "source_id": "The source, such as `src_2qKf0`.",
    "audience_id": "The audience, such as `aud_2qKf0`.",
    "trait_id": "The computed trait, such as `tra_2qKf0`.",
    "sql_trait_id": "The SQL trait, such as `sqt_2qKf0`.",
    "profiles_sync_id": "The sync of profiles, such as `psy_2qKf0`.",
    "warehouse_id": "The warehouse, such as `whs_2qKf0`.",
    "destination_id": "The destination, such as `dst_2qKf0`.",
    "subscription_id": "The connection of the audience to a destination.",
    "trait_subscription_id": "The connection of the computed trait to a destination.",
    "profile_id": "The profile: its id, or `type:value` of one of its identifiers.",
    "dry_run_id": "The dry run of identity rules, such as `dry_2qKf0`.",
    "split_id": "The split, such as `spl_2qKf0`.",
    "version_number": "The number of the version.",
    "case_id": "The test case, such as `cas_2qKf0`.",
    "change_id": "The change of the audience.",
    "alert_id": "The alert, such as `alr_2qKf0`.",
    "channel_id": "The channel of alerts, such as `alc_2qKf0`.",
    "import_id": "The import, such as `imp_2qKf0`.",
    "regulation_id": "The request about people, such as `reg_2qKf0`.",
    "replay_id": "The replay.",
    "connection_id": "The connection of the space to a source.",
    "invite_id": "The invitation.",
    "token_id": "The token.",
    "profile_token_id": "The token of the Profile API, such as `ptk_2qKf0`.",
    "key": "The write key.",
}


ERRORS = {  # an answer of each status that says what is wrong
    code: {"errors": [{"type": TYPES[status], "message": message}]}
    for code, status, message in (
        ("400", 400, "The body is nested too deep."),
        ("401", 401, "This token is unknown or was revoked."),
        ("403", 403, "You lack the permission “space.use” in Shop: Build audiences and traits."),
        ("404", 404, NOTHING),
        ("409", 409, "Another audience asks about this one."),
        ("422", 422, "This field is required."),
        ("503", 503, "This cannot be worked out just now. Try again in a moment."),
        ("default", 500, "Something went wrong on our side. It is in the log; please try again."),
    )
}


# What an operation is filed under, by the last part of its path that is here.
TAGS = {
    part: tag
    for tag, parts in {
        "workspace": "workspace audit deletions users",
        "spaces": "spaces",
        "imports": "imports",
        "invites": "invites",
        "tokens": "tokens profile-tokens",
        "sources": "sources",
        "connections": "connections",
        "replays": "replays",
        "profiles": "profiles identity-rules identity-insights identifier-owner resolution splits timeline",
        "audiences": "audiences condition-kinds seen",
        "computed traits": "computed-traits",
        "sql traits": "sql-traits warehouses",
        "profiles sync": "profiles-syncs",
        "destinations": "destinations delivery-overview",
        "subscriptions": "destination-connections",
        "alerts": "alerts alert-channels alert-kinds alert-notifications alert-occurrences",
        "privacy": "regulations suppressed export",
    }.items()
    for part in parts.split()
}


class Schema(AutoSchema):
    def get_tags(self) -> list[str]:
        return [next(TAGS[part] for part in reversed(self.path.split("/")) if part in TAGS)]

    def get_summary(self) -> str:
        return super().get_summary() or self.get_operation_id().replace("_", " ").capitalize()

    def get_description(self) -> str:  # type: ignore[override]
        # From the mark that the gate enforces, so that the description cannot say something else.
        need = need_of(type(self.view), self.method)
        return f"{super().get_description()}\n\nNeeds the permission `{need}`: {PERMISSIONS[need]}."

    def _get_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_parameters()
        return [
            {**parameter, "description": PATHS[parameter["name"]]} if parameter["in"] == "path" else parameter
            for parameter in parameters
        ]

    def _should_add_error_response(self, responses: dict[str, Any], status_code: str) -> bool:
        if status_code == "422":  # only where something is asked for in words
            asked = any(parameter["in"] == "query" for parameter in self._get_parameters())
            return asked or bool(self.method not in ("GET", "DELETE") and self.get_request_serializer())
        return bool(super()._should_add_error_response(responses, status_code))

    def _get_error_response_examples(self) -> list[Any]:
        return []  # the library's own, in its own shape

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> dict[str, Any]:
        """A serializer's `example` is one of its component."""
        schema: dict[str, Any] = super()._map_basic_serializer(serializer, direction)
        example = usual_example(serializer)
        return schema if example is empty else schema | {"examples": [example]}


def usual_example(field: Any) -> Any:
    """The example of a serializer or a field; `empty` = it has none.

    A field says its own by `initial`, which is nothing else to this API; a serializer says by `example` what is another
    one than its fields say.
    """
    field = force_instance(field)
    own: Any = getattr(field, "example", empty)
    if isinstance(field, Serializer):
        inside: dict[str, Any] = dict(field.fields)
        said = {name: inner._kwargs["initial"] for name, inner in inside.items() if "initial" in inner._kwargs}
        said |= {} if own is empty else own
        # What may be left out of a body is left out of its example.
        usual = {
            name: said.get(name, usual_example(inner))
            for name, inner in inside.items()
            if inner.required or inner.read_only or name in said
        }
        # Where no field says anything, what theirs come to is put together by `example_of`.
        return {name: value for name, value in usual.items() if value is not empty} if said else empty
    if "initial" in field._kwargs:
        return field._kwargs["initial"]
    if isinstance(field, ListSerializer):
        of_child = usual_example(field.child)
        return empty if of_child is empty else [of_child]
    if isinstance(field, SerializerMethodField):
        method = getattr(field.parent, str(field.method_name))
        return usual_example(getattr(method, "_spectacular_annotation", {}).get("field"))
    return own


class EnvelopeExtension(OpenApiSerializerExtension):
    target_class = "access.api.serializers.Envelope"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        data = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {"type": "object", "required": ["data"], "properties": {"data": data}}


def register(auto_schema: Any, name: str, schema: dict[str, Any]) -> dict[str, str]:
    """A reference to a component that no serializer stands for."""
    component = ResolvedComponent(name=name, type=ResolvedComponent.SCHEMA, schema=schema, object=name)
    auto_schema.registry.register_on_missing(component)
    reference: dict[str, str] = component.ref
    return reference


def with_examples(result: dict[str, Any], generator: Any, **more: Any) -> dict[str, Any]:
    """Every body has an example, put together from those of its components. For POSTPROCESSING_HOOKS."""
    # Sorted, so that a change of one serializer is one hunk of the committed file.
    components = result["components"]
    schemas = components["schemas"] = dict(sorted((components["schemas"] | {"Pagination": PAGINATION}).items()))
    shared = components["responses"] = {}
    for operation in (operation for path in result["paths"].values() for operation in path.values()):
        for code, response in operation["responses"].items():
            response["description"] = HTTPStatus(int(code)).phrase if code.isdigit() else "Any other error"
            if code in ERRORS:  # one component for each status: written out, errors were most of the file
                shared[f"Error{code.capitalize()}"] = response
                operation["responses"][code] = {"$ref": f"#/components/responses/Error{code.capitalize()}"}
        for body in (operation.get("requestBody", {}), *operation["responses"].values(), *shared.values()):
            for media in body.get("content", {}).values():
                media["example"] = example_of(media["schema"], schemas)
    for code, example in ERRORS.items():
        shared[f"Error{code.capitalize()}"]["content"]["application/json"]["example"] = example
    return result


def example_of(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value that the schema takes. Raises ValueError where it says too little."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "examples" in schema:
        return schema["examples"][0]
    for several in {"allOf", "oneOf", "anyOf"} & {*schema}:
        return example_of(schema[several][0], schemas)
    if "enum" in schema or "default" in schema:
        return schema.get("default", schema.get("enum", [None])[0])
    kinds = schema.get("type", "object")
    if "object" in kinds:
        return {name: example_of(inner, schemas) for name, inner in schema.get("properties", {}).items()}
    if "array" in kinds:
        return [example_of(schema["items"], schemas)]
    if "boolean" in kinds:
        return True
    if "null" in kinds:
        return None
    raise ValueError(f"no example: {schema}")
