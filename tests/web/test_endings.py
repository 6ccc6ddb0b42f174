"""Deleting an audience after everyone was sent out, by the page and by the API."""

import pytest

from audiences import services
from audiences.models import Audience
from tests.cast import words
from tests.factories_destinations import AudienceFactory, change, make_destination, make_people, make_subscription

pytestmark = pytest.mark.django_db

BOX = 'name="exits_first"'


@pytest.fixture
def audience(cast):
    audience = AudienceFactory(space=cast.space, name="Shoppers")
    change(audience, entered=make_people(cast.space, 2))
    return audience


@pytest.fixture
def sent(audience):
    return make_subscription(audience, make_destination(audience.space))


@pytest.fixture
def page(cast, audience):
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/{audience.public_id}"


def test_one_that_goes_nowhere_is_asked_nothing(cast, audience, page):
    assert BOX not in cast.browser("user").get(f"{page}/settings").content.decode()


def test_the_box_sends_everyone_out_first(cast, audience, sent, page):
    user = cast.browser("user")
    assert BOX in user.get(f"{page}/settings").content.decode()
    assert user.post(f"{page}/settings", {"confirm": "wrong", "exits_first": "on"}).status_code == 422
    answer = user.post(f"{page}/settings", {"confirm": "Shoppers", "exits_first": "on"}, follow=True)
    assert "Shoppers is deleted as soon as everyone in it has been sent out." in words(answer)
    assert "not counted yet" in words(answer)
    audience.refresh_from_db()
    assert (audience.deleted_at, audience.ending_at is None) == (None, False)
    for where in (page, page.rpartition("/")[0]):
        assert "Being deleted" in words(user.get(where)), where
    assert "It is being deleted" in words(cast.browser("read_only").get(page))
    assert user.post(f"{page}/settings", {"confirm": "Shoppers"}).status_code == 302
    audience.refresh_from_db()
    assert audience.deleted_at is not None


def test_without_the_box_it_is_deleted_at_once(cast, audience, sent, page):
    cast.browser("user").post(f"{page}/settings", {"confirm": "Shoppers"})
    audience.refresh_from_db()
    assert (audience.deleted_at is None, audience.ending_at) == (False, None)


def test_by_the_api_it_ends_and_can_be_deleted_anyway(cast, audience, sent):
    where = f"/api/spaces/{cast.space.public_id}/audiences/{audience.public_id}"
    assert cast.call("read_only", "POST", f"{where}/end").status_code == 403
    shown = cast.call("user", "POST", f"{where}/end").json()["data"]["audience"]
    assert shown["endingAt"] is not None
    assert cast.call("user", "GET", where).json()["data"]["audience"]["endingAt"] == shown["endingAt"]
    assert cast.call("user", "DELETE", where).status_code == 200
    assert cast.call("user", "POST", f"{where}/end").status_code == 404


def test_what_another_audience_asks_about_does_not_end(cast):
    by = cast.people["user"]
    asked = services.create_audience(cast.space, name="a", definition={"kind": "event", "name": "Ordered"}, by=by)
    services.create_audience(cast.space, name="b", definition={"kind": "audience", "key": "a"}, by=by)
    answer = cast.call("user", "POST", f"/api/spaces/{cast.space.public_id}/audiences/{asked.public_id}/end")
    assert answer.status_code == 409
    page = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/{asked.public_id}/settings"
    refused = cast.browser("user").post(page, {"confirm": "a", "exits_first": "on"})
    assert refused.status_code == 422
    assert "It is part of other audiences: b" in words(refused)
    assert Audience.objects.get(pk=asked.pk).ending_at is None
