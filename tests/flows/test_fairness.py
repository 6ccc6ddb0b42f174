"""One tenant's flood and another's calm: turns at the queues, wake-ups, and beat, on the real stages and the broker."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection

from personas_site import pipeline
from personas_site.beat import Scheduler
from personas_site.celery import app
from personas_site.pipeline import Job, wake, who_waits, work
from sources import archive
from sources.events import client
from sources.events.schema import Table
from sources.models import Inbox, Source
from spaces.batches import Locks
from spaces.models import Log
from tests import factories_destinations as made
from tests.factories import SourceFactory, SpaceFactory, WorkspaceFactory
from tests.factories_destinations import AudienceFactory, change, make_people
from tests.factories_sources import InboxFactory

pytestmark = pytest.mark.django_db(transaction=True)
FLOOD = 40  # sources of one workspace


@pytest.fixture(autouse=True)
def broker() -> Iterator[Any]:
    """Its client, with empty queues; and nobody has had a turn yet."""
    pipeline._turns.clear()
    pipeline._took.clear()
    pipeline._rests.clear()
    pipeline._look_after.clear()
    pipeline._asked = time.monotonic()  # nobody is asked whether they live
    with app.connection_for_write() as connection:
        client = connection.default_channel.client
        for queue in pipeline.QUEUES:
            client.delete(queue)
        cache.clear()
        yield client
        cache.clear()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Whose turns there were, in order."""
    turns: list[Job] = []
    serve = pipeline._serve

    def noted(job: Job, *others: Any) -> bool:
        turns.append(job)
        return serve(job, *others)

    monkeypatch.setattr(pipeline, "_serve", noted)
    return turns


def messages(broker: Any, queue: str) -> list[dict[str, Any]]:
    return [json.loads(message) for message in broker.lrange(queue, 0, -1)]


def flooded(sources: int, requests: int) -> list[Source]:
    """So many sources of one workspace, each with so many requests that wait."""
    workspace = WorkspaceFactory()
    flood = SourceFactory.create_batch(sources, workspace=workspace)
    for source in flood:
        InboxFactory.create_batch(requests, source=source)
    return flood


def slow_turns(monkeypatch: pytest.MonkeyPatch, of: Source) -> list[tuple[float, float]]:
    """When each turn of this source began and ended, filled in as they come. Every turn takes 0.3 s: it is work."""
    turns: list[tuple[float, float]] = []
    prepare = archive.STAGE.prepare

    def slowly(log: Log, *args: Any) -> Any:
        begun = time.monotonic()
        time.sleep(0.3)
        if log.partition == of.pk:
            turns.append((begun, time.monotonic()))
        return prepare(log, *args)

    monkeypatch.setattr(archive.STAGE, "prepare", slowly)
    return turns


# Turns


def test_a_tenant_with_many_sources_has_one_turn_before_another_has_its_own(served: list[Job]) -> None:
    flooded(FLOOD, 1)
    calm = InboxFactory().source
    work("archive")
    assert ("archive", calm.pk) in served[:2]
    assert not Inbox.objects.filter(source=calm).exists()


def test_the_flood_of_one_source_has_one_piece_before_another_tenant_has_its_turn(
    served: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive.STAGE, "batch_size", 1)
    monkeypatch.setattr(pipeline, "LOOK_S", 0)  # the turns alone are counted, however fast a batch is
    (source,) = flooded(1, 20)
    for _ in range(3):
        calm = InboxFactory().source
        served.clear()
        work("archive")
        assert ("archive", calm.pk) in served[:2]
        InboxFactory.create_batch(20, source=source)


def test_what_goes_wrong_with_one_owner_stops_nobody_else(monkeypatch: pytest.MonkeyPatch, served: list[Job]) -> None:
    bad, *good = flooded(5, 1)
    decide = archive.STAGE.prepare

    def broken(log: Log, *args: Any) -> Any:
        if log.partition == bad.pk:
            raise ZeroDivisionError
        return decide(log, *args)

    monkeypatch.setattr(archive.STAGE, "prepare", broken)
    work("archive")
    assert list(Inbox.objects.values_list("source", flat=True)) == [bad.pk]
    assert len(served) <= 2 * len([bad, *good])  # nor is it tried again and again


def test_a_task_makes_way_after_its_time_and_leaves_a_wake_up(broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "ROUND_S", 0)
    monkeypatch.setattr(pipeline, "TOGETHER_S", 0)
    flooded(2, 1)
    work("archive")
    assert Inbox.objects.count() == 1
    assert len(messages(broker, "archive")) == 1
    assert len(messages(broker, "resolve")) == 1


def test_who_is_being_served_elsewhere_is_left_alone(served: list[Job]) -> None:
    source = InboxFactory().source
    with Locks() as theirs:
        assert theirs.take(f"archive:{source.pk}")
        work("archive")
        assert Inbox.objects.count() == 1
    work("archive")
    assert Inbox.objects.count() == 0


def test_a_tick_is_told_to_the_subscriptions_that_it_changed_alone(served: list[Job]) -> None:
    space = SpaceFactory()
    audiences = [AudienceFactory(space=space) for _ in range(5)]
    subscriptions = [made.make_subscription(audience, made.make_destination(space)) for audience in audiences]
    while who_waits("sync", datetime.now(UTC)):
        work("sync")  # the first sync of each
    assert {owner for _, owner in served} == {subscription.pk for subscription in subscriptions}
    served.clear()
    change(audiences[3], entered=make_people(space, 2))
    work("sync")
    assert set(served) == {("sync", subscriptions[3].pk)}


def test_many_sources_at_once_make_few_inserts(monkeypatch: pytest.MonkeyPatch) -> None:
    inserts: list[int] = []
    put = client.put

    def counted(table: Table, batch: pyarrow.Table) -> None:
        inserts.append(batch.num_rows)
        put(table, batch)

    monkeypatch.setattr(client, "put", counted)
    flood = flooded(FLOOD, 1)
    begun = time.monotonic()
    for _ in range(2):
        for source in flood:
            InboxFactory(source=source)
        while Inbox.objects.exists():
            work("archive")
    assert sum(inserts) == 3 * FLOOD
    assert len(inserts) <= settings.INSERTS_PER_SECOND * (time.monotonic() - begun) + 2


def test_nobody_waits_in_one_batch_with_whoever_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    (slow,) = flooded(1, 1)
    calm = InboxFactory().source
    decide = archive.STAGE.prepare
    batches: list[list[int]] = []
    write = pipeline.BatchGroup.write

    def slowly(log: Log, *args: Any) -> Any:
        if log.partition == slow.pk:
            time.sleep(2 * pipeline.TOGETHER_S)
        return decide(log, *args)

    def noted(group: pipeline.BatchGroup) -> list[Log]:
        batches.append([log.partition for log, _ in group._open])
        return write(group)

    monkeypatch.setattr(archive.STAGE, "prepare", slowly)
    monkeypatch.setattr(pipeline.BatchGroup, "write", noted)
    work("archive")  # shows who takes long
    batches.clear()
    for source in (calm, slow):
        InboxFactory(source=source)
    work("archive")
    assert [calm.pk] in batches
    assert [slow.pk] in batches


def test_whoever_always_has_more_to_do_rests_and_whoever_comes_new_does_not_wait_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive.STAGE, "batch_size", 1)
    monkeypatch.setattr(pipeline, "EVERY_S", 3.0)
    monkeypatch.setattr(pipeline, "ROUND_S", 60.0)
    (busy,) = flooded(1, 3)
    began: list[tuple[float, int]] = []
    decide = archive.STAGE.prepare

    def noted(log: Log, *args: Any) -> Any:
        began.append((time.monotonic(), log.partition))
        if len(began) == 1:
            InboxFactory()
        return decide(log, *args)

    monkeypatch.setattr(archive.STAGE, "prepare", noted)
    work("archive")
    assert [owner == busy.pk for _, owner in began] == [True, False, True, True]
    first, _, second, third = (at for at, _ in began)
    assert min(second - first, third - second) > 1.0


@pytest.mark.parametrize("short", [True, False])
def test_while_the_processor_is_short_a_flood_works_a_third_of_the_time_beside_others(
    monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    monkeypatch.setattr(archive.STAGE, "batch_size", 1)
    monkeypatch.setattr(pipeline, "EVERY_S", 0.0)
    monkeypatch.setattr(pipeline, "ROUND_S", 60.0)
    monkeypatch.setattr(pipeline.processor, "short", lambda: short)
    (busy,) = flooded(1, 4)
    InboxFactory()
    turns = slow_turns(monkeypatch, busy)
    work("archive")
    pauses = [begun - ended for (_, ended), (begun, _) in pairwise(turns[1:])]
    assert len(turns) == 4
    assert all(pause > 0.58 for pause in pauses) is short


@pytest.mark.parametrize("rests", [True, False])
def test_what_costs_the_same_however_much_there_is_works_half_of_the_time(
    monkeypatch: pytest.MonkeyPatch, rests: bool
) -> None:
    monkeypatch.setattr(archive.STAGE, "batch_size", 1)
    monkeypatch.setattr(pipeline, "EVERY_S", 0.0)
    monkeypatch.setattr(pipeline, "ROUND_S", 60.0)
    monkeypatch.setitem(pipeline.WORK, "archive", replace(pipeline.WORK["archive"], rests=rests))
    (busy,) = flooded(1, 4)
    turns = slow_turns(monkeypatch, busy)
    work("archive")
    pauses = [begun - ended for (_, ended), (begun, _) in pairwise(turns)]
    assert len(turns) == 4
    assert all(pause > 0.28 for pause in pauses) is rests


def test_one_lane_is_there_for_others_however_long_a_turn_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_threads", 2)
    flooded(2, 1)
    deciding, over = threading.Event(), threading.Event()
    decide = archive.STAGE.prepare

    def slowly(log: Log, *args: Any) -> Any:
        if not deciding.is_set():
            deciding.set()
            assert over.wait(30)
        return decide(log, *args)

    def work_elsewhere() -> None:
        work("archive")
        connection.close()

    monkeypatch.setattr(archive.STAGE, "prepare", slowly)
    other = threading.Thread(target=work_elsewhere)
    other.start()
    assert deciding.wait(30)
    calm = InboxFactory().source
    work("archive")
    waiting = set(Inbox.objects.values_list("source", flat=True))
    over.set()
    other.join()
    assert calm.pk not in waiting
    assert len(waiting) == 2  # the flood has no second lane


def test_a_thread_that_had_nobody_to_serve_is_not_kept_busy_by_wake_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_threads", 2)
    monkeypatch.setattr(pipeline, "REST_S", 0.2)
    begun = time.monotonic()
    for _ in range(3):
        work("archive")
    assert time.monotonic() - begun > 0.4


# Wake-ups


def test_a_wake_up_lasts_no_longer_than_its_mark(broker: Any) -> None:
    for _ in range(3):
        wake("archive")
    (message,) = messages(broker, "archive")
    left = datetime.fromisoformat(message["headers"]["expires"]) - datetime.now(UTC)
    assert 0 < left.total_seconds() <= pipeline.PENDING_S


def test_a_broker_that_goes_away_while_messages_are_in_work_ends_no_worker(broker: Any) -> None:
    """As Celery closes it: the connection's end comes after that of the way to the broker, with a message not done."""
    wake("archive")
    received: list[Any] = []
    connection = app.connection_for_read()
    with app.amqp.TaskConsumer(connection.default_channel, queues=[app.amqp.queues["archive"]]) as consumer:
        consumer.on_message = received.append
        consumer.qos(prefetch_count=1)
        connection.drain_events(timeout=5)
    assert received
    assert not received[0].acknowledged
    connection._do_close_transport()
    connection.close()


# Beat


def test_beat_looks_for_itself_and_wakes_the_queues_at_which_somebody_waits(broker: Any, tmp_path: Path) -> None:
    InboxFactory()
    scheduler = Scheduler(app=app, schedule_filename=str(tmp_path / "schedule"))
    scheduler.setup_schedule()
    scheduler.apply_entry(scheduler.schedule["beat"])
    assert {queue for queue in pipeline.QUEUES if messages(broker, queue)} == {"archive"}
    assert who_waits("archive", datetime.now(UTC))
    scheduler.close()


def test_what_is_wrong_with_one_kind_of_work_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(now: datetime) -> list[int]:
        raise KeyError("a definition that nobody can read")

    space = SpaceFactory()
    monkeypatch.setattr(pipeline.backfill, "computing", broken)
    monkeypatch.setattr(pipeline.resolve_stage, "replaying", lambda: {space.pk})
    assert who_waits("bulk", datetime.now(UTC)) == {("replay", space.pk): space.workspace_id}
