"""Destinations by REST: what each person may do, what answers look like, and that strangers find nothing."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access.models import AuditEntry
from audiences.models import Audience
from destinations.adapters import all_adapters
from destinations.models import Acknowledged, Destination, Subscription
from destinations.queries import settings_of
from destinations.sync import Sync
from destinations.transports import catcher
from spaces import batches
from spaces.clock import FixedClock
from spaces.models import Log
from spaces.settings_schema import MASK
from tests import factories_destinations as made
from tests.cast import Cast
from tests.factories_destinations import AudienceFactory, change, make_person
from tests.receiver import Receiver, Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)
WEBHOOK = {"kind": "webhook", "name": "Ours", "settings": {"url": "https://example.com/hook"}}


@pytest.fixture
def space(cast: Cast) -> str:
    return f"/api/spaces/{cast.space.public_id}"


@pytest.fixture
def audience(cast: Cast) -> Audience:
    return AudienceFactory(space=cast.space, key="shoppers")


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        yield server


def body(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return answer.json()["data"] if status < 300 else answer.json()["errors"][0]


def delivered(subscription: Subscription) -> None:
    clock = FixedClock(datetime(2026, 6, 15, 12, tzinfo=UTC))
    log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    while batches.advance(Sync(clock), log):
        pass


def test_the_catalogue_has_a_card_for_each_kind(cast: Cast) -> None:
    cards = body(cast.call("read_only", "GET", "/api/catalog/destinations"))["destinationsCatalog"]
    assert [card["kind"] for card in cards] == list(all_adapters())
    (webhook,) = (card for card in cards if card["kind"] == "webhook")
    url = webhook["settings"][0]
    assert (url["name"], url["required"], url["secret"], url["url"]) == ("url", True, True, True)
    assert webhook["settingsSchema"]["required"] == ["url"]


def test_a_destination_is_made_shown_changed_and_deleted(cast: Cast, space: str) -> None:
    answer = body(cast.call("admin", "POST", f"{space}/destinations", WEBHOOK), 201)
    made_secret, destination = answer["generated"]["signingSecret"], answer["destination"]
    assert made_secret.startswith("whsec_")
    assert destination["settings"]["signingSecret"] == MASK
    assert destination["settings"]["url"] == f"https://example.com/{MASK}"
    assert answer["test"] == {
        "ok": False,
        "message": "No connection to example.com: the name example.com is not known",
        "status": 0,
        "milliseconds": 0,
    }
    path = f"{space}/destinations/{destination['id']}"
    assert body(cast.call("read_only", "GET", path))["destination"] == destination
    assert body(cast.call("user", "GET", f"{space}/destinations"))["destinations"] == [destination]
    changed = body(
        cast.call("admin", "PATCH", path, {"name": "New", "settings": {"batchSize": 5, "signingSecret": MASK}})
    )
    assert (changed["destination"]["name"], changed["destination"]["settings"]["batchSize"]) == ("New", 5)
    assert changed["generated"] == {}
    kept = settings_of(Destination.objects.get(public_id=destination["id"]))
    assert (kept.signing_secret, kept.url) == (made_secret, "https://example.com/hook")
    # One that was made before is never shown again, whatever else is emptied; an emptied one is made anew.
    assert body(cast.call("admin", "PATCH", path, {"settings": {"sharedSecret": ""}}))["generated"] == {}
    anew = body(cast.call("admin", "PATCH", path, {"settings": {"signingSecret": ""}}))["generated"]
    assert anew["signingSecret"] not in (made_secret, "")
    body(cast.call("admin", "DELETE", path))
    body(cast.call("admin", "GET", path), 404)
    actions = AuditEntry.objects.filter(target=destination["id"]).order_by("id").values_list("action", flat=True)
    assert list(actions) == ["destination.created", *["destination.changed"] * 3, "destination.deleted"]


def test_secrets_are_in_no_answer_no_audit_entry_and_not_in_plain_text_in_the_table(cast: Cast, space: str) -> None:
    given = {**WEBHOOK, "settings": WEBHOOK["settings"] | {"sharedSecret": "hunter2-secret"}}  # type: ignore[operator]
    answer = cast.call("admin", "POST", f"{space}/destinations", given)
    path = f"{space}/destinations/{body(answer, 201)['destination']['id']}"
    patched = cast.call("admin", "PATCH", path, {"settings": {"sharedSecret": "hunter2-other"}})
    listed = cast.call("admin", "GET", f"{space}/destinations")
    everything = answer.content + patched.content + listed.content
    everything += bytes(Destination.objects.get().settings)
    everything += str(list(AuditEntry.objects.values())).encode()
    assert b"hunter2" not in everything


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({**WEBHOOK, "kind": "pigeon"}, "kind"),
        ({**WEBHOOK, "settings": {}}, "settings.url"),
        ({**WEBHOOK, "settings": {"url": "http://user:pw@example.com"}}, "settings.url"),
        ({**WEBHOOK, "settings": {"url": "http://example.com", "nope": 1}}, "settings.nope"),
        ({**WEBHOOK, "settings": "x"}, "settings"),
        ({**WEBHOOK, "surplus": 1}, "surplus"),
        ({"kind": "webhook", "settings": {}}, "name"),
    ],
)
def test_a_wrong_destination_is_422_and_names_the_field(cast: Cast, space: str, given: Any, field: str) -> None:
    assert body(cast.call("admin", "POST", f"{space}/destinations", given), 422)["field"] == field
    assert not Destination.objects.exists()


def test_an_audience_is_connected_watched_switched_off_and_disconnected(
    cast: Cast, space: str, audience: Audience
) -> None:
    person = make_person(cast.space, ("user_id", "u1"), ("email", "e@x.org"))
    change(audience, entered=[person])
    destination = made.make_destination(cast.space, "catcher")
    path = f"{space}/audiences/{audience.public_id}/destination-connections"
    wanted = {"destinationId": destination.public_id, "options": {"enteredEvent": "In"}}
    subscription = body(cast.call("user", "POST", path, wanted), 201)["subscription"]
    assert (subscription["status"], subscription["desired"], subscription["acknowledged"]) == ("waiting", 2, 0)
    assert subscription["options"]["enteredEvent"] == "In"
    body(cast.call("user", "POST", path, wanted), 409)
    delivered(Subscription.objects.get())
    mine = f"{path}/{subscription['id']}"
    shown = body(cast.call("read_only", "GET", mine))["subscription"]
    assert (shown["status"], shown["acknowledged"], shown["syncedAt"]) == ("in_step", 2, "2026-06-15T12:00:00.000Z")
    assert body(cast.call("read_only", "GET", path))["subscriptions"] == [shown]
    assert body(cast.call("user", "PATCH", mine, {"enabled": False}))["subscription"]["status"] == "disabled"
    assert body(cast.call("user", "PATCH", mine, {"enabled": True}))["subscription"]["status"] == "syncing"
    delivered(Subscription.objects.get())
    assert body(cast.call("read_only", "GET", mine))["subscription"]["status"] == "in_step"
    off = {"options": {"sendTrack": False, "sendIdentify": False}}
    assert body(cast.call("user", "PATCH", mine, off), 422)["field"] == "options.sendTrack"
    body(cast.call("user", "POST", f"{mine}/resync"))
    body(cast.call("user", "POST", f"{mine}/resume"))
    delivered(Subscription.objects.get())
    assert body(cast.call("user", "GET", mine))["subscription"]["acknowledged"] == 2
    body(cast.call("user", "DELETE", mine))
    assert not Subscription.objects.exists()
    assert not Log.objects.filter(stage="sync").exists()


def test_the_catcher_shows_what_it_caught_and_whom_it_holds(cast: Cast, space: str, audience: Audience) -> None:
    people = [make_person(cast.space, ("user_id", f"u{n}")) for n in range(3)]
    change(audience, entered=people)
    subscription = made.make_subscription(audience, made.make_destination(cast.space, "catcher"))
    delivered(subscription)
    path = f"{space}/destinations/{subscription.destination.public_id}"
    caught = body(cast.call("read_only", "GET", f"{path}/caught?pagination[count]=4"))
    assert caught["pagination"]["totalEntries"] == 6
    assert caught["caught"][0]["body"]["event"] == "Audience Entered"
    assert caught["caught"][0]["times"] == 1
    held = body(cast.call("read_only", "GET", f"{path}/list?key=shoppers&pagination[count]=2"))
    assert held["list"] == [{"type": "user_id", "value": "u0"}, {"type": "user_id", "value": "u1"}]
    rest = body(
        cast.call("read_only", "GET", f"{path}/list?key=shoppers&pagination[cursor]={held['pagination']['next']}")
    )
    assert rest["list"] == [{"type": "user_id", "value": "u2"}]
    assert body(cast.call("read_only", "GET", f"{path}/list"), 422)["field"] == "key"
    test = body(cast.call("admin", "POST", f"{path}/test"))["test"]
    assert test["ok"]
    assert body(cast.call("read_only", "GET", f"{path}/list?key=shoppers"))["pagination"]["totalEntries"] == 3


def test_what_was_received_is_read_once_for_all_pages_of_the_list(
    cast: Cast, space: str, audience: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(audience, entered=[make_person(cast.space, ("user_id", f"u{n}")) for n in range(5)])
    subscription = made.make_subscription(audience, made.make_destination(cast.space, "catcher", style="list"))
    delivered(subscription)
    read: list[str] = []
    statements = catcher.statements
    monkeypatch.setattr(catcher, "statements", lambda body: read.append(body["messageId"]) or statements(body))
    path = f"{space}/destinations/{subscription.destination.public_id}/list?key=shoppers&pagination[count]=2"
    first = body(cast.call("read_only", "GET", path))
    body(cast.call("read_only", "GET", f"{path}&pagination[cursor]={first['pagination']['next']}"))
    assert len(read) == 1
    change(audience, entered=[make_person(cast.space, ("user_id", "new"))])
    delivered(subscription)
    assert body(cast.call("read_only", "GET", path))["pagination"]["totalEntries"] == 6
    assert len(read) == 3


def test_a_page_of_what_was_received_costs_the_same_for_few_and_for_many(
    cast: Cast, space: str, audience: Audience
) -> None:
    subscription = made.make_subscription(audience, made.make_destination(cast.space, "catcher"))
    path = f"{space}/destinations/{subscription.destination.public_id}"

    def cost(what: str) -> int:
        with CaptureQueriesContext(connection) as asked:
            body(cast.call("read_only", "GET", f"{path}/{what}"))
        return len(asked)

    cost("caught")  # the first call looks the token up
    costs = []
    for many in (3, 60):
        change(audience, entered=[make_person(cast.space, ("user_id", f"u{many}-{n}")) for n in range(many)])
        delivered(subscription)
        costs.append([cost(what) for what in ("caught?pagination[count]=1000", "list?key=shoppers", "deliveries")])
    assert costs[0] == costs[1]


def test_deliveries_are_filtered_and_paged(cast: Cast, space: str, audience: Audience, receiver: Receiver) -> None:
    change(audience, entered=[make_person(cast.space, ("user_id", f"u{n}")) for n in range(5)])
    receiver.answer = lambda got: Reply(422, b"not u3") if b'"u3"' in got.body else Reply(200)
    destination = made.make_destination(cast.space, "webhook", url=receiver.url)
    delivered(made.make_subscription(audience, destination, sendIdentify=False))
    path = f"{space}/destinations/{destination.public_id}/deliveries"
    first = body(cast.call("read_only", "GET", f"{path}?pagination[count]=3"))
    rest = body(cast.call("read_only", "GET", f"{path}?pagination[cursor]={first['pagination']['next']}"))
    everyone = first["deliveries"] + rest["deliveries"]
    assert {each["identifier"]["value"] for each in everyone} == {f"u{n}" for n in range(5)}
    assert first["pagination"]["totalEntries"] == 5
    (refused,) = body(cast.call("read_only", "GET", f"{path}?outcome=refused"))["deliveries"]
    assert (refused["identifier"]["value"], refused["status"], refused["reason"]) == ("u3", 422, "422 not u3")
    (one,) = body(cast.call("read_only", "GET", f"{path}?identifier=user_id:u1"))["deliveries"]
    assert one["outcome"] == "delivered"
    assert body(cast.call("read_only", "GET", f"{path}?identifier=user_id:nobody"))["deliveries"] == []
    assert body(cast.call("read_only", "GET", f"{path}?outcome=odd"), 422)["field"] == "outcome"
    assert body(cast.call("read_only", "GET", f"{path}?identifier=u1"), 422)["field"] == "identifier"
    other = AudienceFactory(space=cast.space)
    assert body(cast.call("read_only", "GET", f"{path}?audienceId={other.public_id}"))["deliveries"] == []


def test_a_test_call_says_what_came_back(cast: Cast, space: str, receiver: Receiver) -> None:
    destination = made.make_destination(cast.space, "webhook", url=receiver.url, sharedSecret="hunter2-secret")
    path = f"{space}/destinations/{destination.public_id}/test"
    assert body(cast.call("admin", "POST", path))["test"]["ok"]
    assert receiver.got[0].json["type"] == "test"
    receiver.answer = lambda got: Reply(401, b"hunter2-secret is not it")
    test = body(cast.call("admin", "POST", path))["test"]
    assert (test["ok"], test["status"], test["message"]) == (False, 401, f"401 {MASK} is not it")


def test_a_test_call_does_not_reach_into_the_network(cast: Cast, space: str, receiver: Receiver, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    destination = made.make_destination(cast.space, "webhook", url=receiver.url)
    test = body(cast.call("admin", "POST", f"{space}/destinations/{destination.public_id}/test"))["test"]
    assert (test["ok"], receiver.got) == (False, [])
    assert "private" in test["message"]


ROUTES = [
    ("GET", "destinations", "read_only"),
    ("POST", "destinations", "admin"),
    ("GET", "destinations/{dst}", "read_only"),
    ("PATCH", "destinations/{dst}", "admin"),
    ("POST", "destinations/{dst}/test", "admin"),
    ("GET", "destinations/{dst}/deliveries", "read_only"),
    ("GET", "destinations/{dst}/caught", "read_only"),
    ("GET", "destinations/{dst}/list?key=k", "read_only"),
    ("GET", "audiences/{aud}/destination-connections", "read_only"),
    ("POST", "audiences/{aud}/destination-connections", "user"),
    ("GET", "audiences/{aud}/destination-connections/{sub}", "read_only"),
    ("PATCH", "audiences/{aud}/destination-connections/{sub}", "user"),
    ("POST", "audiences/{aud}/destination-connections/{sub}/resync", "user"),
    ("POST", "audiences/{aud}/destination-connections/{sub}/resume", "user"),
    ("POST", "audiences/{aud}/destination-connections/{sub}/retry", "user"),
    ("DELETE", "audiences/{aud}/destination-connections/{sub}", "user"),
    ("DELETE", "destinations/{dst}", "admin"),
]
LADDER = ["read_only", "user", "admin", "owner"]


@pytest.mark.parametrize(("method", "route", "least"), ROUTES)
def test_each_route_asks_for_its_permission_and_strangers_find_nothing(
    cast: Cast, audience: Audience, method: str, route: str, least: str
) -> None:
    subscription = made.make_subscription(audience, made.make_destination(cast.space, "catcher"))
    path = route.format(dst=subscription.destination.public_id, aud=audience.public_id, sub=subscription.public_id)
    mine, theirs = (f"/api/spaces/{space.public_id}/{path}" for space in (cast.space, cast.other_space))
    before = fingerprint()
    assert cast.call("nobody", method, mine, {}).status_code == 401
    assert cast.call("stranger", method, mine, {}).status_code == 404
    if "{" in route:  # ids of another workspace, in one's own space
        assert cast.call("stranger", method, theirs, {}).status_code == 404
    assert cast.call("member", method, mine, {}).status_code in {403, 404}
    for who in LADDER[: LADDER.index(least)]:
        assert cast.call(who, method, mine, {}).status_code == 403
    assert fingerprint() == before
    assert cast.call(least, method, mine, {}).status_code in {200, 201, 422}


def fingerprint() -> str:
    rows = [*Destination.objects.order_by("id").values(), *Subscription.objects.order_by("id").values()]
    return hashlib.sha256(
        repr([{**row, "settings": bytes(row.get("settings", b""))} for row in rows]).encode()
    ).hexdigest()


def test_what_failed_about_one_identifier_is_tried_again(cast: Cast, space: str, audience: Audience) -> None:
    change(audience, entered=[make_person(cast.space, ("user_id", f"u{n}")) for n in range(2)])
    make_person(cast.other_space, ("user_id", "theirs"))
    subscription = made.make_subscription(audience, made.make_destination(cast.space, "catcher"))
    delivered(subscription)
    Acknowledged.objects.filter(subscription=subscription).update(state=Acknowledged.State.OUT, refused="no")
    path = f"{space}/audiences/{audience.public_id}/destination-connections/{subscription.public_id}/retry"
    body(cast.call("user", "POST", path, {"identifier": "user_id:u1"}))
    delivered(subscription)
    assert Acknowledged.objects.filter(subscription=subscription, state=Acknowledged.State.IN).count() == 1
    body(cast.call("user", "POST", path, {"identifier": "user_id:u1"}), 409)
    for unknown in ("user_id:theirs", "u1", "x:y"):
        assert body(cast.call("user", "POST", path, {"identifier": unknown}), 422)["field"] == "identifier"


def test_an_audience_cannot_be_sent_to_another_spaces_destination(cast: Cast, space: str, audience: Audience) -> None:
    theirs = made.make_destination(cast.other_space, "catcher")
    path = f"{space}/audiences/{audience.public_id}/destination-connections"
    answer = cast.call("owner", "POST", path, {"destinationId": theirs.public_id})
    assert body(answer, 422)["field"] == "destinationId"
