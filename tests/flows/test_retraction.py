"""A source that is taken back leaves everything as the rules make it of all other events."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from identity import retraction
from identity.erasure import tell_of
from identity.models import Evidence, Identifier, Profile
from spaces.clock import FixedClock
from spaces.models import Replaced
from tests.factories_identity import NOON, people, recorded, resolved
from tests.flows.test_resolve_properties import events, policies
from tests.flows.test_splits import Killed, Stream, by_clickhouse, by_postgresql, holders, stream_of

pytestmark = pytest.mark.django_db
U1, A1, E1 = ("user_id", "u1"), ("anonymous_id", "a1"), ("email", "e@x.yz")


def by_import(stream):
    """Only identify calls come by the second source, as of an import."""
    return [(type, at, more, which if type == "identify" else 0) for type, at, more, which in stream]


def taken_back(stream, few=2):
    """Of the second source nothing is left, in parts of so many people."""
    source, gone, told = stream.sources[1].pk, BitMap(), BitMap()
    assert retraction.drained(stream.space, source)
    waiting = retraction.people_of_source(stream.space, source)

    def keep(done, no_more):
        waiting.difference_update(done)
        gone.update(no_more)
        told.update(done)

    while waiting:
        part = BitMap(list(waiting)[:few])
        assert retraction.retract(stream.space, source, part, clock=FixedClock(NOON), keep=keep)
        assert not waiting & part
    retraction.erase_rows(stream.space, source, gone)
    assert not told or tell_of(stream.space, told, clock=FixedClock(NOON))
    stream.sent = {key: value for key, value in stream.sent.items() if key[0] != source}
    stream.order = [key for key in stream.order if key[0] != source]
    return gone


@settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(policies, events, events, st.sampled_from([1, 3, 100]))
def test_what_is_left_is_what_the_slow_resolver_makes_of_the_other_events(policy, before, after, size):
    stream = Stream(policy, size)
    stream.send(by_import(before))
    taken_back(stream)
    stream.is_as()
    stream.send([(type, at, more, 0) for type, at, more, _ in after])
    stream.is_as()
    assert not Identifier.objects.filter(space=stream.space, source=stream.sources[1]).exclude(profile=0).exists()
    seen = Evidence.objects.filter(space=stream.space)
    assert stream.sources[1].pk not in {*seen.values_list("first_source", flat=True)}


def imported(*messages):
    """One event of the shop, then these by the import."""
    stream = stream_of(("identify", {"userId": "u1", "traits": {"plan": "free", "city": "Bern"}}))
    stream.send([("identify", at, more, 1) for at, more in enumerate(messages, 10)])
    return stream


def test_values_are_what_they_were_and_whoever_is_only_there_by_it_goes():
    stream = imported(
        {"userId": "u1", "traits": {"plan": "pro", "email": "e@x.yz"}}, {"userId": "u2", "traits": {"plan": "pro"}}
    )
    stream.send([("identify", 20, {"userId": "u1", "traits": {"city": "Rome"}}, 0)])
    assert holders(stream.space)[E1] == 1
    assert [row.events for row in Evidence.objects.filter(space=stream.space, identifiers=[["user_id", "u1"]])] == [2]
    gone = taken_back(stream)
    assert (list(gone), Replaced.objects.count()) == ([2], 0)  # nobody was moved: no row had to be written anew
    assert by_clickhouse(stream.space) == by_postgresql(stream.space)
    assert Profile.objects.get(space=stream.space).traits == {"plan": "free", "city": "Rome"}
    assert holders(stream.space) == {U1: 1, E1: 0, ("user_id", "u2"): 0}
    seen = Evidence.objects.get(space=stream.space)
    assert (seen.identifiers, seen.events, seen.last_message_id) == ([["user_id", "u1"]], 2, "m3")


def test_a_merge_by_it_comes_apart_and_what_was_refused_because_of_it_is_accepted():
    stream = stream_of(("track", {"userId": "u1"}), ("track", {"anonymousId": "a1"}))
    stream.send([("identify", 5, {"userId": "u1", "anonymousId": "a1"}, 1), ("track", 6, {"anonymousId": "a1"}, 0)])
    assert len(people(stream.space)) == 1
    taken_back(stream)
    assert holders(stream.space) == {U1: 1, A1: 2}
    assert len(recorded(stream.space)) == 3
    stream.is_as()


@pytest.mark.parametrize("place", ["prepared", "written", "committed"])
def test_whoever_dies_on_the_way_loses_nothing(place, monkeypatch):
    stream = stream_of(("track", {"userId": "u1"}), ("track", {"anonymousId": "a1"}))
    stream.send([("identify", 5, {"userId": "u1", "anonymousId": "a1", "traits": {"plan": "pro"}}, 1)])
    deaths = []

    def die(point):
        if point == f"resolve:{place}" and not deaths:
            deaths.append(point)
            raise Killed(point)

    monkeypatch.setattr("spaces.batches.reach", die)
    with pytest.raises(Killed):
        taken_back(stream)
    resolved(stream.space)  # whoever serves the space next finishes what was begun
    taken_back(stream)
    assert deaths
    stream.is_as()
