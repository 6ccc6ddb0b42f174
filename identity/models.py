"""One profile per person, how it came about, and what changed (design §3)."""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Left, Lower

from sources.models import Source
from spaces.models import Space, Workspace, public_id
from spaces.text import storable

KEY_LENGTH = 300  # an index entry holds some 2,700 bytes, and a letter may take four


SEARCHED = 100  # characters of a name or an e-mail address that a search looks at: an index takes no long ones


def searched_name() -> Lower:
    """How a person's name begins, in small letters. A query that asks for just this is answered by an index."""
    return Lower(Left(Coalesce(KT("traits__name"), KT("traits__firstName"), KT("traits__first_name")), SEARCHED))


def searched_email() -> Lower:
    return Lower(Left(KT("traits__email"), SEARCHED))


def seen_at() -> "models.ForeignKey[Source | None, Source | None]":
    """The source of an event that a row keeps as evidence. It stays when the source goes, and costs no look-up."""
    return models.ForeignKey(
        Source, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="+"
    )


class InSpace(models.Model):
    """A row that resolve writes by the thousand. What begins with the space is its index; more cost a third more."""

    workspace = models.ForeignKey(
        Workspace, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    space = models.ForeignKey(Space, on_delete=models.CASCADE, db_index=False, related_name="+")

    class Meta:
        abstract = True


class Graph(models.Model):
    """The counters of a space's identity graph. Dense numbers make a set of people a bitmap."""

    # Held from Prepare on: of two batches of a space the second waits, and sees what the first has made.
    space = models.OneToOneField(Space, on_delete=models.CASCADE, primary_key=True, related_name="graph")
    workspace = models.ForeignKey("spaces.Workspace", on_delete=models.CASCADE, related_name="+")
    last_profile = models.BigIntegerField(default=0)
    last_identifier = models.BigIntegerField(default=0)
    untouched = models.BooleanField(
        default=False, help_text="a replay changed people whom no touch names yet; its end touches everyone"
    )


class Profile(InSpace):
    """A person or an account. Numbers are given in the order of creation, so the smallest is the oldest."""

    class Kind(models.IntegerChoices):
        USER = 1, "User"
        ACCOUNT = 2, "Account"

    public_id = public_id("use")
    number = models.BigIntegerField(help_text="dense per space, fits 32 bits")
    kind = models.SmallIntegerField(choices=Kind, default=Kind.USER)
    merged_into = models.BigIntegerField(null=True, help_text="number of the last winner; null = alive")
    merges = models.IntegerField(default=0, help_text="profiles merged into this one, for the cap")
    traits = models.JSONField(default=dict, help_text="{key: value}, newest event time wins")
    traits_seen = models.JSONField(
        default=dict, help_text="{key: [event time ms, source id, archive piece, position]}, removed keys too"
    )
    first_seen_at = models.DateTimeField(help_text="event time of the event that created it")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "number"], name="profile_number_once_per_space")]
        indexes = [
            models.Index(
                fields=["space", "merged_into"],
                condition=models.Q(merged_into__isnull=False),
                name="losers_of_a_profile",
            ),
            # text_pattern_ops: with a collation that is not C, LIKE 'ada%' finds no other index of use.
            models.Index("space", OpClass(searched_name(), name="text_pattern_ops"), name="profiles_by_name"),
            models.Index("space", OpClass(searched_email(), name="text_pattern_ops"), name="profiles_by_email"),
        ]


class Identifier(InSpace):
    """A value that stands for one profile. `number` is dense per space."""

    number = models.BigIntegerField()
    type = models.CharField(max_length=60)
    value = models.CharField(max_length=500)
    profile = models.BigIntegerField(help_text="number of the profile that holds it now; 0 = none does any more")
    first_seen_at = models.DateTimeField(help_text="event time; what limit periods count")
    source = seen_at()
    message_id = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["space", "type", "value"], name="identifier_once_per_space"),
            models.UniqueConstraint(fields=["space", "number"], name="identifier_number_once_per_space"),
        ]
        indexes = [models.Index(fields=["space", "profile"], name="identifiers_of_a_profile")]


class Evidence(InSpace):
    """A set of identifiers that was seen together, first and last, and what was made of it."""

    # The set itself may be longer than an index takes; 16 bytes of a hash are the same set for all that happens.
    set_hash = models.BinaryField(max_length=16)
    identifiers = models.JSONField(help_text="[[type, value], …] by priority")
    refused = models.JSONField(help_text="[[type, value, reason], …]; empty = fully accepted")
    set_aside = models.JSONField(default=list, help_text="[[type, value, why], …] of values that came with it, unused")
    profile = models.BigIntegerField(help_text="number of the profile its newest event went to")
    first_seen_at = models.DateTimeField()
    first_message_id = models.CharField(max_length=200)
    first_source = seen_at()
    last_seen_at = models.DateTimeField()
    last_message_id = models.CharField(max_length=200)
    last_source = seen_at()
    events = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "set_hash"], name="evidence_once_per_set")]
        indexes = [
            models.Index(fields=["space", "profile"], name="evidence_of_a_profile"),
            # Whose events carried an identifier that was refused there.
            GinIndex(
                OpClass(models.F("refused"), name="jsonb_path_ops"),
                condition=~models.Q(refused=[]),
                name="refusals_of_an_identifier",
            ),
        ]


class Merge(InSpace):
    """One profile went into another, because of one event."""

    loser = models.BigIntegerField()
    winner = models.BigIntegerField()
    piece = models.BigIntegerField(help_text="number of the resolve batch when it was prepared")
    at = models.DateTimeField(help_text="event time")
    source = seen_at()
    message_id = models.CharField(max_length=200)
    reason = models.TextField(blank=True)

    class Meta:
        # A second wall: a profile with two winners would make `merged_into` a lie for everything that follows it.
        constraints = [models.UniqueConstraint(fields=["space", "loser"], name="a_profile_is_merged_once")]
        indexes = [models.Index(fields=["space", "winner"], name="merges_into_a_profile")]


class ProfileSplit(InSpace):
    """Identifiers that are not one person's: no profile may hold one of each side (identity.rules.splits).

    Those of one side may be moved to another profile, where they stay as long as one identifier of it does. It is a
    wish until resolve has taken the profile apart, or put it together again; which both are a batch of its log.
    """

    class State(models.TextChoices):
        WANTED = "wanted", "About to be split"
        DONE = "done", "Split"
        FAILED = "failed", "Failed"
        UNWANTED = "unwanted", "About to be put together"
        UNDONE = "undone", "Put together again"

    MOVES: ClassVar = {
        State.WANTED: "About to be moved",
        State.DONE: "Moved",
        State.FAILED: "Failed",
        State.UNWANTED: "About to be moved back",
        State.UNDONE: "Moved back",
    }
    ACTIVE = (State.DONE, State.UNWANTED)  # what resolve goes by
    WISHES = (State.WANTED, State.UNWANTED)  # what it still has to see to

    public_id = public_id("spl")
    profile = models.BigIntegerField(help_text="number of the profile that held all of them")
    taken = models.JSONField(help_text="[[type, value], …] of one side")
    left = models.JSONField(help_text="[[type, value], …] of the other")
    moved_to = models.JSONField(
        default=list, db_default=[], help_text="[[type, value]] of the profile that has `taken` from then on; [] = none"
    )
    lost = models.JSONField(
        default=list,
        db_default=[],
        help_text="[[number, source, piece, position], …] of profiles that begin nothing since it was done, and of the"
        " events with which they began: undone, they begin there again",
    )
    state = models.CharField(max_length=10, choices=State, default=State.WANTED)
    error = models.TextField(blank=True, default="", help_text="why it failed")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    done_at = models.DateTimeField(null=True, help_text="when its newest wish came true, or failed")

    class Meta:
        indexes = [models.Index(fields=["space", "state"], name="splits_of_a_space")]

    @property
    def standing(self) -> str:
        """Its state in words."""
        return self.MOVES[self.State(self.state)] if self.moved_to else self.get_state_display()


class DryRun(InSpace):
    """Other rules for a space, worked out beside what is; and, once they are applied, how far its people are.

    Nobody's identifiers are in it but those of its samples, which `named` lists, so that erasing finds them.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Being worked out"
        DONE = "done", "Worked out"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"
        APPLYING = "applying", "Being compared once more"
        MOVING = "moving", "Being applied"
        APPLIED = "applied", "Applied"
        STOPPED = "stopped", "Stopped"

    COMPARES = (State.WAITING, State.RUNNING, State.APPLYING)
    UNDER_WAY = (*COMPARES, State.MOVING)

    public_id = public_id("dry")
    policy = models.JSONField(null=True, help_text="the rules that are tried; null = the default ones")
    before = models.JSONField(null=True, help_text="the space's rules when they were tried")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    done = models.BigIntegerField(default=0, help_text="events that were looked at")
    total = models.BigIntegerField(default=0)
    result = models.JSONField(default=dict, help_text="figures; without anybody's identifiers")
    samples = models.JSONField(default=list, help_text="people who would be others, now and then")
    named = models.JSONField(default=list, help_text="[[type, value], …] of all that `samples` names")
    parts = models.BinaryField(default=b"", help_text="who is resolved once more: msgpack, a bitmap for each batch")
    parts_total = models.IntegerField(default=0)
    parts_done = models.IntegerField(default=0)
    error = models.TextField(blank=True, default="", help_text="why it failed, or stopped")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    as_of = models.DateTimeField(null=True, help_text="the moment whose people were looked at")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["space", "state"], name="dry_runs_of_a_space")]


class ProfileNote(InSpace):
    """What somebody of the team wrote about a person, for the others of the team. It is nothing that audiences ask."""

    number = models.BigIntegerField(help_text="of the profile, as of when it was written; follow `merged_into`")
    label = models.CharField(max_length=60, blank=True)
    text = models.TextField(blank=True)
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "number"], name="note_once_per_profile")]
        indexes = [models.Index(fields=["space", "label"], name="notes_by_label")]


class Link(InSpace):
    """A user belongs to an account. Numbers as of when the link was seen; follow `merged_into`."""

    user = models.BigIntegerField()
    account = models.BigIntegerField()
    first_seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "user", "account"], name="link_once")]
        indexes = [models.Index(fields=["space", "account", "user"], name="users_of_an_account")]


class ChangeSet(InSpace):
    """Whom a resolve batch changed, by what changed. `key` is `event:<name>`, `trait:<key>`, or one of KEYS.

    LINKED: users and accounts that belong together now. ERASED: of whom nothing is left, and who lost rows with them.
    """

    CREATED, MERGED, IDENTIFIED, LINKED, EVERYTHING = "created", "merged", "identified", "linked", "everything"
    ERASED = "erased"
    KEYS = (CREATED, MERGED, IDENTIFIED, LINKED, ERASED, EVERYTHING)

    piece = models.BigIntegerField(help_text="number of the committed resolve batch")
    key = models.CharField(max_length=KEY_LENGTH)
    profiles = models.BinaryField(
        help_text="a serialised Roaring bitmap of canonical numbers; of no use with EVERYTHING"
    )

    class Meta:
        db_table = "identity_touch"  # as an older release called it: tables are never renamed
        constraints = [models.UniqueConstraint(fields=["space", "piece", "key"], name="touch_once")]

    @staticmethod
    def event(name: str) -> str:
        """The key of an event's name. Long names may share one: then too many are looked at, never too few."""
        return f"event:{storable(name)}"[:KEY_LENGTH]

    @staticmethod
    def trait(name: str) -> str:
        return f"trait:{storable(name)}"[:KEY_LENGTH]


class ChangeReader(InSpace):
    """Who reads change sets besides audiences, and how far: until then they are kept."""

    name = models.CharField(max_length=40)
    piece = models.BigIntegerField(help_text="number of the last resolve batch whose change sets it has read")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "name"], name="change_reader_once")]
