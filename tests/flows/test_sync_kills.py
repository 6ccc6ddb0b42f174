"""SIGKILL at any point of the sync stage: each call is made at least once, and the receiver ends in step."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from audiences.models import Audience
from destinations.models import Acknowledged, Subscription
from destinations.sync import Sync
from sources.events import client
from spaces import batches
from spaces.clock import clock
from tests import factories_destinations as made
from tests.factories import SpaceFactory
from tests.factories_destinations import AudienceFactory, change, make_person
from tests.receiver import Got, Receiver, Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)
PEOPLE = 30


@pytest.fixture(autouse=True)
def deaths_are_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of processes may die over a batch here without a pause."""
    monkeypatch.setattr(batches, "MANY_DEATHS", 1_000)


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        yield server


@pytest.fixture
def audience(receiver: Receiver) -> Audience:
    return AudienceFactory(space=SpaceFactory(), key="shoppers")


@pytest.mark.parametrize("point", ["sync:prepared", "sync:written", "sync:committed"])
@pytest.mark.parametrize("style", ["event", "list"])
def test_killed_between_two_steps(
    point: str, style: str, audience: Audience, receiver: Receiver, tmp_path: Path
) -> None:
    subscription, people = subscribed(audience, receiver, style)
    change(audience, entered=people)
    assert killed(subscription, faults=faults(tmp_path, point))
    change(audience, left=people[:10])
    assert killed(subscription, faults=faults(tmp_path, point))
    assert not killed(subscription)
    assert in_step(subscription, receiver, people[10:])


def test_killed_in_the_middle_of_calls_again_and_again(audience: Audience, receiver: Receiver) -> None:
    subscription, people = subscribed(audience, receiver, "event")
    dice = random.Random(7)
    members: set[int] = set()
    deaths = 0
    for _ in range(15):
        wanted = {person for person in people if dice.random() < 0.5}
        change(audience, entered=wanted - members, left=members - wanted)
        members = wanted
        deaths += killed(subscription, receiver=receiver, after_calls=dice.randrange(1, 25))
    assert deaths > 5
    assert not killed(subscription)
    assert in_step(subscription, receiver, members)


def subscribed(audience: Audience, receiver: Receiver, style: str) -> tuple[Subscription, list[int]]:
    destination = made.make_destination(
        audience.space, "webhook", url=receiver.url, style=style, batchSize=1 if style == "event" else 7
    )
    people = [make_person(audience.space, ("user_id", f"u{n}")) for n in range(PEOPLE)]
    return made.make_subscription(audience, destination), people


def faults(folder: Path, point: str) -> Path:
    path = folder / "faults"
    path.write_text(point)
    return path


def killed(
    subscription: Subscription,
    *,
    faults: Path | None = None,
    receiver: Receiver | None = None,
    after_calls: int = 0,
    answer: Callable[[Got], Reply] = lambda got: Reply(),
) -> bool:
    """Whether a process of its own, that works until nothing is left, was killed at the named point or call."""
    pid = forked(partial(_work, subscription.pk, faults))
    if receiver is not None:
        receiver.answer = killing(pid, after_calls, answer)
    _, status = os.waitpid(pid, 0)
    if receiver is not None:
        receiver.answer = answer
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _work(subscription: int, faults: Path | None) -> None:
    if faults:
        os.environ["PERSONAS_FAULTS"] = str(faults)
    workspace = Subscription.objects.get(pk=subscription).workspace_id
    log = batches.open_log(stage="sync", partition=subscription, workspace_id=workspace)
    while batches.advance(Sync(clock), log):
        pass


_of_the_parent: list[Any] = []


def forked(work: Callable[[], object]) -> int:
    """The id of a process that does this work, and ends with 0 when it is done."""
    connections.close_all()  # a socket must not be used on both sides of the fork
    if pid := os.fork():
        return pid
    try:
        client._local = threading.local()
        # Where a browser's event loop runs in this thread, connections that were made before it are others, and only
        # the child, in which no loop runs, sees them. Their sessions stay the parent's; not closed, as that ends them.
        for one in connections.all(initialized_only=True):
            _of_the_parent.append(one.connection)
            one.connection = None
        work()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def killing(pid: int, after_calls: int, answer: Callable[[Got], Reply]) -> Callable[[Got], Reply]:
    """It does what it is asked to, and nobody hears of it."""
    left = after_calls

    def answer_or_kill(got: Got) -> Reply:
        nonlocal left
        left -= 1
        reply = answer(got)
        if left == 0:
            os.kill(pid, signal.SIGKILL)
        return reply

    return answer_or_kill


def in_step(subscription: Subscription, receiver: Receiver, members: Any) -> bool:
    """Every flip that was ever prepared was said, and what was said, each once, makes the audience."""
    rows = Acknowledged.objects.filter(subscription=subscription)
    expected = {f"{subscription.public_id}-{row.identifier}-{n}" for row in rows for n in range(1, row.flip + 1)}
    said = statements(receiver)
    assert {id for id, *_ in said} == expected
    assert not rows.filter(due=True).exists()
    state: dict[str, tuple[str, bool]] = {}
    for _, at, who, inside in said:  # the newest by its own time
        if at >= state.get(who, ("", False))[0]:
            state[who] = (at, inside)
    numbers = dict(rows.values_list("profile", "sent"))
    assert {who for who, (_, inside) in state.items() if inside} == {numbers[one]["user_id"][1] for one in members}
    return True


def statements(receiver: Receiver) -> list[tuple[str, str, str, bool]]:
    """(id of the change, its time, user, whether inside)"""
    found = []
    for message in receiver.messages():
        if message["type"] == "audience":
            for part, inside in (("added", True), ("removed", False)):
                found += [(each["messageId"], each["timestamp"], each["userId"], inside) for each in message[part]]
        else:
            id = message["messageId"].rsplit("-", 1)[0]
            values = message.get("properties") or message["traits"]
            found.append((id, message["timestamp"], message["userId"], values["shoppers"]))
    return found
