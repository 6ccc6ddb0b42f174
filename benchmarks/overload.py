"""More than three times what can be taken in, beside 64 clients that are slow on purpose: what is accepted, and when.

A client waits for its answer before it sends again, so there are as many as it takes: who waits in line for a second
is not heard of meanwhile, and what is refused is refused at once.

    python -m benchmarks.overload ADDRESS WRITE_KEY CLIENTS SECONDS [REQUESTS_PER_SECOND]

sends such a load from a process of its own, and prints what became of it as JSON.
"""

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from benchmarks.figures import Figure, watching
from benchmarks.sending import batch, is_whole, request
from benchmarks.shop import until_archived
from benchmarks.stack import Stack

CLIENTS, SLOW_CLIENTS, TIMES, SECONDS = 2_500, 64, 3.3, 60.0
MESSAGES = 10  # of a request
CALM_CLIENTS, CALM_SECONDS = 16, 5.0
PROBED_EVERY_S = 0.1
TAKES_S = 60.0  # a client waits so long for an answer
FORGIVEN_S, POLLED_S = 0.2, 0.05


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
        Figure("requests offered", found.offered_per_s, "requests/s", 1, "accepted calm", calm.accepted / CALM_SECONDS),
        Figure("messages archived", tally["archived"], "", 1, "acknowledged", sent),
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


class _Client:
    """A kept-alive connection, and what came so far of the answer to what was sent last."""

    def __init__(self, url: SplitResult) -> None:
        self.socket = socket.create_connection((url.hostname, url.port), timeout=TAKES_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.asked = 0.0
        self.answer = b""

    def ask(self, request: bytes) -> None:
        self.asked, self.answer = time.monotonic(), b""
        if self.socket.send(request) < len(request):  # it is far smaller than the buffer of a client without a request
            raise BlockingIOError

    def hear(self) -> int:
        """The status once all of the answer is here, else 0. Raises OSError or EOFError."""
        part = self.socket.recv(65536)
        if not part:
            raise EOFError
        self.answer = self.answer + part if self.answer else part
        return int(self.answer[9:12]) if is_whole(self.answer) else 0


class _Sender:
    """The clients of one load, all in one thread: what they cost is not there for the server that is to be measured."""

    def __init__(self, address: str, key: str, clients: int, seconds: float, rate: float | None) -> None:
        self._url, self._most, self._seconds = urlsplit(address), clients, seconds
        self._every_s = 1 / rate if rate else 0.0
        self._parts = _in_parts(address, key)
        self._sent = 0
        self._poll = select.epoll()
        self._idle: deque[_Client] = deque()
        self._busy: dict[int, _Client] = {}
        self.seconds: dict[int, list[float]] = {}
        self.unexplained = 0

    def run(self) -> None:
        begun = due = time.monotonic()
        end = begun + self._seconds
        while (now := time.monotonic()) < end or (self._busy and now < end + TAKES_S):
            while due <= now < end and self._ask():
                due += self._every_s
            if not self._every_s or due < now - FORGIVEN_S:  # what no client was free to offer by now never is offered
                due = now
            can_ask = now < end and len(self._busy) < self._most
            for descriptor, _ in self._poll.poll(max(0.0, min(due - now, POLLED_S)) if can_ask else POLLED_S):
                self._hear(self._busy.get(descriptor))
        for client in self._busy.values():
            self._note(client, 0)

    def _ask(self) -> bool:
        """Whether there was a client for it."""
        if len(self._busy) >= self._most:
            return False
        client = self._idle.popleft() if self._idle else _Client(self._url)
        self._sent += 1
        request = b"%08d" % self._sent
        self._poll.register(client.socket, select.EPOLLIN)
        self._busy[client.socket.fileno()] = client
        try:
            client.ask(request.join(self._parts))
        except OSError:
            self._end(client, 0)
        return True

    def _hear(self, client: _Client | None) -> None:
        if client is None:
            return
        try:
            if status := client.hear():
                self._end(client, status)
        except (OSError, EOFError):
            self._end(client, 0)

    def _end(self, client: _Client, status: int) -> None:
        """It is answered, or never will be."""
        self._poll.unregister(client.socket)
        del self._busy[client.socket.fileno()]
        self._note(client, status)
        if status:
            self._idle.append(client)  # all take turns: one that says nothing for long is cut off
        else:
            client.socket.close()

    def _note(self, client: _Client, status: int) -> None:
        self.seconds.setdefault(status, []).append(time.monotonic() - client.asked)
        self.unexplained += status == 503 and b"\r\nretry-after:" not in client.answer.lower()


def _in_parts(address: str, key: str) -> list[bytes]:
    """A request of MESSAGES messages, between whose parts its number belongs, of eight digits."""
    mark, prefix = "#" * 8, f"{os.getpid()}-{time.time_ns()}"
    messages = [
        {
            "type": "track",
            "event": "Viewed",
            "messageId": f"{prefix}-{mark}-{place}",
            "userId": f"{place}-{mark}",
            "properties": {"price": 19.9},
        }
        for place in range(MESSAGES)
    ]
    return batch(address, key, messages).split(mark.encode())


def main() -> None:
    address, key, clients, seconds, *rate = sys.argv[1:]
    sender = _Sender(address, key, int(clients), float(seconds), float(rate[0]) if rate else None)
    sender.run()
    found = {"sent_for_s": float(seconds), "seconds": sender.seconds, "unexplained": sender.unexplained}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
