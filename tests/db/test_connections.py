"""Sources and connections: no event falls between a replay and what comes after it, and none is in both."""

from datetime import timedelta

import pytest

from access.models import AuditEntry
from personas_site import erasure
from sources import consumption, queries, services
from sources.events import archive_table
from sources.events.archive_table import WHOLE_PIECE
from sources.models import Connection, Inbox, Replay, Source, WriteKey
from sources.services import SourceError, connect
from spaces.models import Log
from tests.factories import SourceFactory, SpaceFactory, WorkspaceFactory
from tests.factories_sources import (
    RECEIVED_AT,
    ReplayFactory,
    archive_all,
    archived,
    ids_in_archive,
    send,
    track,
)

pytestmark = pytest.mark.django_db

S = Connection.State


@pytest.fixture
def space():
    return SpaceFactory()


@pytest.fixture
def source(space):
    return SourceFactory(workspace=space.workspace)


@pytest.fixture
def other(space):
    return SourceFactory(workspace=space.workspace)


def put(source, *ids, **fields):
    """Archived in one batch."""
    send(source, *[track(messageId=id, **fields) for id in ids])
    archive_all(source)


def replayed(replay) -> list[str]:
    table = archive_table.read_replay_slice(replay.workspace_id, consumption.reach_of(replay), None, 1000)
    return table["message_id"].to_pylist()


def live(space) -> list[str]:
    """What the live reader of the space would read next."""
    rows, _ = archive_table.read_live(
        space.workspace_id, consumption.places(list(consumption.listening(space.pk))), 1000
    )
    return sorted(rows["message_id"].to_pylist())


def test_what_is_archived_is_replayed_and_what_follows_is_live(space, source, clock):
    put(source, "a", "b")
    replay = connect(space, [source], clock=clock)
    put(source, "c")
    assert replayed(replay) == ["a", "b"]
    assert live(space) == ["c"]
    assert (replay.total, replay.done, replay.state) == (2, 0, Replay.State.RUNNING)
    assert (replay.since, replay.until) == (RECEIVED_AT - timedelta(days=30), RECEIVED_AT)


def test_sources_connected_together_form_one_replay_with_a_cut_off_each(space, source, other, clock):
    put(source, "a", timestamp="2026-06-03T00:00:00Z")
    put(source, "b", timestamp="2026-06-01T00:00:00Z")
    put(other, "c", timestamp="2026-06-02T00:00:00Z")
    replay = connect(space, [source, other], clock=clock)
    put(other, "d", timestamp="2026-06-01T00:00:00Z")
    assert replayed(replay) == ["b", "c", "a"]
    assert replay.total == 3
    cutoffs = {row.source_id: (row.cutoff, row.piece, row.position) for row in replay.connections.all()}
    assert cutoffs == {source.pk: (2, 2, WHOLE_PIECE), other.pk: (1, 1, WHOLE_PIECE)}
    assert live(space) == ["d"]


def test_a_replay_has_the_days_asked_for(space, source, clock):
    put(source, "old", timestamp="2026-06-07T11:59:59Z")
    put(source, "new", timestamp="2026-06-08T12:00:00Z")
    replay = connect(space, [source], since_days=7, clock=clock)
    assert replayed(replay) == ["new"]
    assert replay.total == 1


def test_without_a_replay_only_what_comes_counts(space, source, clock):
    put(source, "a")
    assert connect(space, [source], replay=False, clock=clock) is None
    put(source, "b")
    assert live(space) == ["b"]
    assert Connection.objects.get().state == S.LIVE


def test_a_source_without_any_event_can_be_connected(space, source, clock):
    replay = connect(space, [source], clock=clock)
    assert (replay.total, replayed(replay)) == (0, [])
    put(source, "a")
    assert live(space) == ["a"]


def test_a_source_is_connected_once(space, source, other, clock):
    connect(space, [source], clock=clock)
    with pytest.raises(SourceError, match="already connected"):
        connect(space, [other, source], clock=clock)
    assert Connection.objects.count() == 1


def test_a_source_may_feed_several_spaces(space, source, clock):
    put(source, "a")
    second = SpaceFactory(workspace=space.workspace)
    assert replayed(connect(space, [source], clock=clock)) == replayed(connect(second, [source], clock=clock)) == ["a"]


def test_a_disconnected_source_is_not_read(space, source, clock):
    connect(space, [source], replay=False, clock=clock)
    services.disconnect(Connection.objects.get(), clock)
    put(source, "a")
    assert live(space) == []
    assert Connection.objects.get().state == S.DISCONNECTED


def test_reconnected_it_goes_on_where_it_stopped(space, source, clock):
    put(source, "a")
    connect(space, [source], replay=False, clock=clock)
    services.disconnect(Connection.objects.get(), clock)
    put(source, "b")
    replay = connect(space, [source], clock=clock)
    put(source, "c")
    assert (replayed(replay), live(space)) == (["a"], ["b", "c"])


def test_reconnected_with_everything_it_is_live_at_once(space, source, clock):
    connect(space, [source], replay=False, clock=clock)
    services.disconnect(Connection.objects.get(), clock)
    put(source, "b")
    assert connect(space, [source], clock=clock) is None
    assert (live(space), Connection.objects.get().state) == (["b"], S.LIVE)


def test_reconnected_without_a_replay_it_goes_on_from_now(space, source, clock):
    connect(space, [source], replay=False, clock=clock)
    services.disconnect(Connection.objects.get(), clock)
    put(source, "b")
    connect(space, [source], replay=False, clock=clock)
    put(source, "c")
    assert live(space) == ["c"]


def test_disconnecting_one_source_leaves_the_replay_to_the_others(space, source, other, clock):
    put(source, "a")
    put(other, "b")
    replay = connect(space, [source, other], clock=clock)
    services.disconnect(Connection.objects.get(source=source), clock)
    replay.refresh_from_db()
    assert (replay.state, replayed(replay)) == (Replay.State.RUNNING, ["b"])
    services.disconnect(Connection.objects.get(source=other), clock)
    replay.refresh_from_db()
    assert (replay.state, replay.finished_at) == (Replay.State.CANCELLED, clock.now())


def test_a_cancelled_replay_makes_its_sources_live(space, source, clock):
    put(source, "a")
    replay = connect(space, [source], clock=clock)
    services.cancel_replay(replay, clock)
    put(source, "b")
    replay.refresh_from_db()
    assert (replay.state, replay.finished_at) == (Replay.State.CANCELLED, clock.now())
    assert live(space) == ["b"]


def test_a_complete_replay_stays_complete(space, source, clock):
    replay = connect(space, [source], clock=clock)
    Replay.objects.update(state=Replay.State.COMPLETE)
    Connection.objects.update(state=S.LIVE)
    services.disconnect(Connection.objects.get(), clock)
    replay.refresh_from_db()
    assert replay.state == Replay.State.COMPLETE


def test_progress_says_how_far_how_fast_and_how_long(clock):
    replay = ReplayFactory(total=1000, done=250, cursor=[1_781_524_800_000, 1, 1, 1])
    Replay.objects.update(created_at=clock.now() - timedelta(seconds=10))
    replay.refresh_from_db()
    progress = queries.progress(replay, clock.now())
    assert (progress.percent, progress.rate, progress.seconds_left) == (25.0, 25.0, 30.0)
    assert progress.event_time == RECEIVED_AT


@pytest.mark.parametrize(
    ("fields", "percent", "left"),
    [
        ({"total": 0}, 0.0, None),
        ({"total": 10}, 0.0, None),
        ({"total": 10, "done": 10}, 99.9, 0.0),
        ({"total": 10, "done": 10, "state": "complete"}, 100.0, 0.0),
        ({"total": 0, "state": "complete"}, 100.0, 0.0),
        ({"total": 10, "done": 5, "state": "cancelled"}, 50.0, 0.0),
    ],
)
def test_progress_at_its_edges(clock, fields, percent, left):
    progress = queries.progress(ReplayFactory(**fields), clock.now())
    assert (progress.percent, progress.seconds_left) == (percent, left)


def test_a_source_has_a_key_a_tally_and_a_slug_of_its_own():
    workspace = WorkspaceFactory()
    first, second, third = (services.create_source(workspace, name=name) for name in ("My Shop", "My Shop", "!!!"))
    elsewhere = services.create_source(WorkspaceFactory(), name="My Shop")
    assert [row.slug for row in (first, second, third, elsewhere)] == ["my-shop", "my-shop-2", "source", "my-shop"]
    assert first.write_keys.count() == 1
    assert first.tally.archived == 0
    assert AuditEntry.objects.filter(workspace=workspace, action="source.created").count() == 3


def test_write_keys_come_and_go(source):
    key = services.add_write_key(source).key
    assert services.remove_write_key(SourceFactory(), key) is False
    assert services.remove_write_key(source, key) is True
    assert services.remove_write_key(source, key) is False
    entry = AuditEntry.objects.get(action="source.write_key_removed")
    assert key not in str(entry.detail)


def test_of_a_deleted_source_nothing_can_be_seen_and_nothing_is_taken(space, source, other, clock):
    put(source, "a", "bad")
    put(other, "b")
    connect(space, [source], clock=clock)
    send(source, track())
    place = archived(source)
    assert place
    source_id = source.pk
    services.delete_source(source)
    assert not Source.objects.filter(slug=source.slug).exists()
    assert not WriteKey.objects.filter(source_id=source_id).exists()
    assert not Log.objects.filter(stage="archive", partition=source_id).exists()
    for pk in erasure.due(clock.now()):
        while erasure.advance(pk, clock.now()):
            pass
    assert not Inbox.objects.exists()
    reach = archive_table.Reach(
        (archive_table.Visible(source_id, 99),), RECEIVED_AT - timedelta(days=9999), RECEIVED_AT
    )
    assert archive_table.count_range(space.workspace_id, reach) == 0
    assert ids_in_archive(other) == ["b"]
