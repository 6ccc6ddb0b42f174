"""Alert rules, the channels by which people are told, what was wrong, and what was sent."""

from django.conf import settings
from django.db import models

from spaces.models import Configured, Owned, Space, public_id


class AlertChannel(Configured):
    """A way in which people of a space are told."""

    public_id = public_id("alc")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="alert_channels")


class AlertRule(Owned):
    """What is watched for in a space, and who is told. `kind` names a file and is never renamed."""

    public_id = public_id("alr")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="alert_rules")
    kind = models.CharField(max_length=40)
    name = models.CharField(max_length=100)
    subject = models.CharField(max_length=40, blank=True, help_text="public id of what it is about; empty = anything")
    options = models.JSONField(default=dict)
    channels = models.ManyToManyField(AlertChannel, related_name="rules", through="AlertRoute")
    cooldown_minutes = models.IntegerField(default=30, help_text="between two messages about something new")
    enabled = models.BooleanField(default=True)
    # A worker has no request to take the address of the console from; whoever made the rule had one.
    origin = models.CharField(max_length=255, blank=True, help_text="scheme and host of the console, for links")
    check_at = models.DateTimeField(null=True, help_text="looked at next; null = now")
    told_at = models.DateTimeField(null=True, help_text="when people were last told of something new")
    error = models.TextField(blank=True, help_text="why it could not be looked at the last time")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class AlertRoute(Owned):
    """A rule tells by a channel."""

    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="+")
    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["rule", "channel"], name="alert_channel_once_per_rule")]


class AlertOccurrence(Owned):
    """Something was wrong with a subject, from one look to another."""

    public_id = public_id("alo")
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="occurrences")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="+")
    subject = models.CharField(max_length=40)
    name = models.CharField(max_length=255)
    message = models.TextField()
    began_at = models.DateTimeField()
    # Of each, since within a cooldown things begin and end of which nobody ever hears.
    told_at = models.DateTimeField(null=True, help_text="null = nobody was told, within the cooldown")
    ended_at = models.DateTimeField(null=True, db_index=True, help_text="null = it is wrong still")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "subject"], condition=models.Q(ended_at=None), name="one_open_occurrence_of_a_subject"
            )
        ]
        indexes = [models.Index(fields=["space", "-id"], name="alert_occurrences_newest")]


class AlertNotification(Owned):
    """A message to one channel, and what became of it."""

    class What(models.TextChoices):
        ALERT = "alert", "Alert"
        RESOLVED = "resolved", "Resolved"
        TEST = "test", "Test"

    class State(models.TextChoices):
        PENDING = "pending", "Waiting"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"

    public_id = public_id("aln")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="+")
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, null=True, related_name="+")
    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="notifications")
    what = models.CharField(max_length=8, choices=What)
    # As it was then: the rule, or its name, may be another one when somebody looks.
    title = models.TextField()
    findings = models.JSONField(default=list, help_text="[subject, name, message] of each")
    at = models.DateTimeField()
    state = models.CharField(max_length=7, choices=State, default=State.PENDING)
    tries = models.IntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["space", "-id"], name="alert_notifications_newest"),
            models.Index(fields=["retry_at"], condition=models.Q(state="pending"), name="alert_notifications_pending"),
        ]
