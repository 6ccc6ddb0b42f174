"""Which workers live: each answers when beat asks, every few seconds; who has not for a while is taken for dead."""

import redis
from django.core.cache import cache

EVERY_S = 5.0
SILENT_S = 40  # a turn may take a while, and pages are to say so within a minute
BEAT = "beat"
QUEUES = ("archive", "resolve", "evaluate", "bulk", "sync")


def note(name: str) -> None:
    """A worker of this queue, or beat, lives."""
    cache.set(_key(name), 1, SILENT_S)


def silent() -> list[str]:
    """The queues that no worker serves, and beat; all of them when Redis is away, since nobody hears of work then."""
    names = (*QUEUES, BEAT)
    try:
        alive = cache.get_many(map(_key, names))
    except redis.RedisError:
        return list(names)
    return [name for name in names if _key(name) not in alive]


def _key(name: str) -> str:
    return f"pulse:{name}"
