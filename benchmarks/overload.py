"""Three times what can be taken in, from 200 clients, beside 64 that are slow on purpose: what is accepted, and when.

    python -m benchmarks.overload ADDRESS WRITE_KEY CLIENTS SECONDS [REQUESTS_PER_SECOND]

sends such a load from a process of its own, and prints what became of it as JSON.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figures import Figure, watching
from benchmarks.sending import batch, request
from benchmarks.shop import until_archived
from benchmarks.stack import Stack

CLIENTS, SLOW_CLIENTS, TIMES, SECONDS = 200, 64, 3, 60.0
MESSAGES = 10  # of a request
CALM_CLIENTS, CALM_SECONDS = 16, 5.0
PROBED_EVERY_S = 0.1
TAKES_S = 60.0  # a client waits so long for an answer


@dataclass
class Outcome:
    """What became of a load. seconds: from each request to its answer, by status. A status 0 is no answer at all."""

    sent_for_s: float
    seconds: dict[int, list[float]] = field(default_factory=dict)
    unexplained: int = 0  # answers 503 without Retry-After

    @property
    def counts(self) -> Counter[int]:
        return Counter({status: len(each) for status, each in self.seconds.items()})

    @property
    def accepted(self) -> int:
        """Requests."""
        return self.counts[200]

    @property
    def offered_per_s(self) -> float:
        return self.counts.total() / self.sent_for_s

    def percentile(self, share: float, status: int = 200) -> float:
        found = sorted(self.seconds.get(status, [0.0]))
        return found[min(len(found) - 1, int(share * len(found)))]


def measure(running: Stack) -> list[Figure]:
    source = running.api.post("sources", {"name": "Overload", "kind": "server"})["source"]
    key = source["writeKeys"][0]
    calm = load(running, key, clients=CALM_CLIENTS, seconds=CALM_SECONDS)
    until_archived(running, [source])
    rate = TIMES * calm.accepted / CALM_SECONDS
    with watching(running) as cost, slow_clients(running.address, SLOW_CLIENTS), probing(running.address) as livez:
        found = load(running, key, clients=CLIENTS, seconds=SECONDS, rate=rate)
    until_archived(running, [source])
    tally = running.api.get(f"sources/{source['id']}")["source"]["tally"]
    sent = MESSAGES * (calm.accepted + found.accepted)
    note = (
        f"{found.offered_per_s:,.0f} requests/s offered, {dict(found.counts)} answered, {found.unexplained} of the 503 "
        f"without Retry-After; {sent:,} messages acknowledged, {tally}; {cost}"
    )
    return [
        Figure("accepted under overload, 99 % within", found.percentile(0.99), "s", 1, "calm", calm.percentile(0.99)),
        Figure("refused under overload, 99 % within", found.percentile(0.99, 503), "s"),
        Figure("/livez under overload, at most", max(livez), "s"),
        Figure(
            f"requests accepted under overload ({MESSAGES} events)",
            found.accepted / SECONDS,
            "requests/s",
            1,
            "calm",
            calm.accepted / CALM_SECONDS,
            note,
        ),
    ]


def load(running: Stack, key: str, *, clients: int, seconds: float, rate: float | None = None) -> Outcome:
    """So many clients send from a process of its own: `rate` requests a second, or as fast as they are answered."""
    given = [running.address, key, str(clients), str(seconds), *([str(rate)] if rate else [])]
    argv = [sys.executable, "-m", "benchmarks.overload", *given]
    done = subprocess.run(argv, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    said = json.loads(done.stdout)
    return Outcome(said["sent_for_s"], {int(k): v for k, v in said["seconds"].items()}, said["unexplained"])


@contextmanager
def slow_clients(address: str, count: int, path: str = "/v1/batch") -> Iterator[list[socket.socket]]:
    """So many clients that send a byte of their bodies now and then, and begin again when they are cut off."""
    url, over = urlsplit(address), threading.Event()
    head = f"POST {path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 1000\r\n\r\n{{".encode()
    open_now: list[socket.socket] = []

    def begin() -> socket.socket:
        connection = socket.create_connection((url.hostname, url.port), timeout=TAKES_S)
        connection.sendall(head)
        return connection

    def keep_sending() -> None:
        while not over.wait(1.0):
            for at, connection in enumerate(open_now):
                try:
                    connection.sendall(b" ")
                except OSError:
                    connection.close()
                    with suppress(OSError):
                        open_now[at] = begin()

    open_now.extend(begin() for _ in range(count))
    thread = threading.Thread(target=keep_sending)
    thread.start()
    try:
        yield open_now
    finally:
        over.set()
        thread.join()
        for connection in open_now:
            connection.close()


@contextmanager
def probing(address: str, path: str = "/livez") -> Iterator[list[float]]:
    """How many seconds each answer took that was asked for meanwhile, each on a connection of its own."""
    url, over, took = urlsplit(address), threading.Event(), [0.0]

    def ask() -> None:
        while not over.wait(PROBED_EVERY_S):
            begun = time.monotonic()
            with suppress(OSError), socket.create_connection((url.hostname, url.port), timeout=TAKES_S) as connection:
                connection.sendall(request("GET", path, address))
                if not connection.recv(100).startswith(b"HTTP/1.1 200"):
                    begun -= TAKES_S
            took.append(time.monotonic() - begun)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()


class _Sender:
    """The clients of one load."""

    def __init__(self, address: str, key: str, clients: int, seconds: float, rate: float | None) -> None:
        self._address, self._key, self._url = address, key, urlsplit(address)
        self._clients, self._seconds = clients, seconds
        self._every_s = clients / rate if rate else 0.0
        self._prefix = f"{os.getpid()}-{time.time_ns()}"
        self._sent = 0
        self.seconds: dict[int, list[float]] = {}
        self.unexplained = 0

    async def run(self) -> None:
        self._end = time.monotonic() + self._seconds
        await asyncio.gather(*(self._client(n) for n in range(self._clients)))

    async def _client(self, number: int) -> None:
        begun = time.monotonic()
        turn = begun + self._every_s * number / self._clients
        streams = None
        while turn < self._end:
            await asyncio.sleep(max(0.0, turn - time.monotonic()))
            asked = time.monotonic()
            try:
                streams = streams or await asyncio.open_connection(self._url.hostname, self._url.port)
                status, explained = await asyncio.wait_for(self._exchange(*streams), TAKES_S)
            except (OSError, EOFError, TimeoutError):
                status, explained, streams = 0, True, None
            self.seconds.setdefault(status, []).append(time.monotonic() - asked)
            self.unexplained += not explained
            turn = max(turn + self._every_s, time.monotonic() - self._every_s)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bool]:
        """(status, whether a 503 says when to come back)."""
        self._sent += 1
        messages = [self._message(f"{self._prefix}-{self._sent}-{n}") for n in range(MESSAGES)]
        writer.write(batch(self._address, self._key, messages))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        (length,) = (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(length)
        status = int(head.split(b" ")[1])
        return status, status != 503 or b"retry-after" in head

    def _message(self, id: str) -> dict[str, Any]:
        return {"type": "track", "event": "Viewed", "messageId": id, "userId": id[-6:], "properties": {"price": 19.9}}


def main() -> None:
    address, key, clients, seconds, *rate = sys.argv[1:]
    sender = _Sender(address, key, int(clients), float(seconds), float(rate[0]) if rate else None)
    begun = time.monotonic()
    asyncio.run(sender.run())
    found = {"sent_for_s": time.monotonic() - begun, "seconds": sender.seconds, "unexplained": sender.unexplained}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
