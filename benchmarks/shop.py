"""The quickstart's shop, sent, archived and replayed: made once in a run, for every benchmark that needs data."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from typing import Any

from benchmarks.sending import batch, send_all
from benchmarks.stack import Stack, until
from quickstart import making
from quickstart.client import Api, Json
from quickstart.feed import Origin
from quickstart.shop import MOBILE, SERVER, WEBSITE, Sent, Shop

BATCH = 200
KINDS = (WEBSITE, MOBILE, SERVER)
PATIENCE_S = 300


@cache
def archived(running: Stack) -> list[Json]:
    """The sources, with a month of the whole shop in their archives: 200,000 events and more."""
    sources = make_sources(running, "Shop")
    send(running, sources, Shop(seed=1, anchor=now_ms()).distinct)
    until_archived(running, [*sources.values()])
    return [*sources.values()]


@cache
def replayed(running: Stack) -> Json:
    """A space that has all of it."""
    return replay(running, "Replayed")[0]


def replay(running: Stack, name: str) -> tuple[Json, Json]:
    """A new space that has listened to the whole shop from its beginning, and its replay when it was complete."""
    sources = archived(running)
    space = making.a_space(running.api, name, "dev")
    making.connections(running.api, space, sources)
    path = f"spaces/{space['id']}/replays"

    def complete() -> Json | None:
        newest: Json = running.api.get(path)["replays"][0]
        return newest if newest["state"] == "complete" else None

    return space, until(complete, within_s=PATIENCE_S, every_s=0.2)


def make_sources(running: Stack, name: str, api: Api | None = None) -> dict[str, Json]:
    """By kind. api: of another workspace's owner."""
    return {kind: making.a_source(api or running.api, Origin(f"{name} {kind}", kind)) for kind in KINDS}


def send(running: Stack, sources: dict[str, Json], messages: Sequence[Sent]) -> None:
    """All of it is accepted."""
    send_all(running.address, list(requests(running, sources, messages)))


def requests(running: Stack, sources: dict[str, Json], messages: Sequence[Sent]) -> Iterator[bytes]:
    by_source = sorted(messages, key=lambda each: each.source)
    for kind, group in groupby(by_source, key=lambda each: each.source):
        ready = [_as_sent(each) for each in group]
        key = sources[kind]["writeKeys"][0]
        for start in range(0, len(ready), BATCH):
            yield batch(running.address, key, ready[start : start + BATCH])


def until_archived(running: Stack, sources: Sequence[Json]) -> None:
    """Nothing of these sources waits."""

    def done() -> bool:
        tallies = [running.api.get(f"sources/{source['id']}")["source"]["tally"] for source in sources]
        return not any(tally["waiting"] for tally in tallies)

    until(done, within_s=PATIENCE_S, every_s=0.2)


def now_ms() -> int:
    return int(time.time() * 1000)


def _as_sent(each: Sent) -> dict[str, Any]:
    at = datetime.fromtimestamp(each.at / 1000, UTC).isoformat(timespec="milliseconds")
    return {**each.message, "messageId": each.message_id, "timestamp": at}
