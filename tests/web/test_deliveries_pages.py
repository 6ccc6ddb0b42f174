"""The pages about deliveries: what goes where, in what state, every call with its answer, and what the catcher has."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access.models import AuditEntry
from access.services import COMMAND
from audiences.models import Audience
from destinations import services
from destinations.models import Destination, Subscription
from destinations.sync import Sync
from spaces import batches
from spaces.clock import FixedClock
from tests import factories_destinations as made
from tests.cast import Cast
from tests.factories_destinations import AudienceFactory, change, make_people, make_person
from tests.receiver import Receiver, Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        yield server


@pytest.fixture
def audience(cast: Cast) -> Audience:
    return AudienceFactory(space=cast.space, key="shoppers", name="Shoppers of the week")


def text(cast: Cast, rest: str, **query: str) -> str:
    answer = cast.browser("read_only").get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{rest}", query)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def delivered(subscription: Subscription, clock: FixedClock) -> None:
    log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    while batches.advance(Sync(clock), log):
        pass


def to_webhook(audience: Audience, receiver: Receiver, **settings: Any) -> Subscription:
    destination = made.make_destination(audience.space, "webhook", url=receiver.url, **settings)
    return made.make_subscription(audience, destination, sendIdentify=False)


def test_with_nothing_there_each_part_says_what_to_do(cast: Cast) -> None:
    page = text(cast, "deliveries")
    for title in ("No audience goes anywhere yet", "No destinations yet", "No calls"):
        assert title in page
    catcher = made.make_destination(cast.space, "catcher")
    page = text(cast, f"destinations/{catcher.public_id}/caught")
    assert "Nothing was received yet" in page
    assert "No audience goes here" in page


def test_a_call_is_shown_with_its_request_its_answer_and_the_reason(
    cast: Cast, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=[make_person(cast.space, ("user_id", f"u{n}")) for n in range(3)])
    receiver.answer = lambda got: Reply(422, b"<b>u1</b> is not a customer") if b'"u1"' in got.body else Reply()
    delivered(to_webhook(audience, receiver), clock)
    page = text(cast, "deliveries")
    assert "<b>2</b> of 3" in page
    assert "In step" in page
    assert "422 &lt;b&gt;u1&lt;/b&gt; is not a customer" in page
    assert "&quot;event&quot;: &quot;Audience Entered&quot;" in page
    assert "user_id: u1" in page
    refused = text(cast, "deliveries", outcome="refused")
    assert "user_id: u1" in refused
    assert "user_id: u0" not in refused


def test_a_failing_destination_says_why_and_when_it_is_tried_again(
    cast: Cast, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(cast.space, 2))
    receiver.answer = lambda got: Reply(503, b"closed for lunch")
    subscription = to_webhook(audience, receiver)
    delivered(subscription, clock)
    page = text(cast, "deliveries")
    assert "Retrying" in page
    assert "503 closed for lunch" in page
    assert "tried again at" in page
    clock.advance(timedelta(hours=13))
    delivered(subscription, clock)
    assert "Parked" in text(cast, "deliveries")


def pills(cast: Cast, where: str) -> list[str]:
    """What each pill of the page says."""
    page = cast.browser("user").get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{where}").content.decode()
    return re.findall(r'<span class="pill[^>]*>([^<]*)</span>', page)


def test_a_destination_that_nothing_reaches_is_not_called_enabled(
    cast: Cast, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=make_people(cast.space, 2))
    receiver.answer = lambda got: Reply(503, b"closed for lunch")
    subscription = to_webhook(audience, receiver)
    destination = subscription.destination
    assert pills(cast, "destinations") == ["Waiting for the audience"]
    for _ in range(3):
        delivered(subscription, clock)
        clock.advance(timedelta(minutes=10))
    page = f"destinations/{destination.public_id}"
    assert pills(cast, "destinations") == ["Failing"]
    assert pills(cast, page) == pills(cast, "deliveries")[:2] == ["Failing", "Failing"]
    shown = cast.call("read_only", "GET", f"/api/spaces/{cast.space.public_id}/destinations").json()["data"]
    assert (shown["destinations"][0]["enabled"], shown["destinations"][0]["status"]) == (True, "failing")
    other = to_webhook(AudienceFactory(space=cast.space), receiver)  # one that works does not make it better
    Subscription.objects.filter(pk=other.pk).update(destination=destination, status=Subscription.Status.IN_STEP)
    assert pills(cast, page)[0] == "Failing"
    receiver.answer = lambda got: Reply(422, b"no")
    delivered(subscription, clock)
    assert pills(cast, page)[0] == "2 refused"
    Subscription.objects.update(enabled=False)
    assert pills(cast, page) == ["Enabled", "Disabled", "Disabled"]
    services.change_destination(destination, enabled=False, by=COMMAND)
    assert pills(cast, page)[0] == "Disabled"


def log(cast: Cast, who: str = "user", **query: str) -> list[dict[str, Any]]:
    answer = cast.browser(who).get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/deliveries", query)
    return list(answer.context["log"])


def retry(cast: Cast, entry: dict[str, Any], who: str = "user", **more: str) -> Any:
    sent = {"subscription": entry["subscription"].public_id, "identifier": entry["row"].identifier, "do": "one"} | more
    return cast.browser(who).post(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/deliveries?outcome=refused", sent)


def test_a_refused_call_is_tried_again_alone_from_the_log(
    cast: Cast, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    change(audience, entered=[make_person(cast.space, ("user_id", f"u{n}")) for n in range(3)])
    receiver.answer = lambda got: Reply() if b'"u0"' in got.body else Reply(422, b"unknown")
    subscription = to_webhook(audience, receiver)
    delivered(subscription, clock)
    delivered_one = next(entry for entry in log(cast) if entry["row"].outcome == "delivered")
    assert delivered_one["retry"] is None
    entry = next(entry for entry in log(cast) if entry["who"] == "user_id: u1")
    assert (entry["retry"].scope, entry["retry"].button) == ("one", "Retry")
    assert ">Retry<" not in text(cast, "deliveries")  # read-only
    assert retry(cast, entry, "read_only").status_code == 403
    receiver.answer = lambda got: Reply()
    before = len(receiver.got)
    answer = retry(cast, entry)
    assert answer.headers["Location"].endswith("/deliveries?outcome=refused#log")
    assert AuditEntry.objects.filter(action="delivery.retried", target=subscription.public_id).exists()
    delivered(subscription, clock)
    assert [b'"u1"' in got.body for got in receiver.got[before:]] == [True]
    (refused,) = [entry for entry in log(cast, outcome="refused") if entry["who"] == "user_id: u1"]
    assert refused["retry"].scope == ""
    assert "Settled since" in refused["retry"].about
    retry(cast, refused)
    delivered(subscription, clock)
    assert len(receiver.got) == before + 1


def test_when_all_calls_wait_the_log_says_that_all_of_them_are_tried(
    cast: Cast, audience: Audience, receiver: Receiver, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("destinations.pages.views.deliveries.clock", clock)
    change(audience, entered=make_people(cast.space, 2))
    receiver.answer = lambda got: Reply(503)
    subscription = to_webhook(audience, receiver)
    delivered(subscription, clock)
    clock.advance(timedelta(minutes=1))
    delivered(subscription, clock)
    first, second, *older = log(cast)
    assert {first["retry"].scope, second["retry"].scope} == {"all"}
    assert "so all calls to it wait" in first["retry"].about
    assert all("There is a newer call" in entry["retry"].about for entry in older)
    assert older
    receiver.answer = lambda got: Reply()
    retry(cast, first, do="all")
    delivered(subscription, clock)
    assert {entry["retry"] for entry in log(cast)[:2]} == {None}


def test_nothing_of_another_workspace_is_tried_again(
    cast: Cast, audience: Audience, receiver: Receiver, clock: FixedClock
) -> None:
    theirs = AudienceFactory(space=cast.other_space)
    change(theirs, entered=make_people(cast.other_space, 1))
    receiver.answer = lambda got: Reply(422)
    foreign = to_webhook(theirs, receiver)
    delivered(foreign, clock)
    row = foreign.acknowledged.get()
    where = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/deliveries"
    for do in ("one", "all"):
        sent = {"subscription": foreign.public_id, "identifier": str(row.identifier), "do": do}
        assert cast.browser("owner").post(where, sent).status_code == 404
    mine = to_webhook(audience, receiver)
    for wrong in ("", "x", "9" * 30, "-1"):
        sent = {"subscription": mine.public_id, "identifier": wrong, "do": "one"}
        assert cast.browser("owner").post(where, sent).status_code == 404
    row.refresh_from_db()
    assert row.refused


@pytest.mark.parametrize("what", ["destination", "audience", "subscription"])
def test_what_was_switched_off_is_said(cast: Cast, audience: Audience, what: str) -> None:
    subscription = made.make_subscription(audience, made.make_destination(cast.space, "catcher"))
    row = {"destination": subscription.destination, "audience": audience, "subscription": subscription}[what]
    type(row)._default_manager.filter(pk=row.pk).update(enabled=False)
    assert {"destination": "Destination disabled", "audience": "Audience disabled"}.get(what, "Disabled") in text(
        cast, "deliveries"
    )


def test_no_secret_is_on_a_page(cast: Cast, audience: Audience, receiver: Receiver, clock: FixedClock) -> None:
    change(audience, entered=make_people(cast.space, 1))
    receiver.answer = lambda got: Reply(400, b"bad key hunter2-secret")
    delivered(to_webhook(audience, receiver, sharedSecret="hunter2-secret"), clock)
    page = text(cast, "deliveries")
    assert "400 bad key" in page
    assert "hunter2" not in page
    assert "inside-the-address" not in page


def test_the_catcher_shows_what_came_and_whom_that_leaves(cast: Cast, audience: Audience, clock: FixedClock) -> None:
    people = make_people(cast.space, 60)
    change(audience, entered=people)
    subscription = made.make_subscription(audience, made.make_destination(cast.space, "catcher"))
    delivered(subscription, clock)
    change(audience, left=people[:1])
    delivered(subscription, clock)
    where = f"destinations/{subscription.destination.public_id}/caught"
    page = text(cast, where)
    assert "Audience Exited" in page
    assert 'href="?key=shoppers"' in page
    held = text(cast, where, key="shoppers")
    assert "59 identifiers in shoppers" in held
    assert "The first 50." in held
    assert "identifiers in" not in text(cast, where, key="nothing-of-ours")


def test_a_page_of_a_destination_that_is_no_catcher_is_not_there(cast: Cast) -> None:
    webhook = made.make_destination(cast.space, "webhook", url="https://example.com/")
    path = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/destinations/{webhook.public_id}/caught"
    assert cast.browser("owner").get(path).status_code == 404


def test_the_deliveries_page_costs_the_same_for_few_and_for_many(
    cast: Cast, receiver: Receiver, clock: FixedClock
) -> None:
    def furnish(audiences: int) -> None:
        for _ in range(audiences):
            audience = AudienceFactory(space=cast.space)
            change(audience, entered=make_people(cast.space, 2, prefix=f"p{audience.pk}-"))
            delivered(to_webhook(audience, receiver), clock)

    def cost() -> int:
        with CaptureQueriesContext(connection) as asked:
            text(cast, "deliveries")
        return len(asked)

    furnish(1)
    few = cost()
    furnish(6)
    assert cost() == few
    assert Destination.objects.count() == 7
