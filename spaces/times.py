"""PURE. Moments as the stores and the API write them, and whether a wait is over. `now` comes from spaces.clock."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
MILLISECOND = timedelta(milliseconds=1)
# Two looks at PostgreSQL's time may differ by so much the wrong way round (a clock that is slewed, a standby that took
# over). By more, and what was read before was wrong: the clock ran ahead and was put back.
UNSTEADY = timedelta(seconds=10)


def milliseconds(at: datetime) -> int:
    """Since 1970, rounded down; exact, unlike a float timestamp."""
    return (at - EPOCH) // MILLISECOND


def from_milliseconds(ms: int) -> datetime:
    """In UTC."""
    return EPOCH + timedelta(milliseconds=ms)


def iso(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, rounded down: 2026-11-23T16:47:36.080Z."""
    return iso_of(milliseconds(at))


@lru_cache(maxsize=1024)  # the receipt is the same for a whole batch of messages
def iso_of(ms: int) -> str:
    """The same for milliseconds since 1970."""
    # Without a zone it is written twice as fast.
    return (NAIVE_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds") + "Z"


def was_put_back(before: datetime, now: datetime) -> bool:
    """Whether a moment that has been noted is so far ahead of now that the clock must have been wrong."""
    return before - now > UNSTEADY


def is_due(at: datetime | None, now: datetime, *, longest: timedelta, noted: datetime | None = None) -> bool:
    """Whether a wait until `at` is over. One that would be longer than any wait was noted by a clock that was wrong.

    noted: when it was, if that is known; a moment that is yet to come was of such a clock as well.
    """
    return at is None or not now < at <= now + longest or (noted is not None and was_put_back(noted, now))
