"""Sources in a real browser: connecting them, making one, and watching messages arrive; by mouse and by keyboard."""

import re

import pytest

from sources.models import Connection, Replay, Source
from spaces.clock import clock
from tests.factories_identity import DAY_MS, NOON, archived, message
from tests.factories_sources import RejectFactory
from tests.page_checks import look, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
SPACE = "/w/northwind/s/shop-dev/sources"


def history(source):
    """Some events on each of the last days, so that there is something to draw."""
    today = int((clock.now() - NOON).total_seconds() * 1000)
    days = [(day, number) for day in range(29, -1, -1) for number in range(3 + day * 7 % 11)]
    sent = {"sku": "boot-7", "price": 129.5, "size": {"eu": 42, "us": 9}}
    archived(source, *[message(userId="u1", properties=sent, at=today - day * DAY_MS - number) for day, number in days])


def test_other_states_of_the_pages_about_sources_are_clean(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    website = f"/w/northwind/sources/{room.website.public_id}"
    history(room.website)
    places = {
        "source-busy": website,
        "source-setup-revealed": f"{website}/set-up?reveal=1",
        "source-messages": f"{website}/debugger?live=0&type=identify",
        "source-rejected": f"{website}/debugger?show=rejected",
    }
    wrong = []
    for name, where in places.items():
        assert page.goto(live_server.url + where).status == 200, name
        for summary in page.locator(".messages summary").all()[:1]:
            summary.click()
        wrong += look(page, name)
    assert not wrong, "\n".join(wrong)
    assert not complaints, complaints


def test_empty_pages_of_a_source_are_clean(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    kiosk = f"/w/northwind/sources/{Source.objects.get(slug='kiosk').public_id}"
    wrong = []
    for tab in ("", "/set-up", "/debugger", "/debugger?show=rejected"):
        page.goto(live_server.url + kiosk + tab)
        wrong += look(page, f"source-empty{re.sub(r'[^a-z-]+', '-', tab)}")
    assert not wrong, "\n".join(wrong)
    assert not complaints, complaints


def test_a_source_is_connected_by_mouse_and_its_replay_cancelled(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(live_server.url + SPACE)
    page.get_by_role("link", name="Connect sources").click()
    page.get_by_text("Old kiosk").click()
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("listens to Old kiosk").wait_for()
    replay = Replay.objects.filter(connections__source__slug="kiosk").get()
    page.locator("section", has_text="Old kiosk").get_by_role("link", name="Cancel the replay").click()
    page.locator("#sheet").get_by_role("button", name="Cancel the replay").click()
    page.get_by_text("The replay is cancelled").wait_for()
    replay.refresh_from_db()
    assert replay.state == Replay.State.CANCELLED
    page.get_by_role("link", name="Disconnect Old kiosk").click()
    page.locator("#sheet").get_by_role("button", name="Disconnect Old kiosk").click()
    page.get_by_text("no longer listens to Old kiosk").wait_for()
    assert Connection.objects.get(source__slug="kiosk").state == Connection.State.DISCONNECTED
    assert not complaints, complaints


def test_a_replay_that_ends_is_announced_without_a_click(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(live_server.url + SPACE)
    assert not page.get_by_text("Replay complete").count()
    newest = Replay.objects.latest("pk")
    Replay.objects.exclude(pk=newest.pk).filter(state=Replay.State.COMPLETE).delete()
    Replay.objects.filter(state=Replay.State.RUNNING).delete()
    Replay.objects.filter(pk=newest.pk).update(state=Replay.State.COMPLETE)
    page.get_by_text("Replay complete").wait_for(timeout=10_000)
    page.get_by_role("link", name="See the profiles").click()
    page.get_by_role("heading", level=1, name="Profiles").wait_for()
    assert not complaints, complaints


def tab_to(page, name):
    """Whatever has this text gets the focus, by Tab alone."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if name in page.evaluate(
            "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim().replace(/\\s+/g, ' ')"
        ):
            return
    raise AssertionError(f"Tab never came to {name}")


def test_a_source_is_made_and_connected_by_keyboard_alone(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(live_server.url + "/w/northwind/sources")
    tab_to(page, "New source")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/sources/new"))
    tab_to(page, "Name")
    page.keyboard.type("Till")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")  # Website, then Mobile app
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/set-up"))
    assert Source.objects.get(name="Till").kind == "mobile"
    page.goto(f"{live_server.url}{SPACE}/connect")
    tab_to(page, "Till")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.get_by_text("listens to Till").wait_for()
    assert not complaints, complaints


def test_messages_arrive_in_the_debugger_while_one_is_open_to_be_read(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/sources/{room.website.public_id}/debugger")
    page.locator(".message summary").first.click()
    page.locator(".message").first.get_by_text("Raw", exact=True).click()
    opened = page.locator(".message[id]").first.get_attribute("id")
    page.locator(f"#{opened} pre").wait_for()
    assert not page.locator(f"#{opened} .pretty").is_visible()
    archived(room.website, message(event="Just now", userId="person-1"))
    page.locator(".message", has_text="Just now").wait_for(timeout=10_000)
    page.locator(f"#{opened} pre").wait_for()
    assert page.locator(".message").first.locator("b").inner_text() == "Just now"
    page.get_by_role("link", name="Pause").click()
    page.wait_for_url(re.compile("live=0"))
    assert not page.locator("[hx-trigger='every 2s']").count()
    page.get_by_label("Search in the messages").fill("just NOW")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url(re.compile("q=just"))
    assert page.locator(".message").count() == 1
    assert not complaints, complaints


def test_older_messages_follow_those_that_are_left_of_a_live_list(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    where = f"{live_server.url}/w/northwind/sources/{room.website.public_id}/debugger"
    archived(room.website, *[message(event=f"E{number}", userId="u1") for number in range(190)])
    page.goto(where)
    page.get_by_role("link", name="Older", exact=True).click()
    page.get_by_text("This page stands still").wait_for()
    assert page.locator(".message b").first.inner_text() == "E89"
    assert look(page, "source-debugger-older") == []
    page.get_by_role("link", name="Newest", exact=True).click()
    page.locator(".message", has_text="E189").wait_for()
    for start in range(190, 390, 20):
        archived(room.website, *[message(event=f"E{start + n}", userId="u1") for n in range(20)])
    page.locator(".message", has_text="E389").wait_for(timeout=10_000)
    page.wait_for_function("document.querySelectorAll('.message').length === 200")
    left = page.locator(".message b").last.inner_text()
    page.get_by_role("link", name="Older", exact=True).click()
    page.get_by_text("This page stands still").wait_for()
    assert page.locator(".message b").first.inner_text() == f"E{int(left[1:]) - 1}"
    assert not complaints, complaints


def test_rejected_messages_arrive_and_are_narrowed_to_a_code_by_keyboard(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/sources/{room.website.public_id}/debugger?show=rejected")
    before = page.locator(".message").count()
    kept = {"code": "invalid_timestamp", "reason": "`timestamp` is no time.", "call": "track", "whole": True}
    RejectFactory(source=room.website, message='{"a": 1}', **kept)
    page.locator(".message", has_text="is no time").wait_for(timeout=10_000)
    assert page.locator(".message").count() == before + 1
    page.reload()  # the codes are those there were when the page was opened
    page.get_by_label("Code").focus()
    page.keyboard.type("invalid_t")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("code=invalid_timestamp"))
    assert page.locator(".message").count() == 1
    page.locator(".message summary").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Raw", exact=True).wait_for()
    assert look(page, "source-debugger-rejected-code") == []
    page.get_by_role("button", name="Retry", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_text("One message is being retried").wait_for()
    assert page.locator(".message").count() == before
    assert not complaints, complaints


def test_the_first_message_appears_in_an_empty_debugger(page, live_server, room, complaints):
    kiosk = Source.objects.get(slug="kiosk")
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/sources/{kiosk.public_id}/debugger")
    page.get_by_text("No message yet").wait_for()
    archived(kiosk, message(event="The first", userId="u1"))
    page.locator(".message", has_text="The first").wait_for(timeout=10_000)
    archived(kiosk, message(event="The second", userId="u1"))
    page.locator(".message", has_text="The second").wait_for(timeout=10_000)
    assert not complaints, complaints


def test_a_source_is_connected_without_javascript(browser, live_server, room):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{SPACE}/connect")
    page.get_by_label("Old kiosk").check()
    page.get_by_role("button", name="Connect").click()
    assert "listens to Old kiosk" in page.locator("#toasts").inner_text()
    page.get_by_role("link", name="Disconnect Old kiosk").click()
    page.get_by_role("button", name="Disconnect Old kiosk").click()
    assert "no longer listens" in page.locator("#toasts").inner_text()
    context.close()
