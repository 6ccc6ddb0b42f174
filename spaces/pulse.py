"""Which workers live: each answers when beat asks, every few seconds; who has not for a while is taken for dead.

A worker that answers asks ClickHouse in turn, so that pages need not, and know within a minute, too.
"""

import redis
from django.core.cache import cache

EVERY_S = 5.0
SILENT_S = 40  # a turn may take a while, and pages are to say so within a minute
BEAT = "beat"
QUEUES = ("archive", "resolve", "evaluate", "bulk", "sync")
CLICKHOUSE = "ClickHouse"


def note(name: str) -> None:
    """A worker of this queue, beat, or ClickHouse lives."""
    cache.set(_key(name), 1, SILENT_S)


def silent() -> list[str]:
    """The queues that no worker serves; beat alone when it is, since it asks the others; ClickHouse alone when it is.

    All queues and beat when Redis is away: nobody hears of work then.
    """
    names = (*QUEUES, BEAT, CLICKHOUSE)
    try:
        alive = cache.get_many(map(_key, names))
    except redis.RedisError:
        return [*QUEUES, BEAT]
    dead = [name for name in names if _key(name) not in alive]
    if BEAT in dead:
        return [BEAT]
    return [name for name in dead if name != CLICKHOUSE] or dead


def _key(name: str) -> str:
    return f"pulse:{name}"
