"""The one source of `now`. Passed in everywhere, so that tests can move it."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

from django.db import connection
from django.db.models import Q

# Two looks at PostgreSQL's time may differ by so much the wrong way round (a clock that is slewed, a standby that took
# over). By more, and what was read before was wrong: the clock ran ahead and was put back.
UNSTEADY = timedelta(seconds=10)


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


def was_put_back(before: datetime, now: datetime) -> bool:
    """Whether a moment that has been noted is so far ahead of now that the clock must have been wrong."""
    return before - now > UNSTEADY


def is_due(at: datetime | None, now: datetime, *, longest: timedelta, noted: datetime | None = None) -> bool:
    """Whether a wait until `at` is over. One that would be longer than any wait was noted by a clock that was wrong.

    noted: when it was, if that is known; a moment that is yet to come was of such a clock as well.
    """
    return at is None or not now < at <= now + longest or (noted is not None and was_put_back(noted, now))


def rows_due(field: str, now: datetime, *, longest: timedelta, noted: str = "") -> Q:
    """The same of rows. noted: the field that says when the wait was noted."""
    over = {f"{field}__lte": now}
    wrong = {f"{field}__gt": now + longest}
    due = Q(**{field: None}) | Q(**over) | Q(**wrong)
    return due | Q(**{f"{noted}__gt": now + UNSTEADY}) if noted else due


clock: Clock = DatabaseClock()
