"""One workspace's rates and the cost of its statements, on the real collect and engine."""

import json
from typing import Any
from uuid import uuid4

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from django.test import Client

from sources.collect import forget_write_keys
from sources.events import client
from sources.events.sql import Sql
from sources.models import Inbox, Source, WriteKey
from spaces.limits import Limits, asking, working
from tests.factories import SourceFactory
from tests.factories_sources import track

pytestmark = pytest.mark.django_db
HEAVY = Sql("SELECT count() FROM (SELECT number AS n FROM numbers(20000000) GROUP BY n)")


@pytest.fixture(autouse=True)
def fresh() -> None:
    forget_write_keys()
    asking("")


def limited(settings: Any, **limits: Any) -> None:
    settings.LIMITS = Limits(json.dumps(limits))


def source_with_key() -> tuple[Source, str]:
    """With numbers that no test before had: buckets outlive a test."""
    source = SourceFactory(pk=uuid4().int % 2**60)
    key = WriteKey.objects.filter(source=source).first() or WriteKey.objects.create(
        source=source, workspace=source.workspace, key=uuid4().hex
    )
    return source, key.key


def send(key: str, events: int) -> Any:
    body = {"writeKey": key, "batch": [track() for _ in range(events)]}
    return Client().post("/v1/batch", body, content_type="application/json")


def test_a_source_over_its_rate_hears_when_to_come_again_and_nothing_is_kept(settings: Any) -> None:
    limited(settings, source={"events_per_second": 2})
    source, key = source_with_key()
    _, other_key = source_with_key()
    assert send(key, 30).status_code == 200  # more than may come at once: it is paid for afterwards
    answer = send(key, 1)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
    assert 9 <= int(answer.headers["Retry-After"]) <= 12
    assert Inbox.objects.filter(source=source).count() == 1
    assert send(other_key, 1).status_code == 200


def test_a_workspaces_rate_is_over_all_its_sources_and_no_others(settings: Any) -> None:
    source, key = source_with_key()
    sibling, sibling_key = source_with_key()
    Source.objects.filter(pk=sibling.pk).update(workspace=source.workspace)
    limited(settings, **{source.workspace.public_id: {"events_per_second": 1}})
    _, strangers_key = source_with_key()
    assert send(key, 20).status_code == 200
    assert send(sibling_key, 1).status_code == 429
    assert send(strangers_key, 500).status_code == 200
    assert send(strangers_key, 500).status_code == 200


def test_a_statement_costs_no_more_than_its_workspace_may_take(settings: Any) -> None:
    limited(settings, ask={"memory_mb": 50}, work={"memory_mb": 0}, wsp_small={"work": {"memory_mb": 50}})
    asking("wsp_any")
    with pytest.raises(DatabaseError, match="memory limit"):
        client.rows(HEAVY)
    with working("wsp_any"):
        assert client.rows(HEAVY) == [(20_000_000,)]
    with working("wsp_small"), pytest.raises(DatabaseError, match="memory limit"):
        client.rows(HEAVY)


def test_a_statements_own_limit_holds_where_it_is_the_lower_one(settings: Any) -> None:
    limited(settings, ask={"seconds": 30, "memory_mb": 0})
    asking("wsp_any")
    told = Sql("SELECT toInt64(getSetting('max_execution_time'))")
    assert client.rows(told, max_execution_time=7) == [(7,)]
    assert client.rows(told, max_execution_time=60) == [(30,)]
    assert client.rows(told) == [(30,)]
