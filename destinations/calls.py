"""Which calls a batch makes, prepared and marked MAYBE before the first of them goes out."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection
from django.db.models import Q
from pyroaring import BitMap

from audiences.models import Audience
from destinations import queries
from destinations.intake import Recipients, SyncIntake, desired_states
from destinations.models import Acknowledged, Subscription
from destinations.rules import backoff
from destinations.rules.comparison import KnownState, NextCall, next_call
from destinations.rules.contract import Address, IdentifierChange
from destinations.rules.mapping import MappingFacts
from destinations.rules.sending import SendingRules
from identity.queries import identifiers_by_number
from spaces.among import among
from spaces.times import from_milliseconds, iso, milliseconds


class FilteredCall(msgspec.Struct, array_like=True):
    """Somebody entered who does not go there, and why. Stored as an array, as DecidedCall is."""

    identifier: int
    profile: int
    reason: str


class DecidedCall(msgspec.Struct, array_like=True):
    """A call about one identifier. Stored as an array: fields may be added at the end, and none removed.

    at: ms. was: the acknowledged state before. alone: it failed before while others got through.
    """

    identifier: int
    profile: int
    entering: bool
    flip: int
    at: int
    was: int
    sent: Recipients
    alone: bool = False
    value: str = ""  # of a computed trait, as JSON text
    fields: str = ""  # what goes besides, as JSON text


def decide_calls(subscription: Subscription, intake: SyncIntake, now: datetime) -> list[DecidedCall]:
    """The calls that bring the destination nearer to what is desired, marked MAYBE; in the caller's transaction."""
    rows = Acknowledged.objects.filter(among("identifier", intake.numbers), subscription=subscription)
    acknowledged = {row.identifier: row for row in rows.select_for_update()}
    calls: dict[int, NextCall] = {}
    settled: list[int] = []
    unsettled: list[int] = []
    for number in intake.numbers:
        row, desired = acknowledged.get(number), intake.desired[number]
        known = KnownState(row.state, row.entering, row.flip, row.due) if row else None
        outdated = row is not None and row.value != intake.values.get(number, row.value)
        call = next_call(known, desired, due_now=number in intake.due, outdated=outdated)
        if call:
            calls[number] = call
        elif row and (row.due or row.refused) and desired is not None and row.state == int(desired) and not outdated:
            settled.append(row.pk)
        elif row and number in intake.due:
            unsettled.append(row.pk)
    Acknowledged.objects.filter(pk__in=settled).update(due=False, refused="", tries=0, retry_at=None)
    Acknowledged.objects.filter(pk__in=unsettled).update(retry_at=now + backoff.FIRST)

    leaving = [acknowledged[number] for number, call in calls.items() if not call.entering]
    staying = _still_desired(subscription, leaving, intake.members)
    # A receiver believes the newest call about somebody, by its timestamp: none may be older than an earlier call,
    # even when the clock was put back.
    at = milliseconds(max(now, subscription.said_at or now))
    decided = [
        _decided_call(number, call, acknowledged.get(number), intake, staying, at) for number, call in calls.items()
    ]
    rules = queries.sending_of(subscription)
    decided = [
        # A repetition says again what it said, byte for byte: its fields are those of then.
        call
        if calls[call.identifier].again or not rules.fills
        else filled(subscription, call, rules, intake.traits.get(call.profile, {}))
        for call in decided
    ]
    if decided:
        newest = from_milliseconds(max(call.at for call in decided))
        Subscription.objects.filter(pk=subscription.pk).update(said_at=newest)
        # Committed before anything is sent, so that a crash in between is known as one.
        with connection.cursor() as cursor:
            cursor.execute(
                MARK_MAYBE,
                {
                    "workspace": subscription.workspace_id,
                    "subscription": subscription.pk,
                    "maybe": Acknowledged.State.MAYBE,
                    "calls": msgspec.json.encode([msgspec.structs.asdict(call) for call in decided]).decode(),
                },
            )
    return decided


def filtered_calls(intake: SyncIntake, calls: Sequence[DecidedCall]) -> list[FilteredCall]:
    """Whoever of a pass is kept out, for all to see why nothing was sent. Who leaves because of it is in `calls`."""
    if intake.before.pass_tick is None and intake.before == intake.after:
        return []
    going = {call.identifier for call in calls}
    kept_out = {
        number: reason for number, reason in intake.kept_out.items() if number not in going and number not in intake.due
    }
    return [FilteredCall(number, intake.owners[number], reason) for number, reason in kept_out.items()]


def message_id(subscription: Subscription, call: DecidedCall) -> str:
    """(subscription, identifier, transition): the same on every attempt."""
    return f"{subscription.public_id}-{call.identifier}-{call.flip}"


def change_of(subscription: Subscription, call: DecidedCall) -> IdentifierChange:
    """The call as adapters read it."""
    value = msgspec.json.decode(call.value) if call.value else None
    fields = msgspec.json.decode(call.fields) if call.fields else {}
    id, at = message_id(subscription, call), from_milliseconds(call.at)
    return IdentifierChange(id, call.entering, at, address_of(call.sent), call.profile, value, fields)


def address_of(recipients: Recipients) -> Address:
    """Whom a call is about, as adapters read it."""
    values = {type: value for type, (_, value) in recipients.items()}
    user_id, anonymous_id, email = (values.pop(type, None) for type in ("user_id", "anonymous_id", "email"))
    return Address(user_id, anonymous_id, email, values)


def filled(
    subscription: Subscription, call: DecidedCall, rules: SendingRules, traits: Mapping[str, Any]
) -> DecidedCall:
    """The call with what goes besides, made of these traits of the person."""
    audience = subscription.audience
    value = msgspec.json.decode(call.value) if call.value else None
    facts = MappingFacts(
        traits=traits,
        properties={
            "key": audience.key,
            "name": audience.name,
            "id": audience.public_id,
            "kind": audience.kind,
            "space": subscription.space.public_id,
            "entering": call.entering,
            "value": value if audience.kind == Audience.Kind.TRAIT else call.entering,
            "at": iso(from_milliseconds(call.at)),
        },
        identifiers={type: value for type, (_, value) in call.sent.items()},
    )
    # Kept with the call: a repetition must not say what has become true since.
    fields = rules.filled(facts)
    return msgspec.structs.replace(call, fields=msgspec.json.encode(fields).decode() if fields else "")


def call_of(row: Acknowledged) -> DecidedCall:
    """The newest call about an identifier, as it was decided."""
    sent = {type: (number, value) for type, (number, value) in row.sent.items()}
    at = milliseconds(row.at)
    return DecidedCall(
        row.identifier, row.profile, row.entering, row.flip, at, row.state, sent, value=row.value, fields=row.fields
    )


def everyone_besides(subscription: Subscription, numbers: Set[int]) -> Iterator[IdentifierChange]:
    """Whoever is there, or may be, and is to stay, without these identifiers, which a batch is about."""
    # Who left and came back before anything arrived is there, though the newest call was to say that they left.
    back = Q(state=Acknowledged.State.IN, due=False, refused="")
    rows = Acknowledged.objects.filter(Q(entering=True) | back, subscription=subscription)
    for row in rows.exclude(state=Acknowledged.State.OUT).order_by("identifier").iterator(chunk_size=5000):
        if row.identifier not in numbers:
            yield replace(change_of(subscription, call_of(row)), entering=True)


def _still_desired(subscription: Subscription, leaving: Sequence[Acknowledged], members: BitMap) -> set[int]:
    """Identifiers that were sent along with one that leaves, and that stay themselves.

    After an e-mail address went to someone else, "leave: u1 with that address" would take u1 out.
    """
    beside = {number for row in leaving for number, _ in row.sent.values() if number != row.identifier}
    if not beside:
        return set()
    existing = identifiers_by_number(subscription.space_id, beside)
    owners = {row.number: (row.type, row.profile) for row in existing}
    states = desired_states(subscription, members, owners)
    return {number for number, desired in states.items() if desired is not False}


def _decided_call(
    number: int, call: NextCall, row: Acknowledged | None, intake: SyncIntake, staying: set[int], at: int
) -> DecidedCall:
    """The call with its recipients and its timestamp. row: what was acknowledged. staying: see `_still_desired`."""
    sent = intake.recipients.get(number, {})
    if row and (call.again or not call.entering):  # exits go to exactly what was sent
        sent = {type: (other, value) for type, (other, value) in row.sent.items()}
    if row and call.again:
        at = milliseconds(row.at)
    elif row:  # even when the clock stands still, a later transition has a later time
        at = max(at, milliseconds(row.at) + 1)
    if not call.entering and not call.again:
        sent = {type: pair for type, pair in sent.items() if pair[0] == number or pair[0] not in staying}
    profile = intake.owners.get(number, row.profile if row else 0)
    was = row.state if row else Acknowledged.State.OUT
    if call.entering and was == Acknowledged.State.IN:  # with a value that is no longer right
        was = Acknowledged.State.MAYBE
    alone = row is not None and row.flip == call.flip and row.retry_at is not None
    value = row.value if row and call.again else intake.values.get(number, "") if call.entering else ""
    fields = row.fields if row and call.again else ""
    return DecidedCall(number, profile, call.entering, call.flip, at, was, sent, alone, value, fields)


# All calls as one text: as an array of each column, to write them down for PostgreSQL took longer than to decide them.
MARK_MAYBE = """
    INSERT INTO destinations_acknowledged
        (workspace_id, subscription_id, identifier, state, entering, flip, at, profile, sent, value, fields, due, tries,
         refused)
    SELECT %(workspace)s, %(subscription)s, call.identifier, %(maybe)s, call.entering, call.flip,
           timestamptz 'epoch' + call.at * interval '1 millisecond', call.profile, call.sent, call.value, call.fields,
           true, 0, ''
    FROM json_to_recordset(%(calls)s::json) AS call(identifier bigint, entering bool, flip int, at bigint,
                                                    profile bigint, sent jsonb, value text, fields text)
    ON CONFLICT (subscription_id, identifier) DO UPDATE
    SET state = excluded.state, entering = excluded.entering, flip = excluded.flip, at = excluded.at,
        profile = excluded.profile, sent = excluded.sent, value = excluded.value, fields = excluded.fields,
        due = excluded.due
"""
