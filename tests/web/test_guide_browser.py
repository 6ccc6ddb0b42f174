"""From Dev to Prod in a browser: by mouse, by keyboard alone, and without JavaScript."""

import re

import pytest

from audiences.models import Audience
from tests.page_checks import look, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_audience_is_copied_to_prod_by_mouse_and_another_by_keyboard(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/s/shop/")
    page.get_by_role("link", name="Compare with Dev").click()
    page.wait_for_url(re.compile("/guide$"))
    assert page.get_by_role("heading", level=1).inner_text() == "From Shop (Dev) to Shop"
    wrong = look(page, "guide")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("button", name="Copy Pro plan").click()
    page.get_by_text("Pro plan is in Shop now").wait_for()
    wrong += look(page, "guide-copied")
    button = page.get_by_role("button", name="Copy New users, 7 days")
    for _ in range(80):
        page.keyboard.press("Tab")
        if button.evaluate("it => it === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.get_by_text("New users, 7 days is in Shop now").wait_for()
    assert Audience.objects.filter(space=room.prod).count() == 2
    assert not wrong, "\n".join(wrong)
    assert not complaints, complaints


def test_the_space_to_compare_with_is_chosen_without_javascript(browser, live_server, room):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/s/shop/guide")
    page.get_by_label("Compare with").select_option("an-empty-one")
    page.get_by_role("button", name="Compare").click()
    assert page.get_by_role("heading", level=1).inner_text() == "From An empty one to Shop"
    page.get_by_text("There are no audiences there.").wait_for()
    context.close()
