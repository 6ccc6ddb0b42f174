"""Events per second from accepted to the timeline, and how long a single one takes when nothing else is on its way."""

import time
from statistics import median

from benchmarks.figures import Cost, Figure, watching
from benchmarks.sending import Connection, batch, send_all
from benchmarks.shop import KINDS, make_sources, now_ms, requests
from benchmarks.stack import Stack, until
from quickstart import making
from quickstart.shop import Shop, Size

EVENTS, RUNS, SINGLES = 20_000, 3, 15
SHOP = Size(customers=2_000, visitors=400, messages=EVENTS)
LOOK_S, PATIENCE_S = 0.1, 300


def measure(running: Stack) -> list[Figure]:
    sources = make_sources(running, "Live")
    space = making.a_space(running.api, "Live", "dev")
    making.connections(running.api, space, [*sources.values()])
    _run(running, space["id"], sources, 100, Cost())  # warms up
    cost = Cost()
    runs = [_run(running, space["id"], sources, seed, cost) for seed in range(101, 101 + RUNS)]
    accepted, through = (median(EVENTS / run[place] for run in runs) for place in (0, 1))
    single = median(_single(running, space["id"], sources[KINDS[0]], number) for number in range(SINGLES))
    return [
        Figure(
            f"from accepted to the timeline ({EVENTS:,} events at once)",
            through,
            "events/s",
            RUNS,
            "accepted in the same run",
            accepted,
            f"{cost}, over all runs",
        ),
        Figure("from accepted to the timeline, one event alone", single * 1000, "ms", SINGLES),
    ]


def _run(
    running: Stack, space: str, sources: dict[str, dict[str, object]], seed: int, cost: Cost
) -> tuple[float, float]:
    """Seconds until all of a small shop was accepted, and until it was in the timeline; the cost is added."""
    ready = list(requests(running, sources, Shop(seed, anchor=now_ms(), size=SHOP).distinct))
    wanted = in_timeline(space) + EVENTS
    with watching(running, cost):
        begun = time.monotonic()
        send_all(running.address, ready)
        accepted = time.monotonic() - begun
        until(lambda: in_timeline(space) >= wanted, within_s=PATIENCE_S, every_s=LOOK_S)
        return accepted, time.monotonic() - begun


def _single(running: Stack, space: str, source: dict[str, list[str]], number: int) -> float:
    """Seconds from the answer to being in the timeline."""
    message = {"type": "track", "event": "Alone", "messageId": f"alone-{number}", "userId": "alone"}
    wanted = in_timeline(space) + 1
    connection = Connection(running.address)
    connection.send(batch(running.address, source["writeKeys"][0], [message]))
    begun = time.monotonic()
    connection.close()
    until(lambda: in_timeline(space) >= wanted, within_s=PATIENCE_S, every_s=0.01)
    return time.monotonic() - begun


def in_timeline(public_id: str) -> int:
    """How many events of the space a reader sees."""
    from sources.events import timeline
    from spaces.batches import visible_logs
    from spaces.models import Space

    space = Space.objects.get(public_id=public_id)
    log = visible_logs(stage="resolve", partitions=[space.pk])[space.pk]
    return timeline.count(timeline.Scope(space.workspace_id, space.pk, log))
