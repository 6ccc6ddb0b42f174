"""Erases deleted spaces, sources, audiences, destinations and subscriptions from every store, a part at a time.

A deleted object is hidden at once (spaces.models.Deletion) and no stage works on it any more. Its rows are erased
table by table: those of ClickHouse, then the large tables of PostgreSQL, then the object itself with what cascades.
A statement that was running at the time of the deletion may still write rows, so every table is checked once more
after CHECKED_AFTER. A part is complete when `erase` erases no row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import connection, models, transaction
from django.db.models import Q

from audiences.models import Audience, Change, Version
from destinations.models import Acknowledged, Destination, Subscription
from sources.events import client
from sources.events.schema import ARCHIVE, DELIVERY_LOG, MEMBERSHIP_LOG, TABLES, TRAIT_LOG, Table
from sources.events.sql import Sql, sql
from sources.models import Source
from spaces.models import Deletion, Log, Space

CHECKED_AFTER = timedelta(minutes=15)  # a statement of ClickHouse takes ten at most (sources.events.client)
AT_ONCE = 20_000  # rows of PostgreSQL in one transaction
Kind, State = Deletion.TargetKind, Deletion.State


@dataclass(frozen=True)
class Part:
    """The rows of one table. count: how many are left; erase: erases some, returns how many, 0 = none was left."""

    table: str
    # For the total alone, once: counting a table of millions before each of hundreds of erase() calls would be slow.
    count: Callable[[], int]
    erase: Callable[[], int]


def due(now: datetime) -> list[int]:
    """The primary keys of the deletions that `advance` has work for."""
    return list(_due_deletions(now).values_list("pk", flat=True))


def _due_deletions(now: datetime) -> "models.QuerySet[Deletion]":
    return Deletion.objects.filter(Q(state=State.ERASING) | Q(state=State.CHECKING, check_at__lte=now))


def advance(pk: int, now: datetime) -> bool:
    """One more part of the deletion is erased. False when the deletion is not due."""
    deletion = _due_deletions(now).filter(pk=pk).first()
    if deletion is None:
        return False
    if deletion.total is None:
        if deletion.kind == Kind.SOURCE:
            owners: list[int] = []
            logs = Q(stage="archive", partition=deletion.target)
        else:
            field = "pk" if deletion.kind == Kind.SUBSCRIPTION else deletion.kind
            owners = list(Subscription.everything.filter(**{field: deletion.target}).values_list("pk", flat=True))
            logs = Q(stage="sync", partition__in=owners)
        if deletion.kind == Kind.SPACE:
            logs |= Q(stage__in=("resolve", "evaluate"), partition=deletion.target)
        # A writer commits only while it owns its log (spaces.batches): without the row no further batch is committed.
        Log.objects.filter(logs, workspace=deletion.workspace_id).delete()
        deletion.scope = {"subscriptions": owners}
        deletion.total = sum(part.count() for part in _parts(deletion))
        deletion.save(update_fields=["scope", "total"])
    parts = list(_parts(deletion))
    while deletion.step < len(parts):
        part = parts[deletion.step]
        if erased := part.erase():
            deletion.table = part.table
            deletion.erased[part.table] = deletion.erased.get(part.table, 0) + erased
            deletion.save(update_fields=["step", "table", "erased"])
            return True
        deletion.step += 1
    _finish(deletion, now)
    return True


def _finish(deletion: Deletion, now: datetime) -> None:
    """The object itself is erased. The deletion waits for its check or, after it, is done."""
    is_checked = deletion.state == State.CHECKING
    with transaction.atomic():
        if deletion.kind == Kind.AUDIENCE:  # the row stays, since its key stays taken (audiences.services)
            Subscription.everything.filter(audience=deletion.target).delete()
            Audience.everything.filter(pk=deletion.target).update(serving=None, size=None)
            Version.objects.filter(audience=deletion.target).delete()
        else:
            MODELS[deletion.kind]._base_manager.filter(pk=deletion.target).delete()
        deletion.state, deletion.step, deletion.table = State.DONE if is_checked else State.CHECKING, 0, ""
        deletion.check_at = None if is_checked else now + CHECKED_AFTER
        deletion.finished_at = now if is_checked else None
        deletion.save()


MODELS: dict[str, type[models.Model]] = {
    Kind.SPACE: Space,
    Kind.SOURCE: Source,
    Kind.DESTINATION: Destination,
    Kind.SUBSCRIPTION: Subscription,
}


def _parts(deletion: Deletion) -> Iterator[Part]:
    of_workspace = sql("workspace = %s", deletion.workspace_id)
    subscriptions = deletion.scope.get("subscriptions", [])
    if deletion.kind == Kind.SPACE:
        for table in TABLES:
            if "space" in table.columns:
                yield _clickhouse_part(table, of_workspace + sql(" AND space = %s", deletion.target))
    elif deletion.kind == Kind.SOURCE:
        yield _clickhouse_part(ARCHIVE, of_workspace + sql(" AND source = %s", deletion.target))
        yield _message_ids_part(deletion.target)
    else:
        delivered = of_workspace + sql(" AND subscription IN %s", subscriptions) if subscriptions else Sql("0")
        yield _clickhouse_part(DELIVERY_LOG, delivered)
        yield _postgresql_part(Acknowledged, subscription__in=subscriptions)
    if deletion.kind == Kind.AUDIENCE:
        yield _clickhouse_part(MEMBERSHIP_LOG, of_workspace + sql(" AND audience = %s", deletion.target))
        yield _clickhouse_part(TRAIT_LOG, of_workspace + sql(" AND trait = %s", deletion.target))
        yield _postgresql_part(Change, audience=deletion.target)
    if deletion.kind in (Kind.SPACE, Kind.SOURCE):
        # Every model that cascades from the object, and to which none refers: the rest goes with the object itself.
        for model in apps.get_models():
            fields = model._meta.get_fields(include_hidden=True)
            is_referred_to = any(field.auto_created and not field.concrete for field in fields)
            if not is_referred_to and (path := _cascade_path(model, MODELS[deletion.kind])):
                yield _postgresql_part(model, **{path: deletion.target})


def _clickhouse_part(table: Table, condition: Sql) -> Part:
    """Rows of ClickHouse: one DELETE erases them all."""

    def count() -> int:
        return int(client.rows(sql(f"SELECT count() FROM {table.name} WHERE %s", condition))[0][0])

    def erase() -> int:
        rows = count()
        if rows:  # a DELETE reads every part of the table, also when no row matches
            client.run(sql(f"DELETE FROM {table.name} WHERE %s", condition))
        return rows

    return Part(table.name, count, erase)


def _postgresql_part(model: type[models.Model], **condition: Any) -> Part:
    """Rows of PostgreSQL that no foreign key refers to, AT_ONCE at a time."""
    rows = model._base_manager.filter(**condition)

    def erase() -> int:
        keys = list(rows.values_list("pk", flat=True)[:AT_ONCE])
        # Without Django's collector, which would query for dependent rows of each chunk: there are none.
        return model._base_manager.filter(pk__in=keys)._raw_delete(connection.alias) if keys else 0

    return Part(model._meta.db_table, rows.count, erase)


def _message_ids_part(source: int) -> Part:
    """The message ids of a source. Their table is partitioned, so it has no model (sources.archive)."""

    def count() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM sources_seen WHERE source_id = %s", [source])
            return int(cursor.fetchone()[0])

    def erase() -> int:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM sources_seen WHERE source_id = %s", [source])
            return cursor.rowcount

    return Part("sources_seen", count, erase)


def _cascade_path(model: type[models.Model], root: type[models.Model], depth: int = 3) -> str | None:
    """The shortest lookup from the model to `root` along cascading foreign keys, at most `depth` of them."""
    references = [
        field
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey) and field.remote_field.on_delete is models.CASCADE
    ]
    for field in references:
        if field.related_model is root:
            return field.name
    if depth > 1:
        for field in references:
            further = _cascade_path(field.related_model, root, depth - 1)
            if further:
                return f"{field.name}__{further}"
    return None
