"""Who enters and who leaves, because of events, of merges, of the clock: on the real stores."""

from datetime import timedelta

import pytest
from pyroaring import BitMap

from audiences import backfill, evaluate, queries
from audiences.models import Audience, Change, Evaluation, Version
from identity.models import ChangeSet
from sources.events import client
from sources.models import Replay
from sources.services import connect
from spaces.batches import advance, open_log
from spaces.models import Abandoned
from tests.factories import SourceFactory
from tests.factories_audiences import World
from tests.factories_identity import NOON, archived, message, resolved, stage

pytestmark = pytest.mark.django_db

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
SIGNED_UP = {"kind": "event", "name": "Signed Up", "within": {"days": 7}}
ORDERED = {"kind": "event", "name": "Ordered"}
IDLE = {"kind": "event", "name": "Seen", "exactly": 0, "within": {"days": 7}}


@pytest.fixture
def world():
    return World()


def changes(audience):
    return [
        (change.cause, len(BitMap.deserialize(bytes(change.entered))), len(BitMap.deserialize(bytes(change.left))))
        for change in Change.objects.filter(audience=audience).order_by("tick", "pk")
    ]


# the first compute


def test_a_new_audience_has_the_people_who_are_there(world):
    world.did("u1", "Signed Up", ago=DAY)
    world.did("u2", "Signed Up", ago=8 * DAY)
    new = world.audience("new", SIGNED_UP)
    world.computed()
    new.refresh_from_db()
    assert world.members(new) == {"u1"}
    assert (new.size, changes(new)) == (1, [("compute", 1, 0)])


def test_an_audience_without_history_counts_from_its_creation_on(world):
    world.did("u1", "Ordered", ago=DAY)
    world.did("u2", "Ordered", ago=DAY)
    new = world.audience("new", {**ORDERED, "atLeast": 1})
    never = world.audience("never", {**ORDERED, "exactly": 0})
    Audience.objects.filter(pk__in=[new.pk, never.pk]).update(events_since=world.clock.now())
    world.computed()
    assert (world.members(new), world.members(never)) == (set(), {"u1", "u2"})
    world.clock.advance(MINUTE)
    world.did("u1", "Ordered")
    world.ticked()
    assert (world.members(new), world.members(never)) == ({"u1"}, {"u2"})


def test_nobody_is_in_an_audience_before_its_first_compute(world):
    world.did("u1", "Signed Up")
    new = world.audience("new", SIGNED_UP)
    world.ticked()
    assert world.members(new) == set()
    assert not Change.objects.exists()


def test_what_happens_during_a_compute_is_caught_up_with(world):
    world.did("u1", "Signed Up")
    new = world.audience("new", SIGNED_UP)
    assert backfill.compute(backfill.computing(world.clock.now())[0], world.clock) == world.space.pk
    world.did("u2", "Signed Up")
    world.clock.advance(7 * DAY)
    world.did("u3", "Signed Up")
    world.ticked()
    assert world.members(new) == {"u3"}


def test_a_tick_during_a_compute_takes_no_touch_away_from_it(world):
    other = world.audience("other", ORDERED)
    world.computed()
    new = world.audience("new", SIGNED_UP)
    (version,) = backfill.computing(world.clock.now())
    backfill._note_place(Version.objects.get(pk=version), world.space, world.clock)  # it begins, and takes long
    world.did("u1", "Signed Up")
    world.did("u1", "Ordered")
    world.ticked()
    assert world.members(other) == {"u1"}
    Version.objects.filter(pk=version).update(state="catching_up", snapshot=BitMap().serialize())
    world.ticked()
    assert world.members(new) == {"u1"}


def test_an_audience_of_an_audience_waits_for_it(world):
    world.did("u1", "Ordered")
    both = world.audience("both", {"all": [{"kind": "audience", "key": "buyers"}, ORDERED]})
    assert backfill.computing(world.clock.now()) == []
    world.audience("buyers", ORDERED)
    world.computed()
    assert world.members(both) == {"u1"}


def test_a_definition_that_cannot_be_answered_fails_alone(world, monkeypatch):
    world.did("u1", "Ordered")
    bad = world.audience("bad", ORDERED)
    good = world.audience("good", SIGNED_UP)
    asked = queries.answer

    def too_much(scope, asks, others):
        if any(each.key in ("bad", "") and each.definition.condition.name == "Ordered" for each in asks):
            raise queries.Unanswerable("Types do not fit")
        return asked(scope, asks, others)

    world.computed()
    monkeypatch.setattr(queries, "answer", too_much)
    world.did("u2", "Ordered")
    world.did("u2", "Signed Up")
    world.ticked()
    assert world.members(bad) == {"u1"}
    assert world.members(good) == {"u2"}
    version = bad.versions.get()
    assert (version.state, version.error) == ("failed", "Types do not fit")


# events


def test_an_event_brings_a_person_in(world):
    new = world.audience("new", SIGNED_UP)
    world.computed()
    world.did("u1", "Signed Up")
    assert world.ticked() == 1
    assert world.members(new) == {"u1"}
    assert changes(new) == [("compute", 0, 0), ("events", 1, 0)]


def test_an_event_that_no_audience_asks_about_changes_nothing(world):
    world.audience("new", SIGNED_UP)
    world.computed()
    world.did("u1", "Signed Up")
    world.ticked()
    before = Change.objects.count()
    world.did("u1", "Page Viewed")
    world.ticked()
    assert Change.objects.count() == before


def test_an_event_takes_a_person_out_of_a_not(world):
    world.did("u1", "Signed Up")
    quiet = world.audience("quiet", {"all": [SIGNED_UP, {"not": ORDERED}]})
    world.computed()
    assert world.members(quiet) == {"u1"}
    world.did("u1", "Ordered")
    world.ticked()
    assert world.members(quiet) == set()


def test_a_change_goes_on_to_the_audiences_that_ask_about_it_in_the_same_tick(world):
    world.did("u1", "Signed Up")
    world.audience("buyers", ORDERED)
    rest = world.audience("rest", {"all": [SIGNED_UP, {"not": {"kind": "audience", "key": "buyers"}}]})
    last = world.audience("last", {"kind": "audience", "key": "rest"})
    world.computed()
    assert (world.members(rest), world.members(last)) == ({"u1"}, {"u1"})
    world.did("u1", "Ordered")
    assert world.ticked() == 1
    assert (world.members(rest), world.members(last)) == (set(), set())


def test_a_late_event_counts_at_its_own_time(world):
    new = world.audience("new", SIGNED_UP)
    world.computed()
    world.did("u1", "Signed Up", ago=7 * DAY)  # the window is half-open: just out of it
    world.did("u2", "Signed Up", ago=7 * DAY - SECOND)
    world.ticked()
    assert world.members(new) == {"u2"}
    world.later(SECOND)
    assert world.members(new) == set()


def test_someone_who_becomes_known_comes_in(world):
    ordered = world.audience("ordered", ORDERED)
    anyone = world.audience("anyone", ORDERED, include_anonymous=True)
    world.computed()
    world.sent(message(anonymousId="a1", event="Ordered"))
    world.ticked()
    assert (len(queries.members(ordered)), len(queries.members(anyone))) == (0, 1)
    world.sent(message("identify", anonymousId="a1", userId="u1"))
    world.ticked()
    assert world.members(ordered) == {"u1"}
    change = Change.objects.filter(audience=anyone).latest("tick")
    assert len(BitMap.deserialize(bytes(change.refreshed))) == 1


def test_a_merge_leaves_one_member(world):
    often = world.audience("often", {"kind": "event", "name": "Ordered", "atLeast": 2})
    once = world.audience("once", ORDERED, include_anonymous=True)
    world.computed()
    world.sent(message(anonymousId="a1", event="Ordered"))
    world.sent(message(userId="u1", event="Ordered"))
    world.ticked()
    assert (len(queries.members(often)), len(queries.members(once))) == (0, 2)
    world.sent(message("identify", anonymousId="a1", userId="u1"))
    world.ticked()
    assert world.members(often) == {"u1"}
    assert world.members(once) == {"u1"}


# the clock


def test_the_clock_alone_has_a_space_evaluated_now_and_then_and_an_event_at_once(world):
    world.did("u1", "Signed Up", ago=7 * DAY - SECOND)
    new = world.audience("new", SIGNED_UP)
    world.computed()
    assert Evaluation.objects.get(space=world.space).next_at == NOON + SECOND
    assert evaluate.waiting(NOON + SECOND) == []
    assert evaluate.waiting(NOON + evaluate.CLOCK_EVERY) == [world.space.pk]
    world.sent(message(userId="u2", event="Signed Up"))
    assert evaluate.waiting(NOON + SECOND) == [world.space.pk]
    world.later(SECOND)
    assert world.members(new) == {"u2"}


def test_a_person_leaves_when_the_window_has_passed(world):
    world.did("u1", "Signed Up", ago=6 * DAY)
    new = world.audience("new", SIGNED_UP)
    world.computed()
    due = NOON + DAY
    assert Evaluation.objects.get(space=world.space).next_at <= due
    assert world.later(DAY - evaluate.CLOCK_EVERY) <= 1
    assert world.members(new) == {"u1"}
    assert Evaluation.objects.get(space=world.space).next_at == due
    assert evaluate.waiting(due - SECOND) == []
    assert evaluate.waiting(due) == [world.space.pk]
    world.later(evaluate.CLOCK_EVERY)
    assert world.members(new) == set()
    assert changes(new) == [("compute", 1, 0), ("clock", 0, 1)]


def test_a_person_enters_did_not_within_by_the_clock_alone(world):
    world.did("u1", "Seen")
    world.did("u1", "Signed Up")
    idle = world.audience("idle", {"all": [IDLE, {"kind": "event", "name": "Signed Up"}]})
    world.computed()
    world.later(7 * DAY - SECOND)
    assert world.members(idle) == set()
    world.later(SECOND)
    assert world.members(idle) == {"u1"}
    assert changes(idle)[-1] == ("clock", 1, 0)


def test_an_event_after_the_tick_brings_the_next_moment_nearer(world):
    world.did("u1", "Signed Up")
    short = world.audience("short", {"kind": "event", "name": "Seen", "within": {"minutes": 1}})
    world.computed()
    world.did("u1", "Seen", ago=50 * SECOND)
    world.ticked()
    assert world.members(short) == {"u1"}
    assert Evaluation.objects.get(space=world.space).next_at == NOON + 10 * SECOND
    world.later(10 * SECOND)
    assert world.members(short) == set()


def test_the_clock_goes_through_an_audience_to_those_that_ask_about_it(world):
    world.did("u1", "Signed Up")
    world.audience("new", SIGNED_UP)
    old = world.audience("old", {"not": {"kind": "audience", "key": "new"}})
    world.computed()
    assert world.members(old) == set()
    world.later(7 * DAY)
    assert world.members(old) == {"u1"}


def test_a_clock_that_goes_back_a_little_changes_nothing(world):
    world.did("u1", "Signed Up")
    new = world.audience("new", SIGNED_UP)
    world.computed()
    world.later(7 * DAY)
    at = Evaluation.objects.get(space=world.space).clock_at
    world.clock.advance(-10 * SECOND)
    assert evaluate.waiting(world.clock.now()) == []
    world.did("u2", "Ordered")
    world.ticked()
    assert world.members(new) == set()
    evaluation = Evaluation.objects.get(space=world.space)
    assert (evaluation.clock_at, evaluation.put_back_at) == (at, None)


def test_nothing_waits_in_a_quiet_space(world):
    world.did("u1", "Ordered")
    world.audience("buyers", ORDERED)
    world.computed()
    assert evaluate.waiting(NOON + 365 * DAY) == []
    assert world.later(365 * DAY) == 0


# versions


def test_the_old_version_serves_until_the_new_one_joins(world):
    world.did("u1", "Signed Up")
    world.did("u2", "Ordered")
    audience = world.audience("both", SIGNED_UP)
    world.computed()
    world.version(audience, ORDERED)
    world.did("u3", "Signed Up")
    world.ticked()
    assert world.members(audience) == {"u1", "u3"}
    world.computed()
    assert world.members(audience) == {"u2"}
    assert changes(audience)[-1] == ("compute", 1, 2)
    assert [version.state for version in audience.versions.order_by("number")] == ["replaced", "live"]


def test_a_new_version_reaches_the_audiences_that_ask_about_it(world):
    world.did("u1", "Signed Up")
    world.did("u2", "Ordered")
    first = world.audience("first", SIGNED_UP)
    second = world.audience("second", {"kind": "audience", "key": "first"})
    world.computed()
    world.version(first, ORDERED)
    world.computed()
    assert world.members(second) == {"u2"}


def test_who_came_into_an_audience_while_another_asked_about_it_counts_even_if_it_is_switched_off(world, monkeypatch):
    world.did("u1", "Seen")
    buyers = world.audience("buyers", ORDERED)
    world.computed()
    again = world.audience("again", {"kind": "audience", "key": "buyers"})
    answer = queries.answer

    def slow(*args):
        found = answer(*args)
        monkeypatch.undo()
        world.did("u1", "Ordered")
        world.ticked()
        Audience.objects.filter(pk=buyers.pk).update(enabled=False)
        return found

    monkeypatch.setattr(queries, "answer", slow)
    world.computed()
    assert world.members(again) == world.members(buyers) == {"u1"}


@pytest.mark.parametrize("window", [{"minutes": 1}, {"hours": 1}])
def test_a_window_that_closes_during_a_compute_is_noticed_whatever_the_others_wait_for(world, monkeypatch, window):
    """Another audience waits for the very same moment, which a tick has passed already; or for a later one."""
    world.did("u1", "Seen", ago=30 * SECOND)
    other = world.audience("other", {"kind": "event", "name": "Seen", "within": window})
    world.computed()
    minute = world.audience("minute", {"kind": "event", "name": "Seen", "within": {"minutes": 1}})
    answer = queries.answer

    def slow(*args):
        found = answer(*args)
        monkeypatch.undo()
        world.later(30 * SECOND)
        return found

    monkeypatch.setattr(queries, "answer", slow)
    world.computed()
    assert world.members(minute) == set()
    assert world.members(other) == world.asked(other)


def test_a_disabled_audience_stays_as_it_is(world):
    audience = world.audience("new", SIGNED_UP)
    world.computed()
    Audience.objects.filter(pk=audience.pk).update(enabled=False)
    world.did("u1", "Signed Up")
    world.ticked()
    assert world.members(audience) == set()


def test_members_stay_right_when_they_are_written_down_again(world, monkeypatch):
    monkeypatch.setattr(evaluate, "SNAPSHOT_EVERY", 3)
    audience = world.audience("buyers", ORDERED)
    world.computed()
    for n in range(8):
        world.did(f"u{n}", "Ordered")
        world.ticked()
    assert world.members(audience) == {f"u{n}" for n in range(8)}
    assert audience.versions.get().snapshot_tick > 1


# replays


def test_a_replay_changes_nobody_until_its_end(world):
    buyers = world.audience("buyers", ORDERED)
    world.computed()
    other = SourceFactory(workspace=world.space.workspace)
    archived(other, *(message(at=-1000 * n, userId=f"u{n}", event="Ordered") for n in range(1, 5)))
    connect(world.space, [other], clock=world.clock)
    late = world.audience("late", ORDERED)
    using = stage(replay_rows=2)
    log = open_log(stage="resolve", partition=world.space.pk, workspace_id=world.space.workspace_id)
    assert advance(using, log)
    world.ticked()
    assert backfill.computing(world.clock.now()) == []
    assert world.members(buyers) == set()
    resolved(world.space, using)
    assert not Replay.objects.filter(state=Replay.State.RUNNING).exists()
    world.ticked()
    world.computed()
    assert world.members(buyers) == {"u1", "u2", "u3", "u4"}
    assert world.members(late) == world.members(buyers)
    assert changes(buyers) == [("compute", 0, 0), ("replay", 4, 0)]


# the batches


def test_change_sets_go_once_everyone_has_seen_them(world):
    world.did("u1", "Signed Up")
    world.audience("new", SIGNED_UP)
    world.computed()
    world.did("u2", "Signed Up")
    world.ticked()
    assert not ChangeSet.objects.filter(space=world.space).exists()


@pytest.mark.parametrize("step", ["write", "commit"])
def test_a_tick_that_was_interrupted_is_done_once(world, monkeypatch, step):
    new = world.audience("new", SIGNED_UP)
    world.computed()
    world.did("u1", "Signed Up")
    log = open_log(stage="evaluate", partition=world.space.pk, workspace_id=world.space.workspace_id)
    wrote = evaluate.Evaluate.write

    class Killed(BaseException):
        pass

    def die(*args):
        if step == "commit":
            wrote(*args)
        raise Killed

    monkeypatch.setattr(evaluate.Evaluate, "write", die)
    with pytest.raises(Killed):
        advance(world.stage, log)
    monkeypatch.undo()
    world.ticked()
    assert world.members(new) == {"u1"}
    assert changes(new) == [("compute", 0, 0), ("events", 1, 0)]
    seen = "SELECT count() FROM membership_log WHERE space = {} AND piece NOT IN ({})".format(
        world.space.pk, ", ".join(map(str, Abandoned.objects.values_list("number", flat=True))) or "0"
    )
    assert client.client().query(seen).result_rows == [(1,)]


def test_a_tick_that_somebody_else_did_first_is_not_done_again(world):
    new = world.audience("new", SIGNED_UP)
    world.computed()
    world.did("u1", "Signed Up")
    log = open_log(stage="evaluate", partition=world.space.pk, workspace_id=world.space.workspace_id)
    intake = world.stage.read(log, 1)
    world.ticked()
    assert world.stage.prepare(log, intake, 99) is None
    assert world.members(new) == {"u1"}
