"""`/metrics` for Prometheus: what each stage has to do and how it fares, and what the installation consists of.

Read from the stores at the moment of asking: whichever web process answers, the figures are those of the installation.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import redis
from django.conf import settings
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse
from kombu.exceptions import OperationalError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from personas_site import health
from personas_site.celery import app
from personas_site.pipeline import QUEUES, WORK
from sources.events import client
from sources.events.sql import join, sql
from spaces import pulse
from spaces.clock import clock
from spaces.disk_space import room
from spaces.lanes import QUERIES, lane
from spaces.needs import ANYONE, needs
from spaces.times import milliseconds

LOOPBACK = ("127.0.0.1", "::1")
# Of each stage but the first: how many batches of the stage before it the partition that is farthest behind has not
# taken; and for how many seconds its oldest work waits. Of resolve that is in the archive; of evaluate nobody keeps it.
LAGS = {
    "resolve": """
        SELECT max(l.published - c.piece), NULL FROM sources_connection c
        JOIN spaces_log l ON l.stage = 'archive' AND l.owner = c.source_id WHERE c.state = 'live'""",
    "evaluate": """
        SELECT max(t.piece - coalesce(e.touched, 0)), NULL FROM identity_touch t
        LEFT JOIN audiences_evaluation e USING (space_id) WHERE t.piece > coalesce(e.touched, 0)""",
    "sync": """
        SELECT max(c.tick - s.tick), max(extract(epoch FROM %(now)s - c.at)) FROM destinations_subscription s
        JOIN audiences_change c ON c.audience_id = s.audience_id AND c.tick > s.tick
        JOIN destinations_destination d ON d.id = s.destination_id
        WHERE s.enabled AND d.enabled AND s.deleted_at IS NULL""",
}
BEHIND = """
    SELECT c.workspace_id, c.source_id, c.piece FROM sources_connection c
    JOIN spaces_log l ON l.stage = 'archive' AND l.owner = c.source_id
    WHERE c.state = 'live' AND l.published > c.piece ORDER BY l.published - c.piece DESC LIMIT 20"""


@needs(ANYONE)
@lane(QUERIES)
def metrics(request: HttpRequest) -> HttpResponse:
    """For whoever has PERSONAS_METRICS_TOKEN; without that setting for this machine alone."""
    if settings.METRICS_TOKEN:
        given = request.headers.get("Authorization", "").partition(" ")[2]
        allowed = secrets.compare_digest(given.encode(), settings.METRICS_TOKEN.encode())
    else:  # a proxy on this machine passes on what others ask
        allowed = request.META.get("REMOTE_ADDR") in LOOPBACK and "X-Forwarded-For" not in request.headers
    if not allowed:
        raise Http404  # nobody is told that there is something to be had
    registry = CollectorRegistry()
    registry.register(StoresCollector(clock.now()))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class StoresCollector(Collector):
    def __init__(self, now: datetime) -> None:
        self.now = now

    def collect(self) -> Iterator[Metric]:
        yield _gauge("up", "Whether a part answers.", "part", {name: ok for name, (ok, _) in health.parts().items()})
        silent = pulse.silent()
        alive = {name: name not in silent for name in (*pulse.QUEUES, pulse.BEAT)}
        yield _gauge("worker_alive", "Whether a worker serves the queue.", "queue", alive)
        yield _gauge("disk_free_bytes", "Of the disk of embedded stores; 0 = elsewhere.", "", {"": room().free})
        sums = "coalesce(sum(archived), 0), coalesce(sum(doubled), 0), coalesce(sum(rejected), 0)"
        ((archived, duplicate, rejected),) = _rows(f"SELECT {sums} FROM sources_tally")
        counts = {"archived": archived, "duplicate": duplicate, "rejected": rejected}
        yield _counter("messages", "What became of messages.", "outcome", counts)
        refused = dict(_rows("SELECT code, sum(requests) FROM sources_refused GROUP BY code"))
        yield _counter("refused_requests", "Kept for 30 days, so they may fall.", "code", refused)
        age = "coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0)"
        size = "coalesce(sum(coalesce(length, octet_length(body))), 0)"
        ((requests, oldest, kept),) = _rows(f"SELECT count(*), {age}, {size} FROM sources_inbox WHERE NOT taken")
        yield _gauge("inbox_requests", "Accepted, and not in the archive yet.", "", {"": requests})
        yield _gauge("inbox_oldest_seconds", "Since the oldest of them came.", "", {"": float(oldest)})
        yield _gauge("inbox_bytes", "Of their bodies.", "", {"": kept})
        yield from self._stages()
        lengths: dict[str, float] = {}
        with suppress(OperationalError, redis.RedisError), app.connection_for_read() as broker:
            lengths = {queue: broker.default_channel.client.llen(queue) for queue in QUEUES}
        # Without Redis there are none; `up` says that it is away.
        yield _gauge("queue_length", "Wake-ups that wait.", "queue", lengths)
        state = (
            "SELECT coalesce(state, 'other'), count(*) FROM pg_stat_activity WHERE usename = current_user GROUP BY 1"
        )
        yield _gauge("postgresql_connections", "Of our roles.", "state", dict(_rows(state)))

    def _stages(self) -> Iterator[Metric]:
        rows = _rows(
            """SELECT stage, sum(published), count(*) FILTER (WHERE failures > 0), sum(failures),
                      coalesce(max(extract(epoch FROM clock_timestamp() - failing_since)), 0)
                 FROM spaces_log GROUP BY stage"""
        )
        yield _counter("stage_batches", "Committed.", "stage", {stage: done for stage, done, *_ in rows})
        for place, name, about in (
            (2, "stage_failing", "Partitions whose last attempt failed."),
            (3, "stage_retries", "Failed attempts in a row, over all of them."),
            (4, "stage_failing_seconds", "For how long the longest has failed."),
        ):
            yield _gauge(name, about, "stage", {row[0]: row[place] for row in rows})
        lags = {stage: _rows(statement, now=self.now)[0] for stage, statement in LAGS.items()}
        batches = {stage: behind or 0 for stage, (behind, _) in lags.items()}
        yield _gauge("stage_lag_batches", "Of the stage before, not taken by the slowest partition.", "stage", batches)
        # The oldest message that is archived, and not resolved in a space that listens. 0 = there is none.
        behind = [sql("(workspace = %s AND source = %s AND piece = %s + 1)", *row) for row in _rows(BEHIND)]
        oldest = sql("SELECT toUnixTimestamp64Milli(min(received_at)) FROM archive WHERE %s", join(" OR ", behind))
        unresolved = 0.0
        with suppress(Exception):  # `up` says that ClickHouse is away
            if behind:
                received_ms = client.rows(oldest, max_execution_time=2)[0][0]
                unresolved = max(0.0, (milliseconds(self.now) - received_ms) / 1000)
        ages = {"resolve": unresolved, "sync": float(lags["sync"][1] or 0)}
        yield _gauge("stage_oldest_seconds", "Since what waits longest at the stage came.", "stage", ages)
        waiting = {kind: len(set(work.waiting(self.now))) for kind, work in WORK.items()}
        yield _gauge("work_waiting", "Owners with something to do, by kind of work.", "kind", waiting)


def _gauge(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    return _filled(GaugeMetricFamily(f"personas_{name}", about, labels=[label] if label else []), values)


def _counter(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    return _filled(CounterMetricFamily(f"personas_{name}", about, labels=[label]), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([label] if label else [], float(value))
    return family


def _rows(statement: str, **values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        rows: list[Any] = cursor.fetchall()
        return rows
