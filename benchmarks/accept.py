"""Events accepted per second over HTTP: committed to the inbox, answered with 200."""

import time
from datetime import UTC, datetime

from benchmarks.figures import Cost, Figure, median_of, watching
from benchmarks.sending import Connection, batch, request, side_by_side
from benchmarks.shop import until_archived
from benchmarks.stack import Stack

BATCH, CLIENTS, SECONDS, RUNS = 50, 8, 3.0, 3


def measure(running: Stack) -> list[Figure]:
    source = running.api.post("sources", {"name": "Accept", "kind": "server"})["source"]
    ingest = batch(running.address, source["writeKeys"][0], [_message(n) for n in range(BATCH)])
    empty = request("OPTIONS", "/livez", running.address)  # a GET is answered before Django
    floor = median_of(RUNS, lambda: _per_second(running, empty))

    cost = Cost()

    def accept() -> float:
        with watching(running, cost):
            rate = _per_second(running, ingest)
        until_archived(running, [source])  # the next one begins with nothing queued
        return rate

    accepted = median_of(RUNS, accept)
    return [
        Figure(
            f"requests accepted ({BATCH} events, {len(ingest) // 1000} kB each)",
            accepted,
            "requests/s",
            RUNS,
            "an empty view",
            floor,
            f"{accepted * BATCH:,.0f} events/s; {CLIENTS} connections; {cost}, over all runs",
        )
    ]


def _message(n: int) -> dict[str, object]:
    """About 1 kB, as a browser sends it. The same message ids each time: archive drops them as doubles."""
    return {
        "type": "track",
        "event": "Product Viewed",
        "messageId": f"accept-{n}",
        "anonymousId": f"anonymous-{n}",
        "timestamp": datetime.now(UTC).isoformat(),
        "properties": {"product_id": n, "name": "A product of some kind", "price": 19.9, "category": "shoes"},
        "context": {"userAgent": "Mozilla/5.0 " + "x" * 500, "page": {"url": "https://shop.example/p/" + "y" * 100}},
    }


def _per_second(running: Stack, request: bytes) -> float:
    end = time.monotonic() + SECONDS
    done: list[int] = []

    def work(connection: Connection) -> None:
        sent = 0
        while time.monotonic() < end:
            connection.send(request)
            sent += 1
        done.append(sent)

    side_by_side(running.address, CLIENTS, work)
    return sum(done) / SECONDS
