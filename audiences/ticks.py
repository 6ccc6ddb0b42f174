"""What a tick of a space finds out: whom the touches and the clock concern, and who is in each audience now.

Nothing is written here. `audiences.evaluate` decides, writes and publishes what is found.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from graphlib import TopologicalSorter

from django.db.models import F
from pyroaring import BitMap

from audiences import queries
from audiences.compiler import SETTINGS, Asked, Scope, Span, edges
from audiences.grammar import Node, conditions
from audiences.grammar import audiences as keys_of
from audiences.grammar import touches as touches_of
from audiences.measures import Edge
from audiences.models import Audience, Change, Evaluation, Version
from identity.models import Touch
from identity.queries import all_numbers
from sources.events import client
from sources.events.sql import from_milliseconds, milliseconds
from sources.models import Replay
from spaces.clock import Clock
from spaces.models import Space
from spaces.pieces import Visible

HORIZON = timedelta(hours=1)  # how far ahead the next moment is looked for; then it is looked for again
MOST_SPANS = 50  # per statement


@dataclass
class Active:
    """A version that a tick keeps up to date. since_piece, since, since_tick: its places on the logs of touches, of
    the clock, and of what the other audiences are as of.

    old: who was in the audience before the tick. base: the members of this version as of these places.
    """

    audience: Audience
    version: Version
    node: Node
    joins: bool
    since_piece: int
    since: datetime
    since_tick: int
    old: BitMap
    base: BitMap
    touched: BitMap = field(default_factory=BitMap)
    due: BitMap = field(default_factory=BitMap)  # by the clock, or through another audience
    everyone: bool = False
    new: BitMap = field(default_factory=BitMap)

    @property
    def asked(self) -> Asked:
        return Asked(self.audience.key, self.node, self.audience.include_anonymous)

    @property
    def concerned(self) -> bool:
        return self.everyone or bool(self.touched) or bool(self.due)


@dataclass(frozen=True)
class Tick:
    """What is true at `now`, with all resolve pieces up to `end`.

    place: where the space's evaluation was before. next_at: ms. touched: by events, not by the clock.
    identified: whose identifiers changed. replayed: a replay ended, so that anyone's may have.
    failed: why versions cannot be evaluated.
    """

    place: tuple[int, datetime | None]
    end: int
    now: datetime
    next_at: int | None
    active: Sequence[Active]
    touched: BitMap
    identified: BitMap
    replayed: bool
    failed: Mapping[int, str]


def next_tick(space: Space, evaluation: Evaluation, clock: Clock) -> Tick | None:
    """What has happened since the space's evaluation; None when nothing that matters has."""
    seen = queries.resolved(space)
    versions = _versions(space)
    touches = _touches(space, evaluation, versions, seen)
    now = now_of(clock, evaluation, versions)
    if not _anything(evaluation, versions, touches, now):
        return None
    return _tick(space, evaluation, seen, now, versions, touches)


def now_of(clock: Clock, evaluation: Evaluation, versions: Sequence[Version]) -> datetime:
    """Never before a moment that was evaluated; in whole milliseconds, as events are."""
    places = [evaluation.clock_at, *(version.clock_at for version in versions if _joins(version))]
    return from_milliseconds(milliseconds(max([clock.now(), *(at for at in places if at)])))


def _versions(space: Space) -> list[Version]:
    """What a tick evaluates: of each audience the version that is ready to join, else the one that serves.

    None joins on the way of a replay: at its end everyone is looked at.
    """
    joining = queries.newest_versions().filter(audience__space=space, state=Version.State.CATCHING_UP)
    if Replay.objects.filter(space=space, state=Replay.State.RUNNING).exists():
        joining = joining.none()
    serving = Version.objects.filter(
        audience__space=space,
        audience__enabled=True,
        audience__deleted_at=None,
        audience__serving=F("pk"),
        state=Version.State.LIVE,
    ).defer("snapshot")
    found = {version.audience_id: version for version in serving.select_related("audience")}
    found |= {version.audience_id: version for version in joining.select_related("audience")}
    return [found[key] for key in sorted(found)]


def _joins(version: Version) -> bool:
    return version.state == Version.State.CATCHING_UP


def _touches(space: Space, evaluation: Evaluation, versions: Sequence[Version], seen: Visible) -> list[Touch]:
    """The touches that any of the versions has not seen, oldest first."""
    since = min([evaluation.touched, *(version.touched or 0 for version in versions if _joins(version))])
    return list(Touch.objects.filter(space=space, piece__gt=since, piece__lte=seen.end).order_by("piece", "pk"))


def _anything(evaluation: Evaluation, versions: Sequence[Version], touches: Sequence[Touch], now: datetime) -> bool:
    due = evaluation.next_at is not None and evaluation.next_at <= now
    return due or any(map(_joins, versions)) or any(touch.piece > evaluation.touched for touch in touches)


def _tick(
    space: Space,
    evaluation: Evaluation,
    seen: Visible,
    now: datetime,
    versions: Sequence[Version],
    touches: Sequence[Touch],
) -> Tick:
    fresh = [touch for touch in touches if touch.piece > evaluation.touched]
    active = _in_order(_active(evaluation, versions, now))
    for each in active:
        _mark_touched(each, touches)
    touched = _closed(space, [each.touched for each in active])
    next_at = _mark_due(space, evaluation, seen, now, active, touched)
    _mark_through_others(active)
    return Tick(
        place=(evaluation.touched, evaluation.clock_at),
        end=seen.end,
        now=now,
        next_at=next_at,
        active=active,
        touched=touched,
        identified=_union(_bitmap(touch) for touch in fresh if touch.key in (Touch.IDENTIFIED, Touch.MERGED)),
        replayed=any(touch.key == Touch.EVERYTHING for touch in fresh),
        failed=_answer(space, seen, now, active),
    )


def _active(evaluation: Evaluation, versions: Sequence[Version], now: datetime) -> list[Active]:
    kept = queries.members_of([version.audience for version in versions])
    return [_active_version(evaluation, version, kept[version.audience_id], now) for version in versions]


def _active_version(evaluation: Evaluation, version: Version, old: BitMap, now: datetime) -> Active:
    joins = _joins(version)
    place = version if joins else evaluation
    return Active(
        audience=version.audience,
        version=version,
        node=version.node,
        joins=joins,
        since_piece=place.touched or 0,
        since=place.clock_at or now,
        since_tick=(version.tick or 0) if joins else 0,
        old=old,
        base=queries.bitmap(version.snapshot) if joins else old,
    )


def _in_order(active: Sequence[Active]) -> list[Active]:
    """Each after those that it asks about."""
    by_key = {each.audience.key: each for each in active}
    asks = {key: [other for other in keys_of(each.node) if other in by_key] for key, each in by_key.items()}
    return [by_key[key] for key in TopologicalSorter(asks).static_order()]


def _mark_touched(each: Active, touches: Sequence[Touch]) -> None:
    """Whom events, traits, merges or new identifiers may have brought in or out."""
    keys = {Touch.CREATED, Touch.MERGED, Touch.IDENTIFIED} | {_touch_key(key) for key in touches_of(each.node)}
    mine = [touch for touch in touches if touch.piece > each.since_piece]
    each.everyone = any(touch.key == Touch.EVERYTHING for touch in mine)
    each.touched = _union(_bitmap(touch) for touch in mine if touch.key in keys)


def _touch_key(key: str) -> str:
    """As resolve writes it (identity.models.Touch): long names are cut."""
    kind, _, name = key.partition(":")
    return {"event": Touch.event, "trait": Touch.trait}.get(kind, lambda _: key)(name)


def _mark_due(
    space: Space,
    evaluation: Evaluation,
    seen: Visible,
    now: datetime,
    active: Sequence[Active],
    touched: BitMap,
) -> int | None:
    """Whom the clock may have brought in or out. Returns the next moment at which that may happen, in ms.

    When none has come since the last tick, only the touched can bring a nearer one.
    """
    spans = _spans(active)
    if not spans:
        return None
    known = _known(evaluation, now, active)
    if known is not None and not touched:
        return known
    found = _moments(space, seen, now, spans, None if known is None else touched)
    for each in active:
        mine = _edges_of(each)
        each.due |= _union(due for edge, (due, _) in found.items() if edge in mine)
    ahead = [first + edge.after for edge, (_, first) in found.items() if first]
    return min([milliseconds(now + HORIZON) if known is None else known, *ahead])


def _known(evaluation: Evaluation, now: datetime, active: Sequence[Active]) -> int | None:
    """The next moment as the last tick found it, while it is still to come and holds for all of these."""
    next_at = evaluation.next_at
    if next_at is None or next_at <= now or any(each.joins or each.everyone for each in active):
        return None
    return milliseconds(next_at)


def _spans(active: Sequence[Active]) -> list[Span]:
    """Each edge once, from the earliest place of those that have it."""
    since: dict[Edge, int] = {}
    for each in active:
        for edge in _edges_of(each):
            since[edge] = min(since.get(edge, milliseconds(each.since)), milliseconds(each.since))
    return [Span(edge, at) for edge, at in since.items()]


def _edges_of(each: Active) -> set[Edge]:
    return {edge for condition in conditions(each.node) for edge in condition.edges()}


def _moments(
    space: Space, seen: Visible, now: datetime, spans: Sequence[Span], numbers: BitMap | None
) -> dict[Edge, tuple[BitMap, int]]:
    """For each edge who is due, and the time of the first event that will be; 0 = none."""
    scope = queries.scope_of(space, seen, now, numbers)
    horizon = milliseconds(now + HORIZON) - milliseconds(now)
    found = {}
    for start in range(0, len(spans), MOST_SPANS):
        part = spans[start : start + MOST_SPANS]
        (row,) = client.rows(edges(scope, part, horizon), **SETTINGS)
        for place, span in enumerate(part):
            found[span.edge] = (BitMap(row[2 * place]), int(row[2 * place + 1]))
    return found


def _mark_through_others(active: Sequence[Active]) -> None:
    """Whoever may have come into or out of an audience may do so in those that ask about it."""
    by_key = {each.audience.key: each for each in active}
    for each in active:
        for key in keys_of(each.node):
            other = by_key.get(key)
            if other is None:
                continue
            each.everyone = each.everyone or other.everyone
            each.due |= other.touched | other.due
            if other.joins:
                each.due |= other.base ^ other.old
        if each.joins:
            each.due |= _moved_meanwhile(each)


def _moved_meanwhile(each: Active) -> BitMap:
    """Who went in or out while it was computed, of what it asks about: also where that was switched off since."""
    asked = Change.objects.filter(space=each.audience.space_id, audience__key__in=keys_of(each.node))
    moved = asked.filter(tick__gt=each.since_tick).values_list("entered", "left")
    return _union(queries.bitmap(kept) for change in moved for kept in change)


def _answer(space: Space, seen: Visible, now: datetime, active: Sequence[Active]) -> dict[int, str]:
    """Each one's `new` members. Returns {version: reason} of those that cannot be answered: they stay as they are."""
    failed: dict[int, str] = {}
    others = {each.audience.key: each.old for each in active}
    frozen = {key for each in active for key in keys_of(each.node)} - others.keys()
    others |= queries.others_of(space, frozen)
    narrow = [each for each in active if each.concerned and not each.everyone]
    numbers = _closed(space, [each.touched | each.due for each in narrow])
    for each in active:
        each.new = each.base
        others[each.audience.key] = each.new
    for part, among in ((narrow, numbers), ([each for each in active if each.everyone], None)):
        for each, found in _answers(queries.scope_of(space, seen, now, among), part, others, failed):
            each.new = found if among is None else (each.base - among) | found
            others[each.audience.key] = each.new
    for each in active:
        if each.version.pk in failed:
            each.new = each.old
    return failed


def _answers(
    scope: Scope, part: Sequence[Active], others: dict[str, BitMap], failed: dict[int, str]
) -> Iterator[tuple[Active, BitMap]]:
    """In one go; one by one when that does not work, to find out whose fault it is."""
    if not part:
        return
    try:
        yield from zip(part, queries.answer(scope, [each.asked for each in part], others), strict=True)
        return
    except queries.Unanswerable:
        pass
    for each in part:
        try:
            yield each, queries.answer(scope, [each.asked], others)[0]
        except queries.Unanswerable as error:
            failed[each.version.pk] = str(error)
            others[each.audience.key] = each.old


def _closed(space: Space, parts: Iterable[BitMap]) -> BitMap:
    """All numbers of all these people."""
    together = _union(parts)
    return all_numbers(space, together) if together else together


def _union(parts: Iterable[BitMap]) -> BitMap:
    return BitMap.union(BitMap(), *parts)


def _bitmap(touch: Touch) -> BitMap:
    return queries.bitmap(touch.profiles)
