"""The delivery overview: numbers that add up, each with as many rows behind it, reasons, and how far everything is."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from access.services import COMMAND
from audiences.models import Audience
from destinations import services
from destinations.models import Subscription
from destinations.sync import Sync
from spaces import batches
from spaces.clock import clock
from tests import factories_destinations as made
from tests.cast import Cast
from tests.factories_destinations import AudienceFactory, change, make_person
from tests.receiver import Receiver, Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        yield server


@pytest.fixture
def audience(cast: Cast) -> Audience:
    return AudienceFactory(space=cast.space, key="shoppers", name="Shoppers")


@pytest.fixture
def subscription(audience: Audience, receiver: Receiver) -> Subscription:
    """Of five people one is kept out, one is refused and one gets no answer, which was tried twice."""
    space = audience.space
    people = [make_person(space, ("user_id", f"u{n}"), plan="pro" if n else "free") for n in range(5)]
    change(audience, entered=people)
    answers = {b'"u1"': Reply(422, b"is not a customer"), b'"u2"': Reply(500, b"oh no")}
    receiver.answer = lambda got: next((reply for who, reply in answers.items() if who in got.body), Reply())
    subscription = made.make_subscription(
        audience, made.make_destination(space, "webhook", url=receiver.url), sendIdentify=False
    )
    rules = {"only": [{"trait": "plan", "operator": "is", "value": "pro"}]}
    services.change_subscription(subscription, sending=rules, by=COMMAND)
    log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)

    def delivered() -> None:
        while batches.advance(Sync(clock), log):
            pass

    delivered()
    subscription.acknowledged.filter(retry_at__isnull=False).update(retry_at=clock.now() - timedelta(minutes=1))
    delivered()
    return subscription


def test_with_nothing_there_it_says_what_to_do(cast: Cast) -> None:
    page = cast.browser("read_only").get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/deliveries/overview")
    assert "No audience goes anywhere yet" in page.content.decode()
    assert "Nothing was to be sent in this time" in page.content.decode()


def test_numbers_add_up_and_each_leads_to_as_many_rows(cast: Cast, subscription: Subscription) -> None:
    browser = cast.browser("user")
    url = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/deliveries/overview"
    page = browser.get(url, {"range": "10m"}).content.decode()
    tiles = re.findall(r"<dt>(\w+)</dt><dd><a href=\"([^\"]+)\">(\d+)</a>", page)
    assert [(name, int(count)) for name, _, count in tiles] == [
        ("In", 5), ("Filtered", 1), ("Mapped", 4), ("Delivered", 2), ("Retrying", 1), ("Failed", 1),
    ]  # fmt: skip
    for name, link, count in tiles:
        log = browser.get(link.replace("&amp;", "&")).content.decode()
        assert log.count("<li><details>") == int(count), name
    assert "422 is not a customer" in page
    assert "user_id: u1" in page
    assert "Half of the answers came within" in page
    assert "3 attempts did not succeed" in page
    elsewhere = browser.get(url, {"range": "4w", "destination": "dst_elsewhere"})
    assert elsewhere.status_code == 200


def test_the_api_says_the_same(cast: Cast, api: Callable[..., Any], subscription: Subscription) -> None:
    overview = api("GET", "delivery-overview?range=1h")["overview"]
    numbers = {name: overview[name] for name in ("in", "filtered", "mapped", "delivered", "retrying", "failed")}
    assert numbers == {"in": 5, "filtered": 1, "mapped": 4, "delivered": 2, "retrying": 1, "failed": 1}
    assert sum(bucket["delivered"] for bucket in overview["buckets"]) == 2
    assert {(reason["outcome"], reason["messages"]) for reason in overview["reasons"]} == {
        ("filtered", 1),
        ("refused", 1),
        ("retry", 1),
    }
    assert overview["latency"]["p50"] <= overview["latency"]["p99"]
    nowhere = api("GET", "delivery-overview?audienceId=aud_nobody")["overview"]
    assert (nowhere["in"], nowhere["latency"], nowhere["reasons"]) == (0, None, [])
    assert api("GET", "delivery-overview?range=1y", status=422)["field"] == "range"
