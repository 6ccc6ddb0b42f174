"""What pages and the API show of audiences: status, sentence, members and changes, ready to be shown."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, overload

from django.db import connection
from django.db.models import Case, F, Func, OuterRef, Prefetch, Q, QuerySet, Subquery, When
from django.db.models.functions import Coalesce
from django.utils.timesince import timesince
from pyroaring import BitMap

from audiences import queries
from audiences.models import Audience, Change, Evaluation, Version
from audiences.rules import grammar
from audiences.rules.labels import LONGEST_LABEL
from audiences.rules.validation import DefinitionError
from identity.models import Profile
from identity.pages.presenters import Person, people
from identity.queries import canonical
from spaces.models import Space

Status = Audience.Status
TRAIT = Audience.Kind.TRAIT
MOST_SIZES = 30
UNREADABLE = "This version of Personas cannot read what this asks for."
AILING = {Status.FAILED: "which failed", Status.BEHIND: "which is behind"}
PUT_BACK_SHOWN = timedelta(days=7)
PENDING = {Version.State.COMPUTING, Version.State.CATCHING_UP}


@dataclass(frozen=True)
class Problem:
    """Why an audience is not what it is to be, since when, and when it is tried again, if that is known."""

    reason: str
    since: datetime | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True)
class Overview:
    """An audience with its newest version. It serves as soon as it is computed; until then an older one may.

    neighbours: what it may ask about.
    """

    audience: Audience
    version: Version
    neighbours: "Neighbours"

    @property
    def status(self) -> Status:
        """That of the version that serves, whatever becomes of a newer one; of the newest when none does."""
        serving = self.audience.serving
        if not self.audience.enabled:
            return Status.DISABLED
        # Before "serving is None": one that failed before it ever served has failed, and does not compute.
        if (serving or self.version).state == Version.State.FAILED:
            return Status.FAILED
        if serving is None:
            return Status.COMPUTING if self._lacking is None else Status.WAITING
        return Status.LIVE if serving.state == Version.State.LIVE else Status.BEHIND

    @property
    def updating(self) -> bool:
        """Whether a newer version is being computed while an older one serves."""
        return self.status == Status.LIVE and self.version.state in PENDING

    @property
    def computed(self) -> bool:
        """Whether it is known who is in it."""
        return self.audience.serving is not None

    @property
    def exact_at(self) -> datetime | None:
        """When the people were as they are shown, of one that does not keep up; None = they are as of now."""
        return None if self.audience.serving is None else self.audience.serving.exact_at

    @property
    def problem(self) -> Problem | None:
        """Its own, or that of an audience that it asks about."""
        if not self.audience.enabled:
            return None
        # Its own first: what is wrong with the others is no news while it cannot be worked out itself.
        if own := self._own_problem:
            return own
        if self._lacking:
            return Problem(f"It waits for {self._waits_for()}.")
        stale = next(self._unwell, None)
        return (
            None
            if stale is None
            else Problem(f"It asks about {stale.ailing}. It takes the people who were in that last.")
        )

    @property
    def sentence(self) -> str:
        return sentence_of(self.audience, self.version.definition)

    @property
    def ailing(self) -> str:
        """Its name, and what is wrong with it."""
        if self.audience.deleted_at is not None:
            return f"{self.audience.name}, which was deleted"
        if not self.audience.enabled:
            return f"{self.audience.name}, which is disabled"
        own = self._own_problem
        why = AILING.get(self.status, "which is not computed yet")
        # To be read behind "It asks about" and "It waits for".
        return f"{self.audience.name}, {why}{': ' + own.reason.rstrip('.') if own else ''}"

    @property
    def _own_problem(self) -> Problem | None:
        # The one that serves first: people are shown by it, whatever becomes of a newer one.
        for version in (self.audience.serving, self.version):
            if version is not None and version.error and version.state != Version.State.LIVE:
                return Problem(version.error, version.failing_since, version.retry_at)
        return None

    @property
    def _unwell(self) -> "Iterator[Overview]":
        """Those that it asks about and that do not keep up."""
        asked = sorted(grammar.audiences_in(self.version.definition))
        return (self.neighbours.unwell[key] for key in asked if key in self.neighbours.unwell)

    @cached_property
    def _lacking(self) -> "Overview | None":
        """The audience without which it cannot be computed."""
        return None if self.computed else next((audience for audience in self._unwell if not audience.computed), None)

    def _waits_for(self) -> str:
        """Whom it waits for, whom that waits for in turn, and what is wrong with the last of them."""
        way, lacking = [], self._lacking
        # Ends also in a circle, which no service accepts, but an older release may have kept.
        while lacking and lacking not in way:
            way.append(lacking)
            lacking = lacking._lacking
        *names, last = [*(waiting.audience.name for waiting in way[:-1]), way[-1].ailing]
        return ", which waits for ".join([*names, last])


class Neighbours:
    """The audiences of a space that do not keep up, by key. Read at the first question, for all who ask."""

    def __init__(self, space: int) -> None:
        self._space = space

    @cached_property
    def unwell(self) -> dict[str, Overview]:
        # Only those that are not well: a space has thousands of audiences, of which few are.
        well = Q(enabled=True, deleted_at=None, serving__state=Version.State.LIVE)
        rows = _with_versions(Audience.objects.exclude(well).filter(space=self._space))
        return {audience.key: overview(audience, self) for audience in rows}


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
class PutBack:
    """When the clock was seen to have run ahead, and by how much, in words."""

    at: datetime
    by: str


@dataclass(frozen=True)
class MovedProfiles:
    """Some of those who entered or left."""

    count: int
    profile_ids: Sequence[str] = field(default_factory=list)


def sentence_of(audience: Audience, definition: Any) -> str:
    """What one of its definitions says, in words."""
    try:
        if audience.kind == Audience.Kind.TRAIT:
            return grammar.trait_sentence(grammar.parse_trait(definition), of=audience.of, since=audience.events_since)
        node = grammar.parse(definition)
    except DefinitionError:
        return UNREADABLE
    return grammar.sentence(
        node, of=audience.of, include_anonymous=audience.include_anonymous, since=audience.events_since
    )


def audiences_of(space: Space) -> QuerySet[Audience]:
    """Those that are not deleted, each with what `overview` needs."""
    return _with_versions(Audience.objects.filter(space=space, deleted_at=None).select_related("created_by"))


def traits_of(space: Space) -> QuerySet[Audience]:
    """The computed traits that are not deleted, in the same way."""
    return _with_versions(
        Audience.everything.filter(kind=TRAIT, space=space, deleted_at=None).select_related("created_by")
    )


def labelled(audiences: QuerySet[Audience], label: str) -> QuerySet[Audience]:
    """Those that have this label; all of them when it is ""."""
    if len(label) > LONGEST_LABEL:
        return audiences.none()
    return audiences.filter(labels__contains=[label]) if label else audiences


def kept_in(audiences: QuerySet[Audience], folder: str) -> QuerySet[Audience]:
    """Those that are in this folder or below it; all of them when it is ""."""
    return audiences.filter(Q(folder=folder) | Q(folder__startswith=f"{folder}/")) if folder else audiences


def folders_of(audiences: QuerySet[Audience]) -> list[str]:
    """The folders that any of these is in."""
    return list(audiences.order_by().exclude(folder="").values_list("folder", flat=True).distinct())


def labels_of(audiences: QuerySet[Audience]) -> list[str]:
    """The labels that any of these has, in the order of the alphabet."""
    # order_by(): an order of the list would make each row distinct.
    unnested = audiences.order_by().annotate(label=Func(F("labels"), function="unnest"))
    return sorted(unnested.values_list("label", flat=True).distinct(), key=lambda label: (label.casefold(), label))


def listed(audiences: QuerySet[Audience]) -> QuerySet[Audience]:
    """These, with what a list is sorted by: `rank` of the status, and `changed_at`.

    rank: what needs somebody first, so failed, behind, computing, updating, live, disabled. It is `Overview` as SQL.
    """
    newest = Version.objects.filter(audience=OuterRef("pk")).order_by("-number")
    changes = Change.objects.filter(audience=OuterRef("pk")).order_by("-tick", "-pk")
    rank = Case(
        When(enabled=False, then=5),
        When(Q(serving__state=Version.State.FAILED) | Q(serving=None, newest_state=Version.State.FAILED), then=0),
        When(serving=None, then=2),
        When(~Q(serving__state=Version.State.LIVE), then=1),
        When(newest_state__in=PENDING, then=3),
        default=4,
    )
    audiences = audiences.annotate(newest_state=Subquery(newest.values("state")[:1]))
    return audiences.annotate(rank=rank, changed_at=Subquery(changes.values("at")[:1]))


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
    sizes: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(SIZES, [[audience.pk for audience in audiences], MOST_SIZES])
        for pk, at, size in cursor.fetchall():
            sizes[pk].append((at, size))
    return sizes


def overview(audience: Audience, neighbours: Neighbours | None = None) -> Overview:
    """Of one that `audiences_of` found. neighbours: of its space, when several are looked at."""
    (newest,) = audience.newest  # type: ignore[attr-defined]
    return Overview(audience, newest, neighbours or Neighbours(audience.space_id))


def overviews(space: Space, audiences: Iterable[Audience]) -> list[Overview]:
    """The same of several."""
    neighbours = Neighbours(space.pk)
    return [overview(audience, neighbours) for audience in audiences]


def as_of(space: Space) -> datetime | None:
    """The moment up to which the space's audiences are evaluated."""
    return queries.newest_tick(space)[1]


def put_back(space: Space, now: datetime) -> PutBack | None:
    """If the clock was seen lately to have run ahead."""
    lately = Evaluation.objects.filter(space=space, put_back_at__gt=now - PUT_BACK_SHOWN)
    evaluation = lately.first()
    if evaluation is None or evaluation.put_back_at is None or evaluation.put_back_by is None:
        return None
    at, by = evaluation.put_back_at, evaluation.put_back_by
    return PutBack(at, timesince(at, at + by) if by >= timedelta(minutes=1) else f"{by.seconds} seconds")


def standing(audience: Audience) -> Standing:
    """Members, tick and moment that belong together, however many ticks are published meanwhile."""
    while True:
        # Read again and again rather than locked: a page must not hold up the ticks of a space.
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
        now = canonical(self._space, self._numbers[index])
        # A winner that is a member itself is shown in its own place only.
        left = BitMap(now[number] for number in now if now[number] == number or now[number] not in self._numbers)
        profiles = _profiles(self._space, left)
        if not self._with_identifiers:
            return [Member(profile.public_id) for profile in profiles]
        return [
            Member(person.profile.public_id, [(identifier.type, identifier.value) for identifier in person.identifiers])
            for person in people(self._space, profiles)
        ]


def sample(space: Space, members: BitMap, size: int) -> list[Person]:
    """At most `size` of the members, spread evenly from the oldest profile to the newest."""
    return people(space, _profiles(space, spread(members, size)))


def spread(numbers: Sequence[int] | BitMap, size: int) -> list[int]:
    """At most `size` of these, evenly from the first to the last."""
    count = min(size, len(numbers))
    return [numbers[place * len(numbers) // count] for place in range(count)]


def moved(space: Space, kept: bytes | memoryview, most: int) -> MovedProfiles:
    """The people of one side of a change, by the ids that they have now; at most so many are named."""
    people = Members(space, queries.bitmap(kept))
    return MovedProfiles(len(people), [member.profile_id for member in people[:most]])


def _place(audience: Audience) -> tuple[int, datetime | None]:
    """When its members last changed, and up to when they are evaluated: of one moment, so one statement."""
    changes = Change.objects.filter(audience=audience, space=OuterRef("space")).order_by("-tick")
    behind = Version.objects.filter(pk__in=Audience.everything.filter(pk=audience.pk).values("serving"))
    places = Evaluation.objects.filter(space=audience.space_id).annotate(
        tick=Subquery(changes.values("tick")[:1]), at=Coalesce(Subquery(behind.values("exact_at")), "clock_at")
    )
    tick, at = places.values_list("tick", "at").first() or (None, None)
    return tick or 0, at


def _with_versions(audiences: QuerySet[Audience]) -> QuerySet[Audience]:
    """With the version that serves and the newest, without their members."""
    # Without bitmaps, which may be megabytes of each: no list shows who is in an audience.
    newest = Version.objects.defer("snapshot", "computed").order_by("audience", "-number").distinct("audience")
    with_serving = audiences.select_related("serving").defer("serving__snapshot", "serving__computed")
    return with_serving.prefetch_related(Prefetch("versions", newest, to_attr="newest"))


def _profiles(space: Space, numbers: Iterable[int]) -> list[Profile]:
    return list(Profile.objects.filter(space=space, number__in=list(numbers)).order_by("number"))
