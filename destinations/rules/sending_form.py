"""PURE. The rules of what is sent as rows of a form, and back: names of inputs as `field-2-kind`.

A row says one source of a value, what else to take for want of it, and one function. A value that is made otherwise is
shown as its JSON, so that nothing that the API has saved is lost by opening the form.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from destinations.rules.sending import SendingRules
from spaces.settings_schema import InvalidSetting

SOURCES = {
    "trait": "Trait",
    "property": "Property",
    "identifier": "Identifier",
    "static": "Fixed text",
    "template": "Template",
    "formula": "Formula (JSON)",
}
# Of which fields of a value a source is made.
ARGUMENTS = {"trait": "key", "property": "name", "identifier": "type", "static": "value", "template": "text"}
FUNCTIONS = {
    "": "As it is",
    "upper": "In capitals",
    "lower": "In small letters",
    "date": "As a date",
    "replace": "Replace a text",
    "sha256": "SHA-256",
    "md5": "MD5",
}


@dataclass(frozen=True)
class FieldRow:
    """A row of the form as text. argument, by: of the function; of a hash how it is normalised."""

    to: str = ""
    kind: str = "trait"
    what: str = ""
    otherwise: str = ""
    function: str = ""
    argument: str = ""
    by: str = ""

    @property
    def empty(self) -> bool:
        return not (self.to or self.what)


@dataclass(frozen=True)
class FilterRow:
    """A filter as text."""

    trait: str = ""
    operator: str = "is"
    value: str = ""

    @property
    def empty(self) -> bool:
        return not (self.trait or self.value)


@dataclass(frozen=True)
class IdentifierChoice:
    """A type of identifier, ticked when it goes. own: its type is typed in."""

    type: str
    goes: bool = False
    which: str = "all"
    hash: str = "none"
    name: str = ""
    own: bool = False


@dataclass(frozen=True)
class SendingRows:
    """All rows of the form, also the empty ones that wait to be filled in."""

    identifiers: Sequence[IdentifierChoice]
    fields: Sequence[FieldRow]
    only: Sequence[FilterRow]
    mobile: bool
    consent: str
    cap_percent: str


def rows_of(rules: SendingRules, types: Sequence[str]) -> SendingRows:
    """The rows of saved rules. types: of identifiers that are offered."""
    chosen = {rule.type: rule for rule in rules.identifiers}
    offered = dict.fromkeys([*types, *chosen])
    return SendingRows(
        identifiers=[
            *(
                IdentifierChoice(type, True, rule.which, rule.hash, rule.name) if rule else IdentifierChoice(type)
                for type in offered
                for rule in [chosen.get(type)]
            ),
            IdentifierChoice("", own=True),
        ],
        fields=[*(_field_row(rule.to, msgspec.to_builtins(rule.value)) for rule in rules.fields), FieldRow()],
        only=[
            *(FilterRow(rule.trait, rule.operator, _text(rule.value)) for rule in rules.only),
            FilterRow(),
        ],
        mobile=rules.mobile,
        consent=rules.consent,
        cap_percent=str(rules.cap_percent or ""),
    )


def rows_given(given: Callable[[str], str], *, more: bool = False) -> SendingRows:
    """The rows as they were sent. given(name) -> the text of an input, "" for none. more: with one row more."""
    # Empty rows are dropped here already, so that the place in an error is that of the row on the page.
    fields = [row for row in _numbered(given, "field", _field_given) if not row.empty]
    filters = _numbered(
        given,
        "only",
        lambda part: FilterRow(part("trait").strip(), part("operator") or "is", part("value").strip()),
    )
    only = [row for row in filters if not row.empty]
    identifiers = _numbered(given, "identifier", _identifier_given)
    return SendingRows(
        identifiers=[row for row in identifiers if not row.own or row.type] + [IdentifierChoice("", own=True)],
        fields=[*fields, *([FieldRow()] * (2 if more else 1))],
        only=[*only, *([FilterRow()] * (2 if more else 1))],
        mobile=bool(given("mobile")),
        consent=given("consent").strip(),
        cap_percent=given("cap_percent").strip(),
    )


def sending_of(rows: SendingRows) -> dict[str, Any]:
    """The rules as the API takes them. Raises InvalidSetting for what is not even JSON, or no number."""
    fields = [row for row in rows.fields if not row.empty]
    if rows.cap_percent and not (rows.cap_percent.isascii() and rows.cap_percent.isdigit()):
        raise InvalidSetting("capPercent", "Must be a whole number between 0 and 100")
    return {
        "identifiers": [
            {"type": row.type, "which": row.which, "hash": row.hash, "name": row.name}
            for row in rows.identifiers
            if row.goes or (row.own and row.type)
        ],
        "mobile": rows.mobile,
        "fields": [{"to": row.to, "value": _value(row, f"fields[{place}].value")} for place, row in enumerate(fields)],
        "only": [
            {
                "trait": row.trait,
                "operator": row.operator,
                # What a form sends along with these is left from another choice.
                **({} if row.operator in ("exists", "absent") else {"value": row.value}),
            }
            for row in rows.only
            if not row.empty
        ],
        "consent": rows.consent,
        "capPercent": int(rows.cap_percent or 0),
    }


def _numbered(given: Callable[[str], str], name: str, row: Callable[[Callable[[str], str]], Any]) -> list[Any]:
    count = given(f"{name}-count")
    # Anything may be sent as the number of rows.
    last = min(int(count), 100) if count.isascii() and count.isdigit() and len(count) < 4 else 0
    return [row(lambda part, place=place: given(f"{name}-{place}-{part}")) for place in range(last)]  # type: ignore[misc]


def _field_given(part: Callable[[str], str]) -> FieldRow:
    kind, function = part("kind"), part("function")
    return FieldRow(
        to=part("to").strip(),
        # A select can be sent with anything; what is not offered is the first that is.
        kind=kind if kind in SOURCES else "trait",
        what=part("what").strip(),
        otherwise=part("otherwise").strip(),
        function=function if function in FUNCTIONS else "",
        argument=part("argument"),
        by=part("by"),
    )


def _identifier_given(part: Callable[[str], str]) -> IdentifierChoice:
    return IdentifierChoice(
        type=part("type").strip(),
        goes=bool(part("goes")),
        which=part("which") or "all",
        hash=part("hash") or "none",
        name=part("name").strip(),
        own=bool(part("own")),
    )


def _value(row: FieldRow, path: str) -> Any:
    """The value that a row means."""
    if row.kind == "formula":
        try:
            return json.loads(row.what)
        except ValueError as error:
            raise InvalidSetting(path, f"Must be JSON: {error}") from error
    value: dict[str, Any] = {"kind": row.kind, ARGUMENTS[row.kind]: row.what}
    if row.otherwise:
        # A text for want of it, before any function: so it is cased and hashed like the value itself.
        value = {"kind": "coalesce", "of": [value, {"kind": "static", "value": row.otherwise}]}
    if row.function in ("upper", "lower"):
        return {"kind": "case", "of": value, "to": row.function}
    if row.function in ("sha256", "md5"):
        return {"kind": "hash", "of": value, "algorithm": row.function, "normalise": row.argument.strip() or "none"}
    if row.function == "date":
        return {"kind": "date", "of": value, "format": row.argument.strip() or "iso"}
    if row.function == "replace":
        return {"kind": "replace", "of": value, "find": row.argument, "by": row.by}
    return value


def _field_row(to: str, value: Mapping[str, Any]) -> FieldRow:
    """The row that means this value; its JSON when none does."""
    # The reverse of `_value`: what it would not make, no row can show.
    function, argument, by, inner = _function_of(value)
    otherwise = ""
    if inner["kind"] == "coalesce" and len(inner["of"]) == 2 and _is_text(inner["of"][1]):
        otherwise, inner = inner["of"][1]["value"], inner["of"][0]
    plain = inner["kind"] in ARGUMENTS and (inner["kind"] != "static" or _is_text(inner))
    if not plain:
        return FieldRow(to, "formula", json.dumps(value, ensure_ascii=False))
    return FieldRow(to, inner["kind"], inner[ARGUMENTS[inner["kind"]]], otherwise, function, argument, by)


def _function_of(value: Mapping[str, Any]) -> tuple[str, str, str, Mapping[str, Any]]:
    """(function, its argument, the other one, what it is made of)."""
    kind = value["kind"]
    if kind == "case":
        return value["to"], "", "", value["of"]
    if kind == "hash":
        return value["algorithm"], value["normalise"], "", value["of"]
    if kind == "date":
        return "date", value["format"], "", value["of"]
    if kind == "replace":
        return "replace", value["find"], value["by"], value["of"]
    return "", "", "", value


def _is_text(value: Mapping[str, Any]) -> bool:
    return value["kind"] == "static" and isinstance(value["value"], str) and bool(value["value"])


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
