"""What the compiled SQL says of accounts, and of users by their accounts, is what the plain oracle says."""

import json
import os

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from audiences import queries, trait_values
from audiences.rules.compiler import Asked, QueryScope
from audiences.rules.grammar import ACCOUNTS, USERS, parse, parse_trait
from identity.models import Link, Profile
from sources.events import client
from tests.factories import SpaceFactory
from tests.factories_identity import NOON
from tests.reference.oracle import Event, Moment, Trait, World
from tests.worlds import NOW, WITHIN, inserted, objects, times, traits

pytestmark = pytest.mark.django_db
given_time = settings(
    max_examples=12 * int(os.environ.get("PERSONAS_ORACLE_TIMES", "1")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    report_multiple_bugs=False,
)
NAMES = st.sampled_from(["Seen", "Seen", "Bought"])
LEAVES = st.one_of(
    st.builds(
        lambda name, bound, number, window: {"kind": "event", "name": name, bound: number, **window},
        NAMES,
        st.sampled_from(["atLeast", "exactly", "atMost"]),
        st.integers(1, 3),
        st.sampled_from([{}, {}, WITHIN[1], WITHIN[3]]),
    ),
    NAMES.map(lambda name: {"kind": "event", "name": name, "exactly": 0}),
    NAMES.map(lambda name: {"kind": "event", "name": name, "then": [{"name": "Bought"}]}),
    st.sampled_from(["x", "y"]).map(lambda value: {"kind": "trait", "name": "plan", "op": "equals", "value": value}),
    st.just({"kind": "trait", "name": "plan", "op": "notExists"}),
)


@st.composite
def definitions(draw, of, depth=2):
    """About these, with groups about others in at most two steps."""
    rows = draw(st.lists(LEAVES, min_size=1, max_size=2))
    if depth and draw(st.integers(0, 3)):
        other = {USERS: ACCOUNTS, ACCOUNTS: USERS}[of]
        inside = draw(definitions(other, depth - 1))
        which, word = draw(st.sampled_from(["any", "all", "none"])), draw(st.sampled_from(["all", "any"]))
        rows[:0] = [{other: which, word: [inside]}]
        rows = rows[: draw(st.integers(1, 2))]
    node = {draw(st.sampled_from(["all", "any"])): rows}
    return {"not": node} if draw(st.integers(0, 4)) == 0 else node


@st.composite
def worlds(draw):
    """Five profiles of users, two of them perhaps merged, and two accounts."""
    users, accounts = [1, 2, 3, 4, 5], [6, 7]
    merges = draw(st.sampled_from([[], [(2, 1)], [(5, 3)], [(2, 1), (1, 4)]]))
    pair = st.tuples(st.sampled_from(users), st.sampled_from(accounts))
    links = draw(st.lists(pair, min_size=1, max_size=6, unique=True))
    events = draw(st.lists(st.builds(Event, st.sampled_from([*users, 6]), NAMES, times, objects), max_size=8))
    told = st.tuples(st.sampled_from([1, 2, 3, *accounts, *accounts]), st.sampled_from(["x", "y", None]))
    traits = [
        Trait(owner, "plan", value, (NOW, 1, 1, place))
        for place, (owner, value) in enumerate(draw(st.lists(told, max_size=4)))
    ]
    known = {user: draw(st.booleans()) for user in users}
    return World(known, frozenset(accounts), merges, events, traits, links)


def stored(world):
    """(space, log): it is in the event tables, and in PostgreSQL who belongs to whom."""
    space, log = inserted(world)
    SpaceFactory(pk=space)
    mine = {"workspace_id": 1, "space_id": space}
    for number in [*world.known, *world.accounts]:
        left = world.person(number)
        Profile.objects.create(number=number, merged_into=None if left == number else left, first_seen_at=NOON, **mine)
    Link.objects.bulk_create(
        Link(user=user, account=account, first_seen_at=NOON, **mine) for user, account in world.links
    )
    return space, log


def meant(space, log, asked, numbers=None, others=None):
    scope = QueryScope(1, space, client.seen(log), NOW, numbers)
    return [set(members) for members in queries.answer(scope, asked, others or {})]


BOTH = st.lists(st.tuples(definitions(USERS), definitions(ACCOUNTS)), min_size=2, max_size=2)
ONE = World(
    {1: True, 2: False, 3: True, 4: True, 5: True},
    frozenset({6, 7}),
    [(2, 1)],
    [Event(2, "Seen", NOW), Event(3, "Bought", NOW)],
    [Trait(6, "plan", "x", (NOW, 1, 1, 0)), Trait(1, "plan", "y", (NOW, 1, 1, 1))],
    [(1, 6), (2, 6), (2, 7), (3, 7)],
)
SEEN = {"kind": "event", "name": "Seen"}
SEEN_AND_ALL = {"all": [{**SEEN, "exactly": 1}, {"users": "all", "all": [SEEN]}]}
OWN_TRAIT = {"all": [SEEN, {"kind": "trait", "name": "plan", "op": "equals", "value": "x"}]}
OF_NONE = {"accounts": "none", "any": [{"users": "any", "any": [{"kind": "event", "name": "Bought"}]}]}


@given_time
@given(worlds(), BOTH, st.integers(0, 9))
@example(ONE, [(OF_NONE, SEEN_AND_ALL), (SEEN, OWN_TRAIT)], 0)
def test_accounts_and_users_by_accounts_are_as_the_oracle_says_and_narrowed_is_full(world, both, place):
    space, log = stored(world)
    asked = [
        Asked(f"a{place}", parse(definition), True, of)
        for place, pair in enumerate(both)
        for of, definition in zip((USERS, ACCOUNTS), pair, strict=True)
    ]
    oracle = Moment(world, NOW)
    expected = [
        oracle.accounts(definition) if of == ACCOUNTS else oracle.members(definition, include_anonymous=True)
        for pair in both
        for of, definition in zip((USERS, ACCOUNTS), pair, strict=True)
    ]
    assert meant(space, log, asked) == expected
    profiles = [*sorted(world.people()), *world.accounts]
    for profile in {profiles[place % len(profiles)], 6}:
        numbers = BitMap(world.numbers([profile]))
        assert meant(space, log, asked, numbers) == [members & {profile} for members in expected]


@given_time
@given(worlds(), st.lists(traits, min_size=1, max_size=3))
def test_computed_traits_of_accounts_are_those_of_all_their_users_events(world, definitions):
    space, log = stored(world)
    asked = [Asked(str(place), parse_trait(each), of=ACCOUNTS) for place, each in enumerate(definitions)]
    scope = QueryScope(1, space, client.seen(log), NOW)
    values = [
        {number: json.loads(value) for number, value in own.items()} for own in trait_values.computed(scope, asked)
    ]
    oracle = Moment(world, NOW)
    expected = [{account: oracle.value(each, account) for account in world.accounts} for each in definitions]
    assert values == [{key: value for key, value in own.items() if value is not None} for own in expected]


def test_an_audience_that_changes_in_the_same_answer_counts_for_whom_it_is_asked_about():
    """Also for those whom nothing concerns: what they were before stays."""
    space, log = stored(ONE)
    seen = Asked("seen", parse(SEEN), True)
    theirs = Asked("theirs", parse({"users": "all", "all": [{"kind": "audience", "key": "seen"}]}), of=ACCOUNTS)
    before = {"seen": BitMap([3]), "theirs": BitMap()}  # 3 has not seen, and is not asked about
    assert meant(space, log, [seen, theirs], BitMap([1, 2, 6, 7]), before) == [{1}, {6, 7}]
    assert meant(space, log, [seen, theirs], None, before) == [{1}, {6}]
