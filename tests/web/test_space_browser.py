"""Spaces and identity rules in a real browser: by mouse, and by keyboard alone."""

import re

import pytest

from identity.rules.policy import policy_of
from spaces.models import Space
from tests.page_checks import look, look_at, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

SPACE = "/w/northwind/s/shop-dev/settings"


def test_rules_that_are_edited_are_clean(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    places = {"identity-add": f"{SPACE}/identity?add=1"}
    places["identity-edit"] = "/w/northwind/s/shop/settings/identity?edit=1"
    wrong = look_at(page, live_server.url, places)
    assert not wrong, "\n".join(wrong)
    assert not complaints, complaints


def test_a_space_is_made_with_imported_rules_and_deleted_by_mouse(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/spaces")
    page.get_by_role("link", name="New space").click()
    page.get_by_label("Name").fill("Second shop")
    page.get_by_text("For real.").click()
    page.get_by_text("Copy from another space").click()
    page.get_by_label("Copy the rules from").select_option("Shop")
    page.get_by_role("button", name="Create the space").click()
    page.get_by_text("The space “Second shop” was created.").wait_for()
    made = Space.objects.get(name="Second shop")
    assert policy_of(made.identity_policy).identifiers[0].type == "email"
    page.wait_for_load_state()
    page.goto(f"{live_server.url}/w/northwind/s/{made.slug}/settings")
    page.get_by_role("link", name="Delete the space …").click()
    assert page.get_by_role("button", name="Delete the space").is_disabled()
    page.get_by_label("to confirm").fill("Second shop")
    page.get_by_role("button", name="Delete the space").click()
    page.get_by_text("The space “Second shop” was deleted.").wait_for()
    page.wait_for_load_state()
    assert not complaints, complaints


def test_rules_are_changed_by_keyboard_alone(page, live_server, room, complaints):
    """Enter in a box saves; it presses none of the buttons that move a row."""
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{SPACE}/identity?edit=1")
    page.get_by_label("Most values of email").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    page.get_by_text("The rules are saved.").wait_for()
    page.wait_for_load_state()
    policy = policy_of(Space.objects.get(pk=room.dev.pk).identity_policy)
    assert [(each.type, each.limit.count) for each in policy.identifiers[:2]] == [("user_id", 1), ("email", 7)]
    page.get_by_role("link", name="Edit the rules").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("edit=1"))
    page.wait_for_load_state()
    page.get_by_role("button", name="Trust email more").focus()
    page.keyboard.press("Enter")
    page.get_by_text("email was moved up.").wait_for()
    page.wait_for_load_state()
    assert policy_of(Space.objects.get(pk=room.dev.pk).identity_policy).identifiers[0].type == "email"
    assert not complaints, complaints


def test_an_identifier_is_added_by_keyboard_alone(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{SPACE}/identity")
    page.get_by_role("link", name="Add an identifier").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("add=1"))
    page.get_by_label("Name").focus()
    page.keyboard.type("loyalty_id")
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    page.get_by_text("loyalty_id is an identifier of this space").wait_for()
    added = policy_of(Space.objects.get(pk=room.dev.pk).identity_policy).identifiers[-1]
    assert (added.type, str(added.limit)) == ("loyalty_id", "2 ever")
    assert look(page, "identity-custom") == []
    assert not complaints, complaints
