"""Syncs of a space's profiles to warehouses, their runs, and what each warehouse was last told of whom."""

from django.conf import settings
from django.db import models

from audiences.models import Scheduled
from spaces.models import Configured, Owned, Space, public_id


class ProfilesSync(Configured, Scheduled):
    """A warehouse that is kept in step with a space. What it still has to be told is here, not in a run: a run that
    ends early leaves it to the next one."""

    public_id = public_id("psy")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="profiles_syncs")
    every = models.CharField(max_length=4, choices=Scheduled.Every, default=Scheduled.Every.HOUR)
    enabled = models.BooleanField(default=True)
    tables = models.JSONField(default=list, help_text="names; empty = all, as in the three below")
    events = models.JSONField(default=list, help_text="names of track calls")
    traits = models.JSONField(default=list)
    audiences = models.JSONField(default=list, help_text="keys")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    # How far it is.
    retry_at = models.DateTimeField(null=True, help_text="the run that goes on is tried again then")
    failures = models.IntegerField(default=0, help_text="batches in a row that failed")
    looked_at = models.DateTimeField(null=True, help_text="when it last took in who changed")
    batch = models.BigIntegerField(default=0, help_text="newest number that was given to a batch")
    pending = models.BinaryField(null=True, help_text="whom to look at: a bitmap of numbers; null = everybody")
    anew = models.BinaryField(default=b"", help_text="of these, whose events are told again as a whole")
    events_end = models.BigIntegerField(default=0, help_text="events up to this resolve batch are to be told …")
    events_at = models.JSONField(default=list, help_text="… and are up to here: [piece, position, profile]")
    events_first = models.BigIntegerField(default=0, help_text="up to here none was told before the first run")
    tick = models.BigIntegerField(default=0, help_text="memberships and computed values were looked at up to here")
    columns = models.JSONField(default=dict, help_text="{table: its columns besides its own}, of those that are there")


class SyncRun(Owned):
    """One run, and what came of it."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    public_id = public_id("syr")
    sync = models.ForeignKey(ProfilesSync, on_delete=models.CASCADE, related_name="runs")
    state = models.CharField(max_length=9, choices=State, default=State.RUNNING)
    planned = models.BooleanField(default=False, help_text="whether it is known what there is to do")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    rows = models.JSONField(default=dict, help_text="{table: rows that were written}")
    people_total = models.BigIntegerField(default=0, help_text="to be looked at")
    people_done = models.BigIntegerField(default=0)
    events_total = models.BigIntegerField(default=0)
    events_done = models.BigIntegerField(default=0)
    removed = models.BigIntegerField(default=0, help_text="profiles that are no more")
    error = models.TextField(blank=True, help_text="in the warehouse's own words")

    class Meta:
        constraints = [
            # Two would give out the same places twice.
            models.UniqueConstraint(fields=["sync"], condition=models.Q(state="running"), name="one_run_of_a_sync")
        ]


class SyncedProfile(models.Model):
    """A profile that the warehouse was told of: by its id it is taken out again, when nothing is left of it here."""

    # Without indexes of their own: the constraint's begins with the one, and nothing looks for the other.
    sync = models.ForeignKey(ProfilesSync, on_delete=models.CASCADE, db_index=False, related_name="+")
    workspace = models.ForeignKey("spaces.Workspace", on_delete=models.CASCADE, db_index=False, related_name="+")
    number = models.BigIntegerField()
    segment_id = models.CharField(max_length=40)
    digest = models.BinaryField(default=b"", help_text="of what it was told; empty = perhaps something, or nothing")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sync", "number"], name="synced_profile_once")]


class SyncedMembers(Owned):
    """Who was in an audience, or had a computed trait, when a sync last looked."""

    sync = models.ForeignKey(ProfilesSync, on_delete=models.CASCADE, related_name="+")
    audience = models.BigIntegerField(help_text="its key: it may be gone")
    members = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sync", "audience"], name="synced_members_once")]
