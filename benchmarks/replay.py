"""Events per second of a replay, beside ClickHouse copying the rows that it wrote."""

import time
from datetime import datetime
from statistics import median

from benchmarks import shop
from benchmarks.figures import Figure, watching
from benchmarks.stack import Stack

RUNS = 3


def measure(running: Stack) -> list[Figure]:
    shop.archived(running)
    shop.replay(running, "Replay to warm up")
    with watching(running) as cost:
        replays = [shop.replay(running, f"Replay {number}") for number in range(RUNS)]
    rate = median(replay["done"] / _seconds(replay) for _, replay in replays)
    events = replays[0][1]["done"]
    copies = [_copy(space["id"]) for space, _ in replays]
    floor = median(events / sum(each.values()) for each in copies)
    alone = median(events / each["timeline"] for each in copies)
    return [
        Figure(
            f"replay ({events:,} events of {len(shop.KINDS)} sources)",
            rate,
            "events/s",
            RUNS,
            "INSERT … SELECT of the same rows",
            floor,
            f"{', '.join(copies[0])}; into timeline alone {alone:,.0f}; {cost}, over all runs",
        )
    ]


def _seconds(replay: dict[str, str]) -> float:
    """From the request to the end, waiting included."""
    ended, asked = (datetime.fromisoformat(replay[name]) for name in ("finishedAt", "createdAt"))
    return (ended - asked).total_seconds()


def _copy(space: str) -> dict[str, float]:
    """Seconds to copy what the space has of each table that a replay writes, into an empty one that is just like it."""
    from sources.events import client
    from sources.events.schema import OVERLAY, PROFILE_EVENTS, PROFILES, TIMELINE, TRAITS
    from sources.events.sql import sql
    from spaces.models import Space

    number = Space.objects.get(public_id=space).pk
    took = {}
    for table in (TIMELINE, PROFILE_EVENTS, TRAITS, OVERLAY, PROFILES):
        copy = f"copy_of_{table.name}"
        client.client().command(f"CREATE TABLE {copy} AS {table.name}")
        begun = time.monotonic()
        client.run(sql(f"INSERT INTO {copy} SELECT * FROM {table.name} WHERE space = %s", number))
        took[table.name] = time.monotonic() - begun
        client.client().command(f"DROP TABLE {copy}")
    return took
