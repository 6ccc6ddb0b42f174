"""PURE. Settings declared once, as a dataclass; form, validation, API schema and catalogue card derive from it."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, get_type_hints

MASK = "••••••••"  # stands for a secret in every answer; sent back unchanged, it changes nothing


@dataclass(frozen=True)
class Label:
    """What a field says about itself besides its type."""

    label: str
    help: str = ""
    secret: bool = False
    choices: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    longest: int = 2000
    url: bool = False  # an address that we are to call
    make: Callable[[], str] | None = None  # fills the field when it is left empty


class InvalidSetting(ValueError):
    """`field` is named as the API names it; "" when several together are at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def field(label: str, *, default: Any = MISSING, **more: Any) -> Any:
    """A setting that everyone who may read the destination sees."""
    return dataclasses.field(default=default, metadata={"label": Label(label, **more)})


def secret(label: str, *, default: Any = MISSING, **more: Any) -> Any:
    """A setting that is never shown again, logged or put into an error."""
    return dataclasses.field(default=default, metadata={"label": Label(label, secret=True, **more)})


def parse(declared: type[Any], given: Mapping[str, Any], kept: Mapping[str, Any] | None = None) -> Any:
    """An instance from what an API call or a form gave, names in camelCase.

    kept: the present values, which count where nothing, or the mask of a secret, is given.
    Raises InvalidSetting. A `check(self)` of the dataclass is called last and may raise it too.
    """
    fields = {camel(each.name): each for each in dataclasses.fields(declared)}
    for name in given:
        if name not in fields:
            raise InvalidSetting(name, "There is no such setting")
    values = {
        each.name: _value(name, each, _type(declared, each.name), given, kept or {}) for name, each in fields.items()
    }
    made = declared(**values)
    check = getattr(made, "check", None)
    if check:
        check()
    return made


def stored(declared: type[Any], values: Mapping[str, Any]) -> Any:
    """An instance from what is kept; a setting that is newer than the row takes its default."""
    names = {each.name for each in dataclasses.fields(declared)}
    return declared(**{name: value for name, value in values.items() if name in names})


def shown(settings: Any) -> dict[str, Any]:
    """The values for an answer: camelCase, each secret as its mask, or "" when it is not set."""
    return {
        camel(each.name): _shown(label(each), getattr(settings, each.name)) for each in dataclasses.fields(settings)
    }


def _shown(about: Label, value: Any) -> Any:
    return MASK if about.secret and value else value


def secrets_of(settings: Any) -> list[str]:
    """Every secret value, and each word of it, for striking it out of text."""
    found = [getattr(settings, each.name) for each in dataclasses.fields(settings) if label(each).secret]
    words = [word for value in found if isinstance(value, str) for word in [value, *value.split()]]
    return sorted({word for word in words if len(word) >= 4}, key=len, reverse=True)


def struck(text: str, secrets: list[str]) -> str:
    """The text without any of the secrets."""
    for each in secrets:
        text = text.replace(each, MASK)
    return text


def described(declared: type[Any]) -> list[dict[str, Any]]:
    """The fields for a catalogue card or a form."""
    return [
        {
            "name": camel(each.name),
            "label": label(each).label,
            "help": label(each).help,
            "type": {str: "string", bool: "boolean", int: "integer"}[_type(declared, each.name)],
            "required": each.default is MISSING,
            "default": None if each.default is MISSING else each.default,
            "secret": label(each).secret,
            "choices": list(label(each).choices),
            "minimum": label(each).low,
            "maximum": label(each).high,
        }
        for each in dataclasses.fields(declared)
    ]


def label(each: "dataclasses.Field[Any]") -> Label:
    found: Label = each.metadata["label"]
    return found


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _type(declared: type[Any], name: str) -> type[Any]:
    found: type[Any] = get_type_hints(declared)[name]
    return found


def _value(
    name: str, each: "dataclasses.Field[Any]", type_: type[Any], given: Mapping[str, Any], kept: Mapping[str, Any]
) -> Any:
    about = label(each)
    value = given.get(name, MISSING)
    if value is MISSING or value is None or (about.secret and value == MASK):
        value = kept.get(each.name, MISSING)
    if value in (MISSING, "") and about.make:
        value = about.make()
    if value is MISSING:
        if each.default is MISSING:
            raise InvalidSetting(name, "This setting is required")
        return each.default
    return _checked(name, about, type_, value, required=each.default is MISSING)


def _checked(name: str, about: Label, type_: type[Any], value: Any, *, required: bool) -> Any:
    if type(value) is not type_:  # not isinstance: True is an int
        raise InvalidSetting(name, f"Must be {({str: 'text', bool: 'true or false', int: 'a whole number'})[type_]}")
    if isinstance(value, str):
        value = value.strip()
        if required and not value:
            raise InvalidSetting(name, "Must not be empty")
        if len(value) > about.longest or "\0" in value:
            raise InvalidSetting(name, f"Must be text of at most {about.longest} characters")
    if about.choices and value not in about.choices:
        raise InvalidSetting(name, f"Must be one of {', '.join(about.choices)}")
    if (about.low is not None and value < about.low) or (about.high is not None and value > about.high):
        raise InvalidSetting(name, f"Must be between {about.low} and {about.high}")
    return value


def json_schema(declared: type[Any]) -> dict[str, Any]:
    """The same as JSON Schema, for the API's documentation and for clients that check before they send."""
    fields = described(declared)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [each["name"] for each in fields if each["required"]],
        "properties": {each["name"]: _property(each) for each in fields},
    }


def _property(described: Mapping[str, Any]) -> dict[str, Any]:
    optional = {
        "description": described["help"],
        "default": described["default"],
        "enum": described["choices"],
        "minimum": described["minimum"],
        "maximum": described["maximum"],
        "writeOnly": described["secret"],
    }
    more = {name: value for name, value in optional.items() if value not in (None, "", [], False) or value is True}
    return {"type": described["type"], "title": described["label"], **more}
