"""Whoever dies between decide, write and publish: each event is in the timeline once, and the profiles are right."""

import random

import pytest

from identity import resolve
from identity.models import Profile, Touch
from identity.resolve import Resolve
from identity.rules import DEFAULT_POLICY
from sources.events import client, timeline
from sources.events.schema import TIMELINE
from sources.events.sql import Sql
from sources.events.timeline import WRITTEN
from sources.models import Connection, Reject
from sources.services import connect, delete_source
from spaces import pieces
from spaces.clock import FixedClock
from spaces.pieces import Unwritable, advance
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


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class Mortal(Resolve):
    """Dies at some of the points of a piece."""

    def __init__(self, dies_at):
        super().__init__(FixedClock(NOON), replay_rows=4, live_rows=3)
        self.dies_at = dies_at

    def decide(self, log, intake, number):
        decision = super().decide(log, intake, number)
        self.reach("in decide")
        return decision

    def publish(self, log, decision, number, outcome):
        super().publish(log, decision, number, outcome)
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
    insert = timeline.insert
    monkeypatch.setattr(timeline, "insert", lambda *a, **k: (using.reach("insert"), insert(*a, **k)))
    monkeypatch.setattr(pieces, "reach", lambda point: using.reach(point))
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
    assert Touch.objects.filter(space=space, key=Touch.EVERYTHING).count() == 1


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
    piece = log.pieces.get()
    decision = resolve.msgspec.msgpack.decode(bytes(piece.decision), type=resolve.Decision)
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
            + timeline.Scope(space.workspace_id, space.pk, pieces.Visible(space.pk, 1)).condition
        )
        assert left[0][0] == 0


def test_a_piece_written_anew_is_the_same_to_the_row(space, source):
    listening(space, source)
    archived(source, message("group", groupId="g1", userId="u1", traits={"x": 1}), message(id="no", userId="null"))
    archived(source, message("page", name="Home", anonymousId="a1"))
    kept, fresh = stage(), stage()
    log = resolve_log(space)
    intake = kept.read(log, 100)
    decision = kept.decide(log, intake, 1)
    kept.write(log, decision, 1)
    fresh.write(log, decision, 2)
    rows = {
        number: [
            sorted(
                str(row)
                for row in client.rows(
                    Sql(f"SELECT * EXCEPT piece FROM {table.name} WHERE space = {space.pk} AND piece = {number}")
                )
            )
            for table in WRITTEN
        ]
        for number in (1, 2)
    }
    assert rows[1] == rows[2]
    assert [len(part) for part in rows[1]] == [2, 3, 1, 0, 3]


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
    assert Touch.objects.filter(space=space, key="event:Seen").count() == 2


def test_a_row_that_cannot_be_decided_is_rejected_and_stepped_over(space, source, monkeypatch):
    other = SourceFactory(workspace=space.workspace)
    listening(space, source)
    listening(space, other)
    archived(source, *(message(id=f"m{n}", userId=f"u{n}") for n in range(5)))
    archived(other, *(message(id=f"o{n}", userId=f"u{n}") for n in range(3)))
    batch = resolve.batch

    def refusing(rows, policy):
        if "m2" in rows["message_id"].to_pylist():
            raise ValueError("m2 cannot be read")
        return batch(rows, policy)

    monkeypatch.setattr(resolve, "batch", refusing)
    log = resolve_log(space)
    for _ in range(60):
        try:
            advance(stage(), log)
        except ValueError:
            continue
    assert sorted(row.message_id for row in recorded(space)) == ["m0", "m1", "m3", "m4", "o0", "o1", "o2"]
    assert list(Reject.objects.values_list("source", "message_id")) == [(source.pk, "m2")]


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
    assert not Connection.objects.filter(source=source.pk).exists()
