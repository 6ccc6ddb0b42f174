"""Whatever a subscription missed while something stood still is found by comparison, and is sent."""

from datetime import timedelta

import pytest

from access.services import COMMAND
from audiences import services as audiences
from audiences.models import Audience
from destinations import queries
from destinations.models import Subscription
from destinations.sync import Sync
from spaces.batches import advance, open_log
from spaces.clock import FixedClock
from tests.factories_audiences import World
from tests.factories_destinations import make_destination, make_subscription
from tests.factories_identity import message

pytestmark = pytest.mark.django_db
ORDERED = {"kind": "event", "name": "Ordered"}


def synced(subscription: Subscription, clock: FixedClock) -> Subscription:
    log = open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    for _ in range(50):
        if not advance(Sync(clock), log):
            break
    subscription.refresh_from_db()
    return subscription


def test_an_identifier_that_came_while_the_audience_was_disabled_reaches_the_destination() -> None:
    world = World()
    world.did("u1", "Ordered")
    audience = world.audience("buyers", ORDERED)
    world.computed()
    destination = make_destination(world.space)
    subscription = make_subscription(audience, destination)
    synced(subscription, world.clock)
    assert queries.members_at_catcher(destination, "buyers") == (("user_id", "u1"),)
    audiences.change_audience(Audience.objects.get(pk=audience.pk), enabled=False, by=COMMAND)
    world.sent(message("identify", userId="u1", traits={"email": "u1@x.org"}))
    world.clock.advance(timedelta(minutes=1))
    world.ticked()
    audiences.change_audience(Audience.objects.get(pk=audience.pk), enabled=True, by=COMMAND)
    world.computed()
    world.clock.advance(timedelta(minutes=1))
    world.ticked()
    synced(subscription, world.clock)
    assert queries.members_at_catcher(destination, "buyers") == (("email", "u1@x.org"), ("user_id", "u1"))
    assert subscription.status == Subscription.Status.IN_STEP
    tally = queries.count_now(subscription)
    assert tally["desired"] == tally["acknowledged"] == 2
