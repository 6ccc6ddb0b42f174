"""Rates that hold over all processes: token buckets in Redis. Without Redis there is no limit."""

import logging
import time
from functools import cache

import redis
from django.conf import settings

logger = logging.getLogger(__name__)

# A bucket may go into debt, so that what is larger than it passes at all; then it is longer until it is in credit.
# In one step on the server, by the server's clock, whole and right however many ask at once.
TAKE = """
local rate, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(burst, (tonumber(kept[1]) or burst) + math.max(0, now - (tonumber(kept[2]) or now)) * rate)
local wait = 0
if tokens > 0 then tokens = tokens - cost else wait = (1 - tokens) / rate end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / rate * 1000) + 1000)
return tostring(wait)
"""
LONGEST_PAUSE_S = 1.0
AWAY_FOR_S = 1.0  # so long nobody asks a Redis that did not answer

_away_until = 0.0


def spend(name: str, *, rate: float, burst: float, cost: float = 1) -> float:
    """0.0 and it is spent, or the seconds to wait until something can be. rate: a second. burst: at once."""
    global _away_until
    if time.monotonic() < _away_until:
        return 0.0
    try:
        return float(_take()(keys=[f"rate:{name}"], args=[rate, burst, cost]))
    except redis.RedisError as error:
        _away_until = time.monotonic() + AWAY_FOR_S
        logger.warning("rates are not limited: %s", error)
        return 0.0


def pace(name: str, *, rate: float, longest_s: float = LONGEST_PAUSE_S) -> bool:
    """Whether now is a time for one more, at so many a second. Waits for it, and no longer than about `longest_s`."""
    give_up = time.monotonic() + longest_s
    while wait := spend(name, rate=rate, burst=1):
        left = give_up - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(wait, LONGEST_PAUSE_S, left))
    return True


@cache
def _take() -> "redis.commands.core.Script":
    client = redis.Redis.from_url(settings.REDIS_CACHE_URL, socket_timeout=1, socket_connect_timeout=1)
    return client.register_script(TAKE)
