"""What a tick of a space finds out: whom the change sets and the clock concern, and who is in each audience now.

Nothing is written here. `audiences.evaluate` prepares, writes and commits what is found.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from graphlib import CycleError, TopologicalSorter
from itertools import groupby
from typing import NamedTuple, TypeVar

from pyroaring import BitMap

from audiences import definitions, failures, moments, queries, trait_values
from audiences.definitions import ParsedDefinition, change_key
from audiences.failures import Trouble
from audiences.models import Audience, Change, Evaluation, Version
from audiences.moments import Calendar, Moments
from audiences.rules.aggregates import TimeTrigger
from audiences.rules.compiler import Asked, QueryScope, Span
from audiences.rules.validation import DefinitionError
from identity.models import ChangeSet
from identity.queries import all_numbers, canonical, with_related
from sources.events import client
from sources.models import Replay
from spaces.batches import Visible
from spaces.clock import Clock, rows_due, was_put_back
from spaces.models import Space
from spaces.times import from_milliseconds, milliseconds

HORIZON = timedelta(hours=1)  # how far ahead the next moment is looked for; then it is looked for again
MOST_MOMENTS = 200_000  # of a space that are remembered, about; beyond, the horizon is nearer …
LEAST_MOMENTS = 1_000  # … but so many of each time trigger are
MOST_TRAITS = 20  # per statement
PATIENCE_S = 120  # of a tick, with statements that get no answer; whoever is left is asked alone in the next

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class KeptVersion(NamedTuple):
    """What is light of a version that a tick may evaluate, and of its audience."""

    pk: int
    state: str
    touched: int | None
    clock_at: datetime | None
    tick: int | None
    failures: int
    audience: int
    kind: str
    key: str
    of: str
    include_anonymous: bool
    events_since: datetime | None
    serving: int | None
    watched_traits: list[str]

    @property
    def joins(self) -> bool:
        """It has a place of its own, and becomes live."""
        return self.state == CATCHING_UP


CATCHING_UP: str = Version.State.CATCHING_UP.value  # once: to look it up takes long, for thousands of versions
OF_VERSION = ("pk", "state", "touched", "clock_at", "tick", "failures", "audience")
OF_AUDIENCE = ("kind", "key", "of", "include_anonymous", "events_since", "serving", "watched_traits")


@dataclass(eq=False)
class Subject:
    """A version of an audience that a tick may evaluate. since_piece, since, since_tick: its places on the logs of
    change sets, of the clock, and of what the other audiences are as of.

    old: who was in the audience before the tick. base: the members of this version as of these places. Both are read
    only of those that something concerns. computed: by a full query, which no change has said yet.
    """

    version: KeptVersion
    definition: ParsedDefinition
    since_piece: int
    since: datetime
    rederived: bool  # what depends on time: it was evaluated by a clock that ran ahead
    since_tick: int
    computed: bool = False
    old: BitMap = field(default_factory=BitMap)
    base: BitMap = field(default_factory=BitMap)
    touched: BitMap = field(default_factory=BitMap)
    identified: BitMap = field(default_factory=BitMap)  # of them, whose identifiers or watched traits changed
    due: BitMap = field(default_factory=BitMap)  # by the clock, or through another audience
    everyone: bool = False
    replayed: bool = False  # everyone, because a replay ended
    new: BitMap = field(default_factory=BitMap)
    values: dict[int, str] = field(default_factory=dict)  # of a computed trait, those that changed; "" = no more

    @property
    def key(self) -> str:
        return self.version.key

    @property
    def joins(self) -> bool:
        return self.version.joins

    @property
    def asks(self) -> frozenset[str]:
        return self.definition.asks

    @property
    def is_trait(self) -> bool:
        return self.version.kind == Audience.Kind.TRAIT

    def triggers(self, keys: Set[str] | None = None) -> Iterator[TimeTrigger]:
        """keys: those to which change sets with these keys bring new moments."""
        by_key = self.definition.triggers
        for key in by_key if keys is None else by_key.keys() & keys:
            yield from by_key[key]

    @property
    def asked(self) -> Asked:
        return Asked(self.key, self.definition.node, self.version.include_anonymous, self.version.of)

    @property
    def alone(self) -> bool:
        """Whether it gets a statement of its own: it may be too heavy for one that others share."""
        return self.version.failures > 0

    def around(self, space: Space, people: BitMap) -> BitMap:
        """With whoever's answer depends on one of these: a user's accounts, an account's users."""
        return with_related(space.pk, people, self.definition.reach) if people and self.definition.reach else people

    @property
    def concerned(self) -> bool:
        return self.joins or self.everyone or bool(self.touched) or bool(self.due)


@dataclass
class Problems:
    """Which versions cannot be evaluated in this tick, and why. They stay as they are."""

    failed: dict[int, str] = field(default_factory=dict)  # by their own fault
    troubled: dict[int, Trouble] = field(default_factory=dict)  # by the engine's
    spent_s: float = 0  # with statements that got no answer …
    reason: str = ""  # … the last of them for this

    def __contains__(self, subject: Subject) -> bool:
        return subject.version.pk in self.failed or subject.version.pk in self.troubled

    def note(self, version: int, why: queries.Unanswerable | Trouble) -> None:
        if isinstance(why, Trouble):
            self.troubled[version] = why
        else:
            self.failed[version] = str(why)


@dataclass(frozen=True)
class Tick:
    """What is true at `now`, with all resolve batches up to `end`.

    place: where the space's evaluation was before. calendar: to be remembered, if it still is there. next_at: ms.
    subjects: those that something concerns. touched: by events, not by the clock.
    put_back_by: how far ahead the clock was by which the space was evaluated before; None = it was not.
    """

    place: tuple[int, datetime | None]
    end: int
    now: datetime
    calendar: Calendar
    next_at: int | None
    subjects: Sequence[Subject]
    touched: BitMap
    put_back_by: timedelta | None
    problems: Problems


def next_tick(space: Space, evaluation: Evaluation, clock: Clock) -> Tick | None:
    """What has happened since the space's evaluation; None when nothing that matters has."""
    seen = queries.resolved(space)
    at = clock.now()
    versions = _versions(space, at)
    now = now_of(at, evaluation, versions)
    # Oldest first, and all that any of the versions has not seen: one that joins has a place of its own.
    since = min([evaluation.touched, *(version.touched or 0 for version in versions if version.joins)])
    rows = ChangeSet.objects.filter(space=space, piece__gt=since, piece__lte=seen.end).order_by("piece", "pk")
    changed = ChangedPeople(list(rows))
    is_due = evaluation.next_at is not None and evaluation.next_at <= now
    is_changed = changed.keys_after(evaluation.touched)
    if not (is_due or is_changed or was_ahead(evaluation, now) or any(version.joins for version in versions)):
        return None
    problems = Problems()
    subjects = _in_order(_subjects(space, evaluation, versions, now, problems), problems)
    # Whom something may concern is marked before anybody's members are read: of most audiences it is nobody, and
    # their members never have to be.
    for subject in subjects:
        _mark_touched(space, subject, changed)
    touched = _closed(space, [subject.touched for subject in subjects])
    calendar = Calendar(space.pk, evaluation.touched, changed.keys_after(evaluation.touched))
    next_at = _mark_due(space, evaluation, seen, now, subjects, changed, calendar, problems)
    next_at = min((at for at in (next_at, *_mark_lapsed(space, now, subjects)) if at is not None), default=None)
    # Of those that join, because how they differ from what served concerns those that ask about them.
    _read_members(subject for subject in subjects if subject.joins)
    _mark_through_others(space, subjects)
    concerned = [subject for subject in subjects if subject.concerned]
    _read_members(subject for subject in concerned if not subject.joins)
    _answer(space, seen, now, concerned, problems)
    return Tick(
        place=(evaluation.touched, evaluation.clock_at),
        end=seen.end,
        now=now,
        calendar=calendar,
        next_at=next_at,
        subjects=concerned,
        touched=touched,
        put_back_by=evaluation.clock_at - now if evaluation.clock_at and was_ahead(evaluation, now) else None,
        problems=problems,
    )


def now_of(at: datetime, evaluation: Evaluation, versions: Sequence[KeptVersion]) -> datetime:
    """`at`, but never before a moment that was evaluated, unless the clock was put back; in whole milliseconds, as
    events are."""
    places = [evaluation.clock_at, *(version.clock_at for version in versions if version.joins)]
    known = [place for place in places if place and not was_put_back(place, at)]
    return from_milliseconds(milliseconds(max([at, *known])))


def was_ahead(evaluation: Evaluation, now: datetime) -> bool:
    return evaluation.clock_at is not None and was_put_back(evaluation.clock_at, now)


def _versions(space: Space, now: datetime) -> list[KeptVersion]:
    """What a tick evaluates: of each audience the version that is ready to join, else the one that serves.

    None joins on the way of a replay: at its end everyone is looked at.
    """
    states = [Version.State.LIVE, Version.State.CATCHING_UP]
    # Nobody is to enter and leave on the way of a replay.
    if Replay.objects.filter(space=space, state=Replay.State.RUNNING).exists():
        states = [Version.State.LIVE]
    due = queries.kept_versions().filter(rows_due("retry_at", now, longest=failures.TRIED_AGAIN), state__in=states)
    rows = due.filter(audience__space=space).order_by("number")
    columns = (*OF_VERSION, *(f"audience__{name}" for name in OF_AUDIENCE))
    # By number, so that of each audience the last one stays: the newest that is ready, or else the one that serves.
    newest = {version.audience: version for version in map(KeptVersion._make, rows.values_list(*columns))}
    return [newest[audience] for audience in sorted(newest)]


def _subjects(
    space: Space, evaluation: Evaluation, versions: Sequence[KeptVersion], now: datetime, problems: Problems
) -> Iterator[Subject]:
    """Those that this release can read."""
    ahead = {version.pk for version in versions if version.events_since and was_put_back(version.events_since, now)}
    begins = {version.pk: now if version.pk in ahead else version.events_since for version in versions}
    known = definitions.read(space.pk, begins)
    for version in versions:
        definition = known.get(version.pk)
        if definition is None:
            continue  # its audience was deleted meanwhile
        if isinstance(definition, DefinitionError):
            problems.failed[version.pk] = failures.unreadable(definition)
            continue
        if isinstance(definition, queries.Unanswerable):
            problems.troubled[version.pk] = Trouble(str(definition), alone=True)
            continue
        place = version if version.joins else evaluation
        yield Subject(
            version=version,
            definition=definition,
            since_piece=place.touched or 0,
            # A place that lies ahead is one of a clock that was put back.
            since=min(place.clock_at or now, now),
            rederived=version.pk in ahead
            or (bool(definition.triggers) and place.clock_at is not None and was_put_back(place.clock_at, now)),
            since_tick=(version.tick or 0) if version.joins else 0,
        )


def _read_members(subjects: Iterable[Subject]) -> None:
    """It is known who was in these audiences before the tick, and who is in these versions as of their places."""
    by_version = {subject.version.pk: subject for subject in subjects}
    old = queries.members_of([subject.version.audience for subject in by_version.values()])
    for subject in by_version.values():
        subject.old = subject.base = old[subject.version.audience]
    joining = Version.objects.filter(pk__in=[pk for pk, subject in by_version.items() if subject.joins])
    for pk, computed, snapshot in joining.values_list("pk", "computed", "snapshot"):
        subject = by_version[pk]
        if computed is None and subject.version.serving != pk:
            computed = snapshot
        if computed is not None:
            subject.base, subject.computed = queries.bitmap(computed), True


def _in_order(subjects: Iterable[Subject], problems: Problems) -> list[Subject]:
    """Each after those that it asks about. A circle, which no service accepts, fails alone."""
    by_key = {subject.key: subject for subject in subjects}
    while True:
        asks = {key: subject.asks & by_key.keys() for key, subject in by_key.items() if subject.asks}
        try:
            last = dict.fromkeys(TopologicalSorter(asks).static_order())
            return [by_key[key] for key in (*(key for key in by_key if key not in last), *last)]
        except CycleError as error:
            circle = error.args[1]  # as graphlib documents it: the first and the last of the list are the same
            for key in set(circle):
                problems.failed[by_key.pop(key).version.pk] = f"It is a part of itself: {' → '.join(circle[::-1])}"


class ChangedPeople:
    """Whom change sets name, by their keys; these are in their order."""

    def __init__(self, change_sets: Iterable[ChangeSet]) -> None:
        self._by_key: dict[str, list[tuple[int, BitMap]]] = {}
        self._keys_after: dict[int, frozenset[str]] = {}
        for change_set in change_sets:
            self._by_key.setdefault(change_set.key, []).append((change_set.piece, queries.bitmap(change_set.profiles)))

    def keys_after(self, piece: int) -> frozenset[str]:
        if piece not in self._keys_after:
            self._keys_after[piece] = frozenset(key for key, named in self._by_key.items() if named[-1][0] > piece)
        return self._keys_after[piece]

    def after(self, piece: int, keys: Iterable[str]) -> BitMap:
        return _union(people for key in keys for at, people in self._by_key.get(key, ()) if at > piece)


def _mark_touched(space: Space, subject: Subject, changed: ChangedPeople) -> None:
    """Whom events, traits, merges or new identifiers may have brought in or out."""
    keys = changed.keys_after(subject.since_piece)
    subject.replayed = ChangeSet.EVERYTHING in keys
    subject.everyone = subject.replayed or subject.rederived
    # By what destinations ask for, membership does not change: whoever it is about is refreshed there.
    watched = {ChangeSet.trait(name) for name in subject.version.watched_traits}
    if mine := (subject.definition.keys | watched) & keys:
        subject.touched = subject.around(space, changed.after(subject.since_piece, mine))
        told = {ChangeSet.IDENTIFIED, ChangeSet.MERGED, *watched}
        subject.identified = changed.after(subject.since_piece, mine & told)


def _mark_due(
    space: Space,
    evaluation: Evaluation,
    seen: Visible,
    now: datetime,
    subjects: Sequence[Subject],
    changed: ChangedPeople,
    calendar: Calendar,
    problems: Problems,
) -> int | None:
    """Whom the clock may have brought in or out. Returns the next moment at which that may happen, in ms.

    Until the moment that the last tick told of, only new rows can bring a nearer one.
    """
    if not any(subject.definition.triggers for subject in subjects):
        return None
    at, keys = milliseconds(now), calendar.changed
    # The next moment as the last tick told of it, while it is still to come and holds for all of these.
    told, anew = evaluation.next_at, any(subject.joins or subject.everyone for subject in subjects)
    known = None if told is None or told <= now or anew else milliseconds(told)
    of_new: list[Span] = []
    of_everyone: list[Span] = []
    for span in _spans(subjects, None if known is None else keys):
        if not calendar.look_up(span, at) and known is None:
            of_everyone.append(span)
        elif change_key(span.trigger) in keys:
            of_new.append(span)
    new = _closed(space, [changed.after(evaluation.touched, {change_key(span.trigger) for span in of_new})])
    for spans, numbers in ((of_new, new), (of_everyone, None)):
        scope = queries.scope_of(space, seen, now, numbers)
        for trigger, answer in _look_through(scope, spans, subjects, problems):
            calendar.add(trigger, *answer, of_everyone=numbers is None)
    due = {trigger: people for trigger, people in calendar.due.items() if people}
    concerned = {change_key(trigger) for trigger in due}
    for subject in subjects:
        subject.due |= _union(due[trigger] for trigger in subject.triggers(concerned) if trigger in due)
    later = [milliseconds(now + HORIZON) if known is None else known, calendar.next(at)]
    return min(moment for moment in later if moment is not None)


def _spans(subjects: Sequence[Subject], keys: Set[str] | None) -> list[Span]:
    """Each trigger once, from the earliest place of those that have it. keys: those that these change sets concern."""
    since: dict[TimeTrigger, int] = {}
    for subject in subjects:
        at = milliseconds(subject.since)
        for trigger in subject.triggers(keys):
            since[trigger] = min(since.get(trigger, at), at)
    return [Span(trigger, at) for trigger, at in since.items()]


def _look_through(
    scope: QueryScope, spans: Sequence[Span], subjects: Sequence[Subject], problems: Problems
) -> Iterator[tuple[TimeTrigger, tuple[BitMap, Moments]]]:
    """For each trigger who is due, and what is to come. Whose triggers get no answer is among the problems."""
    if not spans:
        return
    until = milliseconds(from_milliseconds(scope.now) + HORIZON)
    most = max(MOST_MOMENTS // len(spans), LEAST_MOMENTS)
    keys = {change_key(span.trigger) for span in spans}
    shared = {trigger for subject in subjects if not subject.alone for trigger in subject.triggers(keys)}
    ask = partial(moments.read, scope, until=until, most=most)
    for alone, run in _runs(spans, lambda span: span.trigger not in shared):
        for span, answer in _ask_each(run, ask, problems, alone=alone):
            if isinstance(answer, tuple):
                yield span.trigger, answer
                continue
            for subject in subjects:
                if span.trigger in subject.triggers(keys):
                    problems.note(subject.version.pk, answer)


def _mark_lapsed(space: Space, now: datetime, subjects: Sequence[Subject]) -> Iterator[int]:
    """Whoever entered another audience just so long ago that it does not count any more.

    The next moments of that, in ms; also of those who enter in this tick.
    """
    for subject in subjects:
        for past in subject.definition.memberships:
            if past.within is None:
                continue
            within = timedelta(milliseconds=past.within.milliseconds)
            entries = Change.objects.filter(space=space, audience__key=past.key, at__gt=subject.since - within)
            for at, entered in entries.order_by("at").values_list("at", "entered"):
                if at + within > now:
                    yield milliseconds(at + within)
                    break
                subject.due |= BitMap(canonical(space, queries.bitmap(entered)).values())
            # Whoever enters in this tick, which no change says yet, stops counting just then.
            yield milliseconds(now + within)


def _mark_through_others(space: Space, subjects: Sequence[Subject]) -> None:
    """Whoever may have come into or out of an audience may do so in those that ask about it."""
    by_key = {subject.key: subject for subject in subjects}
    for subject in subjects:
        for key in subject.asks & by_key.keys():
            other = by_key[key]
            subject.everyone = subject.everyone or other.everyone
            subject.replayed = subject.replayed or other.replayed
            subject.due |= other.touched | other.due
            if other.joins:
                subject.due |= other.base ^ other.old
        if subject.joins:
            # Who went in or out while it was computed, of what it asks about: also where that was switched off since.
            asked = Change.objects.filter(space=space, audience__key__in=subject.asks)
            moved = asked.filter(tick__gt=subject.since_tick).values_list("entered", "left")
            subject.due |= _union(queries.bitmap(kept) for change in moved for kept in change)
        subject.due = subject.around(space, subject.due)


def _answer(space: Space, seen: Visible, now: datetime, subjects: Sequence[Subject], problems: Problems) -> None:
    """Each one's `new` members; those that get no answer stay as they are, and are among the problems."""
    others = {subject.key: subject.old for subject in subjects}
    others |= queries.computed_of(space, {key for subject in subjects for key in subject.asks} - others.keys())
    pasts = frozenset().union(*(subject.definition.memberships for subject in subjects))
    others |= queries.past_members_of(space, pasts, now, others)
    for subject in subjects:
        missing = sorted(subject.asks - others.keys())
        if missing:
            problems.troubled[subject.version.pk] = Trouble(str(queries.NotComputed(missing[0])), alone=True)
    asked = [subject for subject in subjects if subject not in problems]
    for subject in asked:
        # The values that are kept are another version's.
        subject.everyone = subject.everyone or (subject.is_trait and subject.joins)
    narrow = [subject for subject in asked if (subject.touched or subject.due) and not subject.everyone]
    # Who is concerned only by those that look beyond them is no concern of the others: a large account has many people.
    near, far = (
        _closed(
            space, [subject.touched | subject.due for subject in narrow if bool(subject.definition.reach) == reaches]
        )
        for reaches in (False, True)
    )
    for subject in subjects:
        subject.new = subject.old if subject in problems else subject.base
        others[subject.key] = subject.new  # until its own answer is there, which those after it in the order get
    runs: list[tuple[Sequence[Subject], BitMap | None]] = [
        ([*run], far if reaches else near)
        for reaches, run in groupby(narrow, key=lambda subject: bool(subject.definition.reach))
    ]
    for run, among in (*runs, ([subject for subject in asked if subject.everyone], None)):
        scope = queries.scope_of(space, seen, now, among)
        _compute(space, scope, [subject for subject in run if subject.is_trait], problems)

        def ask(some: Sequence[Subject], scope: QueryScope = scope) -> list[BitMap]:
            return queries.answer(scope, [subject.asked for subject in some], others)

        audiences = [subject for subject in run if not subject.is_trait]
        for alone, part in _runs(audiences, lambda subject: subject.alone):
            for subject, members in _ask_each(part, ask, problems, alone=alone):
                if isinstance(members, BitMap):
                    subject.new = members if among is None else (subject.base - among) | members
                else:
                    problems.note(subject.version.pk, members)
                    subject.new = subject.old
                others[subject.key] = subject.new


def _compute(space: Space, scope: QueryScope, subjects: Sequence[Subject], problems: Problems) -> None:
    """The values of computed traits of whoever is in scope: which differ from those that are kept, and who has one."""

    def ask(some: Sequence[Subject]) -> list[tuple[dict[int, str], dict[int, str]]]:
        values = trait_values.computed(scope, [subject.asked for subject in some])
        with queries.answering():
            kept = trait_values.kept_of(space, [subject.version.audience for subject in some], scope.numbers)
        return [(own, kept[subject.version.audience]) for subject, own in zip(some, values, strict=True)]

    for alone, run in _runs(subjects, lambda subject: subject.alone, most=MOST_TRAITS):
        for subject, answer in _ask_each(run, ask, problems, alone=alone):
            if not isinstance(answer, tuple):
                problems.note(subject.version.pk, answer)
                subject.new = subject.old
                continue
            values, kept = answer
            # To have no value any more is a change as well, and is written as one.
            gone = dict.fromkeys(kept.keys() - values.keys(), "")
            subject.values = {number: value for number, value in values.items() if kept.get(number) != value} | gone
            subject.new = BitMap(values) if scope.numbers is None else (subject.base - scope.numbers) | BitMap(values)


def _runs(
    items: Sequence[Item], alone: Callable[[Item], bool], *, most: int = sys.maxsize
) -> Iterator[tuple[bool, Sequence[Item]]]:
    """(whether it is one of those to be asked alone, items to ask in one go), in the order of the items."""
    for on_its_own, run in groupby(items, key=alone):
        together = [*run]
        size = 1 if on_its_own else most
        for start in range(0, len(together), size):
            yield on_its_own, together[start : start + size]


def _ask_each(
    items: Sequence[Item], ask: Callable[[Sequence[Item]], Sequence[Answer]], problems: Problems, *, alone: bool = False
) -> Iterator[tuple[Item, Answer | Trouble | queries.Unanswerable]]:
    """Each with its answer, or with why there is none. In one go; if that does not work in halves, to find out whose
    fault it is. An answer is asked for when those before it have been taken: it may depend on them.

    alone: whether it is known to make trouble, so that it matters what else the engine is doing.
    Raises what the client raises when the engine does not answer at all: that is nobody's fault.
    """
    # A tick must end, or the space stands still: whoever is left keeps its place and is asked alone in the next one.
    if problems.spent_s > PATIENCE_S:
        yield from ((item, Trouble(problems.reason)) for item in items)
        return
    idle = alone and not client.busy()
    begun = time.monotonic()
    try:
        answers = ask(items)
    except queries.Unanswerable as error:
        problems.spent_s += time.monotonic() - begun
        problems.reason = str(error)
        # Looked at after the failure too: whatever was running then may have been what it failed for.
        busy = error.passes and client.busy()
        if len(items) > 1:
            middle = len(items) // 2
            yield from _ask_each(items[:middle], ask, problems)
            yield from _ask_each(items[middle:], ask, problems)
        else:
            why = Trouble(str(error), alone=True, idle=idle and not busy) if error.passes else error
            yield items[0], why
        return
    yield from zip(items, answers, strict=True)


def _closed(space: Space, parts: Iterable[BitMap]) -> BitMap:
    """All numbers of all these people."""
    together = _union(parts)
    return all_numbers(space, together) if together else together


def _union(parts: Iterable[BitMap]) -> BitMap:
    return BitMap.union(BitMap(), *parts)
