"""What people do with imports. Each change leaves an audit entry, which names no person of the file."""

import zlib
from collections.abc import Sequence
from datetime import datetime

import msgspec
from django.conf import settings
from django.db import transaction

from access.services import COMMAND, ActorLike, NotPossible, actor_of, audit
from identity.rules.policy import policy_of
from imports import queries
from imports.models import ImportPart, ProfileImport
from imports.rules.files import CHARSETS, DELIMITERS, FileError, delimiter_of, header_errors, to_utf8, without_mark
from imports.rules.rows import ColumnUse, guessed, mapping_error
from sources import services as sources
from sources.models import Source, WriteKey
from spaces.clock import Clock
from spaces.models import Space
from spaces.text import storable

LONGEST_NAME, LONGEST_SOURCE = 200, 100
LARGEST_PART = 5 * 2**20  # bytes as sent: of any request the console takes 6 MB
LARGEST_HEADER = 256 * 1024
State = ProfileImport.State


class MappingError(Exception):
    """The columns cannot be used so. place: of the first that is wrong."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place


def begin(
    space: Space, *, name: str, charset: str = "utf-8", delimiter: str = "", now: datetime, by: ActorLike = COMMAND
) -> ProfileImport:
    """An import without its file. delimiter: "" = as the header shows. Raises NotPossible."""
    if charset not in CHARSETS or (delimiter and delimiter not in DELIMITERS):
        raise NotPossible("There is no such charset, or no such delimiter.")
    with transaction.atomic():
        of = ProfileImport.objects.create(
            workspace_id=space.workspace_id,
            space=space,
            name=storable(name)[:LONGEST_NAME] or "import.csv",
            charset=charset,
            delimiter=delimiter,
            created_by=actor_of(by).user,
            created_at=now,
            changed_at=now,
        )
        audit(by, "import.created", space, id=of.public_id)
    return of


def upload(
    space: Space, content: bytes, *, name: str, charset: str, delimiter: str, now: datetime, by: ActorLike = COMMAND
) -> ProfileImport:
    """An import with its whole file, which is small. Raises NotPossible, and then nothing is kept of it."""
    with transaction.atomic():
        of = begin(space, name=name, charset=charset, delimiter=delimiter, now=now, by=by)
        add_part(of, content, offset=0, now=now)
        complete(of, now=now)
    return of


def add_part(of: ProfileImport, content: bytes, *, offset: int, now: datetime) -> None:
    """These bytes, which begin at `offset` of the file as sent, are kept. What was kept already is not kept again.

    Raises NotPossible.
    """
    if len(content) > LARGEST_PART:
        raise NotPossible(f"A part may have {LARGEST_PART:,} bytes.")
    with transaction.atomic():
        # Locked, so that of two parts sent side by side the second sees where the first ended.
        of = ProfileImport.objects.select_for_update().get(pk=of.pk)
        if of.state != State.UPLOADING:
            raise NotPossible("The file is complete.")
        if offset + len(content) <= of.received:
            return  # it was sent again, by a client that did not hear the answer
        if offset != of.received:
            raise NotPossible(f"The next part begins at byte {of.received}.")
        try:
            own = content
            if not of.received:
                own, of.charset = without_mark(content, of.charset)
            text, of.pending = to_utf8(own, bytes(of.pending), of.charset)
        except FileError as error:
            raise NotPossible(str(error)) from error
        of.received += len(content)
        _keep(of, text, now)


def complete(of: ProfileImport, *, now: datetime) -> None:
    """That was the whole file: its header is read. Raises NotPossible, and then nothing is kept of it."""
    with transaction.atomic():
        # Locked, so that a part that is being kept is in the file, or refused.
        of = ProfileImport.objects.select_for_update().get(pk=of.pk)
        if of.state != State.UPLOADING:
            raise NotPossible("The file is complete already.")
        try:
            text, of.pending = to_utf8(b"", bytes(of.pending), of.charset, is_last=True)
        except FileError as error:
            raise NotPossible(str(error)) from error
        _keep(of, text, now)
        first = ImportPart.objects.filter(of=of).order_by("start").values_list("content", flat=True).first() or b""
        line = zlib.decompress(first)[:LARGEST_HEADER].partition(b"\n")[0].decode("utf-8", "replace") if first else ""
        of.delimiter = of.delimiter or delimiter_of(line)
        header = next(queries.read(of), None)
        if header is not None and header.error:
            raise NotPossible(header.error)
        of.header = header.values if header else []
        if errors := header_errors(of.header):
            raise NotPossible(" ".join(errors))
        samples = [record.values for record in queries.preview(of)]
        if not samples:
            raise NotPossible("There is no row below the header.")
        of.columns = _plain(guessed(of.header, samples, policy_of(of.space.identity_policy)))
        of.state = State.UPLOADED
        of.save()


def start_check(of: ProfileImport, uses: Sequence[ColumnUse], *, now: datetime, by: ActorLike = COMMAND) -> None:
    """Its rows are checked, with the columns used so. Nothing is imported yet. Raises MappingError and NotPossible."""
    _must_have_file(of)
    if wrong := mapping_error(uses, of.header, policy_of(of.space.identity_policy)):
        raise MappingError(*wrong)
    with transaction.atomic():
        _moved(
            of,
            (State.UPLOADED, State.CHECKING, State.CHECKED),
            "Its columns cannot be chosen any more.",
            state=State.CHECKING,
            columns=_plain(uses),
            position=0,
            row=0,
            counts={},
            rules={},
            error="",
            began_at=now,
            changed_at=now,
        )
        of.problems.all().delete()
        audit(by, "import.checked", of.space, id=of.public_id)


def start(of: ProfileImport, *, clock: Clock, by: ActorLike = COMMAND) -> None:
    """The good rows are imported, in the background. Raises NotPossible."""
    now = clock.now()
    _must_have_file(of)
    with transaction.atomic():
        _moved(
            of,
            (State.CHECKED,),
            "Only an import that is checked can be started.",
            state=State.RUNNING,
            position=0,
            row=0,
            sent={},
            error="",
            began_at=now,
            changed_at=now,
            event_time=now,
        )
        # By what `_moved` has just read; refused, its change is taken back with all of this.
        if not of.counts.get("good"):
            raise NotPossible("There is no row that could be imported.")
        # With a part of the id: files of the same name are imported again and again.
        name = f"Import {of.public_id[-6:]} of {of.name}"[:LONGEST_SOURCE]
        of.source = sources.create_source(of.space.workspace, name=name, kind=Source.SourceKind.SERVER, by=by)
        # Nobody else is to send by it: what it brought is what an undoing takes back.
        WriteKey.objects.filter(source=of.source).delete()
        sources.connect(of.space, [of.source], replay=False, clock=clock, by=by)
        of.save(update_fields=["source"])
        audit(by, "import.started", of.space, id=of.public_id, rows=of.counts["good"])


def cancel(of: ProfileImport, *, now: datetime, by: ActorLike = COMMAND) -> None:
    """No more of it is checked or sent. What was sent stays, until it is undone. Raises NotPossible."""
    with transaction.atomic():
        before = (State.UPLOADING, State.UPLOADED, State.CHECKING, State.CHECKED, State.RUNNING)
        ended = {"state": State.CANCELLED, "error": "", "changed_at": now, "ended_at": now}
        _moved(of, before, "It has ended already.", **ended)
        audit(by, "import.cancelled", of.space, id=of.public_id)


def undo(of: ProfileImport, *, now: datetime, by: ActorLike = COMMAND) -> None:
    """Everybody becomes as if it had never been, in the background. Raises NotPossible."""
    with transaction.atomic():
        before = (State.DONE, State.CANCELLED)
        began = {"state": State.UNDOING, "error": "", "changed_at": now, "began_at": now}
        _moved(of, before, "Only an import that has ended can be undone.", **began)
        if of.source is None:
            raise NotPossible("Nothing of it is known any more: nothing was sent, or its source was deleted.")
        audit(by, "import.undone", of.space, id=of.public_id)


def _must_have_file(of: ProfileImport) -> None:
    if not queries.has_file(of):
        raise NotPossible("The file is not kept any more: upload it again.")


def _keep(of: ProfileImport, text: bytes, now: datetime) -> None:
    if text:
        if of.size + len(text) > settings.IMPORT_MB * 2**20:
            raise NotPossible(f"A file may have {settings.IMPORT_MB:,} MB.")
        part = {"start": of.size, "length": len(text), "content": zlib.compress(text, 1)}
        ImportPart.objects.create(workspace_id=of.workspace_id, of=of, **part)
        of.size += len(text)
    of.changed_at = now
    of.save()


def _moved(of: ProfileImport, before: Sequence[str], refusal: str, **changes: object) -> None:
    # In the statement itself: of two who click at once the second is told.
    if not ProfileImport.objects.filter(pk=of.pk, state__in=before).update(**changes, retry_at=None):
        raise NotPossible(refusal)
    of.refresh_from_db()


def _plain(uses: Sequence[ColumnUse]) -> list[dict[str, str]]:
    plain: list[dict[str, str]] = msgspec.to_builtins(uses)
    return plain
