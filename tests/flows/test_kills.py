"""SIGKILL of every process of the whole stack, at random moments and at named points, while 64 senders write about the
same people: nothing lost, doubled or false.

For longer runs: `KILLS=200 SEED=7 make test TESTS=tests/flows/test_kills.py`.
"""

import json
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path

import httpx
import psycopg2
import pytest

from benchmarks.stack import Stack, stack, until
from quickstart import making
from quickstart.client import Api, ApiError, Json
from quickstart.feed import Origin
from tests.event_generator import SOURCES, Crowd

KILLS = int(os.environ.get("KILLS", "12"))
SEED = int(os.environ.get("SEED", "1"))
# How often each in 32 kills. Their parent takes all workers with it, the supervisor everything.
PROCESSES = {
    "web": 4,
    "worker-archive": 2,
    "worker-resolve": 2,
    "worker-evaluate": 1,
    "worker-bulk": 3,
    "worker-sync": 4,
    "workers": 1,
    "beat": 2,
    "clickhouse": 4,
    "postgres": 4,
    "valkey": 3,
    "supervisor": 2,
}
LONGEST_BETWEEN_S = 1.5
BACK_WITHIN_S = 60
WRITERS, ALL_EVERY_S = 64, 4.0
PAST = 60  # requests that are there before the space listens
STAGES = ("archive", "resolve", "evaluate", "sync")
STEPS = ("preparing", "prepared", "written", "committing", "committed")
WINDOW_S = 60  # the shortest there is
VIEWED = {"kind": "event", "name": "Viewed", "atLeast": 2, "within": {"minutes": 1}}
ORDERED = {"kind": "event", "name": "Ordered", "atLeast": 1, "within": {"minutes": 1}}
PRO = {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}
TRAITS = {
    "Orders": {"kind": "event_counter", "name": "Ordered"},
    "Views lately": {"kind": "event_counter", "name": "Viewed", "within": {"minutes": 1}},
}


def test_whatever_is_killed_nothing_is_lost_doubled_or_false(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = tmp_path / "faults"
    with stack(PERSONAS_FAULTS=str(faults)) as running:
        world = World(running)
        sender = world.sender = Writers(running.address, world.sources)
        world.furnish()
        sender.start()
        killed = kill_at_random(world, random.Random(SEED))
        for step in STEPS:
            kill_at(running, faults, step)
        # By then the window has passed for the first people, and they have left by the clock alone.
        until(lambda: time.monotonic() > sender.began + WINDOW_S + 10, within_s=2 * WINDOW_S)
        sender.end()
        told = verified(running, tmp_path / "expected.json", world)
        assert running.http.get(f"{running.address}/sign-in").status_code == 200
        assert not [log.name for log in running.paths.logs.iterdir() if "deadlock" in log.read_text(errors="replace")]
        with capsys.disabled():
            named = len(STAGES) * len(STEPS)
            print(f"\nseed {SEED}: {killed.total()} kills at random {dict(killed)}, {named} at named points")
            print(f"{sender.requests:,} requests acknowledged, {sender.retries:,} tries were not")
            print(told)


class Sender(threading.Thread):
    """Posts one request after the other, each again and again until it is answered with 200."""

    def __init__(self, address: str, sources: dict[str, Json], *, size: int = 8, every_s: float = 0.5) -> None:
        super().__init__(daemon=True)
        self.address, self.sources, self.size, self.every_s = address, sources, size, every_s
        self.crowd = Crowd(SEED)
        self.http = httpx.Client(timeout=5, trust_env=False)
        self.ended = threading.Event()
        self.failure = ""
        self.began = time.monotonic()
        self.requests = self.retries = 0
        self.archived: dict[str, set[str]] = {source["id"]: set() for source in sources.values()}
        self.rejected: dict[str, set[str]] = {source["id"]: set() for source in sources.values()}

    def run(self) -> None:
        while not self.failure and not self.ended.wait(self.every_s):
            self.send()

    def send(self, *, spread: timedelta = timedelta(seconds=2)) -> None:
        """One request more is acknowledged, and noted as such."""
        name, messages = self.crowd.batch(datetime.now(UTC), size=self.size, spread=spread)
        self.post(name, messages)

    def post(self, name: str, messages: list[Json]) -> None:
        """They are acknowledged, and noted as such. name: of the source."""
        source = self.sources[name]
        body = {"writeKey": source["writeKeys"][0], "batch": messages}
        while not self._accepted(body):
            self.retries += 1
            time.sleep(0.05)
        self.requests += 1
        for message in messages:
            kept = self.archived if "userId" in message or "anonymousId" in message else self.rejected
            kept[source["id"]].add(message["messageId"])

    def end(self) -> None:
        """What was begun is acknowledged; nothing more comes."""
        self.ended.set()
        self.join(BACK_WITHIN_S)
        assert not self.is_alive(), "a request was not accepted for a minute"
        assert not self.failure

    def _accepted(self, body: Json) -> bool:
        try:
            answer = self.http.post(f"{self.address}/v1/batch", json=body)
        except httpx.TransportError:
            return False
        if 400 <= answer.status_code < 500:  # a client would drop what it sent
            self.failure = f"{answer.status_code} {answer.text}"
        return answer.status_code == 200 or bool(self.failure)


class Writers(Sender):
    """So many requests at the same moment, again and again; their messages are about the same few people."""

    def run(self) -> None:
        with ThreadPoolExecutor(WRITERS) as writers:
            while not self.failure and not self.ended.wait(ALL_EVERY_S):
                now, spread = datetime.now(UTC), timedelta(seconds=2)
                requests = [self.crowd.batch(now, size=1, spread=spread) for _ in range(WRITERS)]
                # All of them are waited for: so many begin at once, however long those before took to be accepted.
                for done in [writers.submit(self.post, *request) for request in requests]:
                    done.result()


class World:
    """A space that listens to two sources, with audiences that go to two catchers."""

    def __init__(self, running: Stack, api: Api | None = None) -> None:
        """api: of its workspace's owner."""
        self.running, self.api = running, api or running.api
        self.space = making.a_space(self.api, "Killed", "dev")
        self.sources = {name: making.a_source(self.api, Origin(name, "server")) for name in SOURCES}
        self.sender = Sender(running.address, self.sources)

    def furnish(self, past: int = PAST) -> None:
        """One source with a past is connected; everything that follows from it is still to come."""
        for _ in range(past):
            self.sender.send(spread=timedelta(days=20))
        self.connect(SOURCES[0])
        style = ("event", "list")
        catchers = [self._catcher(f"Catcher of {each}s", each) for each in style]
        traits = f"spaces/{self.space['id']}/computed-traits"
        for name, definition in TRAITS.items():
            trait = self.api.post(traits, {"name": name, "definition": definition})["computedTrait"]
            self.api.post(f"{traits}/{trait['id']}/destination-connections", {"destinationId": catchers[0]["id"]})
        viewed = self._audience("Viewed", VIEWED)
        quiet = self._audience("Pro, no order", {"all": [PRO, {"not": ORDERED}]})
        part = {"all": [{"kind": "audience", "key": viewed["key"]}, {"not": PRO}]}
        next_step = {"kind": "event", "name": "Viewed", "then": [{"name": "Ordered", "within": {"minutes": 1}}]}
        asking = {"any": [next_step, {"kind": "computed", "name": "orders", "op": "atLeast", "value": 3}]}
        rest = (self._audience("Viewed, not pro", part), self._audience("Ordered soon or often", asking))
        for audience in (viewed, quiet, *rest):
            for catcher in catchers:
                making.a_subscription(self.api, self.space, audience, catcher)

    def connect(self, source: str) -> bool:
        """The space listens to it, with a replay. False when the API did not answer."""
        with suppress(ApiError):
            making.connections(self.api, self.space, [self.sources[source]])
            return True
        return False

    def _audience(self, name: str, definition: Json) -> Json:
        return making.an_audience(self.api, self.space, name, definition)

    def _catcher(self, name: str, style: str) -> Json:
        body = {"kind": "catcher", "name": name, "settings": {"style": style}}
        return self.api.post(f"spaces/{self.space['id']}/destinations", body)["destination"]


def kill_at_random(world: World, dice: random.Random) -> Counter[str]:
    """So many kills, and half-way through them a second replay."""
    weighted = [name for name, times in PROCESSES.items() for _ in range(times)]
    names = list(islice(cycle(weighted), KILLS))
    dice.shuffle(names)
    for number, name in enumerate(names):
        if number == KILLS // 2:
            until(lambda: world.connect(SOURCES[1]), within_s=BACK_WITHIN_S)
        time.sleep(dice.uniform(0, LONGEST_BETWEEN_S))
        until(lambda name=name: world.running.kill(name), within_s=BACK_WITHIN_S)
        if name == "supervisor":
            world.running.start()
    return Counter(names)


def kill_at(running: Stack, faults: Path, step: str) -> None:
    """Of each stage, whoever reaches the step first dies there; then all of them go on."""
    faults.write_text("\n".join(f"{stage}:{step}" for stage in STAGES))
    until(lambda: not faults.read_text(), within_s=BACK_WITHIN_S)
    before = {stage: published(running, stage) for stage in STAGES}
    for stage in STAGES:
        until(lambda stage=stage: published(running, stage) > before[stage], within_s=BACK_WITHIN_S)


def published(running: Stack, stage: str) -> int:
    """How many batches the logs of a stage have committed; 0 while PostgreSQL is away."""
    with suppress(psycopg2.OperationalError), closing(psycopg2.connect(running.paths.database_url)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT coalesce(sum(published), 0) FROM spaces_log WHERE stage = %s", [stage])
        return int(cursor.fetchone()[0])
    return 0


def verified(running: Stack, path: Path, *worlds: World) -> str:
    """What was compared, in a process of its own."""
    expected = [
        {
            "space": world.space["id"],
            "archived": {source: sorted(ids) for source, ids in world.sender.archived.items()},
            "rejected": {source: sorted(ids) for source, ids in world.sender.rejected.items()},
        }
        for world in worlds
    ]
    path.write_text(json.dumps(expected))
    code = f"from tests.flows import verify; verify.main({str(path)!r})"
    done = running.run("manage.py", "shell", "-v", "0", "-c", code, timeout_s=900)
    assert done.returncode == 0, f"seed {SEED}\n{done.stdout}\n{done.stderr[-3000:]}"
    return done.stdout
