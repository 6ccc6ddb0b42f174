"""Who is in an audience: as kept, and as asked of the events at this moment."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from clickhouse_connect.driver.exceptions import DatabaseError
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from pyroaring import BitMap

from audiences.models import Audience, Change, Evaluation, Version
from audiences.rules.aggregates import Aggregate
from audiences.rules.compiler import MOST_AGGREGATES, SETTINGS, Asked, Key, QueryScope, aggregates, inner
from audiences.rules.compiler import members as members_sql
from audiences.rules.grammar import USERS, Group, Node
from audiences.rules.grammar import audiences as keys_of
from audiences.rules.grammar import memberships as memberships_of
from audiences.rules.references import PastMembership
from audiences.rules.validation import DefinitionError
from identity.queries import canonical, with_related
from sources.events import client
from spaces.batches import Visible, visible_logs
from spaces.models import Log, Space
from spaces.times import milliseconds

logger = logging.getLogger(__name__)

LONGEST_S = 60
# Error codes of ClickHouse (src/Common/ErrorCodes.cpp) that a definition causes, whatever the engine is doing: text or
# numbers that cannot be read, types that do not fit, functions that are not there, a statement that is too big. All
# others are the engine's trouble (memory, time, the network, too many at once, …) or our own, and may pass by waiting.
# fmt: off
DEFINITION_ERRORS = {
    6, 26, 27, 34, 35, 36, 38, 41, 42, 43, 44, 46, 50, 53, 59, 62, 63, 69, 70, 72, 131, 153, 167, 168, 169, 306, 321,
    386, 407, 427, 441, 467,
}
# fmt: on
LIMITS = {158, 159, 160, 241, 307, 396}  # more rows, time or memory than one statement may have


class Unanswerable(ValueError):
    """There is no answer for these definitions. The message is for the user.

    passes: the engine's trouble, or a bug of this release, which may pass by waiting; else a definition's own fault.
    limit: it took more time or memory than one statement may.
    """

    def __init__(self, message: str, *, passes: bool = False, limit: bool = False) -> None:
        super().__init__(message)
        self.passes = passes
        self.limit = limit


class NotComputed(ValueError):
    """A definition asks about an audience that has no members yet. `key`: which."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The audience {key} is not computed yet.")
        self.key = key


@dataclass(frozen=True)
class Matched:
    """The members of a definition, exact at `as_of`."""

    members: BitMap
    as_of: datetime
    rows: Sequence[BitMap] = ()  # whom each of the `parts` means on its own


def members(audience: Audience) -> BitMap:
    """Canonical numbers of the people in it, as of the newest tick; nobody before its first compute."""
    return members_of([audience.pk])[audience.pk]


def members_of(audiences: Collection[int]) -> dict[int, BitMap]:
    """The same of several audiences, by their primary keys."""
    kept: dict[int, BitMap] = {}
    since: dict[int, int] = {}
    serving = Audience.everything.filter(pk__in=audiences, serving__isnull=False)
    for pk, snapshot, tick in serving.values_list("pk", "serving__snapshot", "serving__snapshot_tick"):
        kept[pk], since[pk] = bitmap(snapshot), tick
    for pk, entered, left in _changes_since(since).values_list("audience", "entered", "left"):
        kept[pk] = (kept[pk] - bitmap(left)) | bitmap(entered)
    return {pk: kept.get(pk, BitMap()) for pk in audiences}


@dataclass(frozen=True)
class KnownMembers:
    """Who was in an audience at a tick, as this process has read it."""

    version: int
    tick: int
    members: BitMap


MOST_KNOWN = 256  # audiences of which a process keeps the members: a few hundred KB of each million
_known: dict[int, KnownMembers] = {}


def members_again(audience: Audience) -> BitMap:
    """The same as `members`, for whoever asks again and again: what this process knows is not read anew."""
    return members_again_of([audience.pk])[audience.pk]


def members_again_of(audiences: Collection[int]) -> dict[int, BitMap]:
    """The same of several audiences, by their primary keys, in as many statements as for one."""
    serving = Audience.everything.filter(pk__in=audiences, serving__isnull=False)
    places = {pk: place for pk, *place in serving.values_list("pk", "serving", "serving__snapshot_tick")}
    known = {pk: kept for pk in places if (kept := _known.pop(pk, None))}
    for pk, (version, snapshot_tick) in places.items():
        if pk in known and (known[pk].version != version or known[pk].tick < snapshot_tick):
            del known[pk]
    unread = {version: pk for pk, (version, _) in places.items() if pk not in known}
    for version, snapshot, tick in Version.objects.filter(pk__in=unread).values_list("pk", "snapshot", "snapshot_tick"):
        known[unread[version]] = KnownMembers(version, tick, bitmap(snapshot))
    ticks: dict[int, list[int]] = {pk: [] for pk in known}
    since = _changes_since({pk: members.tick - 1 for pk, members in known.items()})
    for pk, tick in since.values_list("audience", "tick"):
        ticks[pk].append(tick)
    # The one that it was read at is gone, as after a backup was played back: nothing is known.
    lost = [pk for pk, own in known.items() if own.tick > places[pk][1] and own.tick not in ticks[pk][:1]]
    for pk in lost:
        del known[pk]
    moved = {pk: own.tick for pk, own in known.items() if ticks[pk] and ticks[pk][-1] > own.tick}
    for pk, tick, entered, left in _changes_since(moved).values_list("audience", "tick", "entered", "left"):
        members = (known[pk].members - bitmap(left)) | bitmap(entered)
        known[pk] = KnownMembers(known[pk].version, tick, members)
    _known.update(known)
    while len(_known) > MOST_KNOWN:
        _known.pop(next(iter(_known)), None)
    return {pk: BitMap() for pk in audiences} | {pk: own.members for pk, own in known.items()} | members_of(lost)


def _changes_since(ticks: Mapping[int, int]) -> QuerySet[Change]:
    """The changes of these audiences after the tick of each, oldest first."""
    newer = reduce(or_, (Q(audience=pk, tick__gt=tick) for pk, tick in ticks.items()), Q(pk__in=()))
    return Change.objects.filter(newer).order_by("tick", "pk")


def changes_after(audience: Audience, tick: int) -> QuerySet[Change]:
    """Who entered and left after this tick, in that order."""
    return Change.objects.filter(audience=audience, tick__gt=tick).order_by("tick", "pk")


def newest_tick(space: Space) -> tuple[int, datetime | None]:
    """The newest committed tick of the space, and the moment that its audiences are as of."""
    tick = Log.objects.filter(stage="evaluate", partition=space.pk).values_list("committed", flat=True).first()
    at = Evaluation.objects.filter(space=space).values_list("clock_at", flat=True).first()
    return tick or 0, at


def kept_versions() -> QuerySet[Version]:
    """Of each audience that is to be kept up to date: the version that serves, and the newest, which is to serve."""
    newer = Version.objects.filter(audience=OuterRef("audience"), number__gt=OuterRef("number"))
    kept = Version.objects.filter(audience__enabled=True, audience__deleted_at=None)
    return kept.filter(~Exists(newer) | Q(audience__serving=F("pk")))


def resolved(space: Space) -> Visible:
    """What of the space's events is visible now."""
    return visible_logs(stage="resolve", partitions=[space.pk])[space.pk]


def scope_of(space: Space, log: Visible, now: datetime, numbers: BitMap | None = None) -> QueryScope:
    at = milliseconds(now)
    return QueryScope(space.workspace_id, space.pk, client.seen(log), at, numbers, replaced=log.replaced)


def matching(
    space: Space,
    node: Node,
    *,
    include_anonymous: bool,
    now: datetime,
    of: str = USERS,
    log: Visible | None = None,
    parts: Sequence[Node] = (),
) -> Matched:
    """Who is meant by the definition now: the full query. Raises NotComputed, Unanswerable.

    of: whom it is about. log: the moment of the space's resolve log; None = the newest. parts: of the definition, which
    are counted as well.
    """
    log = log or resolved(space)
    others = others_of(space, node, now)
    asked = [Asked("", each, include_anonymous, of) for each in (node, *parts)]
    members, *rows = answer(scope_of(space, log, now), asked, others)
    return Matched(members, now, rows)


def others_of(space: Space, node: Node, now: datetime) -> dict[str, BitMap]:
    """The members of the audiences that it asks about, and who was in them. Raises NotComputed."""
    wanted = keys_of(node)
    members_by_key = computed_of(space, wanted)
    if len(members_by_key) < len(wanted):
        raise NotComputed(min(wanted - members_by_key.keys()))
    return members_by_key | past_members_of(space, memberships_of(node), now, members_by_key)


def past_members_of(
    space: Space, memberships: Iterable[PastMembership], now: datetime, before: Mapping[str, BitMap]
) -> dict[str, BitMap]:
    """Who entered these audiences before the present tick, and was in them then, by the names of the memberships.

    before: their members, by key.
    """
    known: dict[str, BitMap] = {}
    for past in memberships:
        members = before.get(past.key, BitMap())
        changes = Change.objects.filter(space=space, audience__key=past.key)
        if past.within:
            changes = changes.filter(at__gt=now - timedelta(milliseconds=past.within.milliseconds))
        entered = BitMap.union(BitMap(), *(bitmap(kept) for kept in changes.values_list("entered", flat=True)))
        known[past.name] = BitMap(canonical(space, entered if past.within else entered | members).values())
        known[past.before] = members
    return known


def computed_of(space: Space, keys: Iterable[str]) -> dict[str, BitMap]:
    """The members of those of these audiences that have any."""
    audiences = Audience.objects.filter(space=space, key__in=keys, serving__isnull=False)
    keys_by_id = dict(audiences.values_list("pk", "key"))
    return {keys_by_id[pk]: members for pk, members in members_of(keys_by_id).items()}


def answer(scope: QueryScope, asked: Sequence[Asked], others: Mapping[str, BitMap]) -> list[BitMap]:
    """Who in scope is in each of `asked`, which may ask about those before it. Raises Unanswerable.

    others: of those that they ask about, members before, also of those in `asked`. More than a statement takes well are
    several statements.
    """
    known: dict[Key, BitMap] = {}
    known.update(others)
    bitmaps: list[BitMap] = []
    with answering():
        wide = reaching(scope, asked)
        for part in _statements(_with_inner(asked), scope.now, everyone=scope.numbers is None):
            statement = members_sql(wide if part[0].reach or _is_inner(part[0]) else scope, part, known)
            for audience, members in zip(
                part, client.bitmaps(statement, **SETTINGS, max_execution_time=LONGEST_S), strict=True
            ):
                if _is_inner(audience):
                    known[audience.key] = members
                    continue
                if scope.numbers is not None:  # nobody else was asked about, or not all of their rows were read
                    members &= scope.numbers
                    known[audience.key] = (known.get(audience.key, BitMap()) - scope.numbers) | members
                else:
                    known[audience.key] = members
                bitmaps.append(members)
    return bitmaps


def reaching(scope: QueryScope, asked: Sequence[Asked]) -> QueryScope:
    """With whoever's rows matter to the answers for those in scope."""
    steps = max((audience.reach for audience in asked), default=0)
    if not steps or scope.numbers is None:
        return scope
    return replace(scope, numbers=with_related(scope.space, scope.numbers, steps))


def _is_inner(asked: Asked) -> bool:
    return isinstance(asked.key, Group)


def _with_inner(asked: Sequence[Asked]) -> list[Asked]:
    """Each after what is asked of others for its sake; that comes first of all where it depends on none of these."""
    keys = {audience.key for audience in asked}
    first: dict[Asked, None] = {}
    rest: list[Asked] = []
    for audience in asked:
        for own in inner(audience):
            if keys.isdisjoint(keys_of(own.definition)):
                first[own] = None
            else:
                rest.append(own)
        rest.append(audience)
    return [*sorted(first, key=lambda own: own.reach), *rest]


@contextmanager
def answering() -> Iterator[None]:
    """Whatever goes wrong inside, in making or running a statement, is Unanswerable."""
    try:
        yield
    except (Unanswerable, DefinitionError):
        raise
    except DatabaseError as error:
        code = getattr(error, "code", None)
        message = str(error).partition("DB::Exception: ")[2].partition(" (version ")[0] or str(error)
        raise Unanswerable(message[:1000], passes=code not in DEFINITION_ERRORS, limit=code in LIMITS) from error
    except Exception as error:  # a bug of this release, in the SQL of one kind of condition: it stops nobody else
        logger.exception("a definition cannot be asked")
        raise Unanswerable(f"{type(error).__name__}: {error}"[:1000], passes=True) from error


def bitmap(kept: bytes | memoryview | None) -> BitMap:
    return BitMap.deserialize(bytes(kept)) if kept else BitMap()


def _statements(asked: Sequence[Asked], now: int, *, everyone: bool) -> list[list[Asked]]:
    """In the same order, cut so that no statement needs more than MOST_AGGREGATES, if it asks for more than one.

    everyone: those that share no aggregate are apart. One statement reads the rows of each for all of them, which is
    half as much again (benchmarks.questions); where few people are asked about, its planning would cost more.
    """
    parts: list[list[Asked]] = []
    needed: set[Aggregate] = set()
    for audience in asked:
        own = set(aggregates([audience], now))
        together = bool(parts) and _read_alike(parts[-1][0], audience)
        if not together or len(needed | own) > MOST_AGGREGATES or (everyone and needed.isdisjoint(own)):
            parts.append([])
            needed = set()
        parts[-1].append(audience)
        needed |= own
    return parts


def _read_alike(one: Asked, other: Asked) -> bool:
    """Whether they are about the same, and look as far."""
    return (one.of, one.reach, _is_inner(one)) == (other.of, other.reach, _is_inner(other))
