"""`manage.py prepare` says which store, or which setting of one, is not what it needs."""

import pytest
import redis
from django.conf import settings as configured
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.django_db(databases=["default", "owner"])


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("CLICKHOUSE_URL", "http://me:hunter2@127.0.0.1:9/x", "at CLICKHOUSE_URL does not answer (ConnectError)"),
        ("REDIS_CACHE_URL", "redis://:hunter2@127.0.0.1:9/0", "at REDIS_URL does not answer (ConnectionError)"),
        ("CLICKHOUSE_ENGINE", "ReplacingMergeTree", "CLICKHOUSE_ENGINE is 'ReplacingMergeTree', none of MergeTree, "),
        ("CLICKHOUSE_ENGINE", "MergeTre", "CLICKHOUSE_ENGINE is 'MergeTre'"),
    ],
)
def test_it_says_what_is_wrong(settings, setting, value, said):
    setattr(settings, setting, value)
    with pytest.raises(CommandError) as caught:
        call_command("prepare")
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_redis_that_drops_queues_is_refused():
    with redis.Redis.from_url(configured.REDIS_CACHE_URL) as store:
        before = store.config_get("maxmemory-policy")["maxmemory-policy"]
        store.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(CommandError, match="may drop queues"):
                call_command("prepare")
        finally:
            store.config_set("maxmemory-policy", before)
