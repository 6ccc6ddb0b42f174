"""The delivery log in a real browser: what failed is tried again, by keyboard alone."""

import re

import pytest

from destinations.sync import Sync
from spaces import batches
from spaces.clock import clock
from tests.factories_destinations import AudienceFactory, change, make_destination, make_people, make_subscription
from tests.page_checks import look, sign_in
from tests.receiver import Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)


def sync(subscription):
    log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
    while batches.advance(Sync(clock), log):
        pass


def test_a_call_that_was_refused_is_tried_again_by_keyboard(page, live_server, room, complaints, settings):
    with receiving() as receiver:
        settings.OUTBOUND_ALLOW = [receiver.place]
        receiver.answer = lambda got: Reply() if b'"nobody0"' in got.body else Reply(422, b"is not a customer")
        audience = AudienceFactory(space=room.dev, key="shoppers", name="Shoppers of the week")
        change(audience, entered=make_people(room.dev, 3, prefix="nobody"))
        destination = make_destination(room.dev, "webhook", url=receiver.url)
        subscription = make_subscription(audience, destination, sendIdentify=False)
        sync(subscription)
        sign_in(page, live_server, room)
        where = f"{live_server.url}/w/northwind/s/shop-dev/deliveries"
        page.goto(f"{where}?destination={destination.public_id}&outcome=refused#log")
        assert page.locator(".events > li").count() == 2
        page.locator(".events summary").first.focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name=re.compile("^Retry.*user_id: nobody")).wait_for()
        assert look(page, "deliveries-refused") == []
        receiver.answer = lambda got: Reply()
        before = len(receiver.got)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent").strip().startswith("Retry")
        page.keyboard.press("Enter")
        page.get_by_text("It is tried again now").wait_for()
        sync(subscription)
        assert len(receiver.got) == before + 1
        page.reload()
        for summary in page.locator(".events summary").all():
            summary.click()
        page.get_by_text("Settled since").wait_for()
        assert page.get_by_role("button", name="Retry").count() == 1
    assert not complaints, complaints
