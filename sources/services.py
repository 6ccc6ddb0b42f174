"""Changes to sources, their write keys, and which spaces listen to them. Each leaves an audit entry."""

import json
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils.text import slugify

from access.services import COMMAND, ActorLike, NotPossible, audit
from sources import queries
from sources.consumption import complement, keep_stretch, listening
from sources.events import archive_table
from sources.events.archive_table import WHOLE_PIECE
from sources.inbox import Sender, keep
from sources.models import ARCHIVE, Connection, Consumed, Inbox, Reject, Replay, Source, Tally, WriteKey
from sources.rules.spec import SOURCE_DISABLED, again
from spaces import deletions
from spaces.batches import Visible, visible_logs
from spaces.clock import Clock, clock
from spaces.models import Deletion, Log, Space, Workspace
from spaces.text import latin

LONGEST_REPLAY_DAYS = 3 * 365
SLUG_TRIES = 20
MOST_RETRIED = 10_000  # rejects at once
RETRIED_AT_ONCE = 500  # of those that have to be read
TEST_EVENT = "Test Event"
NOTHING = [-1, 0, 0, -1]  # the key of a part of which nothing is consumed yet: before every event


class SourceError(NotPossible):
    """A change that cannot be made, with a message fit for the user."""


def create_source(
    workspace: Workspace,
    *,
    name: str,
    kind: str = Source.SourceKind.HTTP,
    correct_clocks: bool = True,
    keep_days: int | None = None,
    by: ActorLike = COMMAND,
) -> Source:
    """A source with one write key. Its slug is the name's, with a number when that is taken."""
    base = slugify(latin(name))[:50] or "source"
    for number in range(1, SLUG_TRIES + 1):
        slug = base if number == 1 else f"{base}-{number}"
        try:
            with transaction.atomic():
                settings = {"correct_clocks": correct_clocks, "keep_days": keep_days}
                source = Source.objects.create(workspace=workspace, name=name, slug=slug, kind=kind, **settings)
                WriteKey.objects.create(workspace=workspace, source=source)
                Tally.objects.create(workspace=workspace, source=source)
                audit(by, "source.created", source, name=name, kind=kind)
                return source
        except IntegrityError:  # of this name, or somebody else was faster: the constraint decides, no look beforehand
            continue
    raise SourceError(f"There are already {SLUG_TRIES} sources named {name}.")


def update_source(source: Source, *, by: ActorLike = COMMAND, **changes: Any) -> Source:
    """changes: any of name, kind, enabled, correct_clocks, keep_days.

    `enabled` takes effect on collect within five seconds.
    """
    before = {field: getattr(source, field) for field in changes}  # for the audit entry, which says what it was
    for field, value in changes.items():
        setattr(source, field, value)
    with transaction.atomic():
        source.save(update_fields=list(changes))
        audit(by, "source.changed", source, before=before, after=changes)
    return source


def delete_source(source: Source, *, by: ActorLike = COMMAND) -> None:
    """The source accepts nothing more; its inbox and archive are erased later. What spaces made of its events stays."""
    with transaction.atomic():
        audit(by, "source.deleted", source, name=source.name)
        WriteKey.objects.filter(source=source).delete()
        Log.objects.filter(stage=ARCHIVE, partition=source.pk).delete()  # fails a batch that is being written
        connected = Connection.objects.filter(source=source, space__deleted_at=None)
        for connection in connected.exclude(state=Connection.State.DISCONNECTED):
            disconnect(connection, clock, by=by)
        deletions.hide(source)
        deletions.begin(source, Deletion.TargetKind.SOURCE, name=source.name)


def send_test(source: Source, *, by: ActorLike = COMMAND) -> None:
    """One event of the source waits in its inbox, as if a client had sent it."""
    message = {
        "event": TEST_EVENT,
        "anonymousId": f"test-{secrets.token_hex(4)}",
        "messageId": f"test-{secrets.token_hex(8)}",
        "properties": {"from": "the debugger"},
    }
    # By the way of every other event: what the test shows is what happens to them.
    sender = Sender(source.pk, source.workspace_id, source.enabled)
    with transaction.atomic():
        keep(sender, call="track", body=json.dumps(message).encode())
        audit(by, "source.test_sent", source)


def retry_rejects(source: Source, rejects: QuerySet[Reject], *, by: ActorLike = COMMAND) -> int:
    """These rejects are retried, each once, at most the oldest 10,000. Returns how many.

    A message that could not be archived goes back into the inbox with its old time of receipt, and its reject is
    deleted. A message that a space could not resolve stays a reject until the space has resolved it from the archive.
    """
    with transaction.atomic():
        retriable = queries.retriable(rejects.filter(source=source)).order_by("pk")
        chosen = list(retriable.values_list("pk", flat=True)[:MOST_RETRIED])
        to_resolve = Reject.objects.filter(pk__in=chosen, space__isnull=False, again=False).update(again=True)
        sent = 0
        # A part at a time: each may hold 32 kB, and this runs in a thread of the web.
        for start in range(0, len(chosen), RETRIED_AT_ONCE):
            part = Reject.objects.filter(pk__in=chosen[start : start + RETRIED_AT_ONCE], space=None)
            # A concurrent retry of the same rejects waits for this lock, and then sees that they are deleted.
            rows = list(part.select_for_update(of=("self",)).order_by("pk"))
            Inbox.objects.bulk_create(
                Inbox(
                    workspace_id=source.workspace_id,
                    source=source,
                    call=reject.call,
                    body=again(reject.call, reject.path, reject.message),
                    received_at=reject.received_at,
                    refused="" if source.enabled else SOURCE_DISABLED,
                )
                for reject in rows
            )
            Reject.objects.filter(pk__in=[reject.pk for reject in rows]).delete()
            # They come out of the inbox a second time, and are counted then: every accepted message counts once.
            messages = sum(reject.messages for reject in rows)
            Tally.objects.filter(source=source).update(rejected=F("rejected") - messages)
            sent += len(rows)
        if to_resolve or sent:
            audit(by, "source.rejects_retried", source, rejects=to_resolve + sent)
    return to_resolve + sent


def add_write_key(source: Source, *, by: ActorLike = COMMAND) -> WriteKey:
    with transaction.atomic():
        write_key = WriteKey.objects.create(workspace_id=source.workspace_id, source=source)
        audit(by, "source.write_key_added", source, key=_masked(write_key.key))
    return write_key


def remove_write_key(source: Source, key: str, *, by: ActorLike = COMMAND) -> bool:
    """Whether there was such a key. Collect refuses it within five seconds."""
    with transaction.atomic():
        removed = bool(WriteKey.objects.filter(source=source, key=key).delete()[0])
        if removed:
            audit(by, "source.write_key_removed", source, key=_masked(key))
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
    """The space listens to the sources. Returns the one replay of their past; None when there is nothing to replay.

    Everything up to now belongs to the replay, everything after it to the live reader: no gap, nothing twice. A
    source that was disconnected goes on where its live reader stopped, and of its past only what the space does not
    have is replayed. Without `replay`, only what comes from now on counts. Raises SourceError.
    """
    with transaction.atomic():
        Space.objects.select_for_update(no_key=True).get(pk=space.pk)  # serializes concurrent requests
        known = {old.source_id: old for old in Connection.objects.filter(space=space, source__in=sources)}
        for source in sources:
            if source.pk in known and known[source.pk].state != Connection.State.DISCONNECTED:
                raise SourceError(f"{source.name} is already connected to this space.")
        # One look for all of them: the same moment ends the past that is replayed and begins what is live.
        logs = visible_logs(stage=ARCHIVE, partitions=[source.pk for source in sources])
        for old in known.values():
            _reconnect(old, logs[old.source_id], resume=replay)
        new = [
            Connection.objects.create(
                workspace_id=space.workspace_id,
                space=space,
                source=source,
                state=Connection.State.LIVE,
                cutoff=logs[source.pk].end,
                piece=logs[source.pk].end,
                position=WHOLE_PIECE,
            )
            for source in sources
            if source.pk not in known
        ]
        connections = [*known.values(), *new]
        begun = _begin_replay(space, connections, since_days, clock, even_empty=bool(new)) if replay else None
        if begun:
            Connection.objects.filter(pk__in=[connection.pk for connection in connections]).update(
                state=Connection.State.REPLAYING
            )
        names = [source.public_id for source in sources]
        audit(by, "space.connected", space, sources=names, replay=begun and begun.public_id, days=since_days)
    return begun


def replay_more(
    space: Space, sources: Sequence[Source], *, since_days: int, clock: Clock, by: ActorLike = COMMAND
) -> Replay | None:
    """A replay of what the space does not have of these sources' last days; None when it has everything.

    It listens to them already, and goes on doing so meanwhile. Raises SourceError.
    """
    with transaction.atomic():
        Space.objects.select_for_update(no_key=True).get(pk=space.pk)
        known = {
            connection.source_id: connection
            for connection in Connection.objects.filter(space=space, source__in=sources)
        }
        for source in sources:
            state = known[source.pk].state if source.pk in known else Connection.State.DISCONNECTED
            if state == Connection.State.DISCONNECTED:
                raise SourceError(f"{source.name} is not connected to this space.")
            running = known[source.pk].replay
            if running and running.state == Replay.State.RUNNING:
                raise SourceError(f"{source.name} is being replayed. Wait until the replay ends, or cancel it.")
        replay = _begin_replay(space, list(known.values()), since_days, clock)
        if replay:
            names = [source.public_id for source in sources]
            audit(by, "space.replayed", space, sources=names, replay=replay.public_id, days=since_days)
    return replay


def disconnect(connection: Connection, clock: Clock, *, by: ActorLike = COMMAND) -> None:
    """The space no longer listens. What it made of the source's events stays; a replay goes on without it."""
    with transaction.atomic():
        Space.objects.select_for_update(no_key=True).get(pk=connection.space_id)
        connection.state = Connection.State.DISCONNECTED
        connection.save(update_fields=["state"])
        # With its last source a replay has nothing left to read: it is cancelled, lest it says that it is complete.
        if connection.replay and not listening(connection.space_id).filter(replay=connection.replay).exists():
            _end(connection.replay, clock)
        audit(by, "space.disconnected", connection.space, source=connection.source.public_id)


def cancel_replay(replay: Replay, clock: Clock, *, by: ActorLike = COMMAND) -> None:
    """No more of the past is read; its sources are live from their cut-offs on."""
    with transaction.atomic():
        Space.objects.select_for_update(no_key=True).get(pk=replay.space_id)
        connections = Connection.objects.filter(replay=replay, state=Connection.State.REPLAYING)
        connections.update(state=Connection.State.LIVE)
        _end(replay, clock)
        audit(by, "replay.cancelled", replay)


def _masked(key: str) -> str:
    """Enough of a write key to know it again."""
    return f"{key[:6]}…"


def _reconnect(old: Connection, log: Visible, *, resume: bool) -> None:
    """Live again: from where it stopped, or, when asked to, from now."""
    old.state, old.replay = Connection.State.LIVE, None
    if not resume:
        began, came_to = (old.cutoff, WHOLE_PIECE), (old.piece, old.position)
        if came_to > began:  # the next cut-off no longer tells
            keep_stretch(old, began, came_to)
        old.cutoff, old.piece, old.position = log.end, log.end, WHOLE_PIECE
    old.save(update_fields=["state", "replay", "cutoff", "piece", "position"])


def _begin_replay(
    space: Space, connections: Sequence[Connection], since_days: int, clock: Clock, *, even_empty: bool = False
) -> Replay | None:
    """A replay of what these have not consumed; None when that is nothing, unless `even_empty`."""
    now = clock.now()
    reach = complement(connections, since=now - timedelta(days=since_days), until=now)
    total = archive_table.count_range(space.workspace_id, reach)
    if not total and not even_empty:
        return None
    replay = Replay.objects.create(
        workspace_id=space.workspace_id, space=space, since=reach.since, until=reach.until, total=total
    )
    for connection in connections:
        connection.replay = replay
        connection.save(update_fields=["replay"])
        Consumed.objects.create(
            workspace_id=space.workspace_id,
            connection=connection,
            replay=replay,
            piece=connection.cutoff,
            position=WHOLE_PIECE,
            since=replay.since,
            key=NOTHING,
        )
    return replay


def _end(replay: Replay, clock: Clock) -> None:
    Replay.objects.filter(pk=replay.pk, state=Replay.State.RUNNING).update(
        state=Replay.State.CANCELLED, finished_at=clock.now()
    )
