"""Other rules for a space are worked out beside what is: who would be who. Nothing of the space changes.

What is compared is read at one moment between two batches of the space, then resolved in memory
(identity.rules.comparison). So it takes as long as reading every event once, says how far it is, and can be cancelled.
Rules that are applied are compared once more, as of a moment after which nothing is resolved by the older ones.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy
from django.db import connection
from pyroaring import BitMap

from identity import graph_store, history, rule_changes, splits
from identity.models import DryRun, Evidence, Graph, Profile
from identity.rules.comparison import DifferingPeople, RulesComparison
from identity.rules.graph import ACCOUNT_TYPE, Node
from identity.rules.messages import read_people
from identity.rules.policy import Identifier, Policy, policy_of
from identity.rules.splits import split_index
from identity.splits import TooMuch
from sources.events import archive_table, timeline
from sources.events.timeline import Scope
from sources.models import Reject
from spaces.batches import owning_in_between
from spaces.clock import Clock
from spaces.errors import is_ours
from spaces.models import Batch, Space
from spaces.text import storable
from spaces.times import from_milliseconds, milliseconds

logger = logging.getLogger(__name__)

KEPT = timedelta(days=7)
ROUND_S = 2.0  # then somebody else has a turn
PATIENCE_S = 10  # resolve lets go of a space between two batches
READ_AT_ONCE = 50_000  # events
REJECTS_AT_ONCE = 1_000
# All of them are in memory, about 2 KB each with whoever has them now and would have them.
MOST_IDENTIFIERS = 1_000_000
SAMPLED, SHOWN_PROFILES, SHOWN_IDENTIFIERS, SHOWN_NUMBERS = 20, 5, 10, 5
State = DryRun.State
PIECE = 1  # the batch of all rows that are nowhere
Sizes = Callable[[DryRun, Sequence[BitMap] | None, datetime], Any]


class Unsettled(Exception):
    """The space is in the middle of a batch."""


class Cancelled(Exception):
    """Somebody does not want to know any more."""


@dataclass
class SpaceNow:
    """The people of a space at one moment. left: of each number that was merged, the one that is left."""

    scope: Scope
    at: datetime
    people: dict[int, Node]
    left: dict[int, int]

    def stands_for(self) -> dict[int, int]:
        """How many numbers each number that is left stands for, itself included."""
        count = dict.fromkeys(self.people, 1)
        for winner in self.left.values():
            if winner in count:
                count[winner] += 1
        return count


def nowhere(pk: int) -> int:
    """Under this number of no space a dry run may write rows to the event tables, and deletes them again."""
    return 2**32 - 1 - pk  # spaces count from 1: none is ever near it


# Of this process, by primary key: what is not worked out to the end yet.
_jobs: "dict[int, _DryRunJob]" = {}


def due() -> list[int]:
    """The primary keys of those that are to be worked out."""
    return list(DryRun.objects.filter(state__in=DryRun.COMPARES).values_list("pk", flat=True))


def run(pk: int, clock: Clock, sizes: Sizes | None = None) -> bool:
    """It is worked out further, for about two seconds. False when it has to wait, or is over.

    What is known so far is in this process alone: another one begins anew. sizes: works out the sizes of audiences; its
    answer is kept with the figures.
    """
    DryRun.objects.filter(pk=pk, state=State.WAITING).update(state=State.RUNNING)
    dry_run = DryRun.objects.select_related("space").filter(pk=pk, state__in=(State.RUNNING, State.APPLYING)).first()
    for other in _jobs.keys() - set(due()):  # cancelled, or done by another process
        del _jobs[other]
    if dry_run is None:
        return False
    # Taken out while it is at work: after a failure there is nothing half done to go on with.
    job = _jobs.pop(pk, None)
    # What was begun before the rules were applied is of a moment too early.
    if job is None or job.dry_run.state != dry_run.state:
        job = _DryRunJob(dry_run, clock, sizes)
    end = time.monotonic() + ROUND_S
    try:
        for _ in job.steps:
            if time.monotonic() > end:
                _jobs[pk] = job
                return True
    except (Unsettled, Cancelled):
        return False
    except TooMuch as error:
        job.fail(str(error))
    except Exception as error:
        if not is_ours(error):  # a store is away: beat tries again
            raise
        logger.exception("dry run %s failed", dry_run.public_id)
        job.fail(f"{type(error).__name__}: {error}")
    return True


def sweep(now: datetime) -> None:
    """Those that ended a while ago are gone."""
    old = DryRun.objects.filter(created_at__lt=now - KEPT).exclude(state__in=DryRun.UNDER_WAY)
    for dry_run in old:
        timeline.erase(nowhere(dry_run.pk), [PIECE])  # of one whose process died while it was cancelled
        dry_run.delete()


class _DryRunJob:
    """One comparison. differing: who would be others by what was resolved; without what would be resolved only now.

    parts: these, batch by batch; None = they cannot be resolved in parts, and why_not says why.
    """

    def __init__(self, dry_run: DryRun, clock: Clock, sizes: Sizes | None) -> None:
        self.dry_run, self.clock, self.sizes = dry_run, clock, sizes
        self.steps = self._steps()
        self.policy = policy_of(dry_run.policy)
        self.differing: list[DifferingPeople] = []
        self.why_not = ""
        self.parts: list[BitMap] | None = None

    def _steps(self) -> Iterator[None]:
        """All of it, with stops at which something else may have a turn. Raises Unsettled, Cancelled, TooMuch."""
        space = self.dry_run.space
        now = _at_rest(space, self.clock)
        comparison = RulesComparison(self.policy, split_index(graph_store.active_splits(space)), now.people)
        for identifiers, at, profile in _gone(space, now, self.policy):
            comparison.see(identifiers, at, profile, events=0)
        for event in self._events(now):
            if event is None:
                yield
            else:
                comparison.see(*event)
        outcome = self._outcome(comparison, now)
        if self.dry_run.state == State.APPLYING:
            return self._move()
        if self.sizes:
            yield
            outcome["result"]["audiences"] = self.sizes(self.dry_run, self.parts, now.at)
        self._end(State.DONE, **outcome)

    def fail(self, error: str) -> None:
        state = State.STOPPED if self.dry_run.state == State.APPLYING else State.FAILED
        self._end(state, error=storable(error)[:2_000])

    def _outcome(self, comparison: RulesComparison, now: SpaceNow) -> dict[str, Any]:
        """What is kept of it."""
        self.differing = comparison.differing()
        try:
            self.parts = rule_changes.in_parts(self.differing, now.stands_for())
        except TooMuch as error:
            self.why_not = str(error)
        # They are resolved after everything else, as they will be when the rules are applied.
        for identifiers, at in _rejects(self.dry_run.space, self.policy):
            comparison.see(identifiers, at, 0)
        shown = [people for people in self.differing if people.is_shown]
        # Evenly from those with most events to those with least.
        count = min(SAMPLED, len(shown))
        samples = [_sample(shown[place * len(shown) // count]) for place in range(count)]
        pairs = (pair for sample in samples for after in sample["after"] for pair in after["identifiers"])
        result = asdict(comparison.figures()) | {
            # Nobody's identifiers: how many, and whose they are today.
            "largest": [
                {
                    "identifiers": len(profile.identifiers),
                    "events": profile.events,
                    "of": profile.of[:SHOWN_NUMBERS],
                    "profiles": len(profile.of),
                }
                for profile in comparison.largest()
            ],
            "differing": len(shown),
            "toMove": sum(len(people.now) for people in self.differing),
            "whyNot": self.why_not,
        }
        named = sorted({tuple(pair) for pair in pairs})
        return {"result": result, "samples": samples, "named": named, "as_of": now.at}

    def _move(self) -> None:
        """Resolve is to go on with whoever differs, if anybody does."""
        if self.parts is None:
            self._end(State.STOPPED, error=self.why_not)
        elif not self.parts:
            self._end(State.APPLIED)
            rule_changes.try_rejects_again(self.dry_run.space_id)
        else:
            packed = rule_changes.packed(self.parts)
            self._still().update(state=State.MOVING, parts=packed, parts_total=len(self.parts), parts_done=0)

    def _end(self, state: State, **fields: Any) -> None:
        self._still().update(state=state, finished_at=self.clock.now(), **fields)

    def _still(self) -> Any:
        # By its state: who cancels in this moment is not overruled.
        return DryRun.objects.filter(pk=self.dry_run.pk, state=self.dry_run.state)

    def _events(self, now: SpaceNow) -> Iterator[tuple[tuple[Identifier, ...], int, int] | None]:
        """(identifiers of the person, time in ms, whose it is) of every event, in the order of their first resolve.

        None now and then: much was done since.
        """
        # By profile, as the table has them, each read once; of each only what the rules find on it is kept.
        sets: dict[tuple[Identifier, ...], int] = {}
        columns: list[list[numpy.ndarray]] = []
        counts = timeline.events_by_profile(now.scope)
        self._progress(0, total=sum(count for _, count in counts))
        for first, last, done in _ranges(counts):
            rows = timeline.messages_of(now.scope, first, last)
            # Calls of accounts are among their members' events as well, or name nobody.
            owners = [now.left.get(number, number) for number in rows["profile"].to_pylist()]
            people = numpy.array([owner in now.people for owner in owners], bool)
            read = read_people(rows["message"].cast("binary").to_pylist(), self.policy)
            columns.append(
                [
                    numpy.array([sets.setdefault(identifiers, len(sets)) for identifiers in read], "<i8")[people],
                    rows["at"].to_numpy()[people],
                    numpy.array(owners, "<i8")[people],
                    rows["first_piece"].to_numpy()[people],
                    rows["first_position"].to_numpy()[people],
                ]
            )
            self._progress(done)
            yield None
        if not columns:
            return
        place, at, owner, piece, position = (numpy.concatenate(parts) for parts in zip(*columns, strict=True))
        # lexsort goes by its last key first: by piece, then by position.
        in_order, known = numpy.lexsort((position, piece)), list(sets)
        for start in range(0, len(in_order), READ_AT_ONCE):
            some = in_order[start : start + READ_AT_ONCE]
            yield from zip(
                [known[index] for index in place[some].tolist()], at[some].tolist(), owner[some].tolist(), strict=True
            )
            self._progress(None)
            yield None

    def _progress(self, done: int | None, **fields: int) -> None:
        fields |= {} if done is None else {"done": done}
        still = self._still()
        if not (still.update(**fields) if fields else still.exists()):
            raise Cancelled


def _at_rest(space: Space, clock: Clock) -> SpaceNow:
    """The space as of now, between two batches: both stores say the same. Raises Unsettled, TooMuch."""
    with owning_in_between(f"resolve:{space.pk}", within_s=PATIENCE_S) as is_ours:
        # What was prepared and not committed is in one store alone, and may be by older rules.
        if not is_ours or Batch.objects.filter(log__stage="resolve", log__partition=space.pk).exists():
            raise Unsettled
        return _space_now(space, clock)


def _space_now(space: Space, clock: Clock) -> SpaceNow:
    # The newest number: there are no more than that, and nothing has to be counted.
    known = Graph.objects.filter(space=space).values_list("last_identifier", flat=True).first() or 0
    if known > MOST_IDENTIFIERS:
        raise TooMuch(f"The space has {known:,} identifiers; at most {MOST_IDENTIFIERS:,} are worked out in memory.")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT number, merges FROM identity_profile WHERE space_id = %s AND merged_into IS NULL AND kind = %s",
            [space.pk, Profile.Kind.USER],
        )
        people = {number: Node(number, {}, merges) for number, merges in cursor.fetchall()}
        cursor.execute(
            "SELECT number, merged_into FROM identity_profile WHERE space_id = %s AND merged_into IS NOT NULL",
            [space.pk],
        )
        left = dict(cursor.fetchall())
        cursor.execute(
            """SELECT profile, type, value, (extract(epoch FROM first_seen_at) * 1000)::bigint
               FROM identity_identifier WHERE space_id = %s AND type <> %s AND profile <> 0 ORDER BY number""",
            [space.pk, ACCOUNT_TYPE],
        )
        for number, type, value, at in cursor.fetchall():
            if number in people:
                people[number].identifiers[type, value] = at
        return SpaceNow(history.scope_of(space), clock.now(), people, left)


def _gone(space: Space, now: SpaceNow, policy: Policy) -> Iterator[tuple[tuple[Identifier, ...], int, int]]:
    """Sets of identifiers whose events are not kept any more, the oldest first, and whose they were."""
    rows, oldest = Evidence.objects.filter(space=space), timeline.oldest(now.scope)
    if oldest is not None:
        # Of a set that was seen last before the oldest event, none is kept. Others are seen among the events.
        rows = rows.filter(last_seen_at__lt=from_milliseconds(oldest))
    for row in rows.order_by("first_seen_at", "pk").iterator():
        owner = now.left.get(row.profile, row.profile)
        if owner in now.people and (left := splits.still_usable(row, policy)):
            yield left, milliseconds(row.first_seen_at), owner


def _rejects(space: Space, policy: Policy) -> Iterator[tuple[tuple[Identifier, ...], int]]:
    """Events on which no identifier was found, and that have one by this policy; in the order in which resolve takes
    them again."""
    rejects = Reject.objects.filter(space=space, code=graph_store.NO_IDENTIFIERS, source__deleted_at=None)
    rows_of = rejects.order_by("id").values_list("source", "piece", "position")
    places = [(source, piece or 0, position or 0) for source, piece, position in rows_of]
    for start in range(0, len(places), REJECTS_AT_ONCE):
        rows = archive_table.read_rows(space.workspace_id, places[start : start + REJECTS_AT_ONCE])
        times = rows["ts"].cast(archive_table.MILLISECONDS).cast("int64").to_pylist()
        read = read_people(rows["message"].cast("binary").to_pylist(), policy)
        yield from ((identifiers, at) for identifiers, at in zip(read, times, strict=True) if identifiers)


def _ranges(counts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """(first number, last number, events so far) of neighbours who have about as many events as are read at once."""
    first, own, done = None, 0, 0
    for number, events in counts:
        first = number if first is None else first
        own, done = own + events, done + events
        if own >= READ_AT_ONCE:
            yield first, number, done
            first, own = None, 0
    if first is not None:
        yield first, counts[-1][0], done


def _sample(people: DifferingPeople) -> dict[str, Any]:
    """What they are today is read when it is shown: from today's profiles, by their numbers."""
    return {
        "now": people.now[:SHOWN_PROFILES],
        "moreNow": max(len(people.now) - SHOWN_PROFILES, 0),
        "moreAfter": max(len(people.future) - SHOWN_PROFILES, 0),
        "events": people.events,
        "after": [
            {
                "identifiers": profile.identifiers[:SHOWN_IDENTIFIERS],
                "more": max(len(profile.identifiers) - SHOWN_IDENTIFIERS, 0),
                "events": profile.events,
                "of": profile.of[:SHOWN_NUMBERS],
            }
            for profile in people.future[:SHOWN_PROFILES]
        ],
    }
