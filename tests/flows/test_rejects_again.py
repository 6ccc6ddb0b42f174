"""Rejects that are driven again: each once, whoever asks how often, and whoever dies on the way."""

import itertools
import random
import time

import pyarrow
import pytest
from django.db import connection
from msgspec.structs import replace

from identity import graph_store
from identity.models import ChangeSet, Profile
from identity.resolve_stage import waiting
from identity.rules.policy import DEFAULT_POLICY, Blocked, policy_of
from identity.services import change_policy
from personas_site import erasure
from sources.events import timeline
from sources.events.schema import TIMELINE
from sources.models import Reject
from sources.services import delete_source, retry_rejects
from spaces import batches
from spaces.batches import advance
from spaces.clock import clock
from spaces.errors import Unwritable
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_identity import (
    NOON,
    NOON_MS,
    archived,
    as_sets,
    listening,
    message,
    people,
    recorded,
    reference,
    resolve_log,
    resolved,
    stage,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def space():
    return SpaceFactory()


@pytest.fixture
def source(space):
    return SourceFactory(workspace=space.workspace)


def test_rejecting_is_not_quadratic(space, source):
    took = []
    for have in (0, 50_000, 200_000):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM sources_reject WHERE source_id = %s", [source.pk])
            (now,) = cursor.fetchone()
            cursor.execute(
                """INSERT INTO sources_reject (workspace_id, source_id, space_id, piece, position, received_at, code,
                                               reason, path, message_id, message, messages, call, whole, again)
                   SELECT %s, %s, %s, g, 0, now(), 'no_identifiers', 'x', '', 'old-' || g, repeat('y', 300), 1, '',
                          false, false
                   FROM generate_series(%s, %s) g""",
                [source.workspace_id, source.pk, space.pk, now + 1, have],
            )
            cursor.execute("ANALYZE sources_reject")
        count = 200
        table = pyarrow.table(
            {
                "source": pyarrow.array([source.pk] * count),
                "piece": pyarrow.array([1_000_000 + have] * count),
                "position": pyarrow.array(range(count)),
                "received_at": pyarrow.array([NOON_MS] * count),
                "message_id": pyarrow.array([f"new-{have}-{number}" for number in range(count)]),
                "message": pyarrow.array(["{}"] * count),
            }
        )
        begun = time.perf_counter()
        graph_store.reject(space.pk, table, code="no_identifiers", reason="x")
        took.append(time.perf_counter() - begun)
    assert Reject.objects.filter(source=source, message_id__startswith="new").count() == 600
    assert took[2] < 10 * max(took[0], 0.02), took


def allow_null(space):
    """The space takes the word that it blocked before for a user's id."""
    identifiers = tuple(replace(each, blocked=Blocked()) for each in DEFAULT_POLICY.identifiers)
    change_policy(space, replace(DEFAULT_POLICY, identifiers=identifiers))
    space.refresh_from_db()


def refused_world(space, source):
    """Two of three events carry nothing but a blocked value."""
    listening(space, source)
    sent = [message(id="m0", userId="u0"), message(id="m1", userId="null"), message(id="m2", userId="null")]
    piece = archived(source, *sent)
    places = [(source.pk, piece, place, each) for place, each in enumerate(sent)]
    resolved(space)
    assert sorted(Reject.objects.values_list("message_id", "code")) == [
        ("m1", "no_identifiers"),
        ("m2", "no_identifiers"),
    ]
    return places


def test_events_that_were_refused_are_resolved_once_the_rules_allow_it(space, source):
    places = refused_world(space, source)
    allow_null(space)
    assert retry_rejects(source, Reject.objects.all()) == 2
    assert retry_rejects(source, Reject.objects.all()) == 0, "a second click asks for nothing more"
    assert waiting(NOON) == [space.pk]
    resolved(space)
    assert waiting(NOON) == []
    assert not Reject.objects.exists()
    assert sorted(row.message_id for row in recorded(space)) == ["m0", "m1", "m2"]
    assert people(space) == as_sets(reference(space, policy_of(space.identity_policy), places).profiles())
    assert ChangeSet.objects.filter(space=space, key=ChangeSet.CREATED).count() == 2, "audiences hear of it"


def test_a_single_one_is_driven_again_and_refused_again_with_the_reason_of_today(space, source):
    refused_world(space, source)
    one = Reject.objects.get(message_id="m1")
    assert retry_rejects(source, Reject.objects.filter(pk=one.pk)) == 1
    resolved(space)
    assert Reject.objects.count() == 2
    again = Reject.objects.get(message_id="m1")
    assert again.pk != one.pk
    assert (again.again, again.retriable, again.space_id) == (False, True, space.pk)
    assert len(recorded(space)) == 1


def test_each_space_drives_its_own_again(space, source):
    other = SpaceFactory(workspace=space.workspace)
    listening(other, source)
    refused_world(space, source)
    resolved(other)
    allow_null(space)
    assert retry_rejects(source, Reject.objects.filter(space=space)) == 2
    resolved(space)
    resolved(other)
    assert set(Reject.objects.values_list("space", flat=True)) == {other.pk}
    assert (len(recorded(space)), len(recorded(other))) == (3, 1)


def test_whoever_dies_on_the_way_each_is_resolved_once(space, source, monkeypatch):
    class Killed(BaseException):
        pass

    monkeypatch.setattr(batches, "MANY_DEATHS", 1_000)
    dice, passed = random.Random(3), itertools.count()
    refused_world(space, source)
    allow_null(space)

    def reach(point):
        if next(passed) < 60 and dice.random() < 0.5:
            raise Killed(point)

    monkeypatch.setattr(batches, "reach", reach)
    for _ in range(200):
        retry_rejects(source, Reject.objects.all())
        try:
            if not advance(stage(), resolve_log(space)):
                break
        except Killed:
            continue
    assert not Reject.objects.exists()
    assert sorted(row.message_id for row in recorded(space)) == ["m0", "m1", "m2"]
    assert Profile.objects.filter(space=space, merged_into=None).count() == 2


def test_an_event_that_clickhouse_refused_is_there_after_the_cure(space, source, monkeypatch):
    listening(space, source)
    archived(source, *(message(id=f"m{n}", userId=f"u{n}") for n in range(5)))
    insert = timeline.insert

    def refusing(table, columns, **owner):
        if table is TIMELINE and "m3" in columns["message_id"].to_pylist():
            raise Unwritable("m3 is too odd")
        insert(table, columns, **owner)

    with monkeypatch.context() as patched:
        patched.setattr(timeline, "insert", refusing)
        resolved(space)
    assert len(recorded(space)) == 4
    assert retry_rejects(source, Reject.objects.all()) == 1
    resolved(space)
    assert sorted(row.message_id for row in recorded(space)) == ["m0", "m1", "m2", "m3", "m4"]
    assert Profile.objects.filter(space=space, merged_into=None).count() == 5
    assert not Reject.objects.exists()


def test_those_of_a_source_that_is_deleted_are_gone_and_hold_nobody_up(space, source):
    refused_world(space, source)
    retry_rejects(source, Reject.objects.all())
    delete_source(source)
    assert resolved(space) == 0
    assert space.pk not in waiting(clock.now())
    for pk in erasure.due(clock.now()):
        while erasure.advance(pk, clock.now()):
            pass
    assert not Reject.objects.exists()
