"""SQL traits: what a warehouse says of people is sent when it changes, and audiences follow."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings

from access.services import COMMAND, NotPossible
from audiences import sql_runs, sql_traits
from audiences.models import SqlRun, SqlTrait, SqlValue
from audiences.rules.sql_rows import RowsError
from audiences.warehouses import postgresql
from identity.models import Identifier, Profile
from sources import services as sources
from sources.archive import STAGE as ARCHIVE
from sources.models import Inbox
from spaces.batches import advance, open_log
from tests import warehouses
from tests.factories_audiences import World
from tests.factories_identity import resolved

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)
QUERY = "SELECT user_id, tier, spent FROM people"
GOLD = {"kind": "sql_trait", "name": "tier", "op": "equals", "value": "gold"}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A warehouse with three people, of whom the space knows two."""
    with warehouses.postgresql() as place:
        warehouses.allow(monkeypatch, place)
        warehouses.execute(place, "CREATE TABLE people (user_id text, tier text, spent numeric, seen timestamptz)")
        people = "('u1', 'gold', 12.50, now()), ('u2', NULL, 3, now()), ('u9', 'gold', 1, now())"
        warehouses.execute(place, f"INSERT INTO people VALUES {people}")
        yield place


def sql_trait(world: World, shop: dict[str, Any], query: str = QUERY, **more: Any) -> SqlTrait:
    for user in ("u1", "u2", "u3"):
        world.did(user, "Seen")
    warehouse = warehouses.make_warehouse(world.space, shop)
    return sql_traits.create_sql_trait(
        world.space, warehouse=warehouse, name="Tiers", query=query, clock=world.clock, by=COMMAND, **more
    )


def ran(world: World, trait: SqlTrait) -> SqlRun:
    """After its next run, and after everything that follows from it."""
    SqlTrait.objects.filter(pk=trait.pk).update(next_at=world.clock.now())
    assert sql_runs.run(trait.pk, world.clock)
    run = SqlRun.objects.filter(sql_trait=trait).latest("pk")
    source = SqlTrait.objects.get(pk=trait.pk).source
    log = open_log(stage="archive", partition=source.pk, workspace_id=source.workspace_id)
    while advance(ARCHIVE, log):
        pass
    world.clock.advance(timedelta(minutes=1))
    resolved(world.space)
    world.ticked()
    return run


def traits(world: World) -> dict[str, dict[str, Any]]:
    """By user id."""
    profiles = Profile.objects.filter(space=world.space, merged_into=None)
    names = dict(Identifier.objects.filter(space=world.space, type="user_id").values_list("profile", "value"))
    return {names[profile.number]: profile.traits for profile in profiles if profile.traits}


def test_what_the_warehouse_says_is_a_trait_and_audiences_follow(world: World, shop: dict[str, Any]) -> None:
    trait = sql_trait(world, shop)
    audience = world.audience("gold", GOLD)
    world.computed()
    run = ran(world, trait)
    assert (run.state, run.rows, run.unknown, run.changed, run.nulled) == ("done", 3, 1, 2, 0)
    assert traits(world) == {"u1": {"tier": "gold", "spent": 12.5}, "u2": {"spent": 3}}
    assert world.members(audience) == {"u1"}
    warehouses.execute(shop, "UPDATE people SET tier = 'gold' WHERE user_id = 'u2'")
    run = ran(world, trait)
    assert (run.changed, run.nulled) == (1, 0)
    assert world.members(audience) == {"u1", "u2"}
    assert ran(world, trait).changed == 0


def test_whoever_vanishes_or_whose_column_goes_loses_the_value(world: World, shop: dict[str, Any]) -> None:
    trait = sql_trait(world, shop, most_nulled=50)
    ran(world, trait)
    warehouses.execute(shop, "DELETE FROM people WHERE user_id = 'u2'")
    assert (ran(world, trait).nulled, traits(world)) == (1, {"u1": {"tier": "gold", "spent": 12.5}})
    sql_traits.change_sql_trait(trait, query="SELECT user_id, tier FROM people", clock=world.clock, by=COMMAND)
    assert (ran(world, trait).changed, traits(world)) == (1, {"u1": {"tier": "gold"}})


def test_a_run_that_would_null_many_asks_first(world: World, shop: dict[str, Any]) -> None:
    trait = sql_trait(world, shop)
    ran(world, trait)
    warehouses.execute(shop, "DELETE FROM people")
    for _ in range(2):  # and goes on asking
        run = ran(world, trait)
        assert (run.state, run.nulled) == ("held", 2)
        assert "2 of 2 people" in run.error
    assert set(traits(world)) == {"u1", "u2"}
    sql_traits.run_now(trait, approved=True, clock=world.clock, by=COMMAND)
    assert ran(world, trait).state == "done"
    assert traits(world) == {}
    assert not SqlTrait.objects.get().approved  # once


def test_whoever_becomes_known_gets_what_was_left_out(world: World, shop: dict[str, Any]) -> None:
    trait = sql_trait(world, shop)
    ran(world, trait)
    world.did("u9", "Seen")
    run = ran(world, trait)
    assert (run.unknown, run.changed) == (0, 1)
    assert traits(world)["u9"] == {"tier": "gold", "spent": 1}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT tier FROM people", "No column says whom a row is about"),
        ("SELECT user_id FROM people", "Beside user_id"),
        ("SELECT user_id, tier, seen AS anonymous_id FROM people", "not be both"),
        ("SELECT user_id, tier FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT user_id, tier FROM people UNION ALL SELECT 'u1', 'x'", "Two rows are about the user_id u1"),
        ("SELECT nullif(user_id, 'u2') AS user_id, tier FROM people", "has no user_id"),
        ("DELETE FROM people RETURNING user_id, tier", "syntax error"),
        ("SELECT user_id, tier FROM people) AS a; DROP TABLE people; SELECT * FROM (SELECT 1", "read-only"),
        (f"SELECT user_id, {', '.join(f'{n} AS c{n}' for n in range(25))} FROM people", "at most 25"),
        ("SELECT user_id, pg_sleep(9)::text AS tier FROM people", "statement timeout"),
        ("SELECT n::text AS user_id, n FROM generate_series(1, 12) AS n", "more than 10 rows"),
    ],
)
def test_what_cannot_be_used_says_why_and_sends_nothing(
    world: World, shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch, query: str, words: str
) -> None:
    monkeypatch.setattr(sql_runs, "LONGEST_S", 1)
    monkeypatch.setattr(django_settings, "SQL_TRAIT_ROWS", 10)
    trait = sql_trait(world, shop, query)
    run = ran(world, trait)
    assert run.state == "failed"
    assert words in run.error
    assert traits(world) == {}
    warehouses.execute(shop, "SELECT * FROM people")
    assert SqlTrait.objects.get().next_at > world.clock.now()  # it is tried again as its schedule says


def test_a_run_that_was_killed_is_run_again_and_says_nothing_twice(
    world: World, shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trait = sql_trait(world, shop)
    with monkeypatch.context() as killed:
        killed.setattr(sql_runs, "_note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sql_runs.run(trait.pk, world.clock)
    assert not Inbox.objects.filter(source=trait.source).exists()
    assert not SqlValue.objects.exists()
    assert sql_runs.due(world.clock.now()) == []  # somebody has it
    world.clock.advance(sql_runs.CLAIMED_FOR + timedelta(seconds=1))
    run = ran(world, trait)
    assert (run.state, run.changed) == ("done", 2)
    assert SqlRun.objects.filter(sql_trait=trait, state="failed", error__contains="broke off").count() == 1


def test_a_private_address_is_not_asked(world: World, shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    trait = sql_trait(world, shop)
    monkeypatch.setattr(django_settings, "OUTBOUND_ALLOW", [])  # it was allowed when it was saved
    assert "private network" in ran(world, trait).error


def test_no_error_says_the_password(world: World, shop: dict[str, Any]) -> None:
    secret = "correct-horse"
    trait = sql_trait(world, shop | {"password": secret, "user": secret})
    run = ran(world, trait)
    assert run.state == "failed"
    assert secret not in run.error


def test_a_preview_marks_who_is_known_and_changes_nothing(world: World, shop: dict[str, Any]) -> None:
    trait = sql_trait(world, shop)
    preview = sql_traits.preview_sql(trait.warehouse, "SELECT lower(user_id) || '@x.org' AS email, spent FROM people;")
    assert (preview.id, preview.traits) == ("email", ["spent"])
    assert (preview.rows[0].identifier, preview.rows[0].known) == ("u1@x.org", False)
    preview = sql_traits.preview_sql(trait.warehouse, QUERY + " -- who")
    assert {row.identifier: row.known for row in preview.rows} == {"u1": True, "u2": True, "u9": False}
    with pytest.raises(RowsError, match="syntax error"):
        sql_traits.preview_sql(trait.warehouse, "SELEC 1")
    assert not SqlRun.objects.exists()


def test_clickhouse_is_a_warehouse(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    place = warehouses.clickhouse()
    warehouses.allow(monkeypatch, place)
    for user in ("u1", "u2"):
        world.did(user, "Seen")
    warehouse = warehouses.make_warehouse(world.space, place, "clickhouse")
    assert sql_traits.test_warehouse(warehouse) == ""
    trait = sql_traits.create_sql_trait(
        world.space,
        warehouse=warehouse,
        name="Numbers",
        query="SELECT concat('u', toString(number)) AS user_id, toDecimal32(number, 2) AS n, [n] AS l FROM numbers(3)",
        clock=world.clock,
        by=COMMAND,
    )
    assert ran(world, trait).error == ""
    assert traits(world) == {"u1": {"n": 1, "l": [1]}, "u2": {"n": 2, "l": [2]}}
    trait.query = "INSERT INTO numbers SELECT 1"
    for query, words in (("SELECT * FROM nowhere", "nowhere"), ("SELECT 1; SELECT 2", "yntax")):
        with pytest.raises(RowsError, match=words):
            sql_traits.preview_sql(warehouse, query)


def test_a_warehouse_that_is_asked_cannot_be_deleted(world: World, shop: dict[str, Any]) -> None:
    trait = sql_trait(world, shop)
    ran(world, trait)
    with pytest.raises(NotPossible, match="Tiers"):
        sql_traits.delete_warehouse(trait.warehouse, by=COMMAND)
    sql_traits.delete_sql_trait(trait, by=COMMAND)
    assert not SqlValue.objects.exists()
    sql_traits.delete_warehouse(trait.warehouse, by=COMMAND)
    assert set(traits(world)) == {"u1", "u2"}


def test_after_its_source_was_deleted_everything_is_said_again_by_another(world: World, shop: dict[str, Any]) -> None:
    trait = sql_trait(world, shop)
    ran(world, trait)
    first = SqlTrait.objects.get().source
    sources.delete_source(first, by=COMMAND)
    run = ran(world, trait)
    assert (run.state, run.changed) == ("done", 2)
    assert SqlTrait.objects.get().source != first
    assert set(traits(world)) == {"u1", "u2"}


def test_slow_warehouses_leave_threads_to_destinations(world: World, shop: dict[str, Any]) -> None:
    trait = sql_trait(world, shop)
    taken = [sql_runs._slots.acquire(blocking=False) for _ in range(sql_runs.MOST_AT_ONCE)]
    try:
        assert not sql_runs.run(trait.pk, world.clock)
        assert not SqlRun.objects.exists()
    finally:
        for _ in filter(None, taken):
            sql_runs._slots.release()
    assert ran(world, trait).state == "done"


def test_a_warehouse_that_is_silent_keeps_nobody_for_ever(
    world: World, shop: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own limit is not reached: it is the network that has gone."""
    monkeypatch.setattr(sql_runs, "LONGEST_S", 1)
    monkeypatch.setattr(postgresql, "GRACE_S", 0.0)
    connect = postgresql.connect
    monkeypatch.setattr(postgresql, "connect", lambda settings, timeout_s, options: connect(settings, 60, options))
    trait = sql_trait(world, shop, "SELECT user_id, pg_sleep(60)::text AS tier FROM people")
    began = time.monotonic()
    assert ran(world, trait).state == "failed"
    assert time.monotonic() - began < 30
