"""Sources, connections and replays by REST: what it answers, and whom."""

import pytest

from sources import services
from sources.models import Connection, Replay, Source
from spaces.clock import FixedClock, clock
from tests.factories import SourceFactory
from tests.factories_identity import DAY_MS, NOON, archived, message
from tests.factories_sources import RejectFactory, archive_all, send, track

pytestmark = pytest.mark.django_db


@pytest.fixture
def source(cast):
    return services.create_source(cast.workspace, name="Website", kind="website")


@pytest.fixture
def foreign(cast):
    return services.create_source(cast.other_workspace, name="Theirs")


def ok(answer, status=200):
    assert answer.status_code == status, answer.content
    return answer.json()["data"]


def refused(answer):
    return answer.status_code, answer.json()["errors"][0].get("field")


def test_a_source_is_made_with_a_key(cast):
    made = ok(cast.call("owner", "POST", "/api/sources", {"name": "My App", "kind": "mobile"}), 201)["source"]
    assert made["id"].startswith("src_")
    assert (made["slug"], made["kind"], made["enabled"]) == ("my-app", "mobile", True)
    assert len(made["writeKeys"]) == 1
    assert made["settings"] == {"correctClocks": True, "keepDays": None}
    assert made["tally"] == {"archived": 0, "doubled": 0, "rejected": 0, "suppressed": 0, "waiting": 0}
    assert ok(cast.call("owner", "GET", f"/api/sources/{made['id']}"))["source"] == made


def test_clocks_can_be_left_alone(cast):
    body = {"name": "Import", "settings": {"correctClocks": False, "keepDays": 90}}
    made = ok(cast.call("owner", "POST", "/api/sources", body), 201)["source"]
    assert made["settings"] == {"correctClocks": False, "keepDays": 90}
    assert Source.objects.get(public_id=made["id"]).correct_clocks is False


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "kind": "toaster"}, "kind"),
        ({"name": "x", "settings": {"correctClocks": "maybe"}}, "settings.correctClocks"),
        ({"name": "x", "color": "red"}, "color"),
    ],
)
def test_a_wrong_field_is_named(cast, body, field):
    assert refused(cast.call("owner", "POST", "/api/sources", body)) == (422, field)


def test_the_list_is_paged_and_of_this_workspace(cast, source, foreign):
    for number in range(3):
        SourceFactory(workspace=cast.workspace, name=f"S{number}")
    page = ok(cast.call("owner", "GET", "/api/sources?pagination[count]=3"))
    assert [row["name"] for row in page["sources"]] == ["Website", "S0", "S1"]
    assert page["pagination"]["totalEntries"] == 4


def test_the_tally_says_what_became_of_messages(cast, source):
    send(source, track(messageId="a"), track(messageId="a"), {})
    archive_all(source)
    send(source, track())
    shown = ok(cast.call("owner", "GET", f"/api/sources/{source.public_id}"))["source"]
    assert shown["tally"] == {"archived": 1, "doubled": 1, "rejected": 1, "suppressed": 0, "waiting": 1}


def test_a_source_is_renamed_disabled_and_deleted(cast, source):
    path = f"/api/sources/{source.public_id}"
    body = {"name": "New", "enabled": False, "settings": {"correctClocks": False}}
    shown = ok(cast.call("owner", "PATCH", path, body))["source"]
    assert (shown["name"], shown["enabled"], shown["settings"]["correctClocks"]) == ("New", False, False)
    assert shown["slug"] == "website"
    shown = ok(cast.call("owner", "PATCH", path, {"enabled": True}))["source"]
    assert (shown["name"], shown["enabled"], shown["settings"]["correctClocks"]) == ("New", True, False)
    ok(cast.call("owner", "DELETE", path))
    assert cast.call("owner", "GET", path).status_code == 404


def test_write_keys_are_added_and_removed(cast, source):
    path = f"/api/sources/{source.public_id}/writekey"
    first, second = ok(cast.call("owner", "POST", path), 201)["source"]["writeKeys"]
    ok(cast.call("owner", "DELETE", f"{path}/{first}"))
    assert cast.call("owner", "DELETE", f"{path}/{first}").status_code == 404
    assert ok(cast.call("owner", "GET", f"/api/sources/{source.public_id}"))["source"]["writeKeys"] == [second]


def test_write_keys_are_shown_to_those_who_may_edit_sources(cast, source):
    shown = ok(cast.call("admin", "GET", f"/api/sources/{source.public_id}"))["source"]
    assert shown["writeKeys"] == []


def test_rejects_come_newest_first_with_their_reason(cast, source):
    RejectFactory(source=source, code="first")
    RejectFactory(source=source, code="second")
    RejectFactory(code="of another")
    rows = ok(cast.call("owner", "GET", f"/api/sources/{source.public_id}/rejects"))["rejects"]
    assert [row["code"] for row in rows] == ["second", "first"]
    assert rows[0]["path"] == "batch[0].userId"
    assert rows[0]["receivedAt"] == "2026-06-15T12:00:00.000Z"


def test_rejects_are_driven_again(cast, source):
    path = f"/api/sources/{source.public_id}/rejects"
    old = RejectFactory(source=source)
    named, *_ = (
        RejectFactory(source=source, space=cast.space, piece=1, position=n, code="no_identifiers") for n in range(3)
    )
    row = ok(cast.call("owner", "GET", path))["rejects"][-2]
    assert (row["id"], row["space"], row["retriable"]) == (str(named.pk), cast.space.public_id, True)
    assert ok(cast.call("owner", "GET", path))["rejects"][-1]["retriable"] is False
    again = f"{path}/again"
    assert ok(cast.call("owner", "POST", again, {"ids": [str(named.pk), str(old.pk)]})) == {"count": 1, "left": 0}
    assert ok(cast.call("owner", "POST", again, {"ids": [str(named.pk)]})) == {"count": 0, "left": 0}
    assert ok(cast.call("owner", "POST", again, {"code": "no_identifiers"})) == {"count": 2, "left": 0}
    assert refused(cast.call("owner", "POST", again, {"ids": ["x"]}))[0] == 422


def test_the_schema_lists_events(cast, source):
    send(source, track(event="Order Completed"))
    archive_all(source)
    (row,) = ok(cast.call("owner", "GET", f"/api/sources/{source.public_id}/events"))["events"]
    assert (row["type"], row["event"], row["archived"]) == ("track", "Order Completed", 1)


class TestConnections:
    @pytest.fixture
    def path(self, cast):
        return f"/api/spaces/{cast.space.public_id}/connections"

    def test_connecting_begins_one_replay(self, cast, source, path):
        send(source, track())
        archive_all(source)
        second = SourceFactory(workspace=cast.workspace)
        body = {"sourceIds": [source.public_id, second.public_id], "replayDays": 365}
        made = ok(cast.call("admin", "POST", path, body), 201)
        assert [row["sourceId"] for row in made["connections"]] == body["sourceIds"]
        assert {row["state"] for row in made["connections"]} == {"replaying"}
        replay = made["replay"]
        assert (replay["state"], replay["total"], replay["done"], replay["percent"]) == ("running", 1, 0, 0.0)
        assert set(replay) >= {"eventTime", "eventsPerSecond", "secondsLeft", "startedAt", "finishedAt"}
        listed = ok(cast.call("read_only", "GET", path))
        assert len(listed["connections"]) == 2
        assert listed["replay"]["id"] == replay["id"]

    def test_connecting_without_a_replay(self, cast, source, path):
        made = ok(cast.call("admin", "POST", path, {"sourceIds": [source.public_id], "replay": False}), 201)
        assert made["replay"] is None
        assert made["connections"][0]["state"] == "live"
        assert ok(cast.call("admin", "GET", path))["replay"] is None

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "sourceIds"),
            ({"sourceIds": []}, "sourceIds"),
            ({"sourceIds": ["src_none"]}, "sourceIds[0]"),
            ({"sourceIds": "src"}, "sourceIds"),
            ({"sourceIds": ["x"], "replayDays": 0}, "replayDays"),
            ({"sourceIds": ["x"], "replay": "soon"}, "replay"),
        ],
    )
    def test_a_wrong_field_is_named(self, cast, path, body, field):
        assert refused(cast.call("admin", "POST", path, body)) == (422, field)

    def test_a_source_of_another_workspace_does_not_exist(self, cast, foreign, path):
        body = {"sourceIds": [foreign.public_id]}
        assert refused(cast.call("admin", "POST", path, body)) == (422, "sourceIds[0]")

    def test_twice_is_a_conflict(self, cast, source, path):
        body = {"sourceIds": [source.public_id, source.public_id]}
        ok(cast.call("admin", "POST", path, body), 201)
        assert cast.call("admin", "POST", path, body).status_code == 409

    def test_a_connection_can_be_ended(self, cast, source, path):
        services.connect(cast.space, [source], clock=clock)
        connection = Connection.objects.get()
        ok(cast.call("admin", "DELETE", f"{path}/{connection.public_id}"))
        assert ok(cast.call("admin", "GET", path))["connections"] == []
        assert cast.call("admin", "DELETE", f"{path}/{connection.public_id}").status_code == 404

    def test_a_replay_can_be_watched_and_cancelled_once(self, cast, source):
        replay = services.connect(cast.space, [source], clock=clock)
        path = f"/api/spaces/{cast.space.public_id}/replays"
        assert [row["id"] for row in ok(cast.call("user", "GET", path))["replays"]] == [replay.public_id]
        assert ok(cast.call("user", "GET", f"{path}/{replay.public_id}"))["replay"]["state"] == "running"
        cancelled = ok(cast.call("admin", "POST", f"{path}/{replay.public_id}/cancel"))["replay"]
        assert cancelled["state"] == "cancelled"
        assert cast.call("admin", "POST", f"{path}/{replay.public_id}/cancel").status_code == 409
        assert Replay.objects.get().state == Replay.State.CANCELLED


ROUTES = [  # (method, path, body, who may)
    ("GET", "/api/sources", None, {"owner", "admin"}),
    ("GET", "/api/sources/{source}", None, {"owner", "admin"}),
    ("GET", "/api/sources/{source}/rejects", None, {"owner", "admin"}),
    ("GET", "/api/sources/{source}/events", None, {"owner", "admin"}),
    ("POST", "/api/sources/{source}/rejects/again", {}, {"owner"}),
    ("POST", "/api/sources", {"name": "x"}, {"owner"}),
    ("PATCH", "/api/sources/{source}", {"name": "x"}, {"owner"}),
    ("POST", "/api/sources/{source}/writekey", None, {"owner"}),
    ("DELETE", "/api/sources/{source}/writekey/{key}", None, {"owner"}),
    ("DELETE", "/api/sources/{source}", None, {"owner"}),
    ("GET", "/api/spaces/{space}/connections", None, {"owner", "admin", "user", "read_only"}),
    ("GET", "/api/spaces/{space}/replays", None, {"owner", "admin", "user", "read_only"}),
    ("GET", "/api/spaces/{space}/replays/{replay}", None, {"owner", "admin", "user", "read_only"}),
    ("POST", "/api/spaces/{space}/replays/{replay}/cancel", None, {"owner", "admin"}),
    ("DELETE", "/api/spaces/{space}/connections/{connection}", None, {"owner", "admin"}),
    ("POST", "/api/spaces/{space}/connections", {"sourceIds": ["{unconnected}"]}, {"owner", "admin"}),
]


def test_more_of_the_past_is_replayed_on_request(cast, source):
    path = f"/api/spaces/{cast.space.public_id}/replays"
    body = {"sourceIds": [source.public_id], "days": 60}
    assert cast.call("admin", "POST", path, body).status_code == 409  # not connected
    archived(source, message(userId="u", at=-40 * DAY_MS))
    services.connect(cast.space, [source], since_days=30, replay=False, clock=FixedClock(NOON))
    assert cast.call("user", "POST", path, body).status_code == 403
    made = cast.call("admin", "POST", path, body | {"days": 20 * 365 // 7})
    assert made.status_code == 201
    assert (made.json()["data"]["replay"]["total"], made.json()["data"]["replay"]["state"]) == (1, "running")
    assert cast.call("admin", "POST", path, body).status_code == 409  # one is running
    assert refused(cast.call("admin", "POST", path, body | {"days": 0})) == (422, "days")
    assert refused(cast.call("admin", "POST", path, body | {"sourceIds": ["src_x"]})) == (422, "sourceIds[0]")


def test_when_a_space_has_everything_no_replay_is_made(cast, source):
    services.connect(cast.space, [source], replay=False, clock=clock)
    body = {"sourceIds": [source.public_id], "days": 60}
    answer = cast.call("admin", "POST", f"/api/spaces/{cast.space.public_id}/replays", body)
    assert (answer.status_code, answer.json()["data"]["replay"]) == (200, None)


@pytest.mark.parametrize(("method", "path", "body", "allowed"), ROUTES)
@pytest.mark.parametrize("who", ["owner", "admin", "user", "read_only", "member", "stranger", "nobody"])
def test_each_route_is_for_those_who_may(cast, source, who, method, path, body, allowed):
    replay = services.connect(cast.space, [source], clock=clock)
    ids = {
        "source": source.public_id,
        "unconnected": services.create_source(cast.workspace, name="U").public_id,
        "key": source.write_keys.get().key,
        "space": cast.space.public_id,
        "replay": replay.public_id,
        "connection": Connection.objects.get().public_id,
    }
    if body and "sourceIds" in body:
        body = {"sourceIds": [ids["unconnected"]]}
    status = cast.call(who, method, path.format(**ids), body).status_code
    if who in allowed:
        assert status in (200, 201)
    elif who == "nobody":
        assert status == 401
    elif who == "stranger":  # an owner of a workspace of their own, in which these ids do not exist
        assert status == (404 if "{" in path else 201 if method == "POST" else 200)
    else:
        assert status in (403, 404)


def test_one_workspaces_space_with_anothers_rows_is_404(cast, source):
    """The stranger's own space in the path, the ids of others behind it."""
    replay = services.connect(cast.space, [source], clock=clock)
    own = f"/api/spaces/{cast.other_space.public_id}"
    assert cast.call("stranger", "GET", f"{own}/replays/{replay.public_id}").status_code == 404
    assert cast.call("stranger", "POST", f"{own}/replays/{replay.public_id}/cancel").status_code == 404
    connection = Connection.objects.get().public_id
    assert cast.call("stranger", "DELETE", f"{own}/connections/{connection}").status_code == 404
    body = {"sourceIds": [source.public_id]}
    assert refused(cast.call("stranger", "POST", f"{own}/connections", body)) == (422, "sourceIds[0]")
