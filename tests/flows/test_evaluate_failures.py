"""What the engine cannot answer, and what this release cannot read: it stops nobody else, and it is made up for."""

import threading
from contextlib import suppress
from datetime import timedelta

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from pyroaring import BitMap

from access.services import COMMAND
from audiences import backfill, evaluate, evaluation, failures, queries, services
from audiences.conditions.event import Performed
from audiences.models import Audience, Change, Version
from audiences.rules import compiler
from benchmarks.stack import until
from identity.models import ChangeSet
from sources.events import client
from sources.events.sql import Sql
from tests.factories_audiences import World, restart
from tests.factories_identity import message

pytestmark = pytest.mark.django_db

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ORDERED = {"kind": "event", "name": "Ordered"}
SEEN = {"kind": "event", "name": "Seen"}
SIGNED_UP = {"kind": "event", "name": "Signed Up", "within": {"days": 7}}
HEAVY = {"kind": "event", "name": "Heavy"}
WINDOWED = {"kind": "event", "name": "Heavy", "within": {"hours": 2}}


@pytest.fixture
def world():
    return World()


class Engine:
    """What it refuses, by a text in the statement's values; everything asked is kept."""

    def __init__(self, monkeypatch):
        self.refuses = {}
        self.asked = []
        for name in ("bitmaps", "rows"):
            monkeypatch.setattr(client, name, self._asked(getattr(client, name)))

    def _asked(self, real):
        def ask(query, **limits):
            values = str(query.values)
            if "system.processes" not in query.text:
                self.asked.append(values)
            for text, code in self.refuses.items():
                if text in values:
                    raise DatabaseError(f"Code: {code}. DB::Exception: no. (NO)", code=code)
            return real(query, **limits)

        return ask

    def statements(self, text):
        found = sum(text in values for values in self.asked)
        self.asked.clear()
        return found


@pytest.fixture
def engine(monkeypatch):
    return Engine(monkeypatch)


def newest(audience):
    return audience.versions.order_by("-number")[0]


def states(*audiences):
    return [newest(audience).state for audience in audiences]


def again(world, audience):
    """The time of its next attempt has come."""
    world.clock.at = newest(audience).retry_at
    return world.ticked()


# the engine's trouble


@pytest.mark.parametrize("code", [241, 159, 160, 202, 209, 210, 252, 394, 439, 999, 1001, 49, 47, None])
def test_a_spike_of_the_engine_is_over_when_it_is_over(world, engine, code):
    world.did("u1", "Ordered")
    audiences = [world.audience(f"a{n}", ORDERED) for n in range(3)]
    world.computed()
    engine.refuses["Ordered"] = code
    world.did("u2", "Ordered")
    world.ticked()
    assert [world.members(each) for each in audiences] == [{"u1"}] * 3
    assert states(*audiences) == ["catching_up"] * 3
    engine.refuses.clear()
    world.did("u3", "Ordered")
    world.later(10 * MINUTE)
    assert [world.members(each) for each in audiences] == [{"u1", "u2", "u3"}] * 3
    assert states(*audiences) == ["live"] * 3
    assert {(each.failures, each.error, each.retry_at, each.exact_at) for each in Version.objects.all()} == {
        (0, "", None, None)
    }


def test_a_real_memory_limit_of_the_real_engine_is_the_engines_trouble(world, monkeypatch):
    world.did("u1", "Ordered")
    windowed = world.audience("windowed", {**ORDERED, "within": {"days": 1}})
    world.computed()
    monkeypatch.setitem(compiler.SETTINGS, "max_memory_usage", 1000)
    world.did("u2", "Ordered")
    world.ticked()
    version = newest(windowed)
    assert (version.state, version.failures) == ("catching_up", 1)
    assert "memory limit exceeded" in version.error.lower()
    assert "http" not in version.error
    monkeypatch.undo()
    world.later(MINUTE)
    assert world.members(windowed) == {"u1", "u2"}


def test_an_engine_that_is_away_is_nobodys_fault(world, monkeypatch):
    buyers = world.audience("buyers", ORDERED)
    world.computed()
    world.did("u1", "Ordered")

    def away(*args, **limits):
        raise OperationalError("Connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(client, "bitmaps", away)
        patched.setattr(client, "rows", away)
        with pytest.raises(OperationalError):
            world.stage.read(evaluate.Log.objects.get(stage="evaluate", partition=world.space.pk), 1)
    assert states(buyers) == ["live"]
    assert newest(buyers).failures == 0
    world.ticked()
    assert world.members(buyers) == {"u1"}


def test_one_heavy_definition_stops_no_other_and_catches_up_from_its_place(world, engine):
    for user in ("u1", "u2"):
        world.did(user, "Ordered")
    world.did("u1", "Heavy")
    light = [world.audience(f"light{n}", ORDERED) for n in range(6)]
    heavy = world.audience(
        "heavy", {"any": [WINDOWED, {"kind": "trait", "name": "plan", "op": "equals", "value": "x"}]}
    )
    asks = world.audience("asks", {"all": [ORDERED, {"kind": "audience", "key": "heavy"}]})
    world.computed()
    assert world.members(asks) == {"u1"}
    engine.refuses["plan"] = 241
    world.clock.advance(MINUTE)
    world.sent(message("identify", userId="u2", traits={"plan": "x"}))
    world.did("u3", "Ordered")
    world.ticked()
    assert all(world.members(each) == {"u1", "u2", "u3"} for each in light)
    assert (world.members(heavy), world.members(asks)) == ({"u1"}, {"u1"})
    version = newest(heavy)
    assert (version.state, version.error) == ("catching_up", "no. (NO)")
    assert (version.failing_since, version.exact_at) == (world.clock.now(), world.clock.now() - MINUTE)
    engine.statements("plan")
    world.did("u4", "Ordered")
    world.ticked()
    assert (engine.statements("plan"), world.members(light[0])) == (0, {"u1", "u2", "u3", "u4"})
    for _ in range(3):
        before = newest(heavy)
        world.clock.at = before.retry_at - SECOND
        assert world.space.pk not in evaluate.waiting(world.clock.now())
        world.clock.at = before.retry_at
        assert world.space.pk in evaluate.waiting(world.clock.now())
        world.ticked()
        assert engine.statements("plan") == 1  # alone, at once, and then not again
        assert newest(heavy).failures == before.failures + 1
    assert ChangeSet.objects.filter(space=world.space).exists()
    engine.refuses.clear()
    world.clock.advance(2 * HOUR)  # u1 has left by the clock meanwhile
    world.ticked()
    assert (world.members(heavy), world.members(asks)) == ({"u2"}, {"u2"})
    assert states(heavy) == ["live"]
    moved = Change.objects.filter(audience=heavy).order_by("tick", "pk").values_list("cause", flat=True)
    assert [*moved] == ["compute", "events", "clock"]
    assert not ChangeSet.objects.filter(space=world.space).exists()


def test_windows_that_cannot_be_looked_through_hold_up_their_own_audiences_alone(world, engine):
    light = world.audience("light", SIGNED_UP)
    heavy = world.audience("heavy", WINDOWED)
    world.computed()
    world.did("u1", "Heavy")
    world.did("u1", "Signed Up")
    world.ticked()
    engine.refuses["Heavy"] = 159
    world.did("u2", "Signed Up", ago=7 * DAY - MINUTE)
    world.ticked()
    assert (world.members(light), states(light, heavy)) == ({"u1", "u2"}, ["live", "catching_up"])
    world.later(2 * HOUR)
    assert (world.members(light), world.members(heavy)) == ({"u1"}, {"u1"})
    engine.refuses.clear()
    world.later(HOUR)
    assert (world.members(heavy), states(heavy)) == (set(), ["live"])


def test_it_has_failed_after_many_attempts_alone_on_an_idle_engine_and_is_tried_again_then(world, engine):
    world.did("u1", "Heavy")
    heavy = world.audience("heavy", HEAVY)
    world.computed()
    engine.refuses["Heavy"] = 159
    world.did("u2", "Heavy")
    world.ticked()
    begun = world.clock.now()
    while states(heavy) == ["catching_up"]:
        again(world, heavy)
    version = newest(heavy)
    assert world.clock.now() - begun >= HOUR
    assert version.idle_failures >= failures.FAILED_AFTER
    assert (version.state, version.retry_at) == ("failed", world.clock.now() + HOUR)
    assert world.members(heavy) == {"u1"}
    world.did("u3", "Heavy")
    world.ticked()
    assert not ChangeSet.objects.filter(space=world.space).exists()  # nothing is kept for it any more
    assert world.ready() == []
    world.clock.advance(HOUR)
    assert world.ready() == [version.pk]
    backfill.compute(version.pk, world.clock)
    assert (states(heavy), world.ready()) == (["failed"], [])
    engine.refuses.clear()
    world.clock.advance(HOUR)
    world.computed()
    assert (world.members(heavy), states(heavy)) == ({"u1", "u2", "u3"}, ["live"])


def test_on_a_busy_engine_nothing_has_failed_however_often(world, engine, monkeypatch):
    heavy = world.audience("heavy", HEAVY)
    world.computed()
    monkeypatch.setattr(client, "busy", lambda: True)
    engine.refuses["Heavy"] = 241
    world.did("u1", "Heavy")
    world.ticked()
    begun = world.clock.now()
    while world.clock.now() - begun < failures.TOUCHES_KEPT:
        assert states(heavy) == ["catching_up"]
        again(world, heavy)
    assert states(heavy) == ["computing"]  # too far behind to be caught up with: in full
    assert not ChangeSet.objects.filter(space=world.space).exists()
    engine.refuses.clear()
    world.clock.at = newest(heavy).retry_at
    world.computed()
    assert (world.members(heavy), states(heavy)) == ({"u1"}, ["live"])


def test_a_first_computation_waits_ever_longer_and_never_fails_at_once(world, engine):
    world.did("u1", "Heavy")
    heavy = world.audience("heavy", HEAVY)
    engine.refuses["Heavy"] = 241
    (version,) = world.ready()
    waits = []
    while states(heavy) == ["computing"]:
        assert backfill.compute(version, world.clock) is None
        at = newest(heavy).retry_at
        waits.append(at - world.clock.now())
        assert world.ready() == []
        assert backfill.compute(version, world.clock) is None  # a task that was queued before
        world.clock.at = at
    assert waits[:3] == [10 * SECOND, 20 * SECOND, 40 * SECOND]
    assert waits[-2:] == [15 * MINUTE, HOUR]
    assert sum(waits[:-1], timedelta()) >= HOUR
    engine.refuses.clear()
    world.computed()
    assert (world.members(heavy), states(heavy)) == ({"u1"}, ["live"])


def test_a_new_version_that_cannot_join_leaves_the_old_one_without_a_gap(world, engine):
    both = world.audience("both", ORDERED)
    world.computed()
    world.version(both, HEAVY)
    (version,) = world.ready()
    backfill.compute(version, world.clock)
    engine.refuses["Heavy"] = 241
    world.did("u1", "Ordered")
    world.did("u2", "Heavy")
    world.ticked()
    assert (world.members(both), states(both)) == ({"u1"}, ["catching_up"])
    engine.refuses.clear()
    world.later(MINUTE)
    assert (world.members(both), states(both)) == ({"u2"}, ["live"])


def test_a_new_definition_of_one_that_is_behind_keeps_its_people_until_it_joins(world, engine):
    world.did("u1", "Heavy")
    world.did("u2", "Ordered")
    both = world.audience("both", HEAVY)
    world.computed()
    engine.refuses["Heavy"] = 241
    world.did("u3", "Heavy")
    world.ticked()
    services.change_audience(Audience.objects.get(pk=both.pk), definition=ORDERED, by=COMMAND)
    assert world.members(both) == {"u1"}
    engine.refuses.clear()
    world.later(MINUTE)
    assert world.members(both) == {"u1", "u3"}
    world.computed()
    assert (world.members(both), states(both)) == ({"u2"}, ["live"])
    assert [version.state for version in both.versions.order_by("number")] == ["replaced", "live"]


def test_a_tick_loses_patience_and_asks_the_rest_alone_in_the_next(world, engine, monkeypatch):
    audiences = [world.audience(f"a{n}", {"kind": "event", "name": f"E{n}"}) for n in range(8)]
    world.computed()
    monkeypatch.setattr(evaluation, "PATIENCE_S", 0)  # one failing statement is enough
    engine.refuses["'E3'"] = 159
    for n in range(8):
        world.did("u1", f"E{n}")
    engine.statements("")
    world.ticked()
    assert [world.members(each) for each in audiences] == [set() if n == 3 else {"u1"} for n in range(8)]
    assert states(*audiences) == ["catching_up" if n == 3 else "live" for n in range(8)]


def test_the_engine_is_busy_while_it_works_on_something_long():
    def work():
        with suppress(DatabaseError):  # it takes longer than it may
            client.rows(Sql("SELECT max(sipHash64(number)) FROM numbers(1000000000000)"), max_execution_time=20)

    assert not client.busy()
    thread = threading.Thread(target=work)
    thread.start()
    busy = False
    with suppress(TimeoutError):
        busy = until(client.busy, within_s=20)
    client.run(Sql("KILL QUERY WHERE query LIKE '%1000000000000%' AND query NOT LIKE '%KILL%' SYNC"))
    thread.join()
    assert busy
    assert not client.busy()


# what cannot be read, and bugs


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({"kind": "event", "name": "Ordered", "gone": 1}, "gone: is not known here"),
        ({"kind": "fortune"}, "kind: must be one of"),
        ({"all": [{"kind": "event", "name": "Ordered"}, 7]}, "all[1]: must be an object"),
        (7, "must be an object"),
        ([], "must be an object"),
        ({}, "must have a kind"),
    ],
    ids=str,
)
def test_one_definition_that_a_release_no_longer_reads_stops_nobody_else(world, definition, reason):
    world.did("u1", "Ordered")
    good, old = world.audience("good", ORDERED), world.audience("old", ORDERED)
    world.computed()
    Version.objects.filter(audience=old).update(definition=definition)
    restart()
    world.did("u2", "Ordered")
    world.clock.advance(MINUTE)
    world.ticked()
    assert (world.members(good), world.members(old)) == ({"u1", "u2"}, {"u1"})
    assert states(good, old) == ["live", "failed"]
    assert reason in newest(old).error
    assert evaluate.waiting(world.clock.now()) == []
    for version in world.ready():
        assert backfill.compute(version, world.clock) is None
    assert world.ready() == []
    Version.objects.filter(audience=old).update(definition=ORDERED)  # a release that reads it
    world.clock.advance(failures.READ_AGAIN)
    world.computed()
    assert (world.members(old), states(old)) == ({"u1", "u2"}, ["live"])


@pytest.mark.parametrize("method", ["parse", "change_keys", "time_triggers", "aggregates", "test"])
def test_a_bug_in_one_kind_of_condition_stops_no_audience_without_it(world, monkeypatch, method):
    has = world.audience("has", {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"})
    did = world.audience("did", ORDERED)
    world.computed()
    world.sent(message("identify", userId="u1", traits={"plan": "pro"}))
    world.did("u1", "Ordered")

    def broken(*args):
        raise KeyError("a bug of this release")

    with monkeypatch.context() as patched:
        patched.setattr(Performed, method, broken)
        restart()
        world.ticked()
    assert (world.members(has), world.members(did)) == ({"u1"}, set())
    assert states(has) == ["live"]
    world.clock.advance(HOUR)
    world.computed()
    world.ticked()
    assert (world.members(did), states(did)) == ({"u1"}, ["live"])


def test_a_definitions_own_fault_fails_it_at_once_with_the_reason(world, engine):
    buyers, heavy = world.audience("buyers", ORDERED), world.audience("heavy", HEAVY)
    world.computed()
    engine.refuses["Heavy"] = 43
    world.did("u1", "Ordered")
    world.did("u1", "Heavy")
    world.ticked()
    assert (world.members(buyers), states(buyers, heavy)) == ({"u1"}, ["live", "failed"])
    new = world.audience("new", HEAVY)
    for version in world.ready():
        backfill.compute(version, world.clock)
    assert states(heavy, new) == ["failed", "failed"]
    assert (newest(new).error, newest(new).retry_at) == ("no. (NO)", world.clock.now() + HOUR)
    engine.refuses.clear()
    world.clock.advance(HOUR)
    world.computed()
    assert world.members(heavy) == world.members(new) == {"u1"}


def test_a_circle_that_came_into_being_fails_alone(world):
    one = world.audience("one", ORDERED)
    two = world.audience("two", {"kind": "audience", "key": "one"})
    good = world.audience("good", ORDERED)
    world.computed()
    Version.objects.filter(audience=one).update(definition={"kind": "audience", "key": "two"})
    restart()
    world.did("u1", "Ordered")
    world.ticked()
    assert (world.members(good), states(one, two, good)) == ({"u1"}, ["failed", "failed", "live"])
    assert "one → two → one" in newest(one).error or "two → one → two" in newest(one).error


def test_an_audience_whose_part_is_gone_waits_alone(world):
    one, good = world.audience("one", ORDERED), world.audience("good", ORDERED)
    two = world.audience("two", {"kind": "audience", "key": "one"})
    world.computed()
    Audience.objects.filter(pk=one.pk).update(serving=None, enabled=False)
    world.did("u1", "Ordered")
    world.ticked()
    assert (world.members(good), states(two)) == ({"u1"}, ["catching_up"])
    assert newest(two).error == "The audience one is not computed yet."


def test_change_sets_are_kept_while_one_that_has_failed_is_computed_again(world, engine, monkeypatch):
    heavy = world.audience("heavy", HEAVY)
    world.computed()
    Version.objects.filter(audience=heavy).update(state="failed", touched=None)
    answer = queries.answer

    def slow(*args):
        monkeypatch.setattr(queries, "answer", answer)
        found = answer(*args)
        world.did("u1", "Heavy")
        world.ticked()
        return found

    monkeypatch.setattr(queries, "answer", slow)
    world.computed()
    assert world.members(heavy) == {"u1"}


def test_numbers_of_a_failed_attempt_are_those_of_nobody(world, engine):
    """Whoever is behind has no change at all, whatever else the tick says."""
    heavy, light = world.audience("heavy", HEAVY), world.audience("light", SEEN)
    world.computed()
    engine.refuses["Heavy"] = 241
    world.did("u1", "Heavy")
    world.did("u1", "Seen")
    world.ticked()
    last = Change.objects.latest("pk")
    assert (last.audience, BitMap.deserialize(bytes(last.entered))) == (light, queries.members(light))
    assert Change.objects.filter(audience=heavy).count() == 1
