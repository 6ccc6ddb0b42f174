"""What pages and the API show of audiences: status, sentence, members and changes, ready to be shown."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import overload

from django.db import connection
from django.db.models import Case, F, OuterRef, Prefetch, Q, QuerySet, Subquery, When
from pyroaring import BitMap

from audiences import grammar, queries
from audiences.models import Audience, Change, Evaluation, Version
from identity.models import Profile
from identity.profile_page import Person, people
from identity.queries import canonical
from spaces.models import Space

Status = Audience.Status
MOST_SIZES = 30
PENDING = {Version.State.COMPUTING, Version.State.CATCHING_UP}


@dataclass(frozen=True)
class Overview:
    """An audience with its newest version. It serves as soon as it is computed; until then an older one may."""

    audience: Audience
    version: Version

    @property
    def status(self) -> Status:
        """Live as long as a version serves, unless that is the very one that no longer can be evaluated."""
        if not self.audience.enabled:
            return Status.DISABLED
        if self.version.state == Version.State.FAILED and self.audience.serving_id in (None, self.version.pk):
            return Status.FAILED
        return Status.COMPUTING if self.audience.serving_id is None else Status.LIVE

    @property
    def updating(self) -> bool:
        """Whether a newer version is being computed while an older one serves."""
        return self.status == Status.LIVE and self.version.state in PENDING

    @property
    def sentence(self) -> str:
        node = grammar.parse(self.version.definition)
        audience = self.audience
        return grammar.sentence(node, include_anonymous=audience.include_anonymous, since=audience.events_since)


@dataclass(frozen=True)
class Member:
    """A person in an audience. Identifiers as (type, value)."""

    profile_id: str
    identifiers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Standing:
    """Who is in an audience at one moment. tick: when that last changed. as_of: up to when that is known."""

    members: BitMap
    tick: int
    as_of: datetime | None


@dataclass(frozen=True)
class Moved:
    """Some of those who entered or left."""

    count: int
    profile_ids: Sequence[str] = field(default_factory=list)


def audiences_of(space: Space) -> QuerySet[Audience]:
    """Those that are not deleted, each with what `overview` needs."""
    newest = Version.objects.defer("snapshot").order_by("audience", "-number").distinct("audience")
    found = Audience.objects.filter(space=space, deleted_at=None).select_related("created_by")
    return found.prefetch_related(Prefetch("versions", newest, to_attr="newest"))


def listed(space: Space) -> QuerySet[Audience]:
    """Those that are not deleted, with what a list is sorted by: `rank` of the status, and `changed_at`.

    rank: what needs somebody first, so failed, computing, updating, live, disabled. It is `Overview` as SQL.
    """
    newest = Version.objects.filter(audience=OuterRef("pk")).order_by("-number")
    changes = Change.objects.filter(audience=OuterRef("pk")).order_by("-tick", "-pk")
    stands = Q(serving=None) | Q(serving=F("newest_pk"))
    rank = Case(
        When(enabled=False, then=4),
        When(stands, newest_state=Version.State.FAILED, then=0),
        When(serving=None, then=1),
        When(newest_state__in=PENDING, then=2),
        default=3,
    )
    found = audiences_of(space).annotate(
        newest_pk=Subquery(newest.values("pk")[:1]), newest_state=Subquery(newest.values("state")[:1])
    )
    return found.annotate(rank=rank, changed_at=Subquery(changes.values("at")[:1]))


SIZES = """
    SELECT page.audience, kept.at, kept.size FROM unnest(%s::bigint[]) AS page(audience)
    CROSS JOIN LATERAL (
        SELECT tick, id, at, size FROM audiences_change WHERE audience_id = page.audience
        ORDER BY tick DESC, id DESC LIMIT %s
    ) AS kept
    ORDER BY kept.tick, kept.id
"""


def sizes_of(audiences: Iterable[Audience]) -> dict[int, list[tuple[datetime, int]]]:
    """By primary key: when the audience last changed and how many were in it afterwards, oldest first.

    One query, which reads MOST_SIZES rows of each however many there are; a window function would read them all.
    """
    found: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(SIZES, [[audience.pk for audience in audiences], MOST_SIZES])
        for pk, at, size in cursor.fetchall():
            found[pk].append((at, size))
    return found


def overview(audience: Audience) -> Overview:
    """Of one that `audiences_of` found."""
    (newest,) = audience.newest  # type: ignore[attr-defined]
    return Overview(audience, newest)


def as_of(space: Space) -> datetime | None:
    """The moment up to which the space's audiences are evaluated."""
    return queries.newest_tick(space)[1]


def standing(audience: Audience) -> Standing:
    """Members, tick and moment that belong together, however many ticks are published meanwhile."""
    while True:
        before = _place(audience)
        members = queries.members(audience)
        if _place(audience) == before:
            return Standing(members, *before)


class Members(Sequence[Member]):
    """The people with these numbers, by number, read a slice at a time. Whoever was merged since is the winner."""

    def __init__(self, space: Space, numbers: BitMap, *, with_identifiers: bool = False) -> None:
        self._space, self._numbers, self._with_identifiers = space, numbers, with_identifiers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Member: ...
    @overload
    def __getitem__(self, index: slice) -> list[Member]: ...
    def __getitem__(self, index: int | slice) -> Member | list[Member]:
        if isinstance(index, int):
            return self[index : index + 1][0]
        profiles = _profiles(self._space, self._once(self._numbers[index]))
        if not self._with_identifiers:
            return [Member(profile.public_id) for profile in profiles]
        return [Member(each.profile.public_id, _pairs(each)) for each in people(self._space, profiles)]

    def _once(self, numbers: BitMap) -> BitMap:
        """The numbers that are left. A winner that is a member itself is shown in its own place only."""
        now = canonical(self._space, numbers)
        return BitMap(now[each] for each in numbers if now[each] == each or now[each] not in self._numbers)


def sample(space: Space, members: BitMap, size: int) -> list[Person]:
    """At most `size` of the members, spread evenly from the oldest profile to the newest."""
    count = min(size, len(members))
    chosen = BitMap(members[place * len(members) // count] for place in range(count))
    return people(space, _profiles(space, chosen))


def moved(space: Space, kept: bytes | memoryview, most: int) -> Moved:
    """The people of one side of a change, by the ids that they have now."""
    numbers = queries.bitmap(kept)
    first = numbers[:most]
    now = canonical(space, first)
    return Moved(len(numbers), [each.public_id for each in _profiles(space, BitMap(now.values()))])


def _place(audience: Audience) -> tuple[int, datetime | None]:
    """When its members last changed, and up to when they are evaluated: of one moment, so one statement."""
    changes = Change.objects.filter(audience=audience, space=OuterRef("space")).order_by("-tick")
    places = Evaluation.objects.filter(space=audience.space_id).annotate(tick=Subquery(changes.values("tick")[:1]))
    tick, at = places.values_list("tick", "clock_at").first() or (None, None)
    return tick or 0, at


def _profiles(space: Space, numbers: Iterable[int]) -> list[Profile]:
    return list(Profile.objects.filter(space=space, number__in=list(numbers)).order_by("number"))


def _pairs(person: Person) -> list[tuple[str, str]]:
    return [(each.type, each.value) for each in person.identifiers]
