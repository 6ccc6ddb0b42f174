"""A hundred audiences kept up to date over ten million events: CPU when nothing is sent and at 200 events a second, how
soon people are in them, and how late they leave. One person has a hundred thousand events, and goes on."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from statistics import quantiles
from typing import Any

from benchmarks import traffic, world
from benchmarks.figures import Cost, Figure, watching
from benchmarks.sending import Connection, batch
from benchmarks.stack import Stack, until
from quickstart.client import Json

WATCHED_S, PER_SECOND = 60, 200
PROBES, PROBED_EVERY_S, LOOKED_EVERY_S = 100, (0.5, 1.5), 0.05
WINDOW_S = 60
BUSY, BUSY_EVENTS, BUSY_SHARE = 1, 100_000, 0.01
TRAITS, SEQUENCES, WINDOWED = 30, 10, 60
MORE_WINDOWED = 40  # so that there are a hundred
SETTLED_S, PATIENCE_S = 5.0, 900
GUIDE = "guide"


@dataclass
class Probe:
    """A new person who does what is asked for. Times by the wall clock; 0 = not yet."""

    at_s: float  # of the event
    accepted_s: float
    entered_s: float = 0
    left_s: float = 0


@dataclass
class Probes:
    """sizes: paths of two audiences of whoever did it, ever and within WINDOW_S."""

    running: Stack
    key: str
    ever: str
    lately: str
    sent: list[Probe] = field(default_factory=list)

    def send(self, number: int) -> None:
        connection = Connection(self.running.address)
        at_s = int(time.time() * 1000) / 1000
        message = {
            "type": "track",
            "event": "Probed",
            "messageId": f"probe-{number}-{at_s}",
            "userId": f"probe-{number}-{at_s}",
            "timestamp": world.timestamp(at_s),
        }
        connection.send(batch(self.running.address, self.key, [message]))
        self.sent.append(Probe(at_s, time.time()))
        connection.close()

    def look(self) -> None:
        """Notes who has entered and left since. They do so in the order in which they were sent."""
        sent = list(self.sent)
        waiting = [probe for probe in sent if not probe.entered_s]
        # Who is late to leave is looked for as seldom as can be: each look costs the server some milliseconds.
        leaving = [probe for probe in sent if not probe.left_s and time.time() > probe.at_s + WINDOW_S]
        if not (waiting or leaving):
            return
        entered = self._size(self.ever)
        now = time.time()
        for probe in sent[:entered]:
            probe.entered_s = probe.entered_s or now
        if leaving:
            lately = self._size(self.lately)  # after `ever`, so that at most too few are taken to have left
            now = time.time()
            for probe in sent[: max(0, entered - lately)]:
                probe.left_s = probe.left_s or now

    def _size(self, path: str) -> int:
        return int(self.running.api.get(path)["audience"]["size"]["count"])


def measure(running: Stack) -> list[Figure]:
    from spaces.models import Space

    where = world.furnished(running)
    space = Space.objects.get(pk=where["space"]).public_id
    world.add_events(where, BUSY, BUSY_EVENTS)
    source = running.api.post("sources", {"name": "Audiences", "kind": "server"})["source"]
    running.api.post(f"spaces/{space}/connections", {"sourceIds": [source["id"]], "replay": False})
    key, path = source["writeKeys"][0], f"spaces/{space}/audiences"
    people = traffic.Traffic(Random(2), world.user_id(BUSY), BUSY_SHARE)
    with _made(running, path, _definitions()):
        with _made(running, path, [windowed(number) for number in range(WINDOWED, WINDOWED + MORE_WINDOWED)]):
            many = _watched(running)
        idle = _watched(running)
        with _made(running, path, [_probed(), _probed(within={"minutes": 1})]) as (ever, lately):
            probes = Probes(running, key, f"{path}/{ever['id']}", f"{path}/{lately['id']}")
            with traffic.steady(running, key, people, PER_SECOND) as rate:
                loaded = _watched(running)
                _probe(probes, Random(3))
    return [*_costs(many, idle, loaded, rate), *_times(probes.sent, rate)]


def _costs(many: Cost, idle: Cost, loaded: Cost, rate: traffic.Rate) -> list[Figure]:
    audiences = TRAITS + SEQUENCES + WINDOWED
    about = f"{audiences} audiences, {world.EVENTS:,} events"
    share = 100 * many.cpu_s / many.elapsed_s
    windowed = f"{WINDOWED + MORE_WINDOWED} windowed audiences, {TRAITS + SEQUENCES} others"
    return [
        Figure(f"idle, of one core ({windowed})", share, "%", 1, GUIDE, 5.0, str(many)),
        Figure(f"CPU when idle ({about})", _per_minute(idle), "s/min", note=str(idle)),
        Figure(
            f"CPU at {PER_SECOND} events/s ({about})",
            _per_minute(loaded),
            "s/min",
            1,
            "idle",
            _per_minute(idle),
            f"{rate.events_per_s:,.0f} events/s were sent; {loaded}",
        ),
    ]


def _per_minute(cost: Cost) -> float:
    return 60 * cost.cpu_s / cost.elapsed_s


def _times(sent: Sequence[Probe], rate: traffic.Rate) -> list[Figure]:
    entered = quantiles([probe.entered_s - probe.accepted_s for probe in sent], n=100, method="inclusive")
    left = quantiles([probe.left_s - probe.at_s - WINDOW_S for probe in sent], n=100, method="inclusive")
    beside = f"beside {rate.events_per_s:,.0f} events/s; looked at every {LOOKED_EVERY_S * 1000:.0f} ms"
    late = f"{beside}; people who should leave a window of a minute"
    return [
        Figure("from accepted to a member by the API, p50", entered[49], "s", len(sent), GUIDE, 1.5, beside),
        Figure("from accepted to a member by the API, p99", entered[98], "s", len(sent), GUIDE, 4.0, beside),
        Figure("late to leave, p50", left[49], "s", len(sent), note=late),
        Figure(
            "late to leave, at most",
            max(probe.left_s - probe.at_s - WINDOW_S for probe in sent),
            "s",
            len(sent),
            GUIDE,
            10.0,
            late,
        ),
    ]


def _watched(running: Stack) -> Cost:
    time.sleep(SETTLED_S)  # what was under way is over, and is not this minute's
    with watching(running) as cost:
        time.sleep(WATCHED_S)
    return cost


def _probe(probes: Probes, random: Random) -> None:
    """So many people have entered and left."""
    over = threading.Event()
    errors: list[Exception] = []

    def send() -> None:
        try:
            for number in range(PROBES):
                probes.send(number)
                over.wait(random.uniform(*PROBED_EVERY_S))  # at no fixed place in the stages' own rhythm
        except Exception as error:
            errors.append(error)

    def done() -> bool:
        probes.look()
        return bool(errors) or (len(probes.sent) == PROBES and all(probe.left_s for probe in probes.sent))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        until(done, within_s=PATIENCE_S, every_s=LOOKED_EVERY_S)
    finally:
        over.set()
        sender.join()
    if errors:
        raise errors[0]


@contextmanager
def _made(running: Stack, path: str, definitions: Sequence[dict[str, Any]]) -> Iterator[list[Json]]:
    """An audience of each definition, all of them live. Gone afterwards."""
    audiences: list[Json] = []
    try:
        for number, definition in enumerate(definitions):
            body = {"name": f"Audience {number} of {len(definitions)}", "definition": definition}
            audiences.append(running.api.post(path, body)["audience"])
        ids = {audience["id"] for audience in audiences}

        def live() -> bool:
            return all(each["status"] == "live" for each in running.api.all(path, "audiences") if each["id"] in ids)

        until(live, within_s=PATIENCE_S, every_s=0.5)
        yield audiences
    finally:
        for audience in audiences:
            running.api.delete(f"{path}/{audience['id']}")


def _definitions() -> list[dict[str, Any]]:
    return [
        *(_of_traits(number) for number in range(TRAITS)),
        *(_sequence(number) for number in range(SEQUENCES)),
        *(windowed(number) for number in range(WINDOWED)),
    ]


def _of_traits(number: int) -> dict[str, Any]:
    plan = {"kind": "trait", "name": "plan", "op": "equals", "value": ("team", "pro", "free")[number // 3 % 3]}
    country = {"kind": "trait", "name": "country", "op": "equals", "value": world.COUNTRIES[number % 7]}
    seats = {"kind": "trait", "name": "seats", "op": "atLeast", "value": number}
    return ({"all": [plan, seats]}, {"any": [plan, country]}, {"all": [seats, {"not": country}]})[number % 3]


def _sequence(number: int) -> dict[str, Any]:
    """Did one thing, and then another, or not, within some days."""
    first, second = (("Product Added", "Order Completed"), ("Signed Up", "Product Viewed"))[number % 2]
    often = {"exactly": 0} if number % 4 < 2 else {"atLeast": 1}
    then = [{"name": second, **often, "within": {"days": 1 + number}}]
    return {"kind": "event", "name": first, "atLeast": 1, "within": {"days": 30}, "then": then}


def windowed(number: int) -> dict[str, Any]:
    """Each window of its own, so that they close at different times."""
    window = ({"days": 1 + number}, {"hours": 1 + number}, {"days": 90 - number * 4 // 5}, {"weeks": 1 + number // 8})[
        number % 4
    ]
    event = {"kind": "event", "name": world.NAMES[number % 6], "atLeast": 1 + number % 3, "within": window}
    shoes = {"property": "category", "op": "equals", "value": world.CATEGORIES[number % 5]}
    return {**event, "where": [shoes]} if number % 5 == 0 else event


def _probed(**window: Any) -> dict[str, Any]:
    return {"kind": "event", "name": "Probed", "atLeast": 1, **window}
