"""Events accepted per second over HTTP: committed to the inbox, answered with 200."""

import json
import socket
import threading
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

from benchmarks.stack import Figure, Stack, median_of, until

BATCH, CLIENTS, SECONDS, RUNS = 50, 8, 3.0, 3


def measure(running: Stack) -> list[Figure]:
    source = running.api("POST", "sources", name="Accept", kind="server")["source"]
    body = json.dumps({"writeKey": source["writeKeys"][0], "batch": [_message(n) for n in range(BATCH)]}).encode()
    ingest = _request("POST", "/v1/batch", running, body)
    empty = _request("GET", "/livez", running, b"")
    floor = median_of(RUNS, lambda: _per_second(running, empty))
    accepted = median_of(RUNS, lambda: _per_second(running, ingest))
    until(lambda: _archived(running, source["id"]), within_s=300)  # leave the next benchmark an idle stack
    return [
        Figure(
            f"requests accepted ({BATCH} events, {len(body) // 1000} kB each)",
            accepted,
            "requests/s",
            RUNS,
            "an empty view",
            floor,
            f"{accepted * BATCH:,.0f} events/s; {CLIENTS} connections, client on the same two cores",
        )
    ]


def _archived(running: Stack, source: str) -> bool:
    tally = running.api("GET", f"sources/{source}")["source"]["tally"]
    return not tally["waiting"]


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


def _request(method: str, path: str, running: Stack, body: bytes) -> bytes:
    host = urlsplit(running.address).netloc
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _per_second(running: Stack, request: bytes) -> float:
    url = urlsplit(running.address)
    end = time.monotonic() + SECONDS
    done = [0] * CLIENTS

    def send(client: int) -> None:
        with socket.create_connection((url.hostname, url.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.monotonic() < end:
                connection.sendall(request)
                answer = connection.recv(65536)
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(answer[:300])
                done[client] += 1

    threads = [threading.Thread(target=send, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / SECONDS
