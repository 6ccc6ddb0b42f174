"""Changes to sources, their write keys, and which spaces listen to them. Each leaves an audit entry."""

import json
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet
from django.utils.text import slugify

from access.services import COMMAND, ActorLike, audit
from sources.events import archive
from sources.events.archive import WHOLE_PIECE, Reach
from sources.intake import Sender, keep
from sources.models import Connection, Replay, Source, Tally, WriteKey
from sources.queries import ARCHIVE
from spaces.clock import Clock
from spaces.models import Log, Space, Workspace
from spaces.pieces import Visible, visible_logs

SLUG_TRIES = 20
TEST_EVENT = "Test Event"


class SourceError(Exception):
    """A change that cannot be made, with a message fit for the user."""


def create_source(
    workspace: Workspace,
    *,
    name: str,
    kind: str = Source.Kind.HTTP,
    correct_clocks: bool = True,
    by: ActorLike = COMMAND,
) -> Source:
    """A source with one write key. Its slug is the name's, with a number when that is taken."""
    base = slugify(name)[:50] or "source"
    for number in range(1, SLUG_TRIES + 1):
        slug = base if number == 1 else f"{base}-{number}"
        try:
            with transaction.atomic():
                source = _create(workspace, name=name, slug=slug, kind=kind, correct_clocks=correct_clocks)
                audit(by, "source.created", source, name=name, kind=kind)
                return source
        except IntegrityError:
            continue
    raise SourceError(f"There are already {SLUG_TRIES} sources named {name}.")


def update_source(source: Source, *, by: ActorLike = COMMAND, **changes: Any) -> Source:
    """changes: any of name, kind, enabled, correct_clocks. `enabled` takes effect on collect within five seconds."""
    before = {field: getattr(source, field) for field in changes}
    for field, value in changes.items():
        setattr(source, field, value)
    with transaction.atomic():
        source.save(update_fields=list(changes))
        audit(by, "source.changed", source, before=before, after=changes)
    return source


def delete_source(source: Source, *, by: ActorLike = COMMAND) -> None:
    """The source, what waits in its inbox and its archive are gone. What spaces made of its events stays."""
    workspace_id, source_id = source.workspace_id, source.pk
    archive.erase_source(workspace_id, source_id)
    with transaction.atomic():
        audit(by, "source.deleted", source, name=source.name)
        Log.objects.filter(stage=ARCHIVE, owner=source_id).delete()  # first: it ends whoever is writing a piece
        with connection.cursor() as cursor:  # two tables that may hold millions, without a look at each row
            cursor.execute("DELETE FROM sources_inbox WHERE source_id = %s", [source_id])
            cursor.execute("DELETE FROM sources_seen WHERE source_id = %s", [source_id])
        source.delete()
    archive.erase_source(workspace_id, source_id)  # again: a piece may have been on its way


def send_test(source: Source, *, by: ActorLike = COMMAND) -> None:
    """One event of the source waits in its inbox, as if a client had sent it."""
    message = {
        "event": TEST_EVENT,
        "anonymousId": f"test-{secrets.token_hex(4)}",
        "messageId": f"test-{secrets.token_hex(8)}",
        "properties": {"from": "the debugger"},
    }
    sender = Sender(source.pk, source.workspace_id, source.enabled)
    with transaction.atomic():
        keep(sender, call="track", body=json.dumps(message).encode())
        audit(by, "source.test_sent", source)


def add_write_key(source: Source, *, by: ActorLike = COMMAND) -> WriteKey:
    with transaction.atomic():
        made = WriteKey.objects.create(workspace_id=source.workspace_id, source=source)
        audit(by, "source.write_key_added", source, key=_shown(made.key))
    return made


def remove_write_key(source: Source, key: str, *, by: ActorLike = COMMAND) -> bool:
    """Whether there was such a key. Collect refuses it within five seconds."""
    with transaction.atomic():
        removed = bool(WriteKey.objects.filter(source=source, key=key).delete()[0])
        if removed:
            audit(by, "source.write_key_removed", source, key=_shown(key))
    return removed


def connect(
    space: Space,
    sources: Sequence[Source],
    *,
    since_days: int = 30,
    replay: bool = True,
    clock: Clock,
    by: ActorLike = COMMAND,
) -> Replay | None:
    """The space listens to the sources. Returns the one replay of those that it never listened to before.

    Everything up to now belongs to the replay, everything after it to the live reader: no gap, nothing twice. A
    source that was disconnected goes on where its live reader stopped, for the same reason; it is not replayed.
    Without `replay`, only what comes from now on counts. Raises SourceError.
    """
    with transaction.atomic():
        Space.objects.select_for_update(no_key=True).get(pk=space.pk)  # one after the other; stages go on adding rows
        known = {old.source_id: old for old in Connection.objects.filter(space=space, source__in=sources)}
        _refuse_connected(known, sources)
        logs = visible_logs(stage=ARCHIVE, owners=[source.pk for source in sources])
        for old in known.values():
            _reconnect(old, logs[old.source_id], resume=replay)
        fresh = [source for source in sources if source.pk not in known]
        made = _begin_replay(space, fresh, logs, since_days=since_days, clock=clock) if replay and fresh else None
        for source in fresh:
            _listen(space, source, logs[source.pk], made)
        names = [source.public_id for source in sources]
        audit(by, "space.connected", space, sources=names, replay=made and made.public_id, days=since_days)
    return made


def disconnect(stopped: Connection, clock: Clock, *, by: ActorLike = COMMAND) -> None:
    """The space no longer listens. What it made of the source's events stays; a replay goes on without it."""
    with transaction.atomic():
        Space.objects.select_for_update(no_key=True).get(pk=stopped.space_id)
        stopped.state = Connection.State.DISCONNECTED
        stopped.save(update_fields=["state"])
        if stopped.replay and not _replaying(stopped.replay).exists():
            _end(stopped.replay, clock)
        audit(by, "space.disconnected", stopped.space, source=stopped.source.public_id)


def cancel_replay(replay: Replay, clock: Clock, *, by: ActorLike = COMMAND) -> None:
    """No more of the past is read; its sources are live from their cut-offs on."""
    with transaction.atomic():
        Space.objects.select_for_update(no_key=True).get(pk=replay.space_id)
        _replaying(replay).update(state=Connection.State.LIVE)
        _end(replay, clock)
        audit(by, "replay.cancelled", replay)


def _create(workspace: Workspace, **fields: Any) -> Source:
    source = Source.objects.create(workspace=workspace, **fields)
    WriteKey.objects.create(workspace=workspace, source=source)
    Tally.objects.create(workspace=workspace, source=source)
    return source


def _shown(key: str) -> str:
    """Enough of a write key to know it again."""
    return f"{key[:6]}…"


def _refuse_connected(known: dict[int, Connection], sources: Sequence[Source]) -> None:
    for source in sources:
        old = known.get(source.pk)
        if old and old.state != Connection.State.DISCONNECTED:
            raise SourceError(f"{source.name} is already connected to this space.")


def _reconnect(old: Connection, log: Visible, *, resume: bool) -> None:
    """Live again: from where it stopped, or, when asked to, from now."""
    old.state = Connection.State.LIVE
    if not resume:
        old.piece, old.position = log.end, WHOLE_PIECE
    old.save(update_fields=["state", "piece", "position"])


def _begin_replay(
    space: Space, sources: Sequence[Source], logs: dict[int, Visible], *, since_days: int, clock: Clock
) -> Replay:
    now = clock.now()
    reach = Reach(logs=tuple(logs[source.pk] for source in sources), since=now - timedelta(days=since_days), until=now)
    return Replay.objects.create(
        workspace_id=space.workspace_id,
        space=space,
        since=reach.since,
        until=reach.until,
        total=archive.count_range(space.workspace_id, reach),
    )


def _listen(space: Space, source: Source, log: Visible, replay: Replay | None) -> None:
    Connection.objects.create(
        workspace_id=space.workspace_id,
        space=space,
        source=source,
        state=Connection.State.REPLAYING if replay else Connection.State.LIVE,
        replay=replay,
        cutoff=log.end,
        piece=log.end,
        position=WHOLE_PIECE,
    )


def _replaying(replay: Replay) -> QuerySet[Connection]:
    return Connection.objects.filter(replay=replay, state=Connection.State.REPLAYING)


def _end(replay: Replay, clock: Clock) -> None:
    Replay.objects.filter(pk=replay.pk, state=Replay.State.RUNNING).update(
        state=Replay.State.CANCELLED, finished_at=clock.now()
    )
