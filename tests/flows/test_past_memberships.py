"""Audiences that ask who entered another one lately, or was ever in it."""

from datetime import timedelta
from typing import Any

import pytest

from access.services import COMMAND
from audiences import services
from audiences.models import Audience, Evaluation
from audiences.rules.validation import DefinitionError
from tests.factories_audiences import World
from tests.factories_identity import message

pytestmark = pytest.mark.django_db
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
SEEN = {"kind": "event", "name": "Seen", "within": {"days": 1}}
LATELY: dict[str, Any] = {"kind": "audience", "key": "seen", "entered": {"days": 3}}
EVER: dict[str, Any] = {"kind": "audience", "key": "seen", "ever": True}


@pytest.fixture
def world() -> World:
    return World()


def three(world: World) -> tuple[Audience, Audience, Audience]:
    """Who was seen in a day; who entered that within three days; who was ever in it."""
    audiences = world.audience("seen", SEEN), world.audience("lately", LATELY), world.audience("ever", EVER)
    world.computed()
    return audiences


def test_who_entered_counts_for_so_long_whether_they_stay_or_leave(world: World) -> None:
    world.did("u1", "Seen")
    seen, lately, ever = three(world)
    assert [world.members(audience) for audience in (seen, lately, ever)] == [{"u1"}] * 3
    world.later(DAY)
    assert [world.members(audience) for audience in (seen, lately, ever)] == [set(), {"u1"}, {"u1"}]
    world.did("u2", "Seen")
    world.ticked()  # in the tick in which they enter the other, too
    assert [world.members(audience) for audience in (seen, lately, ever)] == [{"u2"}, {"u1", "u2"}, {"u1", "u2"}]
    world.later(2 * DAY)
    assert [world.members(audience) for audience in (seen, lately, ever)] == [set(), {"u2"}, {"u1", "u2"}]
    world.later(DAY)
    assert [world.members(audience) for audience in (seen, lately, ever)] == [set(), set(), {"u1", "u2"}]


def test_the_clock_is_told_when_an_entry_lapses(world: World) -> None:
    seen, lately, _ = three(world)
    world.did("u1", "Seen")
    world.ticked()
    entered = world.clock.now()
    for _ in range(100):
        due = Evaluation.objects.get(space=world.space).next_at
        assert due is not None
        if due > entered + 3 * DAY:
            break
        world.later(due - world.clock.now())
    assert entered + 3 * DAY <= world.clock.now() < entered + 3 * DAY + MINUTE
    assert world.members(lately) == set()
    assert world.members(seen) == set()


def test_who_stays_without_a_new_entry_is_not_in_it_any_more(world: World) -> None:
    seen, lately, _ = three(world)
    for _ in range(4):
        world.did("u1", "Seen")
        world.ticked()
        world.later(DAY - MINUTE)
    assert world.members(seen) == {"u1"}
    assert world.members(lately) == set()


def test_an_entry_of_a_person_who_is_merged_is_an_entry_of_whom_they_are_now(world: World) -> None:
    for name, definition in (("seen", SEEN), ("lately", LATELY), ("ever", EVER)):
        world.audience(name, definition, include_anonymous=True)
    world.computed()
    world.did("u1", "Other")
    world.clock.advance(MINUTE)
    world.sent(message(anonymousId="a1", userId=None, event="Seen", at=60_000))
    world.ticked()
    world.later(DAY)
    world.sent(message("identify", userId="u1", anonymousId="a1", at=86_460_000))
    world.ticked()
    assert world.members(Audience.objects.get(key="lately")) == {"u1"}
    assert world.members(Audience.objects.get(key="ever")) == {"u1"}


def test_it_is_the_full_query_at_any_moment(world: World) -> None:
    """Also after an edit, and for one that is made later."""
    _, lately, ever = three(world)
    for step in range(8):
        if step % 3 == 0:
            world.did(f"u{step % 4}", "Seen")
        world.later(DAY * 2 / 3)
        for audience in (lately, ever):
            assert world.members(audience) == world.asked(audience), (step, audience.key)
    part = {"all": [LATELY, {"not": EVER}]}
    never = services.create_audience(world.space, name="Never", definition=part, by=COMMAND)
    services.change_audience(lately, definition=EVER, by=COMMAND)
    world.computed()
    assert world.members(never) == set()
    assert world.members(lately) == world.members(ever) == {"u0", "u2", "u3"}


@pytest.mark.parametrize("wrong", [{"ever": False}, {"ever": True, "entered": {"days": 1}}, {"entered": 7}])
def test_what_makes_no_sense_is_refused(world: World, wrong: dict[str, Any]) -> None:
    world.audience("seen", SEEN)
    with pytest.raises(DefinitionError):
        services.create_audience(
            world.space, name="X", definition={"kind": "audience", "key": "seen", **wrong}, by=COMMAND
        )


def test_a_circle_is_refused(world: World) -> None:
    seen, *_ = three(world)
    with pytest.raises(DefinitionError, match="part of itself"):
        services.change_audience(seen, definition={"kind": "audience", "key": "lately", "ever": True}, by=COMMAND)
