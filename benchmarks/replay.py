"""Events per second of a replay, beside ClickHouse copying the rows that it wrote: of the quickstart's shop, and of a
month of 50 events each of many people, who come for six events at a time, to one of three sources; every tenth of them
was two people until the middle of the month. BENCH_REPLAY_EVENTS: how many; ten million are what the figure is for."""

import os
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime
from statistics import median
from typing import Any

import psutil

from benchmarks import shop
from benchmarks.figures import MIB, Figure, watching
from benchmarks.stack import Stack, until
from quickstart import making

RUNS = 3
EVENTS = int(os.environ.get("BENCH_REPLAY_EVENTS", "1_000_000"))
PEOPLE, DAYS, VISIT = EVENTS // 50, 29, 6
PIECE = 5_000  # rows of a batch of the archive
AT_ONCE = 1_000_000
STORES = ("postgres", "clickhouse", "valkey")
PATIENCE_S = 3_600


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
        ),
        _a_month(running),
    ]


def _a_month(running: Stack) -> Figure:
    """One replay of it: how even its rate was, and the most memory that a process other than a store had."""
    sources = [*shop.make_sources(running, "Month").values()]
    _archive(sources)
    space = making.a_space(running.api, "Month", "dev")
    making.connections(running.api, space, sources)
    path, peaks, done = f"spaces/{space['id']}/replays", Counter[str](), [(time.monotonic(), 0)]

    def complete() -> Any:
        replay = running.api.get(path)["replays"][0]
        done.append((time.monotonic(), replay["done"]))
        for name, pid in running.pids().items():
            if not name.startswith(STORES):
                with suppress(psutil.NoSuchProcess):
                    peaks[name] = max(peaks[name], psutil.Process(pid).memory_info().rss)
        return replay if replay["state"] == "complete" else None

    with watching(running) as cost:
        replay = until(complete, within_s=PATIENCE_S, every_s=0.5)
    took = _copy(space["id"])
    (largest, peak), *_ = peaks.most_common(1)
    thirds = [_rate(done, replay["done"] * third / 3, replay["done"] * (third + 1) / 3) for third in range(3)]
    return Figure(
        f"replay of a month ({replay['done']:,} events of {PEOPLE:,} people)",
        replay["done"] / _seconds(replay),
        "events/s",
        1,
        "INSERT … SELECT of the same rows",
        replay["done"] / sum(took.values()),
        f"{_seconds(replay) / sum(took.values()):.1f} times as long as the copy; by thirds"
        f" {', '.join(f'{rate:,.0f}' for rate in thirds)}; {largest} had up to {peak / MIB:,.0f} MiB; {cost}",
    )


def _rate(done: list[tuple[float, int]], first: float, last: float) -> float:
    """Events per second between the moments when so many were done."""
    begun = max(moment for moment, count in done if count <= first)
    ended = min(moment for moment, count in done if count >= last)
    return (last - first) / max(ended - begun, 0.001)


def _archive(sources: list[dict[str, Any]]) -> None:
    """The month is in the archives of these three, in batches in the order of time."""
    from sources.events import client
    from sources.events.sql import Sql
    from sources.models import Source
    from spaces.batches import open_log
    from spaces.models import Log

    here = [Source.objects.get(public_id=source["id"]) for source in sources]
    keys, now = [source.pk for source in here], shop.now_ms()
    visit, person = f"intDiv(number, {VISIT})", f"intHash32(intDiv(number, {VISIT})) % {PEOPLE}"
    place = f"(intDiv({visit}, 3) * {VISIT} + number % {VISIT})"
    at = f"toInt64({now - DAYS * 86_400_000} + number * {DAYS * 86_400_000 - 60_000} / {EVENTS})"
    iso = "formatDateTime(ts, '%Y-%m-%dT%H:%i:%S.000Z', 'UTC')"
    late = f"({person} % 10 = 0 AND number < {EVENTS // 2})"  # of them the first source knows only the browser
    user = f"if({late} AND {visit} % 3 = 0, '', concat('\"userId\":\"u', toString({person}), '\",'))"
    browser = f"concat('\"anonymousId\":\"a', toString({person}), '-', toString({visit} % 3), '\"')"
    kind = f"multiIf(number % {VISIT} = 0 AND NOT {late}, 'identify', number % 3 = 1, 'page', 'track')"
    content = (
        'multiIf(type = \'identify\', concat(\',"traits":{"plan":"pro","seats":\', toString(number % 50), \'}\'),'
        ' type = \'page\', \',"name":"Shoes","properties":{"path":"/shoes"}\','
        ' concat(\',"event":"Product Viewed","properties":{"sku":"S\', toString(number % 500),'
        " '\",\"price\":', toString(number % 90), '}'))"
    )
    page = '"page":{"path":"/shoes"}'
    context = f"""',"context":{{"userAgent":"Mozilla/5.0","locale":"en-GB",{page}}},"timestamp":"'"""
    message = (
        f'concat(\'{{"type":"\', type, \'","messageId":"\', message_id, \'",\', {user}, {browser}, {content},'
        f" {context}, {iso}, '\"}}')"
    )
    for first in range(0, EVENTS, AT_ONCE):
        client.client().command(
            "INSERT INTO archive"
            " (workspace, source, piece, position, ts, received_at, type, event, message_id, message)"
            f" SELECT {here[0].workspace_id}, arrayElement({keys}, 1 + {visit} % 3), 1 + intDiv({place}, {PIECE}),"
            f" {place} % {PIECE}, fromUnixTimestamp64Milli({at}, 'UTC') AS ts, ts, {kind} AS type,"
            " multiIf(type = 'page', 'Page Viewed', type = 'track', 'Product Viewed', ''),"
            f" concat('m', toString(number)) AS message_id, {message}"
            f" FROM numbers({first}, {min(AT_ONCE, EVENTS - first)})"
        )
    for source in here:
        log = open_log(stage="archive", partition=source.pk, workspace_id=source.workspace_id)
        last = int(client.rows(Sql(f"SELECT max(piece) FROM archive WHERE source = {source.pk}"))[0][0])
        Log.objects.filter(pk=log.pk).update(last_number=last, committed=last)


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
