"""What pages and the API show of destinations: subscriptions, deliveries, the catcher's list."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, overload

import msgspec
import numpy
from django.db import connection
from django.db.models import QuerySet
from pyroaring import BitMap

from audiences import queries as audiences
from audiences import trait_values
from audiences.models import Audience, ComputedTrait, Evaluation
from audiences.rules.grammar import ACCOUNTS
from destinations.adapters import adapter_of, all_adapters
from destinations.models import Destination, Subscription
from destinations.rules.comparison import Comparison, KnownIdentifiers, compare
from destinations.rules.contract import IdentifierChange, PayloadComputation
from destinations.rules.mapping import roots
from destinations.rules.sending import IdentifierRule, SendingRules, Which, load_sending, named_types
from destinations.transports import catcher
from identity.models import Identifier
from identity.queries import moved_after
from identity.rules.extract import ACCOUNT_TYPE
from sources.events import client
from sources.events.schema import DELIVERY_LOG
from sources.events.sql import Sql, join, moment, sql
from spaces import personal
from spaces.batches import visible_logs
from spaces.models import Space
from spaces.secrets import open_sealed
from spaces.settings_schema import SettingsDeclaration, described, json_schema, load_stored

PEOPLES_TYPES = ("user_id", "email", "anonymous_id", ACCOUNT_TYPE)
# A list has people in it and nothing besides: there is no place for a value.
NO_TRAITS = "A computed trait goes only to destinations that take people as events"
NO_ACCOUNTS = "What is about accounts goes only to destinations that take group calls, as events"
SENT_OUTCOMES = ("delivered", "retry", "refused", "suspended")
OUTCOMES = (*SENT_OUTCOMES, "filtered")
# What a number of the overview leads to, where several outcomes are counted as one.
OUTCOME_GROUPS = {"failed": ("refused", "suspended"), "mapped": SENT_OUTCOMES}


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


COLUMNS = ", ".join(field.name for field in fields(Delivery) if field.name != "who")


def log_of(space: Space, subscriptions: Sequence[int], *, since: datetime | None = None) -> Sql:
    """The lines of the delivery log that count: those of committed batches of these subscriptions."""
    # Each subscription has a log of its own, whose abandoned batches must not be shown.
    seen = client.seen_by_owner(list(visible_logs(stage="sync", partitions=subscriptions).values()), "subscription")
    later = [sql("at >= %s", moment(since))] if since else []
    return join(" AND ", [sql("workspace = %s", space.workspace_id), seen, sql("space = %s", space.pk), *later])


class Deliveries(Sequence[Delivery]):
    """The calls of some subscriptions, newest first, read a slice at a time.

    lines: of the log, as `log_of` has them. newest: of each message only the last attempt. conditions: on what is left.
    """

    def __init__(self, space: Space, lines: Sql, conditions: Sequence[Sql] = (), *, newest: bool = False) -> None:
        self._space = space
        self._where = join(" AND ", [lines if not newest else Sql("1"), *conditions])
        # LIMIT BY before the conditions: an older attempt that matches must not stand for a newer one that does not.
        last = "ORDER BY at DESC, piece DESC, position DESC LIMIT 1 BY subscription, message_id"
        every = sql(f"(SELECT * FROM {DELIVERY_LOG.name} WHERE %s {last})", lines)
        self._table = every if newest else Sql(DELIVERY_LOG.name)

    def __len__(self) -> int:
        return int(client.rows(sql("SELECT count() FROM %s WHERE %s", self._table, self._where))[0][0])

    @overload
    def __getitem__(self, index: int) -> Delivery: ...
    @overload
    def __getitem__(self, index: slice) -> list[Delivery]: ...
    def __getitem__(self, index: int | slice) -> Delivery | list[Delivery]:
        if isinstance(index, int):
            return self[index : index + 1][0]
        start, stop = index.start or 0, index.stop
        return self._read(sql("LIMIT %s OFFSET %s", stop - start, start))

    def newest_by_identifier(self, most: int) -> list[Delivery]:
        """The newest call about each identifier, of at most this many identifiers."""
        return self._read(sql("LIMIT 1 BY identifier LIMIT %s", most))

    def _read(self, limit: Sql) -> list[Delivery]:
        order = "ORDER BY at DESC, piece DESC, subscription, position"
        statement = sql(f"SELECT {COLUMNS} FROM %s WHERE %s {order} %s", self._table, self._where, limit)
        rows = client.rows(statement)
        calls = [Delivery(*row) for row in rows]
        names = named_identifiers(self._space, [call.identifier for call in calls])
        return [
            # ClickHouse answers times without a zone, in UTC, and booleans as numbers.
            replace(
                call,
                at=call.at.replace(tzinfo=UTC),
                entering=bool(call.entering),
                request=personal.text(call.request),
                response=personal.text(call.response),
                reason=personal.text(call.reason),
                who=names.get(call.identifier),
            )
            for call in calls
        ]


def settings_of(destination: Destination) -> SettingsDeclaration:
    """The adapter's Settings, secrets included. For sending; never for showing."""
    return load_stored(adapter_of(destination.kind).settings, open_sealed(destination.settings))


def about(subscription: Subscription, everyone: Callable[[], Iterable[IdentifierChange]] = tuple) -> PayloadComputation:
    """What calls say about what goes there."""
    audience = subscription.audience
    return PayloadComputation(
        audience.public_id,
        audience.key,
        audience.name,
        subscription.space.public_id,
        audience.kind,
        audience.of,
        fields=[*dict.fromkeys(name for _, name in sending_of(subscription).named())],
        types=types_of(subscription),
        everyone=everyone,
    )


def deliveries(
    subscriptions: QuerySet[Subscription],
    *,
    space: Space,
    outcome: str | None = None,
    identifier: int | None = None,
    since: datetime | None = None,
    newest: bool = False,
) -> Deliveries:
    """The calls to these subscriptions. outcome: or one of OUTCOME_GROUPS. identifier: its number. newest: of each
    message only what became of it in the end."""
    conditions = [sql("outcome IN %s", [*OUTCOME_GROUPS.get(outcome, [outcome])])] if outcome else []
    conditions += [sql("identifier = %s", identifier)] if identifier is not None else []
    lines = log_of(space, list(subscriptions.values_list("pk", flat=True)), since=since)
    return Deliveries(space, lines, conditions, newest=newest)


def identifier_number(space: Space, text: str) -> int | None:
    """The number of `type:value` in the space; None when there is none."""
    type, _, value = text.partition(":")
    return Identifier.objects.filter(space=space, type=type, value=value).values_list("number", flat=True).first()


def identifier_like(space: Space, text: str) -> int | None:
    """The number of `type:value`, or of a bare value of one of the types that stand for people."""
    # First as it stands: `phone:+49…` has a colon, and so may a user id.
    exact = identifier_number(space, text)
    if exact is not None:
        return exact
    # E-mail addresses are stored in lower case, whatever was typed.
    alike = Identifier.objects.filter(space=space, type__in=PEOPLES_TYPES, value__in={text, text.lower()})
    return alike.order_by("number").values_list("number", flat=True).first()


def named_identifiers(space: Space, numbers: Sequence[int]) -> dict[int, dict[str, str]]:
    """{number: {"type", "value"}} of those that still exist, to be shown."""
    rows = Identifier.objects.filter(space=space, number__in=numbers).values_list("number", "type", "value")
    return {number: {"type": type, "value": personal.value(type, value)} for number, type, value in rows}


def count_now(subscription: Subscription) -> dict[str, int]:
    """How many identifiers are desired, acknowledged, unknown, refused and waiting for another try: counted now."""
    return compare_in_full(subscription, desired_members(subscription)).counts


def desired_members(subscription: Subscription) -> BitMap:
    """The people who are to be there, but for `eligible`: those in the audience, and nobody once it ends, or after a
    recall."""
    audience = subscription.audience
    # One rule for both: whoever is to be taken out is whoever is not desired.
    over = audience.ending_at is not None or subscription.recalled_at is not None
    return BitMap() if over else audiences.members_again(audience)


def latest_counts(subscriptions: Iterable[Subscription]) -> dict[int, dict[str, int]]:
    """The same by primary key, as of the newest comparison of each: no query. All 0 before the first."""
    names = ("desired", "acknowledged", "maybe", "refused", "due")
    return {row.pk: {name: row.counts.get(name, 0) for name in names} for row in subscriptions}


DESIRED = """
    SELECT string_agg(int8send(identifier.number), ''::bytea) FROM unnest(%s::bigint[]) AS member(number)
    JOIN identity_identifier identifier ON identifier.space_id = %s AND identifier.profile = member.number
    WHERE identifier.type = ANY(%s)
"""
# Numbers are given in the order in which identifiers came.
ONE_OF = """
    SELECT string_agg(int8send(chosen.number), ''::bytea) FROM (
        SELECT {pick}(identifier.number) AS number FROM unnest(%s::bigint[]) AS member(number)
        JOIN identity_identifier identifier ON identifier.space_id = %s AND identifier.profile = member.number
        WHERE identifier.type = ANY(%s) GROUP BY identifier.profile, identifier.type
    ) AS chosen
"""
PICKED: dict[Which, str] = {"all": DESIRED, "first": ONE_OF.format(pick="min"), "last": ONE_OF.format(pick="max")}
KNOWN = """
    SELECT state, entering, due, refused <> '', string_agg(int8send(identifier), ''::bytea)
    FROM destinations_acknowledged WHERE subscription_id = %s GROUP BY 1, 2, 3, 4
"""


def compare_in_full(subscription: Subscription, members: BitMap) -> Comparison:
    """What is desired against what was acknowledged, in full. members: of the audience.

    As bitmaps: rows would be read for a second where these take a tenth.
    """
    desired = desired_identifiers(subscription, eligible(subscription, members))
    with connection.cursor() as cursor:
        cursor.execute(KNOWN, [subscription.pk])
        known = [
            KnownIdentifiers(state, entering, due, refused, _numbers(packed))
            for state, entering, due, refused, packed in cursor.fetchall()
        ]
    return compare(desired, known, _outdated(subscription))


def desired_identifiers(subscription: Subscription, people: BitMap) -> BitMap:
    """What stands for these people over there: the identifiers of the chosen types, all of each or one."""
    # As text: PostgreSQL reads that far faster than an expression.
    array = "{" + ",".join(map(str, people)) + "}"
    rules, desired = identifier_rules(subscription).values(), BitMap()
    with connection.cursor() as cursor:
        for which, statement in PICKED.items():
            if types := [*named_types(rules, which)]:
                cursor.execute(statement, [array, subscription.space_id, types])
                desired |= _numbers(cursor.fetchone()[0])
    return desired


def eligible(subscription: Subscription, people: BitMap) -> BitMap:
    """Those of these people whom the filters and the consent of the subscription let go there."""
    return people - BitMap(kept_out(subscription, people))


def kept_out(subscription: Subscription, people: BitMap) -> dict[int, str]:
    """By profile number why the filters, or a want of consent, keep these of the people out."""
    rules = sending_of(subscription)
    if not rules.deciding or not people:
        return {}
    traits = traits_of(subscription, people, rules.deciding)
    reasons = {number: rules.kept_out(traits.get(number, {})) for number in people}
    return {number: reason for number, reason in reasons.items() if reason}


# Only the traits that are asked for leave the database: a profile may have hundreds.
TRAITS = """
    SELECT profile.number, (SELECT jsonb_object_agg(trait.key, trait.value) FROM jsonb_each(profile.traits) AS trait
                            WHERE trait.key = ANY(%s))
    FROM unnest(%s::bigint[]) AS person(number)
    JOIN identity_profile profile ON profile.space_id = %s AND profile.number = person.number
"""


def traits_of(subscription: Subscription, people: BitMap, keys: set[str]) -> dict[int, dict[str, Any]]:
    """By profile number the values of these traits, where there are any. A computed one goes before one of events."""
    names, space = roots(keys), subscription.space
    with connection.cursor() as cursor:
        array = "{" + ",".join(map(str, people)) + "}"
        cursor.execute(TRAITS, [[*names], array, space.pk])
        traits = {number: msgspec.json.decode(text) if isinstance(text, str) else text or {} for number, text in cursor}
    computed = ComputedTrait.objects.filter(space=space, key__in=names, deleted_at=None).values_list("pk", "key")
    keys_by_id = dict(computed)
    # After the traits of events, whose place they take where both have the name.
    for trait, values in trait_values.kept_of(space, [*keys_by_id], people).items() if keys_by_id else ():
        for number, value in values.items():
            traits.setdefault(number, {})[keys_by_id[trait]] = msgspec.json.decode(value)
    return traits


SAID = """
    SELECT identifier.number, identifier.profile, acknowledged.value
    FROM destinations_acknowledged acknowledged JOIN identity_identifier identifier
         ON identifier.space_id = %s AND identifier.number = acknowledged.identifier
    WHERE acknowledged.subscription_id = %s AND acknowledged.entering
"""


def _outdated(subscription: Subscription) -> BitMap:
    """Identifiers of which the newest call said another value of a computed trait than their profile has now."""
    trait = subscription.audience_id
    if subscription.audience.kind != Audience.Kind.TRAIT:
        return BitMap()
    # Of everybody: which of a million identifiers differ only a look at all of them tells.
    values = trait_values.kept(subscription.space, trait)
    with connection.cursor() as cursor:
        cursor.execute(SAID, [subscription.space_id, subscription.pk])
        return BitMap(number for number, profile, said in cursor if values.get(profile, said) != said)


UNSETTLED = """
    WITH member AS MATERIALIZED (SELECT number FROM unnest(%s::bigint[]) AS given(number)),
    winner AS (
        SELECT DISTINCT loser.space_id, loser.merged_into AS number FROM member
        JOIN identity_profile loser ON loser.space_id = %s AND loser.number = member.number
        WHERE loser.merged_into IS NOT NULL
        EXCEPT SELECT %s, number FROM member
    )
    SELECT string_agg(int8send(identifier.number), ''::bytea) FROM winner
    JOIN identity_identifier identifier ON identifier.space_id = winner.space_id
         AND identifier.profile = winner.number
"""


def unsettled(subscription: Subscription, members: BitMap) -> BitMap:
    """Identifiers of whoever is no member and a member was merged into, or split from: only the next tick can say who
    is one now."""
    # Nearly always nobody: splits are made by hand.
    moved = moved_since_tick(subscription)
    split = Identifier.objects.filter(space=subscription.space_id, profile__in=[*(moved - members)])
    with connection.cursor() as cursor:
        array = "{" + ",".join(map(str, members)) + "}"
        cursor.execute(UNSETTLED, [array, subscription.space_id, subscription.space_id])
        return _numbers(cursor.fetchone()[0]) | BitMap(split.values_list("number", flat=True) if moved else ())


def moved_since_tick(subscription: Subscription) -> BitMap:
    """Who was split, or put together again, after the newest tick of the space: only the next one knows them."""
    touched = Evaluation.objects.filter(space=subscription.space_id).values_list("touched", flat=True).first()
    return moved_after(subscription.space_id, touched or 0)


def _numbers(packed: memoryview | None) -> BitMap:
    # int8send writes eight bytes, the highest first; a bitmap takes four.
    return BitMap(numpy.frombuffer(packed or b"", ">i8").astype("u4"))


def with_subscriptions(destinations: "QuerySet[Destination]") -> "QuerySet[Destination]":
    """The same, prefetched for `current_subscriptions`: one query more, however many they are."""
    return destinations.prefetch_related("subscriptions__audience")


def current_subscriptions(destination: Destination) -> list[Subscription]:
    """Those of audiences that still exist."""
    # Not filtered by the database: that would pass over what `with_subscriptions` has prefetched.
    return [row for row in destination.subscriptions.all() if row.audience.deleted_at is None]


def sending_of(subscription: Subscription) -> SendingRules:
    """Of whom what is sent."""
    return load_sending(subscription.sending)


def identifier_rules(subscription: Subscription) -> dict[str, IdentifierRule]:
    """{type: how it goes} of the identifiers that stand for a person there; for an account it is its group id."""
    audience = subscription.audience
    known = known_types(subscription.destination, audience.of)
    if audience.of == ACCOUNTS:
        return sending_of(subscription).by_type(known, usual=known)
    # Anonymous ids only where anonymous people count: else each browser of a known person would be sent.
    usual = ("user_id", "email", *(("anonymous_id",) if audience.include_anonymous else ()))
    return sending_of(subscription).by_type(known, usual=usual)


def known_types(destination: Destination, of: str) -> tuple[str, ...]:
    """The types of identifiers that can go there, of these."""
    return (ACCOUNT_TYPE,) if of == ACCOUNTS else adapter_of(destination.kind).capabilities.identifiers


def types_of(subscription: Subscription) -> list[str]:
    """Those types."""
    return [*identifier_rules(subscription)]


def members_at_catcher(destination: Destination, key: str) -> Sequence[tuple[str, str]]:
    """The (type, value) of who is in the audience `key` by what the catcher received, and by nothing else."""
    return tuple(identifier for identifier, _ in catcher.members(destination, key))


def stated_at_catcher(destination: Destination, key: str) -> Sequence[tuple[tuple[str, str], Any]]:
    """The same, each with True, or with the value of a computed trait."""
    return catcher.members(destination, key)


def style_of(destination: Destination) -> str:
    """Whether people go there as events or as a list: as chosen in its settings, or the only way of its kind."""
    adapter = adapter_of(destination.kind)
    chosen = open_sealed(destination.settings).get("style")
    return chosen if chosen in adapter.capabilities.styles else adapter.capabilities.styles[0]


def refusal(destination: Destination, kind: str, of: str) -> str:
    """Why an "audience", or a "trait", of these cannot go there; "" when it can."""
    adapter, as_events = adapter_of(destination.kind), style_of(destination) == "event"
    if of == ACCOUNTS and not (adapter.capabilities.accounts and as_events):
        return NO_ACCOUNTS
    if kind == Audience.Kind.TRAIT and not (adapter.trait_options and as_events):
        return NO_TRAITS
    return ""


def described_settings(destination: Destination) -> list[dict[str, Any]]:
    """The settings that its kind declares."""
    return described(adapter_of(destination.kind).settings)


def catalogue() -> list[dict[str, Any]]:
    """A card for each kind of destination."""
    return [
        {
            "kind": adapter.kind,
            "label": adapter.label,
            "description": adapter.description,
            "credentials": adapter.credentials,
            "styles": list(adapter.capabilities.styles),
            "identifiers": list(adapter.capabilities.identifiers),
            "fields": adapter.capabilities.fields is not None,
            "limits": [asdict(limit) for limit in adapter.capabilities.limits],
            "accounts": adapter.capabilities.accounts,
            "settings": described(adapter.settings),
            "settingsSchema": json_schema(adapter.settings),
            "options": described(adapter.options),
            "optionsSchema": json_schema(adapter.options),
            "traitOptions": described(adapter.trait_options) if adapter.trait_options else None,
            "traitOptionsSchema": json_schema(adapter.trait_options) if adapter.trait_options else None,
        }
        for adapter in all_adapters().values()
    ]
