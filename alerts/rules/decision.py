"""PURE. What one look at an alert rule changes: what began, what is over, and of what people are told now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.rules.contract import Finding

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)  # before a message is tried again
MOST_TRIES = 12  # over about seven hours


@dataclass(frozen=True)
class AlertDecision:
    """begun: findings of subjects that were well. ended: subjects that are well again. tell: subjects of which people
    hear now for the first time. tell_ended: those of `ended` of which they have heard."""

    begun: Sequence[Finding]
    ended: Sequence[str]
    tell: Sequence[str]
    tell_ended: Sequence[str]


def decide(
    open: Mapping[str, bool],
    findings: Sequence[Finding],
    *,
    told_at: datetime | None,
    cooldown: timedelta,
    now: datetime,
) -> AlertDecision:
    """open: by subject, whether people were told that something is wrong with it. told_at: when they last were of any.

    Within the cooldown nobody is told of anything new: what is still wrong at its end is told then, all in one message,
    and what came and went meanwhile never is. So a rule says at most two things in a cooldown, whatever happens.
    """
    # One finding for each subject: of several the last one says it.
    wrong = {finding.subject: finding for finding in findings}
    ended = [subject for subject in open if subject not in wrong]
    may_tell = told_at is None or told_at + cooldown <= now
    return AlertDecision(
        begun=[finding for subject, finding in wrong.items() if subject not in open],
        ended=ended,
        tell=[subject for subject in wrong if not open.get(subject, False)] if may_tell else [],
        tell_ended=[subject for subject in ended if open[subject]],
    )


def next_try(tries: int, now: datetime) -> datetime | None:
    """When a message is tried again that failed so many times; None = never."""
    if tries >= MOST_TRIES:
        return None
    return now + min(FIRST_WAIT * 2 ** (tries - 1), LONGEST_WAIT)
