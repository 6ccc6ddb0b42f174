"""The catcher's end: it keeps each call once, by message id, and can say whom that leaves in an audience."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db import connection

from destinations.contract import Request
from destinations.models import Caught, Destination
from spaces.answers import Answer
from spaces.clock import clock

KEPT = """
    INSERT INTO destinations_caught (workspace_id, destination_id, message_id, received_at, headers, body, times)
    SELECT %s, %s, given.id, %s, %s, given.body, given.times
    FROM unnest(%s::text[], %s::jsonb[], %s::int[]) WITH ORDINALITY AS given(id, body, times, position)
    ORDER BY given.position
    ON CONFLICT (destination_id, message_id) DO UPDATE SET times = destinations_caught.times + excluded.times
"""


@dataclass(frozen=True)
class Statement:
    """One thing a received call says: this identifier is, or is not, in the audience of this key."""

    key: str
    type: str
    value: str
    inside: bool


def call(destination: Destination, request: Request) -> Answer:
    """All calls of the request's array are kept, in their order. One that came before is only counted."""
    messages: list[dict[str, Any]] = msgspec.json.decode(request.body)
    calls: dict[str, dict[str, Any]] = {}
    times: dict[str, int] = {}
    for message in messages:
        id = str(message["messageId"])[:200]
        calls.setdefault(id, message)
        times[id] = times.get(id, 0) + 1
    bodies = [msgspec.json.encode(body).decode() for body in calls.values()]
    headers = msgspec.json.encode(dict(request.headers)).decode()
    owner = [destination.workspace_id, destination.pk]
    with connection.cursor() as cursor:
        cursor.execute(KEPT, [*owner, clock.now(), headers, list(calls), bodies, list(times.values())])
    return Answer(200, {"content-type": "application/json"}, b'{"success":true}')


def held(destination: Destination, key: str) -> list[tuple[str, str]]:
    """The (type, value) of every identifier that is in the audience `key`, sorted.

    Made from what was received and from nothing else, as any receiver could: the newest statement about an
    identifier counts, by the message's own timestamp and, within one moment, by the order of receipt.
    """
    received = Caught.objects.filter(destination=destination).order_by("body__timestamp", "id")
    state: dict[tuple[str, str], bool] = {}
    for body in received.values_list("body", flat=True).iterator(chunk_size=5000):
        for statement in statements(body):
            if statement.key == key:
                state[statement.type, statement.value] = statement.inside
    return sorted(identifier for identifier, inside in state.items() if inside)


def statements(body: dict[str, Any]) -> Iterator[Statement]:
    """What one received call says, in event style or in list style."""
    personas = body.get("context", {}).get("personas", {})
    key = personas.get("computation_key")
    if personas.get("computation_class") != "audience" or key is None:
        return
    if body["type"] == "audience":
        yield from _entries(key, body["added"], inside=True)
        yield from _entries(key, body["removed"], inside=False)
        return
    values = body.get("traits") or body.get("properties") or {}
    if isinstance(values.get(key), bool):
        email = body.get("traits", {}).get("email") or body["context"].get("traits", {}).get("email")
        yield from _entries(key, [{**body, "email": email}], inside=values[key])


def _entries(key: str, entries: Iterable[dict[str, Any]], *, inside: bool) -> Iterator[Statement]:
    names = {"userId": "user_id", "anonymousId": "anonymous_id", "email": "email"}
    for entry in entries:
        for name, type in names.items():
            if entry.get(name):
                yield Statement(key, type, entry[name], inside)
