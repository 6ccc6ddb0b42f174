"""A slice of a replay, resolved by its sets of identifiers, is what looking at each of its events makes of it."""

import numpy
from hypothesis import example, given
from hypothesis import strategies as st

from identity.rules.graph import IdentityGraph, Node
from identity.rules.messages import ArchivedEvent
from identity.rules.policy import Definition, Limit, Policy
from identity.rules.resolution import EventBatch, resolve
from identity.rules.slices import SliceRows, resolve_slice

TYPES = ["user_id", "email", "anonymous_id", "group_id"]
users = st.lists(
    st.tuples(st.sampled_from(["user_id", "email", "anonymous_id"]), st.sampled_from("xyz")),
    unique_by=lambda identifier: identifier[0],
    min_size=1,
    max_size=3,
).map(tuple) | st.just(())
events = st.builds(
    ArchivedEvent,
    type=st.sampled_from(["track", "identify", "group"]),
    event=st.just(""),
    user=users,
    account=st.sampled_from([None, ("group_id", "g"), ("group_id", "h")]),
    properties=st.just(b""),
    lists=st.just(b""),
    traits=st.dictionaries(st.sampled_from("pq"), st.sampled_from([b"1", b"2", b"null"]), max_size=2),
    stays_out=st.booleans(),
)
limits = st.builds(Limit, st.integers(1, 2), st.sampled_from(["daily", "ever"]))
policies = st.builds(
    lambda each, merges, mappings: Policy(tuple(map(Definition, TYPES, each)), merges, mappings),
    st.lists(limits, min_size=len(TYPES), max_size=len(TYPES)),
    st.sampled_from([0, 1, 100]),
    st.sampled_from([2, 4, 1000]),
)
rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3 * 86_400_000)), min_size=12, max_size=40)


def graph(policy):
    nodes = [Node(1, {("user_id", "x"): 0}), Node(2, {("anonymous_id", "x"): 0, ("email", "z"): 0}, merges=1)]
    return IdentityGraph(policy, nodes, 2, 3)


def outcome(graph, resolution):
    seen = {
        identifiers: (
            set.node.number,
            set.refused,
            set.events,
            (set.first, set.first_index),
            (set.last, set.last_index),
        )
        for identifiers, set in graph.seen_sets.items()
    }
    return resolution, seen, graph.created, graph.merged, graph.gained, graph.last_profile


def event(*user):
    return ArchivedEvent("track", "", user, None, b"", b"", {})


USER, OTHER, MAIL, MORE = ("user_id", "u"), ("anonymous_id", "a"), ("email", "1"), ("email", "2")
DAY = 86_400_000
ONE_A_DAY = Policy(tuple(Definition(type, Limit(1, "daily")) for type in TYPES))


@example(ONE_A_DAY, [event(USER, MAIL), event(USER, MORE)], [(0, 0), (1, 1), (1, 2), (1, 2 * DAY), (1, 3 * DAY)])
@example(ONE_A_DAY, [event(USER), event(OTHER), event(USER, OTHER)], [(0, 0), (1, 1), (1, 2), (2, 3), (1, 4), (1, 5)])
@given(policies, st.lists(events, min_size=6, max_size=6), rows)
def test_by_sets_is_one_by_one(policy, different, rows):
    which, times = [number for number, _ in rows], sorted(at for _, at in rows)
    # As a slice has them: numbered by when they first come.
    order = list(dict.fromkeys(which))
    places = {
        "times": times,
        "sources": [1] * len(rows),
        "pieces": [1] * len(rows),
        "positions": [*range(len(rows))],
        "ids": ["m"] * len(rows),
    }
    one_by_one = EventBatch(events=[different[number] for number in which], **places)
    slice = SliceRows(
        events=[different[number] for number in order],
        which=numpy.array([order.index(number) for number in which], "i4"),
        **places,
    )
    slow, fast = graph(policy), graph(policy)
    assert outcome(fast, resolve_slice(fast, slice)) == outcome(slow, resolve(slow, one_by_one))
