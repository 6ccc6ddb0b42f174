"""PURE. Settings declared once, as a msgspec Struct; form, validation, API schema and catalogue card derive from it.

    class SlackSettings(SettingsDeclaration, frozen=True):
        webhook_url: Annotated[str, secret("Webhook URL", help="Slack: Apps > Incoming webhooks")]
        style: Annotated[Literal["short", "long"], label("Style")] = "short"

A field without a default is required. Python and what is stored call it `webhook_url`, the API `webhookUrl`.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

import msgspec
from msgspec import NODEFAULT, inspect

MASK = "••••••••"  # stands for a secret in every answer; sent back unchanged, it changes nothing
LONGEST_TEXT = 2000  # characters; enough for any address or key
SHORTEST_STRUCK = 4  # characters: striking shorter words out of an answer would make it unreadable
SHORTEST_CUT = 6  # of the beginning of a word that the end of a text is: fewer are there by chance

ADDRESS_KEY = re.compile(r"(?<=[/?#&=])[^/?#&=]{12,}")

TYPES = {
    inspect.StrType: "string",
    inspect.LiteralType: "string",
    inspect.BoolType: "boolean",
    inspect.IntType: "integer",
}


class InvalidSetting(ValueError):
    """`field` is named as the API names it; "" when several together are at fault.

    inside: the object that it is a field of; "" = that of the settings which were read.
    """

    inside = ""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class SettingsDeclaration(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The base of every declaration."""

    def check(self) -> None:
        """Called with valid fields; raises InvalidSetting when they do not go together."""


Declaration = TypeVar("Declaration", bound=SettingsDeclaration)


@dataclass(frozen=True)
class SettingField:
    """A declared field. attribute: its name in Python and in what is stored. generate: fills it when it is empty.

    url, place: as `secret` and `text` have it.
    """

    name: str
    attribute: str
    label: str
    help: str
    type: str
    required: bool
    default: Any
    choices: Sequence[str] = ()
    minimum: int | None = None
    maximum: int | None = None
    max_length: int | None = None
    secret: bool = False
    url: bool = False
    place: bool = False
    generate: Callable[[], str] | None = None


def label(title: str, *, help: str = "", **constraints: Any) -> msgspec.Meta:
    """A switch, a choice or a number. constraints: as msgspec.Meta takes them."""
    return msgspec.Meta(title=title, description=help or None, **constraints)


def text(
    title: str, *, help: str = "", max_length: int = LONGEST_TEXT, url: bool = False, place: bool = False
) -> msgspec.Meta:
    """Text that everyone who may read the destination sees.

    url: an address that we are to call. place: a host that we are to connect to, at the setting `port`; where there is
    no such setting, hosts with ports and commas in between.
    """
    return label(title, help=help, max_length=max_length, extra={"url": url, "place": place})


def secret(title: str, *, help: str = "", generate: Callable[[], str] | None = None, url: bool = False) -> msgspec.Meta:
    """Text that is never shown again, logged or put into an error.

    url: an address that we are to call. Tools put a key into it, so of it only the host is shown.
    """
    extra = {"secret": True, "generate": generate, "url": url}
    return label(title, help=help, max_length=LONGEST_TEXT, extra=extra, extra_json_schema={"writeOnly": True})


def fields_of(declared: type[SettingsDeclaration]) -> list[SettingField]:
    """The declared fields, in their order."""
    fields = []
    for field in inspect.type_info(declared).fields:  # type: ignore[attr-defined]
        # Every field has a label, and so is wrapped in Metadata.
        about: Any = field.type
        type, schema = about.type, about.extra_json_schema
        fields.append(
            SettingField(
                name=field.encode_name,
                attribute=field.name,
                label=schema["title"],
                help=schema.get("description", ""),
                type=TYPES[type.__class__],
                required=field.required,
                default=None if field.default is NODEFAULT else field.default,
                choices=[*getattr(type, "values", ())],
                minimum=getattr(type, "ge", None),
                maximum=getattr(type, "le", None),
                max_length=getattr(type, "max_length", None),
                **(about.extra or {}),
            )
        )
    return fields


def parse(
    declared: type[Declaration], given: Mapping[str, Any], stored: Mapping[str, Any] | None = None
) -> Declaration:
    """An instance from what an API call or a form gave, names in camelCase. Raises InvalidSetting.

    stored: the present values, which count where nothing, or the mask of a secret, is given.
    """
    values = dict(given)
    fields = {field.name: field for field in fields_of(declared)}
    for name, field in fields.items():
        value = given.get(name)
        kept = (stored or {}).get(field.attribute)
        if value is None or (field.secret and kept and value == shown_secret(field, kept)):
            value = kept
        if value in (None, "") and field.generate:
            value = field.generate()
        if isinstance(value, str):
            value = value.strip()
            if field.required and not value:
                raise InvalidSetting(name, "Must not be empty")
            if field.secret and MASK in value:
                raise InvalidSetting(name, "Give all of it, without the dots")
            if "\0" in value:  # PostgreSQL takes it neither as text nor in JSON
                raise InvalidSetting(name, "Must not contain a null character")
        values[name] = value
        if value is None:
            del values[name]
    try:
        settings = msgspec.convert(values, declared)
    except msgspec.ValidationError as error:
        raise _named(str(error), fields) from error
    settings.check()
    return settings


def load_stored(declared: type[Declaration], values: Mapping[str, Any]) -> Declaration:
    """An instance from what is stored; a setting that is newer than the row takes its default."""
    return declared(**{name: value for name, value in values.items() if name in declared.__struct_fields__})


def masked(settings: SettingsDeclaration) -> dict[str, Any]:
    """The values for an answer: camelCase, each secret as its mask, or "" when it is not set."""
    values = {field.name: (field, getattr(settings, field.attribute)) for field in fields_of(type(settings))}
    return {
        name: shown_secret(field, value) if field.secret and value else value for name, (field, value) in values.items()
    }


def shown_secret(field: SettingField, value: str) -> str:
    """The mask; of an address with its host. Sent back unchanged, it changes nothing."""
    if not field.url:
        return MASK
    scheme, _, rest = value.partition("://")
    return f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0]}/{MASK}"


def secrets_of(settings: SettingsDeclaration) -> list[str]:
    """Every secret value, and each word of it, longest first: for striking them out of text.

    Of an address the parts that are so long that they are keys rather than words.
    """
    values = [(field, getattr(settings, field.attribute)) for field in fields_of(type(settings)) if field.secret]
    words = {
        word
        for field, value in values
        for word in [value, *(ADDRESS_KEY.findall(value.partition("://")[2]) if field.url else _words(value))]
    }
    words = {word for word in words if len(word) >= SHORTEST_STRUCK}
    return sorted(words | {form for word in words for form in _encoded(word)}, key=len, reverse=True)


def _words(value: str) -> list[str]:
    """Also as they are without the marks of JSON around them: a secret may be several of them."""
    words = value.split()
    return words + [word.strip('{}[]":,') for word in words]


def _encoded(word: str) -> set[str]:
    """As it is in a query, and as what every text in base64 has that holds it: basic authentication is sent so."""
    forms = {quote(word, safe=""), quote_plus(word), json.dumps(word)[1:-1]}
    raw = word.encode()
    for before in range(3):  # of a character of base64, what stands before and after the word is a part
        whole = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        forms.add(whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6])
    return {form for form in forms if len(form) >= SHORTEST_STRUCK}


def strike(text: str, secrets: Sequence[str]) -> str:
    """The text without any of the secrets, also where it was cut off in the middle of one."""
    for word in secrets if text else ():
        if word[:SHORTEST_CUT] not in text:  # nearly always, and far sooner known than replaced
            continue
        text = text.replace(word, MASK)
        cut = text.rfind(word[:SHORTEST_CUT], max(len(text) - len(word), 0))
        if cut >= 0 and word.startswith(text[cut:]):
            text = text[:cut] + MASK
    return text


def described(declared: type[SettingsDeclaration]) -> list[dict[str, Any]]:
    """The fields for a catalogue card or a form."""
    names = ("name", "label", "help", "type", "required", "default", "secret", "url", "choices", "minimum", "maximum")
    return [{name: getattr(field, name) for name in names} for field in fields_of(declared)]


def json_schema(declared: type[SettingsDeclaration]) -> dict[str, Any]:
    """The same as JSON Schema, for the API's documentation and for clients that check before they send."""
    _, components = msgspec.json.schema_components([declared])
    schema: dict[str, Any] = components[declared.__name__]
    del schema["title"]  # generators of clients name their classes by it, and the API uses a schema in several places
    return schema


def camel(name: str) -> str:
    """The API's name of a stored setting."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _named(message: str, fields: Mapping[str, SettingField]) -> InvalidSetting:
    """msgspec's error for the user: which field, and what it has to be. It never repeats the value."""
    if unknown := re.search(r"unknown field `(.*)`", message):
        return InvalidSetting(unknown[1], "There is no such setting")
    if missing := re.search(r"missing required field `(\w+)`", message):
        return InvalidSetting(missing[1], "This setting is required")
    field = fields[message.rsplit("`$.", 1)[1].rstrip("`")]
    if field.choices:
        return InvalidSetting(field.name, f"Must be one of {', '.join(field.choices)}")
    if field.type == "boolean":
        return InvalidSetting(field.name, "Must be true or false")
    if field.type == "integer":
        bounds = f" between {field.minimum} and {field.maximum}" if field.maximum is not None else ""
        return InvalidSetting(field.name, f"Must be a whole number{bounds}")
    return InvalidSetting(field.name, f"Must be text of at most {field.max_length} characters")
