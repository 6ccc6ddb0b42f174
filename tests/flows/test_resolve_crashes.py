"""Whoever dies between prepare, write and commit: each event is in the timeline once, and the profiles are right."""

import contextlib
import itertools
import random

import pytest
from django.utils import timezone

from identity import resolve
from identity.models import ChangeSet, Profile
from identity.resolve_stage import Resolve
from identity.rules.policy import DEFAULT_POLICY
from identity.services import change_policy
from sources.events import client, timeline
from sources.events.schema import ARCHIVE, TIMELINE
from sources.events.sql import Sql
from sources.events.timeline import WRITTEN
from sources.models import Connection, Reject
from sources.services import cancel_replay, connect, delete_source, disconnect
from spaces import batches
from spaces.batches import advance
from spaces.clock import FixedClock
from spaces.errors import Unwritable
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_identity import (
    NOON,
    archived,
    as_sets,
    links,
    listening,
    message,
    people,
    recorded,
    reference,
    resolve_log,
    resolved,
    scope,
    stage,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def deaths_are_expected(monkeypatch):
    """Any number of processes may die over a batch here without a pause."""
    monkeypatch.setattr(batches, "MANY_DEATHS", 1_000)


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class Mortal(Resolve):
    """Dies at some of the points of a batch."""

    def __init__(self, dies_at):
        super().__init__(FixedClock(NOON), replay_rows=4, live_rows=3)
        self.dies_at = dies_at

    def prepare(self, log, intake, number):
        decision = super().prepare(log, intake, number)
        self.reach("in decide")
        return decision

    def commit(self, log, decision, number, outcome):
        super().commit(log, decision, number, outcome)
        self.reach("in publish")

    def reach(self, point):
        if self.dies_at(point):
            raise Killed(point)


@pytest.fixture
def space():
    return SpaceFactory()


@pytest.fixture
def source(space):
    return SourceFactory(workspace=space.workspace)


def a_month(rng, sources):
    """Messages of people who share devices and come together, archived; with their places."""
    kept = []
    for number in range(30):
        source = rng.choice(sources)
        fields = {"anonymousId": f"a{rng.randrange(12)}"} if rng.random() < 0.8 else {}
        fields |= {"userId": f"u{rng.randrange(8)}"} if rng.random() < 0.5 else {}
        kind = rng.choice(["track", "identify", "group"])
        fields |= {"traits": {"plan": number}} if kind != "track" else {}
        fields |= {"groupId": f"g{rng.randrange(3)}"} if kind == "group" else {}
        sent = message(kind, at=-rng.randrange(10_000), **fields)
        kept.append((source.pk, archived(source, sent), 0, sent))
    return kept


@pytest.mark.parametrize("seed", range(2))
def test_deaths_at_any_point_neither_lose_nor_double_nor_change_anything(space, monkeypatch, seed):
    rng = random.Random(seed)
    sources = [SourceFactory(workspace=space.workspace) for _ in range(2)]
    sent = a_month(rng, sources[:1])
    connect(space, sources[:1], clock=FixedClock(NOON))
    listening(space, sources[1])
    sent += a_month(rng, sources)
    using = Mortal(lambda point: rng.random() < 0.15)
    put = client.put
    monkeypatch.setattr(client, "put", lambda *a: (using.reach("insert"), put(*a)))
    monkeypatch.setattr(batches, "reach", lambda point: using.reach(point))
    deaths, more = 0, True
    while more:
        try:
            more = advance(using, resolve_log(space))
        except Killed:
            deaths += 1
            using = Mortal(using.dies_at)  # a new process
    assert deaths > 5
    slow = reference(space, DEFAULT_POLICY, sent)
    assert people(space) == as_sets(slow.profiles())
    assert people(space, Profile.Kind.ACCOUNT) == as_sets(slow.accounts())
    assert links(space) == slow.links()
    resolvable = {each["messageId"] for *_, each in sent if "userId" in each or "anonymousId" in each}
    assert {row.message_id for row in recorded(space)} >= resolvable
    assert ChangeSet.objects.filter(space=space, key=ChangeSet.EVERYTHING).count() == 1


def small_month(space):
    """A replay of one slice with an account, a merge and a refusal in it, then as many live events."""
    source, live = (SourceFactory(workspace=space.workspace) for _ in range(2))
    past = [
        message(at=-9, anonymousId="a1"),
        message("identify", at=-8, userId="u1", traits={"plan": 1}),
        message("group", at=-7, userId="u1", groupId="g1", traits={"name": "Acme"}),
        message(at=-6, userId="u1", anonymousId="a1"),
    ]
    now = [
        message(userId="u2", anonymousId="a1"),
        message("identify", userId="u2", anonymousId="a2", traits={"plan": 2}),
        message(anonymousId="a3"),
        message(anonymousId="a3", userId="u2"),
    ]
    archived_in = {source: archived(source, *past)}
    connect(space, [source], clock=FixedClock(NOON))
    listening(space, live)
    archived_in[live] = archived(live, *now)
    return [
        (whose.pk, archived_in[whose], place, each)
        for whose, rows in ((source, past), (live, now))
        for place, each in enumerate(rows)
    ]


def test_a_death_at_each_single_point_neither_loses_nor_doubles_nor_changes_anything(monkeypatch):
    """Whoever works on the space dies at the first point of each batch; of another space, at the second; and so on."""
    put, run_at_once, points, fate = client.put, client.run_at_once, [], Fate(0)

    def put_by_fate(table, rows):
        if table is ARCHIVE:
            put(table, rows)
        else:
            fate.at("insert")
            put(table, rows)
            fate.at("inserted")

    def copy_by_fate(statements):
        fate.at("copy")
        run_at_once(statements)
        fate.at("copied")

    monkeypatch.setattr(client, "put", put_by_fate)
    monkeypatch.setattr(client, "run_at_once", copy_by_fate)
    monkeypatch.setattr(batches, "reach", lambda point: fate.at(point))
    for number in itertools.count():
        space, fate = SpaceFactory(), Fate(number)
        sent, died = small_month(space), fate.died
        while not _drained(Mortal(fate.passes), space):
            pass  # a new process goes on
        slow = reference(space, DEFAULT_POLICY, sent)
        assert people(space) == as_sets(slow.profiles()), died
        assert people(space, Profile.Kind.ACCOUNT) == as_sets(slow.accounts()), died
        assert links(space) == slow.links(), died
        assert len(recorded(space)) == len(sent), died
        assert ChangeSet.objects.filter(space=space, key=ChangeSet.EVERYTHING).count() == 1, died
        assert not Connection.objects.filter(space=space).exclude(state=Connection.State.LIVE).exists(), died
        if not died:
            break
        points += died
    assert len(points) > 30
    assert set(points) == {
        "in decide",
        "resolve:preparing",
        "resolve:prepared",
        "insert",
        "inserted",
        "copy",
        "copied",
        "resolve:written",
        "in publish",
        "resolve:committing",
        "resolve:committed",
    }


class Fate:
    """Death in each batch at the point that is passed there after `spared` others; `died`: the names of all of them."""

    def __init__(self, spared):
        self.spared = self.left = spared
        self.died = []

    def passes(self, point):
        dies, self.left = self.left == 0, self.left - 1
        self.died += [point] if dies else []
        if point == "resolve:committed":  # the next one is of another batch
            self.left = self.spared
        return dies

    def at(self, point):
        if self.passes(point):
            raise Killed(point)


def _drained(using, space):
    """Whether nothing was left to do before death came."""
    try:
        while advance(using, resolve_log(space)):
            pass
    except Killed:
        return False
    return True


def test_an_owner_that_is_overtaken_while_it_writes_changes_nothing(space, monkeypatch):
    sent = small_month(space)
    log, insert, overtaken = resolve_log(space), timeline.insert, []

    def meanwhile(*args, **owner):
        insert(*args, **owner)
        monkeypatch.setattr(timeline, "insert", insert)
        overtaken.append(resolved(space, stage(live_rows=2)))  # somebody else does all there is to do

    monkeypatch.setattr(timeline, "insert", meanwhile)
    with pytest.raises(batches.Overtaken):
        advance(stage(), log)
    assert overtaken == [4]
    resolved(space)
    slow = reference(space, DEFAULT_POLICY, sent)
    assert people(space) == as_sets(slow.profiles())
    assert len(recorded(space)) == len(sent)


def test_an_owner_that_read_before_another_decided_decides_nothing(space, source):
    listening(space, source)
    archived(source, message(id="m1", userId="u1"))

    class Slow(Resolve):
        def read(self, log, limit):
            intake = super().read(log, limit)
            resolved(space)
            return intake

    with pytest.raises(batches.Overtaken):
        advance(Slow(FixedClock(NOON)), resolve_log(space))
    assert [(row.message_id, row.piece) for row in recorded(space)] == [("m1", 1)]


def decided(space):
    """A batch was prepared, and its owner died."""
    with pytest.raises(Killed):
        advance(Mortal(lambda point: point == "in publish"), resolve_log(space))
    assert recorded(space) == []


def test_rules_that_change_between_decide_and_write_change_nothing_of_the_piece(space, source):
    crm = {"type": "crm", "limit": {"count": 5, "period": "ever"}}
    user = {"type": "user_id", "limit": {"count": 1, "period": "ever"}}
    space.identity_policy = {"identifiers": [user, crm]}
    space.save()
    listening(space, source)
    archived(source, message(id="m1", userId="u1", anonymousId="a1", properties={"crm": "c1"}))
    decided(space)
    change_policy(space, None)
    archived(source, message(id="m2", userId="u2", anonymousId="a2", properties={"crm": "c1"}))
    resolved(space)
    columns = "SELECT message_id, identifiers FROM profile_events WHERE "
    assert dict(client.rows(columns + scope(space).condition)) == {
        "m1": [("user_id", "u1"), ("crm", "c1")],
        "m2": [("user_id", "u2"), ("anonymous_id", "a2")],
    }
    assert {identifiers for identifiers, _, _ in people(space)} == {
        frozenset({("user_id", "u1"), ("crm", "c1")}),
        frozenset({("user_id", "u2"), ("anonymous_id", "a2")}),
    }


def test_a_replay_that_is_cancelled_between_decide_and_publish_keeps_what_was_decided(space, source):
    archived(source, *(message(id=f"r{n}", at=n - 10, userId=f"u{n}") for n in range(8)))
    replay = connect(space, [source], clock=FixedClock(NOON))
    archived(source, message(id="live", userId="u1"))
    decided(space)
    cancel_replay(replay, FixedClock(NOON))
    resolved(space)
    assert [row.message_id for row in recorded(space)] == ["r0", "r1", "r2", "r3", "live"]
    replay.refresh_from_db()
    assert (replay.state, replay.done) == ("cancelled", 4)
    assert ChangeSet.objects.filter(space=space, key=ChangeSet.EVERYTHING).count() == 1


def test_a_replay_that_is_cancelled_while_its_end_is_published_stays_cancelled(space, source):
    replay = connect(space, [source], clock=FixedClock(NOON))
    decided(space)
    cancel_replay(replay, FixedClock(NOON))
    archived(source, message(id="live", userId="u1"))
    resolved(space)
    replay.refresh_from_db()
    assert replay.state == "cancelled"
    assert [row.message_id for row in recorded(space)] == ["live"]


@pytest.mark.parametrize(("resume", "missed"), [(True, ["m3", "m4", "m5"]), (False, [])])
def test_a_source_that_is_disconnected_between_decide_and_publish_goes_on_where_it_was(space, source, resume, missed):
    listening(space, source)
    archived(source, *(message(id=f"m{n}", userId="u1") for n in range(6)))
    decided(space)  # three of them
    disconnect(Connection.objects.get(space=space), FixedClock(NOON))
    connect(space, [source], replay=resume, clock=FixedClock(NOON))
    archived(source, message(id="after", userId="u1"))
    resolved(space)
    assert [row.message_id for row in recorded(space)] == ["m0", "m1", "m2", *missed, "after"]


def test_a_slice_of_a_source_that_was_deleted_meanwhile_keeps_what_others_sent(space, source):
    other = SourceFactory(workspace=space.workspace)
    archived(source, *(message(id=f"gone{n}", at=2 * n - 100, userId=f"u{n}") for n in range(8)))
    archived(other, *(message(id=f"kept{n}", at=2 * n - 99, userId=f"u{n}") for n in range(8)))
    connect(space, [source, other], clock=FixedClock(NOON))
    decided(space)
    delete_source(source)
    resolved(space, stage(replay_rows=4))
    assert [row.message_id for row in recorded(space)] == [f"kept{n}" for n in range(8)]


def test_a_replay_of_which_every_source_was_deleted_ends(space, source):
    archived(source, *(message(userId=f"u{n}", at=n - 9) for n in range(8)))
    replay = connect(space, [source], clock=FixedClock(NOON))
    decided(space)
    delete_source(source)
    resolved(space)
    replay.refresh_from_db()
    assert replay.state == "cancelled"
    assert recorded(space) == []


def visible_rows(space):
    return {
        table.name: sorted(map(str, client.rows(f"SELECT * FROM {table.name} WHERE " + scope(space).condition)))
        for table in WRITTEN
    }


def test_what_a_stalled_owner_writes_late_stays_invisible_and_is_swept(space, source):
    listening(space, source)
    archived(
        source,
        message(anonymousId="a1"),
        message("identify", userId="u1", traits={"x": 1}),
        message(userId="u1", anonymousId="a1"),
    )
    log, stalled = resolve_log(space), Mortal(lambda point: point == "in publish")
    with pytest.raises(Killed):
        advance(stalled, log)
    piece = log.batches.get()
    decision = resolve.msgspec.msgpack.decode(bytes(piece.prepared), type=resolve.PreparedResolve)
    resolved(space)
    before = visible_rows(space)
    stage().write(log, decision, piece.number)
    resolved(space)
    assert visible_rows(space) == before
    assert [row.piece for row in recorded(space)] == [2, 2, 2]
    stage().erase(log, [piece.number])
    for table in WRITTEN:
        left = client.rows(
            f"SELECT count() FROM {table.name} WHERE "
            + timeline.Scope(space.workspace_id, space.pk, batches.Visible(space.pk, 1)).condition
        )
        assert left[0][0] == 0


def test_a_piece_written_anew_is_the_same_to_the_row(space, source):
    listening(space, source)
    archived(source, message("group", groupId="g1", userId="u1", traits={"x": 1}), message(id="no", userId="null"))
    archived(source, message("page", name="Home", anonymousId="a1"))
    kept, fresh = stage(), stage()
    log = resolve_log(space)
    intake = kept.read(log, 100)
    decision = kept.prepare(log, intake, 1)
    kept.write(log, decision, 1)
    fresh.write(log, decision, 2)
    rows = {
        number: [
            sorted(
                str(row)
                for row in client.rows(
                    Sql(f"SELECT * EXCEPT ({own}) FROM {table.name} WHERE space = {space.pk} AND piece = {number}")
                )
            )
            for table in WRITTEN
            for own in ["piece, first_piece" if "first_piece" in table.columns else "piece"]
        ]
        for number in (1, 2)
    }
    assert rows[1] == rows[2]
    assert [len(part) for part in rows[1]] == [2, 3, 1, 0, 3, 1]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (resolve, "event_batch"),
        (resolve.event_rows, "timeline"),
        (resolve.event_rows, "traits"),
        (resolve, "consume_live"),
    ],
)
def test_a_bug_in_one_release_loses_no_event(space, source, monkeypatch, module, name):
    listening(space, source)
    archived(source, *(message(userId=f"u{n}") for n in range(64)))
    right = getattr(module, name)

    def broken(*_, **__):
        raise TypeError("a bug of this release")

    monkeypatch.setattr(module, name, broken)
    log, using, tries = resolve_log(space), stage(), 0
    with contextlib.suppress(TypeError):
        while tries < 2000 and advance(using, log):
            tries += 1
    assert (tries, advance(using, log)) == (0, False), "it waits"
    monkeypatch.setattr(module, name, right)
    monkeypatch.setattr(batches, "STARTED", timezone.now())  # the fix is released
    archived(source, message(userId="after"))
    resolved(space)
    assert len(recorded(space)) == 65
    assert not Reject.objects.filter(source=source).exists()


def test_a_row_that_cannot_be_written_is_rejected_and_the_rest_is_not(space, source, monkeypatch):
    listening(space, source)
    archived(source, *(message(id=f"m{n}", userId=f"u{n % 3}", anonymousId=f"a{n % 4}") for n in range(9)))
    insert = timeline.insert

    def refusing(table, columns, **owner):
        if table is TIMELINE and "m5" in columns["message_id"].to_pylist():
            raise Unwritable("m5 is too odd")
        insert(table, columns, **owner)

    monkeypatch.setattr(timeline, "insert", refusing)
    log = resolve_log(space)
    for _ in range(40):
        advance(stage(), log)
    assert sorted(row.message_id for row in recorded(space)) == [f"m{n}" for n in range(9) if n != 5]
    (reject,) = Reject.objects.filter(source=source)
    assert (reject.code, reject.message_id, reject.reason) == ("unstorable", "m5", "m5 is too odd")
    archived(source, message(id="next", userId="u1"))
    resolved(space)
    assert recorded(space)[-1].message_id == "next"
    assert ChangeSet.objects.filter(space=space, key="event:Seen").count() == 2


def test_a_row_that_cannot_be_decided_is_rejected_and_stepped_over(space, source, monkeypatch):
    other = SourceFactory(workspace=space.workspace)
    listening(space, source)
    listening(space, other)
    archived(source, *(message(id=f"m{n}", userId=f"u{n}") for n in range(5)))
    archived(other, *(message(id=f"o{n}", userId=f"u{n}") for n in range(3)))
    event_batch = resolve.event_batch

    def refusing(rows, policy):
        if "m2" in rows["message_id"].to_pylist():
            raise Unwritable("m2 cannot be stored")
        return event_batch(rows, policy)

    monkeypatch.setattr(resolve, "event_batch", refusing)
    log = resolve_log(space)
    while advance(stage(), log):
        pass
    assert sorted(row.message_id for row in recorded(space)) == ["m0", "m1", "m3", "m4", "o0", "o1", "o2"]
    assert list(Reject.objects.values_list("source", "message_id")) == [(source.pk, "m2")]


def test_a_row_that_postgresql_refuses_is_rejected_and_stepped_over(space, source, monkeypatch):
    """Nothing that is archived can bring this about, as far as anyone knows; and nothing may stop a log for ever."""
    listening(space, source)
    archived(source, *(message(id=f"m{n}", userId=f"u{n}") for n in range(5)))
    event_batch = resolve.event_batch

    def far_away(rows, policy):
        batch = event_batch(rows, policy)
        batch.times = [10**18 if id == "m2" else at for id, at in zip(batch.ids, batch.times, strict=True)]
        return batch

    monkeypatch.setattr(resolve, "event_batch", far_away)
    resolved(space)
    assert [row.message_id for row in recorded(space)] == ["m0", "m1", "m3", "m4"]
    (reject,) = Reject.objects.filter(source=source)
    assert (reject.code, reject.message_id) == ("unstorable", "m2")


def test_a_piece_of_a_source_that_was_deleted_meanwhile_keeps_what_others_sent(space, source):
    other = SourceFactory(workspace=space.workspace)
    for each in (source, other):
        listening(space, each)
        archived(each, *(message(id=f"{each.pk}-{n}", userId=f"{each.pk}-{n}") for n in range(3)))
    with pytest.raises(Killed):
        advance(Mortal(lambda point: point == "in publish"), resolve_log(space))
    first = recorded(space)
    delete_source(source)
    resolved(space)
    assert first == []
    assert [row.message_id for row in recorded(space)] == [f"{other.pk}-{n}" for n in range(3)]
    assert recorded(space)[0].profile == 2
    assert Connection.objects.get(source=source.pk).state == Connection.State.DISCONNECTED
