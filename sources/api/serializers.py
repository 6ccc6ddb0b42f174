"""What the API takes and answers about sources, connections and replays."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access.api.serializers import Envelope, MomentField, enveloped
from sources import queries
from sources.models import Connection, Reject, Replay, Source
from sources.services import LONGEST_REPLAY_DAYS
from spaces.clock import clock

MOST_SOURCES = 100  # connected in one request


class SourceSettingsSerializer(serializers.Serializer[Any]):
    correctClocks = serializers.BooleanField(
        source="correct_clocks",
        required=False,
        help_text="False: times are taken as the client's clock gives them.",
        initial=True,
    )
    keepDays = serializers.IntegerField(
        source="keep_days",
        min_value=1,
        max_value=36_500,
        allow_null=True,
        required=False,
        help_text="Older events are erased; null = the installation's setting.",
        initial=365,
    )


class TallySerializer(serializers.Serializer[Any]):
    """What became of the messages: every accepted one is archived, doubled, rejected or suppressed."""

    archived = serializers.IntegerField(initial=1200)
    doubled = serializers.IntegerField(help_text="They came again, with the same message id.", initial=3)
    rejected = serializers.IntegerField(initial=1)
    suppressed = serializers.IntegerField(
        help_text="Of people who are suppressed: dropped, and kept nowhere.", initial=0
    )
    waiting = serializers.IntegerField(help_text="Accepted requests that are not archived yet.", initial=0)


class SourceSerializer(serializers.Serializer[Any]):
    # Context: `request`, and `counts` by source where there are many.

    id = serializers.CharField(source="public_id", initial="src_2qKf0")
    slug = serializers.CharField(initial="web")
    name = serializers.CharField(initial="Web")
    kind = serializers.ChoiceField(choices=Source.SourceKind.choices, initial="website")
    enabled = serializers.BooleanField(initial=True)
    writeKeys = serializers.SerializerMethodField(help_text="For those only who may edit sources.", initial=["Qx3…"])
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
    name = serializers.CharField(max_length=100, initial="Web")
    kind = serializers.ChoiceField(choices=Source.SourceKind.choices, default=Source.SourceKind.HTTP, initial="website")
    settings = SourceSettingsSerializer(required=False, initial={"keepDays": 365})


class ChangeSource(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, required=False)
    kind = serializers.ChoiceField(choices=Source.SourceKind.choices, required=False)
    settings = SourceSettingsSerializer(required=False)
    enabled = serializers.BooleanField(required=False, initial=False)


class RejectSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="pk", initial="17")
    receivedAt = MomentField(source="received_at")
    code = serializers.CharField(help_text="The kind of reason.", initial="unknown_type")
    reason = serializers.CharField(initial="unknown type 'buy'")
    path = serializers.CharField(help_text="Where in the message; empty = the whole.", initial="batch[3].type")
    messageId = serializers.CharField(source="message_id", initial="m17")
    message = serializers.CharField(help_text="As it was sent, cut at 32 KB.", initial='{"type": "buy"}')
    messages = serializers.IntegerField(help_text="How many it stands for: a refused request is one reject.", initial=1)
    space = serializers.CharField(
        source="space.public_id",
        default=None,
        allow_null=True,
        help_text="The space that could not resolve it.",
        initial=None,
    )
    retriable = serializers.SerializerMethodField(help_text="Whether it can be driven again.", initial=True)

    def get_retriable(self, reject: Reject) -> bool:
        return reject.retriable and not reject.again


class RefusedRequestSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="The kind of reason.", initial="body_too_large")
    path = serializers.CharField(help_text="Where the requests were sent to.", initial="/v1/batch")
    status = serializers.IntegerField(help_text="What the client was told.", initial=413)
    reason = serializers.CharField(help_text="Of the newest.", initial="A request may have 5242880 bytes, inflated.")
    requests = serializers.IntegerField(help_text="How many were refused so.", initial=3)
    firstAt = MomentField(source="first_at")
    lastAt = MomentField(source="last_at")


class RetryRejects(serializers.Serializer[Any]):
    """Those named by `ids`, or all that match."""

    # As text, like every id of the API; 18 digits fit into a bigint whatever they are.
    ids = serializers.ListField(child=serializers.RegexField(r"\A[0-9]{1,18}\Z"), required=False, max_length=1000)
    code = serializers.CharField(max_length=40, default="", allow_blank=True, initial="unknown_type")
    text = serializers.CharField(max_length=200, default="", allow_blank=True)


class RetriedAnswer(Envelope):
    count = serializers.IntegerField(help_text="How many are driven again.", initial=40)
    left = serializers.IntegerField(help_text="How many more match.", initial=0)


class EventNameSerializer(serializers.Serializer[Any]):
    type = serializers.CharField(initial="track")
    event = serializers.CharField(initial="Order Completed")
    archived = serializers.IntegerField(initial=120)
    firstSeenAt = MomentField(source="first_seen_at", initial="2026-01-01T12:00:00.000Z")
    lastSeenAt = MomentField(source="last_seen_at")


class ConnectionSerializer(serializers.Serializer[Any]):
    """A space listens to a source."""

    id = serializers.CharField(source="public_id", initial="con_2qKf0")
    sourceId = serializers.CharField(source="source.public_id", initial="src_2qKf0")
    sourceName = serializers.CharField(source="source.name", initial="Web")
    state = serializers.ChoiceField(choices=Connection.State.choices, initial="live")
    createdAt = MomentField(source="created_at")


class ReplaySerializer(serializers.Serializer[Any]):
    """The past of sources, read as one sequence, oldest event first."""

    id = serializers.CharField(source="public_id", initial="rpl_2qKf0")
    state = serializers.ChoiceField(choices=Replay.State.choices, initial="running")
    since = MomentField(help_text="Event times from here on.", initial="2026-05-16T12:00:00.000Z")
    until = MomentField(help_text="Event times up to here.")
    total = serializers.IntegerField(help_text="Events in range when it was asked for.", initial=100_000)
    done = serializers.IntegerField(initial=25_000)
    percent = serializers.FloatField(source="progress.percent", initial=25.0)
    eventTime = MomentField(
        source="progress.event_time", allow_null=True, help_text="How far it is.", initial="2026-05-23T12:00:00.000Z"
    )
    eventsPerSecond = serializers.FloatField(source="progress.rate", initial=5000.0)
    secondsLeft = serializers.FloatField(
        source="progress.seconds_left", allow_null=True, help_text="null = nobody can say.", initial=15.0
    )
    createdAt = MomentField(source="created_at")
    startedAt = MomentField(source="started_at", allow_null=True)
    finishedAt = MomentField(source="finished_at", allow_null=True, initial=None)

    def to_representation(self, replay: Replay) -> dict[str, Any]:
        # Once for the five fields that are made of it: each would look at the clock by itself.
        replay.progress = queries.progress(replay, clock.now())  # type: ignore[attr-defined]
        return super().to_representation(replay)


class CreateReplay(serializers.Serializer[Any]):
    sourceIds = serializers.ListField(
        child=serializers.CharField(max_length=40), min_length=1, max_length=MOST_SOURCES, initial=["src_2qKf0"]
    )
    days = serializers.IntegerField(min_value=1, max_value=LONGEST_REPLAY_DAYS, default=30, initial=30)


class ConnectSources(serializers.Serializer[Any]):
    sourceIds = serializers.ListField(
        child=serializers.CharField(max_length=40), min_length=1, max_length=MOST_SOURCES, initial=["src_2qKf0"]
    )
    replay = serializers.BooleanField(default=True, initial=True)
    replayDays = serializers.IntegerField(min_value=1, max_value=LONGEST_REPLAY_DAYS, default=30, initial=30)


class ConnectedAnswer(Envelope):
    connections = ConnectionSerializer(many=True)
    replay = ReplaySerializer(allow_null=True)


# Whole answers.
ReplayAnswer = enveloped("ReplayAnswer", replay=ReplaySerializer())
AskedReplayAnswer = enveloped(
    "AskedReplayAnswer", replay=ReplaySerializer(allow_null=True, help_text="null = there is nothing to replay.")
)
