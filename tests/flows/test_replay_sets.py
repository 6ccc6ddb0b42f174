"""A replay looks at sets of identifiers, a live batch at every event: of the same events both make the same rows."""

import json
from itertools import groupby

import pytest
from django.apps import apps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.models import ChangeSet, Profile
from identity.resolve import RowsLost
from identity.rules.policy import DEFAULT_POLICY, Definition, Limit, Policy
from sources.events import archive_table, client, plain_rows
from sources.events.schema import PLACES, TIMELINE, TRAITS
from sources.events.sql import sql
from sources.events.timeline import WRITTEN
from sources.models import Reject
from sources.services import connect
from spaces.batches import advance
from spaces.clock import FixedClock
from spaces.errors import Unwritable
from tests.factories import SourceFactory, SpaceFactory, WorkspaceFactory
from tests.factories_identity import (
    DAY_MS,
    NOON,
    archived,
    listening,
    message,
    recorded,
    resolve_log,
    resolved,
    stage,
)

pytestmark = pytest.mark.django_db

# What differs for other reasons than the way it was resolved: whose it is, and ids that are drawn.
OF_BATCHES = {"piece", "set_aside"}  # and what differs by how many rows a batch has
OWN = {"id", "public_id", "workspace_id", "space_id", "created_at", "set_hash"}

texts = st.sampled_from(["x", "é\U0001f600", 'a"b', "back\\slash", "1.0", "true", "[1]", "{", "12345678901234567890"])
numbers = st.sampled_from([0, 5, -7, 1.0, 2.5, 1e20, 12345678901234567890123, -0.0])
scalars = texts | numbers | st.sampled_from([None, True, False])
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.sampled_from(["a", "a.b"]), scalars, max_size=2)
emails = st.sampled_from(["a@x.org", "A@x.org ", "b@x.org", "c@x.org", "null"]) | values
ids = st.sampled_from(["c1", "c2"]) | values
traits = st.fixed_dictionaries({}, optional={"email": emails, "crm_id": ids, "crmId": ids, "plan": values})
properties = st.fixed_dictionaries(
    {},
    optional={
        "email": emails,
        "crm_id": ids,
        "userId": values,
        "properties": values,
        "page_name": values,
        "price": values,
        "": scalars,
    },
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "id": ids,
        "type": st.sampled_from(["crm_id", "other", 5, None]),
        "collection": st.sampled_from(["users", "accounts", 1]),
        "encoding": st.sampled_from(["none", None]),
    },
)
devices = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["d1", "d2", 7, 7.0, None]),
        "type": st.sampled_from(["ios", " Android", 5]),
        "advertisingId": st.sampled_from(["ad1", "ad2"]),
        "adTrackingEnabled": st.sampled_from([True, False, "true", 1, None]),
        "token": values,
    },
)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "traits": traits | values,
        "device": devices | values,
        "externalIds": st.lists(entries, max_size=2) | st.lists(entries | values, max_size=3) | values,
        "integrations": st.sampled_from(
            [{"Google Analytics": {"clientId": "g"}}, {"Google Analytics": True}, {"personas": False}, ["g"]]
        ),
        "properties": values,
        "consent": st.sampled_from([{"categoryPreferences": {"ads": True}}, {"categoryPreferences": 1}]),
    },
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "userId": st.sampled_from(["u1", "u2", "u3", "null", "7"]),
        "anonymousId": st.sampled_from([f"a{n}" for n in range(5)]),
        "groupId": st.sampled_from(["g1", "g2"]),
        "name": texts,
        "category": st.sampled_from(["Shoes", "{", '"']),
        "traits": traits,
        "properties": properties | st.just({"price": 5, "currency": "EUR"}),
        "context": contexts,
        "integrations": st.sampled_from([{"All": False}, {"All": False, "Personas": True}, {"Mail": False}]),
    },
)
TYPES = ["user_id", "email", "crm_id", "anonymous_id", "ios.id", "android.id", "ios.idfa", "ga_client_id", "group_id"]
kinds = st.sampled_from(["track", "track", "page", "screen", "alias", "identify", "group"])
times = st.integers(-3, 0).map(lambda days: days * DAY_MS) | st.integers(-3 * DAY_MS, 0)
streams = st.lists(st.tuples(kinds, times, fields, st.integers(0, 1)), max_size=24)
limits = st.builds(Limit, st.integers(1, 2), st.sampled_from(["daily", "ever"]))
policies = st.just(DEFAULT_POLICY) | st.builds(
    lambda each, merges, mappings: Policy(tuple(map(Definition, TYPES, each)), merges, mappings),
    st.lists(limits, min_size=len(TYPES), max_size=len(TYPES)),
    st.sampled_from([0, 1, 100]),
    st.sampled_from([3, 1000]),
)


def archived_in_order(sources, stream):
    """In the order of event time, and received in it, so that a live reader has the order that a replay has."""
    ordered = sorted(
        ((at, sources[which], message(type, at=at, id=f"m{number}", **more))
         for number, (type, at, more, which) in enumerate(stream)),
        key=lambda sent: (sent[0], sent[1].pk),
    )  # fmt: skip
    for turn, (source, run) in enumerate(groupby(ordered, key=lambda sent: sent[1])):
        archived(source, *(sent for _, _, sent in run), received=turn)


def rows_of(space, left_out=OWN, tables=(*WRITTEN, PLACES), more=""):
    """Of every table what it has of the space, without what only says that it is this space."""
    kept = {}
    for model in [*apps.get_app_config("identity").get_models(), Reject]:
        names = [field.attname for field in model._meta.concrete_fields if field.attname not in left_out]
        if model is not ChangeSet:  # a replay tells at its end, and everyone
            kept[model.__name__] = sorted(map(repr, model.objects.filter(space=space).values_list(*names)))
    for table in tables:
        # As text: the driver does not read every JSON column.
        query = f"SELECT toJSONString(tuple(* EXCEPT (workspace, space{more}))) FROM {table.name} WHERE space = %s"
        kept[table.name] = sorted(row for (row,) in client.rows(sql(query, space.pk)))
    return kept


def assert_same(expected, actual):
    for name, rows in expected.items():
        assert actual[name] == rows, name


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies, streams)
def test_a_replay_makes_the_rows_that_looking_at_every_event_makes(policy, stream):
    assert_replay_is_live(policy, stream)


def assert_replay_is_live(policy, stream):
    stored = None if policy is DEFAULT_POLICY else policy.to_json()
    workspace = WorkspaceFactory()
    live, replayed, sliced = (SpaceFactory(workspace=workspace, identity_policy=stored) for _ in range(3))
    sources = [SourceFactory(workspace=workspace) for _ in range(2)]
    for source in sources:
        listening(live, source)
    archived_in_order(sources, stream)
    resolved(live, stage(live_rows=1_000))
    for space, rows in ((replayed, 1_000), (sliced, 3)):
        connect(space, sources, clock=FixedClock(NOON))
        resolved(space, stage(replay_rows=rows))
    assert_same(rows_of(live), rows_of(replayed))
    # What was known of somebody before a merge is kept only where a batch ended in between.
    merged = Profile.objects.filter(space__in=[live, sliced], merged_into__isnull=False)
    merged.update(traits={}, traits_seen={})
    by_event = {"left_out": OWN | OF_BATCHES, "tables": (TIMELINE, TRAITS), "more": ", piece, position"}
    assert_same(rows_of(live, **by_event), rows_of(sliced, **by_event))


CRM = Policy((*DEFAULT_POLICY.identifiers, Definition("crm_id")))
DEVICE = {"id": "d1", "type": "ios", "advertisingId": "ad"}
ENTRY = {"id": "c1", "type": "crm_id", "collection": "users", "encoding": "none"}


AWKWARD = (
    *({"properties": {"email": value}} for value in ("1", 1, 1.0, True, "true", 1e20, "100000000000000000000", -0.0)),
    *({"properties": {"email": value}} for value in (["a@x.org"], {"a": 1}, '{"a":1}', 12345678901234567890123)),
    *({"context": {"traits": value}} for value in (["t@x.org"], {"email": "t@x.org"}, 5)),
    *({"context": {"device": DEVICE | {"adTrackingEnabled": value}}} for value in (True, False, "true", 1, None)),
    *({"context": {"device": {"id": "d1", "type": value}}} for value in ("ios", " IOS", 5)),
    {"context": {"device": ["d2", "ios"]}},
    *({"context": {"externalIds": value}} for value in ([ENTRY], [{**ENTRY, "id": 1.0}], [{**ENTRY, "id": 1}], 5)),
    {"context": {"externalIds": [["c2", "crm_id", "users", "none"], ENTRY]}},
    {"context": {"externalIds": [{**ENTRY, "type": 5}, {**ENTRY, "id": {"id": "c3"}}, {**ENTRY, "id": "c4"}]}},
    *({"context": {"integrations": {"Google Analytics": value}}} for value in ({"clientId": "g"}, ["g"], True)),
    *({"traits": {"crmId": value}} for value in ("c5", 6, 6.0)),
    {"context": {"properties": {"a": 1}}},
    {"properties": {"properties": {"a": 1}}},
    *({"properties": {"a": value}} for value in ("\\", '"', "[", "{", "}", 10**20, "1" * 19, 1.0, None, "")),
    *({"integrations": value} for value in ({"All": False}, {"all": False, "PERSONAS": True}, {"Mail": False})),
    {"context": {"consent": {"categoryPreferences": {"ads": True}}}},
)  # fmt: skip
NAMED = [
    {"name": name, "category": "C", "properties": properties}
    for name in ("N", "{", '"', "1" * 19)
    for properties in ({}, {"a": 1}, {"screen_name": "own"}, {"a": {"screen_name": "deeper"}})
]


def test_messages_that_the_engine_would_read_in_another_way_are_read_as_they_are():
    sent = [(kind, fields) for fields in AWKWARD for kind in ("track", "page")]
    sent += [("screen", fields) for fields in NAMED]
    assert_replay_is_live(
        CRM,
        [
            (kind, place - len(sent), {"anonymousId": f"a{place}", **fields}, 0)
            for place, (kind, fields) in enumerate(sent)
        ],
    )


@pytest.fixture
def space():
    return SpaceFactory()


@pytest.fixture
def source(space):
    return SourceFactory(workspace=space.workspace)


def test_most_messages_are_copied_and_not_read(space, source, monkeypatch):
    plain = [message(id=f"p{n}", at=n - 9, userId="u", properties={"n": n}) for n in range(5)]
    read = message(id="r", userId="u", properties={"tags": ["a"]})
    archived(source, *plain, read)
    inserted = []
    put = client.put
    monkeypatch.setattr(client, "put", lambda table, rows: (inserted.append((table, rows.num_rows)), put(table, rows)))
    connect(space, [source], clock=FixedClock(NOON))
    resolved(space)
    assert (PLACES, 5) in inserted
    assert (TIMELINE, 1) in inserted
    query = "SELECT message_id, toJSONString(properties), toJSONString(lists) FROM timeline WHERE space = %s"
    rows = {id: (json.loads(own), json.loads(lists)) for id, own, lists in client.rows(sql(query, space.pk))}
    assert rows == {f"p{n}": ({"n": n}, {}) for n in range(5)} | {"r": ({}, {"tags": '["a"]'})}


def test_a_row_that_cannot_be_copied_is_rejected_and_the_rest_is_not(space, source, monkeypatch):
    archived(source, *(message(id=f"m{n}", at=n - 9, userId=f"u{n % 3}") for n in range(9)))
    copy = plain_rows.copy

    def refusing(rows, **owner):
        if 5 in rows["origin_position"].to_pylist():
            raise Unwritable("m5 is too odd")
        return copy(rows, **owner)

    monkeypatch.setattr(plain_rows, "copy", refusing)
    connect(space, [source], clock=FixedClock(NOON))
    for _ in range(40):
        advance(stage(), resolve_log(space))
    assert sorted(row.message_id for row in recorded(space)) == [f"m{n}" for n in range(9) if n != 5]
    (reject,) = Reject.objects.filter(source=source)
    assert (reject.code, reject.message_id, reject.reason) == ("unstorable", "m5", "m5 is too odd")
    assert json.loads(reject.message)["userId"] == "u2"


def test_rows_that_the_archive_lost_are_not_left_out_in_silence(space, source):
    archived(source, *(message(id=f"m{n}", at=n - 9, userId=f"u{n}") for n in range(3)))
    connect(space, [source], clock=FixedClock(NOON))
    using, log = stage(), resolve_log(space)
    intake = using.read(log, 100)
    prepared = using.prepare(log, intake, 1)
    client.run(sql("DELETE FROM archive WHERE source = %s AND position = 1", source.pk))
    with pytest.raises(RowsLost, match="2 of 3"):
        using.write(log, prepared, 1)


def test_whoever_cannot_be_resolved_is_a_reject_with_the_whole_message(space, source, monkeypatch):
    monkeypatch.setattr(archive_table, "AT_ONCE", 2)
    archived(source, *(message(id=f"m{n}", at=n - 9, userId="null", properties={"n": n}) for n in range(5)))
    connect(space, [source], clock=FixedClock(NOON))
    resolved(space)
    rejects = Reject.objects.filter(space=space, code="no_identifiers").order_by("position")
    assert [json.loads(reject.message)["properties"]["n"] for reject in rejects] == [0, 1, 2, 3, 4]
    assert recorded(space) == []
