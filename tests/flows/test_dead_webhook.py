"""A webhook that is away while people come and go: events, the clock, the audience, the calls; on the real stores."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from audiences.models import Audience
from destinations import queries
from destinations.models import Subscription
from destinations.sync import Sync, waiting
from spaces.batches import advance, open_log
from tests import factories_destinations as made
from tests.factories_audiences import World
from tests.receiver import Got, Reply, receiving

pytestmark = pytest.mark.django_db
SIGNED_UP = {"kind": "event", "name": "Signed Up", "within": {"days": 7}}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Status = Subscription.Status


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def audience(world: World) -> Audience:
    """u1 leaves it after a day, u2 after six."""
    world.did("u1", "Signed Up", ago=6 * DAY)
    world.did("u2", "Signed Up", ago=DAY)
    audience = world.audience("new", SIGNED_UP)
    world.computed()
    return Audience.objects.get(pk=audience.pk)


def subscribed(audience: Audience, url: str) -> Subscription:
    destination = made.make_destination(audience.space, "webhook", url=url)
    return made.make_subscription(audience, destination, sendIdentify=False)


def synced(world: World, subscription: Subscription) -> Subscription:
    """As the line does it: whatever waits at this moment."""
    log = open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    while subscription.pk in waiting(world.clock.now()) and advance(Sync(world.clock), log):
        pass
    subscription.refresh_from_db()
    return subscription


def passes(world: World, subscription: Subscription, by: timedelta) -> int:
    """The time passes, an hour or until the next try at a time; how often something was tried."""
    end = world.clock.now() + by
    tried = 0
    while world.clock.now() < end:
        step = min(world.clock.now() + HOUR, subscription.retry_at or end, end)
        world.later(step - world.clock.now())
        before = attempts(subscription)
        synced(world, subscription)
        tried += attempts(subscription) > before
    return tried


def attempts(subscription: Subscription) -> int:
    return len(queries.deliveries(Subscription.objects.filter(pk=subscription.pk), space=subscription.space))


def events(messages: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((message["userId"], message["event"]) for message in messages)


def inside(messages: Iterable[dict[str, Any]]) -> set[str]:
    """Whom a receiver of these holds that goes by the newest timestamp."""
    newest = {message["userId"]: message for message in sorted(messages, key=lambda each: each["timestamp"])}
    return {user for user, message in newest.items() if message["properties"]["new"]}


def test_after_days_of_nobody_listening_only_the_net_change_goes_out(
    world: World, audience: Audience, settings: Any
) -> None:
    with receiving() as alive:
        settings.OUTBOUND_ALLOW = [alive.place]
        subscription = synced(world, subscribed(audience, alive.url))
        assert events(alive.messages()) == [("u1", "Audience Entered"), ("u2", "Audience Entered")]
    world.did("u3", "Signed Up", ago=7 * DAY - HOUR)  # comes and goes while nobody listens
    world.did("u4", "Signed Up")
    world.ticked()
    assert world.members(audience) == {"u1", "u2", "u3", "u4"}
    assert synced(world, subscription).status == Status.RETRYING
    assert "No connection" in subscription.error
    tried = passes(world, subscription, 2 * DAY)
    assert subscription.status == Status.PARKED
    assert 12 < tried < 60  # seconds, then half hours, then once in six hours
    assert world.members(audience) == {"u2", "u4"}
    with receiving(alive.port) as back:
        passes(world, subscription, 6 * HOUR)  # by itself
        assert events(back.messages()) == [("u1", "Audience Exited"), ("u4", "Audience Entered")]
    assert (subscription.status, subscription.failures, subscription.error) == (Status.IN_STEP, 0, "")
    assert queries.count_now(subscription) == {"desired": 2, "acknowledged": 2, "maybe": 0, "refused": 0, "due": 0}


def test_hours_of_server_errors_leave_it_in_step_whatever_took_effect(
    world: World, audience: Audience, settings: Any
) -> None:
    with receiving() as receiver:
        settings.OUTBOUND_ALLOW = [receiver.place]
        receiver.answer = lambda got: Reply(500, b"out of order")
        subscription = synced(world, subscribed(audience, receiver.url))
        tried = passes(world, subscription, 5 * HOUR)
        assert (subscription.status, subscription.error) == (Status.FAILING, "500 out of order")
        assert subscription.retry_at is not None
        assert subscription.retry_at - world.clock.now() <= HOUR / 2
        assert 12 < tried < 40
        world.did("u3", "Signed Up", ago=7 * DAY - HOUR)
        world.did("u4", "Signed Up")
        world.ticked()
        passes(world, subscription, 4 * HOUR)  # u3 was tried, and has left again
        accepted: list[dict[str, Any]] = []

        def accept(got: Got) -> Reply:
            accepted.append(got.json)
            return Reply()

        receiver.answer = accept
        passes(world, subscription, HOUR)
        assert subscription.status == Status.IN_STEP
        assert world.members(audience) == {"u1", "u2", "u4"}
        # Some of what was answered with 500 may have taken effect, or none of it.
        assert inside(receiver.messages()) == inside(accepted) == {"u1", "u2", "u4"}
        assert ("u3", "Audience Entered") not in events(accepted)
        assert len(accepted) == len({message["messageId"] for message in accepted}) == 4
