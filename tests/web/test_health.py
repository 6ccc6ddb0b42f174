"""What an operator sees: /readyz, /metrics, the page of health, and what pages say when nobody works."""

import json
import logging
import re
import sys

import pytest
from django.core.cache import cache
from django.test import Client

from personas_site import health, logs, metrics, pipeline
from spaces import pulse
from spaces.models import Log
from tests.factories_audiences import World
from tests.factories_destinations import AudienceFactory, change, make_destination, make_subscription
from tests.factories_identity import archived, message, resolved
from tests.factories_sources import InboxFactory

pytestmark = pytest.mark.django_db
silent = pulse.silent  # before the fixtures of this folder say that nobody is


@pytest.fixture
def alone(monkeypatch):
    """No worker has ever answered."""
    monkeypatch.setattr(pulse, "silent", silent)
    cache.clear()


def figures(**headers):
    answer = Client().get("/metrics", headers=headers)
    assert answer.status_code == 200
    found = re.findall(r"^(personas_\w+(?:{[^}]*})?) ([\d.e+-]+)$", answer.content.decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


class TestWorkersThatAreDead:
    def test_make_the_installation_not_ready_until_each_has_answered(self, alone):
        assert Client().get("/readyz").json()["workers"] == "not ready"
        for name in (*pulse.QUEUES, pulse.BEAT):
            assert Client().get("/readyz").status_code == 503
            pulse.note(name)
        assert Client().get("/readyz").json()["workers"] == "ok"  # ClickHouse is asked, not taken for dead

    def test_are_named_on_every_page_and_stop_the_stage(self, alone, cast):
        for name in set(pulse.QUEUES) - {"resolve"} | {pulse.BEAT, pulse.CLICKHOUSE}:
            pulse.note(name)
        page = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/"
        text = " ".join(cast.browser("owner").get(page).content.decode().split())
        assert "no worker answers for resolve" in text
        assert text.count("No worker answers. What came in waits") == 1
        pulse.note("resolve")
        assert "no worker answers" not in cast.browser("owner").get(page).content.decode()

    def test_are_not_known_while_beat_is_dead(self, alone, cast):
        assert silent() == [pulse.BEAT]
        text = cast.browser("owner").get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/").content.decode()
        assert "beat, which wakes the workers, does not answer." in text
        assert text.count("No worker answers. What came in waits") == 4

    def test_are_asked_by_beat_and_answer_by_their_queue(self, alone, monkeypatch):
        asked = []
        monkeypatch.setattr(pipeline, "_asked", 0.0)
        monkeypatch.setattr(pipeline.answer, "apply_async", lambda args, queue, expires: asked.append((args, queue)))
        pipeline.beat()
        assert asked == [((queue,), queue) for queue in pipeline.QUEUES]
        assert set(silent()) == set(pulse.QUEUES)
        pipeline.answer("archive")
        assert set(silent()) == set(pulse.QUEUES) - {"archive"}
        pipeline.beat()
        assert len(asked) == len(pipeline.QUEUES)  # not again within five seconds

    def test_are_all_of_them_without_redis(self, alone, settings):
        settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:9/0"}}
        assert set(silent()) == {*pulse.QUEUES, pulse.BEAT}

    def test_are_those_of_the_line_of_stages(self):
        assert set(pulse.QUEUES) == set(pipeline.QUEUES)


class TestAClickHouseThatIsDead:
    def test_is_said_on_every_page_and_stops_every_stage(self, alone, cast, monkeypatch):
        pulse.note(pulse.BEAT)
        with monkeypatch.context() as patch:
            patch.setitem(health.CHECKS, "clickhouse", health.Check(lambda: 1 / 0, "ClickHouse", ""))
            for queue in pulse.QUEUES:
                pipeline.answer(queue)
        page = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/"
        text = " ".join(cast.browser("owner").get(page).content.decode().split())
        assert "it stands still: ClickHouse does not answer. <a" in text
        assert text.count("ClickHouse does not answer. What came in waits") == 4
        pipeline.answer("archive")
        assert "does not answer" not in cast.browser("owner").get(page).content.decode()


class TestMetrics:
    def test_tell_what_waits_and_what_fails(self, cast):
        InboxFactory.create_batch(3)
        Log.objects.create(
            workspace=cast.workspace,
            stage="resolve",
            partition=cast.space.pk,
            failures=4,
            failing_since="2026-01-01T00:00Z",
        )
        found = figures()
        assert found["personas_inbox_requests"] == 3
        assert found["personas_inbox_oldest_seconds"] > 0
        assert found['personas_stage_failing{stage="resolve"}'] == 1
        assert found['personas_stage_retries{stage="resolve"}'] == 4
        assert found['personas_stage_failing_seconds{stage="resolve"}'] > 3600
        assert found['personas_work_waiting{kind="archive"}'] == 3
        assert found['personas_up{part="postgresql"}'] == 1
        assert found['personas_worker_alive{queue="sync"}'] == 1
        assert found['personas_messages_total{outcome="archived"}'] == 0
        assert found['personas_queue_length{queue="archive"}'] >= 0
        assert sum(value for name, value in found.items() if name.startswith("personas_postgresql_connections")) >= 1

    def test_tell_how_far_each_stage_is_behind(self, cast):
        world = World(cast.space)
        source = world.source
        calm = figures()
        assert {calm[f'personas_stage_lag_batches{{stage="{stage}"}}'] for stage in metrics.LAGS} == {0}
        assert {calm[f'personas_stage_oldest_seconds{{stage="{stage}"}}'] for stage in ("resolve", "sync")} == {0}
        archived(source, message(userId="u1"))
        archived(source, message(userId="u2"))
        found = figures()
        assert found['personas_stage_lag_batches{stage="resolve"}'] == 2
        assert found['personas_stage_oldest_seconds{stage="resolve"}'] > 0
        resolved(cast.space)
        found = figures()
        assert found['personas_stage_lag_batches{stage="resolve"}'] == 0
        assert found['personas_stage_lag_batches{stage="evaluate"}'] > 0
        audience = AudienceFactory(space=cast.space)
        make_subscription(audience, make_destination(cast.space))
        change(audience, entered=[1])
        found = figures()
        assert found['personas_stage_lag_batches{stage="sync"}'] > 0
        assert found['personas_stage_oldest_seconds{stage="sync"}'] > 0

    @pytest.mark.parametrize("headers", [{"x-forwarded-for": "203.0.113.9"}, {"X-Forwarded-For": ""}])
    def test_are_not_told_through_a_proxy_without_a_token(self, headers):
        assert Client().get("/metrics", headers=headers).status_code == 404

    def test_are_told_to_whoever_has_the_token(self, settings):
        settings.METRICS_TOKEN = "s3cret"
        assert Client().get("/metrics").status_code == 404
        assert Client().get("/metrics", headers={"authorization": "Bearer wrong"}).status_code == 404
        assert figures(authorization="Bearer s3cret")

    def test_go_on_without_a_store(self, monkeypatch):
        def away():
            raise OSError("away")

        monkeypatch.setitem(health.CHECKS, "clickhouse", health.Check(away, "ClickHouse", ""))
        assert figures()['personas_up{part="clickhouse"}'] == 0


class TestThePageOfHealth:
    def test_is_for_whoever_is_signed_in(self, cast):
        assert Client().get("/health").status_code == 302
        assert "Everything works" in cast.browser("owner").get("/health").content.decode()

    def test_has_problems_first_with_what_to_do_and_names_no_tenant(self, cast):
        Log.objects.create(
            workspace=cast.workspace,
            stage="evaluate",
            partition=cast.space.pk,
            failures=2,
            failing_since="2026-01-01T00:00Z",
            fault=Log.Fault.CODE,
            error=f"KeyError in {cast.space.name}",
        )
        text = cast.browser("stranger").get("/health").content.decode()
        assert text.index("Stage evaluate") < text.index("PostgreSQL")
        assert "go back to the last release" in text
        assert cast.space.name not in text
        assert "KeyError" not in text

    def test_says_what_is_silent(self, alone, cast):
        pulse.note(pulse.BEAT)
        text = cast.browser("owner").get("/health").content.decode()
        assert "obody answers for archive, resolve, evaluate, bulk, sync" in text


class TestTheLog:
    def test_has_the_ids_of_the_request_the_workspace_and_the_task(self, cast):
        lines = []

        class Notes(logging.Handler):
            def emit(self, record):
                lines.append((logs.JsonLines().format(record), logs.Lines().format(record)))

        handler = Notes()
        logging.getLogger("django.request").addHandler(handler)
        try:
            page = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/aud_none"
            answer = cast.browser("owner").get(page, headers={"x-request-id": "from-the-proxy"})
        finally:
            logging.getLogger("django.request").removeHandler(handler)
        assert answer.status_code == 404
        assert answer["X-Request-Id"] == "from-the-proxy"
        as_json, as_line = lines[0]
        said = json.loads(as_json)
        assert (said["level"], said["logger"], said["request"]) == ("WARNING", "django.request", "from-the-proxy")
        assert said["workspace"] == cast.workspace.public_id
        assert as_line.endswith(f"[request=from-the-proxy workspace={cast.workspace.public_id}]")

    @pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b'])
    def test_takes_no_id_that_is_none(self, given):
        made = Client().get("/sign-in", headers={"x-request-id": given})["X-Request-Id"]
        assert re.fullmatch(r"[0-9a-f]{16}", made)

    def test_has_the_trace_of_an_error(self):
        try:
            raise KeyError("missing")
        except KeyError:
            record = logging.LogRecord("x", 40, "", 0, "broken %s", ("here",), sys.exc_info())
        said = json.loads(logs.JsonLines().format(record))
        assert said["message"] == "broken here"
        assert said["error"].endswith("KeyError: 'missing'")
