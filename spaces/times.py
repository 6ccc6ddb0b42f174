"""PURE. Moments as the stores and the API write them. `now` comes from spaces.clock."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
MILLISECOND = timedelta(milliseconds=1)


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
