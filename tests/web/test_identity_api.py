"""How far a space is, its timeline, its people and its rules by REST: what it answers, and whom."""

from urllib.parse import quote, urlencode

import pytest

from access.models import AuditEntry
from identity.models import Profile
from identity.rules.policy import DEFAULT_POLICY
from sources.services import connect, delete_source
from spaces.batches import advance
from spaces.clock import FixedClock
from spaces.models import Log
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_identity import (
    NOON,
    ProfileFactory,
    archived,
    crowd,
    listening,
    message,
    resolve_log,
    resolved,
    stage,
)

pytestmark = pytest.mark.django_db
AT_NOON = "2026-06-15T12:00:00.000Z"


@pytest.fixture
def source(cast):
    return SourceFactory(workspace=cast.workspace)


def get(cast, rest, who="admin", status=200, **query):
    answer = cast.call(who, "GET", f"/api/spaces/{cast.space.public_id}/{rest}?{urlencode(query)}")
    assert answer.status_code == status, answer.content
    return answer.json()["data"] if status == 200 else answer.json()["errors"][0]


def pages(cast, rest, name, count, **query):
    """All rows of a list, read a page at a time; with what each page's total said."""
    found, totals, cursor = [], [], {}
    while cursor is not None:
        page = get(cast, rest, **query, **{"pagination[count]": count}, **cursor)
        found.append(page[name])
        totals.append(page["pagination"]["totalEntries"])
        after = page["pagination"].get("next")
        cursor = {"pagination[cursor]": after} if after else None
    return found, totals


def heard(cast, source, *messages):
    """The space, live on the source, has resolved these."""
    if not source.connections.filter(space=cast.space).exists():
        listening(cast.space, source)
    archived(source, *messages)
    resolved(cast.space)


def id_of(cast, number):
    return Profile.objects.get(space=cast.space, number=number).public_id


# how far


def test_what_waits_is_counted_until_it_is_resolved(cast, source):
    other = SourceFactory(workspace=cast.workspace)
    archived(source, *(message(userId=f"u{n}", at=n - 10) for n in range(3)))
    replay = connect(cast.space, [source], clock=FixedClock(NOON))
    listening(cast.space, other)
    assert get(cast, "resolution")["replaying"] is True
    archived(source, message(userId="u1"))
    archived(other, message(userId="u1"), message(userId="null"))
    seen = []
    log, using = resolve_log(cast.space), stage(replay_rows=2, live_rows=1)
    while True:
        now = get(cast, "resolution")
        seen.append((now["waiting"], now["replaying"], now["piece"]))
        if not advance(using, log):
            break
    replay.refresh_from_db()
    assert seen[0] == (6, True, 0)
    assert seen[-1] == (0, False, len(seen) - 1)
    assert sorted(seen, reverse=True) == sorted(seen, key=lambda each: each[2])
    assert now["asOf"].endswith("Z")


def test_a_piece_that_was_decided_and_not_published_still_waits(cast, source, monkeypatch):
    listening(cast.space, source)
    archived(source, message(userId="u1"))
    using = stage()
    monkeypatch.setattr(using, "write", lambda *_: (_ for _ in ()).throw(OSError("away")))
    with pytest.raises(OSError, match="away"):
        advance(using, resolve_log(cast.space))
    assert get(cast, "resolution")["waiting"] == 1


def test_a_space_that_listens_to_nothing_has_nothing_waiting(cast):
    now = get(cast, "resolution")
    assert (now["waiting"], now["replaying"], now["piece"]) == (0, False, 0)


# the timeline


def test_the_timeline_is_read_in_the_order_of_resolving(cast, source):
    heard(cast, source, message(id="b", at=5, userId="u1"), message(id="a", anonymousId="a1"))
    heard(cast, source, message(id="c", at=-3, userId="u1", anonymousId="a1"))
    found = get(cast, "timeline")["timeline"]
    assert [(row["messageId"], row["piece"], row["position"]) for row in found] == [
        ("b", 1, 0),
        ("a", 1, 1),
        ("c", 2, 0),
    ]
    assert {row["profileId"] for row in found} == {id_of(cast, 1)}
    assert found[0]["timestamp"] == "2026-06-15T12:00:00.005Z"
    assert {row["sourceId"] for row in found} == {source.public_id}


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_no_row_is_lost_or_doubled_at_the_edge_of_a_page(cast, source, count):
    for piece in range(3):
        heard(cast, source, *(message(id=f"{piece}{n}", userId=f"u{n}") for n in range(3)))
    found, totals = pages(cast, "timeline", "timeline", count)
    assert [row["messageId"] for page in found for row in page] == [f"{p}{n}" for p in range(3) for n in range(3)]
    assert set(totals) == {9}
    assert {len(page) for page in found[:-1]} <= {count}


def test_what_happens_between_two_pages_neither_loses_nor_doubles_a_row(cast, source):
    heard(
        cast, source, message(id="m0", userId="u1"), message(id="m1", anonymousId="a1"), message(id="m2", userId="u1")
    )
    first = get(cast, "timeline", **{"pagination[count]": 2})
    heard(cast, source, message(id="m3", userId="u1", anonymousId="a1"))
    second = get(cast, "timeline", **{"pagination[cursor]": first["pagination"]["next"]})
    rows = first["timeline"] + second["timeline"]
    assert [row["messageId"] for row in rows] == ["m0", "m1", "m2", "m3"]
    assert [row["profileId"] for row in rows] == [id_of(cast, number) for number in (1, 2, 1, 1)]


def test_a_piece_that_is_written_anew_is_not_read_twice(cast, source, monkeypatch):
    heard(cast, source, message(id="m0", userId="u1"), message(id="m1", userId="u1"))
    archived(source, message(id="m2", userId="u1"))
    using = stage()
    monkeypatch.setattr(using, "commit", lambda *_: (_ for _ in ()).throw(OSError("away")))
    with pytest.raises(OSError, match="away"):
        advance(using, resolve_log(cast.space))
    first = get(cast, "timeline", **{"pagination[count]": 1})
    Log.objects.update(retry_at=None)  # the time has come to try again
    resolved(cast.space)
    rest = get(cast, "timeline", **{"pagination[cursor]": first["pagination"]["next"]})["timeline"]
    assert [(row["messageId"], row["piece"]) for row in rest] == [("m1", 1), ("m2", 3)]


def test_an_event_of_a_deleted_source_stays_and_names_none(cast, source):
    heard(cast, source, message(userId="u1"))
    delete_source(source)
    (row,) = get(cast, "timeline")["timeline"]
    assert row["sourceId"] is None


@pytest.mark.parametrize("count", ["0", "10001", "x", "-1", ""])
def test_a_page_has_at_most_ten_thousand_rows(cast, count):
    assert get(cast, "timeline", status=422, **{"pagination[count]": count})["field"] == "pagination[count]"


@pytest.mark.parametrize("cursor", ["x", "MQ==", "IjEi", "IjEuMi4zIg==", "WzEsMl0=", "IjEueCI=", "Ii4i"])
def test_a_cursor_that_is_none_is_refused(cast, cursor):
    """Not base64; a number; "1"; "1.2.3"; a list; "1.x"; "."."""
    for rest in ("timeline", f"profiles/{ProfileFactory(space=cast.space).public_id}/events"):
        assert get(cast, rest, status=422, **{"pagination[cursor]": cursor})["field"] == "pagination[cursor]"


# people


@pytest.fixture
def ada(cast, source):
    """Ada was a visitor on two devices, belongs to Acme, and signed in: 3 and 2 went into 1; 4 is Acme."""
    heard(
        cast,
        source,
        message(id="m1", at=-5_000, anonymousId="a1", event="Seen", properties={"sku": "boot"}),
        message(id="m2", at=-4_000, anonymousId="a2", event="Seen"),
        message("identify", id="m3", at=-3_000, userId="u1", traits={"email": "Ada@X.org", "name": "Ada", "age": 36}),
        message("group", id="m4", at=-2_000, userId="u1", groupId="g1", traits={"name": "Acme"}),
        message(id="m5", at=-1_000, userId="u1", anonymousId="a2", event="Paid"),
        message(id="m6", userId="u1", anonymousId="a1", event="Paid"),
    )
    return id_of(cast, 1)


def test_people_and_accounts_are_listed_without_those_that_were_merged(cast, ada):
    people = get(cast, "profiles")
    assert [row["id"] for row in people["profiles"]] == [ada]
    assert people["pagination"]["totalEntries"] == 1
    assert set(people["profiles"][0]) == {"id", "collection", "firstSeenAt"}
    (account,) = get(cast, "profiles", collection="accounts", include="traits")["profiles"]
    assert (account["collection"], account["traits"]) == ("accounts", {"name": "Acme"})
    assert get(cast, "profiles", status=422, collection="robots")["field"] == "collection"


def test_a_list_can_include_identifiers_and_traits(cast, ada):
    (row,) = get(cast, "profiles", include="identifiers,traits")["profiles"]
    assert {(each["type"], each["value"]) for each in row["identifiers"]} == {
        ("user_id", "u1"),
        ("email", "ada@x.org"),
        ("anonymous_id", "a1"),
        ("anonymous_id", "a2"),
    }
    assert row["traits"]["age"] == 36
    assert get(cast, "profiles", status=422, include="secrets")["field"] == "include"


def test_identifiers_are_listed_without_a_query_for_each(cast, django_assert_max_num_queries):
    for number in range(1, 30):
        ProfileFactory(space=cast.space, number=number, identifiers=[("user_id", f"u{number}")])
    cast.bearer("admin")
    with django_assert_max_num_queries(12):
        found, totals = pages(cast, "profiles", "profiles", 1000, include="identifiers")
    assert [row["identifiers"] for row in found[0]] == [[{"type": "user_id", "value": f"u{n}"}] for n in range(1, 30)]
    found, totals = pages(cast, "profiles", "profiles", 7, include="identifiers")
    assert len({row["id"] for page in found for row in page}) == 29
    assert set(totals) == {29}


@pytest.mark.parametrize(
    ("asked", "finds"),
    [
        ("email:ada@x.org", True),
        ("email:ADA@x.org", True),
        ("anonymous_id:a2", True),
        ("user_id:u1", True),
        ("user_id:U1", False),
        ("user_id:u", False),
        ("email:ada@x", False),
        ("group_id:g1", False),
    ],
)
def test_a_search_finds_who_holds_exactly_this(cast, ada, asked, finds):
    assert [row["id"] for row in get(cast, "profiles", identifier=asked)["profiles"]] == ([ada] if finds else [])


@pytest.mark.parametrize("asked", ["", "ada@x.org", ":x", "email:"])
def test_a_search_for_no_identifier_is_refused(cast, asked):
    assert get(cast, "profiles", status=422, identifier=asked)["field"] == "identifier"


def test_an_account_is_found_among_accounts(cast, ada):
    (row,) = get(cast, "profiles", collection="accounts", identifier="group_id:g1")["profiles"]
    assert row["collection"] == "accounts"


# one of them


def test_one_profile_says_everything_about_a_person(cast, source, ada):
    shown = get(cast, f"profiles/{ada}")
    assert shown["mergedFrom"] is None
    profile = shown["profile"]
    assert (profile["id"], profile["collection"], profile["name"]) == (ada, "users", "Ada")
    assert profile["traits"] == {"email": "Ada@X.org", "name": "Ada", "age": 36}
    assert profile["identifiers"][0] == {
        "type": "anonymous_id",
        "value": "a1",
        "firstSeenAt": "2026-06-15T11:59:55.000Z",
        "sourceId": source.public_id,
        "messageId": "m1",
    }
    assert set(profile["mergedIds"]) == {id_of(cast, 2), id_of(cast, 3)}
    assert (profile["firstSeenAt"], profile["lastSeenAt"]) == ("2026-06-15T11:59:55.000Z", AT_NOON)
    (account,) = profile["accounts"]
    assert account == {
        "id": id_of(cast, 4),
        "name": "Acme",
        "identifiers": [{"type": "group_id", "value": "g1"}],
    }


def test_an_account_says_who_belongs_to_it(cast, ada):
    profile = get(cast, f"profiles/{id_of(cast, 4)}")["profile"]
    assert (profile["collection"], profile["name"], profile["mergedIds"]) == ("accounts", "Acme", [])
    assert [user["id"] for user in profile["users"]] == [ada]
    assert "accounts" not in profile


def test_all_of_the_users_of_a_large_account_can_be_read(cast, ada):
    crowd(cast.space, account=4, first=1000, count=1_200)
    path = f"profiles/{id_of(cast, 4)}"
    profile = get(cast, path)["profile"]
    assert (len(profile["users"]), profile["relatedTotal"]) == (1_000, 1_201)
    users, totals = pages(cast, f"{path}/related", "related", 500)
    seen = [each["id"] for some in users for each in some]
    assert set(totals) == {1_201}
    assert len(set(seen)) == len(seen) == 1_201
    assert ada in seen


@pytest.mark.parametrize("number", [2, 3])
def test_an_id_that_was_merged_away_answers_with_its_winner_and_says_so(cast, ada, number):
    loser = id_of(cast, number)
    shown = get(cast, f"profiles/{loser}")
    assert (shown["profile"]["id"], shown["mergedFrom"]) == (ada, loser)


def test_a_profile_is_named_by_any_of_its_identifiers(cast, ada):
    for name in ("user_id:u1", "email:Ada@x.org", "anonymous_id:a2"):
        shown = get(cast, f"profiles/{quote(name)}")
        assert (shown["profile"]["id"], shown["mergedFrom"]) == (ada, None)


def test_somebody_without_events_has_no_last_moment(cast):
    profile = ProfileFactory(space=cast.space, number=9)
    shown = get(cast, f"profiles/{profile.public_id}")["profile"]
    assert (shown["name"], shown["firstSeenAt"], shown["lastSeenAt"]) == (None, AT_NOON, None)


def test_traits_are_the_newest_with_their_source_and_time_when_asked(cast, source, ada):
    assert get(cast, f"profiles/{ada}/traits")["traits"] == {"age": 36, "email": "Ada@X.org", "name": "Ada"}
    only = get(cast, f"profiles/{ada}/traits", include="age,none", verbose="true")
    sent = {"kind": "custom", "id": None, "sourceId": source.public_id, "updatedAt": "2026-06-15T11:59:57.000Z"}
    assert only["traits"] == {"age": {"value": 36, **sent}}
    found, totals = pages(cast, f"profiles/{ada}/traits", "traits", 1)
    assert found == [{"age": 36}, {"email": "Ada@X.org"}, {"name": "Ada"}]
    assert set(totals) == {3}
    assert get(cast, f"profiles/{ada}/traits", limit=2)["traits"].keys() == {"age", "email"}
    assert get(cast, f"profiles/{ada}/traits", status=422, limit=201)["field"] == "limit"


def test_external_ids_have_the_fields_of_the_profile_api(cast, source, ada):
    shown = get(cast, f"profiles/{ada}/external_ids", include="email,user_id")["externalIds"]
    assert [(each["type"], each["id"]) for each in shown] == [("user_id", "u1"), ("email", "ada@x.org")]
    assert shown[0] == {
        "collection": "users",
        "type": "user_id",
        "id": "u1",
        "encoding": "none",
        "createdAt": "2026-06-15T11:59:57.000Z",
        "sourceId": source.public_id,
        "firstMessageId": "m3",
    }
    found, totals = pages(cast, f"profiles/{ada}/external_ids", "externalIds", 3)
    assert [len(page) for page in found] == [3, 1]
    assert set(totals) == {4}


def test_events_of_all_that_were_merged_come_newest_first_with_their_message(cast, source, ada):
    found, totals = pages(cast, f"profiles/{ada}/events", "events", 2)
    assert [row["messageId"] for page in found for row in page] == ["m6", "m5", "m4", "m3", "m2", "m1"]
    assert set(totals) == {6}
    first = found[-1][-1]
    assert first["message"]["properties"] == {"sku": "boot"}
    assert (first["type"], first["event"], first["sourceId"]) == ("track", "Seen", source.public_id)
    assert first["externalIds"] == [{"collection": "users", "type": "anonymous_id", "id": "a1", "encoding": "none"}]
    group = found[1][0]
    assert [each["collection"] for each in group["externalIds"]] == ["users", "accounts"]
    assert [row["messageId"] for row in get(cast, f"profiles/{id_of(cast, 4)}/events")["events"]] == ["m4"]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"include": "Paid"}, ["m6", "m5"]),
        ({"include": "Paid,Seen", "limit": 3}, ["m6", "m5", "m2"]),
        ({"exclude": "Paid,Seen"}, ["m4", "m3"]),
        ({"start": "2026-06-15T11:59:58Z", "end": AT_NOON}, ["m5", "m4"]),
        ({"include": "' OR 1 --"}, []),
    ],
)
def test_events_can_be_chosen_by_name_and_time(cast, ada, query, ids):
    assert [row["messageId"] for row in get(cast, f"profiles/{ada}/events", **query)["events"]] == ids


def test_a_time_that_is_none_is_refused(cast, ada):
    assert get(cast, f"profiles/{ada}/events", status=422, start="yesterday")["field"] == "start"


def test_merges_say_who_came_in_by_which_event_and_why(cast, source, ada):
    shown = get(cast, f"profiles/{ada}/merges")["merges"]
    assert [(row["id"], row["into"], row["messageId"]) for row in shown] == [
        (id_of(cast, 2), ada, "m6"),
        (id_of(cast, 3), id_of(cast, 2), "m5"),
    ]
    assert "joined by user_id u1" in shown[0]["reason"]
    assert shown[0]["sourceId"] == source.public_id
    assert get(cast, f"profiles/{id_of(cast, 2)}/merges")["merges"] == shown


@pytest.mark.parametrize("rest", ["", "/traits", "/external_ids", "/events", "/merges"])
@pytest.mark.parametrize("who", ["use_nobody", "user_id:nobody", "user_id:", "x", "1", "user_id:%ff"])
def test_nobody_is_not_found(cast, ada, rest, who):
    get(cast, f"profiles/{who}{rest}", status=404)


def test_people_of_another_space_are_not_found_by_id_or_identifier(cast, ada):
    theirs = ProfileFactory(space=cast.other_space, number=1, identifiers=[("user_id", "theirs")])
    sister = ProfileFactory(space=SpaceFactory(workspace=cast.workspace), number=1, identifiers=[("user_id", "sister")])
    for name in (theirs.public_id, sister.public_id, "user_id:theirs", "user_id:sister"):
        get(cast, f"profiles/{name}", status=404)
    assert get(cast, "profiles", identifier="user_id:sister")["profiles"] == []


@pytest.mark.parametrize("rest", ["resolution", "timeline", "profiles", "identity-rules"])
def test_only_who_may_read_the_space_may_read_its_people(cast, rest):
    get(cast, rest, who="member", status=403)
    get(cast, rest, who="stranger", status=404)
    get(cast, rest, who="nobody", status=401)


# rules


def put(cast, rules, who="admin"):
    return cast.call(who, "PUT", f"/api/spaces/{cast.space.public_id}/identity-rules", {"identityRules": rules})


WEEKLY = {"count": 3, "period": "weekly"}


def test_a_space_has_the_default_rules_until_someone_changes_them(cast):
    shown = get(cast, "identity-rules")
    assert shown["isDefault"] is True
    assert [each["type"] for each in shown["identityRules"]["identifiers"][:2]] == ["user_id", "email"]
    assert put(cast, shown["identityRules"]).json()["data"] == shown | {"isDefault": False}
    cast.space.refresh_from_db()
    assert cast.space.identity_policy == shown["identityRules"]


def test_rules_are_changed_kept_on_record_and_put_back(cast):
    rules = {"identifiers": [{"type": "user_id", "limit": WEEKLY}, {"type": "crm"}], "max_merges": 7}
    changed = put(cast, rules).json()["data"]
    assert changed["identityRules"]["identifiers"][0]["limit"] == WEEKLY
    assert changed["identityRules"]["max_mappings"] == 1000
    assert get(cast, "identity-rules") == changed
    assert put(cast, None).json()["data"]["isDefault"] is True
    first, second = AuditEntry.objects.filter(action="space.identity_rules_changed").order_by("id")
    assert (first.actor, first.target) == (cast.people["admin"], cast.space.public_id)
    assert first.detail == {"before": None, "after": changed["identityRules"]}
    assert second.detail == {"before": changed["identityRules"], "after": None}


def test_rules_count_for_what_comes_after(cast, source):
    heard(cast, source, message(id="m1", userId="u1", anonymousId="a1"))
    put(cast, {"identifiers": [{"type": "user_id"}]})
    heard(cast, source, message(id="m2", userId="u2", anonymousId="a1"))
    assert [row["profileId"] for row in get(cast, "timeline")["timeline"]] == [id_of(cast, 1), id_of(cast, 2)]


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({}, "identityRules"),
        ([], "identityRules"),
        ("default", "identityRules"),
        ({"identifiers": [{"type": "Crm"}]}, "identityRules.identifiers[0].type"),
        ({"identifiers": [{"type": "a"}, {"type": "a"}]}, "identityRules.identifiers[1].type"),
        (
            {"identifiers": [{"type": "a", "limit": {"count": 0, "period": "ever"}}]},
            "identityRules.identifiers[0].limit.count",
        ),
        (
            {"identifiers": [{"type": "a", "limit": {"count": 1, "period": "hourly"}}]},
            "identityRules.identifiers[0].limit.period",
        ),
        (
            {"identifiers": [{"type": "a", "blocked": {"patterns": ["("]}}]},
            "identityRules.identifiers[0].blocked.patterns[0]",
        ),
        ({"identifiers": [{"type": "a", "colour": 1}]}, "identityRules.identifiers[0]"),
        ({"identifiers": [{"type": "a"}], "max_merges": -1}, "identityRules.max_merges"),
        ({"identifiers": []}, "identityRules.identifiers"),
        ({"identifiers": [{"type": f"a{n}"} for n in range(101)]}, "identityRules.identifiers"),
        (
            {"identifiers": [{"type": "a", "blocked": {"patterns": ["x"] * 21}}]},
            "identityRules.identifiers[0].blocked.patterns",
        ),
    ],
)
def test_a_rule_that_cannot_be_used_is_named(cast, rules, field):
    answer = put(cast, rules)
    assert (answer.status_code, answer.json()["errors"][0].get("field")) == (422, field)
    cast.space.refresh_from_db()
    assert cast.space.identity_policy is None


def test_a_body_without_rules_is_refused(cast):
    answer = cast.call("admin", "PUT", f"/api/spaces/{cast.space.public_id}/identity-rules", {})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "identityRules")


@pytest.mark.parametrize(("who", "status"), [("user", 403), ("read_only", 403), ("stranger", 404), ("nobody", 401)])
def test_only_an_admin_of_the_space_changes_its_rules(cast, who, status):
    assert put(cast, DEFAULT_POLICY.to_json(), who).status_code == status
