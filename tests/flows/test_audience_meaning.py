"""What the compiled SQL finds in the real tables is what the plain oracle finds, for whatever is asked of whomever."""

import json
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from audiences.rules.compiler import SETTINGS, Asked, QueryScope, Span, members, time_triggers
from audiences.rules.dates import milliseconds
from audiences.rules.grammar import beginning, conditions, parse
from sources.events import client
from tests.reference.oracle import UNITS, Event, Moment, Trait, World
from tests.worlds import BORDERS, NOW, QUESTIONS, VALUES, WINDOWS, definitions, inserted, timed, worlds

pytestmark = pytest.mark.django_db
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
given_time = settings(max_examples=40, deadline=None, suppress_health_check=SLOW, report_multiple_bugs=False)


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
    asked = [{"kind": "event", "name": "Seen", "within": each} for each in WINDOWS] + [
        {"kind": "event", "name": "Seen"}
    ]
    space, log = inserted(world)
    found = answered(scope(space, log), [Asked(f"a{n}", parse(each)) for n, each in enumerate(asked)], {})
    assert found == [Moment(world, NOW).members(each) for each in asked]


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


@given_time
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
    due, ahead = moments(world, definition, since)
    assert before ^ after <= {world.person(number) for number in due}
    coming = [at for at in turns(world) if NOW < at <= NOW + HORIZON]
    changing = [at for at in coming if Moment(world, at).members(definition, include_anonymous=anonymous) != after]
    if changing:
        assert ahead is not None
        assert ahead <= min(changing)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("span", [1, 2, 60_000, 86_400_000])
def test_an_edge_names_whoever_crosses_a_border_to_the_millisecond(window, span):
    """Everyone who did it once, at each border: whoever is in before or after, and not both, is due."""
    people = dict(enumerate(BORDERS, 1))
    world = World(dict.fromkeys(people, True), events=[Event(number, "Seen", at) for number, at in people.items()])
    definition = {"kind": "event", "name": "Seen", "within": window}
    before, after = (Moment(world, at).members(definition) for at in (NOW - span, NOW))
    due, ahead = moments(world, definition, NOW - span)
    came_and_went = due - (before ^ after)
    assert before ^ after <= due
    assert all(NOW - span < people[number] <= NOW for number in came_and_went)  # nobody else is asked for nothing
    assert ahead == min(at for at in turns(world, [window]) if at > NOW)


HORIZON = 3_600_000


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
    """(the raw profiles that a trigger in (since, now] names, the first moment after now)."""
    found = list(dict.fromkeys(trigger for leaf in conditions(parse(definition)) for trigger in leaf.time_triggers()))
    if not found:
        return set(), None
    space, log = inserted(world)
    ((*row,),) = client.rows(
        time_triggers(scope(space, log), [Span(trigger, since) for trigger in found], HORIZON), **SETTINGS
    )
    due = {number for column in row[::2] for number in column}
    return due, min((first for first in row[1::2] if first), default=None)
