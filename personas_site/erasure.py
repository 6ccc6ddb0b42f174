"""Erasing what was deleted from every store, a part at a time: see spaces.models.Deletion.

What is deleted is out of sight from the start and nobody works on it any more. Its rows go table by table: first the
tables of ClickHouse, then those of PostgreSQL that hold many, then the thing itself with what is left. A statement
that was on its way when it was deleted may still write, so after the longest time that one may take all is looked at
again. A part is done when it is asked to erase and finds nothing.
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
from sources.events.schema import ARCHIVE, DELIVERY_LOG, MEMBERSHIP_LOG, TABLES, Table
from sources.events.sql import Sql, sql
from sources.models import Source
from spaces.models import Deletion, Log, Space

CHECKED_AFTER = timedelta(minutes=15)  # a statement of ClickHouse takes ten at most (sources.events.client)
AT_ONCE = 20_000  # rows of PostgreSQL in one transaction
Kind, State = Deletion.TargetKind, Deletion.State


@dataclass(frozen=True)
class Part:
    """The rows of one table. left: how many there are; erase: some of them, and how many these were, 0 = none is left.

    To count is for the total alone: a table of millions is erased in hundreds of parts.
    """

    table: str
    left: Callable[[], int]
    erase: Callable[[], int]


def waiting(now: datetime) -> list[int]:
    """Deletions that can be gone on with."""
    return list(_due(now).values_list("pk", flat=True))


def _due(now: datetime) -> "models.QuerySet[Deletion]":
    return Deletion.objects.filter(Q(state=State.ERASING) | Q(state=State.CHECKING, check_at__lte=now))


def go_on(pk: int, now: datetime) -> bool:
    """The deletion is a part further. False when there is nothing to do."""
    deletion = _due(now).filter(pk=pk).first()
    if deletion is None:
        return False
    if deletion.total is None:
        _begin(deletion)
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


def _begin(deletion: Deletion) -> None:
    """Whoever writes for it loses the right to (`spaces.batches`), and what there is to erase is counted."""
    if deletion.kind == Kind.SOURCE:
        owners: list[int] = []
        logs = Q(stage="archive", partition=deletion.target)
    else:
        how = "pk" if deletion.kind == Kind.SUBSCRIPTION else deletion.kind
        owners = list(Subscription.everything.filter(**{how: deletion.target}).values_list("pk", flat=True))
        logs = Q(stage="sync", partition__in=owners)
    if deletion.kind == Kind.SPACE:
        logs |= Q(stage__in=("resolve", "evaluate"), partition=deletion.target)
    Log.objects.filter(logs, workspace=deletion.workspace_id).delete()
    deletion.scope = {"subscriptions": owners}
    deletion.total = sum(part.left() for part in _parts(deletion))
    deletion.save(update_fields=["scope", "total"])


def _finish(deletion: Deletion, now: datetime) -> None:
    """Nothing is left: the thing itself goes, too; and once more later all is looked at."""
    checked = deletion.state == State.CHECKING
    with transaction.atomic():
        if deletion.kind == Kind.AUDIENCE:  # the row stays, since its key stays taken (audiences.services)
            Subscription.everything.filter(audience=deletion.target).delete()
            Audience.objects.filter(pk=deletion.target).update(serving=None, size=None)
            Version.objects.filter(audience=deletion.target).delete()
        else:
            THINGS[deletion.kind]._base_manager.filter(pk=deletion.target).delete()
        deletion.state, deletion.step, deletion.table = State.DONE if checked else State.CHECKING, 0, ""
        deletion.check_at = None if checked else now + CHECKED_AFTER
        deletion.finished_at = now if checked else None
        deletion.save()


THINGS: dict[str, type[models.Model]] = {
    Kind.SPACE: Space,
    Kind.SOURCE: Source,
    Kind.DESTINATION: Destination,
    Kind.SUBSCRIPTION: Subscription,
}


def _parts(deletion: Deletion) -> Iterator[Part]:
    mine = sql("workspace = %s", deletion.workspace_id)
    subscriptions = deletion.scope.get("subscriptions", [])
    if deletion.kind == Kind.SPACE:
        for table in TABLES:
            if "space" in table.columns:
                yield _events(table, mine + sql(" AND space = %s", deletion.target))
    elif deletion.kind == Kind.SOURCE:
        yield _events(ARCHIVE, mine + sql(" AND source = %s", deletion.target))
        yield _seen(deletion.target)
    else:
        yield _events(DELIVERY_LOG, mine + sql(" AND subscription IN %s", subscriptions) if subscriptions else Sql("0"))
        yield _rows(Acknowledged, subscription__in=subscriptions)
    if deletion.kind == Kind.AUDIENCE:
        yield _events(MEMBERSHIP_LOG, mine + sql(" AND audience = %s", deletion.target))
        yield _rows(Change, audience=deletion.target)
    if deletion.kind in (Kind.SPACE, Kind.SOURCE):
        for model, path in _leaves(THINGS[deletion.kind]):
            yield _rows(model, **{path: deletion.target})


def _events(table: Table, condition: Sql) -> Part:
    """Rows of ClickHouse, all in one statement."""

    def left() -> int:
        return int(client.rows(sql(f"SELECT count() FROM {table.name} WHERE %s", condition))[0][0])

    def erase() -> int:
        rows = left()
        if rows:  # a DELETE looks at every part of the table
            client.run(sql(f"DELETE FROM {table.name} WHERE %s", condition))
        return rows

    return Part(table.name, left, erase)


def _rows(model: type[models.Model], **condition: Any) -> Part:
    """Rows of PostgreSQL that nothing refers to."""
    rows = model._base_manager.filter(**condition)

    def erase() -> int:
        some = list(rows.values_list("pk", flat=True)[:AT_ONCE])
        return model._base_manager.filter(pk__in=some)._raw_delete(connection.alias) if some else 0

    return Part(model._meta.db_table, rows.count, erase)


def _seen(source: int) -> Part:
    """The ids of its messages, in a table that has no model: it is partitioned (sources.archive)."""

    def left() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM sources_seen WHERE source_id = %s", [source])
            return int(cursor.fetchone()[0])

    def erase() -> int:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM sources_seen WHERE source_id = %s", [source])
            return cursor.rowcount

    return Part("sources_seen", left, erase)


def _leaves(root: type[models.Model]) -> Iterator[tuple[type[models.Model], str]]:
    """Every model whose rows go with one of `root` and to which none refers, and how it leads there."""
    for model in apps.get_models():
        fields = model._meta.get_fields(include_hidden=True)
        referred = any(field.auto_created and not field.concrete for field in fields)
        path = None if referred else _path(model, root)
        if path:
            yield model, path


def _path(model: type[models.Model], root: type[models.Model], depth: int = 3) -> str | None:
    """The shortest chain of references from the model to `root`, each of which goes when what it refers to goes."""
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
            further = _path(field.related_model, root, depth - 1)
            if further:
                return f"{field.name}__{further}"
    return None
