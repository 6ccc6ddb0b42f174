"""Finding a person, by mouse and by keyboard alone; and what the tabs of a profile look like."""

import re

import pytest

from tests.factories_identity import resolved
from tests.page_checks import look, look_at, settle, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
TABS = ("traits", "events", "identities", "audiences", "merges")


def space(live_server, rest=""):
    return f"{live_server.url}/w/northwind/s/shop-dev/{rest}"


def focused(page):
    return page.evaluate(
        "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
    )


def tab_to(page, name):
    for _ in range(80):
        page.keyboard.press("Tab")
        if (focused(page) or "").startswith(name):
            return
    raise AssertionError(f"the keyboard does not reach {name}")


def test_the_explorer_and_every_tab_are_clean(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    found, nobody = space(live_server, "profiles?q=ada"), space(live_server, "profiles?q=nobody@example.com")
    having = space(live_server, "profiles?trait=plan&value=p&match=begins&columns=plan")
    places = {"profiles-found": found, "profiles-not-found": nobody, "profiles-having": having}
    wrong = look_at(page, "", places)
    for tab in TABS:
        page.goto(space(live_server, f"profiles/{room.person.public_id}?tab={tab}"))
        settle(page)
        wrong += look(page, f"profile-{tab}")
    assert not wrong, "\n".join(wrong)
    assert not complaints, complaints


def test_a_person_is_found_and_looked_at_by_mouse(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(space(live_server, "profiles"))
    page.get_by_label("Find by a name or an identifier").fill("ada o")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Ada Obi").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("heading", name="Ada Obi").wait_for()
    settle(page)
    assert look(page, "profile-sheet") == []
    dialog.get_by_role("link", name="Open the whole profile").click()
    page.get_by_role("link", name="Events").click()
    page.wait_for_url(re.compile("tab=events"))
    opened = page.locator(".events details[open]").first
    assert opened.get_by_role("heading", name="Properties").is_visible()
    assert not opened.locator("pre").is_visible()
    page.get_by_text("Raw", exact=True).click()
    assert opened.locator("pre").is_visible()
    assert not opened.get_by_role("heading", name="Properties").is_visible()
    assert not complaints, complaints


def test_a_person_is_found_by_keyboard_alone_and_every_node_leads_to_its_row(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(space(live_server, "profiles"))
    tab_to(page, "Find by a name")
    page.keyboard.type("ada@")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("q=ada%40"))
    tab_to(page, "Ada Obi")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("heading", name="Ada Obi").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert focused(page) == "Ada Obi"
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("heading", name="Ada Obi").wait_for()
    tab_to(page, "Open the whole profile")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/profiles/use_"))
    tab_to(page, "Identities")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("tab=identities"))
    tab_to(page, "email ada@example.com: brought by message")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("#identifier-"))
    assert "ada@example.com" in page.locator("tr:target").inner_text()
    assert not complaints, complaints


def test_pretty_and_raw_and_the_tabs_need_no_script(browser, live_server, room):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(space(live_server, "profiles?q=ada"))
    page.get_by_role("link", name="Ada Obi").click()
    page.get_by_role("link", name="Events").click()
    page.get_by_text("Raw", exact=True).click()
    page.locator(".events details[open] pre").wait_for()
    context.close()


def test_why_a_person_is_in_an_audience_by_mouse(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(space(live_server, f"profiles/{room.person.public_id}?tab=audiences"))
    link = page.get_by_role("link", name="Why they are in New users, 7 days")
    in_full = link.evaluate("link => link.href")
    link.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("heading", name="Condition by condition").wait_for()
    assert dialog.get_by_text('They performed "User Signed Up"').is_visible()
    assert look(page, "profile-why-sheet") == []
    page.goto(in_full)
    assert look(page, "profile-why") == []
    assert not complaints, complaints


def test_why_a_person_is_in_an_audience_by_keyboard_alone(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(space(live_server, f"profiles/{room.person.public_id}?tab=identities"))
    page.locator(".page-tabs a").nth(2).focus()
    tab_to(page, "Audiences")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("tab=audiences"))
    page.get_by_role("link", name="Why they are in New users, 7 days").wait_for()
    tab_to(page, "Why they are in Browsed")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("heading", name="Condition by condition").wait_for()
    assert not complaints, complaints


def test_why_needs_no_script(browser, live_server, room):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(space(live_server, f"profiles/{room.person.public_id}?tab=audiences"))
    page.get_by_role("link", name="Show the audiences").click()
    page.get_by_role("link", name="Why they are in New users, 7 days").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Ada Obi and “New users, 7 days”"
    context.close()


def test_a_profile_is_split_by_keyboard_and_put_together_again(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(space(live_server, f"profiles/{room.person.public_id}?tab=identities"))
    page.get_by_role("link", name="Split this profile").click()
    box = page.get_by_role("checkbox").first
    box.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="What it comes to").wait_for()
    settle(page)
    assert look(page, "profile-split") == []
    page.get_by_label("Whose they are").fill("person-1")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Move the identifiers").wait_for()
    settle(page)
    assert look(page, "profile-move") == []
    page.get_by_label("Whose they are").fill("")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Split the profile").press("Enter")
    page.get_by_text("About to be split").wait_for()
    settle(page)
    assert look(page, "profile-split-coming") == []
    resolved(room.dev)
    page.get_by_role("button", name="Undo the split").wait_for()  # the panel asks again by itself
    assert look(page, "profile-split-done") == []
    page.get_by_role("button", name="Undo the split").click()
    page.get_by_text("About to be put together").wait_for()
    assert not complaints, complaints
