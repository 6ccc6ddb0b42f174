"""Who belongs to an audience, worked out in the slowest and plainest way: one person, one event after the other.

It reads definitions as the API takes them, and shares no line with the product. Times are milliseconds since 1970.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

UNITS = {"minutes": 60_000, "hours": 3_600_000, "days": 86_400_000, "weeks": 604_800_000}
DATE = r"\d{4}-\d\d-\d\d"
TIME = r"\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)"
Json = Any
NOTHING = object()  # a value that is not there


@dataclass(frozen=True)
class Event:
    profile: int
    name: str
    ts: int
    properties: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Trait:
    """A trait as it was set once. stamp: (ts, source, piece, position); the largest is the newest."""

    profile: int
    key: str
    value: Json
    stamp: tuple[int, int, int, int]


@dataclass(frozen=True)
class World:
    """known: of each person's profile whether it has more than an anonymous id. merges: (loser, winner) in order."""

    known: Mapping[int, bool]
    accounts: frozenset[int] = frozenset()
    merges: Sequence[tuple[int, int]] = ()
    events: Sequence[Event] = ()
    traits: Sequence[Trait] = ()

    def person(self, number: int) -> int:
        """The profile that is left of this one."""
        for loser, winner in self.merges:
            if number == loser:
                number = winner
        return number

    def people(self) -> set[int]:
        return {self.person(number) for number in self.known}

    def numbers(self, people: Iterable[int]) -> set[int]:
        """All profiles that these people ever were."""
        wanted = set(people)
        return {number for number in {*self.known, *self.accounts} if self.person(number) in wanted}


@dataclass(frozen=True)
class Moment:
    """The world at one time. others: who is in the audiences that a definition may ask about."""

    world: World
    now: int
    others: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def members(self, definition: Json, *, include_anonymous: bool = False) -> set[int]:
        found = set()
        for person in self.world.people():
            counts = include_anonymous or any(self.world.known.get(number) for number in self.world.numbers([person]))
            if counts and self.holds(definition, person):
                found.add(person)
        return found

    def holds(self, node: Json, person: int) -> bool:
        if "all" in node:
            return all(self.holds(each, person) for each in node["all"])
        if "any" in node:
            return any(self.holds(each, person) for each in node["any"])
        if "not" in node:
            return not self.holds(node["not"], person)
        return {"event": self.performed, "trait": self.has_trait, "audience": self.is_in}[node["kind"]](node, person)

    def performed(self, node: Json, person: int) -> bool:
        times = sum(1 for event in self.world.events if self.counts(node, person, event))
        if "exactly" in node:
            return times == node["exactly"]
        if "atMost" in node:
            return times <= node["atMost"]
        return times >= node.get("atLeast", 1)

    def counts(self, node: Json, person: int, event: Event) -> bool:
        if self.world.person(event.profile) != person or event.name != node["name"]:
            return False
        if "within" in node:
            ((unit, count),) = node["within"].items()
            if not self.now - count * UNITS[unit] < event.ts <= self.now:
                return False
        return all(answers(each, property_of(event.properties, each["property"])) for each in node.get("where", []))

    def has_trait(self, node: Json, person: int) -> bool:
        key, *inside = node["name"].split(".")
        told = [each for each in self.world.traits if each.key == key and self.world.person(each.profile) == person]
        value = max(told, key=lambda each: each.stamp).value if told else NOTHING
        for name in inside:
            value = value.get(name, NOTHING) if isinstance(value, dict) else NOTHING
        return answers(node, value)

    def is_in(self, node: Json, person: int) -> bool:
        return person in self.others[node["key"]]


def property_of(properties: Mapping[str, Json], name: str) -> Json:
    """What lies at the path. An object without anything in it is not there: the store does not keep it."""
    value: Json = properties
    for part in name.split("."):
        value = value.get(part, NOTHING) if isinstance(value, dict) else NOTHING
    return NOTHING if isinstance(value, dict) and not _anything(value) else value


def _anything(value: Json) -> bool:
    return any(map(_anything, value.values())) if isinstance(value, dict) else value is not None


def answers(question: Json, value: Json) -> bool:
    """Whether the value is as asked. Types are strict: 1 is not "1", and nothing is compared with what is not there."""
    op, asked = question["op"], question.get("value")
    there = value is not NOTHING and value is not None
    if op == "exists":
        return there
    if op == "notExists":
        return not there
    if op in ("notEquals", "notContains"):
        return there and not POSITIVE[{"notEquals": "equals", "notContains": "contains"}[op]](value, asked)
    return there and POSITIVE[op](value, asked)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(value: Json, asked: Json) -> bool:
    if _is_number(asked):
        return _is_number(value) and value == asked
    return type(value) is type(asked) and value == asked


def _texts(value: Json) -> list[str]:
    """The text, or a list of texts as one."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(each is None or isinstance(each, str) for each in value):
        return [",".join(each for each in value if each)]
    return []


def _when(value: Json) -> int | None:
    if not isinstance(value, str) or not re.fullmatch(f"{DATE}(T{TIME})?", value, re.ASCII):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    delta = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def _before(value: Json, asked: Json) -> bool:
    at, bound = _when(value), _when(asked)
    return at is not None and bound is not None and at < bound


POSITIVE = {
    "equals": _same,
    "oneOf": lambda value, asked: any(_same(value, each) for each in asked),
    "lessThan": lambda value, asked: _is_number(value) and value < asked,
    "greaterThan": lambda value, asked: _is_number(value) and value > asked,
    "atMost": lambda value, asked: _is_number(value) and value <= asked,
    "atLeast": lambda value, asked: _is_number(value) and value >= asked,
    "contains": lambda value, asked: any(asked in each for each in _texts(value)),
    "startsWith": lambda value, asked: any(each.startswith(asked) for each in _texts(value)),
    "endsWith": lambda value, asked: any(each.endswith(asked) for each in _texts(value)),
    "before": _before,
    "after": lambda value, asked: _before(asked, value),
}
