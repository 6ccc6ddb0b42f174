"""The one source of `now`. Passed in everywhere, so that tests can move it."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

from django.db import connection
from django.db.models import Q

from spaces.times import UNSTEADY, is_due, was_put_back

__all__ = ["UNSTEADY", "Clock", "DatabaseClock", "FixedClock", "clock", "is_due", "rows_due", "was_put_back"]


class Clock(Protocol):
    def now(self) -> datetime: ...


class DatabaseClock:
    """PostgreSQL's time, the same for every process. Within one process it never goes back, unless it was put back."""

    def __init__(self) -> None:
        self._last = datetime.min.replace(tzinfo=UTC)

    def now(self) -> datetime:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            at = cursor.fetchone()[0].astimezone(UTC)
        self._last = at if was_put_back(self._last, at) else max(self._last, at)
        return self._last


class FixedClock:
    """Stands still until it is moved."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def advance(self, by: timedelta) -> datetime:
        self.at += by
        return self.at


def rows_due(field: str, now: datetime, *, longest: timedelta, noted: str = "") -> Q:
    """As `is_due`, of rows. noted: the field that says when the wait was noted."""
    over = {f"{field}__lte": now}
    wrong = {f"{field}__gt": now + longest}
    due = Q(**{field: None}) | Q(**over) | Q(**wrong)
    return due | Q(**{f"{noted}__gt": now + UNSTEADY}) if noted else due


clock: Clock = DatabaseClock()
