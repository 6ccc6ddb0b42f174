"""Whether a destination holds whom it should: who differs, why, and how it stands with one person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import OperationalError, connection, transaction
from pyroaring import BitMap

from destinations import queries
from destinations.models import Acknowledged, Subscription
from identity.pages.presenters import Person, people, search
from sources.events.sql import join, sql
from spaces import personal

FIRST = 50  # of those that differ
PEOPLE, IDENTIFIERS = 3, 20  # of whoever a search finds
LONGEST_MS = 5000
IN, MAYBE = Acknowledged.State.IN, Acknowledged.State.MAYBE


@dataclass(frozen=True)
class Differing:
    """An identifier that should be there and is not known to be, or the other way round."""

    type: str
    value: str
    desired: bool
    state: str
    reason: str


@dataclass(frozen=True)
class IdentifierStanding:
    """What is known of one identifier of a person. since: when the newest change was prepared."""

    type: str
    value: str
    state: str
    agrees: bool
    since: datetime | None
    refused: str
    last: queries.Delivery | None


@dataclass(frozen=True)
class PersonCheck:
    """A person that was looked up, and whether they belong there."""

    person: Person
    desired: bool
    standings: Sequence[IdentifierStanding]


DIFFERING = """
    WITH desired AS (SELECT number FROM unnest(%(desired)s::bigint[]) AS identifier(number)), known AS (
        SELECT identifier, state, tries, refused FROM destinations_acknowledged WHERE subscription_id = %(subscription)s
    )
    SELECT coalesce(desired.number, known.identifier) AS identifier, desired.number IS NOT NULL,
           coalesce(known.state, 0), coalesce(known.tries, 0), coalesce(known.refused, '')
    FROM desired FULL JOIN known ON known.identifier = desired.number
    WHERE coalesce(known.state, 0) <> CASE WHEN desired.number IS NULL THEN 0 ELSE 1 END
    ORDER BY coalesce(known.refused, '') = '', 1 LIMIT %(limit)s
"""


def differing(subscription: Subscription, *, limit: int = FIRST) -> list[Differing] | None:
    """The first that differ, refused ones before others. None when it takes too long to find them."""
    members = queries.desired_members(subscription)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # Somebody waits for the page, which shows the counts anyway: the list may be left out.
            cursor.execute(f"SET LOCAL statement_timeout = {LONGEST_MS}")
            desired_numbers = queries.desired_identifiers(subscription, queries.eligible(subscription, members))
            values: dict[str, Any] = {
                "desired": "{" + ",".join(map(str, desired_numbers)) + "}",
                "subscription": subscription.pk,
                "limit": limit,
            }
            cursor.execute(DIFFERING, values)
            rows = cursor.fetchall()
            cursor.execute("SET LOCAL statement_timeout = DEFAULT")
    except OperationalError:
        return None
    names = queries.named_identifiers(subscription.space, [row[0] for row in rows])
    gone = {"type": "", "value": "an identifier that is gone"}
    differences = []
    for number, desired, state, tries, refused in rows:
        name, label = names.get(number, gone), str(Acknowledged.State(state).label)
        reason = _reason(subscription, desired, state, tries, refused)
        differences.append(Differing(name["type"], name["value"], desired, label, personal.text(reason)))
    return differences


def looked_up(subscription: Subscription, text: str) -> list[PersonCheck]:
    """Whoever has this identifier, as `value` or `type:value`, and how it stands with each of theirs."""
    profiles = list(search(subscription.space, text).order_by("number")[:PEOPLE])
    if not profiles:
        return []
    members, types = queries.desired_members(subscription), queries.types_of(subscription)
    # Of these people alone: the filters of a million would be asked for three.
    members -= BitMap(queries.kept_out(subscription, members & BitMap(profile.number for profile in profiles)))
    matches = people(subscription.space, profiles)
    identifiers = {
        person.profile.pk: [identifier for identifier in person.identifiers if identifier.type in types][:IDENTIFIERS]
        for person in matches
    }
    numbers = [identifier.number for own in identifiers.values() for identifier in own]
    acknowledged = {row.identifier: row for row in subscription.acknowledged.filter(identifier__in=numbers)}
    # The newest call about each of these identifiers.
    wanted = sql("identifier IN (%s)", join(", ", [sql("%s", number) for number in numbers]))
    log = queries.Deliveries(subscription.space, queries.log_of(subscription.space, [subscription.pk]), [wanted])
    calls = {call.identifier: call for call in log.newest_by_identifier(len(numbers))} if numbers else {}
    checks = []
    for person in matches:
        desired = person.profile.number in members
        standings = []
        for identifier in identifiers[person.profile.pk]:
            row = acknowledged.get(identifier.number)
            state = Acknowledged.State(row.state) if row else Acknowledged.State.OUT
            standings.append(
                IdentifierStanding(
                    identifier.type,
                    personal.value(identifier.type, identifier.value),
                    str(state.label),
                    agrees=state == (IN if desired else Acknowledged.State.OUT),
                    since=row.at if row else None,
                    refused=personal.text(row.refused) if row else "",
                    last=calls.get(identifier.number),
                )
            )
        checks.append(PersonCheck(person, desired, standings))
    return checks


def _reason(subscription: Subscription, desired: bool, state: int, tries: int, refused: str) -> str:
    """Why it differs: the destination's own words first, then what holds everything up, then what is on its way."""
    if refused:
        return f"Refused: {refused}"
    if subscription.held_back_by:
        what = subscription.held_back_by
        what = subscription.audience.get_kind_display().lower() if what == "audience" else what
        return f"Nothing goes out while the {what} is disabled."
    if subscription.status in (Subscription.Status.SUSPENDED, Subscription.Status.PARKED):
        return f"Nothing goes out: {subscription.error or subscription.get_status_display().lower()}"
    if tries:
        return f"Tried {tries} time{'' if tries == 1 else 's'} without success; it is tried again."
    if state == MAYBE:
        return "A call was made and its answer is not known; it is sent again."
    return "Not sent yet: it goes out with the next calls." if desired else "Still there: that they left goes out next."
