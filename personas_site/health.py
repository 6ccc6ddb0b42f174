"""Is the process alive, and can it do its work? Both answer without a sign-in and name no secret."""

import logging
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from sources.events.client import client
from spaces.disk_space import room
from spaces.needs import ANYONE, needs

logger = logging.getLogger(__name__)
PATIENCE_S = 2.0


def _postgresql() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _clickhouse() -> None:
    client().query("SELECT 1")


def _redis() -> None:
    with redis.Redis.from_url(
        settings.REDIS_CACHE_URL, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
    ) as store:
        store.ping()


def _disk() -> None:
    if not room().accepts:
        raise OSError(str(room()))


CHECKS: dict[str, Callable[[], None]] = {
    "postgresql": _postgresql,
    "clickhouse": _clickhouse,
    "redis": _redis,
    "disk": _disk,
}


@needs(ANYONE)
def livez(request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers."""
    return HttpResponse("ok", content_type="text/plain")


@needs(ANYONE)
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when every store answers and events are taken in, else 503; what is not ready is named, the log says why."""
    parts = {name: _answers(name, check) for name, check in CHECKS.items()}
    return JsonResponse(parts, status=200 if set(parts.values()) == {"ok"} else 503)


def _answers(name: str, check: Callable[[], None]) -> str:
    try:
        check()
    except Exception as error:  # whatever it is, this part is not ready
        logger.warning("readyz: %s: %s", name, error)
        return "not ready"
    return "ok"
