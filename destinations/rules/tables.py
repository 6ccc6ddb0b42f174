"""PURE. People as rows of a table in a database of the customer's own: what is asked of it, in which dialect.

A table of *memberships* has a row for each person in each audience, or with each computed trait; whoever leaves is
deleted. A table of *people* has a row for each person, and a column for each audience or computed trait.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from destinations.rules.contract import (
    AdapterStep,
    CallOutcome,
    DestinationRequest,
    IdentifierChange,
    PayloadComputation,
    RememberedAnswer,
    json_body,
    outcome_of,
)
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import as_text, value_of
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, text

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
PEOPLE = "people"
KEPT = ("id", "user_id", "email")


class TableStatement(msgspec.Struct):
    """A statement and the rows of its parameters; without rows it is run as it is."""

    sql: str
    rows: list[list[Any]] = []


@dataclass(frozen=True)
class Dialect:
    """How a database writes what all of them can do.

    key: the type of what a row is found by. moment: the type of changed_at, and `at` a value of it.
    upsert(table, key columns, other columns) -> an INSERT with %s that leaves a newer row as it is where there is a
    column changed_at.
    """

    quote: str
    key: str
    text: str
    boolean: str
    moment: str
    at: Callable[[datetime], str]
    upsert: Callable[[str, Sequence[str], Sequence[str]], str]

    def quoted(self, name: str) -> str:
        return ".".join(f"{self.quote}{part}{self.quote}" for part in name.split("."))


class TableOptions(SettingsDeclaration, frozen=True):
    table: Annotated[str, text("Table", help="Created when it is not there. With its schema: crm.members")] = (
        "personas_members"
    )
    layout: Annotated[
        Literal["memberships", "people"],
        label(
            "A table of",
            help="memberships: a row for each person in each audience. people: a row for each person, and a column for "
            "each audience",
        ),
    ] = "memberships"
    column: Annotated[str, text("Column", help="Of people: its name. Empty: the key of what is sent")] = ""

    def check(self) -> None:
        if not NAME.fullmatch(self.table):
            raise InvalidSetting("table", "Letters, digits and _, and one dot after the schema")
        if self.column and (not NAME.fullmatch(self.column) or "." in self.column or self.column in KEPT):
            raise InvalidSetting("column", f"Letters, digits and _, and none of {', '.join(KEPT)}")


def seconds(at: datetime, zone: str) -> str:
    """2026-06-15 12:00:00.000, in UTC, with the zone as the database writes it."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'milliseconds')}{zone}"


def plan_rows(
    dialect: Dialect, changes: Sequence[IdentifierChange], about: PayloadComputation, options: TableOptions
) -> list[DestinationRequest]:
    """All changes in one transaction, in their order."""
    rows = people if options.layout == PEOPLE else memberships
    return [_request(batch_id(changes), changes, rows(dialect, changes, about, options))]


def memberships(
    dialect: Dialect, changes: Sequence[IdentifierChange], about: PayloadComputation, options: TableOptions
) -> list[TableStatement]:
    table = dialect.quoted(options.table)
    columns = ("user_id", "email", "value", "changed_at")
    enter = dialect.upsert(table, [dialect.quoted(name) for name in ("audience", "id")], columns)
    leave = f"DELETE FROM {table} WHERE audience = %s AND id = %s AND changed_at <= %s"
    entered = [
        [about.key, _id(row), row.address.user_id, row.address.email, as_text(value_of(row, about)), dialect.at(row.at)]
        for row in changes
        if row.entering
    ]
    left = [[about.key, _id(row), dialect.at(row.at)] for row in changes if not row.entering]
    return [TableStatement(leave, left)] * bool(left) + [TableStatement(enter, entered)] * bool(entered)


def people(
    dialect: Dialect, changes: Sequence[IdentifierChange], about: PayloadComputation, options: TableOptions
) -> list[TableStatement]:
    """Who leaves keeps the row, with false, or without a value."""
    table, column = dialect.quoted(options.table), dialect.quoted(options.column or about.key)
    enter = dialect.upsert(table, [dialect.quoted("id")], ("user_id", "email", column))
    leave = f"UPDATE {table} SET {column} = %s WHERE id = %s"
    entered = [
        [_id(row), row.address.user_id, row.address.email, _value(row, about)] for row in changes if row.entering
    ]
    left = [[_value(row, about), _id(row)] for row in changes if not row.entering]
    return [TableStatement(leave, left)] * bool(left) + [TableStatement(enter, entered)] * bool(entered)


def table_steps(dialect: Dialect) -> tuple[AdapterStep, ...]:
    """Each looks first: who may write to a table need not be allowed to create one."""

    def look(name: Callable[[PayloadComputation, TableOptions], str]) -> Any:
        def ask(about: PayloadComputation, settings: Any, options: TableOptions, now: datetime) -> DestinationRequest:
            columns, table = name(about, options), dialect.quoted(options.table)
            return _request("look", (), [TableStatement(f"SELECT {columns} FROM {table} WHERE 1 = 0")])

        return ask

    def create(about: PayloadComputation, settings: Any, options: TableOptions, now: datetime) -> DestinationRequest:
        table, own = dialect.quoted(options.table), f"user_id {dialect.text}, email {dialect.text}"
        columns = f"id {dialect.key} PRIMARY KEY, {own}"
        if options.layout != PEOPLE:
            more = f"{own}, value {dialect.text}, changed_at {dialect.moment} NOT NULL"
            columns = f"audience {dialect.key}, id {dialect.key}, {more}, PRIMARY KEY (audience, id)"
        return _request("create", (), [TableStatement(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")])

    def add(about: PayloadComputation, settings: Any, options: TableOptions, now: datetime) -> DestinationRequest:
        kind = dialect.boolean if about.kind == "audience" else dialect.text
        table, column = dialect.quoted(options.table), dialect.quoted(options.column or about.key)
        return _request("add", (), [TableStatement(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")])

    def of_people(ask: Any) -> Any:
        return lambda about, settings, options, now: (
            ask(about, settings, options, now) if options.layout == PEOPLE else None
        )

    return (
        AdapterStep("table", look(lambda about, options: "1"), _there("table", otherwise=True)),
        AdapterStep("table", create, _there("table")),
        AdapterStep(
            "column",
            of_people(look(lambda about, options: dialect.quoted(options.column or about.key))),
            _there("column", otherwise=True),
        ),
        AdapterStep("column", of_people(add), _there("column")),
    )


def _there(
    name: str, *, otherwise: bool = False
) -> Callable[[DestinationRequest, Answer], RememberedAnswer | CallOutcome]:
    """otherwise: there is another way when it is refused."""

    def read(request: DestinationRequest, answer: Answer) -> RememberedAnswer | CallOutcome:
        if answer.ok:
            return RememberedAnswer({name: "there"})
        return RememberedAnswer({}) if otherwise and answer.status == 403 else outcome_of(answer)

    return read


def test_connection(settings: Any, now: datetime) -> DestinationRequest:
    """Asks for a number."""
    return _request(f"test-{int(now.timestamp() * 1000)}", (), [TableStatement("SELECT 1")])


def statements_of(body: bytes) -> list[TableStatement]:
    """What a transport runs, in one transaction."""
    return msgspec.json.decode(body, type=list[TableStatement])


def _request(id: str, changes: Sequence[IdentifierChange], statements: Sequence[TableStatement]) -> DestinationRequest:
    return DestinationRequest(id=id, rows=changes, method="SQL", body=json_body(statements))


def _id(change: IdentifierChange) -> str:
    """A person's user ID, or for want of one the address: one row for both."""
    return change.address.user_id or change.address.email or ""


def _value(change: IdentifierChange, about: PayloadComputation) -> Any:
    """As the column of its type takes it: texts, numbers and truth as they are, lists and objects as JSON."""
    value = value_of(change, about)
    return msgspec.json.encode(value).decode() if isinstance(value, list | Mapping) else value
