"""Computed traits go to destinations: everybody's value once, each new one, and that there is none any more."""

import json
from datetime import timedelta

import pytest

from access.services import COMMAND, NotPossible
from audiences import services as audiences
from destinations import queries, services
from destinations.models import Acknowledged, Caught, Subscription
from spaces.settings_schema import InvalidSetting
from tests.factories_audiences import World
from tests.factories_destinations import make_destination
from tests.flows.test_gaps import synced

pytestmark = pytest.mark.django_db
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
SPENT = {"kind": "aggregation", "function": "sum", "name": "Ordered", "property": "total", "within": {"days": 7}}


@pytest.fixture
def world() -> World:
    return World()


def sending(world: World) -> Subscription:
    """What each person spent in a week goes to a catcher."""
    trait = audiences.create_trait(world.space, name="Spent", definition=SPENT, by=COMMAND)
    world.computed()
    destination = make_destination(world.space)
    subscription = services.subscribe(trait, destination, options={"sendTrack": True}, by=COMMAND)
    return synced(subscription, world.clock)


def ordered(world: World, user: str, total: float) -> None:
    world.did(user, "Ordered", properties={"total": total})


def stated(subscription: Subscription) -> dict[str, float]:
    rows = queries.stated_at_catcher(subscription.destination, "spent")
    return {value: number for (_, value), number in rows}


def test_everybodys_value_is_sent_and_then_each_new_one(world: World) -> None:
    ordered(world, "u1", 10)
    ordered(world, "u2", 0)
    subscription = sending(world)
    assert stated(subscription) == {"u1": 10, "u2": 0}
    assert subscription.status == Subscription.Status.IN_STEP
    world.clock.advance(MINUTE)
    ordered(world, "u1", 2.5)
    ordered(world, "u3", 7)
    world.ticked()
    synced(subscription, world.clock)
    assert stated(subscription) == {"u1": 12.5, "u2": 0, "u3": 7}
    assert Caught.objects.filter(body__event="Trait Computed").count() == 4  # u2 was told once
    assert queries.count_now(subscription)["acknowledged"] == 3


def test_whoever_has_no_value_any_more_is_told_so(world: World) -> None:
    ordered(world, "u1", 10)
    subscription = sending(world)
    world.later(8 * DAY)
    synced(subscription, world.clock)
    assert stated(subscription) == {}
    last = Caught.objects.filter(body__type="identify").latest("id")
    assert last.body["traits"] == {"spent": None}
    assert subscription.status == Subscription.Status.IN_STEP


def test_a_value_that_no_pass_brought_is_missed_by_the_comparison(world: World) -> None:
    """As after a crash that lost a call for good, or a row that was written by hand."""
    ordered(world, "u1", 10)
    ordered(world, "u2", 3)
    subscription = sending(world)
    Acknowledged.objects.filter(subscription=subscription).update(value=json.dumps(11))
    assert queries.count_now(subscription)["acknowledged"] == 0
    Subscription.objects.filter(pk=subscription.pk).update(compare_at=None)
    world.clock.advance(MINUTE)
    synced(subscription, world.clock)
    assert set(Acknowledged.objects.values_list("value", flat=True)) == {"10", "3"}
    assert subscription.status == Subscription.Status.IN_STEP


def test_an_edited_trait_sends_only_what_differs(world: World) -> None:
    ordered(world, "u1", 10)
    ordered(world, "u2", 3)
    ordered(world, "u2", 3)
    subscription = sending(world)
    before = Caught.objects.count()
    audiences.change_audience(subscription.audience, definition={**SPENT, "function": "maximum"}, by=COMMAND)
    world.computed()
    world.ticked()
    synced(subscription, world.clock)
    assert stated(subscription) == {"u1": 10, "u2": 3}
    assert Caught.objects.count() == before + 2  # an identify and a track, about u2


def test_a_list_takes_no_computed_traits(world: World) -> None:
    subscription = sending(world)
    listing = make_destination(world.space, style="list")
    with pytest.raises(NotPossible, match="as events"):
        services.subscribe(subscription.audience, listing, options={}, by=COMMAND)
    with pytest.raises(InvalidSetting, match="one goes to this"):
        services.change_destination(subscription.destination, settings={"style": "list"}, by=COMMAND)
