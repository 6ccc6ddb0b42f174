"""Who is who, as the tables have it now. Reads only.

Sets of people are sets of profile numbers. A merge leaves the numbers of both; `merged_into` is the last winner's.
"""

from collections.abc import Collection, Iterable

from django.db import connection
from pyroaring import BitMap

from identity.models import Identifier, Profile
from spaces.models import Space


def canonical(space: Space, numbers: Iterable[int]) -> dict[int, int]:
    """Of each number the one that is left: itself, or the one it was merged into."""
    wanted = list(numbers)
    return dict(zip(wanted, wanted, strict=True)) | _winners(space, wanted)


def all_numbers(space: Space, numbers: Iterable[int]) -> BitMap:
    """Every number, losers' and winners', of the persons that these numbers stand for. Of one moment."""
    wanted = BitMap(numbers)
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH winner AS MATERIALIZED (
                   SELECT DISTINCT p.merged_into AS number FROM unnest(%(numbers)s::bigint[]) AS q(number)
                   CROSS JOIN LATERAL (SELECT merged_into FROM identity_profile
                                       WHERE space_id = %(space)s AND number = q.number LIMIT 1) AS p
                   WHERE p.merged_into IS NOT NULL),
               person AS (SELECT number FROM winner UNION SELECT unnest(%(numbers)s::bigint[]))
               SELECT number FROM winner
               UNION ALL
               SELECT loser.number FROM person
               CROSS JOIN LATERAL (SELECT number FROM identity_profile
                                   WHERE space_id = %(space)s AND merged_into = person.number OFFSET 0) AS loser""",
            {"space": space.pk, "numbers": _array(wanted)},
        )
        return wanted | BitMap([number for (number,) in cursor.fetchall()])


def identifiers_of(space_id: int, numbers: Iterable[int], types: Collection[str]) -> list[Identifier]:
    """What these profiles, named by their canonical numbers, hold of these types; the oldest first."""
    statement = """SELECT i.* FROM unnest(%(numbers)s::bigint[]) AS q(number)
                   CROSS JOIN LATERAL (SELECT * FROM identity_identifier
                                       WHERE space_id = %(space)s AND profile = q.number
                                       AND type = ANY(%(types)s) OFFSET 0) AS i
                   ORDER BY i.number"""
    parameters = {"space": space_id, "numbers": _array(BitMap(numbers)), "types": list(types)}
    return list(Identifier.objects.raw(statement, parameters))


def profile_of(space: Space, public_id: str) -> Profile | None:
    """The profile of this id, or the one it was merged into."""
    found = Profile.objects.filter(space=space, public_id=public_id).first()
    if found is None or found.merged_into is None:
        return found
    return Profile.objects.filter(space=space, number=found.merged_into).first()


def _winners(space: Space, numbers: Iterable[int]) -> dict[int, int]:
    """Of those that were merged, into which."""
    with connection.cursor() as cursor:
        # LIMIT keeps a look-up a look-up: without statistics the planner would rather read the whole table.
        cursor.execute(
            """SELECT q.number, p.merged_into FROM unnest(%s::bigint[]) AS q(number)
               CROSS JOIN LATERAL (SELECT merged_into FROM identity_profile
                                   WHERE space_id = %s AND number = q.number LIMIT 1) AS p
               WHERE p.merged_into IS NOT NULL""",
            [_array(numbers), space.pk],
        )
        return dict(cursor.fetchall())


def _array(numbers: Iterable[int]) -> str:
    """As one literal: PostgreSQL reads that much faster than an expression of 100,000 numbers."""
    return "{" + ",".join(map(str, numbers)) + "}"
