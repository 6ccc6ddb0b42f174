"""What is sent, beside what it comes to for a person; the tester; and the same by REST."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from access.models import AuditEntry
from audiences.models import Audience
from destinations.models import Acknowledged, Caught, Subscription
from spaces.settings_schema import MASK
from tests import factories_destinations as made
from tests.cast import Cast
from tests.factories_destinations import AudienceFactory, change, make_person
from tests.receiver import Receiver, Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = {
    "field-count": "2",
    "field-0-to": "tier",
    "field-0-kind": "trait",
    "field-0-what": "plan",
    "field-0-function": "upper",
    "only-count": "1",
    "identifier-count": "0",
}


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        yield server


@pytest.fixture
def audience(cast: Cast) -> Audience:
    audience = AudienceFactory(space=cast.space, key="shoppers", name="Shoppers")
    person = make_person(cast.space, ("user_id", "u1"), ("email", "ada@x.org"), plan="pro", email="ada@x.org")
    change(audience, entered=[person])
    return audience


@pytest.fixture
def subscription(audience: Audience) -> Subscription:
    return made.make_subscription(audience, made.make_destination(audience.space, "catcher"), sendIdentify=False)


def to_webhook(audience: Audience, receiver: Receiver) -> Subscription:
    destination = made.make_destination(audience.space, "webhook", url=receiver.url, sharedSecret="tell nobody of this")
    return made.make_subscription(audience, destination, sendIdentify=False)


def page_of(cast: Cast, subscription: Subscription, name: str) -> str:
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/subscriptions/{subscription.public_id}/{name}"


def shown(browser: Client, url: str, **query: str) -> str:
    answer = browser.get(url, query)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_rules_are_previewed_unsaved_and_then_saved(cast: Cast, subscription: Subscription) -> None:
    url, browser = page_of(cast, subscription, "sending"), cast.browser("user")
    assert "Audience Entered" in shown(browser, url)  # somebody of the audience is shown without being asked for
    preview = browser.post(url, ROWS | {"do": "preview"}).content.decode()
    assert "&quot;tier&quot;: &quot;PRO&quot;" in preview
    subscription.refresh_from_db()
    assert subscription.sending == {}
    assert browser.post(url, ROWS | {"do": "save"}).status_code == 302
    subscription.refresh_from_db()
    assert subscription.sending["fields"][0]["to"] == "tier"
    page = shown(browser, url, person="ada@x.org")
    assert 'value="tier"' in page
    assert "&quot;tier&quot;: &quot;PRO&quot;" in page
    assert "Nobody has “nobody@x.org”" in shown(browser, url, person="nobody@x.org")
    more = browser.post(url, ROWS | {"do": "more"}).content.decode()
    assert more.count('aria-label="Field over there"') == 3


def test_what_is_wrong_stands_beside_its_row(cast: Cast, subscription: Subscription) -> None:
    url, browser = page_of(cast, subscription, "sending"), cast.browser("user")
    wrong = ROWS | {"field-0-kind": "template", "field-0-what": "{{ nothing }}"}
    answer = browser.post(url, wrong | {"do": "save"})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert 'id="field-0-error">Between {{ and }}' in page
    assert 'value="{{ nothing }}"' in page
    assert browser.post(url, wrong | {"do": "preview"}).status_code == 200
    assert cast.browser("read_only").post(url, ROWS | {"do": "save"}).status_code == 403


def test_personal_data_is_masked_in_a_preview(cast: Cast, subscription: Subscription) -> None:
    page = shown(cast.browser("read_only"), page_of(cast, subscription, "sending"))
    assert "u1" in page
    assert "ada@x.org" not in page


def test_a_test_call_is_made_and_its_answer_explained(cast: Cast, audience: Audience, receiver: Receiver) -> None:
    subscription = to_webhook(audience, receiver)
    url, browser = page_of(cast, subscription, "tester"), cast.browser("user")
    page = shown(browser, url, person="u1")
    assert "the calls say that they <b>entered</b>" in page
    assert receiver.got == []
    receiver.answer = lambda got: Reply(422, b"no such person; you sent tell nobody of this")
    sent = " ".join(browser.post(url, {"person": "u1", "direction": "out"}).content.decode().split())
    assert "they <b>left</b>" in sent
    assert "Refused" in sent
    assert "Answered with status 422" in sent
    assert "tell nobody of this" not in sent + page
    assert {message["event"] for message in receiver.messages()} == {"Audience Exited"}
    assert all("-test" in message["messageId"] for message in receiver.messages())
    assert not Acknowledged.objects.exists()
    assert AuditEntry.objects.filter(action="subscription.tested").count() == 1
    assert cast.browser("read_only").post(url, {"person": "u1"}).status_code == 403


def test_the_api_takes_rules_shows_calls_and_makes_them(
    cast: Cast, api: Callable[..., Any], audience: Audience, subscription: Subscription
) -> None:
    path = f"audiences/{audience.public_id}/destination-connections/{subscription.public_id}"
    sending = {"fields": [{"to": "tier", "value": {"kind": "trait", "key": "plan"}}]}
    rehearsal = api("POST", f"{path}/rehearsals", {"identifier": "user_id:u1", "sending": sending})["rehearsal"]
    assert (rehearsal["entering"], rehearsal["member"], rehearsal["requests"][0]["status"]) == (True, True, None)
    assert json.loads(rehearsal["requests"][0]["content"])[0]["properties"]["tier"] == "pro"
    assert api("GET", path)["subscription"]["sending"]["fields"] == []
    changed = api("PATCH", path, {"sending": sending})["subscription"]
    assert changed["sending"]["fields"] == sending["fields"]
    error = api("PATCH", path, {"sending": {"fields": [{"to": "", "value": {}}]}}, status=422)
    assert error["field"].startswith("sending")
    error = api("PATCH", path, {"sending": {"only": [{"trait": "x", "operator": "is"}]}}, status=422)
    assert error["field"] == "sending.only[0].value"
    sent = api("POST", f"{path}/rehearsals", {"identifier": "user_id:u1", "send": True})["rehearsal"]
    outcomes = {row["outcome"] for request in sent["requests"] for row in request["outcomes"]}
    assert outcomes == {"delivered"}
    assert Caught.objects.filter(body__properties__tier="pro").exists()
    kept_out = {"identifier": "user_id:u1", "sending": {"consent": "consent"}}
    assert api("POST", f"{path}/rehearsals", kept_out)["rehearsal"]["keptOut"] == "No consent: consent"
    api("POST", f"{path}/rehearsals", {"identifier": "user_id:nobody"}, status=422)


def test_secrets_are_struck_out_of_a_rehearsal(
    cast: Cast, api: Callable[..., Any], audience: Audience, receiver: Receiver
) -> None:
    subscription = to_webhook(audience, receiver)
    path = f"audiences/{audience.public_id}/destination-connections/{subscription.public_id}/rehearsals"
    (request, *_) = api("POST", path, {"identifier": "user_id:u1"})["rehearsal"]["requests"]
    assert request["url"] == MASK
    assert "inside-the-address" not in str(request)


def test_an_admin_nods_and_everybody_may_recall(cast: Cast, api: Callable[..., Any], audience: Audience) -> None:
    destination = made.make_destination(audience.space, "catcher")
    body = {"destinationId": destination.public_id, "sending": {"capPercent": 1}}
    path = f"audiences/{audience.public_id}/destination-connections"
    subscription = api("POST", path, body, status=201)["subscription"]
    path = f"{path}/{subscription['id']}"
    api("POST", f"{path}/nod", status=403)
    api("POST", f"{path}/nod", status=409, who="admin")
    Subscription.objects.filter(public_id=subscription["id"]).update(capped_people=7)
    assert api("GET", path)["subscription"]["cappedPeople"] == 7
    assert api("POST", f"{path}/nod", who="admin")["subscription"]["cappedPeople"] == 0
    assert api("POST", f"{path}/recall")["subscription"]["recalledAt"]
    api("POST", f"{path}/recall", status=409)
    assert api("POST", f"{path}/send-again")["subscription"]["recalledAt"] is None
