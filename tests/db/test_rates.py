"""Token buckets that hold over all processes."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from spaces import rates
from spaces.rates import pace, spend

pytestmark = pytest.mark.usefixtures("stores")


@pytest.fixture
def name() -> str:
    return str(uuid4())


@pytest.fixture
def away(settings: Any) -> Iterator[None]:
    """Redis is away."""
    settings.REDIS_CACHE_URL = "unix:///no/such/socket"
    rates._take.cache_clear()
    yield
    rates._take.cache_clear()
    rates._away_until = 0.0


def test_a_burst_passes_at_once_and_then_no_more_than_the_rate(name: str) -> None:
    begun = time.monotonic()
    passed = 0
    while time.monotonic() < begun + 1:
        passed += spend(name, rate=50, burst=20) == 0
    took = time.monotonic() - begun
    assert 20 <= passed <= 20 + 50 * took + 1


def test_what_is_larger_than_the_bucket_passes_and_is_paid_for_after(name: str) -> None:
    assert spend(name, rate=10, burst=10, cost=500) == 0
    wait = spend(name, rate=10, burst=10)
    assert 48 < wait <= 50


def test_whoever_waits_as_long_as_told_passes(name: str) -> None:
    assert spend(name, rate=20, burst=1) == 0
    while wait := spend(name, rate=20, burst=1):
        assert 0 < wait <= 0.2
        time.sleep(wait)


def test_one_name_says_nothing_of_another(name: str) -> None:
    assert spend(name, rate=0.1, burst=1, cost=10) == 0
    assert spend(name, rate=0.1, burst=1) > 0
    assert spend(name + "2", rate=0.1, burst=1) == 0


def test_buckets_that_are_full_again_are_forgotten(name: str) -> None:
    spend(name, rate=10, burst=5, cost=5)
    client = redis.Redis.from_url(rates.settings.REDIS_CACHE_URL)
    assert 0 < client.pttl(f"rate:{name}") <= 1500


def test_so_many_a_second_pass_and_not_more(name: str) -> None:
    begun = time.monotonic()
    for _ in range(6):
        pace(name, rate=20)
    assert time.monotonic() - begun >= 3 / 20


def test_whoever_would_have_to_wait_too_long_learns_it(name: str) -> None:
    assert pace(name, rate=1, longest_s=0.05)
    assert pace(name, rate=1, longest_s=0.05)  # what is left of the first one's moment lets it go into debt
    begun = time.monotonic()
    assert not pace(name, rate=1, longest_s=0.05)
    assert time.monotonic() - begun < 0.5


def test_without_redis_nothing_is_limited_and_nobody_waits_for_it(name: str, away: None) -> None:
    begun = time.monotonic()
    assert [spend(name, rate=0.001, burst=1) for _ in range(100)] == [0.0] * 100
    assert time.monotonic() - begun < 2
