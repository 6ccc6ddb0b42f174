"""The clock ran ahead and was put back: nothing stays wrong until real time catches up."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from pyroaring import BitMap

from audiences import backfill, evaluate
from audiences.models import Audience, Change, Evaluation, Version
from audiences.pages.presenters import size_over_time
from destinations import sync
from destinations.models import Subscription
from spaces.batches import advance, open_log, rests
from spaces.clock import UNSTEADY, DatabaseClock, is_due
from spaces.models import Log
from tests.factories_audiences import World
from tests.factories_destinations import make_destination, make_subscription
from tests.factories_identity import NOON

pytestmark = pytest.mark.django_db

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
RECENT = {"kind": "event", "name": "Ordered", "within": {"hours": 2}}
IDLE = {"kind": "event", "name": "Ordered", "exactly": 0, "within": {"hours": 2}}
EVER = {"kind": "event", "name": "Ordered"}


@pytest.fixture
def world():
    return World()


def ahead(world, by=DAY):
    """The clock runs ahead and is noticed by a tick; then it is put back."""
    world.later(by)
    world.clock.advance(-by)


def causes(audience):
    return [*Change.objects.filter(audience=audience).order_by("tick", "pk").values_list("cause", flat=True)]


def test_everybody_whom_a_window_concerns_is_looked_at_again_in_one_tick(world):
    world.did("u1", "Ordered")
    recent, idle, ever = world.audience("recent", RECENT), world.audience("idle", IDLE), world.audience("ever", EVER)
    not_recent = world.audience("not_recent", {"not": {"kind": "audience", "key": "recent"}})
    world.computed()
    ahead(world)
    audiences = (recent, idle, ever, not_recent)
    assert [world.members(each) for each in audiences] == [set(), {"u1"}, {"u1"}, {"u1"}]
    assert evaluate.waiting(world.clock.now()) == [world.space.pk]
    assert world.ticked() == 1
    assert [world.members(each) for each in audiences] == [{"u1"}, set(), {"u1"}, set()]
    assert (causes(recent), causes(ever)) == (["compute", "clock", "clock"], ["compute"])
    evaluation = Evaluation.objects.get(space=world.space)
    assert (evaluation.clock_at, evaluation.put_back_at, evaluation.put_back_by) == (NOON, NOON, DAY)
    assert evaluation.next_at == NOON + HOUR
    assert evaluate.waiting(world.clock.now()) == []
    world.later(HOUR)
    world.later(HOUR)
    assert [world.members(each) for each in audiences] == [set(), {"u1"}, {"u1"}, {"u1"}]


def test_only_net_changes_are_made(world):
    world.did("u1", "Ordered")
    recent = world.audience("recent", RECENT)
    world.computed()
    world.later(MINUTE)
    ahead(world, HOUR)  # nobody left meanwhile
    before = Change.objects.filter(audience=recent).count()
    world.ticked()
    assert Change.objects.filter(audience=recent).count() == before
    assert world.members(recent) == {"u1"}


def test_an_event_dated_ahead_is_in_a_window_only_when_its_time_has_come(world):
    recent, ever = world.audience("recent", RECENT), world.audience("ever", EVER)
    world.computed()
    world.later(DAY)
    world.did("u1", "Ordered")
    world.ticked()
    assert world.members(recent) == {"u1"}
    world.later(-DAY)
    assert (world.members(recent), world.members(ever)) == (set(), {"u1"})
    world.clock.advance(DAY - SECOND)
    world.ticked()
    assert world.members(recent) == set()
    assert Evaluation.objects.get(space=world.space).next_at == NOON + DAY
    world.later(SECOND)
    assert world.members(recent) == {"u1"}


def test_a_version_that_was_computed_by_the_wrong_clock_joins_as_of_the_right_one(world):
    world.did("u1", "Ordered")
    recent = world.audience("recent", RECENT)
    world.clock.advance(DAY)
    (version,) = world.ready()
    backfill.compute(version, world.clock)
    world.clock.advance(-DAY)
    world.ticked()
    assert world.members(recent) == {"u1"}


def test_one_that_is_behind_from_then_is_caught_up_with_in_full(world, monkeypatch):
    world.did("u1", "Ordered")
    recent = world.audience("recent", RECENT)
    world.computed()
    world.later(DAY)
    Version.objects.update(state="catching_up", touched=99, clock_at=world.clock.now(), tick=99, failures=3)
    Version.objects.update(retry_at=world.clock.now() + 15 * MINUTE)
    world.clock.advance(-DAY)
    world.ticked()  # its next attempt is further away than any can be
    assert world.members(recent) == {"u1"}


def test_an_audience_without_its_past_counts_from_when_the_clock_was_put_back(world):
    for definition in (EVER, RECENT):
        key = str(len(definition))
        world.audience(key, definition, events_since=NOON + DAY)
    world.clock.advance(DAY)
    world.computed()
    world.clock.advance(-DAY)
    world.ticked()
    assert {*Audience.objects.values_list("events_since", flat=True)} == {NOON}
    world.clock.advance(MINUTE)
    world.did("u1", "Ordered")
    world.ticked()
    assert [world.members(each) for each in Audience.objects.all()] == [{"u1"}, {"u1"}]


def test_what_waits_for_a_moment_of_the_wrong_clock_waits_no_longer(world):
    now, longest = NOON, 15 * MINUTE
    assert is_due(None, now, longest=longest)
    assert is_due(now, now, longest=longest)
    assert is_due(now + longest + SECOND, now, longest=longest)
    assert not is_due(now + longest, now, longest=longest)
    assert not is_due(now + SECOND, now, longest=longest)

    log = Log(retry_at=timezone.now() + MINUTE)
    assert rests(log)
    log.retry_at = timezone.now() + HOUR
    assert not rests(log)


def test_a_subscription_that_waits_for_a_moment_of_the_wrong_clock_goes_on(world):
    world.did("u1", "Ordered")
    audience = world.audience("ever", EVER)
    world.computed()
    row = make_subscription(audience, make_destination(world.space))
    log = open_log(stage="sync", partition=row.pk, workspace_id=row.workspace_id)
    stage = sync.Sync(world.clock)
    Subscription.objects.filter(pk=row.pk).update(retry_at=world.clock.now() + MINUTE)
    assert not advance(stage, log)
    assert row.pk not in sync.waiting(world.clock.now())
    Subscription.objects.filter(pk=row.pk).update(retry_at=world.clock.now() + 30 * DAY)
    assert row.pk in sync.waiting(world.clock.now())
    assert advance(stage, log)


def test_what_was_compared_by_the_wrong_clock_is_compared_again_at_once(world):
    world.did("u1", "Ordered")
    audience = world.audience("ever", EVER)
    row = make_subscription(audience, make_destination(world.space))
    stage = sync.Sync(world.clock)
    log = open_log(stage="sync", partition=row.pk, workspace_id=row.workspace_id)
    world.computed()
    while advance(stage, log):
        pass
    world.clock.advance(6 * HOUR)
    while advance(stage, log):
        pass
    world.clock.advance(-6 * HOUR)
    assert Subscription.objects.get(pk=row.pk).compared_at == world.clock.now() + 6 * HOUR
    assert row.pk in sync.waiting(world.clock.now())
    assert advance(stage, log)
    assert Subscription.objects.get(pk=row.pk).compared_at == world.clock.now()
    assert row.pk not in sync.waiting(world.clock.now())


def test_the_clock_never_goes_back_unless_it_was_put_back():
    clock = DatabaseClock()
    real = clock.now()
    clock._last = real + UNSTEADY / 2
    assert clock.now() == real + UNSTEADY / 2
    clock._last = real + DAY
    assert real <= clock.now() < real + HOUR
    assert datetime.now(UTC) - clock.now() < HOUR


def test_changes_of_the_wrong_clock_do_not_run_out_of_the_chart(world):
    audience = world.audience("ever", EVER)
    nobody = BitMap().serialize()
    for tick, (at, size) in enumerate([(NOON, 1), (NOON + DAY, 2), (NOON + HOUR, 3)], 1):
        Change.objects.create(
            workspace=world.space.workspace,
            space=world.space,
            audience=audience,
            tick=tick,
            at=at,
            cause="clock",
            entered=nobody,
            left=nobody,
            refreshed=nobody,
            size=size,
        )
    chart = size_over_time(audience, NOON + 2 * HOUR)
    places = [float(dot.x) for dot in chart.dots]
    assert places == sorted(places)
    assert places[-1] <= chart.right
