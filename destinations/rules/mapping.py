"""PURE. What a field over there is filled with: a value in a closed grammar of JSON, evaluated for one change.

    {"kind": "coalesce", "of": [{"kind": "trait", "key": "plan"}, {"kind": "static", "value": "free"}]}

A kind is a class: what it takes, and what it comes to. There are no expressions and no scripts; what is nested too deep
or longer than a bound is refused when it is saved, so that nothing here can take long when a million people are sent.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import msgspec

from spaces.settings_schema import InvalidSetting

DEEPEST = 5  # of one value in another
MOST_PARTS = 10  # of a coalesce or a concatenation
LONGEST = 1000  # characters of a text or a template, as in the original's templates
LONGEST_RESULT = 10_000  # characters: a concatenation of templates of long traits ends here

Property = Literal["key", "name", "id", "kind", "space", "entering", "value", "at"]
PROPERTIES: tuple[str, ...] = ("key", "name", "id", "kind", "space", "entering", "value", "at")
PLACEHOLDER = re.compile(r"\{\{\s*(trait|property|identifier)\.([^{}]{1,200}?)\s*\}\}")
DIRECTIVES = re.compile(r"%(?:[YmdHMSyjBbAaIp%])")  # of strftime; none that depends on the machine
NORMALISERS = ("none", "lower", "digits", "phone")
Normaliser = Literal["none", "lower", "digits", "phone"]
Algorithm = Literal["sha256", "md5"]


@dataclass(frozen=True)
class MappingFacts:
    """What a value may be made of, for one change.

    traits: of the person, custom, computed and of SQL. properties: of the audience or computed trait, and of the change
    (PROPERTIES). identifiers: {type: value} that the call is about.
    """

    traits: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    identifiers: Mapping[str, str] = field(default_factory=dict)


class MappedValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", rename="camel"):
    """The base of all kinds."""

    parts: ClassVar[tuple[str, ...]] = ()  # the fields that hold values in turn

    def comes_to(self, facts: MappingFacts) -> Any:
        """The value for one change; None = there is none, and the field is not sent."""
        raise NotImplementedError

    def check(self, path: str) -> None:
        """Raises InvalidSetting with the path of what is wrong in it, besides its types."""

    def children(self) -> Iterator[tuple[str, "MappedValue"]]:
        """(path below this one, value) of what is in it."""
        for name in self.parts:
            inside = getattr(self, name)
            if isinstance(inside, MappedValue):
                yield f".{name}", inside
            else:
                yield from ((f".{name}[{place}]", value) for place, value in enumerate(inside))

    def traits(self) -> set[str]:
        """The traits that it asks for, as they are written."""
        return set().union(*(child.traits() for _, child in self.children()))


class StaticValue(MappedValue, frozen=True, tag="static"):
    """The same for everybody."""

    value: str | int | float | bool

    def comes_to(self, facts: MappingFacts) -> Any:
        return self.value

    def check(self, path: str) -> None:
        _bounded(str(self.value), f"{path}.value")


class TraitValue(MappedValue, frozen=True, tag="trait"):
    """A trait of the person. `consent.marketing` is the trait of that name, or else what is inside `consent`."""

    key: str

    def comes_to(self, facts: MappingFacts) -> Any:
        return trait_of(facts.traits, self.key)

    def check(self, path: str) -> None:
        _bounded(self.key, f"{path}.key", empty=False)

    def traits(self) -> set[str]:
        return {self.key}


class ComputationValue(MappedValue, frozen=True, tag="property"):
    """What is said: the key or name of the audience, its id, whether somebody enters, the computed value, when."""

    name: Property

    def comes_to(self, facts: MappingFacts) -> Any:
        return facts.properties.get(self.name)


class IdentifierValue(MappedValue, frozen=True, tag="identifier"):
    """An identifier that the call is about; none when the call does without it."""

    type: str

    def comes_to(self, facts: MappingFacts) -> Any:
        return facts.identifiers.get(self.type)

    def check(self, path: str) -> None:
        _bounded(self.type, f"{path}.type", empty=False)


class TemplateValue(MappedValue, frozen=True, tag="template"):
    """A text with {{trait.x}}, {{property.x}} and {{identifier.x}} in it. What there is none of is left empty."""

    text: str

    def comes_to(self, facts: MappingFacts) -> Any:
        return PLACEHOLDER.sub(lambda match: as_text(self._asked(match, facts)), self.text)[:LONGEST_RESULT]

    def check(self, path: str) -> None:
        _bounded(self.text, f"{path}.text", empty=False)
        rest = PLACEHOLDER.sub("", self.text)
        if "{{" in rest or "}}" in rest:
            raise InvalidSetting(
                f"{path}.text", "Between {{ and }} there must be trait., property. or identifier. and a name"
            )
        for match in PLACEHOLDER.finditer(self.text):
            if match[1] == "property" and match[2] not in PROPERTIES:
                raise InvalidSetting(f"{path}.text", f"There is no property {match[2]}: {', '.join(PROPERTIES)}")

    def traits(self) -> set[str]:
        return {match[2] for match in PLACEHOLDER.finditer(self.text) if match[1] == "trait"}

    def _asked(self, match: "re.Match[str]", facts: MappingFacts) -> Any:
        if match[1] == "trait":
            return trait_of(facts.traits, match[2])
        return (facts.properties if match[1] == "property" else facts.identifiers).get(match[2])


class CoalesceValue(MappedValue, frozen=True, tag="coalesce"):
    """The first of these that there is."""

    parts = ("of",)

    of: "tuple[AnyValue, ...]"

    def comes_to(self, facts: MappingFacts) -> Any:
        # Lazily: what comes after the first that there is need not be worked out.
        values = (value.comes_to(facts) for value in self.of)
        return next((value for value in values if value not in (None, "")), None)

    def check(self, path: str) -> None:
        _counted(self.of, f"{path}.of")


class ConcatenatedValue(MappedValue, frozen=True, tag="concatenate"):
    """These one after the other; what there is none of is left out, with the text between."""

    parts = ("of",)

    of: "tuple[AnyValue, ...]"
    between: str = ""

    def comes_to(self, facts: MappingFacts) -> Any:
        texts = [as_text(value.comes_to(facts)) for value in self.of]
        return self.between.join(text for text in texts if text)[:LONGEST_RESULT] or None

    def check(self, path: str) -> None:
        _counted(self.of, f"{path}.of")
        _bounded(self.between, f"{path}.between")


class CasedValue(MappedValue, frozen=True, tag="case"):
    """In capitals, or in small letters."""

    parts = ("of",)

    of: "AnyValue"
    to: Literal["upper", "lower"]

    def comes_to(self, facts: MappingFacts) -> Any:
        value = self.of.comes_to(facts)
        return None if value is None else as_text(value).upper() if self.to == "upper" else as_text(value).lower()


class ReplacedValue(MappedValue, frozen=True, tag="replace"):
    """With another text wherever one is found."""

    parts = ("of",)

    of: "AnyValue"
    find: str
    by: str = ""

    def comes_to(self, facts: MappingFacts) -> Any:
        value = self.of.comes_to(facts)
        return None if value is None else as_text(value).replace(self.find, self.by)[:LONGEST_RESULT]

    def check(self, path: str) -> None:
        _bounded(self.find, f"{path}.find", empty=False)
        _bounded(self.by, f"{path}.by")


class DateValue(MappedValue, frozen=True, tag="date"):
    """A date as the tool wants it, in UTC: ISO 8601, or seconds or milliseconds since 1970, or by strftime's letters.

    What is read is ISO 8601, or a number of seconds or, when it is too large for that, of milliseconds.
    """

    parts = ("of",)

    of: "AnyValue"
    format: str = "iso"

    def comes_to(self, facts: MappingFacts) -> Any:
        at = _moment(self.of.comes_to(facts))
        if at is None:
            return None
        if self.format in ("seconds", "milliseconds"):
            return int(at.timestamp() * (1000 if self.format == "milliseconds" else 1))
        # As most tools write it; both forms are ISO 8601.
        return at.isoformat().replace("+00:00", "Z") if self.format == "iso" else at.strftime(self.format)

    def check(self, path: str) -> None:
        if self.format in ("iso", "seconds", "milliseconds"):
            return
        if len(self.format) > 50 or "%" not in self.format or "%" in DIRECTIVES.sub("", self.format):
            raise InvalidSetting(
                f"{path}.format", "Must be iso, seconds, milliseconds, or letters of strftime such as %Y-%m-%d"
            )


class HashedValue(MappedValue, frozen=True, tag="hash"):
    """The hexadecimal digest of a text, made alike before: tools compare digests, so that one space more finds nobody.

    normalise: lower = trimmed and in small letters, as e-mail addresses are; digits = of a number nothing else;
    phone = these after a plus sign.
    """

    parts = ("of",)

    of: "AnyValue"
    algorithm: Algorithm = "sha256"
    normalise: Normaliser = "none"

    def comes_to(self, facts: MappingFacts) -> Any:
        value = self.of.comes_to(facts)
        # No digest of nothing: it would be the same for everybody, and tools would take them for one person.
        return None if value in (None, "") else digest(as_text(value), self.algorithm, self.normalise)


AnyValue = (
    StaticValue
    | TraitValue
    | ComputationValue
    | IdentifierValue
    | TemplateValue
    | CoalesceValue
    | ConcatenatedValue
    | CasedValue
    | ReplacedValue
    | DateValue
    | HashedValue
)


def check_value(value: MappedValue, path: str, depth: int = 1) -> None:
    """Raises InvalidSetting with the path of the first thing that is wrong, such as `fields[2].value.of[1].format`."""
    if depth > DEEPEST:
        raise InvalidSetting(path, f"At most {DEEPEST} values may be one in another")
    value.check(path)
    for below, child in value.children():
        check_value(child, path + below, depth + 1)


def trait_of(traits: Mapping[str, Any], key: str) -> Any:
    """The trait of this name, else what is at this path inside one: `consent.marketing`. None when there is neither."""
    if key in traits:
        return traits[key]
    inside: Any = traits
    for name in key.split("."):
        if not isinstance(inside, Mapping):
            return None
        inside = inside.get(name)
    return inside


def roots(keys: set[str]) -> set[str]:
    """Every trait that may hold one of these: the trait of that name, and that of its first part."""
    # Both may hold it, and which one does only the traits of the person say.
    return {name for key in keys for name in (key, key.split(".")[0])}


def digest(text: str, algorithm: Algorithm, normalise: Normaliser) -> str:
    # MD5 because tools compare by it. Nothing is kept safe with it: the flag says so to a FIPS build of Python.
    return hashlib.new(algorithm, normalised(text, normalise).encode(), usedforsecurity=False).hexdigest()


def normalised(text: str, how: Normaliser) -> str:
    if how == "none":
        return text
    digits = re.sub(r"[^0-9]", "", text)
    return {"lower": text.strip().lower(), "digits": digits, "phone": f"+{digits}"}[how]


def as_text(value: Any) -> str:
    """As people write it: true and false, no `.0` after a whole number, "" of nothing, the values of a list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ", ".join(map(as_text, value))
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)


def _moment(value: Any) -> datetime | None:
    """None of what is no date."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            # Seconds of the year 5000 are fewer than the milliseconds of April 1973.
            return datetime.fromtimestamp(value / 1000 if abs(value) >= 1e11 else value, UTC)
        at = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _bounded(text: str, path: str, *, empty: bool = True) -> None:
    if len(text) > LONGEST or (not empty and not text.strip()):
        raise InvalidSetting(path, f"Must be {'' if empty else 'text, and '}at most {LONGEST} characters long")
    if "\0" in text:
        raise InvalidSetting(path, "Must not contain a null character")


def _counted(of: Sequence[MappedValue], path: str) -> None:
    if not 1 <= len(of) <= MOST_PARTS:
        raise InvalidSetting(path, f"Must have from 1 to {MOST_PARTS} values")
