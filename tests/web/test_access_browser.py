"""People and their roles in a real browser: by mouse, by keyboard alone, and without JavaScript."""

import re

import pytest

from access import services
from access.models import Invitation, Membership, Token
from access.services import grants_of
from tests.page_checks import look, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

ACCESS = "/w/northwind/settings/access-management"


def test_a_day_stands_on_one_line(page, live_server, room):
    sign_in(page, live_server, room)
    page.goto(live_server.url + ACCESS)
    heights = page.locator("td.when time").evaluate_all("all => all.map((one) => one.getClientRects()[0].height)")
    assert max(heights) <= 30


def test_people_are_invited_by_mouse(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/goto-my-workspace/settings/access-management")
    page.get_by_role("link", name="Invite people").click()
    page.get_by_label("E-mail addresses").fill("new@northwind.example\nnonsense")
    page.get_by_label("Personas User in Shop (Dev)").check()
    page.get_by_role("button", name="Send invitations").click()
    page.get_by_text("Not an e-mail address: nonsense.").wait_for()
    complaints.clear()  # the browser reports the 422
    assert look(page, "access-invite-wrong") == []
    assert page.get_by_label("Personas User in Shop (Dev)").is_checked()
    page.get_by_label("E-mail addresses").fill("new@northwind.example\nother@northwind.example")
    page.get_by_role("button", name="Send invitations").click()
    page.get_by_text("2 people were invited").wait_for()
    page.get_by_role("button", name="Revoke the invitation of new@northwind.example").click()
    page.get_by_text("The invitation of new@northwind.example was revoked").wait_for()
    assert not complaints, complaints


def test_a_role_is_given_and_somebody_removed_by_keyboard_alone(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(live_server.url + ACCESS)
    reach(page, "Change the roles of Carla Ruiz")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/people/"))
    reach(page, "None in Shop (Dev)")
    page.keyboard.press("ArrowRight")  # None, Admin
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_text("The roles of Carla Ruiz are saved.").wait_for()
    carla = Membership.objects.get(user__email="carla@northwind.example")
    assert grants_of(carla) == [(room.dev, "user")]
    reach(page, "Change the roles of Carla Ruiz")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/people/"))
    reach(page, "Remove this person …")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("carla@northwind.example")
    page.keyboard.press("Enter")
    page.get_by_text("Carla Ruiz is no longer in Northwind Outfitters.").wait_for()
    assert not complaints, complaints


def test_a_token_is_made_and_copied(page, live_server, room, complaints):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/settings/tokens")
    page.get_by_label("Name").fill("Backfill")
    page.get_by_role("button", name="Create token").click()
    shown = page.locator("#secret").inner_text()
    assert look(page, "tokens-made") == []
    page.get_by_role("button", name="Copy the token").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == shown
    assert not complaints, complaints


def test_inviting_works_without_javascript(browser, live_server, room):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{ACCESS}/invite")
    page.get_by_label("E-mail addresses").fill("plain@northwind.example")
    page.get_by_role("button", name="Send invitations").click()
    assert "plain@northwind.example was invited" in page.locator("#toasts").inner_text()
    assert Invitation.objects.filter(email="plain@northwind.example").exists()
    context.close()


def reach(page, name):
    """Tab until what has the focus has this name."""
    page.wait_for_load_state()
    for _ in range(80):
        page.keyboard.press("Tab")
        said = page.evaluate(
            "(document.activeElement.ariaLabel ?? document.activeElement.labels?.[0]?.textContent"
            " ?? document.activeElement.textContent).trim()"
        )
        if said == name:
            return
    raise AssertionError(f"the keyboard does not reach “{name}”")


def test_a_token_is_revoked_after_it_was_asked_by_keyboard_and_without_javascript(page, browser, live_server, room):
    services.create_token(room.workspace, room.owner, name="Second one", by=room.owner)
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/settings/tokens")
    reach(page, "Revoke Nightly export …")
    page.keyboard.press("Enter")
    page.locator("#sheet").get_by_role("button", name="Revoke the token").wait_for()
    assert look(page, "token-revoke-sheet") == []
    page.keyboard.press("Escape")
    assert Token.objects.get(name="Nightly export").revoked_at is None
    page.keyboard.press("Enter")  # the link has the focus back
    page.locator("#sheet").get_by_role("button", name="Revoke the token").focus()
    page.keyboard.press("Enter")
    page.get_by_text("was revoked").wait_for()
    assert Token.objects.get(name="Nightly export").revoked_at
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/settings/tokens")
    page.get_by_role("link", name="Revoke Second one …").click()
    page.get_by_role("button", name="Revoke the token").click()
    assert "was revoked" in page.locator("#toasts").inner_text()
    context.close()
