"""A tick costs what it concerns: whose members it reads, and what it asks of the events; with what is remembered."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audiences import backfill, evaluation, moments, queries
from audiences.models import Audience, Evaluation, Version
from identity.models import Identifier
from sources.events import client
from sources.models import Replay
from sources.services import connect
from spaces.batches import open_log
from tests.factories import SourceFactory
from tests.factories_audiences import World, restart
from tests.factories_identity import NOON, archived, message, resolved

pytestmark = pytest.mark.django_db

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SEEN = {"kind": "event", "name": "Seen", "within": {"days": 7}}
BRIEF = {"kind": "event", "name": "Seen", "within": {"minutes": 1}}


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


# the clock


def test_until_the_hour_is_over_nothing_is_asked_for_the_clock(world, asked):
    for number in range(3):
        world.did(f"u{number}", "Seen", ago=7 * DAY - number * MINUTE - MINUTE)
    new = world.audience("new", SEEN)
    world.computed()
    left = []
    for _ in range(3):
        asked.clear()
        world.later(MINUTE)
        left.append((len(world.members(new)), sum("groupArraySorted" in text for text in asked)))
    assert left == [(2, 0), (1, 0), (0, 0)]
    asked.clear()
    world.later(HOUR)
    assert sum("groupArraySorted" in text for text in asked) == 1


def test_another_process_finds_the_same_anew(world, asked):
    for number in range(3):
        world.did(f"u{number}", "Seen", ago=7 * DAY - number * MINUTE - MINUTE)
    new = world.audience("new", SEEN)
    world.computed()
    for left in ({"u1", "u2"}, {"u2"}, set()):
        restart()
        world.later(MINUTE)
        assert world.members(new) == left


def test_who_did_it_since_is_due_in_the_order_of_the_moments(world):
    world.did("u1", "Seen", ago=7 * DAY - MINUTE)
    new = world.audience("new", SEEN)
    world.computed()
    world.did("u3", "Seen", ago=7 * DAY - 3 * MINUTE)
    world.did("u2", "Seen", ago=7 * DAY - 2 * MINUTE)
    world.ticked()
    assert Evaluation.objects.get(space=world.space).next_at == NOON + MINUTE
    for left in ({"u2", "u3"}, {"u3"}, set()):
        world.later(MINUTE)
        assert world.members(new) == left


def test_who_did_it_in_the_tick_in_which_others_are_due_is_due_later(world):
    world.did("u1", "Seen", ago=7 * DAY - MINUTE)
    new = world.audience("new", SEEN)
    world.computed()
    world.clock.advance(MINUTE)
    world.did("u2", "Seen", ago=7 * DAY - MINUTE)
    world.ticked()
    assert world.members(new) == {"u2"}
    world.later(MINUTE)
    assert world.members(new) == set()


def test_who_did_it_is_remembered_while_the_one_who_asks_about_it_is_behind(world):
    new = world.audience("new", SEEN)
    world.audience("paid", {**SEEN, "name": "Paid"})
    world.computed()
    behind = {"state": Version.State.CATCHING_UP, "touched": 0, "clock_at": NOON, "tick": 0}
    Version.objects.filter(audience=new).update(**behind, retry_at=NOON + 5 * MINUTE)
    world.did("u1", "Seen", ago=7 * DAY - 10 * MINUTE)
    world.did("u1", "Paid")
    world.ticked()
    world.later(5 * MINUTE)
    assert world.members(new) == {"u1"}
    world.later(5 * MINUTE)
    assert world.members(new) == set()


def test_a_moment_that_passes_during_a_compute_is_noticed_though_the_others_are_past_it(world, monkeypatch):
    """Of an event that the compute has seen, and no tick before it."""
    world.did("u1", "Page Viewed")
    world.audience("other", BRIEF)
    world.computed()
    world.did("u1", "Seen", ago=50 * SECOND)
    brief = world.audience("brief", BRIEF)
    answer = queries.answer

    def slow(*args):
        members = answer(*args)
        monkeypatch.undo()
        world.later(10 * SECOND)
        return members

    monkeypatch.setattr(queries, "answer", slow)
    (version,) = backfill.computing(world.clock.now())
    backfill.compute(version, world.clock)
    world.ticked()
    assert world.members(brief) == set()


def test_what_a_replay_brought_is_due_as_well(world):
    new = world.audience("new", SEEN)
    world.did("u1", "Seen", ago=7 * DAY - 30 * MINUTE)
    world.computed()
    other = SourceFactory(workspace=world.space.workspace)
    archived(other, message(at=round(-(7 * DAY - 10 * MINUTE) / timedelta(milliseconds=1)), userId="u2", event="Seen"))
    connect(world.space, [other], clock=world.clock)
    resolved(world.space)
    assert not Replay.objects.filter(state=Replay.State.RUNNING).exists()
    world.ticked()
    assert world.members(new) == {"u1", "u2"}
    world.later(10 * MINUTE)
    assert world.members(new) == {"u1"}


@pytest.mark.parametrize("most", [1, 2])
def test_more_than_can_be_remembered_are_due_all_the_same(world, monkeypatch, most):
    """Several at one moment, too."""
    monkeypatch.setattr(evaluation, "MOST_MOMENTS", most)
    monkeypatch.setattr(evaluation, "LEAST_MOMENTS", most)
    for number in range(6):
        world.did(f"u{number}", "Seen", ago=7 * DAY - (number // 3 + 1) * MINUTE)
    new = world.audience("new", SEEN)
    world.computed()
    world.did("u6", "Seen", ago=7 * DAY - 3 * MINUTE)
    world.ticked()
    for left in ({"u3", "u4", "u5", "u6"}, {"u6"}, set()):
        world.later(MINUTE - SECOND)
        assert world.members(new) > left
        world.later(SECOND)
        assert world.members(new) == left


def test_whoever_becomes_one_person_with_another_is_due_by_the_events_of_both(world):
    world.sent(message(at=round(-(7 * DAY - MINUTE) / timedelta(milliseconds=1)), anonymousId="a1", event="Seen"))
    new = world.audience("new", SEEN)
    world.computed()
    world.sent(message("identify", anonymousId="a1", userId="u1"))
    world.ticked()
    assert world.members(new) == {"u1"}
    world.later(MINUTE)
    assert world.members(new) == set()


def test_a_tick_that_somebody_else_did_first_is_not_remembered(world, monkeypatch):
    """Its change sets may have gone before it read them."""
    new = world.audience("new", SEEN)
    world.computed()
    before = Evaluation.objects.get(space=world.space)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(moments, "_recent", moments.memory())
        world.did("u1", "Seen", ago=7 * DAY - MINUTE)
        world.ticked()
    world.did("u1", "Page Viewed")
    overtaken = evaluation.next_tick(world.space, before, world.clock)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(moments, "_recent", moments.memory())
        world.ticked()
    log = open_log(stage="evaluate", partition=world.space.pk, workspace_id=world.space.workspace_id)
    assert world.stage.prepare(log, overtaken, 99) is None
    world.later(MINUTE)
    assert world.members(new) == set()


# accounts


@pytest.fixture
def firm(world):
    """Ann, Bob and Cat of Acme, and an audience of people beside one of accounts."""
    world.sent(*[message("group", userId=user, groupId="acme") for user in ("ann", "bob", "cat")])
    world.audience("seen", SEEN)
    busy = world.audience("busy", {"kind": "event", "name": "Seen", "atLeast": 2}, of="accounts")
    world.computed()
    return busy


def test_whom_an_account_takes_to_be_judged_no_audience_of_people_reads(world, firm, monkeypatch):
    scopes = []
    ask = queries.members_sql

    def watched(scope, part, known):
        scopes.append((part[0].key, set(scope.numbers)))
        return ask(scope, part, known)

    monkeypatch.setattr(queries, "members_sql", watched)
    world.did("ann", "Seen")
    assert world.ticked() == 1
    numbers = dict(Identifier.objects.filter(space=world.space).values_list("value", "profile"))
    assert scopes == [("seen", {numbers["ann"]}), ("busy", set(numbers.values()))]
    world.did("bob", "Seen")
    world.ticked()
    assert len(queries.members(firm)) == 1


def test_what_concerns_no_account_asks_nobody_for_who_belongs_to_whom(world, firm, asked):
    world.did("dan", "Ordered")
    assert world.ticked() == 1
    asked.clear()
    world.did("dan", "Page Viewed")
    sqls = statements(world)
    assert asked == []
    assert [sql for sql in sqls if "identity_link" in sql] == []
