"""What is sent, in a real browser: rows with the calls that they lead to beside them, and the tester."""

import pytest

from tests.factories_destinations import AudienceFactory, change, make_destination, make_person, make_subscription
from tests.page_checks import look, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_calls_follow_what_is_typed_and_can_be_made(page, live_server, room, complaints):
    audience = AudienceFactory(space=room.dev, key="shoppers", name="Shoppers of the week")
    person = make_person(room.dev, ("user_id", "radia-1"), ("email", "radia@example.com"), plan="pro")
    change(audience, entered=[person])
    subscription = make_subscription(audience, make_destination(room.dev, "catcher"), sendIdentify=False)
    sign_in(page, live_server, room)
    where = f"{live_server.url}/w/northwind/s/shop-dev/subscriptions/{subscription.public_id}"
    page.goto(f"{where}/sending?person=user_id:radia-1")
    page.get_by_label("Field over there").first.fill("tier")
    page.get_by_label("Name, text or template").first.fill("plan")
    page.get_by_label("Function", exact=True).first.select_option("upper")
    page.locator("#preview").get_by_text('"tier": "PRO"').first.wait_for()
    page.get_by_role("button", name="Another row").focus()
    page.keyboard.press("Enter")
    page.locator("[aria-label='Field 3']").wait_for()
    assert page.get_by_label("Field over there").first.input_value() == "tier"
    assert look(page, "sending") == []
    page.get_by_role("button", name="Save").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Whoever should be there now").wait_for()
    page.goto(f"{where}/tester?person=user_id:radia-1")
    page.get_by_role("button", name="Send").click()
    page.get_by_text("Delivered").first.wait_for()
    assert look(page, "event-tester-sent") == []
    assert not complaints, complaints
