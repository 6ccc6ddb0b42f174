"""Workspaces and spaces, and the logs that every stage of the line advances in numbered batches."""

from functools import partial
from typing import TypeVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from spaces.ids import new_id


def public_id(prefix: str) -> models.CharField:
    """The id that users, the API and addresses see; the integer key never leaves the server."""
    return models.CharField(max_length=40, unique=True, editable=False, default=partial(new_id, prefix))


class Workspace(models.Model):
    """A tenant. Everything else belongs to exactly one."""

    public_id = public_id("wsp")
    name = models.CharField(max_length=100)
    # In every address of the console, and so unique over all tenants.
    slug = models.SlugField(max_length=60, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Owned(models.Model):
    """A row of one workspace: the mark that row-level security will stand on."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")

    class Meta:
        abstract = True


class Configured(Owned):
    """Something of a kind that a file declares, with its settings. `kind` names that file and is never renamed."""

    kind = models.CharField(max_length=40)
    name = models.CharField(max_length=100)
    # Sealed as a whole: of some kinds the address itself is a secret.
    settings = models.BinaryField(help_text="encrypted JSON; see spaces.secrets")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name


Row = TypeVar("Row", bound=models.Model, covariant=True)


class Living(models.Manager[Row]):
    """What was not deleted."""

    def get_queryset(self) -> "models.QuerySet[Row]":
        return super().get_queryset().filter(deleted_at=None)


class Deletable(models.Model):
    """Gone for everybody from the moment it is deleted, while a job erases what is kept of it (`Deletion`)."""

    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = Living()
    # For the jobs that erase it: everybody else must not find what is deleted.
    everything = models.Manager()

    class Meta:
        abstract = True


class Space(Deletable, Owned):
    """An isolated environment: its own identity rules, profiles, audiences and destinations."""

    class Kind(models.TextChoices):
        DEV = "dev", "Dev"
        PROD = "prod", "Prod"

    public_id = public_id("spa")
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=60)
    kind = models.CharField(max_length=4, choices=Kind, default=Kind.DEV)
    identity_policy = models.JSONField(null=True, blank=True, help_text="null = the default rules")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "slug"], name="space_slug_once_per_workspace")]
        default_permissions = ()
        permissions = [  # what the space roles grant, through guardian (access.roles)
            ("read_space", "Can see everything in the space"),
            ("use_space", "Can build audiences and traits"),
            ("admin_space", "Can change settings, sources and destinations"),
            ("pii_space", "Can see personal data"),
        ]

    def __str__(self) -> str:
        return self.name


class Log(Owned):
    """What one stage has written of one partition: batches 1 … `committed`, without the abandoned ones.

    The counter is a column, not a sequence, so that a rolled-back Prepare gives its number back.
    """

    class Fault(models.TextChoices):
        STORE = "store", "A store is away"
        CODE = "code", "A fault of this release"

    stage = models.CharField(max_length=16)
    # A plain number: logs belong to rows of several tables, and outlive them until they are erased.
    partition = models.BigIntegerField(db_column="owner", help_text="id of the source, space or subscription")
    last_number = models.BigIntegerField(default=0, help_text="newest number given out")
    committed = models.BigIntegerField(db_column="published", default=0, help_text="the log's end")
    failures = models.IntegerField(default=0, help_text="attempts in a row that failed")
    failing_since = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True, help_text="the last of them")
    retry_at = models.DateTimeField(null=True, help_text="nothing to do before this moment")
    fault = models.CharField(max_length=8, choices=Fault, blank=True, default="", help_text="whose it is")
    error = models.TextField(blank=True, default="", help_text="what the last one said")
    refusals = models.IntegerField(default=0, help_text="Prepares in a row that a store refused")
    limit = models.IntegerField(null=True, help_text="how many rows the next Prepare may take while it searches …")
    suspects = models.IntegerField(default=0, help_text="… the one among so many that cannot be prepared")
    accepted = models.FloatField(default=0, help_text="of about the last 500 rows")
    refused = models.FloatField(default=0, help_text="of about the last 500 rows")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["stage", "partition"], name="one_log_per_stage_and_owner")]


class Batch(Owned):
    """A batch that was prepared and is not committed yet. The lowest id of a log is written next."""

    log = models.ForeignKey(Log, on_delete=models.CASCADE, related_name="batches")
    number = models.BigIntegerField()
    prepared = models.BinaryField(db_column="decision")
    attempts = models.IntegerField(default=0, help_text="in a row that ended without a word, and the one under way")
    refusals = models.IntegerField(default=0, help_text="times that a store refused it, or what it is a part of")
    rows = models.IntegerField(default=1, help_text="about how many; 0 = they were refused, and their end is left")
    prepared_at = models.DateTimeField(db_column="decided_at", auto_now_add=True)

    class Meta:
        db_table = "spaces_piece"


class Abandoned(Owned):
    """A number whose rows, if any ever arrived, nobody may read."""

    log = models.ForeignKey(Log, on_delete=models.CASCADE, related_name="abandoned")
    number = models.BigIntegerField()
    since = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["log", "number"], name="abandoned_once")]


class Replaced(Owned):
    """Rows of a log that a later batch has written anew: nobody reads the old ones, and a sweep deletes them."""

    log = models.ForeignKey(Log, on_delete=models.CASCADE, related_name="replaced")
    number = models.BigIntegerField(null=True, help_text="rows before this batch; null = none yet")
    keys = ArrayField(models.BigIntegerField(), help_text="whose rows: for resolve, the numbers of their profiles")
    since = models.DateTimeField(auto_now_add=True)


class Installation(models.Model):
    """One row: fingerprints of the keys with which `prepare` ran last (personas_site.keys)."""

    secret_key = models.CharField(max_length=16)
    field_keys = models.JSONField()


class Deletion(Owned):
    """Something was deleted, and what every store keeps of it is being erased, table by table.

    It can be gone on with anywhere: what is erased is counted, and looked at again after the last late insert.
    """

    class TargetKind(models.TextChoices):
        SPACE = "space", "Space"
        SOURCE = "source", "Source"
        AUDIENCE = "audience", "Audience"
        DESTINATION = "destination", "Destination"
        SUBSCRIPTION = "subscription", "Audience at a destination"

    class State(models.TextChoices):
        ERASING = "erasing", "Erasing"
        CHECKING = "checking", "Erased, to be checked"
        DONE = "done", "Erased and checked"

    public_id = public_id("del")
    kind = models.CharField(max_length=16, choices=TargetKind)
    # No foreign key: the row that it is about is gone long before the deletion is done.
    target = models.BigIntegerField(help_text="its key; keys are never given out again")
    target_id = models.CharField(max_length=40, help_text="its public id")
    name = models.CharField(max_length=200)
    scope = models.JSONField(default=dict, help_text="keys of its subscriptions, which are erased with it")
    state = models.CharField(max_length=8, choices=State, default=State.ERASING)
    step = models.IntegerField(default=0, help_text="how many tables are done")
    table = models.CharField(max_length=60, blank=True, help_text="the one at work")
    total = models.BigIntegerField(null=True, help_text="rows when it began")
    erased = models.JSONField(default=dict, help_text="{table: rows}")
    requested_at = models.DateTimeField(auto_now_add=True)
    check_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "target"], name="deleted_once")]

    @property
    def done(self) -> int:
        """Rows erased so far."""
        return sum(self.erased.values())
