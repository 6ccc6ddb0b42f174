"""When to try again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.rules import backoff

NOW = datetime(2026, 6, 15, tzinfo=UTC)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_is_between_one_second_and_half_an_hour(failures: int, jitter: float) -> None:
    assert timedelta(seconds=1) <= backoff.wait(failures, lambda: jitter) <= timedelta(minutes=30)


def test_waits_double() -> None:
    assert [backoff.wait(n, lambda: 1.0).total_seconds() for n in (1, 2, 3, 4)] == [2, 4, 8, 16]
    assert backoff.wait(3, lambda: 0.0) == timedelta(seconds=4)


def test_trying_goes_on_for_hours() -> None:
    assert not backoff.parked(NOW, NOW + timedelta(hours=11, minutes=59))
    assert backoff.parked(NOW, NOW + timedelta(hours=12))


@pytest.mark.parametrize(("seconds", "wait"), [(None, 0), (0, 0), (90, 90), (10**12, 24 * 3600)])
def test_what_a_destination_asks_for_is_obeyed_within_a_day(seconds: float | None, wait: float) -> None:
    assert backoff.asked(seconds) == timedelta(seconds=wait)
