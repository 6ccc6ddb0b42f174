"""The evaluate stage: one log per space, whose batches are ticks. Who entered and left, because of what, since when.

A tick reads two logs up to one moment: the change sets that resolve committed, and the clock, whose entries are derived
from the time triggers of the conditions. Whoever neither concerns is as before. The same statement that previews an
audience, narrowed to these people, says of each audience that reads any of it who is in now.

A new version is computed in full beside the ticks (`audiences.backfill`), from a moment that it notes first; the
next tick catches it up from there and puts it in the old one's place. What it changes is one change like any other.
A version that cannot be evaluated stops no other: it falls behind, and is caught up with from its own place later.
While a replay runs, nothing is computed in full and nothing joins: nobody enters and leaves on its way.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec
import pyarrow
from django.db import connection
from django.db.models import Count, F, Min, OuterRef, Subquery
from pyroaring import BitMap

from audiences import evaluation, failures, queries
from audiences.evaluation import Subject, Tick
from audiences.failures import Trouble
from audiences.models import Audience, Change, Evaluation, Version
from identity.models import ChangeReader, ChangeSet
from identity.queries import moved_after
from sources.events import client
from sources.events.schema import MEMBERSHIP_LOG, TRAIT_LOG
from spaces.batches import unfinished
from spaces.clock import UNSTEADY, Clock, rows_due
from spaces.clock import clock as database_clock
from spaces.models import Log, Space
from spaces.times import from_milliseconds, milliseconds

logger = logging.getLogger(__name__)

NAME = "evaluate"
# In a space with many windows somebody's ends at nearly every moment: for the clock alone it is evaluated no more often
# than this. Whoever does something does not wait.
CLOCK_EVERY = timedelta(seconds=5)
SNAPSHOT_EVERY = 64  # changes, until the members are written down again
Cause = Change.Cause


class Changed(msgspec.Struct, array_like=True):
    """What a tick does to one audience, by one cause. Bitmaps of canonical profile numbers."""

    audience: int
    cause: str
    entered: bytes
    left: bytes
    refreshed: bytes
    size: int
    values: dict[int, str] = {}  # of a computed trait, by profile; "" = none any more


class PreparedTick(msgspec.Struct):
    """A tick: change sets up to `touched` and moments up to `at` are evaluated; nothing is due before `next_at` (ms).

    joined: versions that serve from now on. By version, why it could not be evaluated: failed, by its own fault;
    troubled, by the engine's. put_back_ms: by how much the clock had run ahead that was put back, if it was.
    """

    touched: int
    at: int
    next_at: int | None
    changes: list[Changed] = []
    joined: list[int] = []
    failed: dict[int, str] = {}
    troubled: dict[int, Trouble] = {}
    put_back_ms: int | None = None


class Evaluate:
    """The stage (spaces.batches.Stage)."""

    name = NAME
    prepared = PreparedTick
    batch_size = 1

    def __init__(self, clock: Clock = database_clock) -> None:
        self.clock = clock

    def read(self, log: Log, limit: int) -> Tick | None:
        space = Space.objects.filter(pk=log.partition).first()
        if space is None:
            return None
        state, _ = Evaluation.objects.get_or_create(space=space, defaults={"workspace_id": space.workspace_id})
        return evaluation.next_tick(space, state, self.clock)

    def size(self, intake: Tick) -> int:
        return 1

    def prepare(self, log: Log, intake: Tick, number: int) -> PreparedTick | None:
        place = Evaluation.objects.select_for_update().filter(space=log.partition).first()
        if place is None or (place.touched, place.clock_at) != intake.place:
            return None
        # Else somebody who stays would leave for one tick, and every destination would be told.
        if moved_after(log.partition, intake.end):  # some people were resolved once more meanwhile
            return None
        intake.calendar.remember(intake.end, milliseconds(intake.now))
        return PreparedTick(
            touched=intake.end,
            at=milliseconds(intake.now),
            next_at=intake.next_at,
            changes=[change for subject in intake.subjects for change in _changes(subject, intake)],
            joined=[
                subject.version.pk for subject in intake.subjects if subject.joins and subject not in intake.problems
            ],
            failed=intake.problems.failed,
            troubled=intake.problems.troubled,
            put_back_ms=None if intake.put_back_by is None else intake.put_back_by // timedelta(milliseconds=1),
        )

    def write(self, log: Log, prepared: PreparedTick, number: int) -> None:
        if rows := list(_membership_rows(log, prepared, number)):
            client.insert(MEMBERSHIP_LOG, pyarrow.concat_tables(rows))
        if rows := list(_value_rows(log, prepared, number)):
            client.insert(TRAIT_LOG, pyarrow.concat_tables(rows))

    def commit(self, log: Log, prepared: PreparedTick, number: int, outcome: None) -> None:
        place = Evaluation.objects.select_for_update().get(space=log.partition)
        joining = Version.objects.filter(pk__in=prepared.joined).select_related("audience")
        before = queries.members_of([version.audience_id for version in joining])
        _keep_changes(log, prepared, number)
        _leave_behind(prepared, number, place, self.clock.now())
        for version in joining.all():
            members = before[version.audience_id]
            for change in prepared.changes:
                if change.audience == version.audience_id:
                    members = (members - queries.bitmap(change.left)) | queries.bitmap(change.entered)
            _join(version, number, members)
        _keep_snapshots(prepared)
        if prepared.put_back_ms is not None:
            _keep_put_back(place, prepared)
        place.touched, place.clock_at = prepared.touched, from_milliseconds(prepared.at)
        place.next_at = None if prepared.next_at is None else from_milliseconds(prepared.next_at)
        place.save()
        _forget_change_sets(place)

    def split(self, prepared: PreparedTick) -> Sequence[PreparedTick]:
        return []

    def refuse(self, log: Log, prepared: PreparedTick, error: Exception) -> PreparedTick:
        raise error  # numbers alone: nothing in them can be refused

    def skip(self, log: Log, intake: Tick, error: Exception) -> None:
        raise error

    def erase(self, log: Log, numbers: Sequence[int]) -> None:
        for table in (MEMBERSHIP_LOG, TRAIT_LOG):
            client.erase(table, "space", log.partition, numbers)


STAGE = Evaluate()


def waiting(now: datetime) -> list[int]:
    """Spaces where someone changed, a window may have opened or closed, a version is to join, or the clock was
    put back."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT t.space_id FROM identity_touch t LEFT JOIN audiences_evaluation e USING (space_id)
               WHERE t.piece > coalesce(e.touched, 0)
               UNION SELECT space_id FROM audiences_evaluation
               WHERE (next_at <= %s AND coalesce(clock_at <= %s, true)) OR clock_at > %s""",
            [now, now - CLOCK_EVERY, now + UNSTEADY],
        )
        moved = {space for (space,) in cursor.fetchall()}
    joins = queries.kept_versions().filter(
        rows_due("retry_at", now, longest=failures.TRIED_AGAIN), state=Version.State.CATCHING_UP
    )
    return sorted({*moved, *joins.values_list("audience__space", flat=True), *unfinished(NAME)})


# Preparing


def _changes(subject: Subject, tick: Tick) -> Iterator[Changed]:
    """What became of one audience: at most one change for each cause."""
    if subject in tick.problems:
        return
    entered, left = subject.new - subject.old, subject.old - subject.new
    stayed = subject.old & subject.new
    # Who stayed is told about anew when their identifiers changed: destinations know people by these.
    refreshed = stayed if subject.replayed else stayed & (subject.identified | BitMap(subject.values))
    changed = entered | left | refreshed
    if subject.computed:
        causes = [(Cause.COMPUTE, changed)]
    elif subject.replayed:
        causes = [(Cause.REPLAY, changed)]
    else:
        by_events = changed & (tick.touched | subject.identified)
        causes = [(Cause.EVENTS, by_events), (Cause.CLOCK, changed - by_events)]
    for cause, profiles in causes:
        # A computed version says so even when nothing changed: it serves from this tick on.
        if profiles or subject.computed:
            yield Changed(
                audience=subject.version.audience,
                cause=cause,
                entered=(entered & profiles).serialize(),
                left=(left & profiles).serialize(),
                refreshed=(refreshed & profiles).serialize(),
                size=len(subject.new),
                values={number: value for number, value in subject.values.items() if number in profiles},
            )


# Writing


def _membership_rows(log: Log, prepared: PreparedTick, number: int) -> Iterator[pyarrow.Table]:
    """A table for each side of each change; none for a side that is empty."""
    for change in prepared.changes:
        for entered, packed in ((1, change.entered), (0, change.left)):
            if profiles := queries.bitmap(packed):
                same = {
                    "workspace": pyarrow.scalar(log.workspace_id, pyarrow.uint32()),
                    "space": pyarrow.scalar(log.partition, pyarrow.uint32()),
                    "piece": pyarrow.scalar(number, pyarrow.uint64()),
                    "audience": pyarrow.scalar(change.audience, pyarrow.uint32()),
                    "at": pyarrow.scalar(from_milliseconds(prepared.at), pyarrow.timestamp("ms", tz="UTC")),
                    "entered": pyarrow.scalar(entered, pyarrow.uint8()),
                    "cause": pyarrow.scalar(change.cause, pyarrow.string()),
                }
                columns = {name: pyarrow.repeat(value, len(profiles)) for name, value in same.items()}
                yield pyarrow.table({**columns, "profile": pyarrow.array(profiles.to_array(), pyarrow.uint32())})


def _value_rows(log: Log, prepared: PreparedTick, number: int) -> Iterator[pyarrow.Table]:
    for change in prepared.changes:
        if change.values:
            same = {
                "workspace": pyarrow.scalar(log.workspace_id, pyarrow.uint32()),
                "space": pyarrow.scalar(log.partition, pyarrow.uint32()),
                "piece": pyarrow.scalar(number, pyarrow.uint64()),
                "trait": pyarrow.scalar(change.audience, pyarrow.uint32()),
                "at": pyarrow.scalar(from_milliseconds(prepared.at), pyarrow.timestamp("ms", tz="UTC")),
            }
            columns = {name: pyarrow.repeat(value, len(change.values)) for name, value in same.items()}
            own = {
                "profile": pyarrow.array([*change.values], pyarrow.uint32()),
                "value": pyarrow.array([*change.values.values()], pyarrow.string()),
            }
            yield pyarrow.table({**columns, **own})


# Committing


def _keep_changes(log: Log, prepared: PreparedTick, number: int) -> None:
    Change.objects.bulk_create(
        Change(
            workspace_id=log.workspace_id,
            space_id=log.partition,
            audience_id=change.audience,
            tick=number,
            at=from_milliseconds(prepared.at),
            cause=change.cause,
            entered=change.entered,
            left=change.left,
            refreshed=change.refreshed,
            size=change.size,
        )
        for change in prepared.changes
    )
    for change in prepared.changes:
        Audience.everything.filter(pk=change.audience).update(size=change.size)


def _leave_behind(prepared: PreparedTick, number: int, place: Evaluation, now: datetime) -> None:
    """Who was not evaluated stays where the space was before this tick, and is caught up with later.

    place: that of the space before it. That is so for a version that serves as well when it was another one,
    which was to take its place, that could not be evaluated.
    """
    problems = prepared.failed.keys() | prepared.troubled.keys()
    if not problems:
        return
    live = Version.objects.filter(audience__versions__in=problems, audience__serving=F("pk"), state=Version.State.LIVE)
    live.update(
        state=Version.State.CATCHING_UP,
        touched=place.touched,
        clock_at=place.clock_at,
        tick=number - 1,
        exact_at=place.clock_at and min(place.clock_at, from_milliseconds(prepared.at)),
    )
    evaluated = Version.objects.filter(pk__in=problems, state=Version.State.CATCHING_UP)
    for version in evaluated.defer("snapshot").select_for_update():
        if version.pk in prepared.failed:
            failures.failed(version, prepared.failed[version.pk], now, again=timedelta())
        else:
            failures.trouble(version, prepared.troubled[version.pk], now)


def _keep_put_back(place: Evaluation, prepared: PreparedTick) -> None:
    """What the wrong clock left behind counts as of now; when that was, and by how much, is kept to be shown."""
    now = from_milliseconds(prepared.at)
    place.put_back_at, place.put_back_by = now, timedelta(milliseconds=prepared.put_back_ms or 0)
    logger.warning("space %s was evaluated by a clock that ran %s ahead", place.space_id, place.put_back_by)
    Audience.everything.filter(space=place.space_id, events_since__gt=now + UNSTEADY).update(events_since=now)


def _join(version: Version, number: int, members: BitMap) -> None:
    """The version serves in place of the ones before it."""
    older = Version.objects.filter(audience=version.audience, number__lt=version.number)
    older.exclude(state=Version.State.FAILED).update(state=Version.State.REPLACED, snapshot=None, computed=None)
    Version.objects.filter(pk=version.pk).update(
        state=Version.State.LIVE,
        snapshot=members.serialize(),
        snapshot_tick=number,
        computed=None,
        exact_at=None,
        **failures.WELL,
    )
    Audience.everything.filter(pk=version.audience_id).update(serving=version)


def _keep_snapshots(prepared: PreparedTick) -> None:
    """Reading the members never means going through many changes."""
    newer = Change.objects.filter(audience=OuterRef("audience"), tick__gt=OuterRef("snapshot_tick")).order_by()
    changed = Version.objects.filter(audience__in=[change.audience for change in prepared.changes])
    many = changed.annotate(changes=Subquery(newer.values("audience").values(count=Count("pk"))))
    serving = many.filter(audience__serving=F("pk"), changes__gte=SNAPSHOT_EVERY).select_related("audience")
    for version in serving.defer("snapshot", "computed", "definition"):
        last = queries.changes_after(version.audience, version.snapshot_tick).last()
        assert last is not None  # they were counted
        version.snapshot, version.snapshot_tick = queries.members(version.audience).serialize(), last.tick
        version.save(update_fields=["snapshot", "snapshot_tick"])


def _forget_change_sets(place: Evaluation) -> None:
    """Change sets that all their readers have seen are of no use any more. `place` is locked (audiences.backfill)."""
    coming = queries.kept_versions().filter(audience__space=place.space_id).exclude(state=Version.State.LIVE)
    behind = coming.aggregate(oldest=Min("touched"))["oldest"]
    others = ChangeReader.objects.filter(space=place.space_id).aggregate(oldest=Min("piece"))["oldest"]
    seen = min(read for read in (place.touched, behind, others) if read is not None)
    ChangeSet.objects.filter(space=place.space_id, piece__lte=seen).delete()
