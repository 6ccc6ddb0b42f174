"""What was seen in a space, with how often, searched; by the API."""

import pytest

from sources.models import EventName
from tests.factories_audiences import World
from tests.factories_identity import NOON

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(cast):
    world = World(cast.space)
    for number, sku in enumerate(("boot", "boot", "shoe")):
        world.did(f"u{number}", "Ordered", properties={"sku": sku, "price": 10 * number})
    times = {"type": "track", "first_seen_at": NOON, "last_seen_at": NOON}
    for event, count in (("Ordered", 3), ("Order Refunded", 1), ("Signed Up", 9)):
        EventName.objects.create(workspace=cast.workspace, source=world.source, event=event, archived=count, **times)
    return world


def test_events_properties_and_values_come_with_how_often_they_were_seen(world, api):
    def seen(query):
        answer = api("GET", f"seen?{query}")
        return {row["value"]: row["count"] for row in answer["seen"]}, answer["types"]

    assert seen("of=event") == ({"Signed Up": 9, "Ordered": 3, "Order Refunded": 1}, [])
    assert seen("of=event&like=ORDER")[0] == {"Ordered": 3, "Order Refunded": 1}
    assert seen("of=property&event=Ordered")[0] == {"price": 3, "sku": 3}
    assert seen("of=property-value&event=Ordered&name=sku") == ({"boot": 2, "shoe": 1}, ["text"])
    assert seen("of=property-value&event=Ordered&name=sku&like=SH")[0] == {"shoe": 1}
    assert seen("of=property-value&event=Ordered&name=price")[1] == ["number"]
    assert seen("of=source")[0] == {world.source.slug: None}


def test_a_thousand_events_are_searched_in_one_query(world, api, django_assert_max_num_queries):
    times = {"type": "track", "first_seen_at": NOON, "last_seen_at": NOON, "workspace": world.space.workspace}
    EventName.objects.bulk_create(
        EventName(source=world.source, event=f"Event {number:04}", archived=number, **times) for number in range(1000)
    )
    with django_assert_max_num_queries(12):
        rows = api("GET", "seen?of=event&like=event 07")["seen"]
    assert (len(rows), rows[0]) == (50, {"value": "Event 0799", "count": 799})


def test_who_may_not_build_and_what_is_unknown_is_refused(api):
    api("GET", "seen?of=event", who="read_only", status=403)
    assert api("GET", "seen?of=weather", status=422)["field"] == "of"
