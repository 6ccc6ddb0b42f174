"""Whatever can go wrong between a worker and a tool, at random, by dice of which the seed is known.

On the wire where a tool speaks HTTP: it hangs up, throttles, fails several times in a row, does half of what it was
asked for, answers too late or not at all, and lets tokens end. Above it where the transport is another: a call does not
arrive, or nobody hears of its answer. Names come to lead elsewhere, and workers end between any two steps.
"""

import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from destinations.rules.contract import DestinationRequest
from destinations.rules.send_batch import Unanswered
from spaces.answers import Answer
from spaces.outbound import CONNECT_S
from tests.receiver import CUT, Got, Reply
from tests.vendors import AdsVendor, Vendor

TAG = "x-call"  # a header: which call it is that arrived
PATIENCE_S = 0.25  # of a call, while there are faults: who is silent, or slow, is so for longer
NOBODY = "127.0.0.2"  # of the loopback, where no tool listens
# Of a thousand calls. After the first ones it is certain that nothing was done.
SURE = {"throttled": 80}
UNSURE = {
    "hung up on": 50, "in a burst of errors": 40, "unheard": 50, "answered with an error": 40, "half done": 60,
    "silent": 5, "slow": 5,
}  # fmt: skip
NAMES = {"unknown name": 60, "another address": 60}
TURNS, ENDED = 150, 100  # of a thousand points: for what `meanwhile` does; at which a token ends


Call = Callable[[DestinationRequest], Answer]


class Killed(BaseException):
    """A worker ended here. Nothing of the product catches it, and nothing is put right by it on the way up."""


def die() -> None:
    raise Killed


@dataclass
class Faults:
    """on: from now on. sure: only those after which it is known that nothing was done. places: of tools, host:port.

    die: how a worker ends. meanwhile: what happens beside it between two steps. happened: how often what did.
    calls: by their number. taken: how often each thing was said that a tool took.
    """

    dice: random.Random
    places: set[str] = field(default_factory=set)
    sure: bool = False
    on: bool = True
    die: Callable[[], None] = die
    meanwhile: Callable[[], None] = lambda: None
    tool: Vendor | None = None  # what speaks HTTP, and is a fake
    happened: Counter[str] = field(default_factory=Counter)
    calls: dict[int, DestinationRequest] = field(default_factory=dict)
    deaths: int = 30  # of a thousand points between two steps; a third of it before and after each call
    taken: Counter[tuple[str, str]] = field(default_factory=Counter)
    reached: int = 0
    repeated: int = 0
    burst: int = 0
    lock: Any = field(default_factory=threading.RLock)

    def __str__(self) -> str:
        per_thousand = 1000 * self.repeated / max(self.reached, 1)
        faults = f"{self.happened.total()} faults over {len(self.calls)} calls"
        return f"{faults}; of 1,000 that were taken {per_thousand:.0f} said again what had been taken ({self.reached})"

    def roll(self, chances: dict[str, int]) -> str:
        """One of these, or ""."""
        if not self.on:
            return ""
        with self.lock:
            point = self.dice.randrange(1000)
            for name, chance in chances.items():
                if point < chance:
                    self.happened[name] += 1
                    return name
                point -= chance
        return ""

    def happens(self) -> str:
        with self.lock:
            if self.on and self.burst:
                self.burst -= 1
                return "in a burst of errors"
            fault = self.roll(SURE if self.sure else SURE | UNSURE)
            if fault == "in a burst of errors":
                self.burst = self.dice.randrange(5)
            return fault

    def reach(self, point: str) -> None:
        """Instead of spaces.faults.reach."""
        if self.sure and not point.endswith(":committed"):
            return
        if point in ("sync:prepared", "sync:committed"):
            if isinstance(self.tool, AdsVendor) and self.roll({"ended token": ENDED}):
                self.tool.ended = True
            if self.roll({"change meanwhile": TURNS}):
                self.meanwhile()
        if self.roll({f"death at {point}": self.deaths}):
            self.die()

    def getaddrinfo(self, host: str, port: int, *more: Any, **most: Any) -> list[Any]:
        """What a name leads to, at the door."""
        addresses = socket.getaddrinfo(host, port, *more, **most)
        is_name = most.get("flags") != socket.AI_NUMERICHOST and f"{host}:{port}" in self.places
        fault = self.roll(NAMES) if is_name else ""
        if fault == "unknown name":
            raise socket.gaierror(f"{host} is not known for a moment")
        if fault:
            elsewhere = [(*entry[:4], (NOBODY, port)) for entry in addresses]
            return self.dice.choice([elsewhere, elsewhere + addresses])
        return addresses

    @contextmanager
    def transport(self, inner: Any, destination: Any, settings: Any) -> Iterator[Call]:
        """A transport around another one."""
        with inner(destination, settings) as call:
            yield partial(self._call, call)

    def _call(self, inner: Call, request: DestinationRequest) -> Answer:
        with self.lock:
            number = len(self.calls)
            self.calls[number] = request
        self._may_die()
        if self.tool:
            timeout_s = PATIENCE_S if self.on else CONNECT_S
            answer = inner(replace(request, headers={**request.headers, TAG: str(number)}, timeout_s=timeout_s))
        else:
            answer = self._around(inner, request, number)
        self._may_die()
        return answer

    def _may_die(self) -> None:
        if not self.sure and self.roll({"death at a call": self.deaths // 3}):
            self.die()

    def _around(self, inner: Call, request: DestinationRequest, number: int) -> Answer:
        fault = self.happens()
        if fault == "throttled":
            return Answer(429, {"retry-after": "30"}, b"slow down")
        if fault == "in a burst of errors":
            return Answer(503, {}, b"not now")
        if fault == "hung up on":
            raise Unanswered("it hung up")
        answer = inner(request)
        if answer.ok:
            self._took(number)
        if not fault or not answer.ok:
            return answer
        if fault == "answered with an error":
            return Answer(502, {}, b"the answer is lost")
        raise Unanswered("the answer is lost", arrived=True)

    def answer(self, got: Got) -> Reply:
        """Of the tool, for a receiver."""
        assert self.tool
        fault = self.happens()
        if fault == "throttled":
            return self.dice.choice([self.tool.throttled, Reply(429, b"slow down", {"Retry-After": "3"})])
        if fault == "in a burst of errors":
            return Reply(self.dice.choice([500, 502, 503]), b"not now")
        if fault == "hung up on":
            return Reply(CUT)
        if fault == "silent":
            return Reply(0)
        with self.tool.lock:
            if fault == "half done":
                known = len(self.tool.wrong)
                self._do(self._half(got))
                del self.tool.wrong[known:]  # half of a call may be none that a tool understands
                return Reply(500, b"half of it is done")
            reply = self._do(got)
        if fault == "unheard":
            return Reply(CUT)
        if fault == "slow":
            return Reply(0)
        return Reply(502, b"the answer is lost") if fault and reply.status < 300 else reply

    def _do(self, got: Got) -> Reply:
        assert self.tool
        reply = self.tool.do(got)
        if reply.status < 300 and TAG in got.headers:
            self._took(int(got.headers[TAG]))
        return reply

    def _took(self, number: int) -> None:
        """Counted are calls about people. One that says anything again is a repetition."""
        request = self.calls.get(number)
        if request is None:  # of another process
            return
        with self.lock:
            where = f"{request.method} {request.url.partition('?')[0]}"
            # A change may be several calls to one address: their ids end differently.
            said = [
                (f"{where} {request.id.removeprefix(row.id) if request.id.startswith(row.id) else ''}", row.id)
                for row in request.rows
            ]
            self.reached += bool(said)
            self.repeated += any(self.taken[one] for one in said)
            self.taken.update(said)

    def _half(self, got: Got) -> Got:
        """The call with half of what is in the longest array of its body; all of it where there is none."""
        try:
            body = got.json
        except ValueError:
            return got
        arrays = sorted(_arrays(body), key=len)
        if arrays and len(arrays[-1]) > 1:
            del arrays[-1][len(arrays[-1]) // 2 :]
        return replace(got, body=json.dumps(body).encode())


def _arrays(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, list):
        yield value
    for inner in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        yield from _arrays(inner)
