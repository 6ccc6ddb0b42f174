"""What a pass over many people costs: its members and changes are read once, not again for each batch of it."""

from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pyroaring import BitMap

from audiences import queries as audiences
from audiences.models import Change, Version
from destinations import queries, sync
from destinations.models import Subscription
from destinations.rules import batch_size
from destinations.sync import Sync
from spaces import batches
from spaces.clock import FixedClock
from tests.factories import SpaceFactory
from tests.factories_destinations import AudienceFactory, change, make_destination, make_people, make_subscription

pytestmark = pytest.mark.django_db
PEOPLE, BATCH = 40, 5


def statements(subscription: Subscription, clock: FixedClock) -> dict[str, int]:
    """How often bitmaps were read until nothing was left to do, and in how many batches."""
    stage: Any = Sync(clock)
    stage.batch_size = BATCH
    log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    before = log.last_number
    with CaptureQueriesContext(connection) as captured:
        while batches.advance(stage, log):
            pass
    log.refresh_from_db()
    texts = [query["sql"] for query in captured]
    return {
        "batches": log.last_number - before,
        "snapshots": sum('"audiences_version"."snapshot"' in text for text in texts),
        "changes": sum('"audiences_change"."entered"' in text for text in texts),
    }


def test_a_pass_reads_members_and_changes_once(clock: FixedClock) -> None:
    space = SpaceFactory()
    audience = AudienceFactory(space=space, key="shoppers")
    destination = make_destination(space)
    subscription = make_subscription(audience, destination)
    people = [*make_people(space, PEOPLE)]
    change(audience, entered=people)
    assert statements(subscription, clock) == {"batches": 10, "snapshots": 1, "changes": 1}
    for person in people:  # an outage: many ticks, each with a change
        change(audience, left=[person])
    change(audience, entered=people[:3])
    # Once for who is in it, and once for whom the pass is about; before, it was each of them in each batch.
    assert statements(subscription, clock) == {"batches": 10, "snapshots": 0, "changes": 2}
    assert len(queries.members_at_catcher(destination, "shoppers")) == 3


def test_batches_grow_while_their_destination_is_quick(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sync, batch_size):
        monkeypatch.setattr(module, "SMALLEST", 4)
    space = SpaceFactory()
    audience = AudienceFactory(space=space, key="shoppers")
    subscription = make_subscription(audience, make_destination(space))
    change(audience, entered=make_people(space, PEOPLE))
    stage = Sync(clock)
    log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    sent = [0]
    while batches.advance(stage, log):
        sent.append(subscription.acknowledged.count())
    sizes = [after - before for before, after in pairwise(sent)]
    assert [size for size in sizes if size] == [4, 8, 16, 12]


def test_a_batch_is_so_many_statements(clock: FixedClock) -> None:
    """In the middle of a first sync. Each costs about a millisecond, whatever it asks: none is to come by itself."""
    space = SpaceFactory()
    audience = AudienceFactory(space=space, key="shoppers")
    subscription = make_subscription(audience, make_destination(space))
    change(audience, entered=make_people(space, PEOPLE))
    stage: Any = Sync(clock)
    stage.batch_size = BATCH
    log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    for _ in range(2):  # the first reads the members, the second compares
        assert batches.advance(stage, log)
    with CaptureQueriesContext(connection) as captured:
        assert batches.advance(stage, log)
    ours = [text for query in captured if "destinations_caught" not in (text := query["sql"])]  # the receiver's own
    assert len(ours) == 33, "\n".join(ours)


def test_members_are_right_whatever_happened_meanwhile() -> None:
    """Each way in which what a process knows of an audience can be out of date."""
    audience = AudienceFactory(space=SpaceFactory(), key="shoppers")
    again = audiences.members_again
    assert set(again(audience)) == set()
    change(audience, entered=[1, 2, 3])
    assert set(again(audience)) == {1, 2, 3}
    change(audience, entered=[4], left=[1])
    change(audience, left=[2])
    assert set(again(audience)) == set(audiences.members(audience)) == {3, 4}
    # The snapshot moves on, and the changes before it are forgotten.
    newest = Change.objects.filter(audience=audience).latest("tick").tick
    Version.objects.filter(pk=audience.serving_id).update(snapshot=BitMap([3, 4]).serialize(), snapshot_tick=newest)
    Change.objects.filter(audience=audience, tick__lt=newest).delete()
    assert set(again(audience)) == {3, 4}
    # A backup from before the newest changes is played back.
    late = change(audience, entered=[9])
    assert set(again(audience)) == {3, 4, 9}
    late.delete()
    assert set(again(audience)) == {3, 4}
    # Another version serves.
    columns = {"workspace": audience.workspace, "number": 2, "definition": {}, "state": Version.State.LIVE}
    audience.serving = Version.objects.create(
        audience=audience, snapshot=BitMap([7]).serialize(), snapshot_tick=newest, **columns
    )
    audience.save()
    assert set(again(audience)) == {7}
