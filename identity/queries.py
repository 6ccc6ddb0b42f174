"""Who is who, as the tables have it now. Reads only.

Sets of people are sets of profile numbers. A merge leaves the numbers of both; `merged_into` is the last winner's.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.models import OuterRef, Q, QuerySet
from django.db.models.functions import JSONObject
from pyroaring import BitMap

from identity.models import (
    SEARCHED,
    Evidence,
    Identifier,
    Link,
    Merge,
    Profile,
    ProfileNote,
    searched_email,
    searched_name,
)
from identity.rules.policy import DEFAULT_TYPES, policy_of
from sources.models import Source
from spaces.models import Replaced, Space

COLLECTIONS = {"users": Profile.Kind.USER, "accounts": Profile.Kind.ACCOUNT}  # as addresses name them
MANY = 1_000  # of one profile's rows, where all of them are shown at once


def canonical(space: Space, numbers: Iterable[int]) -> dict[int, int]:
    """Of each number the one that is left: itself, or the one it was merged into."""
    wanted = list(numbers)
    with connection.cursor() as cursor:
        # LIMIT keeps a look-up a look-up: without statistics the planner would rather read the whole table.
        cursor.execute(
            """SELECT q.number, p.merged_into FROM unnest(%s::bigint[]) AS q(number)
               CROSS JOIN LATERAL (SELECT merged_into FROM identity_profile
                                   WHERE space_id = %s AND number = q.number LIMIT 1) AS p
               WHERE p.merged_into IS NOT NULL""",
            [_array(wanted), space.pk],
        )
        return {number: number for number in wanted} | dict(cursor.fetchall())


def all_numbers(space: Space, numbers: Iterable[int]) -> BitMap:
    """Every number, losers' and winners', of the persons that these numbers stand for. Of one moment."""
    return _all_numbers(space.pk, BitMap(numbers))


def with_related(space_id: int, numbers: Iterable[int], steps: int) -> BitMap:
    """The same, with whoever is at most so many steps away: from a user to accounts, from an account to its users."""
    reached = _all_numbers(space_id, BitMap(numbers))
    for _ in range(steps):
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT link.account FROM unnest(%(numbers)s::bigint[]) AS q(number)
                   CROSS JOIN LATERAL (SELECT account FROM identity_link
                                       WHERE space_id = %(space)s AND "user" = q.number OFFSET 0) AS link
                   UNION ALL
                   SELECT link.person FROM unnest(%(numbers)s::bigint[]) AS q(number)
                   CROSS JOIN LATERAL (SELECT "user" AS person FROM identity_link
                                       WHERE space_id = %(space)s AND account = q.number OFFSET 0) AS link""",
                {"space": space_id, "numbers": _array(reached)},
            )
            nearer = reached
            reached = _all_numbers(space_id, nearer | BitMap([number for (number,) in cursor.fetchall()]))
        if reached == nearer:
            break
    return reached


def _all_numbers(space_id: int, wanted: BitMap) -> BitMap:
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
            {"space": space_id, "numbers": _array(wanted)},
        )
        return wanted | BitMap([number for (number,) in cursor.fetchall()])


class OwnIdentifier(NamedTuple):
    """An identifier of a profile; both by number."""

    number: int
    type: str
    value: str
    profile: int


def identifiers_of(space_id: int, numbers: Iterable[int], types: Collection[str]) -> list[OwnIdentifier]:
    """What these profiles, named by their canonical numbers, hold of these types; the oldest first."""
    # No model instances: a destination's batch asks for a thousand, and making them took a tenth of its time.
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT i.* FROM unnest(%(numbers)s::bigint[]) AS q(number)
               CROSS JOIN LATERAL (SELECT number, type, value, profile FROM identity_identifier
                                   WHERE space_id = %(space)s AND profile = q.number
                                   AND type = ANY(%(types)s) OFFSET 0) AS i
               ORDER BY i.number""",
            {"space": space_id, "numbers": _array(BitMap(numbers)), "types": list(types)},
        )
        return [OwnIdentifier(*row) for row in cursor.fetchall()]


def identifiers_by_number(space_id: int, numbers: Iterable[int]) -> list[OwnIdentifier]:
    """These identifiers, of those that exist."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT number, type, value, profile FROM identity_identifier
               WHERE space_id = %s AND number = ANY(%s::bigint[])""",
            [space_id, _array(numbers)],
        )
        return [OwnIdentifier(*row) for row in cursor.fetchall()]


def profile_of(space: Space, public_id: str) -> Profile | None:
    """The profile of this id, or the one it was merged into."""
    profile = Profile.objects.filter(space=space, public_id=public_id).first()
    if profile is None or profile.merged_into is None:
        return profile
    return Profile.objects.filter(space=space, number=profile.merged_into).first()


def living(space: Space, kind: Profile.Kind) -> "QuerySet[Profile]":
    """Profiles that were not merged into another one."""
    return Profile.objects.filter(space=space, merged_into=None, kind=kind)


def with_identifiers(rows: "QuerySet[Profile]") -> "QuerySet[Profile]":
    """The same, each with `identifiers`: what it holds as [{"type", "value"}], the oldest first."""
    # One query for a whole page, and no join that would repeat each profile for each of its identifiers.
    identifiers = Identifier.objects.filter(space=OuterRef("space"), profile=OuterRef("number")).order_by("number")
    return rows.annotate(identifiers=ArraySubquery(identifiers.values(one=JSONObject(type="type", value="value"))))


def numbers_of(space: Space, identifiers: Iterable[tuple[str, str]]) -> BitMap:
    """The numbers of the profiles that hold any of these now."""
    return BitMap(holder_numbers(space, identifiers).values())


def holder_numbers(space: Space, identifiers: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The number of the profile that holds each of these now, where one does. One statement, however many they are."""
    types, values = zip(*pairs, strict=True) if (pairs := list(identifiers)) else ((), ())
    with connection.cursor() as cursor:
        # LIMIT keeps a look-up a look-up, as above. 0 is nobody: what was split off, and has no event of its own.
        cursor.execute(
            """SELECT q.type, q.value, holder.profile FROM unnest(%s::text[], %s::text[]) AS q(type, value)
               CROSS JOIN LATERAL (SELECT profile FROM identity_identifier
                                   WHERE space_id = %s AND type = q.type AND value = q.value LIMIT 1) AS holder
               WHERE holder.profile <> 0""",
            [[*types], [*values], space.pk],
        )
        return {(type, value): profile for type, value, profile in cursor.fetchall()}


def holders(space: Space, type: str, value: str) -> "QuerySet[Profile]":
    """The profile that holds this identifier, if any does. E-mail addresses are kept in lower case."""
    value = value.lower() if type == "email" else value  # as `identity.rules.extract` reads them
    identifier = Identifier.objects.filter(space=space, type=type, value=value)
    return Profile.objects.filter(space=space, merged_into=None, number__in=identifier.values("profile"))


def identified(spaces: Collection[Space], text: str) -> "QuerySet[Identifier]":
    """The identifiers of these spaces that this is: a whole value, or `type:value`; capital letters do not count."""
    return identified_by_any(spaces, [text.strip()])


def identified_by_any(spaces: Collection[Space], texts: Collection[str]) -> "QuerySet[Identifier]":
    """The same for several at once."""
    ranks = (policy_of(space.identity_policy).rank for space in spaces)
    values = {*texts, *(text.lower() for text in texts)}
    # All known types are named because the index is (space, type, value): by value alone every row would be read.
    wanted = Q(type__in={*DEFAULT_TYPES, *chain.from_iterable(ranks)}, value__in=values)
    of_type: dict[str, set[str]] = {}
    for text in texts:
        type, _, value = (part.strip() for part in text.partition(":"))
        if value:
            of_type.setdefault(type, set()).update((value, value.lower()))
    for type, own in of_type.items():
        wanted |= Q(type=type, value__in=own)
    return Identifier.objects.filter(wanted, space__in=[space.pk for space in spaces])


def note_of(space: Space, numbers: Iterable[int]) -> ProfileNote | None:
    """The newest note about the person of these numbers."""
    rows = ProfileNote.objects.filter(space=space, number__in=[*numbers]).select_related("changed_by")
    return rows.order_by("-changed_at").first()


def labelled(space: Space, label: str, most: int) -> BitMap:
    """Numbers of profiles with this label, at most so many."""
    rows = ProfileNote.objects.filter(space=space, label=label).values_list("number", flat=True)[:most]
    return BitMap(canonical(space, rows).values())


def called(space: Space, text: str, most: int) -> BitMap:
    """Numbers of profiles that are left and whose name or e-mail address begins with this: at most so many of each."""
    return BitMap(number for rows in _called([space], text) for number in rows.values_list("number", flat=True)[:most])


def called_in(spaces: Iterable[Space], text: str, most: int) -> list[Profile]:
    """The same in several spaces, as profiles. As many queries for twenty spaces as for one."""
    return list({row.pk: row for rows in _called(spaces, text) for row in rows[:most]}.values())


def _called(spaces: Iterable[Space], text: str) -> "list[QuerySet[Profile]]":
    """One look-up by name and one by e-mail address: with OR between them neither index would serve."""
    alive = Profile.objects.filter(space__in=[space.pk for space in spaces], merged_into=None)
    begins = text.lower()[:SEARCHED]
    return [alive.annotate(how=how).filter(how__startswith=begins) for how in (searched_name(), searched_email())]


def identifiers_in_order(profile: Profile) -> "QuerySet[Identifier]":
    """Its identifiers, in the order in which they came."""
    return Identifier.objects.filter(space=profile.space_id, profile=profile.number).order_by("number")


def seen_types(space: Space, types: Sequence[str]) -> set[str]:
    """Those of these types of identifiers that some profile of the space holds. A look into an index for each."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT q.type FROM unnest(%s::text[]) AS q(type)
               WHERE EXISTS (SELECT 1 FROM identity_identifier WHERE space_id = %s AND type = q.type)""",
            [[*types], space.pk],
        )
        return {type for (type,) in cursor.fetchall()}


def merges_of(space: Space, numbers: Iterable[int]) -> "QuerySet[Merge]":
    """How these numbers, all of one person, came together."""
    return Merge.objects.filter(space=space, loser__in=[*numbers])  # each number lost once, so by losers none is missed


def refusals_of(space: Space, numbers: Iterable[int]) -> "QuerySet[Evidence]":
    """The identifier sets of this person of which something was refused, or with which something was set aside."""
    return Evidence.objects.filter(~Q(refused=[]) | ~Q(set_aside=[]), space=space, profile__in=[*numbers])


def relations_of(space: Space, numbers: BitMap) -> "QuerySet[Profile]":
    """The accounts of a user, or the users of an account, as they are now. numbers: all of this profile."""
    links = Link.objects.filter(Q(user__in=[*numbers]) | Q(account__in=[*numbers]), space=space)
    ends = BitMap(number for pair in links.values_list("user", "account") for number in pair) - numbers
    others = BitMap(canonical(space, ends).values()) - numbers
    # As numbers, not as a subquery: without statistics the planner goes through all links for each profile.
    return Profile.objects.filter(space=space, merged_into=None, number__in=[*others])


def public_ids(space: Space, numbers: Iterable[int]) -> dict[int, str]:
    """By number the public id of who it stands for now."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT q.number, coalesce(w.public_id, p.public_id) FROM unnest(%(numbers)s::bigint[]) AS q(number)
               CROSS JOIN LATERAL (SELECT public_id, merged_into FROM identity_profile
                                   WHERE space_id = %(space)s AND number = q.number LIMIT 1) AS p
               LEFT JOIN LATERAL (SELECT public_id FROM identity_profile
                                  WHERE space_id = %(space)s AND number = p.merged_into LIMIT 1) AS w ON true""",
            {"space": space.pk, "numbers": _array(numbers)},
        )
        return dict(cursor.fetchall())


def own_ids(space: Space, numbers: Iterable[int]) -> dict[int, str]:
    """By number its own public id, also when it was merged."""
    return dict(Profile.objects.filter(space=space, number__in=[*numbers]).values_list("number", "public_id"))


def source_ids(ids: Iterable[int | None]) -> dict[int, str]:
    """Public ids of sources; one that was deleted is missing."""
    return dict(Source.objects.filter(pk__in={id for id in ids if id}).values_list("pk", "public_id"))


def _array(numbers: Iterable[int]) -> str:
    """As one literal: PostgreSQL reads that much faster than an expression of 100,000 numbers."""
    return "{" + ",".join(map(str, numbers)) + "}"


def moved_after(space: int, piece: int) -> BitMap:
    """Whom resolve is resolving once more, or has since the batch of this number: readers of that moment mistake them.

    PostgreSQL has it so from Prepare on, ClickHouse only from Commit on.
    """
    replaced = Replaced.objects.filter(log__stage="resolve", log__partition=space)
    rows = replaced.filter(Q(number=None) | Q(number__gt=piece)).values_list("keys", flat=True)
    return BitMap(number for keys in rows for number in keys)
