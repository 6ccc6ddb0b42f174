"""The catcher's end: it stores each call once, by message id, and computes by them who is in an audience, or has which
value of a computed trait."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import msgspec
from django.db import connection
from django.db.models import Count, Max, TextField
from django.db.models.functions import Cast

from destinations.models import Caught, Destination
from destinations.rules.contract import DestinationRequest
from spaces.answers import Answer
from spaces.clock import clock
from spaces.settings_schema import SettingsDeclaration

STORE = """
    INSERT INTO destinations_caught (workspace_id, destination_id, message_id, received_at, headers, body, times)
    SELECT %s, %s, call.id, %s, %s, call.body, call.times
    FROM unnest(%s::text[], %s::jsonb[], %s::int[]) WITH ORDINALITY AS call(id, body, times, position)
    ORDER BY call.position
    ON CONFLICT (destination_id, message_id) DO UPDATE SET times = destinations_caught.times + excluded.times
"""


@dataclass(frozen=True)
class MembershipStatement:
    """From a received call: this identifier is, or is not, in the audience of this key.

    stated: True, or the value of a computed trait; None = it is not, or has none.
    """

    key: str
    type: str
    value: str
    stated: Any


class _MessageId(msgspec.Struct):
    id: str = msgspec.field(name="messageId")


@contextmanager
def calls(destination: Destination, settings: SettingsDeclaration) -> Iterator[Callable[[DestinationRequest], Answer]]:
    yield partial(call, destination)


def call(destination: Destination, request: DestinationRequest) -> Answer:
    """All calls of the request's array are stored, in their order. One that came before is only counted."""
    calls: dict[str, str] = {}
    times: Counter[str] = Counter()
    for message in msgspec.json.decode(request.body, type=list[msgspec.Raw]):
        id = msgspec.json.decode(message, type=_MessageId).id[:200]
        # The first of several with one id in one array: as for a receiver that drops repetitions.
        calls.setdefault(id, bytes(message).decode())
        times[id] += 1
    headers = msgspec.json.encode(dict(request.headers)).decode()
    owner = [destination.workspace_id, destination.pk]
    with connection.cursor() as cursor:
        cursor.execute(STORE, [*owner, clock.now(), headers, list(calls), list(calls.values()), list(times.values())])
    return Answer(200, {"content-type": "application/json"}, b'{"success":true}')


def members(destination: Destination, key: str) -> Sequence[tuple[tuple[str, str], Any]]:
    """The (type, value) of every identifier that is in the audience `key`, sorted, with True; or that has the computed
    trait `key`, with its value.

    Computed from what was received and from nothing else, as any receiver could: the newest statement about an
    identifier counts, by the message's own timestamp and, within one moment, by the order of receipt.
    """
    received = Caught.objects.filter(destination=destination).aggregate(newest=Max("id"), calls=Count("id"))
    return _members(destination.pk, key, received["newest"], received["calls"])


@lru_cache(maxsize=2)
def _members(destination: int, key: str, newest: int | None, calls: int) -> tuple[tuple[tuple[str, str], Any], ...]:
    """newest, calls: of what was received; they change with it, so that it is read once for all pages of the list."""
    bodies = Caught.objects.filter(destination=destination).order_by("id").annotate(text=Cast("body", TextField()))
    state: dict[tuple[str, str], tuple[str, Any]] = {}
    for text in bodies.values_list("text", flat=True).iterator(chunk_size=5000):
        body = msgspec.json.decode(text)
        for statement in statements(body):
            # Our own timestamps are all of one form, and so compare as text.
            identifier, at = (statement.type, statement.value), body["timestamp"]
            if statement.key == key and at >= state.get(identifier, ("", None))[0]:
                state[identifier] = at, statement.stated
    inside = {identifier: stated for identifier, (_, stated) in state.items() if stated is not None}
    return tuple((identifier, inside[identifier]) for identifier in sorted(inside))


def statements(body: dict[str, Any]) -> Iterator[MembershipStatement]:
    """All that one received call states, in event style or in list style."""
    personas = body.get("context", {}).get("personas", {})
    key, kind = personas.get("computation_key"), personas.get("computation_class")
    # A test call, or what somebody else posted: it states nothing about anybody.
    if kind not in ("audience", "trait") or key is None:
        return
    if body["type"] == "audience":
        yield from _entries(key, body["added"], stated=True)
        yield from _entries(key, body["removed"], stated=None)
        return
    values = body.get("traits") or body.get("properties") or {}
    if key in values and (kind == "trait" or isinstance(values[key], bool)):
        reached = {**body["context"].get("traits", {}), **body.get("traits", {})}
        entry = {
            **body,
            "email": reached.get("email"),
            "phone": reached.get("phone"),
            "groupId": body.get("groupId") or body["context"].get("groupId"),
            "externalIds": body["context"].get("externalIds", []),
        }
        yield from _entries(key, [entry], stated=values[key] if kind == "trait" else values[key] or None)


def _entries(key: str, entries: Iterable[dict[str, Any]], *, stated: Any) -> Iterator[MembershipStatement]:
    names = {
        "userId": "user_id",
        "anonymousId": "anonymous_id",
        "email": "email",
        "phone": "phone",
        "groupId": "group_id",
    }
    for entry in entries:
        for name, type in names.items():
            if entry.get(name):
                yield MembershipStatement(key, type, entry[name], stated)
        for external in entry.get("externalIds", ()):
            yield MembershipStatement(key, external["type"], external["id"], stated)
