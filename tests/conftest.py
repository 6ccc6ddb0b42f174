"""Stores for the tests that need them: real ones, embedded, in a folder of this run."""

import gc
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import Client, TransactionTestCase
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from benchmarks import prepared
from personas_site.embedded import services
from personas_site.embedded.paths import Paths
from personas_site.embedded.supervisor import Supervisor
from spaces import personal
from spaces.clock import FixedClock
from tests import contract

# How fast an example is made says how loaded the machine is, not what the code does.
hypothesis_settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("tests")


# Files go to processes as these come to be free. What waits (whole installations that are killed, flooded, restored)
# alternates with what computes, or both processors would idle at first and be fought for later; the longest go first.
WAITING = (
    *("flows/test_kills", "flows/test_backup", "flows/test_supervisor", "flows/test_quickstart", "flows/test_windows"),
    *("web/test_front_door", "flows/test_overload", "db/test_clickhouse_http", "flows/test_full_disk"),
    *("flows/test_bugs", "flows/test_chaos", "flows/test_clients", "flows/test_retention"),
)
COMPUTING = (
    *("web/test_browser", "web/test_journeys", "flows/test_scenarios", "web/test_hostile", "flows/test_oracle"),
    *("flows/test_vendors", "web/test_builder_browser", "db/test_sync", "web/test_matrix", "flows/test_sql_traits"),
    *("flows/test_audience_meaning", "flows/test_deletions", "flows/test_resolve_crashes"),
)
FIRST = [file for pair in zip(WAITING, COMPUTING, strict=True) for file in pair]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in pure/ open no socket."""
    places = {f"tests/{name}.py": place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))
    for item in items:
        if "/pure/" in str(item.path):
            item.add_marker(pytest.mark.disable_socket)


def pytest_collection_finish() -> None:
    """Thousands of tests and all that they import stay: the garbage collector need not go through them any more."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names of tests are the same in every process: bytes may hold the second they were made in, as gzip's do."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


def pytest_runtest_setup() -> None:
    """Nothing is masked: the last request of an earlier test may have been that of somebody who sees values masked."""
    personal.mask(False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed can go from one process to another: some print halves of surrogate pairs."""
    report = yield
    report.sections = [(name, text.encode(errors="replace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def stores() -> Iterator[None]:
    """PostgreSQL, ClickHouse and Valkey answer, and are empty."""
    # The real hasher takes a tenth of a second on purpose; what it does is tested in test_sign_in.py by name.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]
    settings.STORAGES = settings.STORAGES | {  # no manifest: no collectstatic before the tests
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    settings.RATELIMIT_ENABLE = False  # a test may try more often; test_accounts.py counts
    settings.WHITENOISE_AUTOREFRESH = True  # or every test client goes through all static files before it asks
    home = Path(settings.PERSONAS_HOME)
    prepared.prepare(home, dict(os.environ))
    # While a test may open no socket, the supervisor cannot ask either, and would end what it hears nothing of.
    never_silent = [replace(store, silent_within=None) for store in services.stores(Paths(home, os.environ))]
    with Supervisor(home, stores_only=True, stores=never_silent):
        yield
        connections.close_all()


# All rows but those that Django itself would put back. Not by TRUNCATE, as Django does: it makes new files for every
# table and index, hundreds of them, where a test wrote a dozen rows.
EMPTIED = """
    DO $$ DECLARE name text; BEGIN
        SET LOCAL session_replication_role = replica;  -- foreign keys are not looked at: everything goes
        FOR name IN SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'
                    AND tablename NOT IN ('django_migrations', 'django_content_type', 'auth_permission')
        LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
    END $$
"""


@pytest.fixture(scope="session")
def django_db_setup(stores: None, django_db_blocker: Any) -> Iterator[None]:
    """The tables exist, and the tests use them as the application does: as a role that owns nothing."""
    with django_db_blocker.unblock():
        call_command("prepare")
        connections["owner"].close()
    with closing(psycopg2.connect(settings.DATABASE_OWNER_URL)) as owner, pytest.MonkeyPatch.context() as patch:
        owner.autocommit = True
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda test: owner.cursor().execute(EMPTIED))
        yield


@pytest.fixture(autouse=True, scope="session")
def answers_are_as_described() -> Iterator[None]:
    """Whatever a test asks the API, the answer is as docs/openapi.json has it."""
    request = Client.request

    def asked(self: Client, **environ: Any) -> Any:
        answer = request(self, **environ)
        contract.check(environ["REQUEST_METHOD"], environ["PATH_INFO"], answer)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "request", asked)
        yield


@pytest.fixture
def clock() -> FixedClock:
    """Noon of a fixed day, until a test moves it."""
    return FixedClock(datetime(2026, 6, 15, 12, tzinfo=UTC))
