"""Deliveries per second to a sink on loopback, beside a bare HTTP client that sends the same; a first sync into a list,
files and a table, what is kept of each member, and what dead destinations cost while nothing happens.

By one worker: this process does what a thread of the sync workers does.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from statistics import median
from typing import Any

import httpx

from benchmarks import world
from benchmarks.figures import MIB, Figure, watching
from benchmarks.stack import Stack, until

MEMBERS = int(os.environ.get("BENCH_MEMBERS", "1_000_000"))  # of files and a table; of a list a fifth of it
LISTED = MEMBERS // 5
SINGLES = max(min(LISTED // 10, 5_000), 500)
SUBSCRIPTIONS, DEAD = 500, 50
RUNS, PATIENCE_S = 3, 120
EVENTS, LIST = {"style": "event"}, {"style": "list", "batchSize": 500}


def measure(running: Stack) -> list[Figure]:
    from django.conf import settings

    where, _ = world.new_place(running, "Deliveries")
    world.make_people(where, MEMBERS)
    with _sink() as port, _table(running) as (table, table_port):
        settings.OUTBOUND_ALLOW = [f"127.0.0.1:{port}", f"127.0.0.1:{table_port}"]
        url = f"http://127.0.0.1:{port}/"
        figures = [
            _beside_bare_client(running, where, "single calls", {"url": url, **EVENTS}, SINGLES),
            _beside_bare_client(running, where, "calls of 500", {"url": url, **LIST}, SINGLES * 10),
        ]
        bucket = {"bucket": "people", "accessKeyId": "AKIA", "secretAccessKey": "secret-key", "endpoint": url}
        figures += [
            *_first_sync(running, where, "a list", "webhook", {"url": url, **LIST}, {}, LISTED),
            *_first_sync(running, where, "files", "s3", bucket, {"contents": "changes"}, MEMBERS),
            *_first_sync(running, where, "a table", "postgresql", table, {"table": "members"}, MEMBERS),
        ]
    return [*figures, *_idle(where)]


def _beside_bare_client(
    running: Stack, where: dict[str, int], name: str, settings: dict[str, Any], people: int
) -> Figure:
    took: list[float] = []
    bare: list[float] = []
    calls = 0
    with watching(running) as cost:
        for run in range(RUNS + 1):  # the first warms up
            with _subscribed(where, "webhook", settings, {"sendIdentify": False}, people) as subscription:
                used = time.process_time()
                seconds = _synced(subscription)
                own = time.process_time() - used
                requests = _sent_by(subscription)
                used = time.process_time()
                floor = _bare(settings["url"], requests)
                bare_own = time.process_time() - used
            calls = len(requests)
            if run:
                took.append(people / seconds)
                bare.append(people / floor)
    # A busy machine changes how long both take, and what they compute less.
    note = f"{calls:,} calls; {own / people * 1e6:,.0f} µs of CPU each, bare {bare_own / people * 1e6:,.0f}; {cost}"
    return Figure(f"deliveries, {name}", median(took), "people/s", RUNS, "bare HTTP client", median(bare), note)


def _first_sync(
    running: Stack,
    where: dict[str, int],
    name: str,
    kind: str,
    settings: dict[str, Any],
    options: dict[str, Any],
    people: int,
) -> list[Figure]:
    with watching(running) as cost, _subscribed(where, kind, settings, options, people) as subscription:
        before = _kept()
        seconds = _synced(subscription)
        state = _kept() - before
    about = f"first sync of {people:,} members to {name}"
    figures = [Figure(about, people / seconds, "people/s", note=f"{seconds:,.1f} s; {cost}")]
    return figures + ([Figure("… state", state / people, "bytes/member")] if kind == "webhook" else [])


def _idle(where: dict[str, int]) -> list[Figure]:
    """What a look at who waits costs, with as many subscriptions that live, and with dead ones beside them."""
    from destinations.models import Subscription
    from destinations.sync import waiting
    from spaces.clock import clock

    now = clock.now()
    with _many(where) as dead:
        Subscription.objects.filter(pk__in=dead).delete()
        without = _looked(lambda: waiting(now))
    with _many(where) as dead:
        waits = set(waiting(now)) & {*dead}
        beside = _looked(lambda: waiting(now))
    assert not waits
    note = f"{DEAD} dead of {SUBSCRIPTIONS}; none of them had a turn"
    return [
        Figure(
            "a look at who has something to send", beside * 1000, "ms", 50, "without dead ones", without * 1000, note
        )
    ]


def _looked(look: Callable[[], object]) -> float:
    """Seconds."""
    took = []
    for _ in range(50):
        begun = time.perf_counter()
        look()
        took.append(time.perf_counter() - begun)
    return median(took)


@contextmanager
def _many(where: dict[str, int]) -> Iterator[Sequence[int]]:
    """Subscriptions in step, and dead ones, whose primary keys are given."""
    from destinations.models import Subscription
    from spaces.clock import clock

    now = clock.now()
    status, own = Subscription.Status, {"workspace_id": where["workspace"], "space_id": where["space"]}
    settled = {"full": False, "tick": 10**9, "compared_at": now, "compare_at": now + timedelta(days=1)}
    stopped = {"failures": 40, "failing_since": now - timedelta(days=1), "retry_at": now + timedelta(hours=6)}
    audiences = [_audience(where, 0) for _ in range(SUBSCRIPTIONS // 10)]
    destinations = [_destination(where, "catcher", {}) for _ in range(10)]
    rows = Subscription.objects.bulk_create(
        Subscription(**own, audience=audience, destination=destination, status=status.IN_STEP, **settled)
        if place
        else Subscription(
            **own, audience=audience, destination=destination, status=status.PARKED, **settled | {"tick": 0}, **stopped
        )
        for audience in audiences
        for place, destination in enumerate(destinations)
    )
    try:
        yield [row.pk for row in rows if row.status == status.PARKED]
    finally:
        for destination in destinations:
            destination.delete()


@contextmanager
def _subscribed(
    where: dict[str, int], kind: str, settings: dict[str, Any], options: dict[str, Any], people: int
) -> Iterator[Any]:
    """A subscription of an audience of so many, which no worker serves meanwhile; gone at the end."""
    from msgspec.structs import asdict

    from destinations.adapters import adapter_of
    from destinations.models import Subscription
    from spaces.batches import owning
    from spaces.settings_schema import parse

    destination = _destination(where, kind, settings)
    chosen = asdict(parse(adapter_of(kind).options, options))
    own = {"workspace_id": where["workspace"], "space_id": where["space"], "enabled": False}
    subscription = Subscription.objects.create(
        **own, audience=_audience(where, people), destination=destination, options=chosen
    )
    with owning(f"sync:{subscription.pk}") as ours:
        assert ours
        Subscription.objects.filter(pk=subscription.pk).update(enabled=True)
        yield subscription
        destination.delete()


def _audience(where: dict[str, int], people: int) -> Any:
    from pyroaring import BitMap

    from audiences.models import Audience, Version

    own, key = {"workspace_id": where["workspace"]}, f"members_{time.monotonic_ns()}"
    audience = Audience.everything.create(**own, space_id=where["space"], name=key, key=key, size=people, enabled=False)
    snapshot = BitMap(range(1, people + 1)).serialize()
    audience.serving = Version.objects.create(
        **own, audience=audience, number=1, definition={}, state=Version.State.LIVE, snapshot=snapshot
    )
    audience.enabled = True
    audience.save()
    return audience


def _destination(where: dict[str, int], kind: str, settings: dict[str, Any]) -> Any:
    from msgspec.structs import asdict

    from destinations.adapters import adapter_of
    from destinations.models import Destination
    from spaces.secrets import seal
    from spaces.settings_schema import parse

    sealed = seal(asdict(parse(adapter_of(kind).settings, settings)))
    own = {"workspace_id": where["workspace"], "space_id": where["space"]}
    return Destination.objects.create(**own, kind=kind, name=kind, settings=sealed)


def _synced(subscription: Any) -> float:
    """Seconds until everybody was sent, as a worker does it batch after batch. A comparison says that all are there."""
    from destinations.models import Subscription
    from destinations.sync import STAGE
    from spaces.batches import advance, open_log

    log = open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    begun = time.perf_counter()
    while advance(STAGE, log):
        pass
    seconds = time.perf_counter() - begun

    def is_in_step() -> bool:
        advance(STAGE, log)
        subscription.refresh_from_db()
        return bool(subscription.status == Subscription.Status.IN_STEP)

    until(is_in_step, within_s=PATIENCE_S)
    return seconds


def _sent_by(subscription: Any) -> list[Any]:
    """The requests that the sync of this subscription has made."""
    from destinations.adapters import adapter_of
    from destinations.calls import call_of, change_of
    from destinations.models import Acknowledged
    from destinations.queries import about, settings_of
    from spaces.chunks import chunks
    from spaces.clock import clock
    from spaces.settings_schema import load_stored

    adapter = adapter_of(subscription.destination.kind)
    options, settings = load_stored(adapter.options, subscription.options), settings_of(subscription.destination)
    rows = Acknowledged.objects.filter(subscription=subscription).order_by("identifier")
    changes = [change_of(subscription, call_of(row)) for row in rows]
    told, now = about(subscription), clock.now()
    parts = chunks(changes, adapter.capabilities.batch)
    return [request for part in parts for request in adapter.plan(part, told, settings, options, now)]


def _bare(url: str, requests: Sequence[Any]) -> float:
    """Seconds that a client of the same library takes for the same requests, as many at a time."""
    from destinations.adapters import adapter_of

    with (
        httpx.Client(trust_env=False) as client,
        ThreadPoolExecutor(adapter_of("webhook").capabilities.concurrency) as pool,
    ):
        begun = time.perf_counter()
        for answer in pool.map(lambda one: client.post(url, content=one.body, headers=dict(one.headers)), requests):
            assert answer.status_code == 200
        return time.perf_counter() - begun


def _kept() -> int:
    """Bytes of what is known of destinations, with its indexes."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size('destinations_acknowledged')")
        return int(cursor.fetchone()[0])


@contextmanager
def _sink() -> Iterator[int]:
    """The port of a sink."""
    with subprocess.Popen([sys.executable, "-m", "benchmarks.sink"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@contextmanager
def _table(running: Stack) -> Iterator[tuple[dict[str, Any], int]]:
    """The settings of a database of its own in the stack's PostgreSQL, and the port by which it is reached: that server
    listens on a socket alone."""
    import psycopg2
    from django.db import connections

    folder = connections["default"].settings_dict["HOST"]
    admin = psycopg2.connect(host=folder, dbname="postgres", user="personas_owner")
    admin.autocommit = True
    with admin.cursor() as cursor, _relayed(f"{folder}/.s.PGSQL.5432") as port:
        cursor.execute("CREATE DATABASE crm")
        yield {"host": "127.0.0.1", "port": port, "database": "crm", "user": "personas_owner", "tls": "off"}, port
        cursor.execute("DROP DATABASE crm WITH (FORCE)")
    admin.close()


@contextmanager
def _relayed(path: str) -> Iterator[int]:
    """A port of the loopback that leads to the socket at `path`."""

    def pump(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while part := one.recv(MIB):
                other.sendall(part)
            other.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(path)
                for ends in ((client, there), (there, client)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
