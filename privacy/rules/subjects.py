"""PURE. Whom a regulation is about: identifiers, as somebody pasted them or as a CSV file has them."""

import csv
from collections.abc import Iterable, Sequence

from sources.rules.suppression import Identifier, normal

MOST_SUBJECTS = 5_000  # in one regulation, as in Segment's API
LONGEST = 500  # characters of a value: no identifier is longer (identity.rules.extract)
LONGEST_TYPE = 60
DEFAULT_TYPE = "user_id"
HEADINGS = {"type", "value", "identifier", "id"}


class SubjectError(ValueError):
    """One of them cannot be meant; `place` counts from 0."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place


def subjects(pairs: Sequence[tuple[str, str]]) -> list[Identifier]:
    """Each once, as identifiers are kept. Raises SubjectError."""
    wanted: dict[Identifier, None] = {}
    for place, (type, value) in enumerate(pairs):
        type, value = type.strip() or DEFAULT_TYPE, normal(type.strip(), value)
        if not value:
            raise SubjectError(place, "An identifier has a value.")
        if len(value) > LONGEST or len(type) > LONGEST_TYPE:
            raise SubjectError(place, f"An identifier has at most {LONGEST} characters.")
        wanted[type, value] = None
    if not wanted:
        raise SubjectError(0, "Name at least one identifier.")
    if len(wanted) > MOST_SUBJECTS:
        raise SubjectError(MOST_SUBJECTS, f"One request has at most {MOST_SUBJECTS:,} identifiers.")
    return list(wanted)


def read(text: str, types: Iterable[str] = ()) -> list[tuple[str, str]]:
    """The identifiers of a text, one a line: `type:value`, `type,value` as CSV has it, a bare user id or address.

    types: that there are. A line whose beginning is none of them is a value as a whole: ids may hold colons.
    """
    known = {DEFAULT_TYPE, "email", "anonymous_id", *types}
    pairs: list[tuple[str, str]] = []
    for number, cells in enumerate(csv.reader(text.lstrip("\ufeff").splitlines(), skipinitialspace=True)):
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if number == 0 and all(cell.lower() in HEADINGS for cell in cells if cell):
            continue  # the headings of a file
        if len(cells) > 1 and cells[0] in known:
            pairs.append((cells[0], ",".join(cells[1:]).rstrip(",")))
            continue
        line = ",".join(cells).rstrip(",")
        type, colon, value = line.partition(":")
        if colon and type.strip() in known:
            pairs.append((type.strip(), value))
        else:
            pairs.append(("email" if "@" in line and " " not in line else DEFAULT_TYPE, line))
    return pairs
