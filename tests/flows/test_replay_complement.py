"""Whatever is connected, cancelled and connected again: a space gets every event of the past once, never twice."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sources import services
from sources.models import Connection, Replay
from sources.services import SourceError
from spaces.batches import advance
from spaces.clock import FixedClock
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_identity import DAY_MS, NOON, archived, message, recorded, resolve_log, resolved, stage

pytestmark = pytest.mark.django_db
CLOCK = FixedClock(NOON)
EVER = 3 * 365


def put(source, *days_ago):
    archived(source, *[message(userId=f"u{n}", at=-round(days * DAY_MS) - n) for n, days in enumerate(days_ago)])


def connection(space):
    return Connection.objects.get(space=space)


def count(space):
    """Events in the timeline. None of them is there twice."""
    times = Counter((row.source, row.message_id) for row in recorded(space))
    assert set(times.values()) <= {1}
    return len(times)


@pytest.fixture
def space():
    return SpaceFactory()


@pytest.fixture
def source(space):
    return SourceFactory(workspace=space.workspace)


def test_disconnecting_by_mistake_during_a_replay_loses_no_past(space, source):
    put(source, *range(100))
    services.connect(space, [source], since_days=200, clock=CLOCK)
    assert advance(stage(replay_rows=10), resolve_log(space))
    services.disconnect(connection(space), CLOCK)
    put(source, *[0.1] * 5)
    resolved(space)
    assert count(space) == 10
    replay = services.connect(space, [source], since_days=200, clock=CLOCK)
    assert replay.total == 90
    resolved(space)
    assert count(space) == 105
    replay.refresh_from_db()
    assert (replay.state, replay.done, replay.total) == (Replay.State.COMPLETE, 90, 90)


def test_a_wider_range_brings_only_what_is_new(space, source):
    put(source, 5, 45, 80)
    services.connect(space, [source], clock=CLOCK)
    resolved(space)
    assert count(space) == 1
    replay = services.replay_more(space, [source], since_days=60, clock=CLOCK)
    assert (replay.total, connection(space).state) == (1, Connection.State.LIVE)
    resolved(space)
    assert count(space) == 2
    assert services.replay_more(space, [source], since_days=60, clock=CLOCK) is None
    services.disconnect(connection(space), CLOCK)
    assert services.connect(space, [source], since_days=90, clock=CLOCK).total == 1
    resolved(space)
    assert count(space) == 3


def test_a_cancelled_replay_is_run_again_from_where_it_was(space, source):
    put(source, *range(20))
    replay = services.connect(space, [source], clock=CLOCK)
    assert advance(stage(replay_rows=5), resolve_log(space))
    services.cancel_replay(replay, CLOCK)
    resolved(space)
    assert services.replay_more(space, [source], since_days=30, clock=CLOCK).total == 15
    resolved(space)
    assert count(space) == 20


def test_what_comes_while_more_is_replayed_is_live(space, source):
    put(source, *range(40, 60))
    services.connect(space, [source], clock=CLOCK)
    resolved(space)
    services.replay_more(space, [source], since_days=90, clock=CLOCK)
    put(source, 0.1)
    using = stage(replay_rows=5)
    assert advance(using, resolve_log(space))
    assert advance(using, resolve_log(space))
    assert count(space) == 6  # a slice of the replay, and the live event
    resolved(space)
    assert count(space) == 21


def test_connected_again_from_now_on_the_gap_can_be_replayed_later(space, source):
    services.connect(space, [source], replay=False, clock=CLOCK)
    put(source, 1)
    resolved(space)
    services.disconnect(connection(space), CLOCK)
    put(source, 2)
    services.connect(space, [source], replay=False, clock=CLOCK)
    put(source, 3)
    resolved(space)
    assert count(space) == 2
    assert services.replay_more(space, [source], since_days=30, clock=CLOCK).total == 1
    resolved(space)
    assert count(space) == 3


def test_a_piece_that_was_decided_before_a_disconnection_counts(space, source, monkeypatch):
    """It is written by whoever finds it, whatever was done to the connection meanwhile."""
    put(source, *range(20))
    services.connect(space, [source], clock=CLOCK)
    using = stage(replay_rows=5)
    with monkeypatch.context() as patched:
        patched.setattr(using, "write", lambda *_: (_ for _ in ()).throw(ConnectionError("away")))
        with pytest.raises(ConnectionError):
            advance(using, resolve_log(space))
    services.disconnect(connection(space), CLOCK)
    services.connect(space, [source], clock=CLOCK)
    resolve_log(space).__class__.objects.update(retry_at=None)
    resolved(space)
    assert count(space) == 20


def test_of_a_source_that_is_not_connected_or_being_replayed_nothing_more_is_replayed(space, source):
    put(source, 1)
    with pytest.raises(SourceError, match="not connected"):
        services.replay_more(space, [source], since_days=1, clock=CLOCK)
    services.connect(space, [source], clock=CLOCK)
    with pytest.raises(SourceError, match="is being replayed"):
        services.replay_more(space, [source], since_days=60, clock=CLOCK)


STEPS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from([0, 1]), st.floats(0, 100)),
    st.tuples(st.just("connect"), st.sampled_from([0, 1]), st.sampled_from([1, 30, 60, EVER])),
    st.tuples(st.just("connect both"), st.just(0), st.sampled_from([30, EVER])),
    st.tuples(st.just("connect from now"), st.sampled_from([0, 1]), st.just(0)),
    st.tuples(st.just("more"), st.sampled_from([0, 1]), st.sampled_from([30, 60, EVER])),
    st.tuples(st.just("disconnect"), st.sampled_from([0, 1]), st.just(0)),
    st.tuples(st.just("cancel"), st.just(0), st.just(0)),
    st.tuples(st.just("advance"), st.just(0), st.integers(1, 3)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=4, max_size=14))
def test_whatever_is_done_nothing_comes_twice_and_all_of_it_can_be_had(steps):
    space = SpaceFactory()
    sources = [SourceFactory(workspace=space.workspace) for _ in range(2)]
    put_in = Counter()
    using = stage(replay_rows=3, live_rows=3)

    def do(what, which, value):
        source = sources[which]
        if what == "put":
            put(source, value, value / 2, value / 3, 0)
            put_in[source.pk] += 4
        elif what == "connect":
            services.connect(space, [source], since_days=value, clock=CLOCK)
        elif what == "connect both":
            services.connect(space, sources, since_days=value, clock=CLOCK)
        elif what == "connect from now":
            services.connect(space, [source], replay=False, clock=CLOCK)
        elif what == "more":
            services.replay_more(space, [source], since_days=value, clock=CLOCK)
        elif what == "disconnect":
            for each in Connection.objects.filter(space=space, source=source).exclude(state="disconnected"):
                services.disconnect(each, CLOCK)
        elif what == "cancel":
            for replay in Replay.objects.filter(space=space, state="running"):
                services.cancel_replay(replay, CLOCK)
        else:
            for _ in range(value):
                advance(using, resolve_log(space))

    for step in steps:
        try:
            do(*step)
        except SourceError:
            continue
    resolved(space)
    count(space)
    for source in sources:
        if Connection.objects.filter(space=space, source=source).exclude(state="disconnected").exists():
            services.replay_more(space, [source], since_days=EVER, clock=CLOCK)
        else:
            services.connect(space, [source], since_days=EVER, clock=CLOCK)
        resolved(space)
    assert count(space) == put_in.total()
