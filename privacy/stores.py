"""What each store keeps of somebody in a space: how many rows there are, and how they are erased.

PostgreSQL's tables of identity are not here: people leave them in a batch of the resolve log (identity.erasure).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connection, models
from django.db.models import TextField
from django.db.models.functions import Cast
from pyroaring import BitMap

from alerts.models import AlertNotification, AlertOccurrence
from audiences.models import SqlRun, SqlValue
from destinations.erasure import acknowledged_of
from destinations.models import Caught, Subscription
from identity.erasure import KnownPeople
from imports.models import ImportPart, ImportProblem, ProfileImport
from privacy.rules.needles import finder, needles
from profiles_sync.models import SyncRun
from sources.events import people
from sources.events.schema import ARCHIVE, DELIVERY_LOG, Table
from sources.events.sql import Sql, sql
from sources.models import Reject
from sources.rules.suppression import identifiers_in
from spaces.models import Log, Space

MISSING = "[erased with a person]"


@dataclass(frozen=True)
class Store:
    """Rows of one table. erase: returns how many went."""

    table: str
    count: Callable[[], int]
    erase: Callable[[], int]


def archive(workspace_id: int, subjects: Sequence[tuple[str, str]], until: Sql = people.ANY_TIME) -> Iterator[Store]:
    """What sources sent that carries one of these identifiers; and what of it was refused."""
    by_type: dict[str, list[str]] = {}
    for type, value in subjects:
        by_type.setdefault(type, []).append(value)
    yield _blanked(
        ARCHIVE, lambda: people.archived(workspace_id, by_type, until), partial(people.blank_archived, workspace_id)
    )
    yield _rejects(workspace_id, subjects)


def events(space: Space, known: KnownPeople, places: Sequence[people.Place]) -> Iterator[Store]:
    """ClickHouse's rows about these people, and those of others that came with one of their identifiers."""
    mine = sql("workspace = %s AND space = %s", space.workspace_id, space.pk)
    for table, theirs in people.of_profiles([*known.numbers]).items():
        also = sql(" OR %s", people.at_places(places)) if table in people.BY_PLACE and places else Sql("")
        yield _events(table, sql("%s AND (%s%s)", mine, theirs, also))


def after_destinations(space: Space, known: KnownPeople) -> Iterator[Store]:
    """What is kept of calls to destinations, and values of SQL traits. Calls that take people back need it before."""
    numbers = BitMap([number for number, _, _ in known.identifiers])
    mine = sql("workspace = %s AND space = %s", space.workspace_id, space.pk)
    theirs = sql("(identifier IN %s OR profile IN %s)", [*numbers] or [0], [*known.numbers] or [0])
    yield _events(DELIVERY_LOG, sql("%s AND %s", mine, theirs))
    # A call about several people stands under the first of them: of the others it is known by its text.
    wanted = needles(value for _, _, value in known.identifiers)
    yield _blanked(
        DELIVERY_LOG,
        lambda: people.naming(space.workspace_id, space.pk, wanted),
        partial(people.blank_calls, space.workspace_id),
    )
    yield _rows(SqlValue.objects.filter(sql_trait__space=space, identifier__in=[*numbers]))
    # They say to whom it is told that somebody left; so this is done in the last step.
    yield _rows(acknowledged_of(space, numbers, known.numbers))
    yield from _naming(Caught.objects.filter(destination__space=space), "body", wanted, _delete)


def texts(space: Space, known: KnownPeople) -> Iterator[Store]:
    """Messages about failures may quote whom a tool refused: their words go, the rows stay."""
    wanted = needles(value for _, _, value in known.identifiers)
    for rows, field in (
        (Subscription.everything.filter(space=space), "error"),
        (SqlRun.objects.filter(sql_trait__space=space), "error"),
        (SyncRun.objects.filter(sync__space=space), "error"),
        (AlertOccurrence.objects.filter(space=space), "message"),
        (AlertNotification.objects.filter(space=space), "error"),
        (Log.objects.filter(workspace=space.workspace_id), "error"),
    ):
        forget: Callable[[Any], int] = partial(_forget_words, field=field)
        yield from _naming(rows.exclude(**{field: ""}), field, wanted, forget)
    # Whole: a file is packed, and what stands in it may be spelt in any way. It can be uploaded again without them.
    for model in (ImportPart, ImportProblem):
        idle = model.objects.filter(of__space=space).exclude(of__state__in=ProfileImport.AT_WORK)
        if known.identifiers:
            yield Store(model._meta.db_table, idle.count, partial(_delete, idle))


def _forget_words(rows: "models.QuerySet[Any]", field: str) -> int:
    return int(rows.update(**{field: MISSING}))


def _delete(rows: "models.QuerySet[Any]") -> int:
    """How many rows went; no foreign key refers to them."""
    return rows._raw_delete(connection.alias) or 0  # None where Django knows that there are none


def _naming(
    rows: "models.QuerySet[Any]", field: str, wanted: Sequence[str], erase: Callable[[Any], int]
) -> Iterator[Store]:
    """Those of the rows that name one of these in the field."""
    if not wanted:
        return
    is_named = finder(wanted)

    def named() -> list[int]:
        # Here and not in SQL: a value may be spelt in several ways (privacy.rules.needles), each a scan of its own
        # there.
        texts = rows.annotate(text=Cast(field, TextField())).values_list("pk", "text")
        return [pk for pk, text in texts.iterator(chunk_size=500) if is_named(text)]

    yield Store(
        rows.model._meta.db_table,
        lambda: len(named()),
        lambda: erase(rows.model._base_manager.filter(pk__in=named())),
    )


def _events(table: Table, condition: Sql) -> Store:
    return Store(table.name, lambda: people.count(table, condition), lambda: people.erase(table, condition))


def _blanked(
    table: Table, places: Callable[[], list[people.Place]], blank: Callable[[list[people.Place]], int]
) -> Store:
    """Rows that stay, and say nothing any more."""
    return Store(table.name, lambda: len(places()), lambda: blank(places()))


def _rows(rows: "models.QuerySet[Any]") -> Store:
    every = rows.model._base_manager
    return Store(rows.model._meta.db_table, rows.count, lambda: _delete(every.filter(pk__in=rows.values("pk"))))


def _rejects(workspace_id: int, subjects: Sequence[tuple[str, str]]) -> Store:
    """Messages that could not be used are kept as sent; only by reading them it is known whose they are."""
    wanted, types = set(subjects), {type for type, _ in subjects}
    is_named = finder(needles(value for _, value in subjects))

    def theirs() -> list[int]:
        # Read in parts: a workspace may keep a month of rejects, each up to 32 KiB.
        rejects = Reject.objects.filter(workspace=workspace_id).values_list("pk", "message")
        return [
            pk
            for pk, text in rejects.iterator(chunk_size=500)
            if not wanted.isdisjoint(identifiers_in(text, types))
            # What is no JSON, or was cut, can only be searched.
            or (not text.endswith("}") and is_named(text))
        ]

    def erase() -> int:
        return Reject.objects.filter(pk__in=theirs()).delete()[0]

    return Store(Reject._meta.db_table, lambda: len(theirs()), erase)


def of_others(space: Space, known: KnownPeople) -> tuple[list[people.Place], BitMap]:
    """Events that came with an identifier of theirs: their places, and the other people whom they are counted for."""
    rows = people.carrying(space.workspace_id, space.pk, known.pairs)
    others = BitMap(profile for _, profile in rows) - known.numbers
    return [place for place, profile in rows if profile in others], others
