"""The resolve stage: one log per space, from archived events to profiles, timeline and change sets.

Live events and replays go through the same batches. While a replay runs and live events wait, odd and even numbers
take turns, so that neither starves. A replay changes no audience; its end changes everyone, once.
"""

import gc
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy
import pyarrow
from django.db import connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce
from pyroaring import BitMap

from identity import graph_store, rule_changes, splits
from identity.graph_store import Written
from identity.models import ChangeSet, Graph, ProfileSplit
from identity.reader import Intake, Taken, expect_copied, next_live, next_rejects, next_slice, read_again
from identity.rule_changes import NO_IDENTIFIERS
from identity.rules import event_rows
from identity.rules.extract import inputs
from identity.rules.messages import ArchivedEvent, read_events
from identity.rules.policy import policy_of
from identity.rules.resolution import EventBatch, Resolution, differing, event_batch, resolve
from identity.rules.slices import SliceRows, resolve_slice, slice_rows
from identity.rules.splits import SplitIndex, split_index
from sources.consumption import consume_all, consume_live, consume_slice
from sources.events import archive_table, client, timeline
from sources.events.archive_table import WHOLE_PIECE
from sources.events.schema import LINKS, OVERLAY, PROFILE_EVENTS, PROFILES, TIMELINE, TRAITS
from sources.models import Connection, Replay
from spaces.batches import unfinished
from spaces.clock import Clock
from spaces.clock import clock as database_clock
from spaces.errors import is_ours
from spaces.models import Log, Replaced, Space

logger = logging.getLogger(__name__)

NAME = "resolve"
REPLAY_ROWS = 100_000  # the more, the fewer of them are the same person's of two batches
LIVE_ROWS = 5_000  # so that what happens now is not long behind
UNUSABLE = "No matching identifiers on event: what it carries is missing or blocked."
UNWRITABLE = "unstorable"


class PreparedAgain(msgspec.Struct):
    """People are resolved once more: because of a split, of rules that are applied (dry_run), or of a source that is
    taken back (without); the other two are 0.

    numbers: of their profiles. homes: of those that are no more, where their events are. places: (source, piece,
    position) in the archive of the rows, as 8-byte integers. accounts: whose pages have events of theirs already.
    """

    split: int
    numbers: list[int]
    homes: dict[int, int]
    places: bytes
    without: int = 0
    dry_run: int = 0
    accounts: list[int] = []

    @property
    def cause(self) -> splits.Cause:
        return splits.Cause(self.split, self.dry_run, self.without)

    def is_of(self, component: splits.Component) -> bool:
        return (component.by.cause, [*component.numbers]) == (self.cause, self.numbers)


class PreparedResolve(msgspec.Struct):
    """What became of the rows [start, stop) of `taken`.

    profiles: for each the number of its profile as 4 bytes, 0 = refused. accounts: (row, account) of group calls.
    aliases: (loser, winner). people: (number, kind, known). links: (user, account), new ones. All little-endian 4-byte
    integers.
    change_sets: who changed, by key, as bitmaps.
    whole: with it everything of `taken` is done, so that places may move. ends: the replay that is complete with it.
    policy: the rules it was prepared by, when they were not the default.
    again: of a batch that resolves people once more, whom and because of what.
    """

    taken: Taken
    start: int = 0
    stop: int = 0
    profiles: bytes = b""
    accounts: bytes = b""
    aliases: bytes = msgspec.field(default=b"", name="overlay")  # as batches that wait in PostgreSQL have them
    people: bytes = b""
    links: bytes = b""
    change_sets: dict[str, bytes] = msgspec.field(default_factory=dict, name="touches")
    whole: bool = True
    ends: int | None = None
    settles: bool = False
    policy: Any = None
    again: PreparedAgain | None = None


@dataclass(frozen=True)
class _LastPrepared:
    """The batch that this thread prepared last, so that writing it need not read its rows again.

    events: of its rows, or of the slice that it is.
    """

    taken: Taken
    policy: Any
    rows: pyarrow.Table
    events: list[ArchivedEvent] | SliceRows
    component: splits.Component | None = None

    def is_of(self, prepared: "PreparedResolve") -> bool:
        if (self.taken, self.policy) != (prepared.taken, prepared.policy):
            return False
        if self.component is None or prepared.again is None:
            return self.component is prepared.again
        return prepared.again.is_of(self.component)


class Resolve:
    """spaces.batches.Stage. replay_rows, live_rows: the most rows of a batch."""

    name = NAME
    prepared = PreparedResolve

    def __init__(
        self, clock: Clock = database_clock, *, replay_rows: int = REPLAY_ROWS, live_rows: int = LIVE_ROWS
    ) -> None:
        self.clock, self.batch_size, self.live_rows = clock, replay_rows, live_rows
        # STAGE is one object for the whole process: what was prepared last is each thread's own.
        self._thread = threading.local()

    def read(self, log: Log, limit: int) -> Intake | None:
        self._thread.last = None
        space = Space.objects.get(pk=log.partition)
        now = self.clock.now()
        if again := splits.next_wish(space, now) or rule_changes.next_part(space, now):
            return Intake(space, Taken(), again.rows, again=again)
        running = Replay.objects.filter(space=space, state=Replay.State.RUNNING).order_by("pk").first()
        if running is None and Graph.objects.filter(space=space, untouched=True).exists():
            return Intake(space, Taken())  # the replay was cancelled
        # While both wait, live events have the even numbers and the replay the odd ones: neither starves.
        if running is None or log.last_number % 2:
            few = min(limit, self.live_rows)
            intake = next_rejects(space, few) or next_live(space, few)
            if intake or running is None:
                return intake
        return next_slice(space, running, limit)

    def size(self, intake: Intake) -> int:
        return 1 if intake.rows is None else intake.rows.num_rows

    def prepare(self, log: Log, intake: Intake, number: int) -> PreparedResolve:
        if intake.again:
            return self._prepare_again(log, intake, intake.again, number)
        if intake.rows is None:
            everyone = {ChangeSet.EVERYTHING: BitMap().serialize()}
            return PreparedResolve(intake.taken, ends=intake.ends, settles=True, change_sets=everyone)
        space, taken, rows = intake.space, intake.taken, intake.rows
        with _no_garbage_collection():
            policy = policy_of(space.identity_policy)
            batch = slice_rows(rows, policy) if taken.slice else event_batch(rows, policy)
            graph_store.take_again(space.pk, taken.rejects)
            by_hand = split_index(splits.active(space))
            # From here on the space's graph is this batch's.
            graph = graph_store.load(space, batch.events, policy, by_hand)
            resolution = resolve_slice(graph, batch) if isinstance(batch, SliceRows) else resolve(graph, batch)
            written = graph_store.record(space, number, graph, batch, resolution)
            refused = rows.take(pyarrow.array(resolution.refused, pyarrow.int64()))
            if taken.slice:  # of which there are no messages here
                refused = archive_table.read_rows(space.workspace_id, [*map(batch.place, resolution.refused)])
            graph_store.reject(space.pk, refused, code=NO_IDENTIFIERS, reason=UNUSABLE)
            events = batch if isinstance(batch, SliceRows) else batch.events
            self._thread.last = _LastPrepared(taken, space.identity_policy, rows, events)
            return PreparedResolve(
                taken,
                stop=taken.rows,
                profiles=numpy.array(resolution.profiles, "<u4").tobytes(),
                accounts=event_rows.pack(resolution.accounts.items()),
                aliases=event_rows.pack(written.aliases),
                people=event_rows.pack(written.people),
                links=event_rows.pack(written.links),
                # A replay tells nobody until its end, which tells everyone.
                change_sets={} if taken.slice else _change_sets(batch, resolution, written),
                policy=space.identity_policy,
            )

    def write(self, log: Log, prepared: PreparedResolve, number: int) -> None:
        tables = {
            OVERLAY: event_rows.profile_aliases(prepared.aliases),
            PROFILES: event_rows.people(prepared.people),
            LINKS: event_rows.links(prepared.links),
        }
        if prepared.stop > prepared.start:
            rows = self._copied(log, prepared, number) if prepared.taken.slice else self._resolved_rows(log, prepared)
            tables |= {
                TIMELINE: event_rows.timeline(rows),
                PROFILE_EVENTS: event_rows.profile_events(rows, prepared.again.accounts if prepared.again else ()),
                TRAITS: event_rows.traits(rows),
            }
        if prepared.again and prepared.whole:
            kept = event_rows.kept_traits(self._component(log, prepared.again).traits, prepared.again.homes)
            tables[TRAITS] = pyarrow.concat_tables([kept, *filter(None, [tables.get(TRAITS)])])
        # All tables at once: each insert waits for the disk, and one after the other they would wait five times.
        with client.at_once():
            for table, columns in tables.items():
                timeline.insert(table, columns, workspace_id=log.workspace_id, space_id=log.partition, piece=number)

    def commit(self, log: Log, prepared: PreparedResolve, number: int, outcome: None) -> None:
        self._thread.last = None
        if prepared.again:
            # Only now older rows are hidden: in the same moment the new ones can be read.
            log.replaced.filter(number=None).update(number=number)
            if prepared.whole and prepared.again.dry_run:
                rule_changes.came_true(prepared.again.dry_run, self.clock.now())
            elif prepared.whole:
                splits.came_true(prepared.again.split, self.clock.now())
        ChangeSet.objects.bulk_create(
            ChangeSet(workspace_id=log.workspace_id, space_id=log.partition, piece=number, key=key, profiles=profiles)
            for key, profiles in prepared.change_sets.items()
        )
        self._move(log, prepared)
        # In the same transaction: a replay that moves people and dies before its end leaves the mark that tells them.
        if prepared.settles:
            graph_store.mark_untouched(log.partition, untouched=False)
        elif prepared.taken.slice:
            graph_store.mark_untouched(log.partition, untouched=True)

    def _prepare_again(self, log: Log, intake: Intake, concerned: splits.Component, number: int) -> PreparedResolve:
        space, cause = intake.space, concerned.by.cause
        try:
            with transaction.atomic():
                # Of no events: for the counters alone, which it holds until the transaction ends.
                graph = graph_store.load(space, [], concerned.by.policy, SplitIndex())
                again = splits.resolve_again(concerned, graph.last_profile, graph.last_identifier)
                written = splits.record(again, number)
                self._reject_nobodys(space, again)
        except Exception as error:
            if not is_ours(error):  # a store is away: it is tried again
                raise
            # The wish of one person, who is told: it stops nobody's events.
            logger.exception("%s of space %s failed", cause, space.pk)
            why = f"{type(error).__name__}: {error}"
            if cause.dry_run:
                rule_changes.stopped(cause.dry_run, why, self.clock.now())
            else:
                splits.failed(ProfileSplit.objects.get(pk=cause.split), why, self.clock.now())
            return PreparedResolve(intake.taken)
        everyone = concerned.numbers | BitMap(written.created)
        # Without a number it hides nothing yet; but who reads PostgreSQL knows that these people are on the move.
        Replaced.objects.create(workspace_id=log.workspace_id, log=log, keys=[*everyone])
        changed = _change_sets(again.batch, again.resolution, written)
        # By all numbers, also those that are no more: whoever was a member by one of them is looked at.
        changed[ChangeSet.MERGED] = everyone.serialize()
        if concerned.accounts:
            changed[ChangeSet.LINKED] = (everyone | BitMap(concerned.accounts.values())).serialize()
        self._thread.last = _LastPrepared(intake.taken, space.identity_policy, concerned.rows, again.events, concerned)
        return PreparedResolve(
            intake.taken,
            stop=len(again.events),
            profiles=numpy.array(again.resolution.profiles[again.skipped :], "<u4").tobytes(),
            aliases=event_rows.pack(written.aliases),
            people=event_rows.pack(written.people),
            links=event_rows.pack(written.links),
            change_sets=changed,
            policy=space.identity_policy,
            again=PreparedAgain(
                cause.split,
                [*concerned.numbers],
                again.homes,
                concerned.places,
                dry_run=cause.dry_run,
                accounts=[*concerned.accounts.values()],
            ),
        )

    def _reject_nobodys(self, space: Space, again: splits.Resolved) -> None:
        """Events on which the rules that are applied find no identifier are rejects of the space."""
        if not again.component.by.cause.dry_run:
            return
        all_places = splits.places_of(again.component.rows)
        places = [all_places[index - again.skipped] for index in again.resolution.refused if index >= again.skipped]
        rows = archive_table.read_rows(space.workspace_id, places)
        graph_store.reject(space.pk, rows, code=NO_IDENTIFIERS, reason=UNUSABLE)

    def split(self, prepared: PreparedResolve) -> Sequence[PreparedResolve]:
        """The first part brings profiles and merges; the last tells about them, and moves the places."""
        half = (prepared.stop - prepared.start) // 2
        if half == 0:
            return []
        middle, cut = prepared.start + half, 4 * half
        replace = msgspec.structs.replace
        return [
            replace(prepared, stop=middle, profiles=prepared.profiles[:cut], change_sets={}, whole=False),
            replace(prepared, start=middle, profiles=prepared.profiles[cut:], aliases=b"", people=b"", links=b""),
        ]

    def refuse(self, log: Log, prepared: PreparedResolve, error: Exception) -> PreparedResolve:
        if prepared.start == prepared.stop:
            raise error  # numbers alone: nothing in them can be refused
        refused = self._resolved_rows(log, prepared).rows
        self._thread.last = None
        graph_store.reject(log.partition, refused, code=UNWRITABLE, reason=str(error))
        _count(prepared)
        return msgspec.structs.replace(prepared, start=prepared.stop, profiles=b"")

    def skip(self, log: Log, intake: Intake, error: Exception) -> None:
        if intake.rows is None:
            raise error
        graph_store.take_again(log.partition, intake.taken.rejects)
        rows = read_again(log.workspace_id, intake.taken)[0] if intake.taken.slice else intake.rows
        graph_store.reject(log.partition, rows, code=UNWRITABLE, reason=str(error))
        self._move(log, PreparedResolve(intake.taken, stop=intake.taken.rows))

    def erase(self, log: Log, numbers: Sequence[int]) -> None:
        timeline.erase(log.partition, numbers)

    def _resolved_rows(self, log: Log, prepared: PreparedResolve) -> event_rows.ResolvedRows:
        """The prepared rows, with the profiles it gave them."""
        last: _LastPrepared | None = getattr(self._thread, "last", None)
        # The rules are part of it: identifiers on the events are those that the rules of the time found on them.
        if last and last.is_of(prepared) and not isinstance(last.events, SliceRows):
            rows, events, here = last.rows, last.events, numpy.ones(last.rows.num_rows, bool)
        else:
            if prepared.again:
                rows, here = self._component(log, prepared.again).rows_at(prepared.again.places)
            else:
                rows, here = read_again(log.workspace_id, prepared.taken)
            events = read_events(rows["message"].cast(pyarrow.binary()).to_pylist(), policy_of(prepared.policy))
        within = range(prepared.start, prepared.stop)
        return event_rows.resolved_rows(rows, events, here, within, prepared.profiles, prepared.accounts)

    def _copied(self, log: Log, prepared: PreparedResolve, number: int) -> event_rows.ResolvedRows:
        """Those of a prepared slice that ClickHouse cannot copy from the archive by itself; the others are copied."""
        last: _LastPrepared | None = getattr(self._thread, "last", None)
        if last and last.is_of(prepared) and isinstance(last.events, SliceRows):
            rows, slice, here = last.rows, last.events, numpy.ones(last.rows.num_rows, bool)
        else:
            policy = policy_of(prepared.policy)
            rows, here = read_again(log.workspace_id, prepared.taken, inputs(policy))
            slice = slice_rows(rows, policy)
        within = range(prepared.start, prepared.stop)
        places, others = event_rows.parted(rows, slice, here, within, prepared.profiles, prepared.accounts)
        copied = timeline.copy(places, workspace_id=log.workspace_id, space_id=log.partition, piece=number)
        expect_copied(prepared.taken, places, copied)
        return others

    def _component(self, log: Log, again: PreparedAgain) -> splits.Component:
        last: _LastPrepared | None = getattr(self._thread, "last", None)
        if last and last.component and again.is_of(last.component):
            return last.component
        # Only its rows are asked for now, so it does not matter by which rules it was resolved.
        by = splits.rules_now(Space.everything.get(pk=log.partition), again.cause)
        return splits.read(by, BitMap(again.numbers))

    def _move(self, log: Log, prepared: PreparedResolve) -> None:
        """What was taken is done, as far as anyone can see."""
        now = self.clock.now()
        _count(prepared)
        if not prepared.whole:
            return
        for live in prepared.taken.live:
            start, end = (live.after_piece, live.after_position), (live.piece, live.position)
            consume_live(log.partition, live.source, start, end)
        if part := prepared.taken.slice:
            Replay.objects.filter(pk=part.replay).update(
                cursor=list(part.upto), started_at=Coalesce("started_at", Value(now))
            )
            consume_slice(part.replay, [source for source, _ in part.cutoffs], part.upto)
        if not prepared.ends:
            return
        # The replay is over, and its sources are live from right after their cut-offs; unless somebody cancelled it.
        running = Replay.objects.filter(pk=prepared.ends, state=Replay.State.RUNNING)
        if running.update(
            state=Replay.State.COMPLETE,
            total=F("done"),  # what was counted when it was asked for may have come on another way since
            finished_at=now,
            started_at=Coalesce("started_at", Value(now)),
        ):
            consume_all(Replay.objects.get(pk=prepared.ends))
            replaying = Connection.objects.filter(replay=prepared.ends, state=Connection.State.REPLAYING)
            replaying.update(state=Connection.State.LIVE)


STAGE = Resolve()


def waiting(now: datetime) -> list[int]:
    """Spaces with events that are archived and not resolved, a replay to go on with, or a batch to finish."""
    # The pairs compare as `LogPlace.has_more` does. `untouched`: a cancelled replay moved people, and told nobody.
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.space_id FROM sources_connection c
               JOIN spaces_log l ON l.stage = 'archive' AND l.owner = c.source_id
               WHERE c.state = 'live' AND (l.published, %s) > (c.piece, c.position)
               UNION SELECT space_id FROM sources_replay WHERE state = 'running'
               UNION SELECT space_id FROM identity_graph WHERE untouched
               UNION SELECT space_id FROM identity_profilesplit WHERE state IN ('wanted', 'unwanted')
               UNION SELECT space_id FROM identity_dryrun WHERE state = 'moving'
               UNION SELECT r.space_id FROM sources_reject r JOIN sources_source s ON s.id = r.source_id
               WHERE r.again AND s.deleted_at IS NULL""",
            [WHOLE_PIECE],
        )
        return sorted({space for (space,) in cursor.fetchall()} | set(unfinished(NAME)))


def replaying() -> set[int]:
    """Spaces into which a replay runs."""
    return set(Replay.objects.filter(state=Replay.State.RUNNING).values_list("space_id", flat=True))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A batch creates 100,000s of objects that all stay; looking through them would take a fifth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _count(prepared: PreparedResolve) -> None:
    if part := prepared.taken.slice:
        Replay.objects.filter(pk=part.replay).update(done=F("done") + prepared.stop - prepared.start)


def _change_sets(batch: EventBatch, resolution: Resolution, written: Written) -> dict[str, bytes]:
    """Who changed, by what; by the numbers that are left at the end of the batch."""
    changed: dict[str, Iterable[int]] = {
        ChangeSet.CREATED: written.created,
        ChangeSet.MERGED: written.winners.values(),
        ChangeSet.IDENTIFIED: written.gained,
        ChangeSet.LINKED: [number for link in written.links for number in link],
    }
    by_name: dict[str, set[int]] = {}
    for number, (before, after) in written.traits.items():
        for key in differing(before, after):
            by_name.setdefault(ChangeSet.trait(key), set()).add(number)
    for event, number in zip(batch.events, resolution.profiles, strict=True):
        if event.event and number:
            by_name.setdefault(ChangeSet.event(event.event), set()).add(number)
    winners = written.winners
    return {
        key: BitMap({winners.get(number, number) for number in numbers}).serialize()
        for key, numbers in (changed | by_name).items()
        if numbers
    }
