"""PURE. People as rows of a table in a database of the customer's own: what is asked of it, in which dialect.

A table of *memberships* has a row for each person in each audience, or with each computed trait; whoever leaves is
deleted. A table of *people* has a row for each person, and a column for each audience or computed trait. Both have a
column more for each field that goes besides, and each type of identifier other than those two. What a call does not say
of these stays as it was: the call about somebody's user ID says no telephone number.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from destinations.rules.contract import (
    Adapter,
    AdapterStep,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    FieldNames,
    IdentifierChange,
    MembersPage,
    MembersReading,
    PayloadComputation,
    RememberedAnswer,
    json_body,
    outcome_of,
    test_id,
)
from destinations.rules.payloads import batch_id
from destinations.rules.sending import ANY
from destinations.rules.vendors import as_text, value_of
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, text

# 63 characters: PostgreSQL cuts longer names without a word, MySQL takes 64.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
PEOPLE = "people"
MEMBERS_READ = 10_000  # in an answer
KEPT = ("id", "user_id", "email")
# User ids and addresses have columns of their own; of all other types each has one of its name.
IDENTIFIERS = ("user_id", "email", ANY)
FIELD_NAMES = FieldNames(
    r"(?i:(?!(id|user_id|email|audience|value|member|changed_at)$)[a-z_][a-z0-9_]{0,62})",
    "A column: letters, digits and _, and none that the table has of its own (id, user_id, email, audience, value, "
    "member, changed_at)",
)


class TableStatement(msgspec.Struct):
    """A statement and the rows of its parameters; without rows it is run as it is.

    reads: it is run once, with the first of them, and what it gives is the answer: an array of rows, as JSON.
    key: of an upsert, how many of a row's first values it is found by.
    """

    sql: str
    rows: list[list[Any]] = []
    reads: bool | msgspec.UnsetType = msgspec.UNSET
    key: int | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True)
class Dialect:
    """How a database writes what all of them can do.

    key: the type of what a row is found by. moment: the type of changed_at, and `at` a value of it.
    upsert(table, key columns, other columns, columns of which the old value stays for want of a new one) -> an INSERT
    with %s that leaves a newer row as it is where there is a column changed_at.
    """

    quote: str
    key: str
    text: str
    boolean: str
    moment: str
    at: Callable[[datetime], str]
    upsert: Callable[[str, Sequence[str], Sequence[str], Sequence[str]], str]

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
    dialect: Dialect, changes: Changes, about: PayloadComputation, options: TableOptions
) -> list[DestinationRequest]:
    """All changes in one transaction, in their order."""
    rows = people if options.layout == PEOPLE else memberships
    return [_request(batch_id(changes), changes, rows(dialect, changes, about, options))]


def memberships(
    dialect: Dialect, changes: Changes, about: PayloadComputation, options: TableOptions
) -> list[TableStatement]:
    table, more = dialect.quoted(options.table), more_columns(about)
    key, columns = [dialect.quoted(name) for name in ("audience", "id")], ("user_id", "email", "value", "changed_at")
    enter = dialect.upsert(table, key, columns, [dialect.quoted(name) for name in more])
    # Unless a newer change was there first: two workers may write the same batch.
    leave = f"DELETE FROM {table} WHERE audience = %s AND id = %s AND changed_at <= %s"
    entered = [
        [
            about.key,
            row.address.person,
            row.address.user_id,
            row.address.email,
            as_text(value_of(row, about)),
            dialect.at(row.at),
            *_more(row, more),
        ]
        for row in changes
        if row.entering
    ]
    left = [[about.key, row.address.person, dialect.at(row.at)] for row in changes if not row.entering]
    # Leaves first: several identifiers may stand for one row, and whoever is in with one of them is in.
    statements = [TableStatement(leave, left)] * bool(left) + [TableStatement(enter, entered, key=2)] * bool(entered)
    # A telephone number that went to somebody else leaves alone, and the row that it was in stays.
    for name in [dialect.quoted(column_of(type)) for type in about.types if column_of(type) in more]:
        gone = [
            [about.key, value, dialect.at(row.at)]
            for row in changes
            for type, value in row.address.others.items()
            if not row.entering and dialect.quoted(column_of(type)) == name
        ]
        clear = f"UPDATE {table} SET {name} = NULL WHERE audience = %s AND {name} = %s AND changed_at <= %s"
        statements = [TableStatement(clear, gone)] * bool(gone) + statements
    return statements


def people(
    dialect: Dialect, changes: Changes, about: PayloadComputation, options: TableOptions
) -> list[TableStatement]:
    """Who leaves keeps the row, with false, or without a value."""
    own = options.column or about.key
    table, column, more = dialect.quoted(options.table), dialect.quoted(own), more_columns(about, but=own)
    names = [dialect.quoted(name) for name in more]
    enter = dialect.upsert(table, [dialect.quoted("id")], ("user_id", "email", column), names)
    # COALESCE: the call about one identifier does not know the others, and must not empty their columns.
    set_more = "".join(f", {name} = COALESCE(%s, {name})" for name in names)
    leave = f"UPDATE {table} SET {column} = %s{set_more} WHERE id = %s"
    entered = [
        [row.address.person, row.address.user_id, row.address.email, _value(row, about), *_more(row, more)]
        for row in changes
        if row.entering
    ]
    left = [[_value(row, about), *_more(row, more), row.address.person] for row in changes if not row.entering]
    return [TableStatement(leave, left)] * bool(left) + [TableStatement(enter, entered, key=1)] * bool(entered)


def table_steps(dialect: Dialect) -> tuple[AdapterStep, ...]:
    """Each looks first: who may write to a table need not be allowed to create one."""

    def look(name: Callable[[PayloadComputation, TableOptions], str]) -> Any:
        def ask(about: PayloadComputation, settings: Any, options: TableOptions, now: datetime) -> DestinationRequest:
            columns, table = name(about, options), dialect.quoted(options.table)
            # No row is asked for: the statement fails where the table, the column or the right to read is missing.
            return _request("look", (), [TableStatement(f"SELECT {columns} FROM {table} WHERE 1 = 0")])

        return ask

    def create(about: PayloadComputation, settings: Any, options: TableOptions, now: datetime) -> DestinationRequest:
        table, own = dialect.quoted(options.table), f"user_id {dialect.text}, email {dialect.text}"
        # One row for each person: an audience is a column more, not a row more.
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


def column_steps(dialect: Dialect, about: PayloadComputation) -> list[AdapterStep]:
    """For each column besides: look for it, then add it."""

    def statement(id: str, sql: str) -> Any:
        return lambda about, settings, options, now: _request(
            id, (), [TableStatement(sql.format(table=dialect.quoted(options.table)))]
        )

    steps = []
    for name in more_columns(about):
        gives, column = f"column {name}", dialect.quoted(name)
        look = statement("look", f"SELECT {column} FROM {{table}} WHERE 1 = 0")
        add = statement("add", f"ALTER TABLE {{table}} ADD COLUMN {column} {dialect.text}")
        steps += [AdapterStep(gives, look, _there(gives, otherwise=True)), AdapterStep(gives, add, _there(gives))]
    return steps


def more_columns(about: PayloadComputation, but: str = "") -> list[str]:
    """Names of the columns for fields and for types of identifiers, without one that is there anyway."""
    # A type of identifier and a field may have one name: the column is there once.
    names = [*(column_of(type) for type in about.types if type not in KEPT), *about.fields]
    return [name for name in dict.fromkeys(names) if name != but]


def column_of(type: str) -> str:
    """Of a type of identifier: ios_idfa for ios.idfa."""
    return re.sub(r"[^A-Za-z0-9_]", "_", type)


def more_of(change: IdentifierChange) -> dict[str, Any]:
    """{column: value} of what goes besides; lists and objects as JSON."""
    # A field goes before an identifier of the same name: somebody chose what it is filled with.
    values = {**{column_of(type): value for type, value in change.address.others.items()}, **change.fields}
    if change.address.anonymous_id is not None:
        values["anonymous_id"] = change.address.anonymous_id
    return {name: _as_column(value) for name, value in values.items()}


def _more(change: IdentifierChange, columns: Sequence[str]) -> list[str | None]:
    values = more_of(change)
    return [None if values.get(name) is None else as_text(values[name]) for name in columns]


def _there(
    name: str, *, otherwise: bool = False
) -> Callable[[DestinationRequest, Answer], RememberedAnswer | CallOutcome]:
    """otherwise: there is another way when it is refused."""

    def read(request: DestinationRequest, answer: Answer) -> RememberedAnswer | CallOutcome:
        if answer.ok:
            return RememberedAnswer({name: "there"})
        # 403 is what the transports answer when something is not there or may not be read: the next step creates it.
        return RememberedAnswer({}) if otherwise and answer.status == 403 else outcome_of(answer)

    return read


def table_adapter(
    kind: str, name: str, declared: type[SettingsDeclaration], dialect: Dialect, *, credentials: str
) -> Adapter:
    """Of a database that is asked in SQL. Its transport is called as it is."""

    def plan(
        changes: Changes, about: PayloadComputation, settings: Any, options: TableOptions, now: datetime
    ) -> list[DestinationRequest]:
        """One transaction for all."""
        return plan_rows(dialect, changes, about, options)

    def ask(about: PayloadComputation, settings: Any, options: TableOptions, following: str) -> DestinationRequest:
        table = dialect.quoted(options.table)
        inside, parameters = "audience = %s", [about.key]
        if options.layout == PEOPLE:
            column = dialect.quoted(options.column or about.key)
            inside, parameters = column if about.kind == "audience" else f"{column} IS NOT NULL", []
        query = f"SELECT id FROM {table} WHERE {inside} AND id > %s ORDER BY id LIMIT {MEMBERS_READ}"
        return _request("members", (), [TableStatement(query, [[*parameters, following]], reads=True)])

    return Adapter(
        kind=kind,
        label=name,
        description="Keeps a table in your database: a row for each membership, or a column of people.",
        settings=declared,
        options=TableOptions,
        trait_options=TableOptions,
        capabilities=Capabilities(styles=("event",), batch=500, identifiers=IDENTIFIERS, fields=FIELD_NAMES),
        plan=plan,
        test=test_connection,
        transport=kind,
        steps=table_steps(dialect),
        field_steps=lambda about: column_steps(dialect, about),
        credentials=credentials,
        members=MembersReading(ask, read_ids, lambda address, settings: address.person, "id"),
    )


def read_ids(request: DestinationRequest, answer: Answer) -> MembersPage:
    """From rows of one column, in its order: a full page is followed by what comes after its last row."""
    names = [name for (name,) in msgspec.json.decode(answer.body, type=list[tuple[str]])]
    return MembersPage(names, names[-1] if len(names) == MEMBERS_READ else "")


def test_connection(settings: Any, now: datetime) -> DestinationRequest:
    """Asks for a number."""
    return _request(test_id(now), (), [TableStatement("SELECT 1")])


def upserted_together(rows: Sequence[list[Any]], key: int) -> list[list[list[Any]]]:
    """The rows of an upsert in as few parts as can be, none of which has two of one key: in order, key by key.

    key: how many of the first values that is.
    """
    parts: list[list[list[Any]]] = []
    before: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        place = before[tuple(row[:key])]
        before[tuple(row[:key])] += 1
        if place == len(parts):
            parts.append([])
        parts[place].append(row)
    return parts


def statements_of(body: bytes) -> list[TableStatement]:
    """What a transport runs, in one transaction."""
    return msgspec.json.decode(body, type=list[TableStatement])


def _request(id: str, changes: Changes, statements: Sequence[TableStatement]) -> DestinationRequest:
    return DestinationRequest(id=id, rows=changes, method="SQL", body=json_body(statements))


def _value(change: IdentifierChange, about: PayloadComputation) -> Any:
    """As the column of its type takes it: texts, numbers and truth as they are, lists and objects as JSON."""
    return _as_column(value_of(change, about))


def _as_column(value: Any) -> Any:
    return msgspec.json.encode(value).decode() if isinstance(value, list | Mapping) else value
