"""Computed traits: their values follow what happens, merges, the clock and edits; and audiences ask about them."""

import json
from datetime import timedelta

import pytest

from access.services import NotPossible
from audiences import queries, services, trait_values
from audiences.models import Audience, Change
from audiences.rules.validation import DefinitionError
from audiences.traits.event_counter import EventCounter
from identity.models import Identifier
from identity.queries import canonical
from sources.events import client
from sources.events.sql import sql
from tests.factories import UserFactory
from tests.factories_audiences import World
from tests.factories_identity import message

pytestmark = pytest.mark.django_db

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ORDERS = {"kind": "event_counter", "name": "Ordered"}
LATELY = {**ORDERS, "within": {"days": 7}}
SPENT = {"kind": "aggregation", "function": "sum", "name": "Ordered", "property": "total"}
FAVOURITE = {"kind": "most_frequent", "name": "Ordered", "property": "color", "minimum": 1}


@pytest.fixture
def world():
    return World()


@pytest.fixture
def me(world):
    return UserFactory()


def trait(world, me, name, definition, **fields):
    made = services.create_trait(world.space, name=name, definition=definition, by=me, **fields)
    world.computed()
    return made


def values(world, trait):
    """By user id."""
    kept = trait_values.kept(world.space, trait.pk)
    users = dict(Identifier.objects.filter(space=world.space, type="user_id").values_list("profile", "value"))
    return {users[number]: json.loads(value) for number, value in kept.items()}


def history(space, trait, number, most):
    """What one person had of it, and since when, the newest first."""
    query = (
        "SELECT value, at FROM trait_log WHERE space = %s AND trait = %s AND profile = %s ORDER BY piece DESC LIMIT %s"
    )
    return client.rows(sql(query, space.pk, trait, number, most))


def ordered(world, user, total, *, color="red", ago=timedelta()):
    world.did(user, "Ordered", ago=ago, properties={"total": total, "color": color})


def test_values_are_computed_and_follow_what_happens(world, me):
    ordered(world, "u1", 10, ago=DAY)
    ordered(world, "u1", 5.5)
    ordered(world, "u2", 1, color="blue")
    world.did("u3", "Seen")
    orders, spent, favourite = (
        trait(world, me, name, of) for name, of in (("O", ORDERS), ("S", SPENT), ("F", FAVOURITE))
    )
    assert values(world, orders) == {"u1": 2, "u2": 1}
    assert values(world, spent) == {"u1": 15.5, "u2": 1}
    assert values(world, favourite) == {"u1": "red", "u2": "blue"}
    orders.refresh_from_db()
    assert orders.size == 2
    world.clock.advance(MINUTE)
    ordered(world, "u2", 2, color="red")
    ordered(world, "u3", 3)
    world.ticked()
    assert values(world, orders) == {"u1": 2, "u2": 2, "u3": 1}
    assert values(world, spent) == {"u1": 15.5, "u2": 3, "u3": 3}
    assert values(world, favourite) == {"u1": "red", "u2": "blue", "u3": "red"}  # of as many the first in the alphabet
    entered = Change.objects.filter(audience=orders).order_by("tick").last()
    assert [len(queries.bitmap(each)) for each in (entered.entered, entered.refreshed)] == [1, 1]


def test_only_what_changed_is_written_again(world, me):
    ordered(world, "u1", 10)
    favourite = trait(world, me, "F", FAVOURITE)
    (number,) = trait_values.kept(world.space, favourite.pk)
    world.clock.advance(MINUTE)
    ordered(world, "u1", 3)
    world.ticked()
    assert len(history(world.space, favourite.pk, number, 10)) == 1
    ordered(world, "u1", 3, color="blue")
    ordered(world, "u1", 3, color="blue")
    ordered(world, "u1", 3, color="blue")
    world.ticked()
    assert [value for value, _ in history(world.space, favourite.pk, number, 10)] == ['"blue"', '"red"']


def test_the_clock_takes_values_away(world, me):
    ordered(world, "u1", 10, ago=6 * DAY)
    ordered(world, "u1", 10)
    ordered(world, "u2", 10, ago=6 * DAY)
    lately = trait(world, me, "L", LATELY)
    assert values(world, lately) == {"u1": 2, "u2": 1}
    world.later(DAY)
    assert values(world, lately) == {"u1": 1}
    world.later(6 * DAY)
    assert values(world, lately) == {}
    lately.refresh_from_db()
    assert lately.size == 0


def test_a_merged_person_has_one_value_of_everything_that_happened_to_them(world, me):
    world.sent(message(anonymousId="a1", userId=None, event="Ordered", properties={"total": 1}))
    ordered(world, "u1", 2)
    spent = trait(world, me, "S", SPENT, include_anonymous=True)
    assert sorted(trait_values.kept(world.space, spent.pk).values()) == ["1", "2"]
    world.sent(message("identify", anonymousId="a1", userId="u1"))
    world.ticked()
    kept = trait_values.kept(world.space, spent.pk)
    assert [*kept.values()] == ["3"]
    assert canonical(world.space, kept) == {number: number for number in kept}


def test_anonymous_people_have_no_values_unless_they_are_included(world, me):
    world.sent(message(anonymousId="a1", userId=None, event="Ordered"))
    assert values(world, trait(world, me, "O", ORDERS)) == {}


def test_an_edit_keeps_the_old_values_until_the_new_ones_are_there(world, me):
    ordered(world, "u1", 10, ago=8 * DAY)
    ordered(world, "u2", 10)
    orders = trait(world, me, "O", ORDERS)
    services.change_audience(orders, definition=LATELY, by=me)
    world.ticked()
    assert values(world, orders) == {"u1": 1, "u2": 1}
    world.computed()
    assert values(world, orders) == {"u2": 1}


def test_an_audience_asks_about_a_computed_trait_as_of_the_same_moment(world, me):
    ordered(world, "u1", 10)
    ordered(world, "u2", 500)
    trait(world, me, "Spent", SPENT)
    big = world.audience("big", {"kind": "computed", "name": "spent", "op": "atLeast", "value": 100})
    never = world.audience("never", {"kind": "computed", "name": "spent", "op": "notExists"})
    world.did("u3", "Seen")
    world.computed()
    assert (world.members(big), world.members(never)) == ({"u2"}, {"u3"})
    world.clock.advance(MINUTE)
    ordered(world, "u1", 90)
    ordered(world, "u3", 99.99)
    world.ticked()
    assert (world.members(big), world.members(never)) == ({"u1", "u2"}, set())


def test_an_audience_follows_the_definition_and_the_window_of_the_trait(world, me):
    ordered(world, "u1", 10, ago=6 * DAY)
    ordered(world, "u2", 10)
    orders = trait(world, me, "Orders", LATELY)
    some = world.audience("some", {"kind": "computed", "name": "orders", "op": "atLeast", "value": 1})
    world.computed()
    assert world.members(some) == {"u1", "u2"}
    world.later(DAY)
    assert world.members(some) == {"u2"}
    services.change_audience(orders, definition={**ORDERS, "name": "Seen"}, by=me)
    world.computed()
    assert world.members(some) == set()
    with pytest.raises(NotPossible, match="some"):
        services.delete_audience(orders, now=world.clock.now(), by=me)


def test_one_that_cannot_be_computed_stops_nobody_and_is_caught_up_with(world, me, monkeypatch):
    ordered(world, "u1", 10)
    orders, spent = trait(world, me, "Orders", ORDERS), trait(world, me, "Spent", SPENT)
    buyers = world.audience("buyers", {"kind": "event", "name": "Ordered"})
    world.computed()
    world.clock.advance(MINUTE)
    ordered(world, "u2", 5)
    with monkeypatch.context() as broken:
        broken.setattr(EventCounter, "value", lambda *_: 1 / 0)
        world.ticked()
    assert (world.members(buyers), values(world, spent)) == ({"u1", "u2"}, {"u1": 10, "u2": 5})
    assert values(world, orders) == {"u1": 1}
    world.later(timedelta(hours=2))
    assert values(world, orders) == {"u1": 1, "u2": 1}


def test_elements_of_a_list_can_be_asked_about(world, me):
    ordered(world, "u1", 1, color="red")
    ordered(world, "u1", 1, color="blue")
    ordered(world, "u2", 1, color="green")
    trait(world, me, "Colors", {"kind": "unique_list", "name": "Ordered", "property": "color"})
    blue = world.audience("blue", {"kind": "computed", "name": "colors[]", "op": "equals", "value": "blue"})
    world.computed()
    assert world.members(blue) == {"u1"}


def test_what_is_not_there_cannot_be_asked_about(world, me):
    with pytest.raises(DefinitionError, match='must be about a computed trait of this space: there is no "spent"'):
        services.create_audience(
            world.space, name="x", definition={"kind": "computed", "name": "spent", "op": "exists"}, by=me
        )


def test_a_trait_is_no_audience_and_shares_its_keys(world, me):
    trait(world, me, "Orders", ORDERS)
    assert not Audience.objects.filter(space=world.space).exists()
    other = services.create_audience(world.space, name="Orders", definition={"kind": "event", "name": "Ordered"}, by=me)
    assert other.key == "orders_2"
