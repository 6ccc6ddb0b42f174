"""Imports of CSV files into spaces: the files, how far they are, and what was wrong with their rows."""

from typing import Any

import msgspec
from django.conf import settings
from django.db import models
from pyroaring import BitMap

from imports.rules.rows import ColumnUse
from sources.models import Source
from spaces.models import Owned, Space, public_id


class ProfileImport(Owned):
    """One file. Its rows become identify calls of a source of its own, by which all of them can be taken back."""

    class State(models.TextChoices):
        UPLOADING = "uploading", "Being uploaded"
        UPLOADED = "uploaded", "Columns to be chosen"
        CHECKING = "checking", "Being checked"
        CHECKED = "checked", "Checked"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        CANCELLED = "cancelled", "Cancelled"
        UNDOING = "undoing", "Being undone"
        UNDONE = "undone", "Undone"

    AT_WORK = (State.CHECKING, State.RUNNING, State.UNDOING)
    ENDED = (State.DONE, State.CANCELLED, State.UNDONE)

    public_id = public_id("imp")
    space = models.ForeignKey(Space, on_delete=models.CASCADE, related_name="imports")
    source = models.ForeignKey(
        Source, on_delete=models.SET_NULL, null=True, related_name="+", help_text="of its events"
    )
    name = models.CharField(max_length=200, help_text="of the file")
    state = models.CharField(max_length=10, choices=State, default=State.UPLOADING)
    charset = models.CharField(max_length=20, default="utf-8", help_text="of what is sent; it is kept in UTF-8")
    pending = models.BinaryField(default=b"", help_text="bytes at the end of the last part, of half a character")
    received = models.BigIntegerField(default=0, help_text="bytes as sent: where the next part begins")
    size = models.BigIntegerField(default=0, help_text="bytes as kept, in UTF-8")
    delimiter = models.CharField(max_length=1, blank=True, default="", help_text="blank = as the header shows")
    header = models.JSONField(default=list, help_text="names of the columns")
    columns = models.JSONField(default=list, help_text="what each is: imports.rules.rows.ColumnUse")
    position = models.BigIntegerField(default=0, help_text="bytes that are checked, or sent")
    row = models.BigIntegerField(default=0, help_text="the last of these")
    counts = models.JSONField(default=dict, help_text="of the check: {good, known, new, joining, rejected}")
    sent = models.JSONField(default=dict, help_text="of the run: {good, rejected}")
    rules = models.JSONField(default=dict, help_text="of the check: {rule: problems}")
    error = models.TextField(blank=True, default="", help_text="why it does not go on")
    retry_at = models.DateTimeField(null=True, help_text="not gone on with before this moment")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField(help_text="its state, or what was sent of it")
    began_at = models.DateTimeField(null=True, help_text="the check, the run or the undoing")
    event_time = models.DateTimeField(null=True, help_text="of all its events: when the run began")
    ended_at = models.DateTimeField(null=True)
    waiting = models.BinaryField(null=True, help_text="a bitmap: whom the undoing has still to see to")
    told = models.BinaryField(null=True, help_text="a bitmap: whom audiences are to be told of at its end")
    gone = models.BinaryField(null=True, help_text="a bitmap: who is no more")
    people = models.BigIntegerField(default=0, help_text="whom the undoing is about")

    class Meta:
        indexes = [models.Index(fields=["space", "-id"], name="imports_newest_first")]

    @property
    def uses(self) -> list[ColumnUse]:
        uses: list[ColumnUse] = msgspec.convert(self.columns, list[ColumnUse])
        return uses

    @property
    def is_at_work(self) -> bool:
        return self.state in self.AT_WORK


class ImportPart(Owned):
    """A part of the file, in UTF-8 and packed. It goes some time after the import has ended."""

    # In PostgreSQL, since it is the one store that every process of ours can write to and that is backed up.
    of = models.ForeignKey(ProfileImport, on_delete=models.CASCADE, related_name="parts")
    start = models.BigIntegerField(help_text="bytes before it")
    length = models.IntegerField(help_text="bytes, unpacked")
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["of", "start"], name="import_part_once")]


class ImportProblem(Owned):
    """What is wrong with a row: of the first few. All are worked out anew when they are asked for."""

    of = models.ForeignKey(ProfileImport, on_delete=models.CASCADE, related_name="problems")
    row = models.BigIntegerField()
    column = models.CharField(max_length=200, blank=True)
    value = models.CharField(max_length=200, blank=True)
    rule = models.CharField(max_length=40)
    sentence = models.TextField()


def bitmap_of(kept: Any) -> BitMap:
    """A stored bitmap; an empty one where there is none."""
    return BitMap.deserialize(bytes(kept)) if kept else BitMap()
