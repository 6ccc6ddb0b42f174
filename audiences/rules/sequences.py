"""PURE. One event and then another: of the events of a person in their order, which have after them what is asked for.

Each step follows the event itself or a step before it, within some time or at any time after it; an event counts when
all that follows it is as asked. Events of one moment follow each other as the archive has them, and no event follows
itself. What happened "not", "exactly" or "at most" so often within some time is known when that time has passed.

    the person's events, sorted:       t1   t2   t3   t4     with the steps that each may be, as bits
    per step, from the last one:       0    1    0    1      does it count? (the bit, and all that follows it)
      how many so far, the n-th time:  0    1    1    2      so the k-th after an event is one look into an array

A step may be compared with the event that it follows. Then the events are sorted by the value that is compared, and
those of one value by time: as many follow as there are up to the end of the step's time, less those up to the event.
So nothing is quadratic, however many events a person has, and only equal values can be found.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

from audiences.rules import person_traits
from audiences.rules.aggregates import (
    DETAILED,
    EVENTS,
    LATEST,
    SEQUENCE,
    Aggregate,
    EventTrigger,
    TimeTrigger,
    at,
    event_row,
)
from audiences.rules.operators import OPERATORS, Question
from audiences.rules.properties import place as place_of
from audiences.rules.references import PARENT, TRAIT, Reference
from audiences.rules.values import JsonValue, exact_json
from sources.events.sql import Sql, join, sql

MOST_STEPS = 8  # after the event itself; their bits fit into 16


@dataclass(frozen=True)
class Step:
    """rows: which rows of the timeline may be it. within: milliseconds. follows: the place of a step before it.
    compared: questions about it whose value is a reference."""

    name: str
    rows: Sql
    bound: str = "atLeast"
    number: int = 1
    within: int | None = None
    follows: int = 0
    compared: tuple[Question, ...] = field(default=(), repr=False)

    @property
    def with_parent(self) -> list[Question]:
        return [question for question in self.compared if question.compares_with(PARENT)]

    @property
    def with_traits(self) -> list[Question]:
        return [question for question in self.compared if question.compares_with(TRAIT)]


def details(steps: Sequence[Step]) -> tuple[str, ...]:
    """The properties whose values are compared. Where there are any, an event comes with an array of texts of each."""
    asked = [question for step in steps for question in step.compared]
    own, of_parents = (
        {question.name for question in asked},
        {_of(question).name for question in asked if _of(question).of == PARENT},
    )
    return tuple(sorted(own | of_parents))


def traits(steps: Sequence[Step]) -> tuple[str, ...]:
    """The names of the traits of the person that something is compared with."""
    return tuple(dict.fromkeys(_of(question).name for step in steps for question in step.with_traits))


def aggregates(
    steps: Sequence[Step], opens: int | None, now: int, first: Sql, kept: Sequence[str]
) -> tuple[Aggregate, ...]:
    """The events that may be any of the steps, and the traits that they are compared with. opens: none up to then
    counts. first: those that may be the first. kept: the properties whose values are needed."""
    # Beside the events, not joined to their rows: what a trait is now decides, whatever it was then.
    newest = [aggregate for name in traits(steps) for aggregate in person_traits.newest(name)]
    return (_events(steps, opens, now, first, kept), *newest)


def _events(steps: Sequence[Step], opens: int | None, now: int, first: Sql, kept: Sequence[str]) -> Aggregate:
    names = tuple(sorted({step.name for step in steps}))
    later = sql("ts <= %s", at(now)) if opens is None else sql("ts > %s AND ts <= %s", at(opens), at(now))
    bits = [
        sql("toUInt16(%s)", first),
        *(sql(f"{2**n} * toUInt16(%s)", step.rows) for n, step in enumerate(steps[1:], 1)),
    ]
    row = event_row(join(" + ", bits), [place_of(name).values(exact_json) for name in kept])
    some = sql("(%s)", join(" OR ", [step.rows for step in steps]))
    # What is dated ahead can follow nothing yet; on its own it counts as any event does.
    rows = sql("%s AND %s", some, later) if len(steps) > 1 else first
    return Aggregate(DETAILED if kept else SEQUENCE, names, sql("groupArrayIf(%s, %s)", row, rows), opens, rows)


@dataclass(frozen=True)
class Chain:
    """A sequence over one person's columns, those of `aggregates`. kept: the properties whose values these have."""

    columns: Sequence[str]
    steps: Sequence[Step]
    now: int
    kept: Sequence[str] = ()

    def times(self) -> Sql:
        """How many events there are that all the steps follow."""
        return sql("arraySum(%s)", self._counting(0))

    def texts(self, name: str) -> Sql:
        """An array of the JSON texts that these events have as this property, one of those kept."""
        texts = f"arrayFlatten(arrayMap((c, e) -> if(c, e.6[{self._slot(name)}], []), %s, {self._sorted}))"
        return sql(texts, self._counting(0))

    @property
    def _name(self) -> str:
        """What its parts are called in SQL."""
        compared = [step.compared for step in self.steps]
        # Of all that it is made of: two sequences of one statement must not share a name, and the same one may.
        parts = repr((self.columns[0], self.steps)) + (repr(compared) if any(compared) else "")
        return f"s{crc32(parts.encode()):08x}"

    @property
    def _sorted(self) -> str:
        return f"(arraySort({self.columns[0]}) AS {self._name}e)"

    def _slot(self, name: str) -> int:
        """Where an event has its values of this property."""
        return self.kept.index(name) + 1

    def _counting(self, place: int) -> Sql:
        """An array: for each event of the person whether it counts as this step. Everything in it has a name of its
        own, so that it is worked out once."""
        after = [
            (self._follows_alike if self.steps[number].with_parent else self._follows)(number)
            for number, step in enumerate(self.steps)
            if number and step.follows == place
        ]
        holds = join(" AND ", [Sql(f"bitTest(e.5, {place})"), *map(self._with_trait, self.steps[place].with_traits)])
        own = sql(f"arrayMap(e -> toUInt8(%s), {self._sorted})", holds)
        if not after:
            return own
        both = join(" AND ", [Sql("o"), *(Sql(f"f{n}") for n in range(len(after)))])
        parts = ", ".join(f"f{n}" for n in range(len(after)))
        return sql(f"arrayMap((o, {parts}) -> toUInt8(%s), %s, %s)", both, own, join(", ", after))

    def _follows(self, place: int) -> Sql:
        """An array: for each event of the person whether this step is true of what came after it."""
        step, name = self.steps[place], self._name
        counts, so_far, moments = f"{name}c{place}", f"{name}n{place}", f"{name}t{place}"
        made = sql(
            f"(%s AS {counts}, arrayCumSum({counts}) AS {so_far},"
            f" arrayMap(e -> e.1, arrayFilter((e, c) -> c, {name}e, {counts})) AS {moments})",
            self._counting(place),
        )
        until = "" if step.within is None else f" AND {moments}[n + %d] <= e.1 + {step.within}"

        def at_least(number: int) -> str:
            if number == 0:
                return "1"
            return f"(length({moments}) >= n + {number}{until and until % number})"

        answer = {
            "atLeast": at_least(step.number),
            "exactly": f"({at_least(step.number)} AND NOT {at_least(step.number + 1)})",
            "atMost": f"NOT {at_least(step.number + 1)}",
        }[step.bound]
        answer = self._when_known(step, answer)
        return sql(f"arrayMap((e, n) -> toUInt8({answer}), {name}e, tupleElement(%s, 2))", made)

    def _when_known(self, step: Step, answer: str) -> str:
        if step.within is None or step.bound == "atLeast":
            return answer
        return f"({answer} AND e.1 + {step.within} <= {self.now})"

    def _follows_alike(self, place: int) -> Sql:
        """The same of a step that is compared with the event it follows."""
        step = self.steps[place]
        # Equal values are found by sorting; different ones are all, less those that are equal (`_times_after`).
        alike, unlike = (
            [question for question in step.with_parent if OPERATORS[question.operator].negative == negative]
            for negative in (False, True)
        )
        # An event that has nothing to compare with is followed by nothing: nothing differs from what is not there.
        complete = " AND ".join(f"notEmpty(e.6[{self._slot(_of(question).name)}])" for question in unlike)
        number = f"if({complete}, n, 0)" if unlike else "n"
        sign = {"atLeast": ">=", "exactly": "=", "atMost": "<="}[step.bound]
        answer = self._when_known(step, f"{number} {sign} {step.number}")
        after = self._times_after(place, alike, unlike)
        return sql(f"arrayMap((e, n) -> toUInt8({answer}), {self._name}e, %s)", after)

    def _times_after(self, place: int, alike: Sequence[Question], unlike: Sequence[Question]) -> Sql:
        """An array: for each event how often this step comes after it, in time, that has the same values of some
        properties and others of others: that is all of them less those that are the same in one of these."""
        if not unlike:
            return self._times_alike(place, alike)
        one, *others = unlike
        every, same = (self._times_after(place, some, others) for some in (alike, [*alike, one]))
        return sql("arrayMap((a, b) -> a - b, %s, %s)", every, same)

    def _times_alike(self, place: int, alike: Sequence[Question]) -> Sql:
        """An array: for each event how often this step comes after it, in time, with the same values."""
        step, events = self.steps[place], f"{self._name}e"
        name = f"{self._name}a{place}" + "".join(f"_{self.steps[place].compared.index(question)}" for question in alike)
        # Of the step's own properties, and of those of the event that it follows.
        both = [question.name for question in alike], [_of(question).name for question in alike]
        own, parents = (_keys([self._slot(of) for of in names]) for names in both)
        until = f"toInt64({LATEST})" if step.within is None else f"e.1 + {step.within}"
        numbered = f"{events}, arrayEnumerate({events})"
        # (key, time, place in time, what it is, place of the event): 0 = one that comes after an event, 1 = that event,
        # behind which others of its moment are, 2 = the end of the time, behind everything of its moment.
        entries = sql(
            f"arraySort(arrayConcat(arrayFlatten(arrayMap((c, e, i) ->"
            f" if(c, arrayMap(k -> (k, e.1, i, 0, i), {own}), []), %s, {numbered})),"
            f" arrayMap((e, i) -> ({parents}[1], e.1, i, 1, i), {numbered}),"
            f" arrayMap((e, i) -> ({parents}[1], {until}, toUInt32({2**32 - 1}), 2, i), {numbered})))",
            self._counting(place),
        )
        counted = sql(
            f"(arrayMap((u, n) -> (u.4, u.5, n), (%s AS {name}), arrayCumSum(u -> u.4 = 0, {name})) AS {name}n)",
            entries,
        )
        begun, over = (
            f"arrayMap(u -> toInt64(u.3), arraySort(arrayFilter(u -> u.1 = {what}, {name}n)))" for what in (1, 2)
        )
        # The alias has to be made before it is used.
        return sql(f"tupleElement((%s, arrayMap((b, o) -> o - b, {begun}, {over})), 2)", counted)

    def _with_trait(self, question: Question) -> Sql:
        """Whether the event `e` has it as the person's trait is."""
        reference, operator = _of(question), OPERATORS[question.operator]
        sizes = [len(person_traits.newest(name)) for name in traits(self.steps)]
        place = traits(self.steps).index(reference.name)
        columns = self.columns[1 + sum(sizes[:place]) :][: sizes[place]]
        values = person_traits.scalars(reference.name, columns)
        own, its = f"e.6[{self._slot(question.name)}]", f"{self._name}v{place}"
        if operator.between is None:
            raise TypeError(f"{operator.name} compares with a value only")
        between = operator.between(JsonValue(Sql("x")), JsonValue(Sql("y")))
        some = sql(f"arrayExists(x -> arrayExists(y -> %s, (%s AS {its})), {own})", between, values)
        # As for a value that is written down: a negative question is true only of what is there.
        return sql("(notEmpty(%s) AND NOT %s)", values, some) if operator.negative else some


def _keys(slots: Sequence[int]) -> str:
    """An array of numbers, one for each combination of the values that the event `e` has there; none is 0."""
    keys = "[toUInt64(1)]"
    for slot in slots:
        keys = f"arrayFlatten(arrayMap(k -> arrayMap(v -> sipHash64(k, v), e.6[{slot}]), {keys}))"
    return f"arrayDistinct({keys})" if slots else keys


def _of(question: Question) -> Reference:
    """What it compares with. Raises TypeError for one that compares with a value."""
    if question.reference is None:
        raise TypeError(f"{question} compares with no reference")
    return question.reference


def time_triggers(steps: Sequence[Step]) -> list[TimeTrigger]:
    """When the time has passed in which something was not to happen; and when an event that is dated later has come."""
    if len(steps) == 1:
        return []
    # "At least" is true as soon as it happens, by its own change set. All else is known only when the time is over.
    waits = [
        EventTrigger(EVENTS, steps[step.follows].name, steps[step.follows].rows, step.within)
        for step in steps[1:]
        if step.within is not None and step.bound != "atLeast"
    ]
    return [*waits, *(EventTrigger(EVENTS, step.name, step.rows, 0) for step in steps)]
