"""Reads a second of the Profile API, by eight programs at once, of a million people with fifty traits each, in ten
audiences and with five computed traits; beside an empty view on the same server. And how long a search by the value of
a trait takes among them."""

import json
import os
import random
import time
from base64 import b64encode
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figures import Figure, watching
from benchmarks.sending import Connection, request, side_by_side
from benchmarks.stack import Stack
from benchmarks.world import DAY_MS, new_place

PEOPLE = int(os.environ.get("BENCH_PROFILES", "1_000_000"))
TRAITS, AUDIENCES, COMPUTED, EVENTS = 50, 10, 5, 20
DIFFERENT = 100  # sets of trait values
WITH_EVENTS = min(PEOPLE, 10_000)  # the first so many people have some
CLIENTS, SECONDS, RUNS, SEARCHES = 8, float(os.environ.get("BENCH_SECONDS", "5")), 3, 7
BATCH = 100
AT_ONCE = 100_000


def measure(running: Stack) -> list[Figure]:
    space, secret = _furnished(running)
    base = f"/v1/spaces/{space}/collections/users/profiles"
    head = _head(running, secret)
    half = PEOPLE // 2

    def named(rest: str, first: int = 1, last: int = PEOPLE) -> Callable[[], bytes]:
        # The second half of the people has no computed trait: they are read from PostgreSQL and memory alone.
        return lambda: f"GET {base}/user_id:u{random.randint(first, last)}/{rest} HTTP/1.1\r\n{head}\r\n".encode()

    def batch() -> bytes:
        ids = [f"user_id:u{random.randint(half + 1, PEOPLE)}" for _ in range(BATCH)]
        body = json.dumps({"ids": ids}).encode()
        return f"POST {base}/batch HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    keys = ",".join(f"audience_{number}" for number in range(AUDIENCES))
    reads = {
        "an empty view": lambda: request("OPTIONS", "/livez", running.address),  # a GET is answered before Django
        f"{TRAITS} traits and the audiences": named("traits?limit=200", half + 1),
        "three of the traits": named("traits?include=trait_1,trait_2,audience_1&limit=3", half + 1),
        f"traits with {COMPUTED} computed ones among them": named("traits?limit=200", 1, half),
        f"memberships in {AUDIENCES} audiences": named(f"audiences?include={keys}"),
        "external ids": named("external_ids"),
        f"{EVENTS} events": named("events", 1, WITH_EVENTS),
        f"traits of {BATCH} people": batch,
    }
    figures: list[Figure] = []
    floor = None
    for name, make in reads.items():
        with watching(running) as cost:
            runs = [_reads(running, make) for _ in range(RUNS)]
        rate = median(len(took) / SECONDS for took, _ in runs)
        took = sorted(ms for own, _ in runs for ms in own)
        cuts = quantiles(took, n=100)
        web, postgres = (cost.seconds[process] * 1000 / len(took) for process in ("web", "postgres"))
        refused = sum(refused for _, refused in runs)
        note = (
            f"median {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, worst {took[-1]:.0f} ms, {refused} refused;"
            f" CPU of each: {web:.2f} ms in the web, {postgres:.2f} in PostgreSQL; {cost}"
        )
        figures.append(Figure(f"reads of {name}" if figures else name, rate, "/s", RUNS, "an empty view", floor, note))
        floor = floor or rate
    return figures + _searches(running, space)


def _searches(running: Stack, space: str) -> list[Figure]:
    """The first page of those who have a value of a trait: of one of them, of a hundredth, of whoever begins so."""
    wanted = {
        "one person's value": {"trait": f"trait_{TRAITS - 1}", "value": str(PEOPLE // 3)},
        "a hundredth's value": {"trait": "trait_7", "value": "VALUE 55 of some length"},
        "how most begin": {"trait": "trait_7", "value": "value 1", "match": "begins"},
        "one person's computed trait": {"trait": "computed_0", "value": str(PEOPLE // 3)},
    }
    figures = []
    for name, query in wanted.items():
        with watching(running) as cost:
            took = []
            for _ in range(SEARCHES):
                begun = time.perf_counter()
                answer = running.api.get(f"spaces/{space}/profiles", **query)
                took.append((time.perf_counter() - begun) * 1000)
        people, spent = answer["pagination"]["totalEntries"], cost.cpu_s / SEARCHES * 1000
        note = f"{people:,} found, worst {max(took):,.0f} ms; {spent:,.0f} ms of CPU each; {cost}"
        figures.append(Figure(f"a search by {name}", median(took), "ms", SEARCHES, note=note))
    return figures


def _head(running: Stack, secret: str) -> str:
    user = b64encode(f"{secret}:".encode()).decode()
    return f"Host: {urlsplit(running.address).netloc}\r\nAuthorization: Basic {user}\r\n"


def _reads(running: Stack, make: Callable[[], bytes]) -> tuple[list[float], int]:
    """What each of those in SECONDS took, in ms; and how many were refused, since they waited too long for a thread."""
    took: list[float] = []
    refused: list[int] = []
    started = time.perf_counter()

    def work(connection: Connection) -> None:
        while (begun := time.perf_counter()) < started + SECONDS:
            try:
                connection.send(make())
            except RuntimeError as error:
                if "503" not in str(error):
                    raise
                refused.append(1)
            else:
                took.append((time.perf_counter() - begun) * 1000)

    side_by_side(running.address, CLIENTS, work)
    return took, len(refused)


def _furnished(running: Stack) -> tuple[str, str]:
    """The space's public id and a token of its Profile API."""
    from django.db import connection

    from access.services import COMMAND, create_profile_token
    from sources.events import client
    from sources.events.sql import Sql
    from spaces.batches import open_log
    from spaces.models import Log, Space

    where, log = new_place(running, "Profiles")
    space = Space.objects.get(pk=where["space"])
    template = [
        {f"trait_{number}": f"value {(number * 7 + kind) % 1000} of some length" for number in range(TRAITS - 1)}
        for kind in range(DIFFERENT)
    ]
    stamps = {f"trait_{number}": [where["now"], 1, 1, number] for number in range(TRAITS)}
    with connection.cursor() as cursor:
        for first in range(1, PEOPLE + 1, AT_ONCE):
            own = {**where, "first": first, "last": min(PEOPLE, first + AT_ONCE - 1), "seen": json.dumps(stamps)}
            own |= {"templates": [json.dumps(each) for each in template], "different": DIFFERENT}
            cursor.execute(
                f"""INSERT INTO identity_profile (public_id, workspace_id, space_id, number, kind, merges, traits,
                                                 traits_seen, first_seen_at)
                   SELECT 'use_' || %(space)s || 'x' || n, %(workspace)s, %(space)s, n, 1, 0,
                          (%(templates)s::text[])[1 + n %% %(different)s]::jsonb
                          || jsonb_build_object('trait_{TRAITS - 1}', n),
                          %(seen)s::jsonb, to_timestamp(%(now)s / 1000.0)
                   FROM generate_series(%(first)s, %(last)s) AS n""",
                own,
            )
            cursor.execute(
                """INSERT INTO identity_identifier (workspace_id, space_id, number, type, value, profile,
                                                   first_seen_at, message_id)
                   SELECT %(workspace)s, %(space)s, n, 'user_id', 'u' || n, n, to_timestamp(%(now)s / 1000.0), ''
                   FROM generate_series(%(first)s, %(last)s) AS n""",
                own,
            )
    here = f"{where['workspace']}, {where['space']}"
    client.run(
        Sql(f"INSERT INTO profiles SELECT {here}, {where['piece']}, 1 + number, 1, 1 FROM numbers({PEOPLE})"),
    )
    at = f"fromUnixTimestamp64Milli(toInt64({where['now']}), 'UTC')"
    for number in range(TRAITS):  # a trait at a time, as the table is ordered
        kind = f"concat('\"value ', toString(({number * 7} + person % {DIFFERENT}) % 1000), ' of some length\"')"
        value = kind if number < TRAITS - 1 else "toString(person)"
        client.run(
            Sql(
                f"INSERT INTO traits SELECT {here}, {where['piece']}, person, person, 'trait_{number}', {value}, {at},"
                f" 1, 1, person FROM (SELECT 1 + number AS person FROM numbers({PEOPLE}))"
            )
        )
    client.run(
        Sql(
            "INSERT INTO profile_events (workspace, space, piece, position, profile, source, origin_piece,"
            " origin_position, ts, type, event, message_id, identifiers, message)"
            f" SELECT {here}, {where['piece']}, number, 1 + number % {WITH_EVENTS}, 1, 1, number,"
            f" fromUnixTimestamp64Milli(toInt64({where['now']} - intHash64(number) % {20 * DAY_MS}), 'UTC'), 'track',"
            " 'Product Viewed', toString(number),"
            f" [('user_id', concat('u', toString(1 + number % {WITH_EVENTS})))],"
            ' concat(\'{"type": "track", "context": {"ip": "10.0.0.1", "page": "\', repeat(\'x\', 300),'
            ' \'"}, "properties": {"sku": \', toString(number), \'}}\')'
            f" FROM numbers({WITH_EVENTS * EVENTS})"
        )
    )
    ticks = open_log(stage="evaluate", partition=space.pk, workspace_id=space.workspace_id)
    tick = ticks.last_number + 1
    traits = _make_computations(space, tick)
    rows = f"arrayJoin({traits}) AS trait, 1 + number, fromUnixTimestamp64Milli(toInt64({where['now']}), 'UTC')"
    client.run(
        Sql(
            "INSERT INTO trait_log (workspace, space, piece, trait, profile, at, value)"
            f" SELECT {here}, {tick}, {rows}, toString(number) FROM numbers({PEOPLE // 2})"
        )
    )
    Log.objects.filter(pk=log).update(last_number=where["piece"], committed=where["piece"])
    Log.objects.filter(pk=ticks.pk).update(last_number=tick, committed=tick)
    return space.public_id, create_profile_token(space, name="benchmark", by=COMMAND)[1]


def _make_computations(space: Any, tick: int) -> list[int]:
    """AUDIENCES audiences of every second to eleventh person, and computed traits of the first half, as evaluate would
    have left them. The keys of the traits."""
    from pyroaring import BitMap

    from audiences.models import Audience, Version

    traits = []
    for number in range(AUDIENCES + COMPUTED):
        is_audience = number < AUDIENCES
        key = f"audience_{number}" if is_audience else f"computed_{number - AUDIENCES}"
        members = BitMap(range(1, PEOPLE + 1, number + 2) if is_audience else range(1, PEOPLE // 2 + 1))
        definition = {"kind": "event", "name": "Never"} if is_audience else {"kind": "event_counter", "name": "Never"}
        computation = Audience.objects.create(
            workspace_id=space.workspace_id,
            space=space,
            kind=Audience.Kind.AUDIENCE if is_audience else Audience.Kind.TRAIT,
            name=key,
            key=key,
            size=len(members),
        )
        version = Version.objects.create(
            workspace_id=space.workspace_id,
            audience=computation,
            number=1,
            definition=definition,
            state=Version.State.LIVE,
            snapshot=members.serialize(),
            snapshot_tick=tick,
        )
        Audience.everything.filter(pk=computation.pk).update(serving=version)
        if not is_audience:
            traits.append(computation.pk)
    return traits
