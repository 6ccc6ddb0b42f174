"""What a destination says that it holds, what is mended; nods, recalls and pauses on the page of a subscription."""

from collections.abc import Callable
from typing import Any

import pytest

from access.services import COMMAND
from audiences.models import Audience
from destinations import holdings, services
from destinations.models import Caught, Subscription
from destinations.queries import members_at_catcher
from destinations.sync import Sync
from spaces import batches
from spaces.clock import clock
from tests import factories_destinations as made
from tests.cast import Cast
from tests.factories_destinations import AudienceFactory, change, make_people, make_person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def audience(cast: Cast) -> Audience:
    return AudienceFactory(space=cast.space, key="shoppers", name="Shoppers")


def delivered(subscription: Subscription) -> None:
    log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    while batches.advance(Sync(clock), log):
        pass


def to_catcher(audience: Audience) -> Subscription:
    subscription = made.make_subscription(
        audience, made.make_destination(audience.space, "catcher"), sendIdentify=False
    )
    delivered(subscription)
    return subscription


def stated(subscription: Subscription, user: str) -> None:
    """Somebody told the tool so, and it was not us."""
    call = Caught.objects.filter(destination=subscription.destination).first()
    assert call is not None
    Caught.objects.create(
        workspace=subscription.workspace,
        destination=subscription.destination,
        message_id=f"by-hand-{user}",
        received_at=call.received_at,
        headers={},
        body=call.body | {"userId": user},
    )


def at(cast: Cast, subscription: Subscription, rest: str) -> str:
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{rest.format(id=subscription.public_id)}"


def test_what_the_destination_lost_or_has_too_many_is_shown_and_mended(
    cast: Cast, api: Callable[..., Any], audience: Audience
) -> None:
    change(audience, entered=make_people(cast.space, 3))
    make_person(cast.space, ("user_id", "outsider"))
    subscription = to_catcher(audience)
    browser, url = cast.browser("user"), at(cast, subscription, "subscriptions/{id}/reconciliation")
    assert "holds exactly whom it should" in browser.get(url).content.decode()
    stated(subscription, "outsider")
    stated(subscription, "stranger")
    Caught.objects.filter(body__userId="u1").delete()
    page = browser.get(url).content.decode()
    for value in ("u1", "outsider", "stranger", "but for 1 whom nobody in this space has"):
        assert value in page
    path = f"audiences/{audience.public_id}/destination-connections/{subscription.public_id}/reconciliation"
    result = api("GET", path)["reconciliation"]
    assert (result["missingCount"], result["extraCount"], result["strangers"]) == (1, 2, 1)
    assert cast.browser("read_only").post(url).status_code == 403
    assert browser.post(url).status_code == 302
    delivered(subscription)
    assert {value for _, value in members_at_catcher(subscription.destination, "shoppers")} == {
        "u0",
        "u1",
        "u2",
        "stranger",
    }
    subscription.refresh_from_db()
    assert subscription.status == Subscription.Status.IN_STEP
    calls = Caught.objects.filter(destination=subscription.destination).count()
    api("POST", path)
    delivered(subscription)
    assert Caught.objects.filter(destination=subscription.destination).count() == calls  # nothing is said twice


def test_hashed_identifiers_are_compared_as_the_destination_knows_them(cast: Cast, audience: Audience) -> None:
    member, leaver = make_person(cast.space, ("email", "a@x.org")), make_person(cast.space, ("email", "b@x.org"))
    change(audience, entered=[member, leaver])
    subscription = made.make_subscription(audience, made.make_destination(cast.space, "catcher"))
    rules = {"identifiers": [{"type": "email", "hash": "sha256"}]}
    services.change_subscription(subscription, sending=rules, by=COMMAND)
    delivered(subscription)
    result = holdings.holdings(subscription)
    assert result is not None
    assert (result.equal, result.existing) == (True, 2)
    change(audience, left=[leaver])
    result = holdings.holdings(subscription)
    assert result is not None
    assert (result.extra_count, result.strangers) == (1, 0)


def test_what_cannot_be_asked_says_so(cast: Cast, api: Callable[..., Any], audience: Audience) -> None:
    destination = made.make_destination(cast.space, "webhook", url="https://example.com/hook")
    subscription = made.make_subscription(audience, destination)
    page = cast.browser("user").get(at(cast, subscription, "subscriptions/{id}/reconciliation")).content.decode()
    assert "Webhook cannot be asked" in page
    path = f"audiences/{audience.public_id}/destination-connections/{subscription.public_id}/reconciliation"
    api("GET", path, status=409)
    api("POST", path, status=409)


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        ("customerio", {"siteId": "site", "apiKey": "key"}, "It needs an App API key in the settings"),
        ("s3", {"bucket": "people", "accessKeyId": "a", "secretAccessKey": "b"}, "Only a file that says everybody"),
        ("kafka", {"brokers": "a.example.com:9093", "topic": "people"}, "A topic has what was said"),
    ],
)
def test_what_cannot_be_asked_says_why(
    kind: str, given: dict[str, str], reason: str, cast: Cast, audience: Audience
) -> None:
    subscription = made.make_subscription(audience, made.make_destination(cast.space, kind, **given))
    page = cast.browser("user").get(at(cast, subscription, "subscriptions/{id}/reconciliation")).content.decode()
    assert "cannot be asked" in page
    assert reason in page


def test_a_nod_a_recall_and_a_pause_on_the_page(cast: Cast, audience: Audience) -> None:
    change(audience, entered=make_people(cast.space, 4))
    subscription = made.make_subscription(audience, made.make_destination(cast.space, "catcher"))
    services.change_subscription(subscription, sending={"capPercent": 10}, by=COMMAND)
    delivered(subscription)
    url = at(cast, subscription, f"audiences/{audience.public_id}/destinations/{{id}}")
    user, admin = cast.browser("user"), cast.browser("admin")
    page = user.get(url).content.decode()
    assert "4 people wait for a nod" in page
    assert "Let them go" not in page
    assert user.post(url, {"do": "nod"}).status_code == 403
    assert "Let them go" in admin.get(url).content.decode()
    assert admin.post(url, {"do": "nod"}).status_code == 302
    delivered(subscription)
    assert len(members_at_catcher(subscription.destination, "shoppers")) == 4
    user.post(url, {"do": "disable"})
    change(audience, entered=[make_person(cast.space, ("user_id", "later"))])
    page = " ".join(user.get(url).content.decode().split())
    assert "1 identifier to enter and 0 to leave are queued" in page
    user.post(url, {"do": "enable"})
    user.post(url, {"do": "recall"})
    assert "Send them again" in user.get(url).content.decode()
    delivered(subscription)
    assert members_at_catcher(subscription.destination, "shoppers") == ()
    user.post(url, {"do": "send_again"})
    delivered(subscription)
    assert len(members_at_catcher(subscription.destination, "shoppers")) == 5
