"""Audiences, their versions, and who entered and left when (design §4)."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from audiences.rules import grammar, schedules
from audiences.rules.folders import LONGEST_FOLDER
from audiences.rules.labels import LONGEST_LABEL
from audiences.rules.whom import WHOM, Whom
from sources.models import Source
from spaces.models import Configured, Owned, Space, public_id
from spaces.times import milliseconds


def label_field() -> "ArrayField[list[str], list[str]]":
    """Labels, as `audiences.rules.labels` tidies them. The database has a default for a release without the field."""
    return ArrayField(models.CharField(max_length=LONGEST_LABEL), default=list, db_default=[], blank=True)


def folder_field() -> "models.CharField[str, str]":
    """A folder, as `audiences.rules.folders` tidies it; "" = in none."""
    return models.CharField(max_length=LONGEST_FOLDER, default="", db_default="", blank=True)


def cases_field() -> "models.JSONField[list[dict[str, Any]], list[dict[str, Any]]]":
    """Test cases, each as `audiences.rules.cases` writes it and with its id."""
    return models.JSONField(default=list, db_default=[], blank=True)


class Evaluation(models.Model):
    """How far the evaluate stage of a space has come, along both of its logs: change sets and the clock."""

    space = models.OneToOneField(Space, on_delete=models.CASCADE, primary_key=True, related_name="evaluation")
    workspace = models.ForeignKey("spaces.Workspace", on_delete=models.CASCADE, related_name="+")
    # Two places, since the two logs go on without one another: the clock on an idle space, events while it is behind.
    touched = models.BigIntegerField(default=0, help_text="resolve batches up to this one are evaluated")
    clock_at = models.DateTimeField(null=True, help_text="moments up to this one are evaluated")
    next_at = models.DateTimeField(
        null=True, help_text="no window opens or closes before this moment; null = none will"
    )
    put_back_at = models.DateTimeField(null=True, help_text="when the clock was last seen to have run ahead …")
    put_back_by = models.DurationField(null=True, help_text="… by how much")


def of_field() -> "models.CharField[str, str]":
    """Whom it is about. The database has a default for a release without the field."""
    # Kept in the words of the grammar, so that a definition and its audience say the same.
    choices = [(grammar.USERS, "People"), (grammar.ACCOUNTS, "Accounts")]
    return models.CharField(max_length=8, choices=choices, default=grammar.USERS, db_default=grammar.USERS)


class OfKind(models.Manager["Audience"]):
    """The computations of one kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def get_queryset(self) -> models.QuerySet["Audience"]:
        return super().get_queryset().filter(kind=self.kind)


class Audience(Owned):
    """A computation: what is kept up to date about each person, or each account, of a space. Its value is membership,
    or that of a computed trait (`ComputedTrait`); then those who have a value are its members, and `trait_log` has the
    values.

    The key never changes and is never given again in its space.
    """

    class Kind(models.TextChoices):
        AUDIENCE = "audience", "Audience"
        TRAIT = "trait", "Computed trait"

    class Status(models.TextChoices):
        COMPUTING = "computing", "Computing"
        WAITING = "waiting", "Waiting"
        LIVE = "live", "Live"
        BEHIND = "behind", "Behind"
        DISABLED = "disabled", "Disabled"
        FAILED = "failed", "Failed"

    public_id = public_id("aud")
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.AUDIENCE)
    of = of_field()
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="audiences")
    name = models.CharField(max_length=255)
    # It is in what was sent to tools and in definitions elsewhere, so it outlives a change of the name.
    key = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    labels = label_field()
    folder = folder_field()
    cases = cases_field()
    include_anonymous = models.BooleanField(default=False, help_text="people who have nothing but an anonymous id")
    events_since = models.DateTimeField(null=True, help_text="no event up to here counts; null = all of history does")
    # Set by destinations, which are above: evaluate cannot ask them what they filter by.
    watched_traits = models.JSONField(
        default=list,
        db_default=[],
        help_text="traits whose change is told to destinations, though nobody enters or leaves",
    )
    enabled = models.BooleanField(default=True)
    # Two moments, for between them tools still hold people of it: deleted at once, nobody would take them out.
    ending_at = models.DateTimeField(
        null=True, help_text="since then everybody is sent out of the tools; it is deleted when they are"
    )
    deleted_at = models.DateTimeField(null=True, help_text="kept, so that its key is never given again")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    serving = models.ForeignKey(
        "audiences.Version", on_delete=models.SET_NULL, null=True, related_name="+", help_text="null = none is complete"
    )
    # Kept, so that lists need not read a bitmap of each audience.
    size = models.BigIntegerField(null=True, help_text="of the serving version; null before the first compute")

    # The default manager leaves computed traits out: what means audiences cannot come upon one by mistake.
    objects = OfKind(Kind.AUDIENCE)
    everything: "models.Manager[Audience]" = models.Manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["space", "key"], name="audience_key_once_per_space")]

    def __str__(self) -> str:
        return self.name

    @property
    def whom(self) -> Whom:
        return WHOM[self.of]


class ComputedTrait(Audience):
    """A computed trait."""

    objects = OfKind(Audience.Kind.TRAIT)  # type: ignore[misc]

    class Meta:
        proxy = True


class Version(Owned):
    """One definition of an audience, with its own place on the logs (change sets, the clock) while it is not live.

    One that could not be evaluated with the others is behind: it catches up from its place, serving meanwhile.
    """

    class State(models.TextChoices):
        COMPUTING = "computing", "Computing"
        CATCHING_UP = "catching_up", "Catching up"
        LIVE = "live", "Live"
        REPLACED = "replaced", "Replaced"
        FAILED = "failed", "Failed"

    audience = models.ForeignKey(Audience, on_delete=models.CASCADE, related_name="versions")
    # By this people name it; it counts from 1 in each audience.
    number = models.IntegerField()
    definition = models.JSONField()
    state = models.CharField(max_length=12, choices=State, default=State.COMPUTING)
    error = models.TextField(blank=True)
    touched = models.BigIntegerField(null=True, help_text="evaluated up to this resolve batch …")
    clock_at = models.DateTimeField(null=True, help_text="… and up to this moment")
    tick = models.BigIntegerField(null=True, help_text="… and with other audiences as of this evaluate batch")
    computed = models.BinaryField(null=True, help_text="members as of its place, by a full query; it is to join")
    failures = models.IntegerField(default=0, help_text="attempts in a row that the engine did not answer …")
    idle_failures = models.IntegerField(default=0, help_text="… of these, alone on an engine that was idle")
    failing_since = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True, help_text="not tried before this moment")
    exact_at = models.DateTimeField(null=True, help_text="of one that serves and is behind: its members are as of then")
    snapshot = models.BinaryField(null=True, help_text="members at `snapshot_tick`, a Roaring bitmap")
    snapshot_tick = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["audience", "number"], name="version_number_once")]

    @property
    def node(self) -> grammar.Node:
        """What is asked for: the definition, of the part of history that counts for this audience."""
        audience = self.audience
        node = (
            grammar.parse_trait(self.definition)
            if audience.kind == Audience.Kind.TRAIT
            else grammar.parse(self.definition)
        )
        node = bound(audience.space_id, node)
        return node if audience.events_since is None else grammar.beginning(node, milliseconds(audience.events_since))


def bound(space: int, node: grammar.Node) -> grammar.Node:
    """The same, in which whatever asks about a computed trait knows how that is computed, and whatever names sources
    knows their keys. Raises DefinitionError."""
    keys, slugs = grammar.traits(node), grammar.sources(node)
    sources = sources_named(space, slugs)
    if not keys:
        return grammar.bound(node, {}, sources) if slugs else node
    # The newest, not the one that serves: what asks about a trait is worked out with it, not from its kept values.
    newest = newest_traits(space).filter(audience__key__in=keys).select_related("audience")
    leaves = {version.audience.key: version.node for version in newest.defer("snapshot", "computed")}
    return grammar.bound(node, leaves, sources)


def sources_named(space: int, slugs: Collection[str]) -> dict[str, int]:
    """The keys of those of these sources that there are in the space's workspace."""
    if not slugs:
        return {}
    # Sources belong to the workspace, and spaces listen to them.
    workspace = Space.everything.filter(pk=space).values("workspace")
    return dict(Source.objects.filter(workspace__in=workspace, slug__in=slugs).values_list("slug", "pk"))


def newest_traits(space: int) -> models.QuerySet[Version]:
    """Of each computed trait of the space the newest version."""
    mine = Version.objects.filter(audience__space=space, audience__deleted_at=None)
    return mine.filter(audience__kind=Audience.Kind.TRAIT).order_by("audience", "-number").distinct("audience")


class Change(Owned):
    """Who entered and left an audience in one tick, by one cause. A row only when something did."""

    class Cause(models.TextChoices):
        EVENTS = "events", "Events"
        CLOCK = "clock", "Time passed"
        COMPUTE = "compute", "First or new computation"
        REPLAY = "replay", "A replay ended"

    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="+")
    audience = models.ForeignKey(Audience, on_delete=models.CASCADE, related_name="changes")
    tick = models.BigIntegerField(help_text="number of the committed evaluate batch")
    at = models.DateTimeField(help_text="the tick's now")
    cause = models.CharField(max_length=8, choices=Cause)
    # Bitmaps rather than rows: a first computation may have millions of people, and sets are what readers want.
    entered = models.BinaryField(help_text="Roaring bitmap of profile numbers")
    left = models.BinaryField()
    refreshed = models.BinaryField(help_text="members before and after, whose identifiers changed")
    size = models.BigIntegerField(help_text="of the audience afterwards")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["audience", "tick", "cause"], name="one_change_per_audience_tick_and_cause")
        ]


class Draft(Owned):
    """An audience that somebody is describing, and that does not exist yet. Nothing of it may be complete."""

    public_id = public_id("drf")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="+")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    # Not a definition: half-written conditions must be kept as well.
    sketch = models.JSONField(help_text="the form as a tree, see audiences.rules.draft_form")
    of = of_field()
    name = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    labels = label_field()
    folder = folder_field()
    cases = cases_field()
    include_anonymous = models.BooleanField(default=False)
    include_historical = models.BooleanField(default=True, help_text="off: only what happens from now on counts")
    destinations = models.JSONField(default=list, help_text="those that were selected, with their settings")
    updated_at = models.DateTimeField(auto_now=True)
    tab = models.CharField(max_length=40, blank=True, default="", help_text="the page that the sketch was written in")

    def __str__(self) -> str:
        return self.name or "Untitled draft"

    @property
    def whom(self) -> Whom:
        return WHOM[self.of]


class Warehouse(Configured):
    """A database of the customer's own that SQL traits are asked of."""

    public_id = public_id("whs")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="warehouses")


class Scheduled(models.Model):
    """What is repeated by the clock of a time zone (`audiences.rules.schedules`)."""

    class Every(models.TextChoices):
        HOUR = "hour", "Every hour"
        DAY = "day", "Every day"
        WEEK = "week", "Every week"

    every = models.CharField(max_length=4, choices=Every, default=Every.DAY)
    at = models.TimeField(help_text="of an hourly one only the minute counts")
    weekday = models.SmallIntegerField(default=0, help_text="of a weekly one; 0 = Monday")
    time_zone = models.CharField(max_length=64, default="UTC")
    next_at = models.DateTimeField(null=True, help_text="of the next run; null = none is due")

    class Meta:
        abstract = True

    def following(self, after: datetime) -> datetime:
        """When it is due next, after a moment."""
        return schedules.next_run(self.every, at=self.at, weekday=self.weekday, time_zone=self.time_zone, after=after)

    @property
    def schedule(self) -> str:
        """For people to read."""
        return schedules.sentence(self.every, at=self.at, weekday=self.weekday, time_zone=self.time_zone)


class SqlTrait(Owned, Scheduled):
    """A query of a warehouse that says of some people what their traits of the names of its columns are.

    What it says is sent as identify calls of an internal source, so that everything a custom trait can do it can do.
    """

    public_id = public_id("sqt")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="sql_traits")
    # RESTRICT: a query without its database would fail for ever, and nobody would know why.
    warehouse = models.ForeignKey(Warehouse, on_delete=models.RESTRICT, related_name="sql_traits")
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    query = models.TextField()
    most_nulled = models.SmallIntegerField(default=20, help_text="per cent: a run that would null more stops and asks")
    enabled = models.BooleanField(default=True)
    # Its source can be deleted like any other; the next run makes a new one.
    source = models.ForeignKey("sources.Source", on_delete=models.SET_NULL, null=True, related_name="+")
    columns = models.JSONField(default=list, help_text="names of the traits that the newest run sent")
    approved = models.BooleanField(default=False, help_text="the next run may null however many")
    claimed_at = models.DateTimeField(null=True, help_text="since when a worker runs it")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class SqlRun(Owned):
    """One run of a SQL trait, and what came of it."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        HELD = "held", "Waits for a nod"
        FAILED = "failed", "Failed"

    public_id = public_id("run")
    sql_trait = models.ForeignKey(SqlTrait, on_delete=models.CASCADE, related_name="runs")
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    rows = models.IntegerField(default=0, help_text="that the query gave")
    unknown = models.IntegerField(default=0, help_text="of these, of people who are in no profile: they are left out")
    oversized = models.IntegerField(default=0, help_text="of these, that are too long: they are left out")
    changed = models.IntegerField(default=0, help_text="people whose values were sent")
    nulled = models.IntegerField(default=0, help_text="people who vanished from the answer")
    error = models.TextField(blank=True)


class SqlValue(models.Model):
    """What a SQL trait last said of somebody: a digest, to send only what changes."""

    # Without indexes of their own: the constraint's begins with the one, and nothing looks for the other.
    sql_trait = models.ForeignKey(SqlTrait, on_delete=models.CASCADE, db_index=False, related_name="+")
    workspace = models.ForeignKey("spaces.Workspace", on_delete=models.CASCADE, db_index=False, related_name="+")
    identifier = models.BigIntegerField(help_text="number of the identifier in the space")
    digest = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sql_trait", "identifier"], name="sql_value_once")]
