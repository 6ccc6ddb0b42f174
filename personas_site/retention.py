"""What grows is bounded: rows that are older than they are kept for are erased, once an hour, kind by kind."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import F, Min, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from access.models import AuditEntry, Invitation
from audiences.models import Change, Draft
from destinations.models import Subscription
from identity.models import Evidence
from personas_site.erasure import AT_ONCE
from sources.events import client
from sources.events.schema import ARCHIVE, DELIVERY_LOG, MEMBERSHIP_LOG, PROFILE_EVENTS, TIMELINE, Table
from sources.events.sql import Sql, moment, sql
from sources.models import Reject, Source
from spaces.models import Deletion

logger = logging.getLogger(__name__)

IDLE_DRAFT, IDLE_INVITATION = timedelta(days=90), timedelta(days=90)


def retain(now: datetime) -> None:
    """Nothing is older than it is kept for. What is wrong with one kind keeps no other from being erased."""
    for name, erase in {**{model._meta.db_table: _rows(rows) for model, rows in RULES.items()}, **EVENT_RULES}.items():
        try:
            erase(now)
        except Exception:
            logger.exception("what is old in %s is not erased", name)


def _days(setting: str) -> timedelta:
    return timedelta(days=getattr(settings, setting))


def _old_changes(now: datetime) -> "QuerySet[Change]":
    """Changes that every reader is past: members are written down after them, and every destination heard of them."""
    heard = Subscription.objects.filter(audience=OuterRef("audience")).values("audience").annotate(least=Min("tick"))
    past = Coalesce(Subquery(heard.values("least")), F("audience__serving__snapshot_tick"))
    old = Change.objects.filter(at__lt=now - _days("KEEP_CHANGES_DAYS"), tick__lt=F("audience__serving__snapshot_tick"))
    return old.alias(past=past).filter(tick__lt=F("past"))


RULES: dict[Any, Callable[[datetime], "QuerySet[Any]"]] = {
    Reject: lambda now: Reject.objects.filter(received_at__lt=now - _days("KEEP_REJECTS_DAYS")),
    Change: _old_changes,
    Evidence: lambda now: Evidence.objects.filter(last_seen_at__lt=now - _days("KEEP_EVENTS_DAYS")),
    AuditEntry: lambda now: AuditEntry.objects.filter(at__lt=now - _days("KEEP_CHANGES_DAYS")),
    Deletion: lambda now: Deletion.objects.filter(finished_at__lt=now - _days("KEEP_CHANGES_DAYS")),
    Draft: lambda now: Draft.objects.filter(updated_at__lt=now - IDLE_DRAFT),
    Invitation: lambda now: Invitation.objects.filter(expires_at__lt=now - IDLE_INVITATION),
    Session: lambda now: Session.objects.filter(expire_date__lt=now),
}


def _rows(old: Callable[[datetime], "QuerySet[Any]"]) -> Callable[[datetime], None]:
    def erase(now: datetime) -> None:
        rows = old(now)
        while some := list(rows.values_list("pk", flat=True)[:AT_ONCE]):
            rows.model._base_manager.filter(pk__in=some).delete()

    return erase


def _events(now: datetime) -> None:
    """Of each source, in the archive and in the spaces that listen to it."""
    for source in Source.objects.all():
        days = source.keep_days or settings.KEEP_EVENTS_DAYS
        old = sql("ts < %s", moment(now - timedelta(days=days)))
        mine = sql("workspace = %s AND source = %s AND %s", source.workspace_id, source.pk, old)
        for table in (ARCHIVE, TIMELINE, PROFILE_EVENTS):
            _erase(table, mine)


def _log(table: Table, setting: str) -> Callable[[datetime], None]:
    return lambda now: _erase(table, sql("at < %s", moment(now - _days(setting))))


def _erase(table: Table, condition: Sql) -> None:
    """A DELETE looks at every part, so it is asked first whether there is any such row."""
    if client.rows(sql(f"SELECT 1 FROM {table.name} WHERE %s LIMIT 1", condition)):
        client.run(sql(f"DELETE FROM {table.name} WHERE %s", condition))


EVENT_RULES: dict[str, Callable[[datetime], None]] = {
    "events": _events,
    DELIVERY_LOG.name: _log(DELIVERY_LOG, "KEEP_DELIVERIES_DAYS"),
    MEMBERSHIP_LOG.name: _log(MEMBERSHIP_LOG, "KEEP_EVENTS_DAYS"),
}
