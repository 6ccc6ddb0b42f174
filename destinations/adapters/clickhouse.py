"""A table in a ClickHouse of the customer's own, over HTTP. Nothing is deleted there: the newest row of each counts."""

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from destinations.rules.contract import (
    Adapter,
    AdapterStep,
    Address,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    IdentifierChange,
    MembersReading,
    PayloadComputation,
    RememberedAnswer,
    json_body,
    outcome_of,
    read_by_status,
    test_id,
)
from destinations.rules.payloads import batch_id
from destinations.rules.tables import (
    FIELD_NAMES,
    IDENTIFIERS,
    MEMBERS_READ,
    NAME,
    more_columns,
    more_of,
    read_ids,
    seconds,
)
from destinations.rules.vendors import as_text, value_of
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, secret, text

# src/Common/ErrorCodes.cpp: unknown tables, columns and databases, no right, no such user or a wrong password.
STANDS_STILL = {"16", "47", "60", "62", "81", "164", "192", "497", "516"}
UNKNOWN_COLUMN, UNKNOWN_TABLE = "47", "60"
COLUMNS = "audience String, id String, user_id String, email String, value String, member Bool"


class ClickhouseTableSettings(SettingsDeclaration, frozen=True):
    url: Annotated[str, secret("Address", url=True, help="Of its HTTP interface: https://clickhouse.example.com:8443")]
    database: Annotated[str, text("Database")] = "default"
    user: Annotated[str, text("User", help="With the right to insert into the table, or to create it")] = "default"
    password: Annotated[str, secret("Password")] = ""


class ClickhouseTableOptions(SettingsDeclaration, frozen=True):
    table: Annotated[str, text("Table", help="Created when it is not there")] = "personas_members"

    def check(self) -> None:
        if not NAME.fullmatch(self.table):
            raise InvalidSetting("table", "Letters, digits and _, and one dot after the database")


def plan(
    changes: Changes,
    about: PayloadComputation,
    settings: ClickhouseTableSettings,
    options: ClickhouseTableOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One insert for all."""
    rows = [
        {
            **_more(change, about),
            "audience": about.key,
            "id": _id(change.address),
            "user_id": change.address.user_id or "",
            "email": change.address.email or "",
            # No NULLs: columns that may be NULL cost more, and an empty text says the same.
            "value": as_text(value_of(change, about)) if change.entering else "",
            "member": change.entering,
            "changed_at": seconds(change.at, ""),
        }
        for change in changes
    ]
    body = b"\n".join(json_body(row) for row in rows)
    request = _query(settings, f"INSERT INTO {options.table} FORMAT JSONEachRow", id=batch_id(changes), body=body)
    return [replace(request, rows=changes)]


def _id(address: Address, settings: object = None) -> str:
    """A person's user ID, or for want of one the address; an identifier of another type has a row of its own.

    The newest row counts as it is: that of a telephone number would take the place of its owner's, and the other way.
    """
    return next(iter(address.others.values()), "") or address.user_id or address.email or address.anonymous_id or ""


def _more(change: IdentifierChange, about: PayloadComputation) -> dict[str, str]:
    values = more_of(change)
    return {name: as_text(values.get(name)) for name in more_columns(about)}


def _column_steps(about: PayloadComputation) -> list[AdapterStep]:
    """For each column besides: look for it, then add it. Who may insert need not be allowed to alter."""

    def ask(id: str, statement: str) -> Any:
        return lambda about, settings, options, now: _query(settings, statement.format(table=options.table), id=id)

    steps = []
    for name in more_columns(about):
        look = ask("look", f"SELECT `{name}` FROM {{table}} LIMIT 0")
        add = ask("add", f"ALTER TABLE {{table}} ADD COLUMN IF NOT EXISTS `{name}` String")
        steps += [
            AdapterStep(f"column {name}", look, partial(_looked, f"column {name}", UNKNOWN_COLUMN)),
            AdapterStep(f"column {name}", add, partial(_created, f"column {name}")),
        ]
    return steps


def _query(settings: ClickhouseTableSettings, statement: str, *, id: str, body: bytes = b"") -> DestinationRequest:
    query = urlencode({"database": settings.database, "query": statement}, quote_via=quote)
    headers = {"x-clickhouse-user": settings.user, "x-clickhouse-key": settings.password}
    return DestinationRequest(id=id, rows=[], url=f"{settings.url.rstrip('/')}/?{query}", headers=headers, body=body)


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """Its error codes say more than its statuses."""
    if answer.headers.get("x-clickhouse-exception-code") in STANDS_STILL:
        return [CallOutcome("suspended", answer.text())] * len(request.rows)
    return read_by_status(request, answer)


def _look(about: Any, settings: ClickhouseTableSettings, options: Any, now: datetime) -> DestinationRequest:
    return _query(settings, f"SELECT audience, id, member, changed_at FROM {options.table} LIMIT 0", id="look")


def _create(about: Any, settings: ClickhouseTableSettings, options: Any, now: datetime) -> DestinationRequest:
    columns = f"{COLUMNS}, changed_at DateTime64(3, 'UTC')"
    # No row is deleted or updated there without a heavy mutation: a newer one takes the older's place when parts are
    # merged.
    engine = "ReplacingMergeTree(changed_at) ORDER BY (audience, id)"
    return _query(settings, f"CREATE TABLE IF NOT EXISTS {options.table} ({columns}) ENGINE = {engine}", id="create")


def _looked(gives: str, missing: str, request: DestinationRequest, answer: Answer) -> RememberedAnswer | CallOutcome:
    if answer.headers.get("x-clickhouse-exception-code") == missing:
        return RememberedAnswer({})
    return _created(gives, request, answer)


def _created(gives: str, request: DestinationRequest, answer: Answer) -> RememberedAnswer | CallOutcome:
    if answer.ok:
        return RememberedAnswer({gives: "there"})
    stands_still = answer.headers.get("x-clickhouse-exception-code") in STANDS_STILL
    return CallOutcome("suspended", answer.text()) if stands_still else outcome_of(answer)


def _members(
    about: PayloadComputation, settings: ClickhouseTableSettings, options: ClickhouseTableOptions, following: str
) -> DestinationRequest:
    inside = "audience = {audience:String} AND member AND id > {after:String}"
    # FINAL: else older rows that are not merged away yet would count as well.
    ids = f"SELECT id FROM {options.table} FINAL WHERE {inside} ORDER BY id LIMIT {MEMBERS_READ}"
    query = f"SELECT toJSONString(groupArray([id])) FROM ({ids}) FORMAT TSVRaw"
    request = _query(settings, query, id="members")
    # Apart from the statement, so that no value has to be quoted in it.
    parameters = urlencode({"param_audience": about.key, "param_after": following})
    return replace(request, url=f"{request.url}&{parameters}")


def test(settings: ClickhouseTableSettings, now: datetime) -> DestinationRequest:
    """Asks for a number."""
    return _query(settings, "SELECT 1", id=test_id(now))


adapter = Adapter(
    kind="clickhouse",
    label="ClickHouse",
    description="Keeps a table of memberships: SELECT … FROM personas_members FINAL WHERE member.",
    settings=ClickhouseTableSettings,
    options=ClickhouseTableOptions,
    trait_options=ClickhouseTableOptions,
    capabilities=Capabilities(styles=("event",), batch=500, identifiers=IDENTIFIERS, fields=FIELD_NAMES),
    plan=plan,
    read=read,
    test=test,
    steps=(
        AdapterStep("table", _look, partial(_looked, "table", UNKNOWN_TABLE)),
        AdapterStep("table", _create, partial(_created, "table")),
    ),
    field_steps=_column_steps,
    credentials=(
        "CREATE USER personas IDENTIFIED BY '…'; GRANT SELECT, INSERT, CREATE TABLE, ALTER ADD COLUMN ON crm.* TO "
        "personas."
    ),
    members=MembersReading(_members, read_ids, _id, "id"),
)
