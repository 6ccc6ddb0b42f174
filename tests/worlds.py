"""Small worlds and definitions about them, drawn by hypothesis, and put into the event tables as resolve does."""

import itertools
import json
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import pyarrow
from hypothesis import strategies as st

from audiences.rules.dates import milliseconds
from identity.rules.event_rows import TIMES
from sources.events import timeline
from sources.events.properties import readable, split
from sources.events.schema import LINKS, OVERLAY, PROFILES, TIMELINE, TRAITS
from spaces.batches import Visible
from tests.reference.oracle import UNITS, Event, Trait, World

NOW = 1_781_524_800_000  # noon of the fixed day
NAMES = ["Seen", "Bought", "O'Brien's 100 %s `x` \\ é"]
PROPERTIES = ["p", "p.b", "p.b.c", "p[]", "p[].b", "p.b[]", "p[][]", "p[].b[]", "q", "it's `q` \\ %s é"]
TRAITS_ASKED = ["plan", "plan.b", "plan.b.c", "plan[]", "plan[].b", "plan.b[]", "a key's"]
WINDOWS = [{"minutes": 1}, {"hours": 1}, {"days": 1}, {"days": 7}, {"weeks": 1}]
DATES = ["2026-06-15", "2026-06-15T08:00:00Z", "2026-06-15T08:00:00.5Z", "2026-06-15T10:00:00+02:00"]
VALUES = [
    None, True, False, 0, 1, 2, -1, 1.0, 1.5, 2**53 + 1, 2.0**53, 2**63, 1e300, "", "1", "x", "xy", "true", "null",
    "y,x", *DATES, "2026-06-15T07:59:59.9999Z", "2026-02-30", "2026-06-15 08:00:00", "20260615",
    "2026-06-15T08:00:00Z\n", "1781510400", "2026-06-15T10:00+0200", "1969-01-01", "0001-01-01", "9999-12-31T23:59Z",
    2**64, -(2**63) - 1, 10**30,
    [], ["x"], ["x", "y"], ["", "x"], ["x", None], [None], [1, 2], [1, "x"], [True], [1, True], [["x"]], [["x"], [1]],
    [{"b": 1}], ["x", 1, {"b": "x"}], [{"b": "x"}, {"b": 2}, {}], [{"b": {"c": 2}}, {"b.c": 1}], [{"b": ["x", 1]}],
    [2**64],
    {}, {"b": 1}, {"b": "x"}, {"b": None}, {"b": {}}, {"b": {"c": 2}}, {"b": ["x"]}, {"c": 1},
    {"b.c": 2}, {"b.c": None, "b": {"c": "x"}}, {"b.c": 1, "b": {"c": 2}}, {"b": 1, "b.c": 2},
]  # fmt: skip
SCALARS = [True, False, 0, 1, 2, 1.0, 1.5, 2**53, 2.0**53, -1, "", "1", "x", "true", "2026-06-15"]
NUMBERS = [0, 1, 1.0, 1.5, 2, -1, 2**53, 2**53 + 1, 2.0**53, 2**62]
TEXTS = ["x", "y", ",", "x,y", "1", "%", "2026"]
OPERANDS = {
    ("equals", "notEquals"): SCALARS,
    ("lessThan", "greaterThan", "atMost", "atLeast"): NUMBERS,
    ("contains", "notContains", "startsWith", "endsWith"): TEXTS,
    ("oneOf",): [["x"], ["x", "1"], [1, "y"], [True], [1.5, 2, False], ["", "true"]],
    ("before", "after"): DATES,
}
QUESTIONS = [
    *({"op": op, "value": value} for ops, values in OPERANDS.items() for op in ops for value in values),
    {"op": "exists"},
    {"op": "notExists"},
]
_spaces = itertools.count(1_000_000)

BORDERS = [
    NOW - span + shift
    for span in {0, *(count * UNITS[unit] for each in WINDOWS for unit, count in each.items())}
    for shift in (-1, 0, 1)
]
DATED = [*DATES, "2026-06-14", "2026-06-16T12:00:00Z"]
BORDERS += [milliseconds(text) + shift for text in DATED for shift in (-1, 0, 1)]
times = st.sampled_from(BORDERS) | st.sampled_from([at + 30_000 for at in BORDERS])
names = st.sampled_from([*NAMES, *NAMES[:1] * 6])  # mostly one, so that much happens more than once
objects = st.dictionaries(
    st.sampled_from(["p", "q", "p.b", "p.b.c", "p[]", PROPERTIES[-1]]), st.sampled_from(VALUES), max_size=3
)
questions = st.sampled_from(QUESTIONS)
filters = st.builds(lambda name, each: {"property": name, **each}, st.sampled_from(PROPERTIES), questions)
compared = st.builds(
    lambda name, op, trait: {"property": name, "op": op, "value": {"trait": trait}},
    st.sampled_from(PROPERTIES),
    st.sampled_from(["equals", "notEquals", "lessThan", "greaterThan", "atMost", "atLeast", "before", "after"]),
    st.sampled_from(TRAITS_ASKED),
)
related = st.builds(
    lambda name, op, parent: {"property": name, "op": op, "value": {"parent": parent}},
    st.sampled_from([*PROPERTIES, "p", "p"]),
    st.sampled_from(["equals", "notEquals"]),
    st.sampled_from(["p", "p.b", "p.b.c", "q", PROPERTIES[-1]]),
)
frequencies = st.one_of(
    st.just({}),
    st.builds(lambda n: {"atLeast": n}, st.integers(1, 2)),
    st.builds(lambda n: {"exactly": n}, st.integers(0, 2)),
    st.builds(lambda n: {"atMost": n}, st.integers(0, 2)),
)
WITHIN = [{"within": each} for each in WINDOWS]
BETWEEN = [{"between": [first, last]} for first, last in combinations(WINDOWS[:4], 2)]
ON_DATES = [
    *({"after": day} for day in DATED),
    *({"before": day} for day in DATED),
    {"after": DATED[-2], "before": DATED[-1]},
    {"on": "2026-06-15"},
    {"on": "2026-06-14"},
]
windows = st.one_of(st.just({}), *(st.sampled_from(each) for each in (WITHIN, WITHIN, BETWEEN, ON_DATES)))
SESSIONS = [{key: each} for key in ("lastSession", "currentSession") for each in WINDOWS[:3]]
windows_of_traits = windows | st.sampled_from(SESSIONS)


def _where(*questions):
    return st.builds(lambda rows: {"where": rows}, st.lists(st.one_of(*questions), min_size=1, max_size=2))


wheres = st.just({}) | st.just({}) | _where(filters)
wheres_of_events = wheres | _where(filters, compared)
wheres_of_steps = wheres | _where(filters, compared, related, related)
amounts = st.builds(
    lambda measure, name, bound, number: {measure: name, bound: number},
    st.sampled_from(["sum", "average", "minimum", "maximum"]),
    st.sampled_from(PROPERTIES),
    st.sampled_from(["atLeast", "exactly", "atMost"]),
    st.sampled_from([0, 1, 1.5, 2, -1, 3, 2**53]),
) | st.builds(
    lambda name, bound, number: {"distinct": name, bound: number},
    st.sampled_from(PROPERTIES),
    st.sampled_from(["atLeast", "exactly", "atMost"]),
    st.integers(1, 2),
)


@st.composite
def steps(draw):
    several = draw(st.integers(1, 3))
    within = st.sampled_from([{}, *({"within": each} for each in WINDOWS)])
    return {
        "then": [
            {
                "name": draw(names),
                **draw(frequencies),
                **draw(within),
                **draw(wheres_of_steps),
                **({"follows": follows} if (follows := draw(st.integers(0, place))) else {}),
            }
            for place in range(several)
        ]
    }


def event_of(name, *parts):
    return {"kind": "event", "name": name} | {key: value for part in parts for key, value in part.items()}


performed = st.builds(event_of, names, frequencies, windows, wheres_of_events)
measured = st.builds(event_of, names, amounts, windows, wheres_of_events)
followed = st.builds(event_of, names, frequencies | amounts, windows, wheres_of_events, steps())
relative = st.builds(
    lambda op, value: {"op": op, "value": value},
    st.sampled_from(["withinLast", "withinNext", "beforeLast", "afterNext"]),
    st.sampled_from(WINDOWS),
) | st.integers(0, 2).map(lambda days: {"op": "anniversary", "value": days})
has_trait = st.builds(
    lambda name, each: {"kind": "trait", "name": name, **each}, st.sampled_from(TRAITS_ASKED), questions
)
dated = st.builds(lambda name, each: {"kind": "trait", "name": name, **each}, st.sampled_from(TRAITS_ASKED), relative)
kept = st.sampled_from([*PROPERTIES[:5], *PROPERTIES[:1] * 3])
of_property = st.one_of(
    st.sampled_from(["first", "last", "unique_list", "unique_list_count"]).map(lambda kind: {"kind": kind}),
    st.sampled_from(["sum", "average", "minimum", "maximum"]).map(
        lambda each: {"kind": "aggregation", "function": each}
    ),
    st.integers(1, 2).map(lambda least: {"kind": "most_frequent", "minimum": least}),
)
traits = st.builds(
    lambda kind, property, *parts: event_of("", *parts) | kind | {"property": property},
    of_property,
    kept,
    names.map(lambda name: {"name": name}),
    windows_of_traits,
    wheres,
) | st.builds(
    lambda *parts: event_of("", *parts) | {"kind": "event_counter"},
    names.map(lambda name: {"name": name}),
    windows_of_traits,
    wheres,
)
timed = st.one_of(performed, measured, followed, dated)  # those that time alone may make true or untrue


def definitions(*keys, leaves=None):
    """Trees over every kind of condition; `keys`: the audiences they may ask about."""
    each = leaves if leaves is not None else st.one_of(performed, measured, followed, has_trait, dated)
    if keys:
        each = each | st.sampled_from([{"kind": "audience", "key": key} for key in keys])
    return st.recursive(
        each,
        lambda inner: st.one_of(
            st.builds(lambda rows: {"all": rows}, st.lists(inner, min_size=1, max_size=3)),
            st.builds(lambda rows: {"any": rows}, st.lists(inner, min_size=1, max_size=3)),
            st.builds(lambda row: {"not": row}, inner),
        ),
        max_leaves=4,
    )


@st.composite
def worlds(draw):
    """A few profiles, some merged, an account among them, and what they did."""
    count = draw(st.integers(1, 4))
    known = {number: draw(st.booleans()) for number in range(1, count + 1)}
    account = count + 1
    merges, left = [], list(known)
    for _ in range(draw(st.integers(0, min(3, count - 1)))):
        loser, winner = draw(st.permutations(left))[:2]
        merges.append((loser, winner))
        left.remove(loser)
    owners = st.sampled_from([*known, *known, account])
    events = draw(st.lists(st.builds(Event, owners, names | st.just(""), times, objects), min_size=4, max_size=14))
    stamps = st.tuples(st.sampled_from([NOW, NOW - 1, NOW - 2]), st.integers(1, 2), st.integers(1, 2))
    told = draw(
        st.lists(
            st.tuples(
                owners,
                st.sampled_from(["plan", "plan", "plan.b", "plan[]", "a key's"]),
                st.sampled_from(VALUES),
                stamps,
            ),
            max_size=8,
        )
    )
    traits = [Trait(owner, key, value, (*stamp, place)) for place, (owner, key, value, stamp) in enumerate(told)]
    return World(known, frozenset({account}), merges, events, traits)


def inserted(world, *, decoys=True):
    """(space, log): the world is in the tables, over two batches. decoys: rows that nobody may see lie beside."""
    half = len(world.events) // 2
    first = replace(
        world,
        events=world.events[:half],
        merges=world.merges[:1],
        traits=[],
        links=world.links[: len(world.links) // 2],
    )
    space, logs = inserted_by_stages([first, world], decoys=decoys)
    return space, logs[-1]


def inserted_by_stages(worlds, *, decoys=True):
    """(space, logs): each of these worlds, which holds all of the one before it, is what its log shows."""
    space, logs, before = next(_spaces), [], World({})
    for stage, world in enumerate(worlds):
        number = 3 * stage + 2
        _piece(space, number, before, world)
        if decoys:
            _piece(space, number + 1, before, world, flip=True)  # given up, or not committed yet
        logs.append(Visible(space, number, tuple(range(3, number, 3))))
        before = world
    return space, logs


def _piece(space, number, before, world, *, flip=False):
    """What is new in the world. flip: as nobody may see it."""

    def put(table, columns):
        rows = pyarrow.table({name: pyarrow.array(values, kind) for name, (values, kind) in columns.items()})
        timeline.insert(table, rows, workspace_id=1, space_id=space, piece=number)

    places = range(len(world.events) if flip else 0) or range(len(before.events), len(world.events))
    events = [world.events[place] for place in places]
    told = world.traits if flip else world.traits[len(before.traits) :]
    properties = [split(json.dumps(each.properties).encode()) for each in events]
    u32, u64, u8, text = pyarrow.uint32(), pyarrow.uint64(), pyarrow.uint8(), pyarrow.string()
    put(
        TIMELINE,
        {
            "position": (list(range(len(events))), u32),
            "profile": ([each.profile for each in events], u32),
            "ts": ([each.ts for each in events], TIMES),
            "source": ([each.source for each in events], u32),
            "origin_piece": ([1] * len(events), u64),
            "origin_position": (list(places), u32),
            "type": (["track"] * len(events), text),
            "event": ([each.name for each in events], text),
            "message_id": ([f"m{place}" for place in places], text),
            "properties_text": ([own for own, _ in properties], pyarrow.binary()),
            "lists": ([lists for _, lists in properties], pyarrow.binary()),
        },
    )
    put(
        TRAITS,
        {
            "position": (list(range(len(told))), u32),
            "profile": ([each.profile for each in told], u32),
            "key": ([each.key for each in told], text),
            "value": (
                [readable(json.dumps(None if flip else each.value).encode()) for each in told],
                pyarrow.binary(),
            ),
            "ts": ([each.stamp[0] + flip for each in told], TIMES),
            "source": ([each.stamp[1] for each in told], u32),
            "origin_piece": ([each.stamp[2] for each in told], u64),
            "origin_position": ([each.stamp[3] for each in told], u32),
        },
    )
    people, accounts = sorted(world.known.keys() - before.known.keys()), sorted(world.accounts - before.accounts)
    known = [int(flip or world.known[each]) for each in people] + [1] * len(accounts)
    put(
        PROFILES,
        {
            "profile": ([*people, *accounts], u32),
            "kind": ([1] * len(people) + [2] * len(accounts), u8),
            "known": (known, u8),
        },
    )
    links = world.links[len(before.links) :]
    links = [(user, account) for user in world.known for account in world.accounts] if flip else links
    put(LINKS, {"user": ([user for user, _ in links], u32), "account": ([account for _, account in links], u32)})
    rows = _overlay(before.merges, world.merges[len(before.merges) :])
    if flip:
        rows = [(each, min(world.known)) for each in world.known if each != min(world.known)]
    put(OVERLAY, {"loser": ([each[0] for each in rows], u32), "winner": ([each[1] for each in rows], u32)})


def _overlay(before, merges):
    """What resolve writes: of each loser, and of everyone who went into it earlier, the winner they have then."""
    winners = dict(before)
    written = {}
    for loser, winner in merges:
        for each in [loser, *(other for other, its in winners.items() if its == loser)]:
            winners[each] = written[each] = winner
    return list(written.items())


def alike(value, expected, definition):
    """An average is cut off behind the millionth."""
    if isinstance(expected, Fraction):
        return value == (
            Fraction(int(expected * 10**6), 10**6) if definition.get("function") == "average" else expected
        )
    if isinstance(expected, float):
        return isinstance(value, Fraction | int) and float(value) == expected
    if isinstance(expected, list):
        return isinstance(value, list) and [*map(comparable, value)] == [*map(comparable, expected)]
    return type(value) is type(expected) and value == expected


def comparable(value):
    return (type(value) is bool, float(value) if isinstance(value, int | float | Fraction) else value)
