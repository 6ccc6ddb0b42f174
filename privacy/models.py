"""Regulations: requests to erase people, to suppress them, or no longer to."""

from django.conf import settings
from django.db import models

from privacy.rules.kinds import KINDS, RegulationKind
from spaces.models import Owned, Space, public_id


class Regulation(Owned):
    """What was asked for about some people, how far it is, and what came of it.

    Whom it is about is sealed while it runs, and forgotten when it is done: a request to be forgotten that names
    somebody for ever would be none. The report counts, and names nobody.
    """

    class State(models.TextChoices):
        INITIALIZED = "INITIALIZED", "Waiting"
        RUNNING = "RUNNING", "Running"
        CHECKING = "CHECKING", "Erased, to be checked"
        FINISHED = "FINISHED", "Done and checked"
        PARTIAL_SUCCESS = "PARTIAL_SUCCESS", "Done here, not everywhere"

    public_id = public_id("reg")
    space = models.ForeignKey(
        Space, on_delete=models.CASCADE, null=True, related_name="+", help_text="null = all of the workspace"
    )
    kind = models.CharField(max_length=40)
    state = models.CharField(max_length=16, choices=State, default=State.INITIALIZED)
    subjects = models.IntegerField(help_text="how many identifiers")
    sealed = models.BinaryField(
        null=True, help_text="encrypted JSON of privacy.erasing.RegulationWork; null = it is done"
    )
    step = models.CharField(max_length=20, blank=True, help_text="the one at work")
    steps_done = models.IntegerField(default=0)
    report = models.JSONField(default=dict, help_text="as privacy.report reads it")
    error = models.TextField(blank=True, help_text="why the step was not done, the last time that it was tried")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    requested_at = models.DateTimeField()
    next_at = models.DateTimeField(null=True, help_text="not gone on with before this moment")
    erased_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    @property
    def what(self) -> RegulationKind:
        return KINDS[self.kind]
