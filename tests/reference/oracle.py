"""Who belongs to an audience, worked out in the slowest and plainest way: one person, one event after the other.

It reads definitions as the API takes them, and shares no line with the product. Times are milliseconds since 1970.
What is remembered is remembered of one world, which never changes: whose an event is, and whether it is as asked.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from fractions import Fraction
from functools import cache, cached_property, partial
from operator import ge, gt, le, lt
from typing import Any

UNITS = {"minutes": 60_000, "hours": 3_600_000, "days": 86_400_000, "weeks": 604_800_000}
MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"([Tt ](?P<minute>\d\d:\d\d)(:(?P<second>\d\d)([.,](?P<fraction>\d+))?)?"
    r"( ?([Zz]|UTC|(?P<sign>[+-])(?P<hours>\d\d)(:?(?P<minutes>\d\d))?))?)?",
    re.ASCII,
)
Json = Any


@dataclass(frozen=True)
class Event:
    profile: int
    name: str
    ts: int
    properties: Mapping[str, Json] = field(default_factory=dict)
    source: int = 1


@dataclass(frozen=True)
class Trait:
    """A trait as it was set once. stamp: (ts, source, piece, position); the largest is the newest."""

    profile: int
    key: str
    value: Json
    stamp: tuple[int, int, int, int]


@dataclass(frozen=True)
class World:
    """known: of each person's profile whether it has more than an anonymous id. merges: (loser, winner) in order.
    links: (user, account). events: in the order in which they came. sources: their numbers by slug. lots: by the name
    of a split and person."""

    known: Mapping[int, bool]
    accounts: frozenset[int] = frozenset()
    merges: Sequence[tuple[int, int]] = ()
    events: Sequence[Event] = ()
    traits: Sequence[Trait] = ()
    links: Sequence[tuple[int, int]] = ()
    sources: Mapping[str, int] = field(default_factory=dict)
    lots: Mapping[tuple[str, int], int] = field(default_factory=dict)
    answers: dict[tuple[int, int], tuple[Json, bool]] = field(default_factory=dict, compare=False, repr=False)
    properties: dict[tuple[str, int], list[Json]] = field(default_factory=dict, compare=False, repr=False)

    def accounts_of(self, person: int) -> set[int]:
        return {account for user, account in self.links if self.person(user) == person}

    def users_of(self, account: int) -> set[int]:
        return {self.person(user) for user, its in self.links if its == account}

    def events_of(self, profile: int) -> list[Event]:
        """In their order. An account has those of its users."""
        if profile not in self.accounts:
            return self.events_by_person.get(profile, [])
        whose = {profile} | self.users_of(profile)
        events = [event for one in whose for event in self.events_by_person.get(one, [])]
        return sorted(events, key=lambda each: (each.ts, each.source))

    def person(self, number: int) -> int:
        """The profile that is left of this one."""
        for loser, winner in self.merges:
            if number == loser:
                number = winner
        return number

    def people(self) -> set[int]:
        return {self.person(number) for number in self.known}

    @cached_property
    def known_people(self) -> set[int]:
        return {self.person(number) for number, known in self.known.items() if known}

    @cached_property
    def events_by_person(self) -> dict[int, list[Event]]:
        """In their order: those of one moment as the archive has them, one source after the other."""
        by_person: dict[int, list[Event]] = {}
        for event in sorted(self.events, key=lambda each: (each.ts, each.source)):
            by_person.setdefault(self.person(event.profile), []).append(event)
        return by_person

    @cached_property
    def traits_by_person(self) -> dict[int, dict[str, Json]]:
        by_person: dict[int, dict[str, Json]] = {}
        for told in sorted(self.traits, key=lambda each: each.stamp):
            by_person.setdefault(self.person(told.profile), {})[told.key] = told.value
        return by_person

    def answer(self, question: Json, event: Event) -> bool:
        """Asked once for each question and properties; the question is kept, so that its id stays its own."""
        key = id(question), id(event.properties)
        if key not in self.answers:
            self.answers[key] = question, answers(question, self.of(event, question["property"]))
        return self.answers[key][1]

    def of(self, event: Event, name: str) -> list[Json]:
        """What the event has under the name; looked up once."""
        key = name, id(event.properties)
        if key not in self.properties:
            self.properties[key] = property_of(event.properties, name)
        return self.properties[key]

    def numbers(self, people: Iterable[int]) -> set[int]:
        """All profiles that these people ever were."""
        wanted = set(people)
        return {number for number in {*self.known, *self.accounts} if self.person(number) in wanted}


@dataclass(frozen=True)
class Moment:
    """The world at one time. others: who is in the audiences that a definition may ask about; under "key ever" and
    "key 7 days" who was before. computed: the definitions of computed traits, by key."""

    world: World
    now: int
    others: Mapping[str, frozenset[int]] = field(default_factory=dict)
    computed: Mapping[str, Json] = field(default_factory=dict)

    def members(self, definition: Json, *, include_anonymous: bool = False) -> set[int]:
        people = self.world.people() if include_anonymous else self.world.known_people
        return {person for person in people if self.holds(definition, person)}

    def accounts(self, definition: Json) -> set[int]:
        return {account for account in self.world.accounts if self.holds(definition, account)}

    def holds(self, node: Json, person: int) -> bool:
        """person: or an account."""
        if "users" in node or "accounts" in node:
            which = node.get("users") or node["accounts"]
            others = self.world.users_of(person) if "users" in node else self.world.accounts_of(person)
            inside = {key: value for key, value in node.items() if key in ("all", "any")}
            ones = [self.holds(inside, other) for other in others]
            return {"any": any(ones), "all": bool(ones) and all(ones), "none": not any(ones)}[which]
        if "all" in node:
            return all(self.holds(each, person) for each in node["all"])
        if "any" in node:
            return any(self.holds(each, person) for each in node["any"])
        if "not" in node:
            return not self.holds(node["not"], person)
        kinds = {
            "event": self.performed,
            "page": self.viewed,
            "screen": self.viewed,
            "trait": self.has_trait,
            "sql_trait": self.has_trait,
            "computed": self.has_computed,
            "audience": self.is_in,
            "split": self.is_in_part,
        }
        return kinds[node["kind"]](node, person)

    def viewed(self, node: Json, person: int) -> bool:
        named = _named(node["kind"], node["name"])
        name = f"{node['kind'].capitalize()} Viewed"
        return self.performed({**node, "name": name, "where": [*node.get("where", []), named]}, person)

    def performed(self, node: Json, person: int) -> bool:
        own = self.world.events_of(person)
        if "then" in node:
            own = [each for each in own if each.ts <= self.now]
        counted = [
            place
            for place, event in enumerate(own)
            if self.is_one(node, event, person)
            and self.in_time(node, event)
            and self.followed(node, own, place, 0, person)
        ]
        return bounded(node, self.amount_of(node, [own[place] for place in counted]))

    def amount_of(self, node: Json, events: Sequence[Event]) -> Json:
        measures = [each for each in ("sum", "average", "minimum", "maximum", "distinct") if each in node]
        if not measures:
            return len(events)
        values = [value for event in events for value in self.world.of(event, node[measures[0]])]
        if measures == ["distinct"]:
            scalars = [value for value in values if isinstance(value, str | int | float)]
            return len({(isinstance(value, str), isinstance(value, bool), value) for value in scalars})
        numbers = [_millionths(_number(value)) for value in values if _is_number(value) and abs(value) <= 1e20]
        if measures == ["sum"]:
            return sum(numbers, Fraction(0))
        if not numbers:
            return None
        if measures == ["average"]:
            return sum(numbers, Fraction(0)) / len(numbers)
        return min(numbers) if measures == ["minimum"] else max(numbers)

    def value(self, trait: Json, person: int) -> Json:
        """Of a computed trait; None = there is none."""
        own = [
            each
            for each in self.world.events_of(person)
            if self.is_one(trait, each, person) and self.in_time(trait, each)
        ]
        own = [*self.session_of(trait, own)]
        if trait["kind"] == "event_counter":
            return len(own) or None
        held = [self.world.of(event, trait["property"]) for event in own]
        if trait["kind"] == "aggregation":
            numbers = self.amount_of({trait["function"]: trait["property"]}, own)
            return (
                numbers
                if any(_is_number(value) and abs(value) <= 1e20 for values in held for value in values)
                else None
            )
        if trait["kind"] in ("first", "last"):
            first = [values[0] for values in map(_kept, held) if values]
            return first[0 if trait["kind"] == "first" else -1] if first else None
        texts = [value for values in held for value in values if isinstance(value, str | int | float)]
        different = {_text(value): value for value in texts}
        if trait["kind"] == "unique_list":
            return [_plain(different[text]) for text in sorted(different, key=str.encode)] or None
        if trait["kind"] == "unique_list_count":
            return len(different) or None
        often = {text: sum(1 for value in texts if _text(value) == text) for text in different}
        best = min(different, key=lambda text: (-often[text], text.encode()), default=None)
        return None if best is None or often[best] < trait.get("minimum", 2) else _plain(different[best])

    def is_one(self, node: Json, event: Event, person: int, parent: Event | None = None) -> bool:
        """parent: the event that a step follows."""
        return (
            event.name == node["name"]
            and ("sources" not in node or self.comes_from(node["sources"], event))
            and all(self.is_as_asked(each, event, person, parent) for each in node.get("where", []))
        )

    def comes_from(self, sources: Json, event: Event) -> bool:
        ((word, slugs),) = sources.items()
        return (event.source in {self.world.sources.get(slug) for slug in slugs}) == (word == "only")

    def is_as_asked(self, question: Json, event: Event, person: int, parent: Event | None) -> bool:
        asked = question.get("value")
        if not isinstance(asked, dict):
            return self.world.answer(question, event)
        values = self.world.of(event, question["property"])
        if "trait" in asked:
            others = there(self.traits_of(person), asked["trait"])
        else:
            others = self.world.of(parent, asked["parent"]) if parent else []
        others = [other for other in others if isinstance(other, str | int | float)]
        if question["op"] == "notEquals":
            return bool(values and others) and not any(_same(value, other) for value in values for other in others)
        return any(COMPARED[question["op"]](value, other) for value in values for other in others)

    def session_of(self, trait: Json, own: Sequence[Event]) -> Sequence[Event]:
        """Those of the newest session, if only these count. They are in their order."""
        for key in ("lastSession", "currentSession"):
            if key in trait and own:
                gap, begins = length(trait[key]), len(own) - 1
                while begins > 0 and own[begins].ts - own[begins - 1].ts <= gap:
                    begins -= 1
                return [] if key == "currentSession" and self.now - own[-1].ts > gap else own[begins:]
        return own

    def in_time(self, node: Json, event: Event) -> bool:
        if "lastSession" in node or "currentSession" in node:
            return event.ts <= self.now
        if "within" in node:
            return self.now - length(node["within"]) < event.ts <= self.now
        if "between" in node:
            newest, oldest = map(length, node["between"])
            return self.now - oldest < event.ts <= self.now - newest
        if "on" in node:
            return 0 <= event.ts - (_when(node["on"]) or 0) < UNITS["days"]
        after, before = (_when(node.get(key)) for key in ("after", "before"))
        return (after is None or event.ts > after) and (before is None or event.ts < before)

    def followed(self, node: Json, own: Sequence[Event], place: int, number: int, person: int) -> bool:
        """Whether all that is said of what comes after this event, which is that step, is true."""
        for after, step in enumerate(node.get("then", []), 1):
            if step.get("follows", 0) != number:
                continue
            until = own[place].ts + length(step["within"]) if "within" in step else None
            if until is not None and until > self.now and ("exactly" in step or "atMost" in step):
                return False  # nobody knows yet
            times = sum(
                1
                for later in range(place + 1, len(own))
                if self.is_one(step, own[later], person, own[place])
                and (until is None or own[later].ts <= until)
                and self.followed(node, own, later, after, person)
            )
            if not bounded(step, times):
                return False
        return True

    def has_trait(self, node: Json, person: int) -> bool:
        return self.answers(node, there(self.traits_of(person), node["name"]))

    def traits_of(self, person: int) -> dict[str, Json]:
        return self.world.traits_by_person.get(person, {})

    def has_computed(self, node: Json, person: int) -> bool:
        value = self.value(self.computed[node["name"].removesuffix("[]")], person)
        if node["name"].endswith("[]"):
            return self.answers(node, _elements(value))
        return self.answers(node, [] if value is None else [_cut(value)])

    def answers(self, question: Json, values: list[Json]) -> bool:
        op, asked = question["op"], question.get("value")
        if op in RELATIVE:
            return any(RELATIVE[op](value, asked, self.now) for value in values)
        return answers(question, values)

    def is_in(self, node: Json, person: int) -> bool:
        now, key = self.others[node["key"]], node["key"]
        if "entered" not in node and "ever" not in node:
            return person in now
        ((unit, count),) = node.get("entered", {"ever": 0}).items()
        past = self.others[f"{key} ever" if unit == "ever" else f"{key} {count} {unit[:-1] if count == 1 else unit}"]
        return person in past or (person in now and person not in self.others[f"{key} before"])

    def is_in_part(self, node: Json, person: int) -> bool:
        lot = self.world.lots[node["name"], person]
        return node.get("from", 0) * 10_000 <= lot < node["to"] * 10_000


def length(duration: Json) -> int:
    ((unit, count),) = duration.items()
    return int(count * UNITS[unit])


def bounded(node: Json, value: Json) -> bool:
    """Whether it is as often, or as much. value: None = there is none."""
    if value is None:
        return False
    bounds = {key: _millionths(node[key]) for key in ("exactly", "atMost", "atLeast") if key in node}
    if "exactly" in bounds:
        return bool(value == bounds["exactly"])
    if "atMost" in bounds:
        return bool(value <= bounds["atMost"])
    return bool(value >= bounds.get("atLeast", 1))


def _millionths(number: float) -> Fraction:
    whole = int(number)
    return whole + Fraction(round((number - whole) * 10**6), 10**6)


def _plain(value: Json) -> Json:
    """A whole number is one whatever its type."""
    number = _number(value) if _is_number(value) else value
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 1e16 else number


def _cut(value: Json) -> Json:
    """As JSON has it: behind the millionth an average is cut off."""
    if not isinstance(value, Fraction):
        return value
    millionths = int(value * 10**6)
    return millionths // 10**6 if millionths % 10**6 == 0 else millionths / 10**6


def _text(value: Json) -> str:
    return json.dumps(_plain(value), ensure_ascii=False).replace("e+", "e")


def _kept(values: list[Json]) -> list[Json]:
    return [value if isinstance(value, list) else _plain(value) for value in values if not isinstance(value, dict)]


def there(tree: Json, name: str) -> list[Json]:
    """The values that a name leads to: one or none, or those of all elements when it has `[]` in it."""
    literal = [value for value in [inside(tree, name)] if value is not None]
    head, *below = name.split("[]")
    if not below or not head or any(part and not re.fullmatch(r"\..+", part, re.DOTALL) for part in below):
        return literal
    found = _elements(inside(tree, head))
    for part in below[:-1]:
        found = [each for value in _within(found, part) for each in _elements(value)]
    return literal + _within(found, below[-1])


def property_of(properties: Json, name: str) -> list[Json]:
    """Of properties, a key with dots makes an object of each of its parts, too."""
    implied = any(path.startswith(name + ".") for path in _paths(properties))
    return there(properties, name) or ([{}] if implied else [])


def _paths(tree: Json) -> Iterator[str]:
    for key, value in tree.items():
        if value is not None:
            yield key
        if isinstance(value, dict):
            yield from (f"{key}.{path}" for path in _paths(value))


def _elements(value: Json) -> list[Json]:
    return [each for each in value if each is not None] if isinstance(value, list) else []


def _within(values: list[Json], part: str) -> list[Json]:
    found = [inside(value, part[1:]) if part else value for value in values]
    return [value for value in found if value is not None]


def inside(tree: Json, name: str) -> Json:
    """What a name leads to in an object, the longest key first; None when nothing is there."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        value = tree.get(".".join(parts[:length])) if isinstance(tree, dict) else None
        if value is not None and length < len(parts):
            value = inside(value, ".".join(parts[length:]))
        if value is not None:
            return value
    return None


@cache  # the same question each time: its answers are remembered
def _named(view: str, name: str) -> Json:
    return {"property": f"{view}_name", "op": "equals", "value": name}


def answers(question: Json, values: list[Json]) -> bool:
    """Whether one of the values is as asked; for a negative question, whether none of them is, and there are some."""
    op, asked = question["op"], question.get("value")
    if op == "exists":
        return bool(values)
    if op == "notExists":
        return not values
    if op in ("notEquals", "notContains"):
        opposite = POSITIVE[{"notEquals": "equals", "notContains": "contains"}[op]]
        return bool(values) and not any(opposite(value, asked) for value in values)
    return any(POSITIVE[op](value, asked) for value in values)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Json) -> Json:
    """As it is kept: whole numbers of more than 64 bits are doubles."""
    return value if isinstance(value, float) or -(2**63) <= value < 2**64 else float(value)


def _compared(compare: Callable[[Json, Json], bool]) -> Callable[[Json, Json], bool]:
    return lambda value, asked: _is_number(value) and compare(_number(value), asked)


def _same(value: Json, asked: Json) -> bool:
    if _is_number(asked):
        return _is_number(value) and _number(value) == asked
    return type(value) is type(asked) and value == asked


def _texts(value: Json) -> list[str]:
    """The text, or those of a list as one."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [",".join(each for each in value if each and isinstance(each, str))]
    return []


def _when(value: Json) -> int | None:
    return _moment(value) if isinstance(value, str) else None


@cache
def _moment(value: str) -> int | None:
    found = MOMENT.fullmatch(value)
    if not found:
        return None
    sign, hours, minutes = found["sign"] or "+", found["hours"] or "00", found["minutes"] or "00"
    try:
        day = date.fromisoformat(found["date"])
        at = time.fromisoformat(f"{found['minute'] or '00:00'}:{found['second'] or '00'}{sign}{hours}:{minutes}")
    except ValueError:
        return None
    seconds = (day.toordinal() - date(1970, 1, 1).toordinal()) * 86_400 + at.hour * 3600 + at.minute * 60 + at.second
    offset = at.utcoffset() or timedelta()
    return (seconds - int(offset.total_seconds())) * 1000 + int((found["fraction"] or "").ljust(3, "0")[:3])


def _before(value: Json, asked: Json) -> bool:
    at, bound = _when(value), _when(asked)
    return at is not None and bound is not None and at < bound


def _in_days(value: Json, days: int, now: int) -> bool:
    """By the date as it is written. The 29th of February is the 28th where there is none."""
    if _when(value) is None:
        return False
    month, day = int(value[5:7]), int(value[8:10])
    then = date(1970, 1, 1) + timedelta(days=now // UNITS["days"] + days)
    if (month, day) == (2, 29) and then.year % 4:  # of the years in which these tests are
        day = 28
    return (month, day) == (then.month, then.day)


def _relative(compare: Callable[[int, int, int], bool]) -> Callable[[Json, Json, int], bool]:
    """compare: the date with now and a duration."""

    def ask(value: Json, asked: Json, now: int) -> bool:
        at = _when(value)
        return at is not None and compare(at, now, length(asked))

    return ask


RELATIVE: dict[str, Callable[[Json, Json, int], bool]] = {
    "withinLast": _relative(lambda at, now, span: now - span < at <= now),
    "withinNext": _relative(lambda at, now, span: now < at <= now + span),
    "beforeLast": _relative(lambda at, now, span: at <= now - span),
    "afterNext": _relative(lambda at, now, span: at > now + span),
    "anniversary": _in_days,
}
POSITIVE = {
    "equals": _same,
    "oneOf": lambda value, asked: any(_same(value, each) for each in asked),
    "lessThan": _compared(lt),
    "greaterThan": _compared(gt),
    "atMost": _compared(le),
    "atLeast": _compared(ge),
    "contains": lambda value, asked: any(asked in each for each in _texts(value)),
    "startsWith": lambda value, asked: any(each.startswith(asked) for each in _texts(value)),
    "endsWith": lambda value, asked: any(each.endswith(asked) for each in _texts(value)),
    "before": _before,
    "after": lambda value, asked: _before(asked, value),
}


def _both_numbers(op: str, value: Json, other: Json) -> bool:
    return _is_number(other) and POSITIVE[op](value, _number(other))


# Of two values that were sent.
COMPARED: dict[str, Callable[[Json, Json], bool]] = {
    **{op: POSITIVE[op] for op in ("equals", "before", "after")},
    **{op: partial(_both_numbers, op) for op in ("lessThan", "greaterThan", "atMost", "atLeast")},
}
