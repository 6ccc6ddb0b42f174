"""Whatever goes wrong on the way, at random, every tool ends with exactly the audience: one case at least for each
kind of destination that there is.

The faults are those of `tests/faults.py`. Longer: `make chaos`, with SEED=… for other dice.
"""

import os
import random
import re
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audiences.models import Audience
from destinations import queries, services
from destinations.adapters import adapter_of, all_adapters
from destinations.models import Acknowledged, Destination, Subscription
from destinations.rules.contract import DestinationRequest
from destinations.rules.tables import statements_of
from destinations.transports import TRANSPORTS
from spaces import batches
from spaces.answers import Answer
from spaces.clock import FixedClock
from spaces.models import Log
from spaces.outbound import Caller
from tests.factories import SpaceFactory
from tests.factories_destinations import (
    AudienceFactory,
    change,
    give,
    make_destination,
    make_person,
    make_subscription,
    merge,
)
from tests.faults import Faults, Killed
from tests.flows.test_gaps import synced
from tests.flows.test_stores import STORES
from tests.flows.test_sync_kills import forked
from tests.flows.test_vendors import BAD, named
from tests.receiver import Receiver, receiving
from tests.vendors import HOOKS, LISTS, VENDORS, Channel, Hook, Vendor, redirected

TIMES = int(os.environ.get("CHAOS", "1"))  # as many worlds, each with other dice
SEED = int(os.environ.get("SEED", "1"))
ROUNDS = 3 if TIMES == 1 else 5
LATE, LOSER, WINNER = 11, 10, 9  # whose address comes later; who turns out to be one person


@dataclass
class Tool:
    """Where an audience goes. members(destination): who is in it, as the tool knows them."""

    settings: dict[str, Any]
    options: dict[str, Any]
    members: Callable[[Destination], set[str]]
    refuses: bool = False  # u3
    places: list[str] = field(default_factory=list)
    vendor: Vendor | None = None  # what answers the receiver
    receiver: Receiver | None = None


@dataclass
class Crowd:
    """An audience whose people come and go, and are found out about. inside: numbers of people, not of profiles.

    plain: everybody has one identifier. Messages in a channel count people by batch, and two identifiers of somebody
    may go in two.
    """

    destination: Destination
    dice: random.Random
    plain: bool = False
    inside: set[int] = field(default_factory=set)
    merged: bool = False

    def __post_init__(self) -> None:
        space = self.destination.space
        self.audience: Audience = AudienceFactory(space=space, key="shoppers")
        self.people = {
            n: make_person(
                space, ("user_id", f"u{n}"), *([] if self.plain or n == LATE else [("email", f"p{n}@x.org")])
            )
            for n in range(12)
        }
        change(self.audience, entered=[make_person(space, ("email", "only@x.org"))])

    def turn(self, count: int) -> None:
        """So many enter or leave."""
        flipped = {*self.dice.sample([n for n in self.people if not (self.merged and n == LOSER)], count)}
        entered, left = flipped - self.inside, flipped & self.inside
        change(self.audience, entered=[self.people[n] for n in entered], left=[self.people[n] for n in left])
        self.inside ^= flipped

    def learn(self) -> None:
        """An address of somebody."""
        person = self.people[LATE]
        give(self.destination.space, person, "email", f"p{LATE}@x.org")
        change(self.audience, refreshed=[person] if LATE in self.inside else [])

    def merge(self) -> None:
        """Two are one."""
        merge(self.destination.space, self.people[LOSER], self.people[WINNER])
        change(
            self.audience,
            left=[self.people[LOSER]] if LOSER in self.inside else [],
            refreshed=[self.people[WINNER]] if WINNER in self.inside else [],
        )
        self.inside -= {LOSER}
        self.merged = True

    def named(self, tool: Tool, kind: str) -> set[str]:
        """Whoever should be over there, by all that they are called."""
        people = self.inside | ({LOSER} if self.merged and WINNER in self.inside else set())
        return named(kind, people - ({3} if tool.refuses else set()))


Open = Callable[[pytest.MonkeyPatch, Path], AbstractContextManager[Tool]]


@contextmanager
def vendor(
    fake: Vendor, settings: Mapping[str, Any], options: Mapping[str, Any], patch: pytest.MonkeyPatch, folder: Path
) -> Iterator[Tool]:
    with receiving() as server:
        patch.setattr(Caller, "send", redirected(Caller.send, server))
        yield Tool({**settings}, {**options}, lambda _: fake.members, fake.refuses, [server.place], fake, server)


@contextmanager
def store(name: str, patch: pytest.MonkeyPatch, folder: Path) -> Iterator[Tool]:
    with STORES[name][1](folder) as found:
        yield Tool(found.settings, found.options, lambda _: found.members(), found.refuses, found.places)


@contextmanager
def catcher(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[Tool]:
    def members(destination: Destination) -> set[str]:
        inside = queries.members_at_catcher(destination, "shoppers")
        return {value for type, value in inside if type == "user_id" or value == "only@x.org"}

    yield Tool({}, {}, members)


@contextmanager
def mysql(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[Tool]:
    """SQLite runs what MySQL would be asked: no server of that kind comes with a Python package. With a real one, but
    fewer faults: tests/clients/mariadb.py."""
    path = folder / "mysql"

    @contextmanager
    def calls(destination: Destination, settings: Any) -> Iterator[Callable[[DestinationRequest], Answer]]:
        yield partial(in_sqlite, path)

    patch.setitem(TRANSPORTS, "mysql", calls)
    settings = {"host": "db.example.com", "database": "crm", "user": "writer", "password": "correct-horse"}

    def members(_: Destination) -> set[str]:
        with sqlite3.connect(path) as connection:
            return {id for (id,) in connection.execute("SELECT id FROM crm WHERE audience = 'shoppers'")}

    yield Tool(settings, {"table": "crm"}, members)


def in_sqlite(path: Path, request: DestinationRequest) -> Answer:
    connection = sqlite3.connect(path)
    try:
        with connection:  # one transaction
            for statement in statements_of(request.body):
                text = statement.sql.replace("%s", "?").replace("ON DUPLICATE KEY UPDATE", "ON CONFLICT DO UPDATE SET")
                text = re.sub(r" CHARACTER SET \w+ COLLATE \w+", "", text)
                text = re.sub(r"\bVALUES\((\w+|`\w+`)\)", r"excluded.\1", text)
                text = re.sub(r"\bIF\(", "iif(", text)
                for row in statement.rows or [[]]:
                    connection.execute(text, row)
    except sqlite3.OperationalError as error:
        return Answer(403, {}, str(error).encode())
    finally:
        connection.close()
    return Answer(200, {}, b"")


def cases() -> dict[str, tuple[str, Open]]:
    """By name (kind, how it is opened): of each kind all that there is to stand for it."""
    found: dict[str, tuple[str, Open]] = {"catcher": ("catcher", catcher), "mysql": ("mysql", mysql)}
    for name, settings in HOOKS.items():
        found[name] = "webhook", lambda *where, settings=settings: vendor(Hook(), settings, {}, *where)
    for suffix, fakes in (("", VENDORS), (" list", LISTS)):
        for kind, (fake, settings, options, *_) in fakes.items():
            bad = BAD if fake.refuses else frozenset[str]()
            make = partial(fake, bad=bad)
            found[kind + suffix] = (
                kind,
                lambda *where, make=make, settings=settings, options=options: vendor(make(), settings, options, *where),
            )
    for name, (kind, _) in STORES.items():
        found[name] = kind, partial(store, name)
    return found


CASES = cases()


def test_every_kind_meets_faults() -> None:
    assert {kind for kind, _ in CASES.values()} == {*all_adapters()}


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(SEED, SEED + TIMES))
@pytest.mark.parametrize("name", CASES)
def test_whatever_goes_wrong_a_tool_ends_with_the_audience(
    name: str,
    seed: int,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    clock: FixedClock,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, opened = CASES[name]
    with opened(monkeypatch, tmp_path) as tool:
        settings.OUTBOUND_ALLOW = tool.places
        destination = make_destination(SpaceFactory(), kind, **tool.settings)
        if not tool.vendor:
            assert services.test_destination(destination, now=clock.now()).ok
        faults = faulty(tool, kind, f"{name} {seed}", monkeypatch)
        crowd = Crowd(destination, faults.dice, plain=faults.sure)
        faults.meanwhile = partial(crowd.turn, 1)
        subscription = make_subscription(crowd.audience, destination, **tool.options)
        for number in range(ROUNDS):
            crowd.turn(4)
            if number == 1 and not faults.sure:
                crowd.learn()
            if number == 2 and not faults.sure:
                crowd.merge()
            worked(subscription, clock, faults)
        faults.on = False
        in_step(subscription, clock)
        assert not tool.vendor or tool.vendor.wrong == []
        refused = Acknowledged.objects.filter(subscription=subscription).exclude(refused="")
        assert {row.profile for row in refused} <= ({crowd.people[3]} if tool.refuses else set())
        if isinstance(tool.vendor, Channel):
            assert tool.vendor.inside == len(crowd.inside) + 1
        else:
            assert tool.members(destination) == crowd.named(tool, kind)
        if os.environ.get("CHAOS"):
            with capsys.disabled():
                print(f"\n{name}: {faults}", end="")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["webhook list", "klaviyo list", "salesforce list", "postgresql"])
def test_workers_end_by_sigkill_while_the_audience_changes(
    name: str, settings: Any, monkeypatch: pytest.MonkeyPatch, clock: FixedClock, tmp_path: Path
) -> None:
    """Processes of their own, with all the other faults as well."""
    kind, opened = CASES[name]
    with opened(monkeypatch, tmp_path) as tool:
        settings.OUTBOUND_ALLOW = tool.places
        destination = make_destination(SpaceFactory(), kind, **tool.settings)
        if not tool.vendor:
            assert services.test_destination(destination, now=clock.now()).ok
        faults = faulty(tool, kind, name, monkeypatch)
        faults.deaths = 150
        crowd = Crowd(destination, faults.dice)
        subscription = make_subscription(crowd.audience, destination, **tool.options)
        deaths = 0
        for number in range(6):
            crowd.turn(4)
            if number == 2:
                crowd.learn()
            faults.dice.seed(f"{name} {number}")
            pid = forked(partial(killable, subscription, clock, faults))
            crowd.turn(2)
            _, status = os.waitpid(pid, 0)
            assert os.WIFSIGNALED(status) or status == 0
            deaths += os.WIFSIGNALED(status)
            clock.advance(timedelta(hours=1))
        assert deaths >= 2
        faults.on = False
        in_step(subscription, clock)
        assert not tool.vendor or tool.vendor.wrong == []
        assert tool.members(destination) == crowd.named(tool, kind)


def killable(subscription: Subscription, clock: FixedClock, faults: Faults) -> None:
    faults.lock = threading.RLock()  # a thread may have held it that is not here
    faults.die = partial(os.kill, os.getpid(), signal.SIGKILL)
    synced(subscription, clock)


def faulty(tool: Tool, kind: str, seed: str, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """The faults that are between the workers and the tool from now on."""
    sure = isinstance(tool.vendor, Channel)  # what is said twice there cannot be told from what happened twice
    faults = Faults(random.Random(seed), {*tool.places}, sure=sure, tool=tool.vendor)
    if tool.receiver:
        tool.receiver.answer = faults.answer
    transport = adapter_of(kind).transport
    monkeypatch.setitem(TRANSPORTS, transport, partial(faults.transport, TRANSPORTS[transport]))
    monkeypatch.setattr(batches, "reach", faults.reach)
    monkeypatch.setattr(batches, "MANY_DEATHS", 1_000)
    for module in ("send", "delivery_log"):
        monkeypatch.setattr(f"destinations.{module}.pace", lambda name, **more: True)
    monkeypatch.setattr(
        "spaces.outbound.socket", SimpleNamespace(**{**vars(socket), "getaddrinfo": faults.getaddrinfo})
    )
    return faults


def worked(subscription: Subscription, clock: FixedClock, faults: Faults) -> None:
    """Workers, one after the other ended, until two of them had nothing left to do for the moment."""
    for _ in range(2):
        while True:
            with suppress(Killed):
                synced(subscription, clock)
                break
        clock.advance(timedelta(seconds=faults.dice.choice([3, 60, 3600])))


def in_step(subscription: Subscription, clock: FixedClock) -> None:
    """Nothing waits any more, and a comparison has said so."""
    for _ in range(40):
        # After several deaths the log rests for a while, by the computer's own clock, which nobody advances here.
        Log.objects.filter(stage="sync", partition=subscription.pk).update(retry_at=None)
        synced(subscription, clock)
        due = Acknowledged.objects.filter(subscription=subscription, due=True).exists()
        if subscription.status in (Subscription.Status.IN_STEP, Subscription.Status.REFUSED) and not due:
            return
        clock.advance(timedelta(hours=1))
    raise AssertionError(f"{subscription.status}: {subscription.error}")
