"""A destination that hangs keeps nobody else waiting: the real sync worker, two real receivers."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection

from audiences.models import Audience
from destinations.models import Subscription
from personas_site.embedded.paths import PROJECT_ROOT, Paths
from personas_site.embedded.workers import POOLS
from personas_site.pipeline import wake
from spaces.models import Batch
from tests import factories_destinations as made
from tests.factories import SpaceFactory
from tests.factories_destinations import AudienceFactory, change, make_people
from tests.receiver import Receiver, Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)
HANG = 5  # destinations; fewer than the worker has threads
SYNC_THREADS = int(POOLS["sync"][-1])
WORKER = "sync worker of a test"  # as PostgreSQL knows it


@pytest.fixture
def audience() -> Audience:
    audience = AudienceFactory(space=SpaceFactory(), key="shoppers")
    change(audience, entered=make_people(audience.space, 20))
    return audience


@pytest.fixture
def receivers() -> Iterator[list[Receiver]]:
    """All but the last never answer."""
    with ExitStack() as stack:
        found = [stack.enter_context(receiving()) for _ in range(HANG + 1)]
        for receiver in found[:-1]:
            receiver.answer = lambda got: Reply(0)
        yield found


@pytest.fixture
def worker(receivers: list[Receiver], settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The embedded workers, the sync worker alone, allowed to call the receivers."""
    places = ",".join(receiver.place for receiver in receivers)
    argv = [sys.executable, "-m", "personas_site.embedded.workers", "worker-sync"]
    environ = {**os.environ, "PERSONAS_OUTBOUND_ALLOW": places, "PGAPPNAME": WORKER}
    process = subprocess.Popen(argv, cwd=PROJECT_ROOT, env=environ)
    yield process
    for receiver in receivers:
        receiver.over.set()  # the calls under way break off, and the worker can end
    process.terminate()
    assert process.wait(20) == 0


def subscribed(audience: Audience, receiver: Receiver) -> Subscription:
    return made.make_subscription(audience, made.make_destination(audience.space, "webhook", url=receiver.url))


def until(condition: Callable[[], Any], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, log_of_the_worker()
        time.sleep(0.02)


def log_of_the_worker() -> str:
    return Paths.from_environ().log("worker-sync").read_text()[-2000:]


def now(row: Subscription) -> Subscription:
    row.refresh_from_db()
    return row


def test_destinations_that_hang_do_not_delay_another(
    audience: Audience, receivers: list[Receiver], worker: subprocess.Popen[bytes]
) -> None:
    *hanging, fine = [subscribed(audience, receiver) for receiver in receivers]
    Subscription.objects.filter(pk=fine.pk).update(enabled=False)
    wake("sync")
    until(lambda: all(receiver.got for receiver in receivers[:-1]))  # each is in the middle of its calls
    Subscription.objects.filter(pk=fine.pk).update(enabled=True)
    wake("sync")
    until(lambda: now(fine).status == Subscription.Status.IN_STEP)
    # All the others are still in their first calls, which are given up after 10 s.
    assert Batch.objects.filter(log__partition__in=[each.pk for each in hanging]).count() == HANG
    assert sessions() <= 2 * SYNC_THREADS


def sessions() -> int:
    """Of the worker, in PostgreSQL: one and one for the locks in each thread."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [WORKER])
        found: int = cursor.fetchone()[0]
        return found
