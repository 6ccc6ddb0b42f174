"""What grows is bounded: every table is, by a rule that is shown to work or by what it is."""

from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from pyroaring import BitMap

from access.models import AuditEntry, Invitation
from audiences.models import Audience, Change, Draft
from identity.models import Evidence
from personas_site import erasure, retention
from personas_site.retention import EVENT_RULES, RULES, retain
from sources.events import client
from sources.events.schema import TABLES
from sources.events.sql import sql
from sources.models import EventName, Reject
from spaces.models import Deletion
from tests.factories_audiences import World
from tests.factories_destinations import make_destination, make_subscription
from tests.factories_identity import DAY_MS, NOON, message
from tests.factories_sources import RejectFactory

pytestmark = pytest.mark.django_db

# By model: what keeps its table from growing for ever, where it is no rule of retention.
MADE_BY_HAND = "people make them one by one, and delete them"
OF_ONE = "one row of each thing that people make"
OF_PEOPLE = "as many as there are people and their identifiers: it goes with the space"
IN_WORK = "goes when the work is done"
BOUNDS = {
    "alerts.AlertChannel": MADE_BY_HAND,
    "alerts.AlertRoute": MADE_BY_HAND,
    "alerts.AlertRule": MADE_BY_HAND,
    "destinations.RememberedValues": "one for a destination and for what goes there",
    "access.AuditEntry": "as long as changes: access.services.forget",
    "access.SpaceGroupPermission": MADE_BY_HAND,
    "access.SpaceUserPermission": MADE_BY_HAND,
    "access.Membership": MADE_BY_HAND,
    "access.Token": MADE_BY_HAND,
    "access.User": MADE_BY_HAND,
    "audiences.Audience": MADE_BY_HAND,
    "audiences.Evaluation": OF_ONE,
    "audiences.ComputedTrait": MADE_BY_HAND,
    "audiences.Warehouse": MADE_BY_HAND,
    "audiences.SqlTrait": MADE_BY_HAND,
    "audiences.SqlRun": "the newest 200 of each SQL trait (audiences.sql_runs)",
    "audiences.SqlValue": OF_PEOPLE,
    "audiences.Version": "one of each change that somebody made to a definition",
    "auth.Group": OF_ONE,
    "auth.Permission": "the code's own",
    "contenttypes.ContentType": "the code's own",
    "destinations.Acknowledged": OF_PEOPLE,
    "destinations.Caught": "the built-in tool for trying out; it goes with the destination",
    "destinations.Destination": MADE_BY_HAND,
    "destinations.Subscription": MADE_BY_HAND,
    "guardian.GroupObjectPermission": MADE_BY_HAND,
    "guardian.UserObjectPermission": MADE_BY_HAND,
    "identity.ChangeReader": OF_ONE,
    "identity.Graph": OF_ONE,
    "identity.Identifier": OF_PEOPLE,
    "identity.Link": OF_PEOPLE,
    "identity.Merge": OF_PEOPLE,
    "identity.DryRun": "goes a week after it ended (identity.dry_runs.sweep)",
    "identity.Profile": OF_PEOPLE,
    "identity.ProfileNote": MADE_BY_HAND,
    "identity.ProfileSplit": MADE_BY_HAND,
    "access.ProfileToken": MADE_BY_HAND,
    "identity.ChangeSet": "goes when every version has seen it (audiences.evaluate)",
    "console.Sample": MADE_BY_HAND,
    "profiles_sync.ProfilesSync": MADE_BY_HAND,
    "profiles_sync.SyncRun": "the newest 200 of each sync (profiles_sync.running)",
    "profiles_sync.SyncedMembers": "one of each audience and computed trait, until it is gone",
    "profiles_sync.SyncedProfile": OF_PEOPLE,
    "sources.Connection": MADE_BY_HAND,
    "sources.Consumed": "one of each replay, until a wider one takes it in (sources.consumption)",
    "sources.Inbox": f"{IN_WORK}, and what waits is limited (PERSONAS_INBOX_MAX_MB)",
    "sources.Replay": MADE_BY_HAND,
    "sources.Source": MADE_BY_HAND,
    "sources.Suppression": "one of each identifier that somebody asked for; it goes when they are suppressed no longer",
    "sources.SuppressionKey": OF_ONE,
    "sources.Tally": OF_ONE,
    "sources.WriteKey": MADE_BY_HAND,
    "spaces.Abandoned": "goes after a day (spaces.batches.sweep)",
    "spaces.Installation": "one row",
    "spaces.Log": OF_ONE,
    "spaces.Batch": IN_WORK,
    "spaces.Replaced": "goes with its rows after an hour (identity.splits.sweep)",
    "spaces.Space": MADE_BY_HAND,
    "spaces.Workspace": MADE_BY_HAND,
}
EVENT_BOUNDS = {
    "archive": "events",
    "timeline": "events",
    "profile_events": "events",
    "delivery_log": "delivery_log",
    "membership_log": "membership_log",
    "trait_log": "trait_log",
    "traits": OF_PEOPLE,
    "overlay": OF_PEOPLE,
    "profiles": OF_PEOPLE,
    "links": OF_PEOPLE,
    "places": "the batches that are under way: what is of one goes when its rows are copied",
}
LATER = timedelta(days=3 * 365 + 1)


def test_every_model_says_what_bounds_it():
    models = {model._meta.label for model in apps.get_models()}
    ruled = {model._meta.label for model in RULES}
    assert models - ruled == BOUNDS.keys()


def test_every_event_table_says_what_bounds_it():
    assert {table.name for table in TABLES} == EVENT_BOUNDS.keys()
    assert EVENT_RULES.keys() <= set(EVENT_BOUNDS.values())


@pytest.fixture
def world():
    return World()


def rows(world, table):
    return client.rows(sql(f"SELECT count() FROM {table} WHERE workspace = %s", world.space.workspace_id))[0][0]


def test_events_go_by_event_time_and_a_source_may_keep_them_for_less(world):
    world.sent(*[message(userId="u", at=-days * DAY_MS) for days in (0, 5, 50, 1000)])
    retain(NOON)
    assert [rows(world, table) for table in ("archive", "timeline", "profile_events")] == [4, 4, 4]
    world.source.keep_days = 30
    world.source.save()
    other = World()
    other.sent(message(userId="u", at=-50 * DAY_MS))
    retain(NOON)
    assert [rows(world, table) for table in ("archive", "timeline", "profile_events")] == [2, 2, 2]
    assert [rows(other, table) for table in ("archive", "timeline", "profile_events")] == [1, 1, 1]
    retain(NOON + LATER)
    assert rows(other, "archive") == rows(other, "timeline") == 0


def test_rejects_sessions_drafts_invitations_and_entries_go(world, settings):
    def made():
        models = (Reject, Session, Draft, Invitation, AuditEntry, Deletion, Evidence, EventName)
        return [model.objects.count() for model in models]

    world.sent(message(userId="u"))
    new = RejectFactory(source=world.source, received_at=NOON)
    RejectFactory(source=world.source, received_at=NOON - timedelta(days=31))
    Session.objects.create(session_key="old", session_data="", expire_date=NOON - timedelta(days=1))
    Session.objects.create(session_key="new", session_data="", expire_date=NOON + timedelta(days=1))
    name = {"type": "track", "event": "Seen", "first_seen_at": NOON, "last_seen_at": NOON}
    EventName.objects.create(workspace=world.space.workspace, source=world.source, **name)
    Deletion.objects.create(workspace=world.space.workspace, kind="space", target=1, name="x", finished_at=NOON)
    retain(NOON)
    assert list(Reject.objects.all()) == [new]
    assert [each.session_key for each in Session.objects.all()] == ["new"]
    assert Deletion.objects.exists()
    assert EventName.objects.exists()
    retain(NOON + LATER)
    assert not any(made())


def test_changes_go_only_when_every_reader_is_past_them(world):
    audience = world.audience("a", {"kind": "event", "name": "Ordered"})
    world.did("u1", "Ordered")
    world.computed()
    subscription = make_subscription(audience, make_destination(world.space))
    audience = Audience.objects.get(pk=audience.pk)
    newest = max(Change.objects.values_list("tick", flat=True))
    retain(NOON + LATER)
    assert Change.objects.exists()  # what the members are made of
    members = BitMap(world.members(audience) and [1])
    audience.serving.__class__.objects.filter(pk=audience.serving_id).update(
        snapshot=members.serialize(), snapshot_tick=newest + 1
    )
    retain(NOON + LATER)
    assert Change.objects.exists()  # the destination has not heard of it
    subscription.__class__.objects.filter(pk=subscription.pk).update(tick=newest + 1)
    retain(NOON + timedelta(days=1))
    assert Change.objects.exists()  # it is not old
    retain(NOON + LATER)
    assert not Change.objects.exists()
    assert world.members(Audience.objects.get(pk=audience.pk)) == {"u1"}


def test_what_is_wrong_with_one_rule_keeps_no_other_from_its_work(world, monkeypatch):
    RejectFactory(source=world.source, received_at=NOON - timedelta(days=31))
    monkeypatch.setitem(retention.RULES, Evidence, lambda now: 1 / 0)
    monkeypatch.setitem(retention.EVENT_RULES, "events", lambda now: 1 / 0)
    retain(NOON)
    assert not Reject.objects.exists()


def test_a_finished_deletion_is_no_work():
    assert list(erasure.due(NOON)) == []
