"""The first compute of an audience of a million members: how long it takes, what memory, and whether another audience
of the same space is as fresh meanwhile."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from uuid import uuid4

from benchmarks import world
from benchmarks.figures import Figure, memory, watching
from benchmarks.sending import Connection, batch
from benchmarks.stack import Stack, until
from benchmarks.world import AT_ONCE, COLUMNS, DAY_MS
from quickstart.client import Json

MEMBERS = int(os.environ.get("BENCH_MEMBERS", "1_000_000"))
RUNS, PROBES = 3, 10
LOOKED_EVERY_S, BEFORE_S, PATIENCE_S = 0.05, 2.0, 600
JOINED = {"kind": "event", "name": "Joined", "atLeast": 1, "within": {"days": 90}}
PROBED = {"kind": "event", "name": "Probed", "atLeast": 1}


def measure(running: Stack) -> list[Figure]:
    path = f"{_furnished(running)}/audiences"
    source = running.api.post("sources", {"name": "First", "kind": "server"})["source"]
    running.api.post(path.replace("audiences", "connections"), {"sourceIds": [source["id"]], "replay": False})
    live = running.api.post(path, {"name": "Live", "definition": PROBED})["audience"]
    until(lambda: _is_live(running, path, live), within_s=PATIENCE_S)
    probing = _Probing(running, source["writeKeys"][0], f"{path}/{live['id']}")
    probing.probe()  # warms up
    calm = [probing.probe() for _ in range(PROBES)]
    before = memory(running)
    took: list[float] = []
    beside: list[float] = []
    with watching(running) as cost:
        for run in range(RUNS + 1):  # the first warms up
            with probing as fresh:
                time.sleep(BEFORE_S)  # those that are under way when it begins are counted as well
                begun = time.monotonic()
                first = running.api.post(path, {"name": f"First {run}", "definition": JOINED})["audience"]
                until(lambda audience=first: _is_live(running, path, audience), within_s=PATIENCE_S, every_s=0.05)
                seconds = time.monotonic() - begun
            size = running.api.get(f"{path}/{first['id']}")["audience"]["size"]["count"]
            assert size == MEMBERS, size
            running.api.delete(f"{path}/{first['id']}")
            if run:
                took.append(seconds)
                beside += fresh
    return [
        Figure(f"first compute of {MEMBERS:,} members", median(took), "s", RUNS, "guide", 10.0, str(cost)),
        Figure("… memory at the most, all processes", cost.mib, "MiB", RUNS, "before", before),
        Figure("… another audience's freshness, p50", median(beside), "s", len(beside), "calm", median(calm)),
        Figure("… another audience's freshness, worst", max(beside), "s", len(beside), "calm, worst", max(calm)),
    ]


def _furnished(running: Stack) -> str:
    """The path of a space of so many people, each of whom did one thing."""
    from sources.events import client
    from sources.events.sql import Sql
    from spaces.models import Log, Space

    where, log = world.new_place(running, "First")
    at = f"fromUnixTimestamp64Milli(toInt64({where['now']} - intHash64(number) % {80 * DAY_MS}), 'UTC')"
    here = ", ".join(str(where[name]) for name in ("workspace", "space", "piece"))
    values = f"{here}, number, 1 + number, 1, 1, number, {at}, 'track', 'Joined', toString(number), '{{}}'"
    for first in range(0, MEMBERS, AT_ONCE):
        rows = f"FROM numbers({first}, {min(AT_ONCE, MEMBERS - first)})"
        client.run(Sql(f"INSERT INTO timeline ({COLUMNS}) SELECT {values} {rows}"))
    world.make_people(where, MEMBERS)
    Log.objects.filter(pk=log).update(last_number=where["piece"], committed=where["piece"])
    return f"spaces/{Space.objects.get(pk=where['space']).public_id}"


def _is_live(running: Stack, path: str, audience: Json) -> bool:
    status = running.api.get(f"{path}/{audience['id']}")["audience"]["status"]
    assert status != "failed"
    return bool(status == "live")


class _Probing:
    """With `with`: one probe after the other meanwhile; the list fills with the seconds that each took."""

    def __init__(self, running: Stack, key: str, path: str) -> None:
        self._running, self._key, self._path = running, key, path
        self._over, self._pool = threading.Event(), ThreadPoolExecutor(1)

    def probe(self) -> float:
        """Seconds from the answer until somebody new is in the audience, by the API."""
        members = self._size()
        connection = Connection(self._running.address)
        message = {"type": "track", "event": "Probed", "messageId": str(uuid4()), "userId": str(uuid4())}
        connection.send(batch(self._running.address, self._key, [message]))
        begun = time.monotonic()
        connection.close()
        until(lambda: self._size() > members, within_s=PATIENCE_S, every_s=LOOKED_EVERY_S)
        return time.monotonic() - begun

    def __enter__(self) -> list[float]:
        self._over.clear()
        took: list[float] = []

        def work() -> None:
            while not self._over.is_set():
                took.append(self.probe())

        self._work = self._pool.submit(work)
        return took

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._work.result()

    def _size(self) -> int:
        return int(self._running.api.get(self._path)["audience"]["size"]["count"])
