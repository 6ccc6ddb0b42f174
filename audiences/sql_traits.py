"""Everything that changes warehouses and SQL traits, and the preview, which changes nothing. Each change is audited."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import time as clock_time
from typing import Any

from django.db import transaction
from msgspec.structs import asdict

from access.services import ActorLike, NotPossible, actor_of, audit
from audiences.models import SqlRun, SqlTrait, SqlValue, Warehouse
from audiences.rules import schedules, sql_rows
from audiences.rules.sql_rows import RowsError
from audiences.rules.warehouse import QueryResult, WarehouseError, WarehouseSettings, only_rows
from audiences.warehouses import all_warehouses
from identity.models import Identifier
from sources import services as sources
from sources.models import Source
from spaces.clock import Clock
from spaces.models import Space
from spaces.outbound import OutboundError, check_settings
from spaces.secrets import open_sealed, seal
from spaces.settings_schema import InvalidSetting, load_stored, parse, secrets_of, strike

PREVIEWED = 10  # rows
PREVIEW_S, TEST_S = 20.0, 10.0
LONGEST_QUERY = 100_000  # characters
SOURCE_NAME, LONGEST_SOURCE = "SQL traits", 100  # characters


@dataclass(frozen=True)
class PreviewedRow:
    """known: whether the identifier is one of a profile of the space."""

    identifier: str
    values: Mapping[str, Any]
    known: bool


@dataclass(frozen=True)
class SqlPreview:
    """The first rows of a query. id: the column that says whom a row is about."""

    id: str
    traits: Sequence[str]
    rows: Sequence[PreviewedRow]


def create_warehouse(space: Space, *, kind: str, name: str, settings: Mapping[str, Any], by: ActorLike) -> Warehouse:
    """Raises InvalidSetting, with field "kind" for an unknown kind."""
    if kind not in all_warehouses():
        raise InvalidSetting("kind", f"Must be one of {', '.join(all_warehouses())}")
    parsed = parse(all_warehouses()[kind].settings, settings)
    check_settings(parsed)
    warehouse = Warehouse.objects.create(
        workspace_id=space.workspace_id, space=space, kind=kind, name=name, settings=seal(asdict(parsed))
    )
    audit(by, "warehouse.created", warehouse, kind=kind, name=name)
    return warehouse


def change_warehouse(
    warehouse: Warehouse, *, name: str | None = None, settings: Mapping[str, Any] | None = None, by: ActorLike
) -> None:
    """What is given is changed. Raises InvalidSetting."""
    if settings is not None:
        declared = all_warehouses()[warehouse.kind].settings
        parsed = parse(declared, settings, open_sealed(warehouse.settings))
        check_settings(parsed)
        warehouse.settings = seal(asdict(parsed))
    warehouse.name = name if name is not None else warehouse.name
    warehouse.save()
    audit(by, "warehouse.changed", warehouse, name=name, settings=sorted(settings or {}))


def delete_warehouse(warehouse: Warehouse, *, by: ActorLike) -> None:
    """Raises NotPossible while SQL traits are asked of it."""
    with transaction.atomic():
        # Locked: else a SQL trait could be created between the look and the deletion.
        Warehouse.objects.select_for_update().get(pk=warehouse.pk)
        if using := list(warehouse.sql_traits.order_by("name").values_list("name", flat=True)):
            raise NotPossible(f"SQL traits are asked of it: {', '.join(using)}. Delete them first.")
        audit(by, "warehouse.deleted", warehouse, kind=warehouse.kind, name=warehouse.name)
        warehouse.delete()


def settings_of(warehouse: Warehouse) -> WarehouseSettings:
    """Secrets included. For asking; never for showing."""
    return load_stored(all_warehouses()[warehouse.kind].settings, open_sealed(warehouse.settings))


def test_warehouse(warehouse: Warehouse) -> str:
    """Asks it for nothing. "" when it answers, else why not, without secrets."""
    try:
        with asking(warehouse, "SELECT 1", TEST_S) as result:
            list(result.rows)
    except RowsError as error:
        return str(error)
    return ""


@contextmanager
def asking(warehouse: Warehouse, query: str, timeout_s: float) -> Iterator[QueryResult]:
    """What the warehouse answers, while the block lasts; what it refuses is RowsError, verbatim but for secrets."""
    # The database's own limit is of a statement, and each part of the rows may be one: they could drip in for hours.
    deadline, settings = time.monotonic() + timeout_s, settings_of(warehouse)

    def in_time(rows: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        """However slowly they drip in."""
        for row in rows:
            if time.monotonic() > deadline:
                raise RowsError(f"The answer took longer than {timeout_s:g} s")
            yield row

    try:
        with all_warehouses()[warehouse.kind].ask(settings, query, timeout_s) as result:
            yield replace(result, rows=in_time(result.rows))
    except (WarehouseError, OutboundError) as error:
        raise RowsError(strike(str(error), secrets_of(settings))) from error


def preview_sql(warehouse: Warehouse, query: str) -> SqlPreview:
    """The first rows, and who of them is known. Changes nothing. Raises RowsError."""
    check_query(query)
    with asking(warehouse, only_rows(query, PREVIEWED), PREVIEW_S) as result:
        shape = sql_rows.shape(result.columns)
        rows = [(shape.identifier(row, number), shape.values(row)) for number, row in enumerate(result.rows, start=1)]
    identifiers = Identifier.objects.filter(space=warehouse.space_id, type=shape.id, value__in=[id for id, _ in rows])
    known = set(identifiers.values_list("value", flat=True))
    return SqlPreview(shape.id, shape.traits, [PreviewedRow(id, values, id in known) for id, values in rows])


def check_query(query: str) -> None:
    """Raises RowsError."""
    if not query.strip():
        raise RowsError("The query is empty")
    if len(query) > LONGEST_QUERY or "\0" in query:
        raise RowsError(f"The query must be text of at most {LONGEST_QUERY:,} characters")


def create_sql_trait(
    space: Space,
    *,
    warehouse: Warehouse,
    name: str,
    query: str,
    description: str = "",
    every: str = SqlTrait.Every.DAY,
    at: clock_time = clock_time(6),
    weekday: int = 0,
    time_zone: str = "UTC",
    most_nulled: int = 20,
    clock: Clock,
    by: ActorLike,
) -> SqlTrait:
    """It runs at once, and then as its schedule says. Raises RowsError and NotPossible."""
    check_query(query)
    if warehouse.space_id != space.pk:
        raise NotPossible("The warehouse is of another space")
    check_time_zone(time_zone)
    with transaction.atomic():
        # One source for all of a space: what they say can be deleted, paused and looked at in one place.
        source = source_of(space, clock, by)
        trait = SqlTrait.objects.create(
            workspace_id=space.workspace_id,
            space=space,
            warehouse=warehouse,
            name=name,
            description=description,
            query=query,
            every=every,
            at=at,
            weekday=weekday,
            time_zone=time_zone,
            most_nulled=most_nulled,
            source=source,
            next_at=clock.now(),
            created_by=actor_of(by).user,
        )
        audit(by, "sql_trait.created", trait, name=name, warehouse=warehouse.public_id, query=query)
    return trait


def change_sql_trait(trait: SqlTrait, *, clock: Clock, by: ActorLike, **changes: Any) -> None:
    """changes: name, description, query, every, at, weekday, time_zone, most_nulled, enabled. What is given is changed.

    A new query counts from the next run on. Raises RowsError and NotPossible.
    """
    if "query" in changes:
        check_query(changes["query"])
    check_time_zone(changes.get("time_zone", "UTC"))
    with transaction.atomic():
        locked = SqlTrait.objects.select_for_update().get(pk=trait.pk)
        for name, value in changes.items():
            setattr(locked, name, value)
        if changes.keys() & {*schedules.PARTS, "enabled"}:
            locked.next_at = locked.following(clock.now()) if locked.enabled else None
        # Never `claimed_at`: a run may be setting it.
        locked.save(update_fields=[*changes, "next_at"])
        audit(by, "sql_trait.changed", trait, **{name: str(value) for name, value in changes.items()})
    trait.refresh_from_db()


def run_now(trait: SqlTrait, *, approved: bool = False, clock: Clock, by: ActorLike) -> None:
    """The next run is due at once. approved: it goes on however many people it nulls."""
    with transaction.atomic():
        SqlTrait.objects.filter(pk=trait.pk).update(next_at=clock.now(), approved=approved)
        audit(by, "sql_trait.approved" if approved else "sql_trait.asked_to_run", trait)


def delete_sql_trait(trait: SqlTrait, *, by: ActorLike) -> None:
    """It is gone. What it said stays with the people, as custom traits."""
    with transaction.atomic():
        audit(by, "sql_trait.deleted", trait, name=trait.name)
        SqlValue.objects.filter(sql_trait=trait).delete()
        SqlRun.objects.filter(sql_trait=trait).delete()
        trait.delete()


def check_time_zone(time_zone: str) -> None:
    """Raises NotPossible."""
    if time_zone not in schedules.time_zones():
        raise NotPossible(f"There is no time zone {time_zone}")


def source_of(space: Space, clock: Clock, by: ActorLike) -> Source:
    """The space's source of SQL traits, to which it listens from now on."""
    known = SqlTrait.objects.filter(space=space, source__deleted_at=None).exclude(source=None).first()
    if known is not None and known.source is not None:
        return known.source
    source = sources.create_source(
        space.workspace, name=f"{SOURCE_NAME} of {space.name}"[:LONGEST_SOURCE], kind="server", by=by
    )
    # There is nothing of it to replay yet.
    sources.connect(space, [source], replay=False, clock=clock, by=by)
    return source
