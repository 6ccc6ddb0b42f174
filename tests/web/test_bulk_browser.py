"""Several audiences are changed in a real browser: by mouse, by keyboard alone, and without JavaScript."""

import pytest

from audiences.models import Audience
from sources.models import Replay
from tests.factories_destinations import AudienceFactory
from tests.page_checks import SIZES, look, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/w/northwind/s/shop-dev/audiences?view=dense&sort=name"


@pytest.fixture
def campaign(room):
    return [AudienceFactory(space=room.dev, name=f"A {number:02}", key=f"a_{number}") for number in range(30)]


def test_about_twenty_fit_on_a_screen_and_all_can_be_ticked_at_once(page, live_server, room, campaign, complaints):
    Replay.objects.update(state=Replay.State.COMPLETE)  # else a note about it stands above the list
    sign_in(page, live_server, room)
    page.set_viewport_size(SIZES["wide"])
    page.goto(live_server.url + LIST)
    bottoms = page.locator("table.dense tbody tr").evaluate_all(
        "rows => rows.map((row) => row.getBoundingClientRect().bottom)"
    )
    assert sum(bottom <= SIZES["wide"]["height"] for bottom in bottoms) >= 19
    assert look(page, "audiences-dense") == []
    page.get_by_label("All", exact=True).check()
    ticked = "boxes => boxes.filter((box) => box.checked).length"
    assert page.locator("input[name=id]").evaluate_all(ticked) == len(bottoms)
    page.locator("input[name=id]").first.uncheck()
    assert not page.get_by_label("All", exact=True).is_checked()
    page.get_by_label("Label to be added").fill("spring/summer")
    page.get_by_role("button", name="Add label").click()
    page.get_by_text(f"{len(bottoms) - 1} audiences are labelled.").wait_for()
    assert Audience.objects.filter(labels__contains=["spring/summer"]).count() == len(bottoms) - 1
    page.get_by_role("navigation", name="Labels").get_by_role("link", name="spring/summer").click()
    page.wait_for_url("**label=spring**")
    assert page.locator("table.dense tbody tr").count() == len(bottoms) - 1
    assert not complaints, complaints


def test_two_are_deleted_by_keyboard_alone(page, live_server, room, campaign, complaints):
    sign_in(page, live_server, room)
    page.goto(live_server.url + LIST)
    for name in ("Choose A 00", "Choose A 01"):
        page.get_by_label(name).focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Delete …").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Delete 2 audiences").wait_for()
    assert look(page, "audiences-delete") == []
    assert page.get_by_role("button", name="Delete 2 audiences").is_disabled()
    page.get_by_label("to confirm").focus()
    page.keyboard.type("2 audiences")
    page.keyboard.press("Enter")
    page.get_by_text("2 audiences are deleted.").wait_for()
    assert "view=dense" in page.url
    assert not Audience.objects.filter(key__in=["a_0", "a_1"], deleted_at=None).exists()
    assert not complaints, complaints


def test_enter_in_a_box_does_no_harm(page, live_server, room, campaign):
    sign_in(page, live_server, room)
    page.goto(live_server.url + LIST)
    page.get_by_label("Choose A 00").check()
    page.get_by_label("Label to be added").press("Enter")
    page.get_by_text("Write the label that is to be added.").wait_for()
    assert Audience.objects.get(key="a_0").enabled


def test_without_javascript_too(browser, live_server, room, campaign):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(live_server.url + LIST)
    assert not page.get_by_label("All", exact=True).is_visible()
    page.get_by_label("Choose A 02").check()
    page.get_by_role("button", name="Disable").click()
    page.get_by_text("1 audience is disabled.").wait_for()
    page.get_by_label("Choose A 03").check()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_label("to confirm").fill("A 03")
    page.get_by_role("button", name="Delete 1 audience").click()
    page.get_by_text("1 audience is deleted.").wait_for()
    assert [Audience.objects.get(key=key).enabled for key in ("a_1", "a_2")] == [True, False]
    context.close()
