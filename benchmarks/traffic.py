"""What people do now, as it is sent: some of it late, some of it twice, some of it by people nobody knows yet."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.sending import Connection, batch, send_all, side_by_side
from benchmarks.stack import Stack
from benchmarks.world import CATEGORIES, NAMES, PEOPLE, PLANS, SHARES, timestamp, user_id

LATE, LATE_S = 0.02, 2 * 86_400  # the share that is late, and by how much at the most
TWICE, NEW, IDENTIFIED = 0.01, 0.01, 0.05
REQUESTS_PER_S, CLIENTS, BATCH = 20, 4, 100


@dataclass
class Traffic:
    """busy: a user who does a share of all of it, beside the others."""

    random: Random
    busy: str = ""
    busy_share: float = 0.0
    sent: int = field(default=0)  # different messages

    def messages(self, count: int, since_s: float, until_s: float) -> list[dict[str, Any]]:
        """So many different messages of this time, and those among them once more that are sent twice."""
        fresh = [self._message(self.random.uniform(since_s, until_s)) for _ in range(count)]
        again = [message for message in fresh if self.random.random() < TWICE]
        return fresh + again

    def _message(self, at_s: float) -> dict[str, Any]:
        random = self.random
        self.sent += 1
        if random.random() < LATE:
            at_s -= random.uniform(0, LATE_S)
        user = f"new{self.sent}" if random.random() < NEW else user_id(random.randint(1, PEOPLE))
        if random.random() < self.busy_share:
            user = self.busy
        own = {
            "messageId": f"traffic-{id(self)}-{self.sent}",
            "userId": user,
            "timestamp": timestamp(at_s),
        }
        if random.random() < IDENTIFIED:
            return {"type": "identify", "traits": {"plan": random.choice(PLANS)}, **own}
        properties = {
            "total": random.randrange(10_000) / 100,
            "category": random.choice(CATEGORIES),
            "sku": f"S{random.randrange(500)}",
        }
        return {"type": "track", "event": random.choices(NAMES, SHARES)[0], "properties": properties, **own}


def send(running: Stack, key: str, messages: Sequence[dict[str, Any]]) -> None:
    """All of it is accepted, in its order but for what is sent at once."""
    parts = [messages[start : start + BATCH] for start in range(0, len(messages), BATCH)]
    send_all(running.address, [batch(running.address, key, part) for part in parts])


@dataclass
class Rate:
    """events_per_s: what was really sent; known at the end."""

    events_per_s: float = 0.0


@contextmanager
def steady(running: Stack, key: str, traffic: Traffic, per_second: int) -> Iterator[Rate]:
    """So many events a second are sent meanwhile, evenly, by CLIENTS connections; fewer if the answers are that late.
    Raises what went wrong in sending."""
    over, lock, rate = threading.Event(), threading.Lock(), Rate()
    begun, requests = time.monotonic(), 0

    def work(connection: Connection) -> None:
        nonlocal requests
        while True:
            with lock:
                requests += 1
                due = begun + requests / REQUESTS_PER_S
            if over.wait(max(0.0, due - time.monotonic())):
                return
            with lock:
                now = time.time()
                messages = traffic.messages(per_second // REQUESTS_PER_S, now - 1 / REQUESTS_PER_S, now)
            connection.send(batch(running.address, key, messages))

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(side_by_side, running.address, CLIENTS, work)
        try:
            yield rate
        finally:
            over.set()
            rate.events_per_s = traffic.sent / (time.monotonic() - begun)
        sending.result()
