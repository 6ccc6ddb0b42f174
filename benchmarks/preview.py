"""Preview of an audience on a million events by the API, beside the same SQL sent straight to the engine."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks import shop
from benchmarks.figures import Figure, watching_memory
from benchmarks.stack import Stack

COPIES, RUNS = 4, 15  # of 205,000 events
AUDIENCES: dict[str, dict[str, Any]] = {
    "one event in 7 days": {"kind": "event", "name": "Order Completed", "atLeast": 1, "within": {"days": 7}},
    "four conditions in 30 days": {
        "all": [
            {
                "kind": "event",
                "name": "Product Viewed",
                "atLeast": 3,
                "within": {"days": 30},
                "where": [{"property": "category", "op": "equals", "value": "Shoes"}],
            },
            {"not": {"kind": "event", "name": "Order Completed", "atLeast": 1, "within": {"days": 30}}},
            {
                "any": [
                    {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"},
                    {"kind": "event", "name": "Checkout Started", "atLeast": 1, "within": {"days": 30}},
                ]
            },
        ]
    },
}


def measure(running: Stack) -> list[Figure]:
    space = shop.replayed(running)
    events = _multiply(space["id"])
    with watching_memory(running) as peak:
        return [
            Figure(
                f"preview of {name} ({events:,} events)",
                _milliseconds(lambda definition=definition: _preview(running, space["id"], definition)),
                "ms",
                RUNS,
                "the same SQL, straight",
                _milliseconds(_straight(space["id"], definition)),
                str(peak),
            )
            for name, definition in AUDIENCES.items()
        ]


def _milliseconds(ask: Callable[[], object]) -> float:
    """The median of several, after one that warms up."""

    def once() -> float:
        begun = time.perf_counter()
        ask()
        return (time.perf_counter() - begun) * 1000

    once()
    return median(once() for _ in range(RUNS))


def _preview(running: Stack, space: str, definition: dict[str, Any]) -> None:
    running.api.post(f"spaces/{space}/audiences/previews", {"definition": definition})


def _straight(space: str, definition: dict[str, Any]) -> Callable[[], object]:
    from audiences import queries
    from audiences.compiler import SETTINGS, Asked, members
    from audiences.grammar import parse
    from sources.events import client
    from spaces.clock import clock
    from spaces.models import Space

    where = Space.objects.get(public_id=space)
    scope = queries.scope_of(where, queries.resolved(where), clock.now())
    query = members(scope, [Asked("", parse(definition))], {})
    engine = client.client()
    return lambda: engine.raw_query(query.text, parameters=query.values, settings=SETTINGS, fmt="RowBinary")


def _multiply(public_id: str) -> int:
    """The space's timeline holds each of its events several times more; how many that makes. Of the same people."""
    from sources.events import client, timeline
    from spaces.models import Log, Space
    from spaces.pieces import open_log, visible

    space = Space.objects.get(public_id=public_id)
    log = open_log(stage="resolve", owner=space.pk, workspace_id=space.workspace_id)
    seen = timeline.Scope(space.workspace_id, space.pk, visible(log)).condition
    number = log.last_number + 1
    changed = f"{number} AS piece, concat(message_id, '-', toString(copy)) AS message_id"
    client.run(
        f"INSERT INTO timeline SELECT * EXCEPT copy REPLACE ({changed}) FROM "
        f"(SELECT *, arrayJoin(range({COPIES})) AS copy FROM timeline WHERE " + seen + ")"
    )
    Log.objects.filter(pk=log.pk).update(last_number=number, published=number)
    return timeline.count(timeline.Scope(space.workspace_id, space.pk, visible(log)))
