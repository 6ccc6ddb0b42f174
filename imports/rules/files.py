"""PURE. A CSV file as it comes, in parts: its charset, its lines, its records, and the bytes that these take."""

import codecs
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
MOST_COLUMNS, LONGEST_HEADER = 299, 200  # spec/segment.md §6
LONGEST_FIELD = csv.field_size_limit()  # characters: a quote that is never closed takes so many with it, and no more
CHARSETS = {
    "utf-8": "UTF-8",
    "windows-1252": "Windows, Western (1252)",
    "iso-8859-1": "Latin 1 (ISO 8859-1)",
    "iso-8859-15": "Latin 9 (ISO 8859-15)",
    "windows-1250": "Windows, Central European (1250)",
    "windows-1251": "Windows, Cyrillic (1251)",
    "utf-16": "UTF-16, with a byte order mark",
    "utf-16-le": "UTF-16, little end first",
    "utf-16-be": "UTF-16, big end first",
    "shift_jis": "Shift JIS",
    "gb18030": "GB 18030",
}
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class FileError(ValueError):
    """The file cannot be read as CSV: why, for whoever sent it."""


@dataclass(frozen=True)
class Record:
    """row: as a spreadsheet counts them, 1 = the header. end: bytes of the file up to here. error: why it is none."""

    row: int
    values: list[str]
    end: int
    error: str = ""


def without_mark(start: bytes, charset: str) -> tuple[bytes, str]:
    """The beginning of a file without its byte order mark, and the charset: the mark's own where there is one."""
    for mark, name in MARKS:
        if start.startswith(mark):
            return start.removeprefix(mark), name
    # A mark is all that would say which of the two it is.
    if charset == "utf-16":
        raise FileError("There is no byte order mark at the beginning: choose which of the two kinds of UTF-16 it is.")
    return start, charset


def to_utf8(part: bytes, pending: bytes, charset: str, *, is_last: bool = False) -> tuple[bytes, bytes]:
    """A part of a file in UTF-8, with \\n at the ends of lines; and the bytes at its end that wait for the next part.

    pending: those of the part before. Raises FileError.
    """
    decoder = codecs.getincrementaldecoder(charset)()
    try:
        text = decoder.decode(pending + part, is_last)
    except UnicodeDecodeError as error:
        raise FileError(
            f"This is not {CHARSETS.get(charset, charset)}: there is a byte {error.object[error.start]:#04x} that it "
            "does not have. Choose another charset."
        ) from None
    waits = decoder.getstate()[0]
    if text.endswith("\r") and not is_last:  # half of the end of a line, it may be
        text, waits = text[:-1], "\r".encode(charset) + waits
    if "\0" in text:
        raise FileError("There is a character NUL in it. Is it a CSV file, and in this charset?")
    return text.replace("\r\n", "\n").replace("\r", "\n").encode(), waits


def delimiter_of(line: str) -> str:
    """What parts the columns of a header: whichever of the three it has the most of."""
    return max(DELIMITERS, key=line.count)


def lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of parts in UTF-8, each with its end."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def records(parts: Iterable[bytes], delimiter: str, *, row: int = 0, start: int = 0) -> Iterator[Record]:
    """What follows after this row, whose last byte is before `start`. Blank lines are none, but are counted.

    Each line is asked for when it is needed: between two records one can stop, and go on at `end` another day.
    """
    end = start

    def asked() -> Iterator[str]:
        nonlocal end
        for line in lines(parts):
            end += len(line)
            yield line.decode()

    reader = csv.reader(asked(), delimiter=delimiter, strict=True)
    while True:
        row += 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(row, [], end, f"The row cannot be read: {error}.")
            continue
        if values:
            yield Record(row, values, end)


def header_errors(names: list[str]) -> list[str]:
    """Why a file with this header cannot be imported; none = it can. A sentence each."""
    if not names:
        return ["The file is empty: its first row must name the columns."]
    errors = []
    if len(names) > MOST_COLUMNS:
        errors.append(f"There are {len(names)} columns, and at most {MOST_COLUMNS} are allowed.")
    for place, name in enumerate(names, 1):
        if not name.strip():
            errors.append(f"Column {place} has no name.")
        elif name != name.strip():
            errors.append(f"The name of column {place}, “{name}”, begins or ends with a blank.")
        elif len(name) > LONGEST_HEADER:
            errors.append(f"The name of column {place} has more than {LONGEST_HEADER} characters.")
        elif not name.isprintable():
            errors.append(f"The name of column {place} has a character that cannot be seen.")
        elif names.index(name) < place - 1:
            errors.append(f"Columns {names.index(name) + 1} and {place} are both called “{name}”.")
    return errors
