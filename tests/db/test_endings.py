"""An audience that ends: everybody is sent out of its destinations, and it is deleted when that is done."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from access.models import AuditEntry
from access.services import COMMAND, NotPossible
from audiences import services
from audiences.models import Audience
from audiences.rules.validation import DefinitionError
from destinations import endings, sync
from destinations.models import Acknowledged, Subscription
from destinations.queries import count_now, members_at_catcher
from destinations.services import change_subscription
from destinations.sync import Sync
from personas_site import pipeline
from spaces.batches import advance, open_log
from spaces.clock import FixedClock
from spaces.models import Deletion
from tests.factories import SpaceFactory
from tests.factories_destinations import (
    BORN,
    AudienceFactory,
    change,
    make_destination,
    make_people,
    make_subscription,
)
from tests.receiver import Receiver, Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)
ORDERED = {"kind": "event", "name": "Ordered"}
SETTLED = endings.SETTLED


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(BORN + timedelta(days=1))


@pytest.fixture
def audience() -> Audience:
    """Three people are in it."""
    audience = AudienceFactory(space=SpaceFactory(), key="shoppers")
    change(audience, entered=make_people(audience.space, 3))
    return audience


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        yield server


def catcher(audience: Audience) -> Subscription:
    return make_subscription(audience, make_destination(audience.space))


def run(clock: FixedClock, *subscriptions: Subscription) -> None:
    """Whoever waits is served until nobody does."""
    for _ in range(100):
        waiting = set(sync.waiting(clock.now())) & {subscription.pk for subscription in subscriptions}
        if not waiting:
            break
        moved = False
        for pk in waiting:
            subscription = Subscription.objects.get(pk=pk)
            log = open_log(stage="sync", partition=pk, workspace_id=subscription.workspace_id)
            moved |= advance(Sync(clock), log)
        if not moved:
            break
    else:
        raise AssertionError("the stage does not come to rest")
    for subscription in subscriptions:
        subscription.refresh_from_db()


def end(audience: Audience, clock: FixedClock) -> None:
    clock.advance(timedelta(minutes=1))
    services.end_audience(audience, now=clock.now(), by=COMMAND)


def inside(subscription: Subscription) -> int:
    return len(members_at_catcher(subscription.destination, "shoppers"))


def test_everybody_is_sent_out_and_then_it_is_deleted(audience, clock):
    subscription = catcher(audience)
    run(clock, subscription)
    assert inside(subscription) == 3
    end(audience, clock)
    assert endings.emptied() == []
    run(clock, subscription)
    assert inside(subscription) == 0
    assert endings.emptied() == []  # what was under way when it ended might still arrive
    clock.advance(SETTLED)
    run(clock, subscription)
    assert [row.done for row in endings.leaving(audience)] == [True]
    assert endings.emptied() == [audience.pk]
    assert endings.finish(audience.pk, clock.now())
    audience.refresh_from_db()
    assert audience.deleted_at == clock.now()
    assert Deletion.objects.get(target=audience.pk).kind == Deletion.TargetKind.AUDIENCE
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert actions[-2:] == ["audience.ending", "audience.deleted"]
    assert (endings.emptied(), endings.finish(audience.pk, clock.now())) == ([], False)


def test_the_stage_comes_to_rest_when_all_are_out(audience, clock):
    subscription = catcher(audience)
    run(clock, subscription)
    end(audience, clock)
    run(clock, subscription)
    clock.advance(SETTLED)
    run(clock, subscription)
    assert subscription.pk not in sync.waiting(clock.now())
    clock.advance(timedelta(minutes=1))
    assert subscription.pk not in sync.waiting(clock.now())


def test_whoever_enters_meanwhile_is_not_sent(audience, clock):
    subscription = catcher(audience)
    run(clock, subscription)
    end(audience, clock)
    change(audience, entered=make_people(audience.space, 2, prefix="late"))
    run(clock, subscription)
    assert inside(subscription) == 0
    assert count_now(subscription)["desired"] == 0


def test_more_than_a_batch_are_sent_out_too(audience, clock, monkeypatch):
    monkeypatch.setattr(Sync, "batch_size", 10)
    change(audience, entered=make_people(audience.space, 45, prefix="many"))
    subscription = catcher(audience)
    run(clock, subscription)
    assert inside(subscription) == 48
    end(audience, clock)
    for _ in range(3):
        run(clock, subscription)
        clock.advance(SETTLED)
    run(clock, subscription)
    assert inside(subscription) == 0
    assert endings.emptied() == [audience.pk]


def test_a_destination_that_does_not_answer_holds_it_up_and_no_other(audience, clock, receiver):
    broken = make_subscription(audience, make_destination(audience.space, "webhook", url=receiver.url))
    fine = catcher(audience)
    run(clock, broken, fine)
    receiver.answer = lambda got: Reply(500)
    end(audience, clock)
    for _ in range(3):
        run(clock, broken, fine)
        clock.advance(timedelta(hours=1))
    run(clock, broken, fine)
    assert inside(fine) == 0
    done = {row.subscription.pk: row.done for row in endings.leaving(audience)}
    assert done == {broken.pk: False, fine.pk: True}
    assert endings.emptied() == []
    receiver.answer = lambda got: Reply()
    for _ in range(3):
        clock.advance(timedelta(hours=1))
        run(clock, broken, fine)
    assert endings.emptied() == [audience.pk]


def test_what_is_switched_off_holds_it_up_until_somebody_deletes_it_anyway(audience, clock):
    subscription = catcher(audience)
    run(clock, subscription)
    change_subscription(subscription, enabled=False, by=COMMAND)
    end(audience, clock)
    clock.advance(timedelta(hours=1))
    run(clock, subscription)
    assert inside(subscription) == 3
    assert [row.left for row in endings.leaving(audience)] == [3]
    assert endings.emptied() == []
    services.delete_audience(audience, now=clock.now(), by=COMMAND)
    assert endings.emptied() == []


def test_a_disabled_audience_still_sends_everyone_out(audience, clock):
    subscription = catcher(audience)
    run(clock, subscription)
    services.change_audience(audience, enabled=False, by=COMMAND)
    end(audience, clock)
    run(clock, subscription)
    assert inside(subscription) == 0
    assert not Acknowledged.objects.exclude(state=Acknowledged.State.OUT).exists()


def test_what_was_never_sent_anywhere_is_deleted_at_once(clock):
    space = SpaceFactory()
    nowhere = AudienceFactory(space=space)
    never_computed = AudienceFactory(space=space, computed=False)
    make_subscription(never_computed, make_destination(space))
    for audience in (nowhere, never_computed):
        services.end_audience(audience, now=clock.now(), by=COMMAND)
    assert endings.emptied() == [nowhere.pk, never_computed.pk]


def test_nobody_can_ask_about_what_ends(clock):
    space = SpaceFactory()
    audience = services.create_audience(space, name="a", definition=ORDERED, by=COMMAND)
    asks = services.create_audience(space, name="b", definition={"kind": "audience", "key": "a"}, by=COMMAND)
    with pytest.raises(NotPossible):
        services.end_audience(audience, now=clock.now(), by=COMMAND)
    services.delete_audience(asks, now=clock.now(), by=COMMAND)
    services.end_audience(audience, now=clock.now(), by=COMMAND)
    ended_at = audience.ending_at
    clock.advance(timedelta(hours=1))
    services.end_audience(audience, now=clock.now(), by=COMMAND)
    assert audience.ending_at == ended_at
    with pytest.raises(DefinitionError):
        services.create_audience(space, name="c", definition={"kind": "audience", "key": "a"}, by=COMMAND)


def test_an_end_that_was_noted_by_a_clock_that_ran_ahead_is_no_endless_work(audience, clock):
    subscription = catcher(audience)
    run(clock, subscription)
    services.end_audience(audience, now=clock.now() + timedelta(hours=3), by=COMMAND)
    run(clock, subscription)
    assert subscription.pk not in sync.waiting(clock.now())
    clock.advance(timedelta(hours=2))
    run(clock, subscription)
    assert inside(subscription) == 0  # it is compared every hour anyway
    clock.advance(timedelta(hours=2))
    run(clock, subscription)
    assert endings.emptied() == [audience.pk]


def test_the_pipeline_deletes_what_is_empty(audience, clock):
    services.end_audience(audience, now=clock.now(), by=COMMAND)
    work = pipeline.WORK["ending"]
    assert list(work.waiting(clock.now())) == [audience.pk]
    assert work.turn(audience.pk, audience.workspace_id)
    assert not Audience.objects.filter(deleted_at=None).exists()
