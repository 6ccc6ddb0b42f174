"""PURE. What of a person a subscription sends, and whose: identifiers, fields, filters, consent, and how many at once.

It is kept as JSON, in the names of the API. What is not said is as it always was: every user id and e-mail address
(and anonymous id, where the audience includes anonymous people), nothing besides, everybody, without a limit.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from destinations.rules.contract import FieldNames
from destinations.rules.mapping import (
    Algorithm,
    AnyValue,
    MappingFacts,
    Normaliser,
    as_text,
    check_value,
    digest,
    roots,
    trait_of,
)
from spaces.settings_schema import InvalidSetting

MOST_IDENTIFIERS, MOST_FIELDS, MOST_FILTERS = 20, 50, 10  # fields: as many mappings as the original takes
MOBILE = ("ios.idfa", "android.idfa", "ios.id", "android.id")  # advertising ids first
ANY = "*"  # among the identifiers of an adapter: it takes those of any other type as well
CONSENTING = ("true", "yes", "granted", "1")  # how a trait says so, when it is text
NO_CONSENT = "No consent"
NAME = re.compile(r"[^\s\0](?:[^\0\n\r]{0,198}[^\s\0])?")
TYPE = re.compile(r"[A-Za-z0-9_.\-]{1,60}")
FIELD_NAMES = FieldNames()
NORMALISED: dict[str, Normaliser] = {"email": "lower", "phone": "phone"}  # before they are hashed; others as they are

Which = Literal["all", "first", "last"]
Operator = Literal["is", "is_not", "at_least", "at_most", "contains", "exists", "absent"]
OPERATORS: dict[str, str] = {
    "is": "is",
    "is_not": "is not",
    "at_least": "is at least",
    "at_most": "is at most",
    "contains": "contains",
    "exists": "is there",
    "absent": "is not there",
}


class IdentifierRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A type of identifier that goes: all of a person's, or the first or the last that came.

    hash: it is sent only as this digest. name: a field over there that is given it as well; "" = none.
    """

    type: str
    which: Which = "all"
    hash: Literal["none", "sha256", "md5"] = "none"
    name: str = ""

    def shown(self, value: str) -> str:
        """The value as it goes out."""
        algorithm: Algorithm | None = self.hash if self.hash != "none" else None
        return digest(value, algorithm, NORMALISED.get(self.type, "none")) if algorithm else value


class FieldRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A field over there, in `traits` and `properties`, and what it is filled with."""

    to: str
    value: AnyValue


class PersonFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Only people of whom this is true go. A list is, or contains, what one of its values is or contains."""

    trait: str
    operator: Operator
    value: str | int | float | bool | None = None

    def holds(self, traits: Mapping[str, Any]) -> bool:
        actual = trait_of(traits, self.trait)
        if self.operator in ("exists", "absent"):
            return (actual is None or actual == "") == (self.operator == "absent")
        # A person may have several: one that matches is enough, and for "is not" one that matches is too many.
        values = actual if isinstance(actual, list) else [actual]
        if self.operator == "is_not":
            return not any(_same(value, self.value) for value in values)
        return any(self._compared(value) for value in values if value is not None)

    def sentence(self) -> str:
        asked = "" if self.operator in ("exists", "absent") else f" {as_text(self.value)}"
        return f"{self.trait} {OPERATORS[self.operator]}{asked}"

    def _compared(self, actual: Any) -> bool:
        if self.operator == "is":
            return _same(actual, self.value)
        if self.operator == "contains":
            return as_text(self.value).lower() in as_text(actual).lower()
        number, bound = _number(actual), _number(self.value)
        # Dates in ISO 8601 are in the order of their text.
        low, high = (as_text(actual), as_text(self.value)) if None in (number, bound) else (number, bound)
        return bool(low >= high if self.operator == "at_least" else low <= high)  # type: ignore[operator]


class SendingRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """All of it. identifiers: none = as always. mobile: the ids of telephones go as well. only: all must be true.

    consent: a trait that must say yes, such as `consent.marketing`; "" = none is asked for. cap_percent: changes about
    more than so many per cent of the space's people wait for somebody's nod; 0 = they never do.
    """

    identifiers: tuple[IdentifierRule, ...] = ()
    mobile: bool = False
    fields: tuple[FieldRule, ...] = ()
    only: tuple[PersonFilter, ...] = ()
    consent: str = ""
    cap_percent: int = 0

    def by_type(self, known: Sequence[str], *, usual: Sequence[str]) -> dict[str, IdentifierRule]:
        """{type: how it goes} of those that a destination knows. usual: which go where none is chosen."""
        # What is chosen takes the place of what usually goes: somebody may want addresses alone.
        rules = {rule.type: rule for rule in self.identifiers} or {type: IdentifierRule(type) for type in usual}
        if self.mobile:
            rules |= {type: IdentifierRule(type) for type in MOBILE if type not in rules}
        return {type: rule for type, rule in rules.items() if type in known or ANY in known}

    @property
    def traits(self) -> set[str]:
        """Every trait that is asked for, in fields, filters and consent."""
        asked = set().union(*(rule.value.traits() for rule in self.fields))
        return roots(asked | self.deciding)

    @property
    def deciding(self) -> set[str]:
        """Those that decide whether somebody goes."""
        return {rule.trait for rule in self.only} | ({self.consent} if self.consent else set())

    def kept_out(self, traits: Mapping[str, Any]) -> str:
        """Why somebody with these traits does not go; "" = they do."""
        if self.consent:
            stated = trait_of(traits, self.consent)
            # Anything that is no clear yes is a no. True and 1 are equal.
            if stated != 1 and not (isinstance(stated, str) and stated.strip().lower() in CONSENTING):
                return f"{NO_CONSENT}: {self.consent}"
        failing = next((rule for rule in self.only if not rule.holds(traits)), None)
        return f"Filtered: not {failing.sentence()}" if failing else ""

    def named(self) -> list[tuple[str, str]]:
        """(path, name) of each field over there."""
        identifiers = [
            (f"identifiers[{place}].name", rule.name) for place, rule in enumerate(self.identifiers) if rule.name
        ]
        return identifiers + [(f"fields[{place}].to", rule.to) for place, rule in enumerate(self.fields)]

    @property
    def fills(self) -> bool:
        """Whether anything goes besides."""
        return bool(self.fields or any(rule.name for rule in self.identifiers))

    def filled(self, facts: MappingFacts) -> dict[str, Any]:
        """{field over there: value} for one change. What there is no value for is left out."""
        named = {rule.name: facts.identifiers.get(rule.type) for rule in self.identifiers if rule.name}
        values = named | {rule.to: rule.value.comes_to(facts) for rule in self.fields}
        return {name: value for name, value in values.items() if value is not None}


class InvalidSending(InvalidSetting):
    """Something in the rules is wrong; `field` is its path in them."""

    inside = "sending"


def parse_sending(given: object, *, known: Sequence[str], names: FieldNames | None = FIELD_NAMES) -> SendingRules:
    """known: the types of identifiers that the destination knows. names: of its fields; None = it takes none.

    Raises InvalidSending with a path: `fields[1].to`.
    """
    try:
        rules = msgspec.convert(given, SendingRules)
        _check(rules, known)
        for path, name in rules.named():
            if names is None:
                raise InvalidSetting(path, "This destination is told who is in it, and nothing besides")
            if not names.allow(name):
                raise InvalidSetting(path, names.sentence)
    except msgspec.ValidationError as error:
        # msgspec tells the place in its message alone.
        message, _, at = str(error).partition(" - at `$")
        raise InvalidSending(at.rstrip("`").lstrip("."), message) from error
    # Raised while the JSON is converted, before the depth of a value can be counted.
    except RecursionError as error:
        raise InvalidSending("fields", "Values are nested too deep") from error
    except InvalidSetting as error:
        raise InvalidSending(error.field, str(error)) from error
    return rules


def _check(rules: SendingRules, known: Sequence[str]) -> None:
    """What the types alone do not say. Raises InvalidSetting."""
    _check_bounds(rules)
    for place, rule in enumerate(rules.identifiers):
        path = f"identifiers[{place}]"
        if not TYPE.fullmatch(rule.type):
            raise InvalidSetting(f"{path}.type", "Must be a type of identifier, such as phone")
        if rule.type not in known and ANY not in known:
            raise InvalidSetting(f"{path}.type", f"This destination knows {', '.join(known)}")
        if rule.hash != "none" and ANY not in known:
            # Hashed twice, or where the tool wants it in clear, it would find nobody.
            raise InvalidSetting(f"{path}.hash", "This destination takes it as it is, and hashes it where it has to be")
        if rule.name:
            _check_name(rule.name, f"{path}.name")
    for place, field in enumerate(rules.fields):
        _check_name(field.to, f"fields[{place}].to")
        check_value(field.value, f"fields[{place}].value")
    for place, only in enumerate(rules.only):
        _check_name(only.trait, f"only[{place}].trait")
        if only.operator not in ("exists", "absent") and only.value in (None, ""):
            raise InvalidSetting(f"only[{place}].value", "Must not be empty")
    if rules.consent:
        _check_name(rules.consent, "consent")


def load_sending(stored: Mapping[str, Any]) -> SendingRules:
    """As it was saved; it was valid then."""
    return msgspec.convert(stored, SendingRules)


def sending_json(rules: SendingRules) -> dict[str, Any]:
    """As the API shows it."""
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(rules))
    return shown


def _check_bounds(rules: SendingRules) -> None:
    bounds = (
        ("identifiers", MOST_IDENTIFIERS, [rule.type for rule in rules.identifiers]),
        ("fields", MOST_FIELDS, [rule.to for rule in rules.fields]),
        ("only", MOST_FILTERS, None),
    )
    for name, most, unique in bounds:
        if len(getattr(rules, name)) > most:
            raise InvalidSetting(name, f"Must be at most {most}")
        if unique and len(set(unique)) < len(unique):
            # The path leads to the later one: that is the row which was just added.
            twice = next(value for place, value in enumerate(unique) if value in unique[:place])
            raise InvalidSetting(f"{name}[{len(unique) - 1 - unique[::-1].index(twice)}]", f"{twice} is there twice")
    if not 0 <= rules.cap_percent <= 100:
        raise InvalidSetting("capPercent", "Must be a whole number between 0 and 100")


def _check_name(name: str, path: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidSetting(path, "Must be a name of at most 200 characters")


def _same(actual: Any, wanted: Any) -> bool:
    """As text, so that what a form gave is what a sender sent; texts whatever their capitals."""
    return actual is not None and as_text(actual).lower() == as_text(wanted).lower()


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def named_types(rules: Iterable[IdentifierRule], which: Which) -> Iterator[str]:
    """The types of which this one of a person's identifiers goes."""
    return (rule.type for rule in rules if rule.which == which)
