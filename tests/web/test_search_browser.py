"""The search over a workspace, in a browser: "/" from any page, and without JavaScript."""

import re

import pytest

from tests.page_checks import SIZES, look_at, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_slash_and_a_pasted_address_lead_to_the_person(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/s/shop-dev/audiences")
    page.keyboard.press("/")
    page.keyboard.type("ada@example.com")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(room.person.public_id))
    assert not complaints, complaints


def test_slash_opens_the_menu_of_a_narrow_page_and_escape_closes_it(page, live_server, room, complaints):
    page.set_viewport_size(SIZES["narrow"])
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/s/shop-dev/audiences")
    box = page.get_by_label("Go to an id, a key or an e-mail address")
    assert not box.is_visible()
    page.keyboard.press("/")
    assert box.is_visible()
    page.keyboard.press("Escape")
    assert not box.is_visible()
    assert page.evaluate("document.activeElement.textContent.trim()") == "Menu"
    page.keyboard.press("/")
    box.click()  # a click in the menu leaves it open
    page.keyboard.type("ada@example.com")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(room.person.public_id))
    assert not complaints, complaints


def test_what_is_found_what_is_not_are_clean(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    asked = {"search-found": "o", "search-nothing": "nobody@example.com"}
    places = {name: f"?q={text}" for name, text in asked.items()}
    wrong = look_at(page, f"{live_server.url}/w/northwind/search", places)
    assert not wrong, "\n".join(wrong)
    assert not complaints, complaints


def test_it_works_without_javascript(browser, live_server, room):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(live_server.url + "/")
    box = page.get_by_label("Go to an id, a key or an e-mail address")
    box.fill("new_users_7_days")
    box.press("Enter")
    page.wait_for_url(re.compile("/s/shop-dev/audiences"))
    context.close()
