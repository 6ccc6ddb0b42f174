"""The event tester shows and makes the calls of every sort of adapter, and nothing of a secret or a token.

The tools are the fakes of `tests/vendors.py`, the stores are real; both are asked what came of it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from access.services import COMMAND
from destinations.models import Acknowledged, Subscription
from destinations.rehearsal import Rehearsal, rehearse, send_test
from identity.models import Profile
from spaces.outbound import Caller
from tests import stores
from tests.factories import SpaceFactory
from tests.factories_destinations import AudienceFactory, change, make_destination, make_person, make_subscription
from tests.flows.test_gaps import synced
from tests.receiver import Receiver, Reply, receiving
from tests.vendors import LISTS, VENDORS, answer, redirected

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
SECRETS = ("secret-token", "client-secret", "fresh-token", "refresh-token", "secret-us12", "secret-key")
TIER = {"to": "TIER", "value": {"kind": "trait", "key": "plan"}}


@pytest.fixture
def receiver(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        monkeypatch.setattr(Caller, "send", redirected(Caller.send, server))
        yield server


def subscribed(kind: str, settings: dict[str, Any], options: dict[str, Any]) -> tuple[Subscription, Profile]:
    """An audience of one person, who goes there with a field."""
    space = SpaceFactory()
    number = make_person(space, ("user_id", "u1"), ("email", "p1@x.org"), plan="PRO-7")
    audience = AudienceFactory(space=space, key="shoppers")
    change(audience, entered=[number])
    subscription = make_subscription(audience, make_destination(space, kind, **settings), **options)
    return subscription, Profile.objects.get(space=space, number=number)


def with_field(subscription: Subscription) -> None:
    Subscription.objects.filter(pk=subscription.pk).update(sending={"fields": [TIER]})
    subscription.refresh_from_db()


def outcomes(rehearsal: Rehearsal) -> list[list[str]]:
    return [[row.kind for row in request.outcomes] for request in rehearsal.requests]


def calls(rehearsal: Rehearsal) -> list[tuple[str, str, int | None]]:
    return [(request.method, urlsplit(request.url).path, request.status) for request in rehearsal.requests]


def rehearsed(kind: str, receiver: Receiver, *, fields: bool) -> tuple[Any, Rehearsal, Rehearsal]:
    """(the tool, what was shown, what was sent). Nothing of either has a secret in it."""
    tool, settings, options = LISTS[kind] if kind in LISTS else VENDORS[kind][:3]
    vendor = tool()
    receiver.answer = lambda got: vendor.take(urlsplit(got.path).path, got)  # it does not throttle
    subscription, person = subscribed(kind, settings, options)
    if fields:
        with_field(subscription)
    shown = rehearse(subscription, person, now=NOW)
    assert receiver.got == []
    sent = send_test(subscription, person, now=NOW, by=COMMAND)
    assert not [secret for secret in SECRETS if secret in f"{shown}{sent}"]
    assert not Acknowledged.objects.exists()
    return vendor, shown, sent


def test_a_list_that_has_to_be_created_first(receiver: Receiver) -> None:
    vendor, shown, sent = rehearsed("hubspot", receiver, fields=False)
    assert calls(shown) == [("POST", "/crm/v3/objects/contacts/batch/upsert", None)]
    assert calls(sent) == [
        ("POST", "/crm/v3/objects/contacts/batch/upsert", 200),
        ("PUT", "/crm/v3/lists/40/memberships/add", 200),
    ]
    assert outcomes(sent) == [[], ["delivered"]]
    assert vendor.members == {"p1@x.org"}


@pytest.mark.parametrize("kind", ["iterable", "sendgrid", "meta_ads", "snapchat_ads"])
def test_a_list_is_shown_before_its_number_is_known(kind: str, receiver: Receiver) -> None:
    _, settings, options = LISTS[kind]
    subscription, person = subscribed(kind, settings, options)
    shown = rehearse(subscription, person, now=NOW)
    assert "<list_id>" in str(shown)
    assert receiver.got == []


def test_a_property_is_shown_where_no_list_was_chosen(receiver: Receiver) -> None:
    subscription, person = subscribed("hubspot", {"accessToken": "secret-token"}, {})
    (request,) = rehearse(subscription, person, now=NOW).requests
    assert '"shoppers":"true"' in request.body


def test_merge_fields_that_have_to_be_created_first(receiver: Receiver) -> None:
    vendor, shown, sent = rehearsed("mailchimp", receiver, fields=False)
    assert [request.body for request in shown.requests] == [request.body for request in sent.requests]
    assert outcomes(sent) == [["delivered"], ["delivered"]]
    assert vendor.members == {"p1@x.org"}


def test_calls_that_follow_an_answer(receiver: Receiver) -> None:
    """Whoever is found is not refused for a call that only looks them up."""
    vendor, shown, sent = rehearsed("intercom", receiver, fields=True)
    assert [path for _, path, _ in calls(shown)] == ["/contacts/search"] * 2
    assert [path for _, path, _ in calls(sent)] == [
        "/contacts/search",
        "/contacts",
        "/contacts/c0",
        "/contacts/c0/tags",
        "/contacts/search",
        "/contacts/c0",
        "/contacts/c0/tags",
    ]
    assert outcomes(sent) == [[], [], ["delivered"], ["delivered"], [], ["delivered"], ["delivered"]]
    assert '{"custom_attributes":{"TIER":"PRO-7"}}' in [request.body for request in sent.requests]
    assert vendor.contacts == {"c0": "u1"}


def test_an_answer_that_is_not_understood_is_told(receiver: Receiver) -> None:
    _, settings, options, _ = VENDORS["intercom"]
    subscription, person = subscribed("intercom", settings, options)
    receiver.answer = lambda got: answer({"id": "77"})
    sent = send_test(subscription, person, now=NOW, by=COMMAND)
    assert outcomes(sent) == [["retry"], ["retry"]]
    assert "the answer has no list" in sent.requests[0].outcomes[0].reason


@pytest.mark.parametrize("kind", ["google_ads", "salesforce"])
def test_a_token_is_asked_for_and_shown_to_nobody(kind: str, receiver: Receiver) -> None:
    vendor, _, sent = rehearsed(kind, receiver, fields=kind == "salesforce")
    assert vendor.members == {"p1@x.org"}
    assert vendor.values == ({"p1@x.org": "PRO-7"} if kind == "salesforce" else {})
    assert outcomes(sent)[-1] == ["delivered"]
    assert all(request.status in (200, 201) for request in sent.requests)


def test_an_answer_that_repeats_the_token_shows_it_to_nobody(receiver: Receiver) -> None:
    tool, settings, options = LISTS["google_ads"]
    vendor = tool()
    echo = Reply(403, b"who is fresh-token-0, of client-secret?")
    receiver.answer = lambda got: vendor.token(got) if "token" in got.path else echo
    subscription, person = subscribed("google_ads", settings, options)
    sent = send_test(subscription, person, now=NOW, by=COMMAND)
    assert outcomes(sent) == [["suspended"]]
    assert "who is" in sent.requests[0].response
    assert not [secret for secret in SECRETS if secret in str(sent)]


def test_a_row_of_a_table(settings: Any) -> None:
    with stores.postgresql() as store:
        settings.OUTBOUND_ALLOW = store.places
        subscription, person = subscribed("postgresql", store.settings | {"password": "tell nobody"}, store.options)
        with_field(subscription)
        shown = rehearse(subscription, person, now=NOW)
        assert store.members() == set()
        sent = send_test(subscription, person, now=NOW, by=COMMAND)
        assert [request.body for request in shown.requests] == [request.body for request in sent.requests]
        assert "INSERT INTO" in sent.requests[0].body
        assert "PRO-7" in sent.requests[0].body
        assert outcomes(sent) == [["delivered", "delivered"]]
        assert store.members() == {"u1"}
        assert "tell nobody" not in f"{shown}{sent}"
        send_test(subscription, person, now=NOW, entering=False, by=COMMAND)
        assert store.members() == set()


def test_a_file_of_everybody_stays_one(settings: Any, clock: Any) -> None:
    """A test about one person does not leave that one alone over there."""
    with stores.s3(contents="everybody") as store:
        settings.OUTBOUND_ALLOW = store.places
        subscription, person = subscribed("s3", store.settings, store.options)
        beside = make_person(subscription.space, ("user_id", "u2"))
        change(subscription.audience, entered=[beside])
        assert synced(subscription, clock).status == Subscription.Status.IN_STEP
        sent = send_test(subscription, person, now=NOW, by=COMMAND)
        assert outcomes(sent) == [["delivered", "delivered"]]
        assert sent.requests[0].body.startswith("PUT shoppers/members.csv: 2 rows")
        assert "secret-key" not in str(sent)
