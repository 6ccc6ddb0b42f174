"""Destinations, and the life of an audience, in a real browser: by mouse and by keyboard alone."""

import re

import pytest

from audiences import drafts
from audiences.rules import draft_form
from destinations.models import Destination, Subscription
from tests.demo_data import DEFINITIONS
from tests.page_checks import look, look_at, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def space_url(live_server, room):
    return f"{live_server.url}/w/{room.workspace.slug}/s/{room.dev.slug}"


def test_other_states_of_the_pages_are_clean(page, live_server, room, space_url, complaints):
    sign_in(page, live_server, room)
    audience, destination = room.audience.public_id, room.catcher.public_id
    computing = Subscription.objects.exclude(pk=room.subscription.pk).get().audience.public_id
    to_webhook = f"destinations/new?kind=webhook&next=/w/{room.workspace.slug}/"
    places = {
        "audience-computing": f"audiences/{computing}",
        "destination-create-webhook": to_webhook,
        "destination-create-iterable": "destinations/new?kind=iterable",
        "destination-create-posthog": "destinations/new?kind=posthog",
        "destination-create-kafka": "destinations/new?kind=kafka",
        "destination-catalog-searched": "destinations/catalog?q=list",
        "destination-catalog-nothing": "destinations/catalog?q=fax",
        "subscription-person": f"audiences/{audience}/destinations/{room.subscription.public_id}?q=ada@example.com",
        "deliveries-filtered": f"deliveries?destination={destination}&outcome=delivered&person=email:ada@example.com",
        "caught-of-audience": f"destinations/{destination}/caught?key={room.audience.key}",
    }
    wrong = look_at(page, f"{space_url}/", places)
    assert not wrong, "\n".join(wrong)
    assert not complaints, complaints


def test_an_audience_is_sent_to_a_new_destination_by_mouse(page, live_server, room, space_url, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{space_url}/audiences")
    page.get_by_role("link", name=room.audience.name).click()
    page.get_by_role("link", name="Add a destination").click()
    page.get_by_role("link", name="Choose a new destination").click()
    page.get_by_role("link", name=re.compile("Set up Webhook →")).first.click()
    page.get_by_label("Name", exact=True).fill("Newsletter tool")
    page.get_by_label("Address", exact=True).fill("https://example.com/hook")
    page.get_by_role("button", name="Create the destination").click()
    assert page.locator("pre").inner_text().startswith("whsec_")
    assert look(page, "destination-secret") == []
    page.get_by_role("link", name="Go on").click()
    page.get_by_label("Newsletter tool").check()
    page.get_by_text("What is sent").click()
    page.get_by_label("Event name on entering").fill("")
    assert look(page, "audience-connect") == []
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("Must not be empty").wait_for()
    assert look(page, "audience-connect-wrong") == []
    complaints.clear()  # the browser reports the 422
    page.get_by_label("Event name on entering").fill("Became a shopper")
    page.get_by_role("button", name="Connect").click()
    page.get_by_role("link", name="Newsletter tool").wait_for()
    made = Subscription.objects.get(destination__name="Newsletter tool")
    assert (made.audience, made.options["entered_event"]) == (room.audience, "Became a shopper")
    assert not complaints, complaints


def test_a_draft_is_sent_somewhere_named_and_created_by_mouse(page, live_server, room, space_url, complaints):
    drafts.keep(room.draft, sketch=draft_form.of_definition(DEFINITIONS[1][1]))
    sign_in(page, live_server, room)
    page.goto(f"{space_url}/audiences/drafts/{room.draft.public_id}/destinations")
    page.get_by_label("Webhook catcher").check()
    page.get_by_role("button", name="Review →").click()
    page.locator("#size .with-history .big-number").wait_for()
    page.get_by_label("Name", exact=True).fill("Boots and Sandals")
    page.get_by_text("boots_and_sandals").wait_for()
    assert look(page, "draft-review-named") == []
    page.get_by_role("button", name="Create audience →").click()
    page.get_by_role("heading", name="Boots and Sandals", level=1).wait_for()
    made = Subscription.objects.get(audience__key="boots_and_sandals")
    assert made.destination == room.catcher
    assert not complaints, complaints


def test_a_draft_is_sent_somewhere_named_and_created_without_javascript(browser, live_server, room, space_url):
    drafts.keep(room.draft, sketch=draft_form.of_definition(DEFINITIONS[1][1]))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(f"{space_url}/audiences/drafts/{room.draft.public_id}/destinations")
    page.get_by_label("Webhook catcher").check()
    page.get_by_role("button", name="Review →").click()
    page.get_by_label("Name", exact=True).fill("Boots and Sandals")
    page.get_by_role("button", name="Save as a draft").click()
    page.get_by_text("boots_and_sandals").wait_for()
    page.get_by_role("link", name="Count them").click()
    page.locator("#size .with-history .big-number").wait_for()
    page.get_by_role("button", name="Create audience →").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Boots and Sandals"
    context.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_destination_is_made_on_the_way_and_what_was_ticked_before_still_is(
    browser, live_server, room, space_url, scripts
):
    context = browser.new_context(java_script_enabled=scripts)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(f"{space_url}/audiences/drafts/{room.draft.public_id}/destinations")
    page.get_by_label("Webhook catcher").check()
    page.get_by_role("button", name="New destination").click()
    page.get_by_role("link", name=re.compile("Set up Webhook catcher")).first.click()
    page.get_by_label("Name", exact=True).fill("Second catcher")
    page.get_by_role("button", name="Create the destination").click()
    page.get_by_role("heading", name="Select destinations", level=1).wait_for()
    assert page.get_by_label("Webhook catcher").is_checked()
    assert page.get_by_label("Second catcher").is_checked()
    page.get_by_role("button", name="Review →").click()
    page.get_by_role("heading", name="Review and create", level=1).wait_for()
    page.get_by_text("Second catcher").wait_for()
    context.close()


def test_going_back_by_the_stepper_loses_nothing(page, live_server, room, space_url, complaints):
    sign_in(page, live_server, room)
    draft = f"{space_url}/audiences/drafts/{room.draft.public_id}"
    page.goto(f"{draft}/destinations")
    page.get_by_label("Webhook catcher").check()
    page.get_by_role("link", name="1. Build").click()
    page.get_by_role("heading", name="New audience", level=1).wait_for()
    page.goto(f"{draft}/review")
    page.get_by_label("Name", exact=True).fill("Kept")
    page.get_by_role("link", name="2. Select destinations").click()
    page.get_by_role("heading", name="Select destinations", level=1).wait_for()
    assert page.get_by_label("Webhook catcher").is_checked()
    page.goto(f"{draft}/review")
    assert page.get_by_label("Name", exact=True).input_value() == "Kept"
    assert not complaints, complaints


def test_the_connection_is_tested_without_leaving_the_page(page, live_server, room, space_url, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{space_url}/destinations/{room.catcher.public_id}")
    page.get_by_role("button", name="Test the connection").click()
    page.get_by_text("It works.").wait_for()
    assert look(page, "destination-tested") == []
    assert not complaints, complaints


def test_somebody_is_looked_up_and_everybody_said_anew_by_keyboard_alone(page, live_server, room, space_url):
    sign_in(page, live_server, room)
    page.goto(f"{space_url}/audiences/{room.audience.public_id}")
    reach(page, "Webhook catcher")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Look up one person").wait_for()
    reach(page, "An identifier of the person")
    page.keyboard.type("email:ada@example.com")
    page.keyboard.press("Enter")
    page.get_by_text("Should be there: yes").wait_for()
    reach(page, "Resync")
    page.keyboard.press("Enter")
    page.get_by_text("Everyone is being sent again").wait_for()
    assert Subscription.objects.get(pk=room.subscription.pk).full


def test_a_destination_is_deleted_only_when_its_name_is_typed(page, live_server, room, space_url):
    sign_in(page, live_server, room)
    page.goto(f"{space_url}/destinations/{room.catcher.public_id}")
    page.get_by_text("Delete the destination …").click()
    button = page.get_by_role("button", name="Delete the destination")
    assert button.is_disabled()
    page.get_by_label(re.compile("to confirm")).fill("Webhook catcher")
    button.click()
    page.get_by_role("heading", name="No destinations yet").wait_for()
    assert not Destination.objects.exists()


def reach(page, name):
    """Tab until the focus is on what is called so."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"{name} is not reached by Tab")
