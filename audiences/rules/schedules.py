"""PURE. When something that is repeated by the clock of a time zone is due next."""

from datetime import UTC, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

PARTS = ("every", "at", "weekday", "time_zone")  # what a schedule is made of
HOUR, DAY = "hour", "day"  # else a week
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@cache
def time_zones() -> frozenset[str]:
    """Their names. To find them all takes a walk through hundreds of files."""
    return frozenset(available_timezones())


def next_run(every: str, *, at: time, weekday: int, time_zone: str, after: datetime) -> datetime:
    """The first moment later than `after`, in UTC.

    every: hour (at the minute of `at`), day (at `at`), or week (on `weekday`, 0 = Monday, at `at`). A time that a
    change of the clock skips is taken an hour later, one that it repeats the first time.
    """
    zone = ZoneInfo(time_zone)
    if every == HOUR:
        due = after.astimezone(UTC).replace(minute=at.minute, second=0, microsecond=0)
        return due if due > after else due + timedelta(hours=1)
    # From yesterday on: a time that a change of the clock skips is taken later, which may be on the next day.
    day = after.astimezone(zone).date() - timedelta(days=1)
    while True:
        day += timedelta(days=1)
        due = datetime.combine(day, at, zone).astimezone(UTC)
        if due > after and (every == DAY or day.weekday() == weekday):
            return due


def sentence(every: str, *, at: time, weekday: int, time_zone: str) -> str:
    """To be read by people: "every Monday at 06:00 (Europe/Berlin)"."""
    if every == HOUR:
        return f"every hour, {at.minute} minutes past"
    day = "day" if every == DAY else DAYS[weekday]
    return f"every {day} at {at:%H:%M} ({time_zone})"
