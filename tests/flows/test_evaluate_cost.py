"""A tick costs what it concerns: whose members it reads, and what it asks of the events."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audiences.models import Audience
from sources.events import client
from tests.factories_audiences import World

pytestmark = pytest.mark.django_db

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
SEEN = {"kind": "event", "name": "Seen", "within": {"days": 7}}


@pytest.fixture
def world():
    return World()


@pytest.fixture
def asked(monkeypatch):
    """The statements to ClickHouse."""
    statements = []
    for name in ("rows", "bitmaps"):
        ask = getattr(client, name)
        monkeypatch.setattr(
            client, name, lambda query, ask=ask, **limits: statements.append(query.text) or ask(query, **limits)
        )
    return statements


def statements(world):
    """Those to PostgreSQL of the next tick."""
    with CaptureQueriesContext(connection) as captured:
        assert world.ticked() == 1
    return [query["sql"] for query in captured]


def of_members(sqls):
    return [sql for sql in sqls if '"snapshot"' in sql or '"computed"' in sql or 'SELECT "audiences_change"' in sql]


# members and definitions


def test_members_are_read_only_of_whom_something_concerns(world):
    world.did("u1", "Ordered")
    world.audience("other", {"kind": "event", "name": "Ordered"})
    concerned = world.audience("concerned", SEEN)
    world.computed()
    world.did("u1", "Seen")
    read = [sql for sql in of_members(statements(world)) if "UPDATE" not in sql]
    assert read
    assert all(f"IN ({concerned.pk})" in sql or f'"audience_id" = {concerned.pk} ' in sql for sql in read)
    assert world.members(concerned) == {"u1"}


def test_members_are_read_of_what_those_that_are_concerned_ask_about(world):
    world.did("u1", "Ordered")
    buyers = world.audience("buyers", {"kind": "event", "name": "Ordered"})
    world.audience("other", {"kind": "event", "name": "Ordered"})
    both = world.audience("both", {"all": [SEEN, {"kind": "audience", "key": "buyers"}]})
    world.computed()
    world.did("u1", "Seen")
    read = [sql for sql in of_members(statements(world)) if "serving_id" in sql and "UPDATE" not in sql]
    assert [sql.count(f"IN ({pk})") for sql, pk in zip(read, (both.pk, buyers.pk), strict=True)] == [1, 1]
    assert world.members(both) == {"u1"}


def test_a_tick_that_concerns_nobody_reads_no_members_and_no_definitions_in_so_many_statements(world, asked):
    world.did("u1", "Ordered")
    counts = []
    for number in range(6):
        definition = {"any": [SEEN, {"kind": "computed", "name": "orders", "op": "atLeast", "value": number}]}
        if number == 0:
            trait = world.audience("orders", {"kind": "event_counter", "name": "Ordered"}, kind=Audience.Kind.TRAIT)
            definition = SEEN
        world.audience(f"a{number}", definition)
        world.computed()
        world.did("u1", "Page Viewed")
        asked.clear()
        sqls = statements(world)
        assert of_members(sqls) == []
        assert [sql for sql in sqls if '"definition"' in sql] == []
        assert asked == []
        counts.append(len(sqls))
    assert set(counts) == {counts[0]}
    assert trait.versions.get().state == "live"


def test_a_definition_that_asks_about_a_trait_follows_the_trait(world):
    """Also when nobody gave it a new version for that."""
    world.did("u1", "Ordered")
    trait = world.audience("orders", {"kind": "event_counter", "name": "Ordered"}, kind=Audience.Kind.TRAIT)
    often = world.audience("often", {"kind": "computed", "name": "orders", "op": "atLeast", "value": 2})
    world.computed()
    world.version(trait, {"kind": "event_counter", "name": "Seen"})
    for event in ("Ordered", "Seen", "Seen"):
        world.did("u1", event)
        world.ticked()
        assert world.members(often) == world.asked(often)
    assert world.members(often) == {"u1"}


def test_an_audience_whose_history_begins_elsewhere_has_another_definition(world):
    ordered = world.audience("ordered", {"kind": "event", "name": "Ordered", "atLeast": 2})
    world.computed()
    world.did("u1", "Ordered")
    world.ticked()
    world.clock.advance(MINUTE)
    Audience.objects.update(events_since=world.clock.now() - SECOND)
    world.did("u1", "Ordered")
    world.ticked()
    assert world.members(ordered) == set()
