"""Retention: rows older than their retention period are erased, once an hour, table by table."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import F, Min, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from access.models import AuditEntry, Invitation, SignedIn
from access.services import forget
from alerts.models import AlertNotification, AlertOccurrence
from audiences.models import Change, Draft
from destinations.models import Subscription
from identity.models import Evidence
from imports.models import ImportPart, ImportProblem, ProfileImport
from personas_site.erasure import AT_ONCE
from privacy.models import Regulation
from sources.events import client
from sources.events.schema import ARCHIVE, DELIVERY_LOG, MEMBERSHIP_LOG, PROFILE_EVENTS, TIMELINE, TRAIT_LOG, Table
from sources.events.sql import Sql, moment, sql
from sources.models import EventName, RefusedRequest, Reject, Source
from spaces.models import Deletion

logger = logging.getLogger(__name__)

IDLE_DRAFT, IDLE_INVITATION = timedelta(days=90), timedelta(days=90)


def retain(now: datetime) -> None:
    """No row is older than its retention period. A failure in one table is logged and stops no other."""
    erasers = {model._meta.db_table: _row_eraser(old) for model, old in RULES.items()} | EVENT_RULES
    erasers[AuditEntry._meta.db_table] = lambda now: forget(now - _days("KEEP_CHANGES_DAYS"))
    for name, erase in erasers.items():
        try:
            erase(now)
        except Exception:
            logger.exception("old rows of %s are not erased", name)


def _days(setting: str) -> timedelta:
    return timedelta(days=getattr(settings, setting))


def _old_changes(now: datetime) -> "QuerySet[Change]":
    """Changes that nobody reads any more: behind the snapshot of members and behind every subscription."""
    read_to = Subscription.objects.filter(audience=OuterRef("audience")).values("audience").annotate(least=Min("tick"))
    # An audience that goes nowhere has no reader but its own snapshot.
    past = Coalesce(Subquery(read_to.values("least")), F("audience__serving__snapshot_tick"))
    old = Change.objects.filter(at__lt=now - _days("KEEP_CHANGES_DAYS"), tick__lt=F("audience__serving__snapshot_tick"))
    return old.alias(past=past).filter(tick__lt=F("past"))


def _of_old_imports(rows: Any, now: datetime) -> "QuerySet[Any]":
    """What is kept of the files of imports that ended long ago, or that nobody went on with."""
    old = now - _days("KEEP_IMPORTED_DAYS")
    return rows.objects.filter(of__changed_at__lt=old).exclude(of__state__in=ProfileImport.AT_WORK)


RULES: dict[Any, Callable[[datetime], "QuerySet[Any]"]] = {
    Reject: lambda now: Reject.objects.filter(received_at__lt=now - _days("KEEP_REJECTS_DAYS")),
    RefusedRequest: lambda now: RefusedRequest.objects.filter(last_at__lt=now - _days("KEEP_REJECTS_DAYS")),
    Change: _old_changes,
    EventName: lambda now: EventName.objects.filter(last_seen_at__lt=now - _days("KEEP_EVENTS_DAYS")),
    Evidence: lambda now: Evidence.objects.filter(last_seen_at__lt=now - _days("KEEP_EVENTS_DAYS")),
    Deletion: lambda now: Deletion.objects.filter(finished_at__lt=now - _days("KEEP_CHANGES_DAYS")),
    Regulation: lambda now: Regulation.objects.filter(finished_at__lt=now - _days("KEEP_CHANGES_DAYS")),
    ImportPart: lambda now: _of_old_imports(ImportPart, now),
    ImportProblem: lambda now: _of_old_imports(ImportProblem, now),
    ProfileImport: lambda now: ProfileImport.objects.filter(changed_at__lt=now - _days("KEEP_CHANGES_DAYS")).exclude(
        state__in=ProfileImport.AT_WORK
    ),
    AlertOccurrence: lambda now: AlertOccurrence.objects.filter(ended_at__lt=now - _days("KEEP_CHANGES_DAYS")),
    AlertNotification: lambda now: AlertNotification.objects.filter(at__lt=now - _days("KEEP_CHANGES_DAYS")),
    Draft: lambda now: Draft.objects.filter(updated_at__lt=now - IDLE_DRAFT),
    Invitation: lambda now: Invitation.objects.filter(expires_at__lt=now - IDLE_INVITATION),
    SignedIn: lambda now: SignedIn.objects.exclude(session__in=Session.objects.values("session_key")),
    Session: lambda now: Session.objects.filter(expire_date__lt=now),
}


def _row_eraser(old: Callable[[datetime], "QuerySet[Any]"]) -> Callable[[datetime], None]:
    def erase(now: datetime) -> None:
        rows = old(now)
        # In parts, each its own transaction: no lock and no log of a million rows.
        while keys := list(rows.values_list("pk", flat=True)[:AT_ONCE]):
            rows.model._base_manager.filter(pk__in=keys).delete()

    return erase


def _erase_events(now: datetime) -> None:
    """No source has older events than it keeps, in the archive or in the spaces that are connected to it."""
    for source in Source.objects.all():
        # Source by source, since each may keep its events for another time.
        days = source.keep_days or settings.KEEP_EVENTS_DAYS
        old = sql("ts < %s", moment(now - timedelta(days=days)))
        condition = sql("workspace = %s AND source = %s AND %s", source.workspace_id, source.pk, old)
        # The archive first: a replay in between must not bring back what was just erased of the others.
        for table in (ARCHIVE, TIMELINE, PROFILE_EVENTS):
            _erase(table, condition)


def _log_eraser(table: Table, setting: str) -> Callable[[datetime], None]:
    return lambda now: _erase(table, sql("at < %s", moment(now - _days(setting))))


def _erase(table: Table, condition: Sql) -> None:
    # A DELETE reads every part of the table, also when no row matches: the SELECT stops at the first match.
    if client.rows(sql(f"SELECT 1 FROM {table.name} WHERE %s LIMIT 1", condition)):
        client.run(sql(f"DELETE FROM {table.name} WHERE %s", condition))


def _erase_old_values(now: datetime) -> None:
    """Of computed traits: those that were replaced so long ago. The newest of a person stays."""
    old = moment(now - _days("KEEP_EVENTS_DAYS"))
    same = "workspace, space, trait, profile"
    newest = f"SELECT {same}, max(piece) FROM trait_log GROUP BY {same}"
    _erase(TRAIT_LOG, sql(f"at < %s AND ({same}, piece) NOT IN ({newest})", old))


EVENT_RULES: dict[str, Callable[[datetime], None]] = {
    "events": _erase_events,
    DELIVERY_LOG.name: _log_eraser(DELIVERY_LOG, "KEEP_DELIVERIES_DAYS"),
    TRAIT_LOG.name: _erase_old_values,
    MEMBERSHIP_LOG.name: _log_eraser(MEMBERSHIP_LOG, "KEEP_EVENTS_DAYS"),
}
