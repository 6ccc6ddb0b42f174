"""Sources, what they received, and which spaces listen to them."""

import secrets

from django.db import models

from spaces.models import Deletable, Owned, Space, public_id

ARCHIVE = "archive"  # the stage whose logs hold the archive, one per source


class Source(Deletable, Owned):
    """A website, an app or a server that sends events with a write key of its own."""

    class SourceKind(models.TextChoices):
        WEBSITE = "website", "Website"
        MOBILE = "mobile", "Mobile app"
        SERVER = "server", "Server"
        HTTP = "http", "HTTP API"

    public_id = public_id("src")
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60)
    kind = models.CharField(max_length=16, choices=SourceKind, default=SourceKind.HTTP)
    enabled = models.BooleanField(default=True)
    correct_clocks = models.BooleanField(default=True, help_text="off: times are taken as given")
    keep_days = models.PositiveIntegerField(null=True, help_text="older events are erased; null = the setting")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "slug"], name="source_slug_once_per_workspace")]

    def __str__(self) -> str:
        return self.name


def new_write_key() -> str:
    # 32 characters, as Segment's have; clients put it into headers and addresses, so URL-safe.
    return secrets.token_urlsafe(24)


class WriteKey(Owned):
    """A write key is public (it is in every web page), so it is kept as it is."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="write_keys")
    key = models.CharField(max_length=64, unique=True, default=new_write_key)
    created_at = models.DateTimeField(auto_now_add=True)


class Inbox(Owned):
    """One row per accepted request. A queue, not a log: commit order is not id order."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="+")
    call = models.CharField(max_length=16, help_text="the route's name: batch, track, …")
    body = models.BinaryField(help_text="as received, decompressed; packed where it has a length")
    length = models.PositiveIntegerField(null=True, help_text="the body's, in bytes, where it is packed")
    received_at = models.DateTimeField(help_text="by the database's clock")
    refused = models.CharField(max_length=40, blank=True, help_text="why all of it is refused: source_disabled")
    taken = models.BooleanField(default=False, help_text="an archive batch was prepared from it")

    class Meta:
        # Of what waits only: a source whose backlog is taken costs one probe, however many rows are still to go.
        indexes = [models.Index(fields=["source", "id"], condition=models.Q(taken=False), name="inbox_waiting")]


class Reject(Owned):
    """A message that could not be archived, or resolved, kept where its owner can see it and drive it again.

    What could not be archived came by a `call`. What a space could not resolve is archived at (piece, position).
    """

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="rejects")
    space = models.ForeignKey(
        Space, on_delete=models.CASCADE, null=True, related_name="+", help_text="which could not resolve it"
    )
    piece = models.BigIntegerField(null=True, help_text="of the archive")
    position = models.BigIntegerField(null=True, help_text="in the batch")
    call = models.CharField(max_length=16, blank=True, default="", help_text="the request's, when this came in one")
    inbox = models.BigIntegerField(null=True, help_text="the number that the request had in the inbox")
    whole = models.BooleanField(default=False, help_text="`message` is all that it takes to archive it")
    again = models.BooleanField(default=False, help_text="the space is to resolve it again")
    received_at = models.DateTimeField()
    code = models.CharField(max_length=40)
    reason = models.TextField()
    path = models.CharField(max_length=200, blank=True, help_text="where in the message, such as batch[3].userId")
    message_id = models.CharField(max_length=200, blank=True)
    message = models.TextField(help_text="as sent, cut at 32 KB")
    messages = models.IntegerField(default=1, help_text="how many it stands for: a refused request is one reject")

    class Meta:
        indexes = [
            models.Index(fields=["source", "-id"], name="reject_newest_first"),
            models.Index(fields=["space", "id"], condition=models.Q(again=True), name="reject_to_resolve_again"),
        ]
        constraints = [
            # A batch that is written again must not reject an event a second time. Rows without a space have NULL
            # there, which PostgreSQL takes for different from every other.
            models.UniqueConstraint(
                fields=["space", "source", "piece", "position"], name="reject_once_per_space_and_event"
            )
        ]

    @property
    def retriable(self) -> bool:
        """Whether it can be driven again. Not when only a part of it is kept, or one example of many."""
        return self.space_id is not None or self.whole


class RefusedRequest(Owned):
    """Requests that were refused, and so are in no inbox: too large, no JSON, at a wrong address, too many."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="refused_requests")
    code = models.CharField(max_length=40)
    path = models.CharField(max_length=100, help_text="where it was sent to")
    status = models.PositiveSmallIntegerField(help_text="what the client was told")
    reason = models.TextField(help_text="of the newest")
    requests = models.BigIntegerField(default=1)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        db_table = "sources_refused"  # as an older release called it: tables are never renamed
        constraints = [
            models.UniqueConstraint(fields=["source", "code", "path"], name="refused_once_per_code_and_path")
        ]


class Tally(models.Model):
    """What became of a source's messages: every accepted one is in exactly one of the four."""

    # A row of its own: counted with every batch, it would otherwise hold the source's row against who edits it.
    source = models.OneToOneField(Source, on_delete=models.CASCADE, primary_key=True, related_name="tally")
    workspace = models.ForeignKey("spaces.Workspace", on_delete=models.CASCADE, related_name="+")
    archived = models.BigIntegerField(default=0)
    doubled = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    suppressed = models.BigIntegerField(default=0, db_default=0, help_text="of people who are not to be heard of")
    last_received_at = models.DateTimeField(null=True)


class EventName(Owned):
    """The source's schema, as seen: which events, how many, first and last."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="event_names")
    type = models.CharField(max_length=10)
    event = models.CharField(max_length=200)
    archived = models.BigIntegerField(default=0)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "type", "event"], name="event_name_once_per_source")]


class Replay(Owned):
    """Sources connected together: everything up to each one's cut-off, oldest first, as one sequence.

    `cursor` is the last place done: [event time in ms, source id, archive piece, position].
    """

    class State(models.TextChoices):
        RUNNING = "running", "Replaying"
        COMPLETE = "complete", "Complete"
        CANCELLED = "cancelled", "Cancelled"

    public_id = public_id("rpl")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="replays")
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    since = models.DateTimeField(help_text="event times from here on")
    until = models.DateTimeField(help_text="event times up to here, this included")
    total = models.BigIntegerField(help_text="events in range when it was asked for")
    done = models.BigIntegerField(default=0)
    cursor = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, help_text="when its first batch was committed")
    finished_at = models.DateTimeField(null=True)


class Connection(Owned):
    """A space listens to a source. What it has consumed of the archive, and how."""

    class State(models.TextChoices):
        REPLAYING = "replaying", "Replaying"
        LIVE = "live", "Live"
        DISCONNECTED = "disconnected", "Disconnected"

    public_id = public_id("con")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="connections")
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="connections")
    state = models.CharField(max_length=12, choices=State, default=State.REPLAYING)
    replay = models.ForeignKey(
        Replay, on_delete=models.SET_NULL, null=True, related_name="connections", help_text="the newest"
    )
    cutoff = models.BigIntegerField(help_text="archive batches up to this one are for replays, later ones for live")
    piece = models.BigIntegerField(help_text="the live reader's place: the archive batch it is in …")
    position = models.BigIntegerField(
        default=-1, help_text="… and the last row of it that is done; -1 = none, 2**32 - 1 = all of it"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "source"], name="one_connection_per_space_and_source")]


class Consumed(Owned):
    """A part of a source's archive that a space has: what a replay leaves out, so that nothing comes twice.

    Rows of the log after (after_piece, after_position) and up to (piece, position), from `since` on, in event order up
    to `key`. What the live reader has from the cut-off on needs no row while it goes on from there.
    """

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="consumed")
    replay = models.ForeignKey(
        # What a replay has read stays read when the replay itself is forgotten.
        Replay,
        on_delete=models.SET_NULL,
        null=True,
        related_name="parts",
        help_text="null = live",
    )
    after_piece = models.BigIntegerField(default=0)
    after_position = models.BigIntegerField(default=-1)
    piece = models.BigIntegerField()
    position = models.BigIntegerField()
    since = models.DateTimeField(null=True, help_text="null = of all times")
    key = models.JSONField(null=True, help_text="[event time in ms, source id, archive piece, position]; null = all")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["connection", "replay"], name="one_part_per_connection_and_replay")
        ]


class SuppressionKey(models.Model):
    """With what the identifiers on a workspace's suppression list are hashed, and of which types there are any.

    Sealed, so that field keys can be rotated: hashes cannot be made again, since nobody knows of what they are.
    """

    workspace = models.OneToOneField("spaces.Workspace", on_delete=models.CASCADE, primary_key=True, related_name="+")
    sealed = models.BinaryField()
    types = models.JSONField(default=list)


class Suppression(Owned):
    """Somebody of whom the workspace is to hear nothing more, by one identifier of theirs (sources.suppression)."""

    type = models.CharField(max_length=60)
    hash = models.BinaryField(max_length=16)
    since = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "hash"], name="suppressed_once_per_workspace")]
