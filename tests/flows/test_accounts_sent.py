"""What is about accounts goes to destinations that take group calls: whole once, then each change."""

import json
from datetime import timedelta
from typing import Any

import pytest

from access.services import COMMAND, NotPossible
from audiences import services as audiences
from audiences.models import Audience
from destinations import queries, services
from destinations.models import Caught, Subscription
from destinations.rehearsal import rehearse
from identity.queries import holders
from spaces.settings_schema import InvalidSetting
from tests.factories_audiences import World
from tests.factories_destinations import make_destination
from tests.factories_identity import message
from tests.flows.test_gaps import synced

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
BUSY = {"users": "any", "all": [{"kind": "event", "name": "Ordered", "within": {"days": 7}}]}


@pytest.fixture
def world() -> World:
    world = World()
    joins(world, "ann", "acme")
    joins(world, "bob", "beta")
    return world


def joins(world: World, user: str, account: str) -> None:
    world.sent(message("group", userId=user, groupId=account))


def sending(world: World, audience: Audience, **options: Any) -> Subscription:
    world.computed()
    subscription = services.subscribe(audience, make_destination(world.space), options=options, by=COMMAND)
    return synced(subscription, world.clock)


def stated(subscription: Subscription) -> dict[tuple[str, str], Any]:
    return dict(queries.stated_at_catcher(subscription.destination, subscription.audience.key))


def test_accounts_enter_and_leave_as_group_calls(world: World) -> None:
    world.did("ann", "Ordered")
    busy = audiences.create_audience(world.space, name="Busy", of="accounts", definition=BUSY, by=COMMAND)
    subscription = sending(world, busy)
    assert stated(subscription) == {("group_id", "acme"): True}
    group, track = Caught.objects.order_by("id").values_list("body", flat=True)
    assert (group["type"], group["groupId"], group["traits"]) == ("group", "acme", {"busy": True})
    assert (track["event"], track["context"]["groupId"]) == ("Audience Entered", "acme")
    assert not {"userId", "anonymousId"} & (group.keys() | track.keys())
    world.clock.advance(MINUTE)
    world.did("cat", "Ordered")
    joins(world, "cat", "beta")
    world.ticked()
    assert stated(synced(subscription, world.clock)) == {("group_id", "acme"): True, ("group_id", "beta"): True}
    world.later(timedelta(days=7) - MINUTE)
    assert stated(synced(subscription, world.clock)) == {("group_id", "beta"): True}
    assert Subscription.objects.get().status == Subscription.Status.IN_STEP
    assert queries.count_now(subscription)["acknowledged"] == 1


def test_values_of_accounts_are_sent_once_and_when_they_change(world: World) -> None:
    world.did("ann", "Ordered")
    definition = {"kind": "event_counter", "name": "Ordered"}
    trait = audiences.create_trait(world.space, name="Orders", of="accounts", definition=definition, by=COMMAND)
    subscription = sending(world, trait, sendTrack=True)
    assert stated(subscription) == {("group_id", "acme"): 1}
    world.clock.advance(MINUTE)
    world.did("dan", "Ordered")
    joins(world, "dan", "acme")
    world.ticked()
    assert stated(synced(subscription, world.clock)) == {("group_id", "acme"): 2}
    assert Caught.objects.count() == 4


def test_what_goes_besides_is_among_the_traits_of_the_group_and_only_the_group_id_goes(world: World) -> None:
    world.did("ann", "Ordered")
    world.sent(message("group", userId="ann", groupId="acme", traits={"plan": "gold"}))
    busy = audiences.create_audience(world.space, name="Busy", of="accounts", definition=BUSY, by=COMMAND)
    world.computed()
    destination = make_destination(world.space)
    with pytest.raises(InvalidSetting, match="This destination knows group_id"):
        services.subscribe(busy, destination, options={}, sending={"identifiers": [{"type": "email"}]}, by=COMMAND)
    sending = {
        "identifiers": [{"type": "group_id", "name": "account"}],
        "fields": [{"to": "tier", "value": {"kind": "trait", "key": "plan"}}],
        "only": [{"trait": "plan", "operator": "is", "value": "gold"}],
    }
    subscription = services.subscribe(busy, destination, options={}, sending=sending, by=COMMAND)
    synced(subscription, world.clock)
    group, track = Caught.objects.order_by("id").values_list("body", flat=True)
    assert group["traits"] == {"account": "acme", "tier": "gold", "busy": True}
    assert (track["properties"]["tier"], track["context"]["groupId"]) == ("gold", "acme")
    assert not {"userId", "anonymousId", "email"} & (group.keys() | track.keys())
    acme = holders(world.space, "group_id", "acme").get()
    rehearsed = rehearse(subscription, acme, now=world.clock.now(), entering=False)
    group, track = json.loads(rehearsed.requests[0].body)
    assert (group["traits"]["busy"], track["event"]) == (False, "Audience Exited")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("catcher", {"style": "list"}), ("slack", {"webhookUrl": "https://hooks.slack.com/services/x"})],
)
def test_a_destination_that_knows_no_accounts_refuses_them_with_a_sentence(
    world: World, kind: str, settings: dict[str, Any]
) -> None:
    busy = audiences.create_audience(world.space, name="Busy", of="accounts", definition=BUSY, by=COMMAND)
    with pytest.raises(NotPossible, match="only to destinations that take group calls"):
        services.subscribe(busy, make_destination(world.space, kind, **settings), options={}, by=COMMAND)
    catcher = make_destination(world.space)
    services.subscribe(busy, catcher, options={}, by=COMMAND)
    with pytest.raises(InvalidSetting, match="group calls, as events, and one goes to this"):
        services.change_destination(catcher, settings={"style": "list"}, by=COMMAND)
