"""What people do now, as it is sent: some of it late, some of it twice, some of it by people nobody knows yet."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.sending import Connection, batch, send_all
from benchmarks.stack import Stack
from benchmarks.world import CATEGORIES, NAMES, PEOPLE, PLANS, SHARES, timestamp, user_id

LATE, LATE_S = 0.02, 2 * 86_400  # the share that is late, and by how much at the most
TWICE, NEW, IDENTIFIED = 0.01, 0.01, 0.05
REQUESTS_PER_S, BATCH = 20, 100


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


@contextmanager
def steady(running: Stack, key: str, traffic: Traffic, per_second: int) -> Iterator[None]:
    """So many events a second are sent meanwhile, evenly. Raises what went wrong in sending, or falling behind."""
    over, errors, begun = threading.Event(), [], time.monotonic()
    requests = 0

    def work() -> None:
        nonlocal requests
        connection = Connection(running.address)
        try:
            while not over.wait(max(0.0, begun + requests / REQUESTS_PER_S - time.monotonic())):
                now = time.time()
                messages = traffic.messages(per_second // REQUESTS_PER_S, now - 1 / REQUESTS_PER_S, now)
                connection.send(batch(running.address, key, messages))
                requests += 1
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]
    if requests < 0.9 * REQUESTS_PER_S * (time.monotonic() - begun):
        raise RuntimeError(f"only {requests / (time.monotonic() - begun):.1f} requests/s were sent")
