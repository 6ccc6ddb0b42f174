"""Destinations, what goes to them, and what they acknowledged (design §5)."""

from django.db import models

from audiences.models import Audience
from spaces.models import Configured, Deletable, Owned, Space, Workspace, public_id


class Many(models.Model):
    """A row of a workspace that is written by the thousand: its workspace has no index, which nothing would read."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, db_index=False, related_name="+")

    class Meta:
        abstract = True


class Destination(Deletable, Configured):
    """A tool where people are needed. Its kind is an adapter's."""

    public_id = public_id("dst")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="destinations")
    enabled = models.BooleanField(default=True)


class Subscription(Deletable, Owned):
    """An audience, or a computed trait, goes to a destination: the owner of the sync stage."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting for the audience"
        SYNCING = "syncing", "Sending"
        IN_STEP = "in_step", "In step"  # desired and acknowledged were compared, and are equal
        RETRYING = "retrying", "Retrying"
        FAILING = "failing", "Failing"  # no call got through, several times in a row
        REFUSED = "refused", "Refused in part"
        DIFFERS = "differs", "Out of step"  # it stays different, whatever is said
        PARKED = "parked", "Parked"
        CAPPED = "capped", "Waits for a nod"  # more people than the cap of one run: an admin says that they may go
        SUSPENDED = "suspended", "Suspended"  # refused as a whole: it waits for someone to change the settings
        DISABLED = "disabled", "Disabled"

    public_id = public_id("sub")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="subscriptions")
    audience = models.ForeignKey(Audience, on_delete=models.CASCADE, related_name="subscriptions")
    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="subscriptions")
    enabled = models.BooleanField(default=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    options = models.JSONField(default=dict, help_text="of the adapter's Options: event names and the like")
    sending = models.JSONField(
        default=dict, db_default={}, help_text="of whom what is sent, as rules.sending.SendingRules has it"
    )
    # Where a pass stands, as four columns: prepare compares them with what was read, so that of two batches one
    # fails.
    tick = models.BigIntegerField(default=0, help_text="changes up to this evaluate batch are planned or sent")
    full = models.BooleanField(default=True, help_text="this pass looks at everyone: a first sync or a resync")
    pass_tick = models.BigIntegerField(null=True, help_text="changes up to this one are being planned; null = no pass")
    cursor = models.BigIntegerField(default=0, help_text="profile numbers up to this one are planned in this pass")
    # Receivers believe the newest timestamp about somebody, and the clock may be put back.
    said_at = models.DateTimeField(null=True, help_text="the timestamp of the newest call; none is given an older one")
    synced_at = models.DateTimeField(null=True, help_text="when everything desired was last acknowledged")
    counts = models.JSONField(
        default=dict, help_text="of the newest comparison: desired, acknowledged, maybe, refused, due"
    )
    compared_at = models.DateTimeField(null=True, help_text="when desired and acknowledged were last compared")
    compare_at = models.DateTimeField(null=True, help_text="when they are compared next; null = now")
    # A fingerprint tells whether just these still differ; which they are is worked out by each comparison.
    overlooked = models.CharField(max_length=32, blank=True, help_text="fingerprint of what then differed")
    repeated = models.IntegerField(default=0, help_text="comparisons in a row in which just these differed")
    unsettled = models.IntegerField(default=0, help_text="identifiers of people who were merged since the newest tick")
    failures = models.IntegerField(default=0, help_text="rounds in a row without one success")
    failing_since = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    recalled_at = models.DateTimeField(null=True, help_text="since then nobody is to be there; null = they are")
    capped_people = models.BigIntegerField(
        default=0, db_default=0, help_text="so many wait for a nod; 0 = nothing is held back"
    )
    # A tick rather than a switch: whoever nodded meant the people they saw, and not those of next month.
    nodded_tick = models.BigIntegerField(null=True, help_text="changes up to this one may go, however many they are")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["audience", "destination"],
                condition=models.Q(deleted_at=None),
                name="one_subscription_per_audience_and_destination",
            )
        ]

    @property
    def held_back_by(self) -> str:
        """What was switched off or deleted, so that nothing may go out: one of our own models by name, or ""."""
        if not self.enabled:
            return "subscription"
        if not self.destination.enabled:
            return "destination"
        goes_on = self.audience.enabled or self.audience.ending_at is not None  # whoever is there is still sent out
        return "" if goes_on and self.audience.deleted_at is None else "audience"

    @property
    def standing(self) -> str:
        """Its status, of which nothing is left while something is switched off."""
        return self.Status.DISABLED if self.held_back_by else self.status

    @property
    def sends(self) -> bool:
        """Whether anything may go out: everything that could be switched off is on."""
        return not self.held_back_by and self.status != self.Status.SUSPENDED


class RememberedValues(Owned):
    """What a tool answered to the steps before all calls: ids of lists, and tokens.

    Kept for a destination, or for one thing that goes there.
    """

    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="remembered")
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, null=True, related_name="remembered")
    sealed = models.BinaryField(help_text="encrypted JSON: {name: [value, end of its use in ms, or null]}")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["destination"], condition=models.Q(subscription=None), name="remembered_once_of_a_destination"
            ),
            models.UniqueConstraint(fields=["subscription"], name="remembered_once_of_a_subscription"),
        ]


class Acknowledged(Many):
    """What a destination is known to hold of one identifier. No row means OUT.

    due: a call was prepared and is not acknowledged, or must be looked at again. It is not forgotten by the
    subscription's tick moving on.
    """

    class State(models.IntegerChoices):
        OUT = 0, "Out"
        IN = 1, "In"
        MAYBE = 2, "Maybe"  # a call was begun and its answer is not known

    id = models.BigAutoField(primary_key=True)
    subscription = models.ForeignKey(
        Subscription, on_delete=models.CASCADE, db_index=False, related_name="acknowledged"
    )
    identifier = models.BigIntegerField(help_text="number of the identifier in the space")
    # Of the destination, as far as is known; what is wanted of it stands nowhere, since it follows from the audience.
    state = models.SmallIntegerField(choices=State)
    entering = models.BooleanField(help_text="what the newest call asked for")
    # Another direction has another id at the receiver; a retry has the same, so that it is dropped as a repetition.
    flip = models.IntegerField(help_text="counts the changes of direction; part of the message id")
    at = models.DateTimeField(help_text="when that flip was prepared; the message's timestamp")
    profile = models.BigIntegerField(help_text="number of the profile that held it then")
    # An exit goes to exactly what was sent, though the address belongs to somebody else by now.
    sent = models.JSONField(default=dict, help_text="{type: [identifier number, value]} that the newest call said")
    value = models.TextField(db_default="", help_text="of a computed trait, as the newest call said it: JSON text")
    fields = models.TextField(db_default="", help_text="that went besides with the newest call: JSON text; '' = none")
    due = models.BooleanField(default=False)
    tries = models.IntegerField(default=0, help_text="failed calls of this flip")
    retry_at = models.DateTimeField(null=True)
    refused = models.TextField(blank=True, help_text="the destination's words, when it will not take this row")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["subscription", "identifier"], name="acknowledged_once")]
        indexes = [
            models.Index(fields=["subscription", "profile"], name="acknowledged_of_a_profile"),
            # In the order in which they are tried again; only of those that wait, which are few.
            models.Index(fields=["subscription", "tries", "id"], condition=models.Q(due=True), name="acknowledged_due"),
        ]


class Caught(Many):
    """A call as the webhook catcher received it; what came in one array is kept one by one."""

    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, db_index=False, related_name="caught")
    message_id = models.CharField(max_length=200)
    received_at = models.DateTimeField()
    headers = models.JSONField()
    body = models.JSONField()
    times = models.IntegerField(default=1, help_text="how often this message id came")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["destination", "message_id"], name="caught_once")]
        indexes = [models.Index(fields=["destination", "id"], name="caught_in_order")]
