"""Definitions and a world drawn at random from a seed, so that every kind and operator has its turn.

The world has fifty people at ten moments of their lives: as many copies of them, each with what had come by its
moment, moved in time so that the moment is now. So one statement asks about all of the moments: the engine takes longer
to understand a statement than to answer it. What is drawn next is whatever was drawn least often so far. A condition
counts when it tells people apart.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from random import Random
from typing import Any

from tests.reference.oracle import Event, Moment, Trait, World, length, there
from tests.worlds import PROPERTIES, VALUES

PEOPLE, STAGES = 50, 10
LEAST = 20  # conditions with each kind and operator that tell people apart
# Both changes of the clocks in Europe, month ends, the turn of a year, a leap day.
NOWS = [
    round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
    for text in (
        "2027-10-31T00:59:59.999",
        "2027-10-31T01:00:00",
        "2027-11-07T12:00:00",
        "2027-12-31T23:59:59.999",
        "2028-01-01T00:00:00",
        "2028-02-28T12:00:00",
        "2028-02-29T00:00:00",
        "2028-03-01T00:00:00",
        "2028-03-26T01:00:00",
        "2028-03-31T23:59:59.999",
    )
]
DAYS = ["2027-10-31", "2027-12-31", "2028-01-01", "2028-02-29", "2028-03-01", "2028-03-26"]
MOMENTS = [*DAYS, "2027-10-31T01:00:00Z", "2028-02-29T00:00:00+01:00", "2028-02-28T12:00:00.001Z"]
WINDOWS = [{"minutes": 1}, {"hours": 1}, {"days": 1}, {"weeks": 1}, {"days": 60}]
NAMES = ["Seen", "Bought", "O'Brien's 100 %s `x` \\ é"]
VIEWS, VIEWED = {"page": "Page Viewed", "screen": "Screen Viewed"}, ["home", "plans"]
TOLD = ["plan", "plan.b", "budget"]  # traits
OF_EVENTS, OF_PEOPLE = ["p", "p", "p", "q", "p.b", "p[]", "p[].b"], ["plan", "plan", "budget", "plan[]", "plan.b"]
COMMON = [1, 1, 2, 1.5, "x", "x", "y", "xy", True, False, "1", ["x", "y"], [1, "x"], {"b": 1}, {"b": "x"}, [{"b": "x"}]]
# Whole numbers of more than 64 bits in the list of a computed trait are read as texts: left to the smaller tests.
SENT = [value for value in VALUES if not (isinstance(value, int | float) and abs(value) >= 2**63) and value != [2**64]]
SLUGS = {"web": 1, "app": 2}
SPLITS = ["spring", "summer"]
TEXT_OPS = ["contains", "notContains", "startsWith", "endsWith"]
NUMBER_OPS = ["lessThan", "greaterThan", "atMost", "atLeast"]
PLAIN_OPS = ["equals", "notEquals", *NUMBER_OPS, *TEXT_OPS, "oneOf", "before", "after", "exists", "notExists"]
DATE_OPS = ["withinLast", "withinNext", "beforeLast", "afterNext", "anniversary"]
TRAIT_OPS = ["equals", "notEquals", *NUMBER_OPS, "before", "after"]
BOUNDS, MEASURES = ["atLeast", "exactly", "atMost"], ["sum", "average", "minimum", "maximum", "distinct"]
SPANS = ["within", "between", "after", "before", "dates", "on"]
SESSIONS = ["lastSession", "currentSession"]
FUNCTIONS = ["sum", "average", "minimum", "maximum"]
OTHERS = {"entered": {"days": 7}, "ever": True}

Json = Any
Recipes = dict[str, Callable[[], Json]]
Draw = Callable[[Recipes, Counter[str]], Json]


class Instant(int):
    """Milliseconds that are told as a date, moved with everything else."""


class Drawn:
    """Everything that follows from one seed. now: one of NOWS, at which all copies of the people are."""

    def __init__(self, seed: int, now: int) -> None:
        self.random, self.now = Random(seed), now
        self.world = self._world()
        self.seen = {name: self._values(name) for name in {*OF_EVENTS, *OF_PEOPLE}}
        # Who is, and was, in another audience: whoever was drawn, whatever it asks for.
        keys, people = ("other", "other before", "other ever", "other 7 days"), sorted(self.world.people())
        others = {key: frozenset(each for each in people if self.random.random() < 0.4) for key in keys}
        traits = {f"t{n}": self.trait(kind) for n, kind in enumerate([*FUNCTIONS, *VALUE_KINDS] * 2)}
        self.moment = Moment(self.world, now, others, traits)
        self.some = {person for person in people if self.random.random() < 0.5}

    def any(self, several: Any) -> Any:
        return self.random.choice(several)

    def maybe(self, draw: Callable[[], Json], chance: float = 0.5) -> Json:
        return draw() if self.random.random() < chance else {}

    def definitions(self, count: int, varied: Counter[str], *, most: int = 0) -> list[Json]:
        """Trees of conditions, each of which asks for what was asked for least. varied: how often what was so far.
        most: so many, if there was too little of something."""
        return self._drawn(self.recipes(), self._tree, count, varied, most)

    def trait_definitions(self, count: int, varied: Counter[str], *, most: int = 0) -> list[Json]:
        """As `definitions`, of traits."""
        return self._drawn(self.trait_recipes(), self._trait, count, varied, most)

    def trait_recipes(self) -> Recipes:
        recipes: Recipes = {}
        for kind in (*FUNCTIONS, *VALUE_KINDS):
            recipes[f"value {kind}"] = lambda kind=kind: self.trait(kind)
        for window in (*SPANS, *SESSIONS):
            recipes[f"value {window}"] = lambda window=window: self.trait("", self.window(window))
        return recipes

    def _drawn(self, recipes: Recipes, draw: Draw, count: int, varied: Counter[str], most: int) -> list[Json]:
        drawn = [draw(recipes, varied) for _ in range(count)]
        while len(drawn) < most and any(varied[name] < LEAST for name in recipes):
            drawn.append(draw(recipes, varied))
        return drawn

    def _trait(self, recipes: Recipes, varied: Counter[str]) -> Json:
        return self._neediest(recipes, varied, self.moment.value)

    def _tree(self, recipes: Recipes, varied: Counter[str]) -> Json:
        leaf = self._neediest(recipes, varied, self.moment.holds)
        node = {"not": leaf} if self.random.random() < 0.15 else leaf
        if self.random.random() < 0.5:
            return node
        word = self.any(["all", "any"])
        tree = {word: [node, *(self._neediest(recipes, varied, self.moment.holds) for _ in range(self.any([1, 1, 2])))]}
        return {"not": tree} if self.random.random() < 0.15 else tree

    def _neediest(self, recipes: Recipes, varied: Counter[str], answer: Callable[[Json, int], Json]) -> Json:
        """What was drawn least often so far; tried again if it is the same for everybody at all times."""
        least = min(recipes, key=lambda name: (varied[name], self.random.random()))
        for _ in range(8):
            leaf = recipes[least]()
            told = (repr(answer(leaf, person)) for person in self.asked_first)
            first = next(told)
            if any(each != first for each in told):
                varied.update(features(leaf) & recipes.keys())
                break
        return leaf

    @cached_property
    def asked_first(self) -> list[int]:
        """Enough of the people to see whether a condition tells people apart."""
        return sorted(self.world.people())[::6]

    # The world: what came, at which stage, and what there is of it at each of the moments.

    def _world(self) -> World:
        random, count = self.random, PEOPLE * 3 // 2
        born = {number: 0 if number <= PEOPLE else self.any(range(STAGES - 1)) for number in range(1, count + 1)}
        known = {number: random.random() < 0.8 for number in born}
        account = count + 1
        owners = [*born] * 9 + [account]
        events, traits, merges = [], [], []
        for place in range(PEOPLE * 14):
            owner, at = self.any(owners), self._time()
            came = max(born.get(owner, 0), self._came(at))
            name, properties = self.any([*NAMES, NAMES[0], NAMES[0], *VIEWS.values()]), self._properties()
            properties |= {f"{view}_name": self.any(VIEWED) for view in VIEWS if VIEWS[view] == name}
            event = Event(owner, name, at, properties, self.any([1, 1, 2]))
            events += [(came, event)] * (2 if place % 40 == 0 else 1)  # under two message ids
        for place in range(PEOPLE * 5):
            owner, at = self.any(owners), self._time()
            value = self._value() if self.any([True, False]) else self._date()
            stamp = (at, self.any([1, 2]), self.any([1, 2]), place)
            traits.append((max(born.get(owner, 0), self._came(at)), Trait(owner, self.any(TOLD), value, stamp)))
        left = [*born]
        for stage in range(STAGES):
            ready = [number for number in left if born[number] <= stage]
            for loser in random.sample(ready, (len(left) - PEOPLE) // (STAGES - stage)):
                left.remove(loser)
                merges.append((stage, (loser, self.any([number for number in ready if number in left]))))
        random.shuffle(events)
        events.sort(key=lambda each: each[0])  # within a stage in any order
        copies = range(STAGES)
        return World(
            {_copy(number, stage): known[number] for stage in copies for number in born if born[number] <= stage},
            frozenset(_copy(account, stage) for stage in copies),
            [(_copy(a, stage), _copy(b, stage)) for stage in copies for came, (a, b) in merges if came <= stage],
            [self._moved(event, stage) for stage in copies for came, event in events if came <= stage],
            [self._moved(told, stage) for stage in copies for came, told in traits if came <= stage],
            sources=SLUGS,
        )

    def _moved(self, what: Any, stage: int) -> Any:
        """Into the copy of this stage, whose moment is now."""
        shift, profile = self.now - NOWS[stage], _copy(what.profile, stage)
        if isinstance(what, Event):
            return replace(what, profile=profile, ts=what.ts + shift)
        value = _written(what.value + shift) if isinstance(what.value, Instant) else what.value
        return replace(what, profile=profile, value=value, stamp=(what.stamp[0] + shift, *what.stamp[1:]))

    def _time(self) -> int:
        """Mostly just where a window of one of the moments begins or ends."""
        span = self.any([0, 0, *map(length, WINDOWS)])
        at = self.any(NOWS) - span + self.any([-1, 0, 0, 1, -30_000, self.random.randrange(-(10**8), 0)])
        return min(at, NOWS[-1])

    def _came(self, at: int) -> int:
        """At which stage: at once, or late. Nothing is there before it happened."""
        first = next(stage for stage, now in enumerate(NOWS) if at <= now)
        return first if self.random.random() < 0.7 else self.any(range(first, STAGES))

    def _value(self) -> Json:
        return self.any(COMMON) if self.random.random() < 0.7 else self.any([*SENT, *MOMENTS])

    def _date(self) -> Instant:
        """Mostly just as far from one of the moments as a window is long."""
        shift = self.any([-1, 0, 1]) + self.any([-1, 1]) * self.any([0, *map(length, WINDOWS)])
        return Instant(self.any(NOWS) + shift)

    def _properties(self) -> dict[str, Json]:
        names = ["p", "q"] if self.random.random() < 0.8 else ["p", "q", "p.b", "p[]", PROPERTIES[-1]]
        return {name: self._value() for name in names if self.random.random() < 0.8}

    def _values(self, name: str) -> list[Json]:
        """The scalars that were sent under it."""
        trees = [event.properties for event in self.world.events]
        trees += [*self.world.traits_by_person.values()]
        values = [value for tree in trees for value in there(tree, name) if isinstance(value, str | int | float)]
        return [value for value in values if isinstance(value, str) or abs(value) < 2**62] or [1, "x"]

    # Questions and what is asked

    def question(self, op: str, name: str, traits: bool = False) -> Json:
        values = self.seen.get(name, [1, "x"])
        if op in TRAIT_OPS and traits:
            return {"op": op, "value": {"trait": self.any(OF_PEOPLE)}}
        if op in ("exists", "notExists"):
            return {"op": op}
        if op in ("equals", "notEquals"):
            return {"op": op, "value": self.any(values)}
        if op in NUMBER_OPS:
            numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
            return {"op": op, "value": self.any(numbers or [1])}
        if op in TEXT_OPS:
            texts = [each for each in values if isinstance(each, str) and each]
            return {"op": op, "value": self.any(texts or ["x"])[: self.any([1, 2])]}
        if op == "oneOf":
            return {"op": op, "value": [self.any(values) for _ in range(self.any([1, 2, 3]))]}
        if op in ("before", "after"):
            return {"op": op, "value": self.any(MOMENTS)}
        return {"op": op, "value": self.any([0, 1, 2, 30]) if op == "anniversary" else self.any(WINDOWS)}

    def filter(self, op: str, *, traits: bool = False) -> Json:
        name = self.any(OF_EVENTS)
        return {"property": name, **self.question(op, name, traits)}

    def where(self, *filters: Json) -> Json:
        several = [*filters, *(self.filter(self.any(PLAIN_OPS)) for _ in range(self.any([0, 0, 0, 1])))]
        return {"where": several} if several else {}

    def window(self, kind: str = "") -> Json:
        kind = kind or self.any(SPANS)
        if kind == "within" or kind in SESSIONS:
            return {kind: self.any(WINDOWS)}
        if kind == "between":
            first = self.any(range(len(WINDOWS) - 1))
            return {kind: [WINDOWS[first], self.any(WINDOWS[first + 1 :])]}
        if kind == "dates":
            place = self.any(range(len(DAYS) - 1))
            return {"after": DAYS[place], "before": self.any(DAYS[place + 1 :])}
        return {kind: self.any(DAYS if kind == "on" else MOMENTS)}

    def often(self, bound: str = "") -> Json:
        bound = bound or self.any(BOUNDS)
        return {bound: self.any([1, 1, 2] if bound == "atLeast" else [0, 1, 2])}

    def amount(self, measure: str, bound: str = "") -> Json:
        number = self.any([1, 2, 3]) if measure == "distinct" else self.any([0, 1, 1.5, 2, 3, -1])
        return {measure: self.any(["p", "q", "p[]"]), bound or self.any(BOUNDS): number}

    def sources(self, word: str) -> Json:
        return {"sources": {word: self.any([["web"], ["app"], ["web", "app"]])}}

    def step(self, *filters: Json, bound: str = "", within: bool = False, follows: int = 0) -> Json:
        step = {"name": self.any(NAMES[:2]), **self.often(bound), **self.where(*filters)}
        if within or self.any([True, False]):
            step["within"] = self.any(WINDOWS)
        return step | ({"follows": follows} if follows else {})

    def related(self, op: str) -> Json:
        return {
            "property": self.any(["p", "q", "p[]", "p.b"]),
            "op": op,
            "value": {"parent": self.any(["p", "q", "p.b"])},
        }

    def event(self, *parts: Json) -> Json:
        leaf: dict[str, Json] = {"kind": "event", "name": self.any([*NAMES, NAMES[0]])}
        for part in parts:
            leaf |= part
        if not leaf.keys() & {*BOUNDS}:
            leaf |= self.maybe(self.often)
        if not leaf.keys() & {*SPANS}:
            leaf |= self.maybe(self.window, 0.3)
        return leaf | ({} if "where" in leaf else self.maybe(lambda: self.where(self.filter(self.any(PLAIN_OPS))), 0.3))

    def trait(self, kind: str = "", *parts: Json) -> Json:
        kind = kind or self.any([*FUNCTIONS, *VALUE_KINDS])
        leaf: dict[str, Json] = {"kind": kind, "name": self.any([*NAMES, NAMES[0]])}
        if kind in FUNCTIONS:
            leaf |= {"kind": "aggregation", "function": kind}
        if kind != "event_counter":
            leaf["property"] = self.any(["p", "p", "q", "p[]", "p.b"])
        if kind == "most_frequent":
            leaf["minimum"] = self.any([1, 2])
        for part in parts:
            leaf |= part
        if not leaf.keys() & {*SPANS, *SESSIONS}:
            leaf |= self.maybe(lambda: self.window(self.any([*SPANS, *SESSIONS])))
        return leaf | ({} if "where" in leaf else self.maybe(lambda: self.where(self.filter(self.any(PLAIN_OPS))), 0.2))

    # What has its turn

    def recipes(self) -> Recipes:
        """By what each draws for certain."""
        every: Recipes = {}
        for op in PLAIN_OPS:
            every[f"op {op}"] = lambda op=op: self.any([self.of_property, self.of_trait, self.of_computed])(op)
        for op in DATE_OPS:
            every[f"op {op}"] = lambda op=op: self.of_trait(op)
        for op in TRAIT_OPS:
            every[f"op {op} trait"] = lambda op=op: self.event(self.where(self.filter(op, traits=True)))
        for op in ("equals", "notEquals"):
            every[f"op {op} parent"] = lambda op=op: self.event({"then": [self.step(self.related(op))]})
        for kind in SPANS:
            every[f"when {kind}"] = lambda kind=kind: self.event(self.window(kind))
        for bound in BOUNDS:
            every[f"often {bound}"] = lambda bound=bound: self.event(self.often(bound))
            every[f"step {bound}"] = lambda bound=bound: self.event({"then": [self.step(bound=bound)]})
        for measure in MEASURES:
            every[f"measure {measure}"] = lambda measure=measure: self.event(self.amount(measure))
        every["step measure"] = lambda: self.event(self.amount(self.any(MEASURES)), {"then": [self.step()]})
        every["step within"] = lambda: self.event({"then": [self.step(within=True)]})
        every["step follows"] = lambda: self.event({"then": [self.step(), self.step(follows=1)]})
        for word in ("only", "except"):
            every[f"sources {word}"] = lambda word=word: self.event(self.sources(word))
        for kind in ("event", *VIEWS, "trait", "sql_trait", "computed", "split", "audience"):
            every[f"kind {kind}"] = lambda kind=kind: self.of_kind(kind)
        for key in OTHERS:
            every[f"audience {key}"] = lambda key=key: {"kind": "audience", "key": "other", key: OTHERS[key]}
        return every

    def of_property(self, op: str) -> Json:
        return self.event(self.where(self.filter(op)))

    def of_trait(self, op: str, kind: str = "trait") -> Json:
        name = self.any(OF_PEOPLE)
        return {"kind": kind, "name": name, **self.question(op, name)}

    def of_computed(self, op: str) -> Json:
        key = self.any([*self.moment.computed])
        name = f"{key}[]" if self.moment.computed[key]["kind"] == "unique_list" else key
        return {"kind": "computed", "name": name, **self.question(op, self.moment.computed[key].get("property", "p"))}

    def of_kind(self, kind: str) -> Json:
        if kind in ("trait", "sql_trait"):
            return self.of_trait(self.any([*PLAIN_OPS, *DATE_OPS]), kind)
        if kind == "computed":
            return self.of_computed(self.any(PLAIN_OPS))
        if kind in VIEWS:
            return self.event() | {"kind": kind, "name": self.any(VIEWED)}
        if kind == "split":
            first = self.any([0, 20, 30.5])
            return {"kind": "split", "name": self.any(SPLITS), "from": first, "to": self.any([60, 90.25, 100])}
        return {"kind": "audience", "key": "other"} if kind == "audience" else self.event()


def _copy(number: int, stage: int) -> int:
    return stage * 100 + number


def _written(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")


def features(leaf: Json) -> set[str]:
    """The recipes that it could have been drawn by."""
    kind = leaf.get("function", leaf["kind"])
    if kind in (*FUNCTIONS, *VALUE_KINDS):
        return {f"value {each}" for each in (kind, *_when(leaf))}
    found = {f"kind {kind}", *(f"audience {key}" for key in OTHERS if key in leaf)}
    found |= {f"when {each}" for each in _when(leaf)} if kind in ("event", *VIEWS) else set()
    measures = leaf.keys() & {*MEASURES}
    found |= {f"measure {each}" for each in measures} | {f"sources {word}" for word in leaf.get("sources", ())}
    found |= {f"often {bound}" for bound in BOUNDS if bound in leaf and not measures}
    steps = leaf.get("then", [])
    for step in steps:
        found |= {f"step {key}" for key in step.keys() & {*BOUNDS, "within", "follows"}}
    found |= {"step measure"} if steps and measures else set()
    for question in (leaf, *leaf.get("where", []), *(each for step in steps for each in step.get("where", []))):
        value = question.get("value")
        of = next((f" {of}" for of in ("trait", "parent") if isinstance(value, dict) and of in value), "")
        found |= {f"op {question['op']}{of}"} if "op" in question else set()
    return found


def _when(leaf: Json) -> list[str]:
    if "after" in leaf and "before" in leaf:
        return ["dates"]
    return [key for key in (*SPANS, *SESSIONS) if key in leaf]


VALUE_KINDS = ["event_counter", "first", "last", "unique_list", "unique_list_count", "most_frequent"]
