"""What the API takes and answers about sources, connections and replays."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.serializers import Envelope, MomentField, enveloped
from sources import queries
from sources.models import Connection, Reject, Replay, Source
from sources.services import LONGEST_REPLAY_DAYS
from spaces.clock import clock

MOST_SOURCES = 100  # connected in one request


class SourceSettingsSerializer(serializers.Serializer[Any]):
    example: ClassVar = {"correctClocks": True, "keepDays": 365}

    correctClocks = serializers.BooleanField(
        source="correct_clocks", required=False, help_text="False: times are taken as the client's clock gives them."
    )
    keepDays = serializers.IntegerField(
        source="keep_days",
        min_value=1,
        max_value=36_500,
        allow_null=True,
        required=False,
        help_text="Older events are erased; null = the installation's setting.",
    )


class TallySerializer(serializers.Serializer[Any]):
    """What became of the messages: every accepted one is archived, doubled, rejected or suppressed."""

    example: ClassVar = {"archived": 1200, "doubled": 3, "rejected": 1, "suppressed": 0, "waiting": 0}

    archived = serializers.IntegerField()
    doubled = serializers.IntegerField(help_text="They came again, with the same message id.")
    rejected = serializers.IntegerField()
    suppressed = serializers.IntegerField(help_text="Of people who are suppressed: dropped, and kept nowhere.")
    waiting = serializers.IntegerField(help_text="Accepted requests that are not archived yet.")


class SourceSerializer(serializers.Serializer[Any]):
    # Context: `request`, and `counts` by source where there are many.

    example: ClassVar = {
        "id": "src_2qKf0",
        "slug": "web",
        "name": "Web",
        "kind": "website",
        "enabled": True,
        "writeKeys": ["Qx3…"],
    }

    id = serializers.CharField(source="public_id")
    slug = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Source.SourceKind.choices)
    enabled = serializers.BooleanField()
    writeKeys = serializers.SerializerMethodField(help_text="For those only who may edit sources.")
    settings = SourceSettingsSerializer(source="*")
    tally = serializers.SerializerMethodField()
    createdAt = MomentField(source="created_at")

    def get_writeKeys(self, source: Source) -> list[str]:
        keys = source.write_keys.all() if self.context["request"].membership.may("sources.edit") else []
        return [key.key for key in sorted(keys, key=lambda key: key.pk)]

    @extend_schema_field(TallySerializer)
    def get_tally(self, source: Source) -> dict[str, int]:
        # In a list they were counted for all sources at once; alone it asks for itself.
        counts = self.context.get("counts") or queries.count_messages([source])
        return dict(TallySerializer(counts[source.pk]).data)


class SourceAnswer(Envelope):
    source = SourceSerializer()  # type: ignore[assignment]


class CreateSource(serializers.Serializer[Any]):
    example: ClassVar = {"name": "Web", "kind": "website", "settings": {"keepDays": 365}}

    name = serializers.CharField(max_length=100)
    kind = serializers.ChoiceField(choices=Source.SourceKind.choices, default=Source.SourceKind.HTTP)
    settings = SourceSettingsSerializer(required=False)


class ChangeSource(serializers.Serializer[Any]):
    example: ClassVar = {"enabled": False}

    name = serializers.CharField(max_length=100, required=False)
    kind = serializers.ChoiceField(choices=Source.SourceKind.choices, required=False)
    settings = SourceSettingsSerializer(required=False)
    enabled = serializers.BooleanField(required=False)


class RejectSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "id": "17",
        "code": "unknown_type",
        "reason": "unknown type 'buy'",
        "path": "batch[3].type",
        "messageId": "m17",
        "message": '{"type": "buy"}',
        "messages": 1,
        "space": None,
        "retriable": True,
    }

    id = serializers.CharField(source="pk")
    receivedAt = MomentField(source="received_at")
    code = serializers.CharField(help_text="The kind of reason.")
    reason = serializers.CharField()
    path = serializers.CharField(help_text="Where in the message; empty = the whole.")
    messageId = serializers.CharField(source="message_id")
    message = serializers.CharField(help_text="As it was sent, cut at 32 KB.")
    messages = serializers.IntegerField(help_text="How many it stands for: a refused request is one reject.")
    space = serializers.CharField(
        source="space.public_id", default=None, allow_null=True, help_text="The space that could not resolve it."
    )
    retriable = serializers.SerializerMethodField(help_text="Whether it can be driven again.")

    def get_retriable(self, reject: Reject) -> bool:
        return reject.retriable and not reject.again


class RefusedRequestSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "code": "body_too_large",
        "path": "/v1/batch",
        "status": 413,
        "reason": "A request may have 5242880 bytes, inflated.",
        "requests": 3,
    }

    code = serializers.CharField(help_text="The kind of reason.")
    path = serializers.CharField(help_text="Where the requests were sent to.")
    status = serializers.IntegerField(help_text="What the client was told.")
    reason = serializers.CharField(help_text="Of the newest.")
    requests = serializers.IntegerField(help_text="How many were refused so.")
    firstAt = MomentField(source="first_at")
    lastAt = MomentField(source="last_at")


class RetryRejects(serializers.Serializer[Any]):
    """Those named by `ids`, or all that match."""

    example: ClassVar = {"code": "unknown_type"}

    # As text, like every id of the API; 18 digits fit into a bigint whatever they are.
    ids = serializers.ListField(child=serializers.RegexField(r"\A[0-9]{1,18}\Z"), required=False, max_length=1000)
    code = serializers.CharField(max_length=40, default="", allow_blank=True)
    text = serializers.CharField(max_length=200, default="", allow_blank=True)


class RetriedAnswer(Envelope):
    example: ClassVar = {"count": 40, "left": 0}

    count = serializers.IntegerField(help_text="How many are driven again.")
    left = serializers.IntegerField(help_text="How many more match.")


class EventNameSerializer(serializers.Serializer[Any]):
    example: ClassVar = {
        "type": "track",
        "event": "Order Completed",
        "archived": 120,
        "firstSeenAt": "2026-01-01T12:00:00.000Z",
    }

    type = serializers.CharField()
    event = serializers.CharField()
    archived = serializers.IntegerField()
    firstSeenAt = MomentField(source="first_seen_at")
    lastSeenAt = MomentField(source="last_seen_at")


class ConnectionSerializer(serializers.Serializer[Any]):
    """A space listens to a source."""

    example: ClassVar = {"id": "con_2qKf0", "sourceId": "src_2qKf0", "sourceName": "Web", "state": "live"}

    id = serializers.CharField(source="public_id")
    sourceId = serializers.CharField(source="source.public_id")
    sourceName = serializers.CharField(source="source.name")
    state = serializers.ChoiceField(choices=Connection.State.choices)
    createdAt = MomentField(source="created_at")


class ReplaySerializer(serializers.Serializer[Any]):
    """The past of sources, read as one sequence, oldest event first."""

    example: ClassVar = {
        "id": "rpl_2qKf0",
        "state": "running",
        "since": "2026-05-16T12:00:00.000Z",
        "total": 100_000,
        "done": 25_000,
        "percent": 25.0,
        "eventTime": "2026-05-23T12:00:00.000Z",
        "eventsPerSecond": 5000.0,
        "secondsLeft": 15.0,
        "finishedAt": None,
    }

    id = serializers.CharField(source="public_id")
    state = serializers.ChoiceField(choices=Replay.State.choices)
    since = MomentField(help_text="Event times from here on.")
    until = MomentField(help_text="Event times up to here.")
    total = serializers.IntegerField(help_text="Events in range when it was asked for.")
    done = serializers.IntegerField()
    percent = serializers.FloatField(source="progress.percent")
    eventTime = MomentField(source="progress.event_time", allow_null=True, help_text="How far it is.")
    eventsPerSecond = serializers.FloatField(source="progress.rate")
    secondsLeft = serializers.FloatField(
        source="progress.seconds_left", allow_null=True, help_text="null = nobody can say."
    )
    createdAt = MomentField(source="created_at")
    startedAt = MomentField(source="started_at", allow_null=True)
    finishedAt = MomentField(source="finished_at", allow_null=True)

    def to_representation(self, replay: Replay) -> dict[str, Any]:
        # Once for the five fields that are made of it: each would look at the clock by itself.
        replay.progress = queries.progress(replay, clock.now())  # type: ignore[attr-defined]
        return super().to_representation(replay)


class CreateReplay(serializers.Serializer[Any]):
    example: ClassVar = {"sourceIds": ["src_2qKf0"], "days": 30}

    sourceIds = serializers.ListField(child=serializers.CharField(max_length=40), min_length=1, max_length=MOST_SOURCES)
    days = serializers.IntegerField(min_value=1, max_value=LONGEST_REPLAY_DAYS, default=30)


class ConnectSources(serializers.Serializer[Any]):
    example: ClassVar = {"sourceIds": ["src_2qKf0"], "replay": True, "replayDays": 30}

    sourceIds = serializers.ListField(child=serializers.CharField(max_length=40), min_length=1, max_length=MOST_SOURCES)
    replay = serializers.BooleanField(default=True)
    replayDays = serializers.IntegerField(min_value=1, max_value=LONGEST_REPLAY_DAYS, default=30)


class ConnectedAnswer(Envelope):
    connections = ConnectionSerializer(many=True)
    replay = ReplaySerializer(allow_null=True)


# Whole answers.
ReplayAnswer = enveloped("ReplayAnswer", replay=ReplaySerializer())
AskedReplayAnswer = enveloped(
    "AskedReplayAnswer", replay=ReplaySerializer(allow_null=True, help_text="null = there is nothing to replay.")
)
