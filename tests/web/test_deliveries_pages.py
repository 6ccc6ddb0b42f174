"""The pages about deliveries: what goes where, in what state, every call with its answer, and what the catcher has."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audiences.models import Audience
from destinations.models import Destination, Subscription
from destinations.sync import Sync
from spaces import pieces
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
    log = pieces.open_log(stage="sync", owner=subscription.pk, workspace_id=subscription.workspace_id)
    while pieces.advance(Sync(clock), log):
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
