"""From archived events to profiles, on the real stores."""

import json
from datetime import timedelta

import pytest
from pyroaring import BitMap

from identity.models import ChangeSet, Evidence, Graph, Identifier, Merge, Profile
from identity.resolve_stage import waiting
from sources.events import client
from sources.models import Connection, Reject, Replay
from sources.queries import progress
from sources.services import cancel_replay, connect, disconnect
from spaces.batches import advance
from spaces.clock import FixedClock
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_identity import (
    DAY_MS,
    NOON,
    archived,
    links,
    listening,
    message,
    people,
    recorded,
    resolve_log,
    resolved,
    scope,
    stage,
)
from tests.factories_sources import RECEIVED_AT, archive_all, send

pytestmark = pytest.mark.django_db


@pytest.fixture
def space():
    return SpaceFactory()


@pytest.fixture
def source(space):
    return SourceFactory(workspace=space.workspace)


def heard(space, *messages):
    """The space, live on one source, has resolved these, a batch for each."""
    source = SourceFactory(workspace=space.workspace)
    listening(space, source)
    for each in messages:
        archived(source, each)
        resolved(space)


def table(space, name, columns):
    query = f"SELECT {columns} FROM {name} WHERE " + scope(space).condition
    return sorted(tuple(row) for row in client.rows(query))


def change_sets(space, piece=None):
    found = ChangeSet.objects.filter(space=space, **({"piece": piece} if piece else {}))
    together = {}
    for key, profiles in found.values_list("key", "profiles"):
        together[key] = together.get(key, BitMap()) | BitMap.deserialize(bytes(profiles))
    return {key: set(profiles) for key, profiles in together.items()}


def test_of_two_identifies_the_newer_wins_however_long_its_request_took(space, source):
    listening(space, source)
    for seconds, lag, plan in ((0, 3.0, "free"), (1, 0.1, "pro")):
        sent = RECEIVED_AT + timedelta(seconds=seconds)
        call = {"type": "identify", "userId": "u1", "messageId": plan, "traits": {"plan": plan}}
        send(
            source,
            call | {"timestamp": sent.isoformat()},
            sentAt=sent.isoformat(),
            received_at=sent + timedelta(seconds=lag),
        )
    archive_all(source)
    resolved(space)
    assert Profile.objects.get(space=space).traits == {"plan": "pro"}


OPTED_OUT = [{"integrations": {"Personas": False}}, {"context": {"integrations": {"personas": False}}}]


@pytest.mark.parametrize("opted_out", OPTED_OUT)
def test_an_event_that_opts_out_is_in_no_space_and_is_no_reject(space, source, opted_out):
    listening(space, source)
    archived(
        source,
        message("identify", id="m1", userId="u1", traits={"plan": "pro"}, **opted_out),
        message("group", id="m2", userId="u1", groupId="g1", traits={"size": 5}, **opted_out),
        message(id="m3", userId="u2"),
        message(id="m4", **opted_out),
    )
    resolved(space)
    assert people(space) == {(frozenset({("user_id", "u2")}), frozenset({"m3"}), "{}")}
    assert not people(space, Profile.Kind.ACCOUNT)
    assert [row.message_id for row in recorded(space)] == ["m3"]
    assert change_sets(space) == {"created": {1}, "event:Seen": {1}}
    assert not Reject.objects.exists()
    assert not waiting(NOON)


@pytest.mark.parametrize("opted_out", OPTED_OUT)
def test_a_replay_passes_over_events_that_opt_out_and_comes_to_its_end(space, source, opted_out):
    archived(source, *[message(id=f"m{n}", at=n - 9, userId="u1", **(opted_out if n % 2 else {})) for n in range(6)])
    replay = replay_of(space, source)
    resolved(space, stage(replay_rows=2))
    replay.refresh_from_db()
    assert (replay.state, replay.done, replay.total) == ("complete", 6, 6)
    assert progress(replay, NOON).percent == 100.0
    assert sorted(row.message_id for row in recorded(space)) == ["m0", "m2", "m4"]


# one event


def test_an_event_of_someone_new_makes_a_profile(space, source):
    listening(space, source)
    archived(source, message(id="m1", userId="u1", anonymousId="a1"))
    assert resolved(space) == 1
    assert people(space) == {(frozenset({("user_id", "u1"), ("anonymous_id", "a1")}), frozenset({"m1"}), "{}")}
    assert change_sets(space) == {"created": {1}, "event:Seen": {1}}


def test_an_event_is_in_the_timeline_as_it_was_sent(space):
    heard(space, message(id="m1", at=7, userId="u1", event="Paid", properties={"sum": 1.5, "on": "2026-01-01", "n": 2}))
    assert table(space, "timeline", "profile, type, event, message_id, toMillisecond(ts)") == [
        (1, "track", "Paid", "m1", 7)
    ]
    (kinds,) = table(space, "timeline", "toString(JSONAllPathsWithTypes(properties))")
    assert kinds == ("{'n':'Int64','on':'String','sum':'Float64'}",)


def test_a_page_is_an_event_with_its_name_among_the_properties(space):
    heard(space, message("page", userId="u1", name="Home", properties={"path": "/"}))
    assert table(space, "timeline", "event, properties.page_name::String") == [("Page Viewed", "Home")]


def test_the_profile_page_keeps_the_message_and_its_identifiers(space):
    sent = message(id="m1", userId="u1", anonymousId="a1")
    heard(space, sent)
    ((identifiers, text),) = table(space, "profile_events", "identifiers, message")
    assert identifiers == [("user_id", "u1"), ("anonymous_id", "a1")]
    assert json.loads(text) == sent


def test_an_event_without_identifiers_is_refused_once_and_kept_visible(space, source):
    other = SpaceFactory(workspace=space.workspace)
    listening(space, source)
    listening(other, source)
    archived(source, message(id="m1", userId="null"), message(id="m2", userId="u1"))
    resolved(space)
    resolved(other)
    assert [row.message_id for row in recorded(space)] == ["m2"]
    rejects = list(Reject.objects.filter(source=source).order_by("pk"))
    assert [each.space for each in rejects] == [space, other], "each can drive its own again"
    reject = rejects[0]
    assert (reject.code, reject.message_id, reject.received_at) == ("no_identifiers", "m1", NOON)
    assert json.loads(reject.message)["userId"] == "null"


@pytest.mark.parametrize(
    "properties",
    [
        '{"a":{"b":1},"a.b":2}',
        '{"a":"\\u0000\\ud800"}',
        '{"a":' + "[" * 900 + "]" * 900 + "}",
        "{" + ",".join(f'"k{n}":{n}' for n in range(2000)) + "}",
        '{"":1,".":2,"a..b":3}',
        '{"n":123456789012345678901234567890}',
    ],
)
def test_no_properties_can_spoil_a_piece(space, source, properties):
    from sources.events import archive_table
    from spaces.models import Log

    listening(space, source)
    archived(source, message(id="m1", userId="u1"))
    text = f'{{"type":"track","event":"E","userId":"u1","traits":{properties},"properties":{properties}}}'
    identify = f'{{"type":"identify","userId":"u1","traits":{properties}}}'
    rows = [
        archive_table.ArchivedRow(1_000, 1_000, "track", "E", f"m{n}", each.encode())
        for n, each in enumerate((text, identify), 2)
    ]
    archive_table.insert(workspace_id=space.workspace_id, source_id=source.pk, piece=2, rows=rows)
    Log.objects.filter(stage="archive", partition=source.pk).update(last_number=2, committed=2)
    assert resolved(space) == 1
    assert len(recorded(space)) == 3
    assert not Reject.objects.filter(source=source).exists()


# who is who


def test_a_merge_keeps_the_oldest_profile_and_points_everything_at_it(space):
    heard(space, message(anonymousId="a1"), message(userId="u1"), message(userId="u1", anonymousId="a1"))
    (merge,) = Merge.objects.filter(space=space)
    assert (merge.loser, merge.winner) == (2, 1)
    assert "takes in" in merge.reason
    assert set(Identifier.objects.filter(space=space).values_list("profile", flat=True)) == {1}
    assert Profile.objects.get(space=space, number=2).merged_into == 1
    assert Profile.objects.get(space=space, number=1).merges == 1
    assert table(space, "overlay", "loser, winner") == [(2, 1)]
    assert change_sets(space, merge.piece) == {"event:Seen": {1}, "merged": {1}, "identified": {1}}


def test_a_chain_of_merges_is_flattened(space):
    heard(
        space,
        message(anonymousId="a1"),
        message(anonymousId="a2"),
        message(userId="u1"),
        message(userId="u1", anonymousId="a2"),
        message(userId="u1", anonymousId="a1"),
    )
    merged = dict(Profile.objects.filter(space=space).values_list("number", "merged_into"))
    assert merged == {1: None, 2: 1, 3: 1}
    assert table(space, "overlay", "loser, winner, piece") == [(2, 1, 5), (3, 1, 5), (3, 2, 4)]
    assert Profile.objects.get(space=space, number=1).merges == 2


def test_merges_within_one_piece_come_to_the_same(space, source):
    listening(space, source)
    archived(
        source,
        message(anonymousId="a1"),
        message(anonymousId="a2"),
        message(userId="u1", at=5, id="u"),
        message(userId="u1", anonymousId="a2"),
        message(userId="u1", anonymousId="a1"),
    )
    assert resolved(space) == 1
    assert dict(Profile.objects.filter(space=space).values_list("number", "merged_into")) == {1: None, 2: 1, 3: 1}
    assert table(space, "overlay", "loser, winner") == [(2, 1), (3, 1)]
    assert table(space, "profiles", "profile, kind, known") == [(1, 1, 1), (2, 1, 0), (3, 1, 0)]
    assert change_sets(space) == {"created": {1}, "merged": {1}, "event:Seen": {1}}
    assert len(people(space)) == 1


def test_someone_is_known_once_they_own_an_id_of_that_kind(space):
    heard(space, message(anonymousId="a1"), message(anonymousId="a1"), message(anonymousId="a1", userId="u1"))
    assert table(space, "profiles", "profile, known, piece") == [(1, 0, 1), (1, 1, 3)]
    assert change_sets(space, 3) == {"identified": {1}, "event:Seen": {1}}


def test_a_shared_device_stays_with_the_first_person_and_the_refusal_is_kept(space):
    heard(
        space, message(userId="u1", anonymousId="a1"), message(anonymousId="a1"), message(userId="u2", anonymousId="a1")
    )
    assert len(people(space)) == 2
    refused = Evidence.objects.get(space=space, profile=2)
    assert refused.refused == [["anonymous_id", "a1", "user_id allows 1 ever"]]
    assert refused.identifiers == [["user_id", "u2"], ["anonymous_id", "a1"]]


def test_evidence_counts_a_set_and_keeps_its_first_and_last_sight(space):
    heard(
        space,
        message(id="m1", at=50, userId="u1"),
        message(id="m2", at=90, userId="u1"),
        message(id="m3", at=10, userId="u1"),
    )
    seen = Evidence.objects.get(space=space)
    assert (seen.events, seen.first_message_id, seen.last_message_id) == (3, "m3", "m2")
    assert (seen.first_seen_at.microsecond, seen.last_seen_at.microsecond) == (10_000, 90_000)
    assert (Identifier.objects.get(space=space).message_id, seen.refused) == ("m1", [])


def test_limits_count_in_event_time_across_pieces(space):
    weekly = {"type": "anonymous_id", "limit": {"count": 1, "period": "weekly"}, "blocked": {}}
    user = {"type": "user_id", "limit": {"count": 1, "period": "ever"}, "blocked": {}}
    space.identity_policy = {"identifiers": [user, weekly]}
    space.save()
    heard(
        space,
        message(userId="u1", anonymousId="a1", at=0),
        message(userId="u1", anonymousId="a2", at=6 * DAY_MS),
        message(userId="u1", anonymousId="a3", at=8 * DAY_MS),
    )
    held = Identifier.objects.filter(space=space, profile=1).values_list("value", flat=True)
    assert set(held) == {"u1", "a1", "a3"}


def test_two_spaces_share_nothing(space, source):
    other = SpaceFactory(workspace=space.workspace)
    listening(space, source)
    listening(other, source)
    archived(source, message(id="m1", userId="u1", anonymousId="a1"))
    resolved(space)
    archived(source, message(id="m2", userId="u2"), message("identify", id="m3", userId="u1", traits={"x": 1}))
    resolved(other)
    assert [(row.message_id, row.profile) for row in recorded(space)] == [("m1", 1)]
    assert [(row.message_id, row.profile) for row in recorded(other)] == [("m1", 1), ("m2", 2), ("m3", 1)]
    assert Profile.objects.get(space=space).traits == {}
    assert Profile.objects.get(space=space).public_id != Profile.objects.get(space=other, number=1).public_id


# traits, accounts


def traits_of(space, number=1):
    return Profile.objects.get(space=space, number=number).traits


def test_an_old_event_that_arrives_late_never_overwrites_a_newer_trait(space):
    heard(
        space,
        message("identify", at=50, userId="u1", traits={"plan": "new"}),
        message("identify", at=30, userId="u1", traits={"plan": "old", "city": "Bern"}),
        message("identify", at=70, userId="u1", traits={"plan": "new"}),
        message("identify", at=60, userId="u1", traits={"plan": "between"}),
    )
    assert traits_of(space) == {"plan": "new", "city": "Bern"}
    assert change_sets(space, 1) == {"created": {1}, "trait:plan": {1}}
    assert change_sets(space, 2) == {"trait:city": {1}}
    assert change_sets(space, 3) == {}


def test_null_removes_a_trait_and_an_older_value_does_not_bring_it_back(space):
    heard(
        space,
        message("identify", at=10, userId="u1", traits={"plan": "a", "b": 1}),
        message("identify", at=50, userId="u1", traits={"plan": None}),
        message("identify", at=30, userId="u1", traits={"plan": "old"}),
    )
    assert traits_of(space) == {"b": 1}
    assert change_sets(space, 2) == {"trait:plan": {1}}


def test_a_merge_keeps_the_newest_of_each_trait(space):
    heard(
        space,
        message("identify", at=50, anonymousId="a1", traits={"x": "a"}),
        message("identify", at=40, userId="u1", traits={"x": "u", "y": 1}),
        message(at=60, userId="u1", anonymousId="a1"),
    )
    assert traits_of(space) == {"x": "a", "y": 1}
    assert change_sets(space, 3) == {
        "merged": {1},
        "identified": {1},
        "trait:y": {1},
        "event:Seen": {1},
    }


def test_trait_rows_keep_every_value_and_the_number_of_their_moment(space):
    heard(
        space,
        message("identify", at=1, anonymousId="a1", traits={"x": 1}),
        message("identify", at=2, userId="u1", traits={"x": {"y": "é"}}),
        message("identify", at=3, userId="u1", anonymousId="a1", traits={"x": None}),
    )
    assert table(space, "traits", "piece, profile, key, value") == [
        (1, 1, "x", "1"),
        (2, 2, "x", '{"y":"é"}'),
        (3, 1, "x", "null"),
    ]


def test_a_group_call_makes_an_account_with_traits_and_a_link(space):
    heard(
        space,
        message("group", id="m1", groupId="g1", userId="u1", traits={"name": "Acme", "email": "office@x.org"}),
        message("group", id="m2", groupId="g1", anonymousId="a1"),
        message(id="m3", userId="u1", anonymousId="a1"),
    )
    assert people(space, Profile.Kind.ACCOUNT) == {
        (
            frozenset({("group_id", "g1")}),
            frozenset({"m1", "m2"}),
            json.dumps({"email": "office@x.org", "name": "Acme"}),
        )
    }
    assert people(space) == {
        (frozenset({("user_id", "u1"), ("anonymous_id", "a1")}), frozenset({"m1", "m2", "m3"}), "{}")
    }
    assert len(recorded(space)) == 3
    assert table(space, "profiles", "profile, kind, known") == [(1, 1, 1), (2, 2, 0), (3, 1, 0)]


def test_a_group_call_of_nobody_is_its_accounts_event(space):
    heard(space, message("group", id="m1", groupId="g1", userId="null", traits={"name": "Acme"}))
    assert people(space) == set()
    assert [row.message_id for row in recorded(space)] == ["m1"]
    assert traits_of(space) == {"name": "Acme"}


def test_a_group_call_links_whoever_the_user_and_the_account_become(space):
    heard(
        space,
        message("group", anonymousId="a1", groupId="g1", traits={"name": "Acme"}),
        message("group", userId="u1", groupId="g2"),
        message("group", at=-5, userId="u1", anonymousId="a1", groupId="g1", traits={"name": "older", "size": 3}),
    )
    holder = frozenset({("user_id", "u1"), ("anonymous_id", "a1")})
    assert links(space) == {(holder, "g1"), (holder, "g2")}
    assert table(space, "links", "user, account") == [(1, 2), (3, 4)]  # the visitor's, and the user's
    assert change_sets(space)["linked"] == {1, 2, 3, 4}
    heard(space, message("group", userId="u1", groupId="g1", traits={"name": "Acme"}))
    assert len(table(space, "links", "user, account")) == 2  # nothing new
    assert "linked" not in change_sets(space, 4)
    accounts = {dict(identifiers)["group_id"]: traits for identifiers, _, traits in people(space, Profile.Kind.ACCOUNT)}
    assert accounts == {"g1": json.dumps({"name": "Acme", "size": 3}), "g2": "{}"}


def test_an_alias_call_is_an_event_of_its_user_and_joins_nobody(space):
    heard(space, message(id="m1", userId="old"), message("alias", id="m2", userId="new", previousId="old"))
    assert {messages for _, messages, _ in people(space)} == {frozenset({"m1"}), frozenset({"m2"})}
    assert table(space, "timeline", "type, event") == [("alias", ""), ("track", "Seen")]


def test_a_late_trait_of_someone_who_was_merged_away_counts_by_its_own_time(space):
    heard(
        space,
        message("identify", at=10, anonymousId="a1", traits={"x": "first", "y": "first"}),
        message("identify", at=50, userId="u1", traits={"x": None}),
        message(at=60, userId="u1", anonymousId="a1"),
        message("identify", at=30, anonymousId="a1", traits={"x": "late", "y": "late"}),
    )
    assert traits_of(space) == {"y": "late"}


# replay


def replay_of(space, *sources):
    return connect(space, sources, clock=FixedClock(NOON))


def test_a_replay_reads_all_sources_together_oldest_first_and_goes_live(space, source):
    second = SourceFactory(workspace=space.workspace)
    archived(source, message(id="d", at=-10, userId="u1"), message(id="a", at=-40, userId="u1"))
    archived(second, message(id="c", at=-20, userId="u1"), message(id="b", at=-30, userId="u1"))
    archived(second, message(id="too old", at=-31 * DAY_MS, userId="u1"))
    replay = replay_of(space, source, second)
    archived(source, message(id="live", at=-35, userId="u1"))
    assert replay.total == 4
    assert resolved(space, stage(replay_rows=3)) == 4  # two slices, the end, one live
    assert [row.message_id for row in recorded(space)] == ["a", "b", "c", "d", "live"]
    replay.refresh_from_db()
    assert (replay.state, replay.done, replay.finished_at, replay.started_at) == ("complete", 4, NOON, NOON)
    assert set(Connection.objects.filter(space=space).values_list("state", flat=True)) == {"live"}


def test_a_replay_tells_how_far_it_is_and_touches_no_one_before_its_end(space, source):
    archived(source, *(message(at=-n, userId=f"u{n}") for n in range(10, 0, -1)))
    replay = replay_of(space, source)
    log, using = resolve_log(space), stage(replay_rows=4)
    seen = []
    while advance(using, log):
        replay.refresh_from_db()
        seen.append((replay.state, replay.done, replay.cursor and replay.cursor[0] - 1_781_524_800_000))
        assert bool(change_sets(space)) == (replay.state == "complete")
    assert seen == [("running", 4, -7), ("running", 8, -3), ("running", 10, -1), ("complete", 10, -1)]
    assert list(change_sets(space)) == ["everything"]


def test_an_empty_replay_completes(space, source):
    replay = replay_of(space, source)
    assert resolved(space) == 1
    replay.refresh_from_db()
    assert (replay.state, replay.done) == ("complete", 0)
    archived(source, message(id="m1", userId="u1"))
    resolved(space)
    assert [row.message_id for row in recorded(space)] == ["m1"]


def test_a_live_source_goes_on_while_another_is_replayed(space, source):
    other = SourceFactory(workspace=space.workspace)
    listening(space, other)
    archived(source, *(message(id=f"r{n}", at=n - 10, userId=f"u{n}") for n in range(3)))
    replay_of(space, source)
    archived(other, *(message(id=f"l{n}", userId=f"u{n}") for n in range(3)))
    archived(source, message(id="after", userId="u1"))
    resolved(space, stage(replay_rows=1, live_rows=1))
    assert [row.message_id for row in recorded(space)] == ["r0", "l0", "r1", "l1", "r2", "l2", "after"]


def test_a_cancelled_replay_touches_everyone_and_its_source_goes_live(space, source):
    archived(source, *(message(id=f"r{n}", at=n - 10, userId=f"u{n}") for n in range(3)))
    replay = replay_of(space, source)
    archived(source, message(id="live", userId="u1"))
    assert advance(stage(replay_rows=1), resolve_log(space))
    cancel_replay(replay, FixedClock(NOON))
    resolved(space)
    assert [row.message_id for row in recorded(space)] == ["r0", "live"]
    assert "everything" in change_sets(space)
    assert not Graph.objects.get(space=space).untouched


def test_a_source_that_is_disconnected_while_it_is_replayed_leaves_the_rest_of_the_replay(space, source):
    other = SourceFactory(workspace=space.workspace)
    archived(source, message(id="s1", at=-9, userId="u1"), message(id="s2", at=-7, userId="u1"))
    archived(other, message(id="o1", at=-8, userId="u1"), message(id="o2", at=-6, userId="u1"))
    replay = replay_of(space, source, other)
    assert advance(stage(replay_rows=2), resolve_log(space))
    disconnect(Connection.objects.get(space=space, source=other), FixedClock(NOON))
    resolved(space)
    assert [row.message_id for row in recorded(space)] == ["s1", "o1", "s2"]
    replay.refresh_from_db()
    assert replay.state == Replay.State.COMPLETE


def test_a_late_old_event_after_a_replay_leaves_newer_traits_alone(space, source):
    archived(source, message("identify", at=-50, userId="u1", traits={"plan": "replayed"}))
    replay_of(space, source)
    archived(source, message("identify", at=-90, userId="u1", traits={"plan": "older"}))
    resolved(space)
    assert traits_of(space) == {"plan": "replayed"}


def test_pieces_that_hold_no_row_are_stepped_over(space, source):
    from identity.resolve_stage import waiting

    listening(space, source)
    archived(source)
    archived(source, message(id="lost", userId="u1"), abandoned=True)
    assert space.pk in waiting(NOON)
    resolved(space)
    assert space.pk not in waiting(NOON)
    archived(source, message(id="m1", userId="u1"))
    assert space.pk in waiting(NOON)
    resolved(space)
    assert [row.message_id for row in recorded(space)] == ["m1"]
