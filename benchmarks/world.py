"""Ten million events of 200,000 people in 90 days, 20,000 of whom were merged into others: in both stores, made once in
a run. They are there as resolve would have left them, but for the archive and the pages of profiles."""

import os
from datetime import UTC, datetime
from functools import cache

from benchmarks.stack import Stack
from quickstart import making

EVENTS = int(os.environ.get("BENCH_EVENTS", "10_000_000"))
PEOPLE, DAYS = EVENTS // 50, 90
MERGED = PEOPLE // 10
NAMES = ("Product Viewed", "Product Added", "Checkout Started", "Order Completed", "Signed Up", "Session Started")
SHARES = (500, 200, 100, 80, 20, 100)  # of a thousand events
CATEGORIES = ("Shoes", "Hats", "Coats", "Bags", "Belts")
PLANS = ("free", "free", "free", "free", "free", "free", "free", "pro", "pro", "team")
COUNTRIES = ("DE", "AT", "FR", "NL", "IT", "ES", "PL")
DAY_MS = 86_400_000
COLUMNS = (
    "workspace, space, piece, position, profile, source, origin_piece, origin_position, ts, type, event, message_id,"
    " properties_text"
)
AT_ONCE = 1_000_000
SEEN = "workspace = {workspace} AND space = {space}"


def timestamp(at_s: float) -> str:
    """As messages have it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


def user_id(number: int) -> str:
    """What the profile of this number is called by whoever sends events."""
    return f"u{number}"


@cache
def furnished(running: Stack) -> dict[str, int]:
    """A space with the events; its place (workspace, space, piece) and the moment of its newest event (now, in ms)."""
    from sources.events import client
    from sources.events.sql import Sql
    from spaces.models import Log

    where, log = new_place(running, "World")
    for first in range(0, EVENTS, AT_ONCE):
        rows = f"FROM numbers({first}, {min(AT_ONCE, EVENTS - first)})"
        person = f"1 + intHash32(number) % {PEOPLE}"
        client.run(Sql(f"INSERT INTO timeline ({COLUMNS}) SELECT {', '.join(event_values(where, person))} {rows}"))
    make_people(where, PEOPLE, merged=MERGED)
    Log.objects.filter(pk=log).update(last_number=where["piece"], committed=where["piece"])
    for table in ("timeline", "profiles", "overlay", "traits"):
        client.run(Sql(f"OPTIMIZE TABLE {table}"))
    return where


def add_events(where: dict[str, int], person: int, events: int) -> None:
    """So many more events of one of the people, up to now. Nothing is sent to the space meanwhile."""
    from sources.events import client
    from sources.events.sql import Sql
    from spaces.models import Log

    place, log = _next_place(where["space"])
    values = ", ".join(event_values(place, str(person)))
    client.run(Sql(f"INSERT INTO timeline ({COLUMNS}) SELECT {values} FROM numbers({EVENTS}, {events})"))
    Log.objects.filter(pk=log).update(last_number=place["piece"], committed=place["piece"])


def new_place(running: Stack, name: str) -> tuple[dict[str, int], int]:
    """The next batch of a space of this name, with the present moment; and the key of its resolve log."""
    from spaces.models import Space

    space = Space.objects.get(public_id=making.a_space(running.api, name, "dev")["id"])
    return _next_place(space.pk)


def _next_place(number: int) -> tuple[dict[str, int], int]:
    from spaces.batches import open_log
    from spaces.clock import clock
    from spaces.models import Space
    from spaces.times import milliseconds

    space = Space.objects.get(pk=number)
    log = open_log(stage="resolve", partition=space.pk, workspace_id=space.workspace_id)
    where = {"workspace": space.workspace_id, "space": space.pk, "piece": log.last_number + 1}
    return where | {"now": milliseconds(clock.now())}, log.pk


def event_values(where: dict[str, int], person: str) -> list[str]:
    """The values of COLUMNS: all of an event follows from its number, and whose it is from `person`."""
    event = f"arrayFirstIndex(share -> share > intHash32(number * 3) % 1000, arrayCumSum({list(SHARES)}))"
    properties = {
        "total": "toString((intHash32(number * 5) % 10000) / 100)",
        "category": f"concat('\"', arrayElement({list(CATEGORIES)}, 1 + intHash32(number * 7) % 5), '\"')",
        "sku": "concat('\"S', toString(intHash32(number * 11) % 500), '\"')",
    }
    members = ", ', ', ".join(f"'\"{name}\": ', {value}" for name, value in properties.items())
    return [
        *(str(where[name]) for name in ("workspace", "space", "piece")),
        "number",
        person,
        *("1", "1", "number"),
        f"fromUnixTimestamp64Milli(toInt64({where['now']} - intHash64(number) % {DAYS * DAY_MS}), 'UTC')",
        *("'track'", f"arrayElement({list(NAMES)}, {event})", "toString(number)", f"concat('{{', {members}, '}}')"),
    ]


def make_people(where: dict[str, int], people: int, *, merged: int = 0) -> None:
    """So many known people, each with a user id and three traits. The last `merged` of them went into the first."""
    from django.db import connection

    from sources.events import client
    from sources.events.sql import Sql

    here = f"{where['workspace']}, {where['space']}, {where['piece']}"
    left = people - merged
    client.run(Sql(f"INSERT INTO profiles SELECT {here}, 1 + number, 1, 1 FROM numbers({people})"))
    client.run(Sql(f"INSERT INTO overlay SELECT {here}, {left} + 1 + number, 1 + number FROM numbers({merged})"))
    at = where["now"] - DAYS * DAY_MS
    client.run(
        Sql(
            f"INSERT INTO traits SELECT {here}, number, 1 + number, pair.1, pair.2,"
            f" fromUnixTimestamp64Milli(toInt64({at}), 'UTC'), 1, 1, number FROM numbers({left}) ARRAY JOIN"
            f" [('plan', toJSONString(arrayElement({list(PLANS)}, 1 + number % {len(PLANS)}))),"
            f" ('country', toJSONString(arrayElement({list(COUNTRIES)}, 1 + number % {len(COUNTRIES)}))),"
            " ('seats', toString(number % 50))] AS pair"
        )
    )
    own = {**where, "people": people, "left": left, "at": at / 1000, "ms": at}
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO identity_profile (public_id, workspace_id, space_id, number, kind, merged_into, merges,
                                             traits, traits_seen, first_seen_at)
               SELECT 'use_' || %(space)s || 'x' || n, %(workspace)s, %(space)s, n, 1,
                      CASE WHEN n > %(left)s THEN n - %(left)s END, CASE WHEN n <= %(people)s - %(left)s THEN 1 ELSE 0
                      END,
                      CASE WHEN n > %(left)s THEN '{}' ELSE jsonb_build_object(
                          'plan', (%(plans)s::text[])[1 + (n - 1) %% array_length(%(plans)s::text[], 1)],
                          'country', (%(countries)s::text[])[1 + (n - 1) %% array_length(%(countries)s::text[], 1)],
                          'seats', (n - 1) %% 50) END,
                      CASE WHEN n > %(left)s THEN '{}' ELSE jsonb_build_object(
                          'plan', jsonb_build_array(%(ms)s, 1, 1, n - 1),
                          'country', jsonb_build_array(%(ms)s, 1, 1, n - 1),
                          'seats', jsonb_build_array(%(ms)s, 1, 1, n - 1)) END,
                      to_timestamp(%(at)s)
               FROM generate_series(1, %(people)s) AS n""",
            own | {"plans": list(PLANS), "countries": list(COUNTRIES)},
        )
        cursor.execute(
            """INSERT INTO identity_identifier (workspace_id, space_id, number, type, value, profile, first_seen_at,
                                                message_id)
               SELECT %(workspace)s, %(space)s, n, 'user_id', 'u' || n,
                      CASE WHEN n > %(left)s THEN n - %(left)s ELSE n END, to_timestamp(%(at)s), ''
               FROM generate_series(1, %(people)s) AS n""",
            own,
        )
        cursor.execute(
            """INSERT INTO identity_graph (space_id, workspace_id, last_profile, last_identifier, untouched)
               VALUES (%(space)s, %(workspace)s, %(people)s, %(people)s, false)
               ON CONFLICT (space_id) DO UPDATE SET last_profile = %(people)s, last_identifier = %(people)s""",
            own,
        )
