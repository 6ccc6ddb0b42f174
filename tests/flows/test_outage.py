"""A day without one destination: nothing is lost, only what has changed goes out afterwards, and nobody else is slower.

Counted are statements and calls, which do not depend on what else the machine does; `make bench BENCH=deliveries` says
what they cost.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from audiences.models import Audience
from destinations.models import Acknowledged, Destination, Subscription
from destinations.sync import Sync, waiting
from spaces.batches import advance, open_log
from spaces.clock import FixedClock
from tests.factories import SpaceFactory
from tests.factories_destinations import AudienceFactory, change, make_destination, make_person, make_subscription
from tests.receiver import Receiver, receiving

pytestmark = pytest.mark.django_db
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PEOPLE = 30
DEAD = "http://127.0.0.1:9/"  # nobody listens there


@pytest.fixture(autouse=True)
def nobody_waits_for_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inserts are paced by the real clock."""
    monkeypatch.setattr("destinations.delivery_log.pace", lambda name, **more: True)


@dataclass
class Line:
    """The sync stage as workers do it, by a clock: whoever waits has turns until nobody does.

    turns: statements of each turn, by subscription. looks: statements by which it is known who waits.
    """

    clock: FixedClock
    turns: dict[int, list[int]] = field(default_factory=dict)
    looks: list[int] = field(default_factory=list)
    statements: int = 0

    def _count(self, execute: Callable[..., Any], *args: Any) -> Any:
        self.statements += 1
        return execute(*args)

    def serve(self) -> None:
        with connection.execute_wrapper(self._count):
            while jobs := self._counted(lambda: waiting(self.clock.now()), self.looks):
                for job in jobs:
                    subscription = Subscription.objects.get(pk=job)
                    log = open_log(stage="sync", partition=job, workspace_id=subscription.workspace_id)
                    self._counted(lambda log=log: advance(Sync(self.clock), log), self.turns.setdefault(job, []))

    def _counted(self, work: Callable[[], Any], into: list[int]) -> Any:
        before = self.statements
        result = work()
        into.append(self.statements - before)
        return result


def inside(receiver: Receiver) -> set[str]:
    newest: dict[str, tuple[str, bool]] = {}
    for user, at, entered in said(receiver):
        newest[user] = max(newest.get(user, ("", False)), (at, entered))
    return {user for user, (_, entered) in newest.items() if entered}


def said(receiver: Receiver) -> list[tuple[str, str, bool]]:
    """(user, when, whether they entered)"""
    return [
        (entry["userId"], entry["timestamp"], part == "added")
        for message in receiver.messages()
        for part in ("added", "removed")
        for entry in message[part]
    ]


def test_after_a_day_only_what_has_changed_goes_out_and_others_were_not_slowed_down(
    clock: FixedClock, settings: Any
) -> None:
    dice, line = random.Random(3), Line(clock)
    space = SpaceFactory()
    audience: Audience = AudienceFactory(space=space, key="shoppers")
    people = {f"u{n}": make_person(space, ("user_id", f"u{n}")) for n in range(PEOPLE)}
    members: set[str] = set()

    def day() -> list[int]:
        """What each change cost the one that is there: statements, from the change to its being over there."""
        costs = []
        for _ in range(12):
            flipped = {*dice.sample([*people], 3)}
            entered, left = flipped - members, flipped & members
            change(audience, entered=[people[user] for user in entered], left=[people[user] for user in left])
            members.symmetric_difference_update(flipped)
            line.turns.pop(fine.pk, None)
            for _ in range(4):
                line.serve()
                assert inside(receiver) == members  # at once, whatever becomes of the other one
                clock.advance(HOUR / 2)
            costs.append(sum(line.turns[fine.pk]))
        return costs

    with receiving() as receiver:
        with receiving() as away:
            settings.OUTBOUND_ALLOW = [receiver.place, away.place]
            lost, fine = subscribed(audience, away.url), subscribed(audience, receiver.url)
            before = day()
            held = inside(away)
            assert held == members
        line.turns.pop(lost.pk)
        during = day()
        assert max(during) <= 1.2 * max(before), (before, during)
        tries, statements = len(line.turns[lost.pk]), sum(line.turns[lost.pk])
        assert tries <= 40, tries  # of a day: half an hour apart, then six hours
        assert statements <= 40 * tries
        with receiving(away.port) as back:
            clock.advance(6 * HOUR)
            for _ in range(3):
                line.serve()
                clock.advance(MINUTE)
            assert inside(receiver) == members
            assert {user for user, _, _ in said(back)} == held ^ members
            assert len(said(back)) == len(held ^ members)
            assert (held | inside(back)) - {user for user, _, entered in said(back) if not entered} == members
    lost.refresh_from_db()
    assert lost.status == Subscription.Status.IN_STEP


def test_fifty_dead_of_five_hundred_cost_nothing_and_the_others_stay_fresh(clock: FixedClock, settings: Any) -> None:
    """Parked ones are tried once in six hours each; until then nobody so much as looks at them."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1:9"]
    space = SpaceFactory()
    dead, *living = [make_destination(space, "webhook", url=DEAD), *(make_destination(space) for _ in range(9))]
    audiences: list[Audience] = AudienceFactory.create_batch(50, space=space)
    known = make_person(space, ("user_id", "u0"))
    for audience in audiences:
        change(audience, entered=[known])
    Subscription.objects.bulk_create(
        [
            *(in_step(audience, destination, clock) for audience in audiences for destination in living),
            *(parked(audience, dead, clock, place) for place, audience in enumerate(audiences)),
        ]
    )
    line = Line(clock)
    line.serve()
    assert line.turns == {}
    assert line.looks == [2]
    entering = make_person(space, ("user_id", "u1"))
    change(audiences[0], entered=[entering])
    line.serve()
    fresh = Subscription.objects.filter(audience=audiences[0], destination__in=living)
    assert {*line.turns} == {*fresh.values_list("pk", flat=True)}
    acknowledged = Acknowledged.objects.filter(subscription__in=fresh, state=Acknowledged.State.IN, profile=entering)
    assert acknowledged.count() == len(living)
    line.turns.clear()
    line.looks.clear()
    for _ in range(12):
        clock.advance(5 * MINUTE)
        line.serve()
    tried = {*Subscription.objects.filter(destination=dead).values_list("pk", flat=True)} & {*line.turns}
    assert 7 <= len(tried) <= 10  # of 50 in an hour of six
    assert sum(len(line.turns[pk]) for pk in tried) <= 2 * len(tried)
    assert {*line.looks} == {2}


def subscribed(audience: Audience, url: str) -> Subscription:
    destination = make_destination(audience.space, "webhook", url=url, style="list", batchSize=100)
    return make_subscription(audience, destination)


def in_step(audience: Audience, destination: Destination, clock: FixedClock) -> Subscription:
    """With all that has happened so far."""
    settled = {"full": False, "tick": 50, "compared_at": clock.now(), "compare_at": clock.now() + 6 * HOUR}
    columns = {"audience": audience, "destination": destination, "status": Subscription.Status.IN_STEP} | settled
    return Subscription(workspace=audience.workspace, space=audience.space, **columns)


def parked(audience: Audience, destination: Destination, clock: FixedClock, place: int) -> Subscription:
    """With something to send, after half a day without an answer. place: of 50 that are tried one after the other."""
    row = in_step(audience, destination, clock)
    row.status, row.tick, row.failures, row.error = Subscription.Status.PARKED, 0, 40, "No connection"
    row.failing_since = clock.now() - 13 * HOUR
    row.retry_at = clock.now() + 6 * HOUR * (place + 1) / 50
    return row
