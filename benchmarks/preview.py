"""Preview of an audience on a million events by the API, beside the same SQL sent straight to the engine."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks import shop
from benchmarks.figures import Figure, watching
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
    return [_figure(running, space["id"], events, name) for name in AUDIENCES]


def _figure(running: Stack, space: str, events: int, name: str) -> Figure:
    definition = AUDIENCES[name]
    straight = _straight(space, definition)
    took: list[tuple[float, float]] = []
    with watching(running) as cost:
        for _ in range(RUNS + 1):  # in turn, so that whatever else the machine does falls on both alike
            took.append((_milliseconds(lambda: _preview(running, space, definition)), _milliseconds(straight)))
    asked, floor = (median(column) for column in zip(*took[1:], strict=True))  # the first warms up
    return Figure(
        f"preview of {name} ({events:,} events)", asked, "ms", RUNS, "the same SQL, straight", floor, str(cost)
    )


def _milliseconds(ask: Callable[[], object]) -> float:
    begun = time.perf_counter()
    ask()
    return (time.perf_counter() - begun) * 1000


def _preview(running: Stack, space: str, definition: dict[str, Any]) -> None:
    running.api.post(f"spaces/{space}/audiences/previews", {"definition": definition})


def _straight(space: str, definition: dict[str, Any]) -> Callable[[], object]:
    from audiences import queries
    from audiences.rules.compiler import SETTINGS, Asked, members
    from audiences.rules.grammar import parse
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
    from spaces.batches import open_log, visible
    from spaces.models import Log, Space

    space = Space.objects.get(public_id=public_id)
    log = open_log(stage="resolve", partition=space.pk, workspace_id=space.workspace_id)
    seen = timeline.Scope(space.workspace_id, space.pk, visible(log)).condition
    number = log.last_number + 1
    changed = f"{number} AS piece, concat(message_id, '-', toString(copy)) AS message_id"
    client.run(
        f"INSERT INTO timeline SELECT * EXCEPT copy REPLACE ({changed}) FROM "
        f"(SELECT *, arrayJoin(range({COPIES})) AS copy FROM timeline WHERE " + seen + ")"
    )
    Log.objects.filter(pk=log.pk).update(last_number=number, committed=number)
    return timeline.count(timeline.Scope(space.workspace_id, space.pk, visible(log)))
