"""Files of imports as they are kept, and whom their rows are about. Reads only."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, F, OuterRef, QuerySet

from identity.queries import identifiers_of
from identity.rules.policy import policy_of
from imports.models import ImportPart, ProfileImport, bitmap_of
from imports.rules.files import Record, records
from imports.rules.rows import DIRECT, Checked, RowProblem, check
from spaces.models import Space

PREVIEWED = 10  # rows


@dataclass(frozen=True)
class ImportProgress:
    """done: of 1. rate: rows a second. seconds_left: None = nobody can tell yet."""

    done: float
    rate: float
    seconds_left: float | None


def imports_of(space: Space) -> "QuerySet[ProfileImport]":
    """Each with `file_kept`, and without what only its undoing reads of it."""
    kept = Exists(ImportPart.objects.filter(of=OuterRef("pk")))
    rows = ProfileImport.objects.filter(space=space).annotate(file_kept=kept).defer("told", "gone")
    return rows.select_related("created_by", "source")


def read(of: ProfileImport, *, start: int = 0, row: int = 0) -> Iterator[Record]:
    """The records after this row, whose last byte is before `start`. One part of the file at a time is in memory."""
    if not of.delimiter:  # the file is not complete, and what parts its fields is not known
        return iter(())
    return records(_parts(of, start), of.delimiter, row=row, start=start)


def _parts(of: ProfileImport, start: int) -> Iterator[bytes]:
    # Also the part in the middle of which `start` is.
    parts = ImportPart.objects.filter(of=of, start__gt=start - F("length")).order_by("start")
    for place in parts.values_list("start", flat=True):
        content = zlib.decompress(ImportPart.objects.values_list("content", flat=True).get(of=of, start=place))
        yield content[max(start - place, 0) :]


def has_file(of: ProfileImport) -> bool:
    """Whether it is still kept."""
    return ImportPart.objects.filter(of=of).exists()


def preview(of: ProfileImport) -> list[Record]:
    """The first rows after the header."""
    rows = read(of)
    next(rows, None)
    return [record for record, _ in zip(rows, range(PREVIEWED), strict=False)]


def checked(of: ProfileImport, most: int) -> Checked:
    """The next rows, at most so many. `row` and `end` are where it came to; at the end of the file there are none."""
    policy, part = policy_of(of.space.identity_policy), Checked(row=of.row, end=of.position)
    uses = of.uses
    for record, _ in zip(read(of, start=of.position, row=of.row), range(most), strict=False):
        part.row, part.end = record.row, record.end
        if record.row == 1:
            continue
        outcome = check(record, of.header, uses, policy)
        if isinstance(outcome, list):
            part.problems += outcome
            part.rejected += 1
        else:
            part.good.append(outcome)
    return part


def rejected(of: ProfileImport) -> Iterator[tuple[Record, list[RowProblem]]]:
    """The rows that cannot be imported, with all that is wrong with them, by the rules of the space as they are now."""
    policy, uses = policy_of(of.space.identity_policy), of.uses
    for record in read(of):
        if record.row > 1 and isinstance(outcome := check(record, of.header, uses, policy), list):
            yield record, outcome


def callers(space: Space, profiles: Iterable[int]) -> dict[int, dict[str, str]]:
    """By profile how it is called in a message: by its oldest user id, or else anonymous id; no entry without one."""
    names: dict[int, dict[str, str]] = {}
    # Backwards, user_id is before anonymous_id; the sort is stable, so that of each the oldest stays first.
    for row in sorted(identifiers_of(space.pk, profiles, tuple(DIRECT)), key=lambda row: row.type, reverse=True):
        names.setdefault(row.profile, {DIRECT[row.type]: row.value})
    return names


def progress(of: ProfileImport, now: datetime) -> ImportProgress:
    """Of what it is at: the check or the run by bytes, the undoing by people."""
    if of.state == ProfileImport.State.UNDOING:
        left = len(bitmap_of(of.waiting))
        done, rows = (1 - left / of.people if of.people else 0.0), of.people - left
    else:
        done, rows = (of.position / of.size if of.size else 0.0), of.row
    elapsed = (now - of.began_at).total_seconds() if of.began_at else 0.0
    rate = rows / elapsed if elapsed > 0 else 0.0
    # Before that it would be a guess from a few rows.
    return ImportProgress(done, rate, elapsed * (1 - done) / done if done > 0.001 and elapsed > 1 else None)
