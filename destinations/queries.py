"""What pages and the API show of destinations: subscriptions, deliveries, the catcher's list."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, overload

from django.db import connection
from django.db.models import Count, Q, QuerySet

from audiences import queries as audiences
from destinations.adapters import adapter_of, all_adapters
from destinations.contract import Adapter
from destinations.declared import described, json_schema
from destinations.models import Acknowledged, Destination, Subscription
from destinations.transports import catcher
from identity.models import Identifier
from sources.events import client
from sources.events.schema import DELIVERY_LOG
from sources.events.sql import Sql, join, sql
from spaces.models import Space
from spaces.pieces import visible_logs
from spaces.secrets import open_sealed

PEOPLES_TYPES = ("user_id", "email", "anonymous_id")
OUTCOMES = ("delivered", "retry", "refused", "suspended")


@dataclass(frozen=True)
class Delivery:
    """One change on one call."""

    subscription: int
    at: datetime
    identifier: int
    profile: int
    entering: bool
    message_id: str
    outcome: str
    status: int
    milliseconds: float
    request: str
    response: str
    reason: str
    who: dict[str, str] | None = None  # {"type", "value"}; None when the identifier is gone


COLUMNS = ", ".join(each.name for each in fields(Delivery) if each.name != "who")


class Deliveries(Sequence[Delivery]):
    """The calls of some subscriptions, newest first, read a slice at a time."""

    def __init__(self, space: Space, subscriptions: Sequence[int], conditions: Sequence[Sql] = ()) -> None:
        self._space = space
        seen = client.seen_by_owner(list(visible_logs(stage="sync", owners=subscriptions).values()), "subscription")
        self._where = join(" AND ", [sql("workspace = %s", space.workspace_id), seen, *conditions])

    def __len__(self) -> int:
        return int(client.rows(sql(f"SELECT count() FROM {DELIVERY_LOG.name} WHERE %s", self._where))[0][0])

    @overload
    def __getitem__(self, index: int) -> Delivery: ...
    @overload
    def __getitem__(self, index: slice) -> list[Delivery]: ...
    def __getitem__(self, index: int | slice) -> Delivery | list[Delivery]:
        if isinstance(index, int):
            return self[index : index + 1][0]
        start, stop = index.start or 0, index.stop
        return self._read(sql("LIMIT %s OFFSET %s", stop - start, start))

    def newest_of_each(self, most: int) -> list[Delivery]:
        """The newest call about each identifier, of at most this many identifiers."""
        return self._read(sql("LIMIT 1 BY identifier LIMIT %s", most))

    def _read(self, limit: Sql) -> list[Delivery]:
        order = "ORDER BY at DESC, piece DESC, subscription, position"
        found = client.rows(sql(f"SELECT {COLUMNS} FROM {DELIVERY_LOG.name} WHERE %s {order} %s", self._where, limit))
        names = named_identifiers(self._space, [row[2] for row in found])
        return [_delivery(row, names.get(row[2])) for row in found]


def deliveries(
    subscriptions: QuerySet[Subscription], *, space: Space, outcome: str | None = None, identifier: int | None = None
) -> Deliveries:
    """The calls to these subscriptions. identifier: its number."""
    conditions = [sql("space = %s", space.pk)]
    conditions += [sql("outcome = %s", outcome)] if outcome else []
    conditions += [sql("identifier = %s", identifier)] if identifier is not None else []
    return Deliveries(space, list(subscriptions.values_list("pk", flat=True)), conditions)


def identifier_number(space: Space, text: str) -> int | None:
    """The number of `type:value` in the space; None when there is none."""
    type, _, value = text.partition(":")
    return Identifier.objects.filter(space=space, type=type, value=value).values_list("number", flat=True).first()


def identifier_like(space: Space, text: str) -> int | None:
    """The number of `type:value`, or of a bare value of one of the types that stand for people."""
    exact = identifier_number(space, text)
    if exact is not None:
        return exact
    found = Identifier.objects.filter(space=space, type__in=PEOPLES_TYPES, value__in={text, text.lower()})
    return found.order_by("number").values_list("number", flat=True).first()


def named_identifiers(space: Space, numbers: Sequence[int]) -> dict[int, dict[str, str]]:
    """{number: {"type", "value"}} of those that still exist."""
    rows = Identifier.objects.filter(space=space, number__in=numbers).values_list("number", "type", "value")
    return {number: {"type": type, "value": value} for number, type, value in rows}


def tally(subscription: Subscription) -> dict[str, int]:
    """How many identifiers are desired, acknowledged, unknown, refused and waiting for another try."""
    return tallies([subscription])[subscription.pk]


def tallies(subscriptions: Sequence[Subscription]) -> dict[int, dict[str, int]]:
    """The same of several subscriptions, by primary key. As many queries for many as for one."""
    rows = Acknowledged.objects.filter(subscription__in=subscriptions).values("subscription").order_by()
    counts = rows.annotate(
        acknowledged=Count("id", filter=Q(state=Acknowledged.State.IN)),
        maybe=Count("id", filter=Q(state=Acknowledged.State.MAYBE)),
        refused=Count("id", filter=~Q(refused="")),
        due=Count("id", filter=Q(due=True)),
    )
    found: dict[int, dict[str, Any]] = {row["subscription"]: {**row} for row in counts}
    desired = _desired_counts(subscriptions)
    names = ("acknowledged", "maybe", "refused", "due")
    return {
        each.pk: {"desired": desired.get(each.pk, 0)} | {name: found.get(each.pk, {}).get(name, 0) for name in names}
        for each in subscriptions
    }


DESIRED = """
    SELECT %s, count(*) FROM unnest(%s::bigint[]) AS member(number)
    JOIN identity_identifier held ON held.space_id = %s AND held.profile = member.number
    WHERE held.type = ANY(%s)
"""


def _desired_counts(subscriptions: Sequence[Subscription]) -> dict[int, int]:
    """How many identifiers the members have that stand for them there; nobody is desired before the first compute."""
    members = audiences.members_of([each.audience for each in subscriptions])
    asked = [each for each in subscriptions if members[each.audience_id]]
    values: list[Any] = []
    for each in asked:
        numbers = "{" + ",".join(map(str, members[each.audience_id])) + "}"  # as text: far faster than an expression
        values += [each.pk, numbers, each.space_id, types_of(each)]
    if not asked:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join([DESIRED] * len(asked)), values)
        return dict(cursor.fetchall())


def types_of(subscription: Subscription) -> list[str]:
    """The identifiers that stand for a person there: all user ids and e-mails; anonymous ids where they are people."""
    known = adapter_of(subscription.destination.kind).capabilities.identifiers
    types = ["user_id", "email", *(["anonymous_id"] if subscription.audience.include_anonymous else [])]
    return [type for type in types if type in known]


def held(destination: Destination, key: str) -> Sequence[tuple[str, str]]:
    """The (type, value) that the catcher holds in the audience `key`, from what it received alone."""
    return catcher.held(destination, key)


def style_of(destination: Destination) -> str:
    """How people are said there: as chosen in its settings, or the only way that its kind knows."""
    adapter = adapter_of(destination.kind)
    chosen = open_sealed(destination.settings).get("style")
    return chosen if chosen in adapter.capabilities.styles else adapter.capabilities.styles[0]


def described_settings(destination: Destination) -> list[dict[str, Any]]:
    """The settings that its kind declares."""
    return described(adapter_of(destination.kind).settings)


def catalogue() -> list[dict[str, Any]]:
    """A card for each kind of destination."""
    return [_card(adapter) for adapter in all_adapters().values()]


def _card(adapter: Adapter) -> dict[str, Any]:
    can = adapter.capabilities
    return {
        "kind": adapter.kind,
        "label": adapter.label,
        "description": adapter.description,
        "styles": list(can.styles),
        "identifiers": list(can.identifiers),
        "settings": described(adapter.settings),
        "settingsSchema": json_schema(adapter.settings),
        "options": described(adapter.options),
        "optionsSchema": json_schema(adapter.options),
    }


def _delivery(row: Sequence[Any], who: dict[str, str] | None) -> Delivery:
    made = Delivery(*row)
    return replace(made, at=made.at.replace(tzinfo=UTC), entering=bool(made.entering), who=who)
