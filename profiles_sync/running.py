"""Runs of syncs, a batch at a time. What a batch comes to is noted after the warehouse has it: a process may die
anywhere, and the next one writes the same once more, under a higher number, which leaves what it would have left.

    look     who changed since is taken in, now and then also between runs, so that change sets need not be kept
    events   those that were resolved since, in that order
    people   what is so now of whoever changed takes the place of what the warehouse has of them

Rows are made from what is so when they are made. Whoever changes after that is among those that the next look takes in.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Semaphore

import pyarrow
import pyarrow.compute
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from pyroaring import BitMap

from audiences.queries import bitmap, members_again_of
from audiences.rules.warehouse import WarehouseError
from identity.history import scope_of
from identity.models import ChangeReader, ChangeSet, Graph
from identity.queries import all_numbers
from profiles_sync import people
from profiles_sync.models import ProfilesSync, SyncedMembers, SyncedProfile, SyncRun
from profiles_sync.rules.rows import Rows, Selection, digest, more_columns, rows_of, rows_of_events
from profiles_sync.rules.tables import MOST_EVENT_TABLES, OF_PROFILES, TABLES, SyncTable, table_of
from profiles_sync.rules.warehouse import SyncKind, TableBatch, TableWriter
from profiles_sync.stores import all_stores
from sources.events import export
from sources.events.export import START
from spaces.batches import Overtaken
from spaces.clock import Clock
from spaces.faults import reach
from spaces.outbound import OutboundError
from spaces.secrets import open_sealed
from spaces.settings_schema import SettingsDeclaration, load_stored, secrets_of, strike
from spaces.text import storable
from spaces.times import milliseconds

logger = logging.getLogger(__name__)

LOOKED_EVERY = timedelta(minutes=10)  # change sets wait for so long
MOST_TRIES = 6  # in a row, over some ten minutes: then the run has failed, and the next one goes on
FIRST_WAIT = timedelta(seconds=10)
KEPT_RUNS = 200  # of each
TOLD_ANEW = 200  # people of a batch of whom all events are told
LONGEST_ERROR = 2_000
LAST = (2**32, 2**32)  # position and profile behind all of a resolve batch
MOST_AT_ONCE = 2  # of a process: the other threads are for destinations, however slow all warehouses are
NOTE = """
    UPDATE profiles_sync_syncedprofile AS row SET digest = told.digest
    FROM unnest(%s::bigint[], %s::bytea[]) AS told(number, digest)
    WHERE row.sync_id = %s AND row.number = told.number
"""
State = SyncRun.State
_slots = Semaphore(MOST_AT_ONCE)


def due(now: datetime) -> list[int]:
    """The primary keys of the syncs that `advance` has work for."""
    return list(_due(now).values_list("pk", flat=True))


def _due(now: datetime) -> "QuerySet[ProfilesSync]":
    under_way = Exists(SyncRun.objects.filter(sync=OuterRef("pk"), state=State.RUNNING))
    goes_on = Q(under_way=True) & (Q(retry_at=None) | Q(retry_at__lte=now))
    begins = Q(under_way=False, enabled=True, next_at__lte=now)
    # Also of one that is switched off: else change sets would be kept for as long as it is.
    looks = Q(under_way=False) & (Q(looked_at=None) | Q(looked_at__lte=now - LOOKED_EVERY))
    rows = ProfilesSync.objects.filter(space__deleted_at=None).annotate(under_way=under_way)
    return rows.filter(goes_on | begins | looks)


def advance(pk: int, clock: Clock) -> bool:
    """One more batch is done. False when it is not due, or the warehouse does not take it."""
    now = clock.now()
    sync = _due(now).filter(pk=pk).select_related("space__workspace").first()
    if sync is None:
        return False
    if not _slots.acquire(blocking=False):
        return False
    try:
        return _turn(sync, clock)
    finally:
        _slots.release()


def _turn(sync: ProfilesSync, clock: Clock) -> bool:
    now = clock.now()
    run = sync.runs.filter(state=State.RUNNING).first()
    if run is None and not (sync.enabled and sync.next_at and sync.next_at <= now):
        look(sync, now)
        return False  # there is nothing more to do until it is due again
    # One that is under way goes on where it was, whichever process began it.
    if run is None:
        run = _begin(sync, now)
    try:
        return _Step(sync, run, clock).take()
    except (WarehouseError, OutboundError) as error:
        _tried(sync, run, strike(storable(str(error)), secrets_of(settings_of(sync))), clock.now())
    except Overtaken as error:  # somebody cancelled it, or changed what it is to do
        logger.info("%s", error)
    except Exception as error:
        logger.exception("sync %s", sync.public_id)
        _tried(sync, run, f"Something of ours broke: {type(error).__name__}.", clock.now())
    return False


def settings_of(sync: ProfilesSync) -> SettingsDeclaration:
    """Secrets included. For writing; never for showing."""
    return load_stored(all_stores()[sync.kind].settings, open_sealed(sync.settings))


def selection_of(sync: ProfilesSync) -> Selection:
    return Selection(*(frozenset(names) for names in (sync.tables, sync.events, sync.traits, sync.audiences)))


def _begin(sync: ProfilesSync, now: datetime) -> SyncRun:
    with transaction.atomic():
        run = SyncRun.objects.create(workspace_id=sync.workspace_id, sync=sync, started_at=now)
        sync.next_at, sync.retry_at, sync.failures = sync.following(now), None, 0
        sync.save(update_fields=["next_at", "retry_at", "failures"])
        kept = SyncRun.objects.filter(sync=sync).order_by("-pk").values_list("pk", flat=True)[:KEPT_RUNS]
        SyncRun.objects.filter(sync=sync).exclude(pk__in=list(kept)).delete()  # those that nobody looks at any more
    return run


def _tried(sync: ProfilesSync, run: SyncRun, error: str, now: datetime) -> None:
    """It did not go; the run says why, and has failed when it has not gone for long."""
    failures = sync.failures + 1
    changes: dict[str, object] = {"error": error[:LONGEST_ERROR]}
    if failures >= MOST_TRIES:
        changes |= {"state": State.FAILED, "finished_at": now}
    with transaction.atomic():
        ProfilesSync.objects.filter(pk=sync.pk).update(failures=failures, retry_at=now + FIRST_WAIT * 2**failures)
        SyncRun.objects.filter(pk=run.pk, state=State.RUNNING).update(**changes)


def look(sync: ProfilesSync, now: datetime) -> None:
    """Whoever changed since the last look is among those that are to be looked at."""
    space = sync.space
    end = scope_of(space).log.end  # before the change sets: all up to here are there
    with transaction.atomic():
        sync.refresh_from_db(from_queryset=ProfilesSync.objects.select_for_update())
        reader = ChangeReader.objects.get(space=space, name=sync.public_id)
        pending, anew = bitmap(sync.pending), bitmap(sync.anew)
        everybody = sync.pending is None
        changes = ChangeSet.objects.filter(space=space, piece__gt=reader.piece, piece__lte=end)
        for key, profiles in changes.values_list("key", "profiles"):
            pending |= (numbers := bitmap(profiles))
            everybody |= key == ChangeSet.EVERYTHING
            # They may have lost events with those of somebody else.
            anew |= numbers if key == ChangeSet.ERASED else BitMap()
        log = people.evaluate_log(space)
        pending |= export.evaluated_between(space.workspace_id, space.pk, log, sync.tick)
        pending |= _moved(sync)
        if everybody:
            # Numbers are given without gaps, so all of them are a range; those of accounts are passed over quickly.
            last = Graph.objects.filter(space=space).values_list("last_profile", flat=True).first()
            pending = BitMap(range(1, (last or 0) + 1))
        sync.pending, sync.anew, sync.tick = pending.serialize(), anew.serialize(), log.end
        sync.looked_at, sync.events_end = now, end
        sync.save(update_fields=["pending", "anew", "tick", "looked_at", "events_end"])
        reader.piece = max(reader.piece, end)
        reader.save(update_fields=["piece"])


def _moved(sync: ProfilesSync) -> BitMap:
    """Who is in an audience now and was not at the last look, or the other way round."""
    # Beside the logs, which forget an audience when it is deleted.
    now = members_again_of(people.computations(sync.space, selection_of(sync)))
    before = {row.audience: bitmap(row.members) for row in SyncedMembers.objects.filter(sync=sync)}
    moved = BitMap()
    for audience in now.keys() | before.keys():
        if difference := now.get(audience, BitMap()) ^ before.get(audience, BitMap()):
            moved |= difference
            SyncedMembers.objects.update_or_create(
                sync=sync,
                audience=audience,
                defaults={
                    "workspace_id": sync.workspace_id,
                    "members": now.get(audience, BitMap()).serialize(),
                },
            )
    SyncedMembers.objects.filter(sync=sync).exclude(audience__in=now).delete()
    return moved


@dataclass
class _Told:
    """What is noted once the warehouse has a batch. digests: by number; of whoever is merged, empty. moved: whose
    events were resolved once more."""

    rows: Counter[str]
    looked_at: BitMap = field(default_factory=BitMap)
    digests: dict[int, bytes] = field(default_factory=dict)
    gone: BitMap = field(default_factory=BitMap)
    events_at: Sequence[int] | None = None
    events: int = 0
    moved: BitMap = field(default_factory=BitMap)


class _Step:
    """One batch of a run. Raises WarehouseError and OutboundError; and Overtaken when the run is not to go on."""

    def __init__(self, sync: ProfilesSync, run: SyncRun, clock: Clock) -> None:
        self.sync, self.run, self.clock = sync, run, clock
        self.space, self.selection = sync.space, selection_of(sync)
        self.kind: SyncKind = all_stores()[sync.kind]

    def take(self) -> bool:
        if not self.run.planned:
            self._plan()
            return True
        place = self._place()
        end = (self.sync.events_end, *LAST)
        if place < end:
            rows = export.after(scope_of(self.space), place, end=self.sync.events_end, limit=self.kind.events)
            if rows.num_rows:
                return self._tell_events(rows)
            # Nothing more of the batches up to there: whatever comes is of later ones.
            ProfilesSync.objects.filter(pk=self.sync.pk).update(events_at=[*end])
        if pending := bitmap(self.sync.pending):
            return self._tell_people(pending)
        done = SyncRun.objects.filter(pk=self.run.pk, state=State.RUNNING)
        done.update(state=State.DONE, finished_at=self.clock.now(), error="")
        return True

    def _place(self) -> export.Place:
        piece, position, profile = self.sync.events_at or START
        return piece, position, profile

    def _plan(self) -> None:
        if not self.sync.events_at:  # all is told anew: somebody may have dropped tables
            with self.kind.open(settings_of(self.sync)) as writer:
                for name, columns in self.sync.columns.items():
                    writer.prepare(table_of(name), columns)
        look(self.sync, self.clock.now())
        self.sync.refresh_from_db()
        if not self.sync.columns:
            ProfilesSync.objects.filter(pk=self.sync.pk).update(events_first=self.sync.events_end)
        events = export.count_after(scope_of(self.space), self._place(), end=self.sync.events_end)
        changes = {"planned": True, "people_total": len(bitmap(self.sync.pending)), "events_total": events}
        SyncRun.objects.filter(pk=self.run.pk).update(**changes)

    def _tell_events(self, rows: pyarrow.Table) -> bool:
        events, ids = people.events_of(self.space, rows)
        # Who was split has rows here that were told under other places, and perhaps some were told that are no more.
        later = rows.filter(pyarrow.compute.greater(rows["piece"], self.sync.events_first))
        moved = BitMap(later.filter(later["moved"].cast("bool"))["profile"].to_pylist())
        last = [int(rows[name][-1].as_py()) for name in ("piece", "position", "profile")]
        told = _Told(Counter(), events_at=last, events=rows.num_rows, moved=moved)
        return self._tell(rows_of_events(events, self.selection), {}, ids, told)

    def _tell_people(self, pending: BitMap) -> bool:
        anew = bitmap(self.sync.anew)
        # All events of a person are in memory at once, so there are fewer of these people in a batch.
        few = TOLD_ANEW if anew & pending[: self.kind.people] else self.kind.people
        chunk = pending[:few]
        numbers = all_numbers(self.space, chunk)
        known = {
            row.number: row for row in SyncedProfile.objects.filter(sync=self.sync, number__in=[*(numbers | chunk)])
        }
        # With all that were merged with them: what is told of somebody is told of all of their numbers at once.
        told = _Told(Counter(), looked_at=chunk | numbers)
        rows: Rows = {}
        ids: dict[int, str] = {}
        again = BitMap()
        alive = BitMap()
        for person in people.read(self.space, [*numbers], self.selection):
            alive |= BitMap(person.segment_ids)
            own = rows_of(person, self.selection)
            newest = digest(person, own)
            is_anew = bool(anew & BitMap(person.segment_ids))
            was = known.get(person.number)
            if was is not None and bytes(was.digest) == newest and not is_anew:
                continue
            ids |= person.segment_ids
            told.digests |= dict.fromkeys(person.segment_ids, b"") | {person.number: newest}
            again |= BitMap(person.segment_ids) if is_anew else BitMap()
            for table, listed in own.items():
                rows.setdefault(table, []).extend(listed)
        told.gone = BitMap(known) - alive
        # Of whom the warehouse has nothing yet there is nothing to forget.
        replaced = [known[number].segment_id for number in ids if number in known]
        gone = [known[number].segment_id for number in told.gone]
        events_again = [known[number].segment_id for number in again if number in known]
        forgotten: dict[SyncTable, list[str]] = {}
        for table in map(table_of, self.sync.columns):  # those that are there
            # A table that is not chosen any more stays as it is, but nobody stays in it who is no more.
            stays = [] if not self.selection.has(table.name) else replaced if table in OF_PROFILES else events_again
            if owners := gone + stays:
                forgotten[table] = owners
        if again:
            events, _ = people.events_of(self.space, export.of_people(scope_of(self.space), [*again]))
            rows |= rows_of_events(events, self.selection)
        return self._tell(rows, forgotten, ids, told)

    def _tell(
        self, rows: Rows, forgotten: Mapping[SyncTable, Sequence[str]], ids: Mapping[int, str], told: _Told
    ) -> bool:
        rows = {table: listed for table, listed in rows.items() if listed}
        # Most of a run after a replay is people of whom nothing is other than before: no connection is made for them.
        if not (rows or forgotten):
            self._note(told)
            return True
        # Without names of events for which there is no table any more.
        room = MOST_EVENT_TABLES - len(self.sync.columns.keys() - TABLES.keys())
        new = [table for table in rows if table.name not in self.sync.columns and table.name not in TABLES]
        rows = {table: listed for table, listed in rows.items() if table not in new[max(room, 0) :]}
        number = self._take_number(ids, told)
        reach("profiles_sync:numbered")
        with self.kind.open(settings_of(self.sync)) as writer:
            self._prepare(writer, rows)
            columns = {table: self.sync.columns[table.name] for table in rows}
            writer.write(TableBatch(number, self.clock.now(), dict(rows), dict(forgotten)), columns)
        reach("profiles_sync:written")
        told.rows = Counter({table.name: len(listed) for table, listed in rows.items()})
        self._note(told)
        return True

    def _prepare(self, writer: TableWriter, rows: Rows) -> None:
        """Every table that is written to is there, with its columns; and this is noted, so that it is done once."""
        known = dict(self.sync.columns)
        for table, listed in rows.items():
            before = known.get(table.name)
            more = more_columns(listed, table, before or ()) if table.wide else []
            if before is None or more:
                known[table.name] = [*(before or ()), *more]
                writer.prepare(table, known[table.name])
        # After the tables: noted before, a death in between would leave one that nobody makes any more.
        if known != self.sync.columns:
            ProfilesSync.objects.filter(pk=self.sync.pk).update(columns=known)
            self.sync.columns = known

    def _take_number(self, ids: Mapping[int, str], told: _Told) -> int:
        """For a batch that is about to be written; whom it names is noted before, as whom the warehouse may know."""
        with transaction.atomic():
            self._hold()
            # By the clock, so that it is higher than all before it also where an older backup was played back.
            self.sync.batch = max(self.sync.batch + 1, milliseconds(self.clock.now()))
            ProfilesSync.objects.filter(pk=self.sync.pk).update(batch=self.sync.batch)
            rows = [
                SyncedProfile(sync=self.sync, workspace_id=self.sync.workspace_id, number=number, segment_id=id)
                for number, id in ids.items()
            ]
            SyncedProfile.objects.bulk_create(rows, ignore_conflicts=True)
            # Whoever becomes what they were after this died, and before it is done once more, is told all the same.
            SyncedProfile.objects.filter(sync=self.sync, number__in=[*told.digests]).update(digest=b"")
        return self.sync.batch

    def _hold(self) -> ProfilesSync:
        """The sync's row until the transaction ends. Raises Overtaken when this run does not go on."""
        locked = ProfilesSync.objects.select_for_update().get(pk=self.sync.pk)
        goes_on = SyncRun.objects.filter(pk=self.run.pk, state=State.RUNNING).exists()
        if locked.batch != self.sync.batch or not goes_on:
            raise Overtaken(f"the run {self.run.public_id} does not go on")
        return locked

    def _note(self, told: _Told) -> None:
        with transaction.atomic():
            sync = self._hold()
            pending = bitmap(sync.pending)
            looked_at = len(pending & told.looked_at)
            sync.pending = ((pending - told.looked_at) | told.moved).serialize()
            sync.anew = ((bitmap(sync.anew) - told.looked_at) | told.moved).serialize()
            sync.failures, sync.retry_at = 0, None
            sync.events_at = sync.events_at if told.events_at is None else told.events_at
            sync.save(update_fields=["pending", "anew", "failures", "retry_at", "events_at"])
            with connection.cursor() as cursor:
                cursor.execute(NOTE, [[*told.digests], [*told.digests.values()], self.sync.pk])
            SyncedProfile.objects.filter(sync=self.sync, number__in=[*told.gone]).delete()
            # As it is now: an earlier batch of this run may have been noted by another process.
            run = SyncRun.objects.get(pk=self.run.pk)
            run.rows = Counter(run.rows) + told.rows
            run.people_done += looked_at
            run.people_total += len(told.moved - pending)
            run.events_done += told.events
            run.removed += len(told.gone)
            run.error = ""
            run.save(update_fields=["rows", "people_done", "people_total", "events_done", "removed", "error"])
