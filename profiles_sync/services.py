"""Everything that changes syncs of profiles, and the test of a connection. Each change is audited."""

from collections.abc import Mapping, Sequence
from datetime import time
from typing import Any

from django.db import transaction
from msgspec.structs import asdict

from access.services import ActorLike, NotPossible, actor_of, audit
from audiences.rules.schedules import PARTS
from audiences.rules.warehouse import WarehouseError
from audiences.sql_traits import check_time_zone
from identity.history import scope_of
from identity.models import ChangeReader
from profiles_sync.models import ProfilesSync, SyncedMembers, SyncedProfile, SyncRun
from profiles_sync.rules.tables import TABLES, TRACK_TABLES
from profiles_sync.running import settings_of
from profiles_sync.stores import all_stores
from spaces.clock import Clock
from spaces.models import Space
from spaces.outbound import OutboundError, check_settings
from spaces.secrets import open_sealed, seal
from spaces.settings_schema import InvalidSetting, parse, secrets_of, strike

CHOICES = (*TABLES, TRACK_TABLES)
SELECTED = ("tables", "events", "traits", "audiences")
MOST_SELECTED = 1_000  # names of each kind


def create_sync(
    space: Space,
    *,
    kind: str,
    name: str,
    settings: Mapping[str, Any],
    every: str = ProfilesSync.Every.HOUR,
    at: time = time(0),
    weekday: int = 0,
    time_zone: str = "UTC",
    tables: Sequence[str] = (),
    events: Sequence[str] = (),
    traits: Sequence[str] = (),
    audiences: Sequence[str] = (),
    clock: Clock,
    by: ActorLike,
) -> ProfilesSync:
    """It runs at once, and then as its schedule says. Raises InvalidSetting and NotPossible."""
    if kind not in all_stores():
        raise InvalidSetting("kind", f"Must be one of {', '.join(all_stores())}")
    parsed = parse(all_stores()[kind].settings, settings)
    check_settings(parsed)  # where it leads, before anything is stored
    selected = {"tables": tables, "events": events, "traits": traits, "audiences": audiences}
    _check(time_zone=time_zone, **selected)
    with transaction.atomic():
        sync = ProfilesSync.objects.create(
            workspace_id=space.workspace_id,
            space=space,
            kind=kind,
            name=name,
            settings=seal(asdict(parsed)),
            every=every,
            at=at,
            weekday=weekday,
            time_zone=time_zone,
            next_at=clock.now(),
            created_by=actor_of(by).user,
            **{what: sorted(set(names)) for what, names in selected.items()},
        )
        # The first run tells everything: what changes from here on is kept for the ones after it.
        end = scope_of(space).log.end
        ChangeReader.objects.create(workspace_id=space.workspace_id, space=space, name=sync.public_id, piece=end)
        audit(by, "profiles_sync.created", sync, kind=kind, name=name)
    return sync


def change_sync(
    sync: ProfilesSync,
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    clock: Clock,
    by: ActorLike,
    **changes: Any,
) -> None:
    """What is given changes: every, at, weekday, time_zone, enabled, tables, events, traits, audiences.

    Whoever chooses other tables, or another part of them, is told everything anew by the next run. Raises
    InvalidSetting and NotPossible.
    """
    _check(**changes)
    with transaction.atomic():
        # Locked, since a run notes in the same row how far it is.
        locked = ProfilesSync.objects.select_for_update().get(pk=sync.pk)
        before = {what: getattr(locked, what) for what in SELECTED}
        if settings is not None:
            parsed = parse(all_stores()[locked.kind].settings, settings, open_sealed(locked.settings))
            check_settings(parsed)
            kept = settings_of(locked)
            locked.settings = seal(asdict(parsed))
            if any(getattr(kept, place, None) != getattr(parsed, place, None) for place in PLACES):
                # Nothing is there yet. What is where it was before stays as it is.
                _begin_anew(locked, clock)
                locked.columns = {}
                SyncedProfile.objects.filter(sync=locked).delete()
        locked.name = name if name is not None else locked.name
        for what, value in changes.items():
            setattr(locked, what, sorted(set(value)) if what in SELECTED else value)
        if any(getattr(locked, what) != before[what] for what in SELECTED):
            _begin_anew(locked, clock)
        if changes.keys() & {*PARTS, "enabled"}:
            locked.next_at = locked.following(clock.now()) if locked.enabled else None
        # Whoever switches it off wants nothing more to be written, not even the rest of this run.
        if changes.get("enabled") is False:
            _cancel(locked, clock)
        locked.save()
        shown = {what: value if isinstance(value, list | bool | int) else str(value) for what, value in changes.items()}
        audit(by, "profiles_sync.changed", sync, name=name, settings=sorted(settings or {}), **shown)
    sync.refresh_from_db()


PLACES = ("host", "port", "database", "schema", "bucket", "endpoint", "prefix")  # settings that say where rows are


def run_now(sync: ProfilesSync, *, anew: bool = False, clock: Clock, by: ActorLike) -> None:
    """The next run is due at once. anew: it tells all, also what the warehouse should have. Raises NotPossible."""
    with transaction.atomic():
        locked = ProfilesSync.objects.select_for_update().get(pk=sync.pk)
        if not locked.enabled:
            raise NotPossible("It is switched off.")
        if anew:
            _begin_anew(locked, clock)
        locked.next_at = clock.now()
        locked.save()
        audit(by, "profiles_sync.asked_anew" if anew else "profiles_sync.asked_to_run", sync)
    sync.refresh_from_db()


def cancel_run(sync: ProfilesSync, *, clock: Clock, by: ActorLike) -> None:
    """The run under way ends; the next one goes on from where it was. Raises NotPossible."""
    with transaction.atomic():
        locked = ProfilesSync.objects.select_for_update().get(pk=sync.pk)
        if not _cancel(locked, clock):
            raise NotPossible("No run is under way.")
        audit(by, "profiles_sync.cancelled", sync)


def _begin_anew(sync: ProfilesSync, clock: Clock) -> None:
    """The next run tells everything. The sync is not saved."""
    # First: what a run that goes on notes would be taken for all that there is to do.
    _cancel(sync, clock)
    sync.pending, sync.events_at, sync.tick = None, [], 0
    SyncedProfile.objects.filter(sync=sync).update(digest=b"")


def _cancel(sync: ProfilesSync, clock: Clock) -> bool:
    """sync: locked, by which a batch that is being written is not noted."""
    under_way = SyncRun.objects.filter(sync=sync, state=SyncRun.State.RUNNING)
    return bool(under_way.update(state=SyncRun.State.CANCELLED, finished_at=clock.now()))


def delete_sync(sync: ProfilesSync, *, by: ActorLike) -> None:
    """It is gone. What is in the warehouse stays there."""
    with transaction.atomic():
        audit(by, "profiles_sync.deleted", sync, kind=sync.kind, name=sync.name)
        # Else change sets would be kept for nobody, for ever.
        ChangeReader.objects.filter(space=sync.space_id, name=sync.public_id).delete()
        for model in (SyncedProfile, SyncedMembers, SyncRun):
            # Without Django's collector, which would read a million rows before it deletes them.
            model._base_manager.filter(sync=sync)._raw_delete("default")
        sync.delete()


def test_sync(sync: ProfilesSync) -> str:
    """Whether it can be written to. "" when it can, else why not, in its own words without secrets."""
    settings = settings_of(sync)
    try:
        with all_stores()[sync.kind].open(settings) as writer:
            writer.test()
    except (WarehouseError, OutboundError) as error:
        return strike(str(error), secrets_of(settings))
    return ""


def _check(time_zone: str = "UTC", **selected: Any) -> None:
    check_time_zone(time_zone)
    if unknown := sorted({*selected.get("tables", ())} - {*CHOICES}):
        raise NotPossible(f"There is no table {unknown[0]}: {', '.join(CHOICES)}")
    for what in SELECTED:
        if len(selected.get(what, ())) > MOST_SELECTED:
            raise NotPossible(f"At most {MOST_SELECTED:,} {what} can be chosen")
