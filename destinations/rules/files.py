"""PURE. People as files: who changed since the file before, or everybody who is there; as CSV, JSON or Parquet."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import pyarrow
from pyarrow import parquet

from destinations.rules.contract import (
    Address,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    FieldNames,
    IdentifierChange,
    MembersPage,
    MembersReading,
    PayloadComputation,
    outcome_of,
)
from destinations.rules.payloads import EVERY_TYPE, batch_id
from destinations.rules.vendors import as_text
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, text
from spaces.times import iso

PEOPLES_TYPES = ("user_id", "anonymous_id", "email")
FIELD_NAMES = FieldNames(
    r"(?!(entered|user_id|anonymous_id|email|value|at)$).*",
    "Files have columns entered, user_id, anonymous_id, email, value and at of their own",
)
PEOPLE_IN_A_FILE = 20_000  # of changes; whoever wants everybody gets them in one file
TIMEOUT_S = 60.0  # a file of a million people is some 60 MB
PARTS = ("audience", "date", "time", "batch", "format")
CHANGES, EVERYBODY = "{audience}/date={date}/{batch}.{format}", "{audience}/members.{format}"
CONTENT_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
NAME_HELP = (
    "Of {audience}, {date}, {time}, {batch}, {format}. Empty: " + f"{CHANGES} for changes, {EVERYBODY} for everybody"
)


class FileOptions(SettingsDeclaration, frozen=True):
    contents: Annotated[
        Literal["changes", "everybody"],
        label(
            "A file says",
            help="changes: who entered and left since the file before. everybody: who is there now, in a file that is "
            "written anew",
        ),
    ] = "changes"
    format: Annotated[Literal["csv", "jsonl", "parquet"], label("Format")] = "csv"
    name: Annotated[str, text("Name of a file", help=NAME_HELP, max_length=500)] = ""

    def check(self) -> None:
        unknown = [part for part in re.findall(r"\{(.*?)\}", self.name) if part not in PARTS]
        if unknown or self.name.count("{") != self.name.count("}"):
            raise InvalidSetting("name", f"In braces only {', '.join(PARTS)}")
        if self.name.startswith("/") or ".." in self.name.split("/") or self.name.endswith("/"):
            raise InvalidSetting("name", "A name below the folder or bucket, which does not end with a slash")
        if self.name and self.contents == "changes" and "{batch}" not in self.name:
            raise InvalidSetting("name", "Files of changes need {batch}: they would take one another's place")


def name_of(changes: Changes, about: PayloadComputation, options: FileOptions) -> str:
    """The same for the same changes: a file that is written again takes its own place."""
    template = options.name or (CHANGES if options.contents == "changes" else EVERYBODY)
    # Of the changes, not of now: a name must not change from one attempt to the next.
    at = max(change.at for change in changes).astimezone(UTC)
    return template.format(
        audience=about.key,
        date=at.strftime("%Y-%m-%d"),
        time=at.strftime("%H%M%S"),
        batch=batch_id(changes),
        format=options.format,
    )


def body_of(changes: Changes, about: PayloadComputation, options: FileOptions) -> tuple[bytes, int]:
    """The file, and how many rows are in it."""
    columns = [*(["entered"] if options.contents == "changes" else []), *PEOPLES_TYPES]
    columns += [*(["value"] if about.kind == "trait" else []), "at"]
    # A column for each type that is not there yet, and for each field: of two with one name there is one.
    columns = [*dict.fromkeys([*columns, *about.types, *about.fields])]
    if options.contents == "changes":
        rows = [_row(change, columns) for change in changes]
    else:
        entering = [change for change in changes if change.entering]
        # A person with a user ID and an address is two changes with one address.
        people = {change.address: change for change in (*about.everyone(), *entering)}
        # Whoever has a telephone number as well is in the row with the number.
        in_others = {replace(address, others={}) for address in people if address.others} - {Address()}
        rows = [
            _row(change, columns) for address, change in people.items() if address.others or address not in in_others
        ]
    return WRITERS[options.format](columns, rows), len(rows)


def read_whole(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """A file is nobody's fault who is in it: what is refused for all waits until somebody changes the settings."""
    outcome = outcome_of(answer)
    outcome = CallOutcome("suspended", outcome.reason) if outcome.kind == "refused" else outcome
    return [outcome] * len(request.rows)


def members_in_file(get: Callable[[Any, str], DestinationRequest]) -> MembersReading:
    """Of a file that says everybody. get(settings, name) -> the request for what is in it."""
    return MembersReading(
        partial(_ask_for_file, get),
        _in_file,
        lambda address, settings: address.person,
        "id",
        wants="Only a file that says everybody is read, under a name that is always the same",
    )


def _ask_for_file(
    get: Callable[[Any, str], DestinationRequest],
    about: PayloadComputation,
    settings: Any,
    options: FileOptions,
    following: str,
) -> DestinationRequest | None:
    template = options.name or EVERYBODY
    if options.contents != "everybody" or re.search(r"\{(date|time|batch)\}", template):
        return None
    # The id says how it is read: a name need not.
    return replace(get(settings, template.format(audience=about.key, format=options.format)), id=options.format)


def _in_file(request: DestinationRequest, answer: Answer) -> MembersPage:
    names = []
    for row in READERS[request.id](answer.body):
        others = {name: value for name, value in row.items() if value and name not in (*PEOPLES_TYPES, "at", "value")}
        address = Address(row["user_id"] or None, row["anonymous_id"] or None, row["email"] or None, others)
        names.append(address.person)
    return MembersPage(names)


def file_capabilities(*limits: DocumentedLimit) -> Capabilities:
    """Of a place where a batch is a file: as large as they may be, since a file for each few people helps nobody."""
    return Capabilities(
        styles=("event",),
        batch=PEOPLE_IN_A_FILE,
        people=PEOPLE_IN_A_FILE,
        full=True,
        identifiers=EVERY_TYPE,
        fields=FIELD_NAMES,
        limits=limits,
    )


def _row(change: IdentifierChange, columns: Sequence[str]) -> dict[str, Any]:
    address = change.address
    row = {
        **address.others,
        **change.fields,
        "entered": change.entering,
        "user_id": address.user_id,
        "anonymous_id": address.anonymous_id,
        "email": address.email,
        "value": change.value,
        "at": iso(change.at),
    }
    return {column: row.get(column) for column in columns}


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([as_text(row[column]) for column in columns] for row in rows)
    return file.getvalue().encode()


def _jsonl(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode({column: row[column] for column in columns}) + b"\n" for row in rows)


def _parquet(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Texts, but for `entered`: values of a computed trait may be of any type."""
    # A schema of its own rather than one that is guessed: files of one name must have the same columns.
    types = [(column, pyarrow.bool_() if column == "entered" else pyarrow.string()) for column in columns]
    shown = [
        {
            column: row[column] if column == "entered" or row[column] is None else as_text(row[column])
            for column in columns
        }
        for row in rows
    ]
    # In memory: an adapter touches no disk, and a request has its body as bytes.
    file = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(shown, schema=pyarrow.schema(types)), file)
    return file.getvalue().to_pybytes()


WRITERS: dict[str, Any] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
READERS: dict[str, Callable[[bytes], Iterable[dict[str, Any]]]] = {
    "csv": lambda body: csv.DictReader(io.StringIO(body.decode())),
    "jsonl": lambda body: map(msgspec.json.decode, body.splitlines()),
    "parquet": lambda body: parquet.read_table(pyarrow.BufferReader(body)).to_pylist(),
}
