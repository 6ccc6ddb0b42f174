"""What belongs to the console as a whole."""

from django.db import models

from spaces.models import Owned, Space


class Sample(Owned):
    """The sample data of a workspace, at most one, and the phase that adding it has reached."""

    class Phase(models.TextChoices):
        SENDING = "sending", "Sending events"
        ARCHIVING = "archiving", "Archiving them"
        REPLAYING = "replaying", "Replaying the last month"
        READY = "ready", "Ready"

    space = models.OneToOneField(Space, on_delete=models.CASCADE, related_name="sample")
    state = models.CharField(max_length=10, choices=Phase, default=Phase.SENDING)
    # Not foreign keys: a source of the sample can be deleted like any other.
    sources = models.JSONField(help_text="primary keys of its sources, by the name that the shop gives each")
    # With the same anchor the shop generates the same messages, so those not sent yet are stored nowhere.
    anchor = models.BigIntegerField(help_text="when its month ends, in ms since 1970; nothing of it is later")
    total = models.IntegerField(help_text="messages in all")
    sent = models.IntegerField(default=0, help_text="of these, in the order of their times, are in the inbox")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace"], name="one_sample_per_workspace")]
