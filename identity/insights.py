"""What a space's evidence says about its rules. Reads only.

The kept evidence has each set of identifiers once, with when it was seen first; so a day counts the sets that came new
on it, and not every event that carried one of them again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection

from identity.queries import public_ids
from identity.rules.graph import ACCOUNT_TYPE
from identity.rules.insights import (
    ADVISED,
    MOST_BLOCKED,
    MOST_OVER,
    Hub,
    Recommendation,
    Times,
    kind_of,
    recommendations,
)
from identity.rules.policy import policy_of
from spaces.models import Space

DAYS = 30
MOST_HUBS, MOST_LARGE = 20, 10
Days = dict[date, int]


@dataclass(frozen=True)
class TypeInsight:
    """How many identifiers of a type somebody has, and how many of them are all that is known of somebody."""

    type: str
    identifiers: int
    alone: int


@dataclass(frozen=True)
class LargestProfile:
    id: str
    identifiers: int


@dataclass(frozen=True)
class SpaceInsights:
    """violations: by kind, new sets of identifiers by day. merges: by day of the event. ids: of profiles by number."""

    since: datetime
    violations: dict[str, Days]
    merges: Days
    hubs: Sequence[Hub]
    largest: Sequence[LargestProfile]
    types: Sequence[TypeInsight]
    recommended: Sequence[Recommendation]
    ids: dict[int, str]


def insights_of(space: Space, now: datetime) -> SpaceInsights:
    """Of the last thirty days where it says when; else of all that is kept. Reads the space's evidence once."""
    # Whole days, so that the first bar of a chart is not half of one.
    since = (now - timedelta(days=DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    violations: dict[str, Days] = {}
    for day, reason, sets in _violations(space, since):
        days = violations.setdefault(kind_of(reason), {})
        days[day] = days.get(day, 0) + sets
    hubs = _hubs(space)
    numbers = _rows(
        """SELECT profile, count(*) AS own FROM identity_identifier WHERE space_id = %s AND profile <> 0
           GROUP BY profile ORDER BY own DESC, profile LIMIT %s""",
        [space.pk, MOST_LARGE],
    )
    # One look-up for both lists. Whoever was erased meanwhile has no id any more, and is left out below.
    ids = public_ids(space, {number for number, _ in numbers} | {hub.profile for hub in hubs if hub.profile})
    return SpaceInsights(
        since=since,
        violations=violations,
        merges=dict(
            _rows(
                """SELECT (at AT TIME ZONE 'UTC')::date, count(*) FROM identity_merge
                   WHERE space_id = %s AND at >= %s GROUP BY 1 ORDER BY 1""",
                [space.pk, since],
            )
        ),
        hubs=hubs[:MOST_HUBS],
        largest=[LargestProfile(ids[number], own) for number, own in numbers if number in ids],
        types=_types(space),
        recommended=recommendations(policy_of(space.identity_policy), hubs, _over_limits(space)),
        ids=ids,
    )


# By day and reason in the store: a space may have millions of sets, and a page shows thirty bars.
def _violations(space: Space, since: datetime) -> list[tuple[date, str, int]]:
    return _rows(
        """SELECT (e.first_seen_at AT TIME ZONE 'UTC')::date, one ->> 2, count(*) FROM identity_evidence e
           CROSS JOIN LATERAL jsonb_array_elements(e.refused || e.set_aside) AS one
           WHERE e.space_id = %s AND e.first_seen_at >= %s AND (e.refused <> '[]' OR e.set_aside <> '[]')
           GROUP BY 1, 2 ORDER BY 1, 2""",
        [space.pk, since],
    )


def _hubs(space: Space) -> list[Hub]:
    """The identifiers that would have joined most different sets to somebody else's."""
    # The holder is looked up for the few that are left, not joined before they are counted.
    rows = _rows(
        """WITH hub AS (
               SELECT one ->> 0 AS type, one ->> 1 AS value, count(*) AS sets, sum(e.events) AS events
               FROM identity_evidence e
               CROSS JOIN LATERAL (SELECT e.refused -> -1 AS one) AS last  -- identity.rules.insights.is_shared
               WHERE e.space_id = %(space)s AND e.refused <> '[]' AND one ->> 2 LIKE '%% allows %%'
               AND split_part(one ->> 2, ' allows ', 1) NOT IN ('a profile', one ->> 0) GROUP BY 1, 2
               ORDER BY sets DESC, events DESC, type, value LIMIT %(most)s)
           SELECT hub.type, hub.value, holder.number, hub.sets, hub.events, coalesce(holder.profile, 0) FROM hub
           LEFT JOIN LATERAL (SELECT number, profile FROM identity_identifier
                              WHERE space_id = %(space)s AND type = hub.type AND value = hub.value LIMIT 1) AS holder
           ON true ORDER BY hub.sets DESC, hub.events DESC, hub.type, hub.value""",
        {"space": space.pk, "most": MOST_BLOCKED},
    )
    return [
        Hub((type, value), number, sets, int(events), profile) for type, value, number, sets, events, profile in rows
    ]


def _over_limits(space: Space) -> Mapping[int, Times]:
    """Of people who broke a limit of a type whose values change, everything of these types that came with them."""
    rows = _rows(
        """WITH person AS (
               SELECT DISTINCT coalesce(p.merged_into, p.number) AS number FROM identity_evidence e
               CROSS JOIN LATERAL jsonb_array_elements(e.refused) AS one
               JOIN identity_profile p ON p.space_id = e.space_id AND p.number = e.profile
               WHERE e.space_id = %(space)s AND e.refused <> '[]'
               AND split_part(one ->> 2, ' allows ', 1) = ANY(%(types)s) ORDER BY number LIMIT %(most)s)
           SELECT person.number, one ->> 0, one ->> 1, (extract(epoch FROM min(e.first_seen_at)) * 1000)::bigint
           FROM person
           CROSS JOIN LATERAL (SELECT number FROM identity_profile
                               WHERE space_id = %(space)s AND (number = person.number OR merged_into = person.number)
                               OFFSET 0) AS own
           CROSS JOIN LATERAL (SELECT identifiers, first_seen_at FROM identity_evidence
                               WHERE space_id = %(space)s AND profile = own.number OFFSET 0) AS e
           CROSS JOIN LATERAL jsonb_array_elements(e.identifiers) AS one
           WHERE one ->> 0 = ANY(%(types)s) GROUP BY 1, 2, 3""",
        {"space": space.pk, "types": [*ADVISED], "most": MOST_OVER},
    )
    people: dict[int, dict[str, list[int]]] = {}
    for number, type, _, at in rows:
        people.setdefault(number, {}).setdefault(type, []).append(at)
    return people


def _types(space: Space) -> list[TypeInsight]:
    # min(type) is the type of the only one, where there is one.
    rows = _rows(
        """WITH own AS (SELECT profile, count(*) AS count, min(type) AS type FROM identity_identifier
                        WHERE space_id = %(space)s AND profile <> 0 GROUP BY profile),
           alone AS (SELECT type, count(*) AS count FROM own WHERE count = 1 GROUP BY type)
           SELECT i.type, count(*), coalesce(max(alone.count), 0) FROM identity_identifier i
           LEFT JOIN alone ON alone.type = i.type WHERE i.space_id = %(space)s AND i.profile <> 0
           AND i.type <> %(account)s
           GROUP BY i.type ORDER BY i.type""",
        {"space": space.pk, "account": ACCOUNT_TYPE},
    )
    return [TypeInsight(*row) for row in rows]


def _rows(statement: str, parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
