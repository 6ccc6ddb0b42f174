"""What the compiled SQL finds in the real tables is what the plain oracle finds, for whatever is asked of whomever."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from itertools import permutations, product

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from audiences.rules.compiler import SETTINGS, Asked, QueryScope, Span, members, time_triggers, values
from audiences.rules.dates import milliseconds
from audiences.rules.grammar import Leaf, beginning, conditions, parse, parse_trait
from audiences.traits import TRAITS
from sources.events import client
from tests.reference.oracle import UNITS, Event, Moment, Trait, World, length
from tests.worlds import (
    BETWEEN,
    BORDERS,
    NOW,
    ON_DATES,
    QUESTIONS,
    SESSIONS,
    VALUES,
    WINDOWS,
    WITHIN,
    alike,
    definitions,
    inserted,
    timed,
    worlds,
)

pytestmark = pytest.mark.django_db
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
# Who plants faults wants to know whether one is found, not the smallest world that shows it.
PHASES = [Phase.explicit, Phase.generate] if "PERSONAS_PLANTED_FAULT" in os.environ else list(Phase)
TIMES = int(os.environ.get("PERSONAS_ORACLE_TIMES", "1"))  # `make oracle` draws ten times as many
given_time = settings(
    max_examples=24 * TIMES,
    deadline=None,
    phases=PHASES,
    suppress_health_check=SLOW,
    report_multiple_bugs=False,
)


SEEN = {"kind": "event", "name": "Seen"}
PLAIN = [  # asked about every world, with and without anonymous people
    (definition, anonymous)
    for anonymous in (True, False)
    for definition in (
        {**SEEN, "exactly": 1},
        {**SEEN, "atLeast": 2},
        {**SEEN, "atMost": 1, "within": {"days": 7}},
        {**SEEN, "exactly": 2, "within": {"days": 1}},
        {**SEEN, "where": [{"property": "p", "op": "exists"}]},
        {"not": {"kind": "trait", "name": "plan", "op": "notExists"}},
    )
]


def scope(space, log, now=NOW, numbers=None):
    return QueryScope(1, space, client.seen(log), now, numbers)


def answered(at, asked, others):
    return [set(found) for found in client.bitmaps(members(at, asked, others), **SETTINGS)]


def test_windows_are_half_open_to_the_millisecond():
    """A person for each border of each window; all windows, and none, are columns of one statement."""
    people = dict(enumerate(BORDERS, 1))
    world = World(dict.fromkeys(people, True), events=[Event(number, "Seen", at) for number, at in people.items()])
    asked = [{**SEEN, **window} for window in ({}, *WITHIN, *BETWEEN, *ON_DATES)]
    assert means(world, asked) == {}


def test_a_step_follows_to_the_millisecond_and_what_was_not_done_is_known_when_the_time_is_over():
    """A person for each distance between two events, and for each age of the first."""
    hour = UNITS["hours"]
    distances = [-1, 0, 1, hour - 1, hour, hour + 1]
    ages = [0, 1, hour - 1, hour, hour + 1, 2 * hour]
    pairs = [(NOW - age, NOW - age + distance) for age in ages for distance in distances]
    events = [
        Event(number, name, at)
        for number, pair in enumerate(pairs, 1)
        for name, at in zip(("A", "B"), pair, strict=True)
    ]
    events += [Event(number, "B", NOW - 1) for number in range(1, len(pairs) + 1, 3)]
    events += [Event(number, "A", NOW - 1) for number in range(1, len(pairs) + 1, 5)]
    world = World(dict.fromkeys(range(1, len(pairs) + 1), True), events=events)
    bounds = [{"atLeast": 1}, {"atLeast": 2}, {"exactly": 0}, {"exactly": 1}, {"atMost": 1}]
    steps = [{"name": "B", **bound, **within} for bound in bounds for within in ({}, {"within": {"hours": 1}})]
    asked = [
        {"kind": "event", "name": "A", **often, "then": [step]}
        for step in steps
        for often in ({}, {"atLeast": 2}, {"exactly": 0})
    ]
    asked += [{"kind": "event", "name": name, "then": [{"name": name}]} for name in ("A", "B")]  # none follows itself
    asked += [
        {"kind": "event", "name": "A", "then": [{**step, "exactly": 0}, {"name": "B", "follows": follows}]}
        for step in ({"name": "A"}, {"name": "B", "within": {"hours": 1}})
        for follows in (0, 1)
    ]
    assert means(world, asked) == {}


HOUR_MS = UNITS["hours"]
PAIRS = [  # of a person each: (event, when, properties), …
    [("A", -10, {"p": 1}), ("B", -5, {"p": 1})],
    [("A", -10, {"p": 1}), ("B", -5, {"p": 2})],
    [("A", -10, {"p": 1.0}), ("B", -5, {"p": 1}), ("B", -4, {"p": "1"})],
    [("A", -10, {}), ("B", -5, {"p": 1})],
    [("A", -10, {"p": [1]}), ("B", -5, {"p": [1]})],
    [("A", -10, {"p": "x"}), ("B", -5, {"p": ["x", "x", "y"]}), ("B", -3, {"p": ["y"]})],
    [("A", -2 * HOUR_MS, {"p": "x"}), ("B", -HOUR_MS, {"p": "x"}), ("A", -HOUR_MS, {"p": "y"}), ("B", -9, {"p": "y"})],
    [("B", -5, {"p": 1}), ("A", -5, {"p": 1}), ("B", -5, {"p": 1})],
    [("A", -2 * HOUR_MS, {"p": 2**60}), ("B", -HOUR_MS, {"p": 2.0**60}), ("B", 1 - HOUR_MS, {"p": 2.0**60})],
    [("A", -5, {"p": 1, "q": 2}), ("B", -4, {"p": 1, "q": 3}), ("B", -4, {"p": 1, "q": 2})],
    [("A", -5, {"p": True}), ("B", -4, {"p": True}), ("A", -3, {"p": "1"})],
    [("A", -HOUR_MS - 1, {"p": "a"}), ("B", -1, {"p": "a"})],
    [("A", -5, {"p": 2**64}), ("B", -4, {"p": 2.0**64}), ("A", -4, {"p": -0.0}), ("B", -4, {"p": 0})],
    [("A", -5, {"p": "2026-02-30"}), ("B", -4, {"p": "2026-06-15"})],
    [],
]
OF_PERSON = [1, 2, "1", 1, [1], ["x", "z"], "x", 0, 2.0**60, 1, True, "a", 2**64, "2026-06-16", 1]


def test_what_follows_is_compared_with_the_event_before_it_and_with_the_person():
    events = [
        Event(number, name, NOW + at, properties)
        for number, told in enumerate(PAIRS, 1)
        for name, at, properties in told
    ]
    told = [Trait(number, "t", value, (NOW - number, 1, 1, 1)) for number, value in enumerate(OF_PERSON, 1)]
    world = World(dict.fromkeys(range(1, len(PAIRS) + 1), True), events=events, traits=told)

    def compared(name, op, of, other):
        return {"property": name, "op": op, "value": {of: other}}

    wheres = [
        *([compared(name, op, "parent", "p")] for name in ("p", "p[]") for op in ("equals", "notEquals")),
        [compared("p", "equals", "parent", "p"), compared("q", "notEquals", "parent", "q")],
        [compared("p", "notEquals", "parent", "p"), compared("q", "notEquals", "parent", "q")],
        [compared("p", "equals", "parent", "p"), compared("p", "equals", "trait", "t")],
    ]
    bounds = [{}, {"exactly": 0}, {"atLeast": 2}, {"exactly": 1}]
    asked = [
        {"kind": "event", "name": "A", "then": [{"name": "B", **often, **within, "where": where}]}
        for where in wheres
        for often in bounds
        for within in ({}, {"within": {"hours": 1}})
    ]
    ops = ("equals", "notEquals", "lessThan", "greaterThan", "atMost", "atLeast", "before", "after")
    asked += [
        {"kind": "event", "name": "B", **often, "where": [compared("p", op, "trait", "t")]}
        for op in ops
        for often in ({}, {"atMost": 1}, {"sum": "p", "atLeast": 1})
    ]
    asked += [
        {"kind": "event", "name": "A", measure: "p", "exactly": number, "then": [{"name": "B"}]}
        for measure in ("sum", "average", "minimum", "maximum", "distinct")
        for number in (1, 2)
    ]
    assert means(world, asked) == {}


def test_amounts_are_those_of_the_numbers_alone():
    values = [
        VALUES,
        [1, 2, 3],
        [0.1] * 3,
        [19.99, 0.01, -20],
        [],
        [5, "5", True],
        [1e300, 1],
        [2**53, 1, 1.0],
        [[1, 2], [2]],
    ]
    events = [Event(number, "Seen", NOW, {"p": value}) for number, held in enumerate(values, 1) for value in held]
    world = World(dict.fromkeys(range(1, len(values) + 2), True), events=events)
    asked = [
        {**SEEN, measure: name, bound: number}
        for measure in ("sum", "average", "minimum", "maximum", "distinct")
        for name in ("p", "p[]")
        for bound in ("atLeast", "exactly", "atMost")
        for number in ([1, 2, 3, 5] if measure == "distinct" else [0, 0.1, 0.3, 1, 2, 3, 6, 5, 2**53 + 2])
    ]
    assert means(world, asked) == {}


def test_a_merged_person_has_everything_of_both_and_the_newest_value_of_a_trait():
    events = [
        Event(1, "Seen", NOW - 5, {"p": 2}),
        Event(2, "Seen", NOW - 4, {"p": 3}),
        Event(3, "Seen", NOW - 3, {"p": 4}),
    ]
    told = [Trait(n, "p", value, (NOW - age, 1, 1, age)) for n, value, age in ((1, "x", 9), (1, "y", 5), (3, "x", 2))]
    told.append(Trait(3, "p", "z", (NOW - 8, 1, 1, 8)))
    world = World({1: True, 2: False, 3: True}, merges=[(2, 1)], events=events, traits=told)
    measures = {"sum": 5, "average": 2.5, "minimum": 2, "maximum": 3, "distinct": 2}
    asked = [{**SEEN, measure: "p", "exactly": number} for measure, number in measures.items()]
    asked += [{**SEEN, "exactly": 2}, {**SEEN, "then": [{"name": "Seen"}]}]
    asked += [{"kind": "trait", "name": "p", "op": "equals", "value": value} for value in ("x", "y", "z")]
    assert means(world, asked) == {}
    found = [Moment(world, NOW).members(each) for each in asked]
    assert found == [*[{1}] * 7, {3}, {1}, set()]


def test_dates_come_and_go_to_the_millisecond():
    """A person for each border, whose trait it is; and birthdays on days around today, of every year's kind."""
    dates = [datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds") for at in BORDERS]
    dates += [datetime.fromtimestamp((2 * NOW - at) / 1000, UTC).isoformat(timespec="milliseconds") for at in BORDERS]
    dates += [
        "2000-06-15",
        "1999-06-16T23:00:00-05:00",
        "1960-06-14",
        "2004-02-29",
        "2001-02-28",
        "0900-06-15",
        "2026-06-31",
    ]
    told = [Trait(number, "p", value, (NOW, 1, 1, 1)) for number, value in enumerate(dates, 1)]
    world = World(dict.fromkeys(range(1, len(told) + 1), True), traits=told)
    asked = [
        {"kind": "trait", "name": "p", "op": op, "value": window}
        for op in ("withinLast", "withinNext", "beforeLast", "afterNext")
        for window in WINDOWS
    ]
    to_february = (datetime(2027, 2, 28, tzinfo=UTC) - datetime(2026, 6, 15, tzinfo=UTC)).days
    asked += [
        {"kind": "trait", "name": "p", "op": "anniversary", "value": days} for days in (0, 1, 2, 364, 365, to_february)
    ]
    assert means(world, asked) == {}


def means(world, asked):
    """Of what is asked of this world: whatever the SQL answers otherwise than the oracle, and about whom."""
    space, log = inserted(world)
    wrong = {}
    for start in range(0, len(asked), 30):
        part = asked[start : start + 30]
        answers = answered(scope(space, log), [Asked(f"a{n}", parse(each)) for n, each in enumerate(part)], {})
        for definition, people in zip(part, answers, strict=True):
            if differing := people ^ Moment(world, NOW).members(definition):
                wrong[json.dumps(definition)] = sorted(differing)
    return wrong


def test_every_kind_of_value_is_computed_as_the_oracle_does():
    """Everybody has two of the values, and one of them twice."""
    pairs = list(enumerate(zip(VALUES, VALUES[1:] + VALUES[:1], strict=True), 1))
    events = [
        Event(number, "Seen", NOW - n, {"p": value}) for number, (a, b) in pairs for n, value in enumerate((b, a, b))
    ]
    kinds = [{"kind": kind} for kind in ("first", "last", "unique_list", "unique_list_count", "most_frequent")]
    kinds += [{"kind": "aggregation", "function": each} for each in ("sum", "average", "minimum", "maximum")]
    asked = [{**kind, "name": "Seen", "property": name} for kind in kinds for name in ("p", "p[]", "p.b")]
    assert_values(World({number: True for number, _ in pairs}, events=events), asked)


@pytest.mark.parametrize("window", SESSIONS[::2], ids=str)
def test_an_edge_names_whoever_has_another_value_because_a_session_is_over(window):
    """A person for each age of the last event."""
    span = length(*window.values())
    ages = dict(enumerate((0, 1, span - 1, span, span + 1, span + 2), 1))
    world = World(dict.fromkeys(ages, True), events=[Event(number, "Seen", NOW - age) for number, age in ages.items()])
    definition = {"kind": "event_counter", "name": "Seen", **window}
    now = Moment(world, NOW)
    for since in (NOW - 1, NOW - 2):
        before = Moment(replace(world), since)
        moved = {
            number
            for number in ages
            if world.events[number - 1].ts <= since
            and before.value(definition, number) != now.value(definition, number)
        }
        due, _ = moments_of(world, parse_trait(definition), since)
        assert moved <= due


@pytest.mark.parametrize("window", SESSIONS[1::3], ids=str)
def test_a_session_ends_after_more_than_its_gap_to_the_millisecond(window):
    """A person for each distance between two of three events, for each age of the last; some are two profiles."""
    span = length(*window.values())
    shifts = [0, 1, span - 1, span, span + 1]
    events, merges, number = [], [], 0
    for ages in product([-1, *shifts], shifts, [span - 1, span, span + 1]):
        number += 2
        at = NOW
        for place, age in enumerate(ages):
            at -= age
            properties = {"p": [5 - place, "x", None][: place + 1] if place == 2 else place + number % 3}
            events.append(Event(number - place % 2, "Seen", at, properties))
        merges.append((number - 1, number))
    events += [Event(number + 1, "Other", NOW)]
    kinds = [{"kind": "event_counter"}]
    kinds += [
        {**kind, "property": name}
        for kind in (
            *({"kind": kind} for kind in ("first", "last", "unique_list", "unique_list_count", "most_frequent")),
            *({"kind": "aggregation", "function": each} for each in ("sum", "average", "minimum", "maximum")),
        )
        for name in ("p", "p[]")
    ]
    known = dict.fromkeys(range(1, number + 2), True)
    assert_values(World(known, merges=merges, events=events), [{**kind, "name": "Seen", **window} for kind in kinds])


def assert_values(world, asked):
    space, log = inserted(world)
    nodes = [
        Asked(str(n), Leaf(TRAITS[each["kind"]].parse(each, "")), include_anonymous=True)
        for n, each in enumerate(asked)
    ]
    rows = {person: kept for person, *kept in client.rows(values(scope(space, log), nodes), **SETTINGS)}
    wrong = {}
    for person in world.people():
        computed = [
            json.loads(text, parse_float=Fraction) if text else None for text in rows.get(person, [""] * len(asked))
        ]
        for definition, value in zip(asked, computed, strict=True):
            expected = Moment(world, NOW).value(definition, person)
            if not alike(value, expected, definition):
                wrong[json.dumps(definition), person] = (value, expected)
    assert wrong == {}


@pytest.mark.parametrize("name", ["p", "p.b", "p.b.c", "p[]", "p[].b", "p[].b.c", "p[][]", "p.b[]"])
@pytest.mark.parametrize("kind", ["event", "trait"])
def test_every_question_of_every_kind_of_value_is_answered_as_the_oracle_does(kind, name):
    """A person for each value, a column for each question."""
    known = dict.fromkeys(range(1, len(VALUES) + 1), True)
    world = World(
        known,
        events=[Event(number, "Seen", NOW, {"p": value}) for number, value in enumerate(VALUES, 1)],
        traits=[Trait(number, "p", value, (NOW, 1, 1, 1)) for number, value in enumerate(VALUES, 1)],
    )
    if kind == "event":
        asked = [{"kind": "event", "name": "Seen", "where": [{"property": name, **each}]} for each in QUESTIONS]
    else:
        asked = [{"kind": "trait", "name": name, **each} for each in QUESTIONS]
    space, log = inserted(world)
    wrong = {}
    for start in range(0, len(asked), 30):
        part = asked[start : start + 30]
        found = answered(scope(space, log), [Asked(f"a{n}", parse(each)) for n, each in enumerate(part)], {})
        for definition, people in zip(part, found, strict=True):
            differing = people ^ Moment(world, NOW).members(definition)
            if differing:
                wrong[json.dumps(definition)] = [(VALUES[number - 1], number in people) for number in differing]
    assert wrong == {}


LISTS = [[1, "a"], ["red"], ["red", "blue"], [True, 2], []]


@pytest.mark.parametrize("first", range(len(LISTS)))
def test_no_list_hides_another_in_any_order_and_batch(first):
    """Every order in which they may come, over two batches. The first of them is the parameter."""
    asked = [
        {"kind": "event", "name": "Seen", "where": [{"property": "p", "op": op, **value}]}
        for op, value in (("contains", {"value": "red"}), ("notContains", {"value": "red"}), ("exists", {}))
    ]
    known = dict.fromkeys(range(1, len(LISTS) + 1), True)
    for order in permutations(range(len(LISTS))):
        if order[0] != first:
            continue
        world = World(known, events=[Event(place + 1, "Seen", NOW, {"p": LISTS[place]}) for place in order])
        space, log = inserted(world, decoys=False)
        found = answered(scope(space, log), [Asked(f"a{n}", parse(each)) for n, each in enumerate(asked)], {})
        assert found == [{2, 3}, {1, 4, 5}, set(known)], order


@settings(given_time, max_examples=8 * TIMES)
@given(st.data(), worlds())
def test_the_sql_means_what_the_oracle_means_for_everyone_and_narrowed(data, world):
    others = {"other": frozenset(data.draw(st.sets(st.sampled_from(sorted(world.people())))))}
    asked, expected = [], []
    drawn = [(data.draw(definitions("other", "a0")), data.draw(st.booleans())) for _ in range(3)]
    for number, (definition, anonymous) in enumerate([*PLAIN, *drawn]):
        expected.append(Moment(world, NOW, others).members(definition, include_anonymous=anonymous))
        asked.append(Asked(f"a{number}", parse(definition), anonymous))
        others = others | {f"a{number}": frozenset(expected[-1])}
    space, log = inserted(world)
    outside = {"other": BitMap(others["other"])}
    assert answered(scope(space, log), asked, outside) == expected
    some = data.draw(st.sets(st.sampled_from(sorted(world.people()))))
    narrow = BitMap(world.numbers(some))
    assert answered(scope(space, log, numbers=narrow), asked, outside) == [found & some for found in expected]


@pytest.mark.parametrize("definition", [SEEN, {**SEEN, "within": {"days": 7}}, {**SEEN, "exactly": 0}], ids=str)
def test_the_past_that_does_not_count_ends_with_its_moment(definition):
    """A person for each border; the history begins at each of them."""
    people = dict(enumerate(BORDERS, 1))
    world = World(dict.fromkeys(people, True), events=[Event(number, "Seen", at) for number, at in people.items()])
    space, log = inserted(world)
    asked = [Asked(f"a{at}", beginning(parse(definition), at)) for at in BORDERS]
    later = [replace(world, events=[each for each in world.events if each.ts > at]) for at in BORDERS]
    assert answered(scope(space, log), asked, {}) == [Moment(each, NOW).members(definition) for each in later]


@given_time
@given(worlds(), definitions(), st.sampled_from(BORDERS))
def test_an_audience_without_its_past_is_one_of_a_world_without_it(world, definition, since):
    """Events up to then do not count; traits do, whatever their age."""
    others = {"other": frozenset(world.people())}
    later = replace(world, events=[event for event in world.events if event.ts > since])
    space, log = inserted(world)
    asked = [Asked("a", beginning(parse(definition), since), include_anonymous=True)]
    (found,) = answered(scope(space, log), asked, {"other": BitMap(others["other"])})
    assert found == Moment(later, NOW, others).members(definition, include_anonymous=True)


@given_time
@given(worlds(), definitions(leaves=timed), st.sampled_from([1, 60_000, 3_600_000, 86_400_000]), st.booleans())
def test_whoever_time_alone_brings_in_or_out_is_named_by_an_edge(world, definition, span, anonymous):
    since = NOW - span
    before, after = (Moment(world, at).members(definition, include_anonymous=anonymous) for at in (since, NOW))
    due, coming = moments(world, definition, since)
    assert before ^ after <= {world.person(number) for number in due}
    for at in (at for at in turns(world) if NOW < at <= NOW + HORIZON):
        later = Moment(world, at).members(definition, include_anonymous=anonymous)
        assert later ^ after <= {world.person(number) for moment, number in coming if moment <= at}


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("span", [1, 2, 60_000, 86_400_000])
def test_an_edge_names_whoever_crosses_a_border_to_the_millisecond(window, span):
    """Everyone who did it once, at each border: whoever is in before or after, and not both, is due."""
    people = dict(enumerate(BORDERS, 1))
    world = World(dict.fromkeys(people, True), events=[Event(number, "Seen", at) for number, at in people.items()])
    definition = {"kind": "event", "name": "Seen", "within": window}
    before, after = (Moment(world, at).members(definition) for at in (NOW - span, NOW))
    due, coming = moments(world, definition, NOW - span)
    came_and_went = due - (before ^ after)
    assert before ^ after <= due
    assert all(NOW - span < people[number] <= NOW for number in came_and_went)  # nobody else is asked for nothing
    assert coming[0][0] == min(at for at in turns(world, [window]) if at > NOW)


HOUR, DAY_AGO = {"hours": 1}, {"days": 1}
TIMED = [
    {"kind": "event", "name": "A", "between": [HOUR, DAY_AGO]},
    *(
        {"kind": "event", "name": "A", **window, "then": [{"name": "B", **bound, "within": HOUR}]}
        for window in ({}, {"within": DAY_AGO})
        for bound in ({"exactly": 0}, {"atMost": 1}, {"exactly": 1})
    ),
    {"kind": "event", "name": "A", "then": [{"name": "A"}, {"name": "B", "exactly": 0, "within": HOUR, "follows": 1}]},
    *(
        {"kind": "trait", "name": "p", "op": op, "value": HOUR}
        for op in ("withinLast", "withinNext", "beforeLast", "afterNext")
    ),
    *({"kind": "trait", "name": "p", "op": "anniversary", "value": days} for days in (0, 1)),
]


@pytest.mark.parametrize("definition", TIMED, ids=str)
def test_an_edge_names_whoever_waits_or_whose_date_comes(definition):
    """A person for each distance from the border of an hour and of a day, with an event, one after it, and a date."""
    spans = [1, 60_000, 86_400_000]
    ages = [base + shift for base in (0, UNITS["hours"], UNITS["days"]) for shift in (-1, 0, 1, 30_000)]
    people = [(age, after) for age in ages for after in (None, 1, UNITS["hours"] + 1)]
    events, told = [], []
    for number, (age, after) in enumerate(people, 1):
        events.append(Event(number, "A", NOW - age))
        events += [Event(number, "B", NOW - age + after)] if after else []
        for sign in (-1, 1):
            date = datetime.fromtimestamp((NOW + sign * age) / 1000, UTC).isoformat(timespec="milliseconds")
            told.append(Trait(number + (len(people) if sign > 0 else 0), "p", date, (NOW, 1, 1, number)))
    world = World(dict.fromkeys(range(1, 2 * len(people) + 1), True), events=events, traits=told)
    now = Moment(world, NOW).members(definition)
    for span in spans:
        due, coming = moments(world, definition, NOW - span)
        assert Moment(world, NOW - span).members(definition) ^ now <= due
    for at in (at for at in turns(world) if NOW < at <= NOW + HORIZON):
        assert Moment(world, at).members(definition) ^ now <= {number for moment, number in coming if moment <= at}


HORIZON, MOST = 3_600_000, 10_000


def turns(world, windows=WINDOWS):
    """Every moment at which a window may open or close, or a date be as far away as one is long; and midnights."""
    spans = [0, *(count * UNITS[unit] for each in windows for unit, count in each.items())]
    dated = [milliseconds(text) for trait in world.traits for text in texts_of(trait.value)]
    known = [*(event.ts for event in world.events), *(at for at in dated if at is not None)]
    midnights = range(NOW // UNITS["days"] * UNITS["days"], NOW + HORIZON, UNITS["days"])
    return sorted({at + sign * span for at in known for span in spans for sign in (-1, 1)} | {*midnights})


def texts_of(value):
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for each in inside for text in texts_of(each)]


def moments(world, definition, since):
    """The raw profiles that a trigger in (since, now] names; and (moment, raw profile) in the hour after now."""
    return moments_of(world, parse(definition), since)


def moments_of(world, node, since):
    found = list(dict.fromkeys(trigger for leaf in conditions(node) for trigger in leaf.time_triggers()))
    if not found:
        return set(), []
    space, log = inserted(world)
    ((*row,),) = client.rows(
        time_triggers(scope(space, log), [Span(trigger, since) for trigger in found], until=NOW + HORIZON, most=MOST),
        **SETTINGS,
    )
    due = {number for column in row[::2] for number in column}
    return due, sorted(moment for column in row[1::2] for moment in column)
