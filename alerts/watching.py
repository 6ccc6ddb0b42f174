"""Looks at alert rules, notes what began and what is over, and leaves messages to be sent (alerts.sending)."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from alerts import queries
from alerts.kinds import all_kinds
from alerts.models import AlertNotification, AlertOccurrence, AlertRule
from alerts.rules.contract import ALERT, RESOLVED, AlertMessage, Finding
from alerts.rules.decision import decide
from spaces.text import text_of

logger = logging.getLogger(__name__)

LONGEST_ERROR = 500  # characters


def due(now: datetime) -> set[int]:
    """The spaces that have a rule to be looked at."""
    rules = AlertRule.objects.filter(enabled=True, space__deleted_at=None, kind__in=all_kinds())
    return set(rules.filter(Q(check_at=None) | Q(check_at__lte=now)).values_list("space", flat=True))


def look(space: int, now: datetime) -> bool:
    """Each rule of the space that is due was looked at. What goes wrong with one of them stops no other."""
    rules = AlertRule.objects.filter(space=space, enabled=True, kind__in=all_kinds()).select_related("space")
    waiting = list(rules.filter(Q(check_at=None) | Q(check_at__lte=now)))
    for rule in waiting:
        kind = all_kinds()[rule.kind]
        error = ""
        try:
            # Outside of any transaction: a kind may ask ClickHouse, and take its time.
            findings = kind.check(rule.space, queries.options_of(rule), rule.subject, now)
        except Exception as failure:
            logger.exception("the alert %s cannot be looked at", rule.public_id)
            error = text_of(failure, LONGEST_ERROR)
        else:
            _note(rule, findings, now)
        # Also after a failure: a kind that fails is not tried more often than one that works.
        later = now + timedelta(seconds=kind.every_s)
        AlertRule.objects.filter(pk=rule.pk).update(check_at=later, error=error)
    return bool(waiting)


@transaction.atomic
def _note(rule: AlertRule, findings: Sequence[Finding], now: datetime) -> None:
    # Whoever changes the rule meanwhile waits; one that was switched off or deleted says nothing.
    rows = AlertRule.objects.select_for_update(no_key=True).filter(pk=rule.pk, enabled=True)
    rule = rows.select_related("space__workspace").first()  # type: ignore[assignment]
    if rule is None:
        return
    open_now = {row.subject: row for row in AlertOccurrence.objects.filter(rule=rule, ended_at=None)}
    decision = decide(
        {subject: row.told_at is not None for subject, row in open_now.items()},
        findings,
        told_at=rule.told_at,
        cooldown=timedelta(minutes=rule.cooldown_minutes),
        now=now,
    )
    mine = AlertOccurrence.objects.filter(rule=rule)
    AlertOccurrence.objects.bulk_create(
        AlertOccurrence(
            workspace_id=rule.workspace_id,
            rule=rule,
            space=rule.space,
            subject=finding.subject,
            # Kept as it was called then, for what is deleted later.
            name=finding.name[:255],
            message=finding.message,
            began_at=now,
        )
        for finding in decision.begun
    )
    mine.filter(ended_at=None, subject__in=decision.ended).update(ended_at=now)
    if decision.tell:
        # What begins now is among them: it was created just above.
        mine.filter(ended_at=None, subject__in=decision.tell).update(told_at=now)
        AlertRule.objects.filter(pk=rule.pk).update(told_at=now)
        told = [finding for finding in findings if finding.subject in set(decision.tell)]
        _leave(rule, ALERT, told, now)
    if decision.tell_ended:
        over = [open_now[subject] for subject in decision.tell_ended]
        _leave(rule, RESOLVED, [Finding(row.subject, row.name, row.message) for row in over], now)


def _leave(rule: AlertRule, what: str, findings: Sequence[Finding], now: datetime) -> None:
    """A message waits for each channel of the rule."""
    title = AlertMessage("", what, rule.name, rule.space.name, "", now).title
    AlertNotification.objects.bulk_create(
        AlertNotification(
            workspace_id=rule.workspace_id,
            space=rule.space,
            rule=rule,
            channel=channel,
            what=what,
            title=title,
            findings=[[finding.subject, finding.name, finding.message] for finding in findings],
            at=now,
        )
        for channel in rule.channels.all()
    )
