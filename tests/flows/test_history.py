"""An audience at other moments: who was in it, who came and went, and who will be if nothing happens."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from access.services import NotPossible
from audiences import history
from audiences.models import Change
from tests.factories_audiences import World
from tests.factories_identity import message

pytestmark = pytest.mark.django_db
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
LATELY = {"kind": "event", "name": "Seen", "within": {"days": 3}}


@pytest.fixture
def world() -> World:
    return World()


def test_who_was_in_it_at_any_moment_is_what_it_was(world: World) -> None:
    audience = world.audience("a", LATELY)
    world.computed()
    type(audience).objects.filter(pk=audience.pk).update(created_at=world.clock.now() - DAY)
    audience.refresh_from_db()
    was = {}
    for day, users in enumerate(("u1 u2", "u2", "", "u3", "", "u1")):
        for user in users.split():
            world.did(user, "Seen")
        world.later(MINUTE)
        was[world.clock.now()] = world.members(audience)
        world.later(DAY - MINUTE)
        assert day < 6
    now = world.clock.now()
    for moment, members in was.items():
        assert world.users(history.members_at(audience, moment, now)) == members
    first, *_, last = was
    movement = history.movement(audience, first, last, now)
    assert [world.users(side) for side in (movement.entered, movement.left)] == [{"u3"}, {"u2"}]
    with pytest.raises(NotPossible, match="later than"):
        history.movement(audience, last, first, now)


def test_before_it_was_made_nobody_was_in_it_and_what_was_forgotten_is_said(world: World) -> None:
    world.did("u1", "Seen")
    audience = world.audience("a", LATELY)
    world.computed()
    now = world.clock.now()
    assert not history.members_at(audience, now - 5000 * DAY, now)
    type(audience).objects.filter(pk=audience.pk).update(created_at=now - 6000 * DAY)
    audience.refresh_from_db()
    with pytest.raises(NotPossible, match="400 days"):
        history.members_at(audience, now - 5000 * DAY, now)


def test_whoever_was_merged_since_counts_once(world: World) -> None:
    world.sent(message(anonymousId="a1", userId=None, event="Seen"))
    world.did("u1", "Seen")
    audience = world.audience("a", LATELY, include_anonymous=True)
    world.computed()
    type(audience).objects.filter(pk=audience.pk).update(created_at=world.clock.now() - DAY)
    audience.refresh_from_db()
    before = world.clock.now()
    assert len(history.members_at(audience, before, before)) == 2
    world.clock.advance(MINUTE)
    world.sent(message("identify", userId="u1", anonymousId="a1"))
    world.ticked()
    assert len(history.members_at(audience, before, world.clock.now())) == 1


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100)), max_size=8))
def test_a_forecast_comes_true_if_nothing_happens(events: list[tuple[int, int]]) -> None:
    world = World()
    for user, hours in events:
        world.did(f"u{user}", "Seen", ago=timedelta(hours=hours))
    soon = {"kind": "event", "name": "Seen", "then": [{"name": "Bought", "exactly": 0, "within": {"days": 2}}]}
    audiences = [world.audience("a", LATELY), world.audience("b", soon)]
    world.computed()
    for audience in audiences:
        audience.refresh_from_db()
    moments = [world.clock.now() + timedelta(days=day) for day in (1, 2, 5)]
    before = {audience.key: world.members(audience) for audience in audiences}
    foretold = {audience.key: history.forecast(audience.serving, moments) for audience in audiences}
    for place, moment in enumerate(moments):
        world.later(moment - world.clock.now())
        for audience in audiences:
            members = world.members(audience)
            found = foretold[audience.key][place]
            moved = len(members - before[audience.key]), len(before[audience.key] - members)
            assert (found.size, found.entered, found.left) == (len(members), *moved)


def test_without_a_window_nothing_is_foretold(world: World) -> None:
    world.did("u1", "Seen")
    audience = world.audience("a", {"kind": "event", "name": "Seen"})
    world.computed()
    audience.refresh_from_db()
    assert history.forecast(audience.serving, [world.clock.now() + DAY]) == []
    assert Change.objects.count() == 1
