"""ClickHouse's tables are migrated in order, again after an interruption, and refused when they are something else."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from audiences.conditions.event import place
from audiences.rules.operators import Question
from sources.events import client, migrate
from sources.events.properties import split
from sources.events.schema import TABLES
from sources.events.sql import Sql, sql

pytestmark = pytest.mark.django_db
FIRST_RELEASE = Path(__file__).parent.parent / "stored" / "event_tables_of_the_first_release.sql"
NAMES = [each.name for each in migrate.known()]
_databases = itertools.count(1)


@pytest.fixture
def database(settings):
    """An empty database of its own, in the same ClickHouse."""
    name = f"migrated_{next(_databases)}"
    client.run(Sql(f"CREATE DATABASE {name}"))
    here = settings.CLICKHOUSE_URL
    settings.CLICKHOUSE_URL = urlsplit(here)._replace(path=f"/{name}").geturl()
    yield name
    settings.CLICKHOUSE_URL = here
    client.run(Sql(f"DROP DATABASE {name}"))


@pytest.fixture
def first_release(database):
    """The tables as the first release made them, with a row."""
    text = "\n".join(line for line in FIRST_RELEASE.read_text().splitlines() if not line.startswith("--"))
    for statement in filter(str.strip, text.split(";")):
        client.run(Sql(statement))
    client.run(
        Sql('INSERT INTO timeline (workspace, event, properties_text) VALUES (1, \'Seen\', \'{"a":{"b":"x"}}\')')
    )


def names():
    return {name for (name,) in client.rows(Sql("SELECT name FROM schema_migrations"))}


def test_migrations_are_numbered_without_a_gap():
    assert [int(name[:4]) for name in NAMES] == list(range(1, len(NAMES) + 1))


def test_an_empty_store_gets_every_table_and_the_second_time_nothing(database):
    assert migrate.migrate() == NAMES
    assert {each.name for each in TABLES} <= {name for (name,) in client.rows(Sql("SHOW TABLES"))}
    assert migrate.migrate() == []
    assert names() == set(NAMES)


def test_the_tables_of_the_first_release_are_adopted_with_what_is_in_them(first_release):
    assert migrate.migrate() == NAMES
    assert client.rows(Sql("SELECT event, properties.a.b::String FROM timeline")) == [("Seen", "x")]


def test_lists_of_the_first_release_are_asked_like_new_ones(first_release):
    """Also those that the first release writes after the migration, while it still runs."""
    into = "INSERT INTO timeline (workspace, space, piece, profile, event, properties_text"
    old = f"{into}) VALUES (1, 1, 1, %s, 'Seen', %s)"
    new = f"{into}, lists) VALUES (1, 1, 1, %s, 'Seen', %s, %s)"
    told = {
        "cart": {"items": [{"sku": "a.b", "qty": 2}, {"sku": 'é"'}]},
        "tags": ["red", None],
        "mixed": [1, "x"],
        "n": 5,
    }
    client.run(sql(old, 1, json.dumps(told)))
    client.run(sql(old, 2, "{}"))
    migrate.migrate()
    client.run(sql(old, 3, json.dumps(told)))
    client.run(sql(new, 4, *(each.decode() for each in split(json.dumps(told).encode()))))
    asked = ["tags contains red", "tags[] equals red", "mixed[] equals x", "cart.items[].sku equals a.b"]
    asked += ['cart.items[].sku equals é"', "tags exists", "cart exists", "cart.items exists"]
    for each in asked:
        name, op, *value = each.split(" ")
        question = Question(name, op, *value)
        found = client.rows("SELECT profile FROM timeline WHERE space = 1 AND " + question.sql(place(name), 0))
        assert sorted(profile for (profile,) in found) == [1, 3, 4], each
    two = Question("cart.items[].qty", "greaterThan", 1).sql(place("cart.items[].qty"), 0)
    assert len(client.rows("SELECT profile FROM timeline WHERE space = 1 AND " + two)) == 3


def test_who_belongs_to_which_account_is_known_from_the_group_calls_that_are_there(first_release):
    into = "INSERT INTO profile_events (workspace, space, piece, position, profile, type, event) VALUES"
    calls = [(1, 3, 0, 7, "group"), (1, 3, 0, 9, "group"), (1, 3, 1, 9, "group"), (1, 4, 0, 7, "track")]
    calls += [(1, 5, 2, 8, "group"), (1, 5, 2, 9, "group"), (2, 5, 2, 9, "group")]  # of another space, too
    for space, piece, position, profile, type in calls:
        client.run(sql(f"{into} (1, %s, %s, %s, %s, %s, '')", space, piece, position, profile, type))
    for profile, kind in ((7, 1), (8, 1), (9, 2)):
        insert = "INSERT INTO profiles (workspace, space, piece, profile, kind, known) VALUES (1, 1, 3, %s, %s, 1)"
        client.run(sql(insert, profile, kind))
    migrate.migrate()
    rows = client.rows(Sql("SELECT space, piece, user, account FROM links ORDER BY piece"))
    assert rows == [(1, 3, 7, 9), (1, 5, 8, 9)]


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("beginning", ["database", "first_release"])
def test_a_migration_that_was_interrupted_anywhere_is_done_again_whole(beginning, request):
    """Before and after each statement, over and over in the same store: each time it gets one further."""
    request.getfixturevalue(beginning)
    for reached in itertools.count():
        left = reached

        def run(statement):
            nonlocal left
            if left == 0:
                raise Interrupted
            left -= 1
            found = migrate._run(statement)
            if left == 0:
                raise Interrupted
            return found

        try:
            migrate.migrate(run)
        except Interrupted:
            continue
        break
    assert reached > len(NAMES)
    assert names() == set(NAMES)
    migrate.check()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("DROP TABLE traits", "the table traits is missing"),
        ("ALTER TABLE timeline DROP COLUMN source", "timeline has no column source"),
        ("ALTER TABLE archive RENAME COLUMN event TO named", "archive has no column event"),
        ("ALTER TABLE profiles MODIFY COLUMN known UInt16", "profiles.known is UInt16, not UInt8"),
        ("ALTER TABLE timeline MODIFY COLUMN properties REMOVE DEFAULT", "timeline.properties is JSON"),
        (
            "CREATE OR REPLACE TABLE overlay AS overlay ENGINE = MergeTree ORDER BY (workspace, loser)",
            "overlay is ordered by (workspace, loser), not (workspace, space, loser, piece)",
        ),
        (
            "CREATE OR REPLACE TABLE overlay AS overlay ENGINE = ReplacingMergeTree"
            " ORDER BY (workspace, space, loser, piece)",
            "overlay has the engine ReplacingMergeTree",
        ),
        (
            "CREATE OR REPLACE TABLE delivery_log AS delivery_log ENGINE = MergeTree PARTITION BY tuple()"
            " ORDER BY (workspace, subscription, piece, position)",
            "delivery_log is partitioned by (tuple()), not (toYYYYMM(at))",
        ),
        ("DELETE FROM schema_migrations WHERE name = '0001_tables'", "0001_tables has not been applied"),
        ("DROP TABLE schema_migrations", "0001_tables has not been applied"),
        ("INSERT INTO schema_migrations (name) VALUES ('9999_later')", "newer release of Personas (9999_later)"),
    ],
)
def test_a_table_that_is_not_what_the_code_needs_is_refused(database, change, complaint):
    migrate.migrate()
    client.run(Sql(change))
    with pytest.raises(migrate.SchemaError) as refusal:
        migrate.check()
    assert complaint in str(refusal.value)


def test_a_column_of_the_operators_own_does_no_harm(database):
    migrate.migrate()
    client.run(Sql("ALTER TABLE delivery_log ADD COLUMN day Date MATERIALIZED toDate(at)"))
    assert migrate.migrate() == []


def test_a_newer_store_is_left_as_it_is(database):
    client.run(Sql("CREATE TABLE schema_migrations (name String) ENGINE = MergeTree ORDER BY name"))
    client.run(Sql("INSERT INTO schema_migrations VALUES ('9999_later')"))
    with pytest.raises(migrate.SchemaError, match="start that one"):
        migrate.migrate()
    assert client.rows(Sql("SHOW TABLES")) == [("schema_migrations",)]


def test_prepare_refuses_with_one_sentence(database, settings):
    migrate.migrate()
    client.run(Sql("ALTER TABLE timeline DROP COLUMN source, DROP COLUMN message_id"))
    done = subprocess.run(
        [sys.executable, "manage.py", "prepare"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"CLICKHOUSE_URL": settings.CLICKHOUSE_URL},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "CommandError: ClickHouse's tables are not what this release needs: timeline has no column source; timeline has"
        " no column message_id."
    )


@pytest.mark.parametrize("engine", ["MergeTree", "MergeTree()"])
def test_the_engine_is_a_setting(database, settings, engine):
    settings.CLICKHOUSE_ENGINE = engine
    assert migrate.migrate() == NAMES
