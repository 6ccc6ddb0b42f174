"""Audiences by REST: made, previewed, changed, read and deleted, with the members that the events say."""

import json
from datetime import timedelta

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from access.models import AuditEntry
from audiences import backfill, queries
from audiences.conditions import KINDS
from audiences.models import Audience, Change, Version
from audiences.rules import compiler
from audiences.rules.operators import OPERATORS, VALUES
from identity.models import Identifier, Profile
from sources.events import client
from tests.factories_audiences import World
from tests.factories_identity import NOON, message

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
ORDERED = {"kind": "event", "name": "Ordered", "atLeast": 1}
SIGNED_UP = {"kind": "event", "name": "Signed Up", "atLeast": 1, "within": {"days": 7}}
LADDER = ["read_only", "user", "admin", "owner"]


@pytest.fixture
def world(cast, monkeypatch):
    """The cast's space, which hears one source; the clock stands still."""
    made = World(cast.space)
    monkeypatch.setattr("audiences.api.views.clock", made.clock)
    return made


@pytest.fixture
def made(api):
    def make(name, definition=ORDERED, **fields):
        return api("POST", "audiences", {"name": name, "definition": definition, **fields}, status=201)["audience"]

    return make


def ids(world, *users):
    return {Profile.objects.get(space=world.space, number=number).public_id for number in numbers(world, *users)}


def numbers(world, *users):
    held = Identifier.objects.filter(space=world.space, type="user_id", value__in=users)
    return set(held.values_list("profile", flat=True))


# making


def test_a_new_audience_is_computing_until_it_is_live(world, cast, api, made):
    world.did("u1", "Signed Up")
    audience = made("New users, 7 days", SIGNED_UP, description="Fresh")
    assert audience["id"].startswith("aud_")
    assert audience["createdBy"] == cast.people["user"].public_id
    assert {name: audience[name] for name in ("key", "status", "size", "asOf", "version", "error", "updating")} == {
        "key": "new_users_7_days",
        "status": "computing",
        "size": {"count": None},
        "asOf": None,
        "version": 1,
        "error": "",
        "updating": False,
    }
    assert audience["sentence"] == 'People who performed "Signed Up" at least once in the last 7 days.'
    world.computed()
    now = api("GET", f"audiences/{audience['id']}", who="read_only")["audience"]
    assert (now["status"], now["size"], now["asOf"]) == ("live", {"count": 1}, "2026-06-15T12:00:00.000Z")
    assert [each["id"] for each in api("GET", "audiences")["audiences"]] == [audience["id"]]


def test_an_audience_without_history_says_so_and_counts_nothing_of_it(world, api, made):
    world.did("u1", "Signed Up")
    audience = made("From now on", SIGNED_UP, includeHistoricalData=False)
    world.computed()
    now = api("GET", f"audiences/{audience['id']}")["audience"]
    assert (now["includeHistoricalData"], now["size"]) == (False, {"count": 0})
    assert ", counting only events after 15 June 2026, 12:00:00 UTC." in now["sentence"]
    assert made("All of it", SIGNED_UP)["includeHistoricalData"] is True


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("new users 7days", "new_users_7days"),
        ("  Clientes à RISCO!  ", "clientes_a_risco"),
        ("7 days", "audience_7_days"),
        ("日本のお客様", "ribennookeyang"),
        ("—", "audience"),
        ("x" * 200, "x" * 60),
    ],
)
def test_the_key_is_made_of_the_name(world, made, name, key):
    assert made(name)["key"] == key


def test_names_may_be_equal_and_keys_never_are_not_even_after_a_deletion(world, api, made):
    keys = [made("Buyers")["key"], made("Buyers")["key"]]
    api("DELETE", f"audiences/{api('GET', 'audiences')['audiences'][0]['id']}")
    assert [*keys, made("Buyers")["key"]] == ["buyers", "buyers_2", "buyers_3"]
    body = {"name": "B", "definition": ORDERED, "key": "buyers"}
    assert api("POST", "audiences", body, status=422)["field"] == "key"


@pytest.mark.parametrize("key", ["", "Buyers", "7days", "_x", "a-b", "a b", "ä", "x" * 201])
def test_a_key_that_tools_could_not_use_is_refused(world, api, key):
    body = {"name": "B", "definition": ORDERED, "key": key}
    assert api("POST", "audiences", body, status=422)["field"] == "key"
    assert not Audience.objects.exists()


def test_a_key_of_ones_own_is_kept(world, made):
    assert made("Whatever", key="vip_2026")["key"] == "vip_2026"


@pytest.mark.parametrize(
    ("definition", "field", "words"),
    [
        ({"all": [ORDERED, {**SIGNED_UP, "within": {"days": 0}}]}, "definition.all[1].within.days", "whole number"),
        (
            {"kind": "horoscope"},
            "definition.kind",
            "must be one of audience, computed, event, page, screen, split, sql_trait, trait",
        ),
        ({"not": {"kind": "audience", "key": "nobody"}}, "definition.not", 'there is no "nobody"'),
        ({"any": []}, "definition.any", "at least one row"),
        ("everyone", "definition", "must be an object"),
        ({}, "definition", "must have a kind"),
        ([], "definition", "must be an object"),
        (None, "definition", "null"),
    ],
)
def test_a_wrong_definition_says_where(world, api, definition, field, words):
    for path, more in (("audiences", {"name": "A"}), ("audiences/previews", {})):
        error = api("POST", path, {"definition": definition, **more}, status=422)
        assert (error["type"], error["field"]) == ("validation-error", field)
        assert words in error["message"]
    assert not Audience.objects.exists()


@pytest.mark.parametrize("depth", [21, 300, 500, 700, 900, 950, 980, 2000, 100_000])
def test_a_body_nested_without_end_is_refused(world, cast, depth):
    nested = '{"name": "A", "definition": ' + '{"not": ' * depth + "1" + "}" * (depth + 1)
    answer = cast.browser("nobody").generic(
        "POST",
        f"/api/spaces/{cast.space.public_id}/audiences",
        data=nested,
        content_type="application/json",
        headers=cast.bearer("user"),
    )
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("value", [1e20, 1e300, 2**63, -1e19, 1.5, 0.1, 1e15, -0.0, True, "1", 5e-324])
def test_a_definition_that_is_taken_can_be_read_again(world, api, value):
    """PostgreSQL keeps numbers in its own way."""
    definition = {"kind": "trait", "name": "n", "op": "equals", "value": value}
    body = {"name": "A", "definition": definition}
    answer = api("POST", "audiences", body, status=201 if not refused(value) else 422)
    if not refused(value):
        kept = api("GET", f"audiences/{answer['audience']['id']}")["audience"]
        assert kept["definition"] == definition
        assert type(kept["definition"]["value"]) is type(value)
    assert api("GET", "audiences")["audiences"] is not None


def refused(value):
    return not isinstance(value, str) and abs(value) >= 2**63


def test_a_definition_comes_back_whole(world, api, made):
    """What was left out is said: it means the same for ever, whatever a later version assumes."""
    audience = made("A", {"any": [{"kind": "event", "name": "Ordered"}]})
    assert audience["definition"] == {"any": [{"kind": "event", "name": "Ordered", "atLeast": 1}]}


# changing


def test_the_old_definition_serves_until_the_new_one_is_computed(world, api, made):
    world.did("u1", "Signed Up")
    world.did("u2", "Ordered")
    path = f"audiences/{made('A', SIGNED_UP)['id']}"
    world.computed()
    changed = api("PATCH", path, {"definition": ORDERED, "name": "B", "description": "new"})["audience"]
    assert (changed["name"], changed["description"], changed["key"]) == ("B", "new", "a")
    assert (changed["status"], changed["updating"], changed["version"]) == ("live", True, 2)
    assert members(api, path) == ids(world, "u1")
    world.computed()
    now = api("GET", path)["audience"]
    assert (now["status"], now["updating"], now["definition"]) == ("live", False, ORDERED)
    assert members(api, path) == ids(world, "u2")


def test_the_same_definition_again_computes_nothing_and_a_changed_mind_only_the_last(world, api, made):
    path = f"audiences/{made('A', SIGNED_UP)['id']}"
    assert api("PATCH", path, {"definition": SIGNED_UP})["audience"]["version"] == 1
    api("PATCH", path, {"definition": ORDERED})
    assert api("PATCH", path, {"definition": SIGNED_UP})["audience"]["version"] == 3
    states = Version.objects.order_by("number").values_list("state", flat=True)
    assert list(states) == ["replaced", "replaced", "computing"]


def test_one_and_true_are_two_definitions(world, api, made):
    definition = {"kind": "trait", "name": "n", "op": "equals", "value": 1}
    path = f"audiences/{made('A', definition)['id']}"
    assert api("PATCH", path, {"definition": {**definition, "value": True}})["audience"]["version"] == 2


def test_a_failed_definition_says_why_and_can_be_tried_again(world, api, made):
    path = f"audiences/{made('A')['id']}"
    Version.objects.update(state="failed", error="Memory limit exceeded")
    now = api("GET", path)["audience"]
    assert (now["status"], now["error"]) == ("failed", "Memory limit exceeded")
    again = api("PATCH", path, {"definition": ORDERED})["audience"]
    assert (again["status"], again["error"], again["version"]) == ("computing", "", 2)


def test_switched_off_it_stays_as_it_is_and_on_again_it_is_computed_anew(world, api, made):
    world.did("u1", "Ordered")
    path = f"audiences/{made('A')['id']}"
    world.computed()
    assert api("PATCH", path, {"enabled": False})["audience"]["status"] == "disabled"
    world.did("u2", "Ordered")
    world.ticked()
    assert members(api, path) == ids(world, "u1")
    on = api("PATCH", path, {"enabled": True})["audience"]
    assert (on["status"], on["updating"], on["version"]) == ("live", True, 2)
    world.computed()
    assert members(api, path) == ids(world, "u1", "u2")
    assert api("PATCH", path, {"enabled": True})["audience"]["version"] == 2


def test_no_audience_becomes_a_part_of_itself(world, api, made):
    first = made("First")
    made("Second", {"all": [ORDERED, {"kind": "audience", "key": "first"}]})
    made("Third", {"not": {"kind": "audience", "key": "second"}})
    for key, way in (("first", "first → first"), ("third", "first → third → second → first")):
        body = {"definition": {"any": [ORDERED, {"not": {"kind": "audience", "key": key}}]}}
        error = api("PATCH", f"audiences/{first['id']}", body, status=422)
        assert error["field"] == "definition.any[1].not"
        assert error["message"].endswith(way)
    assert Version.objects.filter(audience__public_id=first["id"]).count() == 1


def test_what_serves_counts_for_cycles_as_long_as_it_serves(world, api, made):
    first, second = made("First"), made("Second", {"kind": "audience", "key": "first"})
    world.computed()
    api("PATCH", f"audiences/{second['id']}", {"definition": ORDERED})
    body = {"definition": {"kind": "audience", "key": "second"}}
    assert api("PATCH", f"audiences/{first['id']}", body, status=422)["field"] == "definition"
    world.computed()
    api("PATCH", f"audiences/{first['id']}", body)


def test_an_audience_that_another_one_asks_about_cannot_be_deleted(world, api, made):
    first, second = made("First"), made("Second", {"kind": "audience", "key": "first"})
    error = api("DELETE", f"audiences/{first['id']}", status=409)
    assert (error["type"], "second" in error["message"]) == ("conflict", True)
    api("DELETE", f"audiences/{second['id']}")
    api("DELETE", f"audiences/{first['id']}")
    assert api("GET", "audiences")["audiences"] == []
    for method in ("GET", "PATCH", "DELETE"):
        api(method, f"audiences/{first['id']}", {}, status=404)
    assert Audience.objects.filter(deleted_at=NOON).count() == 2


def test_a_deleted_audience_cannot_be_asked_about(world, api, made):
    api("DELETE", f"audiences/{made('First')['id']}")
    body = {"name": "B", "definition": {"kind": "audience", "key": "first"}}
    assert api("POST", "audiences", body, status=422)["field"] == "definition"


def test_every_change_is_on_record_and_a_refused_one_is_not(world, api, made, cast):
    path = f"audiences/{made('A')['id']}"
    api("PATCH", path, {"definition": {"kind": "audience", "key": "a"}}, status=422)
    api("PATCH", path, {"enabled": False})
    api("DELETE", path)
    entries = AuditEntry.objects.filter(action__startswith="audience").order_by("id")
    assert [(each.action, each.actor) for each in entries] == [
        (action, cast.people["user"]) for action in ("audience.created", "audience.changed", "audience.deleted")
    ]
    assert entries[1].detail == {"enabled": False}


# the preview


def test_a_preview_is_exact_and_changes_nothing(world, api):
    world.did("u1", "Signed Up", ago=6 * DAY)
    world.did("u2", "Signed Up", ago=7 * DAY)
    world.sent(message("identify", userId="u1", traits={"name": "Ada", "email": "ada@x.org"}))
    world.sent(message(anonymousId="a1", event="Signed Up"))
    found = api("POST", "audiences/previews", {"definition": SIGNED_UP}, who="admin")["preview"]
    assert found.pop("milliseconds") > 0
    (person,) = found.pop("sample")
    assert {"profileId": person["profileId"], "name": "Ada"} == {"profileId": ids(world, "u1").pop(), "name": "Ada"}
    assert {(each["type"], each["value"]) for each in person["identifiers"]} == {
        ("user_id", "u1"),
        ("email", "ada@x.org"),
    }
    sentence = 'People who performed "Signed Up" at least once in the last 7 days.'
    assert found == {"size": 1, "asOf": "2026-06-15T12:00:00.000Z", "sentence": sentence, "steps": [], "neverSeen": []}
    body = {"definition": SIGNED_UP, "includeAnonymous": True, "sampleSize": 1}
    anyone = api("POST", "audiences/previews", body)["preview"]
    assert (anyone["size"], len(anyone["sample"])) == (2, 1)
    assert not Audience.objects.exists()
    assert not AuditEntry.objects.filter(action__startswith="audience").exists()


def test_a_preview_without_historical_data_says_with_how_many_the_audience_would_begin(world, api):
    world.did("u1", "Ordered")
    world.sent(message("identify", userId="u2", traits={"plan": "pro"}))
    for definition, size in ((ORDERED, 0), ({"not": ORDERED}, 2)):
        body = {"definition": definition, "includeHistoricalData": False}
        found = api("POST", "audiences/previews", body)["preview"]
        assert found["size"] == size
        assert "counting only events after 15 June 2026, 12:00:00 UTC" in found["sentence"]


def test_a_preview_that_takes_too_long_says_so(world, api, monkeypatch):
    world.did("u1", "Ordered")
    monkeypatch.setattr(queries, "LONGEST_S", 0.000001)
    error = api("POST", "audiences/previews", {"definition": ORDERED}, status=422)
    assert error["field"] == "definition"
    assert "more time or memory" in error["message"]


def test_a_preview_about_an_audience_that_is_not_computed_yet_is_a_conflict(world, api, made):
    made("First")
    body = {"definition": {"kind": "audience", "key": "first"}}
    assert "first" in api("POST", "audiences/previews", body, status=409)["message"]
    world.computed()
    assert api("POST", "audiences/previews", body)["preview"]["size"] == 0


@pytest.mark.parametrize("size", [-1, 51, "many", None])
def test_a_sample_has_at_most_fifty(world, api, size):
    body = {"definition": ORDERED, "sampleSize": size}
    assert api("POST", "audiences/previews", body, status=422)["field"] == "sampleSize"


def test_the_sample_is_spread_over_all_members(world, api):
    world.sent(*(message(userId=f"u{n}", event="Ordered") for n in range(9)))
    sample = api("POST", "audiences/previews", {"definition": ORDERED, "sampleSize": 3})["preview"]["sample"]
    assert [person["identifiers"][0]["value"] for person in sample] == ["u0", "u3", "u6"]


# members and changes


def members(api, path):
    return {member["profileId"] for member in api("GET", f"{path}/members")["members"]}


def test_members_are_paged_with_a_tick_that_stays_while_nobody_moves(world, api, made):
    world.sent(*(message(userId=f"u{n}", event="Ordered") for n in range(5)))
    path = f"audiences/{made('A')['id']}/members?pagination[count]=2&include=identifiers"
    world.computed()
    pages, cursor = [], ""
    while cursor is not None:
        pages.append(api("GET", f"{path}&pagination[cursor]={cursor}"))
        cursor = pages[-1]["pagination"].get("next")
        world.did("u0", "Seen")
        world.ticked()
    assert [len(page["members"]) for page in pages] == [2, 2, 1]
    assert len({page["tick"] for page in pages}) == 1
    assert {page["pagination"]["totalEntries"] for page in pages} == {5}
    assert [member["identifiers"] for page in pages for member in page["members"]] == [
        [{"type": "user_id", "value": f"u{n}"}] for n in range(5)
    ]
    world.did("u9", "Ordered")
    world.ticked()
    assert api("GET", path)["tick"] > pages[0]["tick"]


def test_identifiers_are_there_when_asked_for_only(world, api, made):
    world.did("u1", "Ordered")
    path = f"audiences/{made('A')['id']}/members"
    world.computed()
    assert [*api("GET", path)["members"][0]] == ["profileId"]
    assert api("GET", f"{path}?include=everything", status=422)["field"] == "include"


def test_someone_who_was_merged_since_is_shown_once_by_the_id_that_is_left(world, api, made):
    world.sent(message(anonymousId="a1", event="Ordered"))
    world.did("u1", "Ordered")
    path = f"audiences/{made('A', includeAnonymous=True)['id']}"
    world.computed()
    assert len(members(api, path)) == 2
    world.sent(message("identify", anonymousId="a1", userId="u1"))  # not evaluated yet
    assert [each["profileId"] for each in api("GET", f"{path}/members")["members"]] == [*ids(world, "u1")]


def test_an_audience_that_is_not_computed_yet_has_no_members(world, api, made):
    found = api("GET", f"audiences/{made('A')['id']}/members")
    assert (found["members"], found["tick"], found["asOf"]) == ([], 0, None)
    assert (found["status"], found["computed"]) == ("computing", False)
    world.computed()
    found = api("GET", f"audiences/{Audience.objects.get().public_id}/members")
    assert (found["members"], found["status"], found["computed"]) == ([], "live", True)


def test_an_audience_says_what_is_wrong_with_it_and_when_it_is_tried_again(world, api, made, monkeypatch):
    world.did("u1", "Ordered")
    buyers = made("Buyers")
    world.computed()
    monkeypatch.setitem(compiler.SETTINGS, "max_memory_usage", 1000)
    world.clock.advance(DAY)
    world.did("u2", "Ordered")
    world.ticked()
    new = made("New")
    for version in world.ready():
        backfill.compute(version, world.clock)
    found = {each["id"]: each for each in api("GET", "audiences")["audiences"]}
    behind, computing = found[buyers["id"]], found[new["id"]]
    assert (behind["status"], behind["asOf"]) == ("behind", "2026-06-15T12:00:00.000Z")
    assert "memory limit exceeded" in behind["problem"].pop("reason").lower()
    assert behind["problem"] == {"since": "2026-06-16T12:00:00.000Z", "retryAt": "2026-06-16T12:00:10.000Z"}
    assert (computing["status"], computing["problem"]["retryAt"]) == ("computing", "2026-06-16T12:00:10.000Z")
    members_now = api("GET", f"audiences/{buyers['id']}/members")
    assert (members_now["status"], members_now["asOf"]) == ("behind", "2026-06-15T12:00:00.000Z")
    monkeypatch.undo()
    monkeypatch.setattr("audiences.api.views.clock", world.clock)
    world.clock.advance(DAY)
    world.computed()
    world.ticked()
    for each in api("GET", "audiences")["audiences"]:
        assert (each["status"], each["problem"], each["asOf"]) == ("live", None, "2026-06-17T12:00:00.000Z")


def test_an_audience_that_asks_about_a_failed_one_says_so(world, api, made):
    one = made("One")
    two = made("Two", {"kind": "audience", "key": "one"})
    three = made("Three", {"not": {"kind": "audience", "key": "two"}})
    Version.objects.filter(audience__key="one").update(state="failed", error="Types do not fit.")

    def shown(audience):
        found = api("GET", f"audiences/{audience['id']}")["audience"]
        return found["status"], (found["problem"] or {}).get("reason")

    assert shown(one) == ("failed", "Types do not fit.")
    assert shown(two) == ("waiting", "It waits for One, which failed: Types do not fit.")
    assert shown(three) == ("waiting", "It waits for Two, which waits for One, which failed: Types do not fit.")
    Audience.objects.filter(key="one").update(enabled=False)
    assert shown(two) == ("waiting", "It waits for One, which is disabled.")
    Audience.objects.filter(key="one").update(enabled=True)
    Version.objects.filter(audience__key="one").update(state="computing", error="")
    assert shown(two) == ("waiting", "It waits for One, which is not computed yet.")
    world.computed()
    assert [shown(each) for each in (one, two, three)] == [("live", None)] * 3
    Version.objects.filter(audience__key="one").update(state="failed", error="Types do not fit.")
    said = "It asks about One, which failed: Types do not fit. It takes the people who were in that last."
    assert (shown(one)[0], shown(two), shown(three)) == ("failed", ("live", said), ("live", None))


def test_a_preview_that_the_engine_has_no_time_for_can_be_asked_again(world, api, monkeypatch):
    def no(*args, **limits):
        raise DatabaseError("Code: 202. DB::Exception: Too many simultaneous queries", code=202)

    monkeypatch.setattr(client, "bitmaps", no)
    assert api("POST", "audiences/previews", {"definition": ORDERED}, status=503)["type"] == "unavailable"


def test_members_tick_and_moment_are_of_one_tick(world, api, made, monkeypatch):
    """A tick that is published between two reads makes them be read again."""
    audience = Audience.objects.get(public_id=made("A")["id"])
    world.computed()
    read = queries.members

    def slow(which):
        found = read(which)
        if not Change.objects.filter(audience=audience, cause="events").exists():
            world.clock.advance(DAY)
            world.did("u1", "Ordered")
            world.ticked()
        return found

    monkeypatch.setattr(queries, "members", slow)
    found = api("GET", f"audiences/{audience.public_id}/members")
    assert (len(found["members"]), found["asOf"]) == (1, "2026-06-16T12:00:00.000Z")
    assert found["tick"] == Change.objects.latest("tick").tick


def test_changes_say_who_came_and_went_and_why(world, api, made):
    world.did("u1", "Signed Up", ago=6 * DAY)
    path = f"audiences/{made('A', SIGNED_UP)['id']}/changes"
    world.computed()
    world.did("u2", "Signed Up")
    world.ticked()
    world.later(DAY)
    found = api("GET", path)["changes"]
    assert [(each["cause"], each["at"], each["size"]["count"]) for each in found] == [
        ("clock", "2026-06-16T12:00:00.000Z", 1),
        ("events", "2026-06-15T12:00:00.000Z", 2),
        ("compute", "2026-06-15T12:00:00.000Z", 1),
    ]
    assert found[0]["left"] == {"count": 1, "profileIds": [*ids(world, "u1")]}
    assert found[1]["entered"] == {"count": 1, "profileIds": [*ids(world, "u2")]}
    assert found[0]["tick"] > found[1]["tick"] > found[2]["tick"]


def test_only_some_of_many_are_named(world, api, made, monkeypatch):
    monkeypatch.setattr("audiences.api.serializers.MOST_NAMED", 2)
    world.sent(*(message(userId=f"u{n}", event="Ordered") for n in range(5)))
    path = f"audiences/{made('A')['id']}/changes"
    world.computed()
    (change,) = api("GET", path)["changes"]
    assert (change["entered"]["count"], len(change["entered"]["profileIds"])) == (5, 2)


def test_all_people_of_a_change_are_named_in_pages(world, api, made):
    world.sent(*(message(userId=f"u{n}", event="Ordered") for n in range(5)))
    path = f"audiences/{made('A', {**ORDERED, 'within': {'days': 1}})['id']}/changes"
    world.computed()
    world.later(DAY)
    left, entered = api("GET", path)["changes"]
    everybody = ids(world, *(f"u{n}" for n in range(5)))
    for change, side in ((entered, "entered"), (left, "left")):
        seen, cursor = [], ""
        while cursor is not None:
            found = api("GET", f"{path}/{change['id']}/{side}?pagination[count]=2&pagination[cursor]={cursor}")
            assert found["pagination"]["totalEntries"] == change[side]["count"] == 5
            seen += [each["profileId"] for each in found["people"]]
            cursor = found["pagination"].get("next")
        assert len(seen) == 5
        assert set(seen) == everybody
    named = api("GET", f"{path}/{entered['id']}/entered?include=identifiers")["people"][0]
    assert named["identifiers"] == [{"type": "user_id", "value": "u0"}]
    assert api("GET", f"{path}/{entered['id']}/left")["people"] == []
    for wrong in ("7-compute", "x", "-", "1-", "1-nothing", "9" * 30 + "-compute", "²-compute"):
        assert api("GET", f"{path}/{wrong}/entered", status=404)["type"] == "not-found"


# what there is, and who may


def test_the_catalogue_names_every_kind_and_operator(world, api):
    found = api("GET", "condition-kinds", who="read_only")
    assert [kind["kind"] for kind in found["conditionKinds"]] == [*KINDS]
    assert {"name": "within", "label": "Within the last"} in next(
        kind["fields"] for kind in found["conditionKinds"] if kind["kind"] == "event"
    )
    assert [operator["name"] for operator in found["operators"]] == [*OPERATORS]
    assert {operator["value"] for operator in found["operators"]} == {*VALUES.values(), None}


ROUTES = [
    ("GET", "audiences", "read_only", None),
    ("POST", "audiences", "user", {"name": "N", "definition": ORDERED}),
    ("POST", "audiences/previews", "read_only", {"definition": ORDERED}),
    ("GET", "audiences/{aud}", "read_only", None),
    ("PATCH", "audiences/{aud}", "user", {"name": "N"}),
    ("GET", "audiences/{aud}/members", "read_only", None),
    ("GET", "audiences/{aud}/changes", "read_only", None),
    ("GET", "condition-kinds", "read_only", None),
    ("DELETE", "audiences/{aud}", "user", None),
]


@pytest.mark.parametrize(("method", "route", "least", "body"), ROUTES)
def test_each_route_asks_for_its_permission(cast, world, made, method, route, least, body):
    path = f"/api/spaces/{cast.space.public_id}/" + route.format(aud=made("A")["id"])
    before = fingerprint()
    assert cast.call("nobody", method, path, body).status_code == 401
    assert cast.call("stranger", method, path, body).status_code == 404
    for who in ["member", *LADDER[: LADDER.index(least)]]:
        assert cast.call(who, method, path, body).status_code == 403
    assert fingerprint() == before
    assert cast.call(least, method, path, body).status_code in {200, 201}


def fingerprint():
    return json.dumps([*Audience.objects.values(), *Version.objects.values("id", "state")], default=str)
