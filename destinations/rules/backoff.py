"""PURE. When to try again, and when to stop spending effort on a destination that is away."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import random

FIRST = timedelta(seconds=2)
LONGEST = timedelta(minutes=30)  # between two attempts
PARKED_AFTER = timedelta(hours=12)  # of failing without one success
PROBED_EVERY = timedelta(hours=6)  # a parked destination
LONGEST_ASKED = timedelta(hours=24)  # of what a Retry-After may ask for
PROBE = 8  # rows that find out whether a failing destination is back
GIVEN_UP_AFTER = 8  # failures in a row without one success end a round early


def wait(failures: int, jitter: Callable[[], float] = random) -> timedelta:
    """After this many failures in a row: doubling from 2 s to 30 min, of which between a half and all is waited.

    jitter: a number from 0 to 1, so that many waiting for one destination do not come back at once.
    """
    whole = min(FIRST * 2 ** min(max(failures, 1) - 1, 20), LONGEST)  # 20: a timedelta overflows, months on
    return whole * (0.5 + 0.5 * jitter())


def asked(seconds: float | None) -> timedelta:
    """What a Retry-After asks for, within reason."""
    return min(timedelta(seconds=min(seconds or 0, 10**9)), LONGEST_ASKED)  # 10**9: more is no timedelta


def parked(failing_since: datetime, now: datetime) -> bool:
    return now - failing_since >= PARKED_AFTER
