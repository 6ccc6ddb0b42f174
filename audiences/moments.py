"""When the clock may bring whom in or out. What comes within the hour is remembered, so that a tick until then reads
from ClickHouse only what is new.

It follows from the rows of the resolve batches up to one, and from nothing else. So it is right by whatever clock, and
whether the tick is committed or not; another process reads the same again.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy
from pyroaring import BitMap

from audiences import queries
from audiences.definitions import change_key
from audiences.recent import Recent
from audiences.rules.aggregates import EventTrigger, TimeTrigger
from audiences.rules.compiler import SETTINGS, QueryScope, Span, event_times, time_triggers
from identity.models import ChangeSet
from sources.events import client
from sources.events.sql import Sql
from spaces.chunks import chunks

MOST_REMEMBERED = 5_000_000  # of all spaces, 12 bytes each …
MOST_SPANS = 50  # per statement
MOST_EVENTS = 100_000  # that are read at once for all time triggers on them, 12 bytes each; beyond, for each apart
TRIGGER_SIZE = 30  # … and for each time trigger as much as so many, even if there are none


@dataclass(frozen=True)
class Moments:
    """All moments of one time trigger after `since` and before `until`, in ms, and whose they are: raw profiles."""

    since: int
    until: int
    times: Sequence[int]
    profiles: Sequence[int]

    def __len__(self) -> int:
        return len(self.times)

    def covers(self, since: int, now: int) -> bool:
        """Whether it is known who is due in (since, now], and when somebody is next."""
        return self.since <= since and now < self.until

    def due(self, since: int, now: int) -> BitMap:
        return BitMap(self.profiles[bisect_right(self.times, since) : bisect_right(self.times, now)])

    def next(self, now: int) -> int:
        """The first moment after now; the one up to which nothing is known, if there is none before."""
        place = bisect_right(self.times, now)
        return self.times[place] if place < len(self.times) else self.until

    def joined(self, newer: "Moments") -> "Moments":
        """With those of some more rows, after the beginning of these: before it, theirs are not known."""
        # A set: a row may be read twice, when a change set names somebody whose moments are remembered already.
        both = {*zip(self.times, self.profiles, strict=True), *zip(newer.times, newer.profiles, strict=True)}
        return moments(newer.since, min(self.until, newer.until), sorted(both))


def moments(since: int, until: int, pairs: Sequence[tuple[int, int]]) -> Moments:
    """Of (moment, profile) in their order, those that are between."""
    within = pairs[bisect_right(pairs, since, key=_time) : bisect_left(pairs, until, key=_time)]
    # Arrays of machine numbers: a list of pairs would take ten times the memory.
    times, profiles = array("q", (at for at, _ in within)), array("I", (profile for _, profile in within))
    return Moments(since, until, times, profiles)


def read(scope: QueryScope, spans: Sequence[Span], *, until: int, most: int) -> list[tuple[BitMap, Moments]]:
    """For each who is due, and what comes after now: until then, or as far as the first `most` go.

    Raises queries.Unanswerable.
    """
    known = _read_events(scope, spans, until=until, most=most) if scope.numbers is not None else {}
    others = [span for span in spans if span not in known]
    known |= dict(zip(others, _read_each(scope, others, until=until, most=most), strict=True))
    return [known[span] for span in spans]


def _read_events(
    scope: QueryScope, spans: Sequence[Span], *, until: int, most: int
) -> dict[Span, tuple[BitMap, Moments]]:
    """Those on events, of few people: the events are read once for all windows that begin or end with them. Not those
    of which there are too many for that."""
    families: dict[Sql, list[Span]] = {}
    for span in spans:
        if isinstance(span.trigger, EventTrigger):
            families.setdefault(span.trigger.rows, []).append(span)
    if not families:
        return {}
    with queries.answering():
        statement = event_times(scope, [*families.values()], until=until, most=MOST_EVENTS)
        (row,) = client.rows(statement, **SETTINGS, max_execution_time=queries.LONGEST_S)
    answers = {}
    for family, pairs in zip(families.values(), row, strict=True):
        if len(pairs) == MOST_EVENTS:
            continue
        times, profiles = numpy.array(pairs, "i8").reshape(-1, 2).T
        for span in family:
            moment = times + span.trigger.after  # type: ignore[attr-defined]
            due = profiles[(moment > span.since) & (moment <= scope.now)]
            is_coming = (moment > scope.now) & (moment <= until)
            coming = sorted(zip(moment[is_coming].tolist(), profiles[is_coming].tolist(), strict=True))
            answers[span] = _answer(due.tolist(), coming[:most], scope.now, until, most)
    return answers


def _read_each(scope: QueryScope, spans: Sequence[Span], *, until: int, most: int) -> Iterator[tuple[BitMap, Moments]]:
    for some in chunks(spans, MOST_SPANS):
        with queries.answering():
            statement = time_triggers(scope, some, until=until, most=most)
            (row,) = client.rows(statement, **SETTINGS, max_execution_time=queries.LONGEST_S)
        yield from (_answer(*both, scope.now, until, most) for both in zip(row[::2], row[1::2], strict=True))


def _answer(
    due: Sequence[int], coming: Sequence[tuple[int, int]], now: int, until: int, most: int
) -> tuple[BitMap, Moments]:
    # Of the last moment there may be more than were asked for.
    return BitMap(due), moments(now, until if len(coming) < most else coming[-1][0], coming)


class Calendar:
    """Of a space's time triggers in one tick: who is due, and what is known to come.

    What is remembered is of the rows of the resolve batches up to `touched`. changed: the keys of the change sets that
    have come since.
    """

    def __init__(self, space: int, touched: int, changed: Set[str]) -> None:
        known = _recent.get(space)
        # The rows of a replay are in no change set, but for the one of its end.
        holds = known is not None and known.touched == touched and ChangeSet.EVERYTHING not in changed
        self._before = known.by_key if known and holds else {}
        self._space, self.changed = space, changed
        self._coming: dict[TimeTrigger, Moments] = {}
        self._older: dict[TimeTrigger, Moments] = {}  # but for the rows that came since
        self._newer: list[Moments] = []  # of these alone
        self.due: dict[TimeTrigger, BitMap] = {}

    def look_up(self, span: Span, now: int) -> bool:
        """Whether all is remembered of it, but for the rows that came since."""
        key = change_key(span.trigger)
        own = self._before.get(key, {}).get(span.trigger)
        if own is None or not own.covers(span.since, now):
            return False
        (self._older if key in self.changed else self._coming)[span.trigger] = own
        self.due[span.trigger] = own.due(span.since, now)
        return True

    def add(self, trigger: TimeTrigger, due: BitMap, coming: Moments, *, of_everyone: bool) -> None:
        """This was read now. Else it is of those of whom there are new rows."""
        self.due[trigger] = self.due.get(trigger, BitMap()) | due
        if of_everyone:
            self._coming[trigger] = coming
        elif trigger in self._older:
            self._coming[trigger] = self._older[trigger].joined(coming)
        else:
            self._newer.append(coming)

    def next(self, now: int) -> int | None:
        """The first moment after now that is known; None = there is no trigger."""
        return min((own.next(now) for own in (*self._coming.values(), *self._newer)), default=None)

    def remember(self, touched: int, now: int) -> None:
        """The next tick knows all of this, if it is the first one after the resolve batch `touched`.

        That must be certain: nobody else has evaluated what is in `changed`, or in change sets that are gone since.
        """
        by_key: dict[str, Mapping[TimeTrigger, Moments]] = {
            key: own
            for key, own in self._before.items()
            if key not in self.changed and any(moments.until > now for moments in own.values())
        }
        read: dict[str, dict[TimeTrigger, Moments]] = {}
        for trigger, own in self._coming.items():
            read.setdefault(change_key(trigger), {})[trigger] = own
        _recent.put(self._space, Remembered(touched, by_key | read))


@dataclass(frozen=True)
class Remembered:
    """by_key: of the change sets that bring new moments."""

    touched: int
    by_key: Mapping[str, Mapping[TimeTrigger, Moments]]

    @property
    def size(self) -> int:
        return sum(TRIGGER_SIZE + len(own) for mine in self.by_key.values() for own in mine.values())


def memory() -> Recent[int, Remembered]:
    """Of a process, by space."""
    return Recent(MOST_REMEMBERED, lambda remembered: remembered.size)


_recent = memory()


def _time(pair: tuple[int, int]) -> int:
    return pair[0]
