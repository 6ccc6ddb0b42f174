"""Is the process alive, and can the installation do its work? Nothing here names a tenant or a secret."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import redis
from django.conf import settings
from django.core.files.storage import storages
from django.db import connection
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from whitenoise.storage import CompressedManifestStaticFilesStorage

from access.requests import PageRequest
from spaces import pulse
from spaces.clock import clock
from spaces.disk_space import room
from spaces.models import Log
from spaces.needs import ANYONE, SIGNED_IN, needs

logger = logging.getLogger(__name__)
PATIENCE_S = 2.0


class NotReady(Exception):
    """Why, as anybody may read it. What a store's client raises may hold its password."""


def _postgresql() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _clickhouse() -> None:
    # Not by the client of the stages, which waits for minutes: a server that is stopped must be known in seconds.
    address = urlsplit(settings.CLICKHOUSE_URL)._replace(path="/", query="").geturl()
    httpx.post(address, content="SELECT 1", timeout=PATIENCE_S, trust_env=False).raise_for_status()


def _redis() -> None:
    with redis.Redis.from_url(
        settings.REDIS_CACHE_URL, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
    ) as store:
        store.ping()


def _disk() -> None:
    if not room().accepts:
        raise NotReady(str(room()))


def _workers() -> None:
    if silent := [name for name in pulse.silent() if name != pulse.CLICKHOUSE]:  # which has a check of its own
        raise NotReady(f"nobody answers for {', '.join(silent)}")


def _static_files() -> None:
    storage = storages["staticfiles"]
    hashed = isinstance(storage, CompressedManifestStaticFilesStorage)
    if hashed and not Path(storage.path("staticfiles.json")).exists():
        raise NotReady(f"there are none in {settings.STATIC_ROOT}")


@dataclass(frozen=True)
class Check:
    """advice: what whoever runs the installation does when it fails."""

    run: Callable[[], None]
    label: str
    advice: str


NEXT_RELEASE = "Look into the log, and go back to the last release or on to the next."
MEANWHILE = "Events are taken in meanwhile, and wait."
CHECKS = {
    "postgresql": Check(_postgresql, "PostgreSQL", "Start it, and look into its log. Senders are told to come back."),
    "clickhouse": Check(_clickhouse, "ClickHouse", f"Start it, and look into its log. {MEANWHILE}"),
    "redis": Check(_redis, "Redis or Valkey", "Start it. Nothing is lost with it: what waits is in PostgreSQL."),
    "disk": Check(_disk, "Disk", "Make room. Everything goes on by itself then."),
    "workers": Check(_workers, "Workers", f"Start those that are silent, and beat. {MEANWHILE}"),
    "static files": Check(_static_files, "Static files", "Run `manage.py prepare --static`: pages have no styles."),
}


@needs(ANYONE)
def livez(request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers."""
    return HttpResponse("ok", content_type="text/plain")


@needs(ANYONE)
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when every store answers, workers live and events are taken in, else 503; what is not ready is named."""
    answers = {name: "ok" if ok else "not ready" for name, (ok, _) in parts().items()}
    return JsonResponse(answers, status=200 if set(answers.values()) == {"ok"} else 503)


def parts() -> dict[str, tuple[bool, str]]:
    """By name of each part: whether it works, and why not."""
    outcomes = {}
    for name, check in CHECKS.items():
        try:
            check.run()
        except Exception as error:  # whatever it is, this part is not ready
            logger.warning("%s is not ready: %s", name, error)
            outcomes[name] = False, str(error) if isinstance(error, NotReady) else "it does not answer"
        else:
            outcomes[name] = True, ""
    return outcomes


@needs(SIGNED_IN)
def health(request: PageRequest) -> HttpResponse:
    """Each store, worker and stage, problems first, with what to do. About the installation, so it names no tenant."""
    rows: list[dict[str, Any]] = [
        {"label": CHECKS[name].label, "ok": ok, "why": why, "advice": CHECKS[name].advice}
        for name, (ok, why) in parts().items()
    ]
    try:
        for stage in failing_stages():
            code = stage["fault"] == Log.Fault.CODE
            why = "a fault of this release" if code else "a store that is away, or refuses"
            rows.append(
                {
                    "label": f"Stage {stage['stage']}",
                    "ok": False,
                    "why": f"{stage['count']} of its logs fail, by {why}",
                    "since": stage["since"],
                    "advice": NEXT_RELEASE if code else "It goes on by itself once the store does.",
                }
            )
    except Exception as error:  # PostgreSQL is away, as the first row says
        logger.warning("health: %s", error)
    context = {"rows": sorted(rows, key=lambda row: row["ok"]), "as_of": clock.now()}
    return render(request, "health.html", context)


def failing_stages() -> list[Any]:
    """By stage and fault: how many partitions fail, and since when."""
    failing = Log.objects.filter(failures__gt=0).values("stage", "fault")
    return list(failing.annotate(count=Count("pk"), since=Min("failing_since")).order_by("since"))
