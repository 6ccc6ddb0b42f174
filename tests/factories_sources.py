"""Requests as clients send them, the inbox they wait in, and the archive stage run to its end."""

import itertools
import json
from datetime import UTC, datetime
from typing import Any

import factory

from sources.archive import STAGE
from sources.events import archive_table
from sources.events.archive_table import LogPlace
from sources.models import Connection, Consumed, EventName, Inbox, Reject, Replay, Source, Tally
from spaces.batches import Stage, advance, open_log, visible
from spaces.models import Log
from tests.factories import SourceFactory, SpaceFactory

RECEIVED_AT = datetime(2026, 6, 15, 12, tzinfo=UTC)
_messages = itertools.count(1)


def track(**fields: Any) -> dict[str, Any]:
    """A good message, with an id of its own."""
    return {"type": "track", "event": "Tested", "userId": "u1", "messageId": f"m-{next(_messages)}"} | fields


def batch(*messages: Any, **around: Any) -> bytes:
    return json.dumps({"batch": list(messages)} | around).encode()


class InboxFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Inbox

    source = factory.SubFactory(SourceFactory)
    workspace = factory.SelfAttribute("source.workspace")
    call = "batch"
    body = factory.LazyFunction(lambda: batch(track()))
    received_at = RECEIVED_AT


class RejectFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Reject

    source = factory.SubFactory(SourceFactory)
    workspace = factory.SelfAttribute("source.workspace")
    received_at = RECEIVED_AT
    code = "id_required"
    reason = "A message needs a `userId` or an `anonymousId`."
    path = "batch[0].userId"
    message = "{}"


class EventNameFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = EventName

    source = factory.SubFactory(SourceFactory)
    workspace = factory.SelfAttribute("source.workspace")
    type = "track"
    event = factory.Sequence(lambda n: f"Event {n}")
    archived = 1
    first_seen_at = RECEIVED_AT
    last_seen_at = RECEIVED_AT


class ReplayFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Replay

    space = factory.SubFactory(SpaceFactory)
    workspace = factory.SelfAttribute("space.workspace")
    since = datetime(2026, 5, 16, 12, tzinfo=UTC)
    until = RECEIVED_AT
    total = 0


class ConnectionFactory(factory.django.DjangoModelFactory):
    """A live connection that has read nothing of its source's archive yet."""

    class Meta:
        model = Connection

    space = factory.SubFactory(SpaceFactory)
    workspace = factory.SelfAttribute("space.workspace")
    source = factory.SubFactory(SourceFactory, workspace=factory.SelfAttribute("..workspace"))
    state = Connection.State.LIVE
    cutoff = 0
    piece = 0

    @factory.post_generation
    def part(self, create: bool, *_: Any, **__: Any) -> None:
        """What its replay has consumed: nothing yet."""
        if create and self.replay:
            ConsumedFactory(connection=self, replay=self.replay)


class ConsumedFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Consumed

    workspace = factory.SelfAttribute("connection.workspace")
    piece = factory.SelfAttribute("connection.cutoff")
    position = 2**32 - 1
    since = factory.SelfAttribute("replay.since")
    key = [-1, 0, 0, -1]


def send(source: Source, *messages: Any, received_at: datetime = RECEIVED_AT, **around: Any) -> Inbox:
    """One request with these messages waits in the inbox."""
    return InboxFactory(source=source, body=batch(*messages, **around), received_at=received_at)


def log_of(source: Source) -> Log:
    return open_log(stage="archive", partition=source.pk, workspace_id=source.workspace_id)


def archive_all(source: Source, stage: Stage[Any, Any, Any] = STAGE) -> None:
    """Nothing waits any more."""
    while advance(stage, log_of(source)):
        pass


def archived(source: Source) -> list[dict[str, Any]]:
    """What readers see of the source's archive, in log order, each row with its `message` decoded."""
    place = LogPlace(log=visible(log_of(source)), piece=0, position=-1)
    table, _ = archive_table.read_live(source.workspace_id, [place], 1_000_000)
    return [row | {"message": json.loads(row["message"])} for row in table.to_pylist()]


def ids_in_archive(source: Source) -> list[str]:
    return [row["message_id"] for row in archived(source)]


def tally(source: Source) -> tuple[int, int, int]:
    """(archived, doubled, rejected)."""
    found = Tally.objects.filter(source=source).values_list("archived", "doubled", "rejected").first()
    return found or (0, 0, 0)
