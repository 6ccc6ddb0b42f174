"""The first page of a workspace, in a browser: by mouse, by keyboard alone, and without JavaScript."""

import re

import pytest

from tests.page_checks import look, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_home_is_clean_with_the_steps_under_way_and_hidden(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(live_server.url + "/")
    page.wait_for_url(re.compile("/w/northwind/$"))
    wrong = look(page, "home")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("button", name="Hide the step “Connect production sources”").click()
    page.get_by_role("link", name="See what is missing").wait_for()
    assert page.locator(".step").count() == 7
    page.get_by_role("button", name="Hide the steps").click()
    page.locator(".step").first.wait_for(state="detached")
    page.get_by_role("button", name="Show the eight steps").wait_for()
    wrong += look(page, "home-hidden")
    assert not wrong, "\n".join(wrong)
    assert not complaints, complaints


def test_the_current_step_is_reached_by_keyboard_alone(page, live_server, room):
    sign_in(page, live_server, room)
    page.goto(live_server.url + "/")
    current = page.get_by_role("listitem").and_(page.locator("[aria-current=step]"))
    assert current.count() == 1
    button = current.locator("a.btn-primary")
    wanted = button.get_attribute("href")
    for _ in range(60):
        page.keyboard.press("Tab")
        if button.evaluate("it => it === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(re.escape(wanted)))


def test_the_steps_are_hidden_and_shown_without_javascript(browser, live_server, room):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(live_server.url + "/")
    page.get_by_role("button", name="Hide the steps").click()
    assert page.get_by_role("heading", name="Getting started").count() == 0
    page.get_by_role("button", name="Show the eight steps").click()
    page.get_by_role("heading", name="Getting started").wait_for()
    context.close()
