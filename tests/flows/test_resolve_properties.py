"""However the events come, in one replay or one by one, the profiles are those of the slow resolver."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.models import Profile
from identity.rules.policy import DEFAULT_POLICY, Definition, Limit, Policy
from sources.services import connect
from spaces.clock import FixedClock
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_identity import (
    DAY_MS,
    NOON,
    archived,
    as_sets,
    links,
    listening,
    message,
    people,
    reference,
    resolved,
    stage,
)

pytestmark = pytest.mark.django_db

TYPES = ["user_id", "email", "anonymous_id", "crm", "group_id"]
values = st.sampled_from([1, "x", None, {"a": [1]}, True])
fields = st.fixed_dictionaries(
    {},
    optional={
        "userId": st.sampled_from(["u1", "u2", "u3", "null"]),
        "anonymousId": st.sampled_from([f"a{n}" for n in range(6)]),
        "groupId": st.sampled_from(["g1", "g2"]),
        "traits": st.dictionaries(st.sampled_from(["plan", "city", "crm"]), values, max_size=2),
        "integrations": st.sampled_from([{"Personas": False}, {"All": False}, {"All": False, "Personas": True}]),
        "context": st.just({"integrations": {"personas": False}}),
        "properties": st.sampled_from([{"email": "E@x.org"}, {"email": "f@x.org"}, {"crm": "c1"}, {"crm": "c2"}]),
    },
)
# Few different times, so that many are equal; and some far apart, for the periods.
times = st.integers(-6, 0).map(lambda days: days * DAY_MS) | st.integers(-20 * DAY_MS, 0)
events = st.lists(
    st.tuples(st.sampled_from(["track", "identify", "group"]), times, fields, st.integers(0, 1)), max_size=18
)
limits = st.builds(Limit, st.integers(1, 2), st.sampled_from(["daily", "weekly", "ever"]))
policies = st.just(DEFAULT_POLICY) | st.builds(
    lambda each, merges, mappings: Policy(tuple(map(Definition, TYPES, each)), merges, mappings),
    st.lists(limits, min_size=len(TYPES), max_size=len(TYPES)),
    st.sampled_from([0, 1, 100]),
    st.sampled_from([2, 4, 1000]),
)


def graph_of(space):
    return people(space), people(space, Profile.Kind.ACCOUNT), links(space)


def expected(slow):
    return as_sets(slow.profiles()), as_sets(slow.accounts()), slow.links()


def sent_to(sources, stream):
    """The stream archived in batches of three; each message with its source and its place there."""
    kept, rows = [], [[], []]
    for number, (type, at, more, which) in enumerate(stream):
        rows[which].append(message(type, id=f"m{number}", at=at, **more))
    for source, mine in zip(sources, rows, strict=True):
        for start in range(0, len(mine), 3):
            piece = archived(source, *mine[start : start + 3])
            kept += [(source.pk, piece, place, each) for place, each in enumerate(mine[start : start + 3])]
    return kept


def space_with(policy):
    kept = None if policy is DEFAULT_POLICY else policy.to_json()
    space = SpaceFactory(identity_policy=kept)
    return space, [SourceFactory(workspace=space.workspace) for _ in range(2)]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies, events)
def test_a_replay_at_once_in_slices_and_one_by_one_all_agree_with_the_slow_resolver(policy, stream):
    graphs = []
    for rows in (1000, 4, 1):
        space, sources = space_with(policy)
        sent = sent_to(sources, stream)
        connect(space, sources, clock=FixedClock(NOON))
        resolved(space, stage(replay_rows=rows))
        graphs.append(graph_of(space))
        assert graphs[-1] == expected(reference(space, policy, sent))
    assert graphs[0] == graphs[1] == graphs[2]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies, events, st.sampled_from([1, 3, 100]))
def test_live_pieces_of_any_size_agree_with_the_slow_resolver(policy, stream, size):
    space, sources = space_with(policy)
    for source in sources:
        listening(space, source)
    sent = sent_to(sources, stream)
    resolved(space, stage(live_rows=size))
    assert graph_of(space) == expected(reference(space, policy, sent))
