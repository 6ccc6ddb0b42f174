"""How fresh one workspace's timeline and audience are while another one sends as much as is taken."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import monotonic, sleep
from uuid import uuid4

from benchmarks import overload
from benchmarks.figures import Figure, watching
from benchmarks.live import in_timeline
from benchmarks.sending import Connection, batch
from benchmarks.shop import make_sources, until_archived
from benchmarks.stack import Stack, until
from quickstart import making
from quickstart.client import Api, Json

PROBES, CLIENTS, SECONDS = 15, 16, 40.0
RISEN_S = 5.0  # until the flood is everywhere
PATIENCE_S = 120
VIEWED = {"kind": "event", "name": "Viewed", "atLeast": 1}


def measure(running: Stack) -> list[Figure]:
    (flooded, *_) = make_sources(running, "Flood").values()
    making.connections(running.api, making.a_space(running.api, "Flood", "dev"), [flooded])
    probe = _probe(running, Api(running.address, running.owner_of("Beside a flood")))
    probe()  # warms up
    calm = [probe() for _ in range(PROBES)]
    with ThreadPoolExecutor(1) as thread:
        flood = thread.submit(overload.load, running, flooded["writeKeys"][0], clients=CLIENTS, seconds=SECONDS)
        sleep(RISEN_S)
        with watching(running) as cost:
            beside = [probe() for _ in range(PROBES)]
        note = "the flood was over before the last; " if flood.done() else ""
        load = flood.result()
    until_archived(running, [flooded])
    events = overload.MESSAGES * load.accepted / load.sent_for_s
    refused = load.counts[503] / load.sent_for_s
    note += f"{events:,.0f} events/s of the flood accepted, {refused:,.0f} requests/s refused; {cost}"
    return [
        Figure(
            f"one event beside a flood, to the {place}",
            1000 * median(each[at] for each in beside),
            "ms",
            PROBES,
            "calm",
            1000 * median(each[at] for each in calm),
            note,
        )
        for at, place in enumerate(("timeline", "audience"))
    ]


def _probe(running: Stack, api: Api) -> Callable[[], tuple[float, float]]:
    """Seconds from the answer until somebody new is in the timeline, and until they are in the audience."""
    source: Json = make_sources(running, "Calm", api)["server"]
    space = making.a_space(api, "Calm", "dev")
    making.connections(api, space, [source])
    path = f"spaces/{space['id']}/audiences"
    audience = api.post(path, {"name": "Viewed", "definition": VIEWED})["audience"]["id"]
    until(lambda: api.get(f"{path}/{audience}")["audience"]["status"] == "live", within_s=PATIENCE_S)

    def probe() -> tuple[float, float]:
        events, members = in_timeline(space["id"]), _size(api, f"{path}/{audience}")
        connection = Connection(running.address)
        message = {"type": "track", "event": "Viewed", "messageId": str(uuid4()), "userId": str(uuid4())}
        connection.send(batch(running.address, source["writeKeys"][0], [message]))
        begun = monotonic()
        connection.close()
        until(lambda: in_timeline(space["id"]) > events, within_s=PATIENCE_S, every_s=0.01)
        seen = monotonic() - begun
        until(lambda: _size(api, f"{path}/{audience}") > members, within_s=PATIENCE_S, every_s=0.02)
        return seen, monotonic() - begun

    return probe


def _size(api: Api, path: str) -> int:
    return int(api.get(path)["audience"]["size"]["count"])
