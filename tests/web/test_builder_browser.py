"""The audience builder in a browser: by mouse, by keyboard alone, and without JavaScript."""

import re

import pytest
from playwright.sync_api import expect

from audiences import drafts
from audiences.models import Audience, Draft, Version
from audiences.rules import draft_form, grammar
from audiences.rules.starting_points import STARTING_POINTS
from tests.page_checks import look, sign_in

LABELS = "all => all.map((one) => one.label)"
pytestmark = pytest.mark.django_db(transaction=True)

BASE = "/w/northwind/s/shop-dev/audiences"
MOST_STOPS = 80
SKETCHED = {
    "all": [
        {
            "kind": "event",
            "name": "Product Viewed",
            "atLeast": 1,
            "within": {"days": 30},
            "where": [
                {"property": "sku", "op": "startsWith", "value": "boot"},
                {"property": "size", "op": "equals", "value": {"trait": "size"}},
            ],
            "then": [
                {
                    "name": "Order Completed",
                    "exactly": 0,
                    "where": [{"property": "items[].sku", "op": "equals", "value": {"parent": "sku"}}],
                    "within": {"days": 3},
                }
            ],
        },
        {"not": {"kind": "event", "name": "Order Completed", "atLeast": 1}},
        {
            "any": [
                {"kind": "trait", "name": "plan", "op": "oneOf", "value": ["free", "pro"]},
                {"kind": "trait", "name": "address.city", "op": "exists"},
            ]
        },
    ]
}


def test_the_builder_is_clean_in_every_colour_and_width(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    wrong = []
    page.goto(f"{live_server.url}{BASE}/drafts/{_half_way(room).public_id}")
    page.get_by_text("Audience is missing.").wait_for()
    wrong += look(page, "builder-incomplete")
    page.get_by_role("button", name="Remove row 4").click()
    page.locator("#preview .big-number").wait_for()
    wrong += look(page, "builder")
    page.get_by_label("Event", exact=True).first.fill("")
    page.locator(".actions").get_by_role("button", name="Preview").click()
    page.locator(".condition .help.error").wait_for()
    wrong += look(page, "builder-wrong")
    assert not wrong, "\n".join(wrong)
    assert not real(complaints)


def test_an_audience_is_described_by_mouse_and_counted_while_it_is(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{BASE}")
    page.get_by_role("button", name="New audience").click()
    expect(page.get_by_label("Event", exact=True)).to_have_count(1)
    options = page.locator("#events-seen option").evaluate_all("all => all.map((one) => one.value)")
    assert all(label.endswith(" seen") for label in page.locator("#events-seen option").evaluate_all(LABELS))
    assert "Product Viewed" in options
    page.get_by_label("Event", exact=True).fill("Product Viewed")
    page.get_by_text(re.compile("^7 people$")).wait_for()
    page.get_by_role("button", name="Have a custom trait").click()
    trait = page.get_by_label("Trait", exact=True)
    expect(trait).to_be_focused()
    expect(page.locator("datalist option[value=plan]")).to_have_count(1)
    trait.fill("plan")
    page.get_by_label("Value", exact=True).fill("pro")
    page.get_by_text(re.compile("^3 people$")).wait_for()
    page.get_by_role("button", name="Not: exclude whoever matches row 2").click()
    page.get_by_text(re.compile("^4 people$")).wait_for()
    assert page.locator(".gutter").all_inner_texts() == ["All people who", "And not who"]
    page.reload()
    page.get_by_text(re.compile("^4 people$")).wait_for()
    page.get_by_role("button", name="Select destinations →").click()
    page.get_by_role("heading", name="Select destinations", level=1).wait_for()
    page.get_by_role("button", name="Review →").click()
    page.get_by_label("Name").fill("Looked, and not pro")
    page.get_by_text("looked_and_not_pro").wait_for()
    page.get_by_role("button", name="Create audience →").click()
    page.get_by_text("Looked, and not pro is created").wait_for()
    made = Version.objects.get(audience__name="Looked, and not pro").definition
    assert made["all"][1] == {"not": {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}}
    assert not real(complaints)


def test_an_audience_is_described_sent_somewhere_and_created_by_keyboard_alone(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{BASE}")
    _tab_to(page, "New audience")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/drafts/"))
    _tab_to(page, "Event")
    page.keyboard.type("Product Viewed")
    _tab_to(page, "Have a custom trait")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Trait", exact=True)).to_be_focused()
    page.keyboard.type("plan")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("pro")
    page.get_by_text(re.compile("^3 people$")).wait_for()
    with page.expect_response(lambda answer: 'id="sketch"' in answer.text()):
        page.keyboard.press("Enter")  # the preview, with the caret where it was
    expect(page.get_by_label("Value", exact=True)).to_be_focused()
    _tab_to(page, "Move row 2 up")
    page.keyboard.press("Enter")
    expect(page.locator(".row-of").first).to_contain_text("have the trait")
    expect(page.get_by_label("Trait", exact=True)).to_be_focused()
    _tab_to(page, "Select destinations →")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Select destinations", level=1).wait_for()
    _tab_to(page, "Webhook catcher")
    page.keyboard.press("Space")
    _tab_to(page, "What is sent to Webhook catcher")
    page.keyboard.press("Enter")
    _tab_to(page, "Event name on entering optional")
    page.keyboard.press("Control+a")
    page.keyboard.type("Became a pro looker")
    _tab_to(page, "Review →")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Review and create", level=1).wait_for()
    _tab_to(page, "Name")
    page.keyboard.type("Pro lookers")
    page.get_by_text("pro_lookers", exact=True).wait_for()
    _tab_to(page, "Create audience →")
    page.keyboard.press("Enter")
    page.get_by_text("Pro lookers is created").wait_for()
    made = Audience.objects.get(name="Pro lookers")
    assert [each["kind"] for each in made.versions.get().definition["all"]] == ["trait", "event"]
    sent = made.subscriptions.get()
    assert (sent.destination, sent.options["entered_event"]) == (room.catcher, "Became a pro looker")
    assert not real(complaints)


def test_an_audience_is_described_without_javascript(browser, live_server, room):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{BASE}")
    page.get_by_role("button", name="New audience").click()
    page.get_by_label("Event", exact=True).fill("Product Viewed")
    page.get_by_role("button", name="Performed an event").click()
    page.get_by_label("Event", exact=True).nth(1).fill("Product Added")
    page.get_by_role("button", name="Add a property to row 2").click()
    page.get_by_label("Property", exact=True).fill("sku")
    page.get_by_label("Value", exact=True).fill("boot-1")
    page.locator(".actions").get_by_role("button", name="Preview").click()
    assert page.locator(".big-number").inner_text()[0] in "123456789"
    assert '(where "sku" is "boot-1")' in page.locator(".said").inner_text()
    page.get_by_role("button", name="Select destinations →").click()
    page.get_by_role("button", name="Review →").click()
    page.get_by_label("Name").fill("Boot one")
    page.get_by_role("button", name="Create audience →").click()
    assert Audience.objects.filter(name="Boot one").exists()
    assert not Draft.objects.exclude(pk=room.draft.pk).exists()
    context.close()


def test_an_operator_that_takes_several_values_asks_for_a_line_each(page, live_server, room, complaints):
    draft = drafts.begin(room.dev, room.owner)
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{BASE}/drafts/{draft.public_id}")
    page.get_by_role("button", name="Have a custom trait").click()
    expect(page.get_by_label("Trait", exact=True)).to_be_focused()
    page.get_by_role("button", name="Remove row 1").click()
    expect(page.get_by_label("Event", exact=True)).to_have_count(0)
    page.get_by_label("Trait", exact=True).fill("plan")
    page.get_by_label("Operator").select_option("oneOf")
    page.get_by_label("Values, one in each line").fill("pro\nfree")
    page.get_by_text(re.compile("^7 people$")).wait_for()
    page.get_by_label("Operator").select_option("notExists")
    expect(page.get_by_label("Kind of value")).to_have_count(0)
    page.get_by_text("is not there").wait_for()
    assert not real(complaints)


def test_a_second_button_that_is_pressed_at_once_loses_neither_act(page, live_server, room, complaints):
    draft = drafts.begin(room.dev, room.owner)
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{BASE}/drafts/{draft.public_id}")
    page.get_by_label("Event", exact=True).fill("Product Viewed")
    page.get_by_role("button", name="Performed an event").dblclick()
    expect(page.locator(".row-of")).to_have_count(3)
    page.evaluate("""() => { for (const name of ["Remove row 2", "Not: exclude whoever matches row 3", "Remove row 2"])
        document.querySelector(`[aria-label="${name}"]`).click(); }""")
    expect(page.locator(".row-of")).to_have_count(2)
    assert page.locator(".gutter").all_inner_texts() == ["All people who", "And not who"]
    assert page.get_by_label("Event", exact=True).first.input_value() == "Product Viewed"
    page.get_by_label("Event", exact=True).nth(1).fill("Order Completed")
    page.get_by_text(re.compile("^[0-9]+ (people|person)$")).wait_for()
    page.evaluate("""() => { document.querySelector("[id$=add-trait]").click();
        document.querySelector("[value=next]").click(); }""")  # the conditions are not complete any more
    page.get_by_text("Trait is missing.").first.wait_for()
    assert not real(complaints)


def test_a_person_of_the_preview_is_looked_at_without_leaving_and_a_draft_is_thrown_away_in_two_clicks(
    page, live_server, room, complaints
):
    draft = drafts.begin(room.dev, room.owner)
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{BASE}/drafts/{draft.public_id}")
    page.get_by_label("Event", exact=True).fill("Product Viewed")
    page.get_by_role("link", name="Ada Obi").click()
    page.get_by_role("dialog").get_by_text("Open the whole profile").wait_for()
    assert look(page, "builder-person") == []
    page.keyboard.press("Escape")
    assert page.get_by_label("Event", exact=True).input_value() == "Product Viewed"
    page.get_by_text("Discard the draft …").click()
    page.get_by_role("button", name="Discard it").click()
    page.get_by_text("The draft is gone.").wait_for()
    assert not Draft.objects.filter(pk=draft.pk).exists()
    assert not real(complaints)


def test_whoever_leaves_changes_of_an_audience_unsaved_is_asked(page, live_server, room, complaints):
    Audience.objects.update(cases=[])  # one of them is broken, to be looked at elsewhere
    sign_in(page, live_server, room)
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.goto(f"{live_server.url}{BASE}/{room.audience.public_id}/builder")
    page.get_by_role("button", name="Have a custom trait").click()
    trait = page.get_by_label("Trait", exact=True)
    trait.fill("plan")
    page.get_by_role("navigation", name="Audience").get_by_role("link", name="Overview").click(no_wait_after=True)
    expect(trait).to_have_value("plan")
    assert asked == ["beforeunload"]
    page.get_by_role("link", name="Undo all changes").click()
    expect(trait).to_have_count(0)
    page.get_by_role("button", name="Duplicate row 1").click()
    expect(page.get_by_label("Event", exact=True)).to_have_count(2)
    page.get_by_role("button", name="Save audience").click()
    page.get_by_text("is saved. Who is in it stays").wait_for()
    assert asked == ["beforeunload"]
    assert not real(complaints)


def test_what_is_typed_while_an_act_is_on_its_way_stays(page, live_server, room, complaints):
    draft = drafts.begin(room.dev, room.owner)
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{BASE}/drafts/{draft.public_id}")
    page.get_by_text("Event is missing.").wait_for()
    held = []
    page.route("**/drafts/*", lambda route: held.append(route), times=1)
    page.get_by_role("button", name="Performed an event").click()
    page.get_by_label("Event", exact=True).fill("Product Viewed")
    held.pop().continue_()
    expect(page.get_by_label("Event", exact=True)).to_have_count(2)
    assert page.get_by_label("Event", exact=True).first.input_value() == "Product Viewed"
    assert not real(complaints)


def real(complaints):
    """Without those of htmx about a preview that a newer one took the place of: it reports these as errors."""
    return [each for each in complaints if not re.match("htmx:(sendAbort|afterRequest)|failed:.*ERR_ABORTED", each)]


def _half_way(room):
    """A draft with a nested group, and a condition that is not complete."""
    draft = drafts.begin(room.dev, room.owner)
    tree, _ = draft_form.edited(draft_form.of_definition(SKETCHED), [("add", "", "audience")])
    drafts.keep(draft, sketch=tree, name="Looked at boots")
    return draft


WAYS = ["mouse", "keyboard", "without JavaScript"]


@pytest.mark.parametrize("way", WAYS)
def test_every_starting_point_becomes_an_audience(browser, live_server, room, way):
    """Each of them in one of the ways: the steps that follow are the same."""
    context = browser.new_context(java_script_enabled=way != "without JavaScript")
    page = context.new_page()
    sign_in(page, live_server, room)

    def press(name):
        if way == "keyboard":
            _tab_to(page, name)
            page.keyboard.press("Enter")
        else:
            page.get_by_role("button", name=name, exact=True).click()

    for start in STARTING_POINTS[WAYS.index(way) :: len(WAYS)]:
        page.goto(f"{live_server.url}{BASE}/new")
        press(f"{start.name}{start.about}" if way == "keyboard" else f"{start.name} {start.about}")
        page.get_by_role("heading", name="New audience", level=1).wait_for()
        press("Select destinations →")
        page.get_by_role("heading", name="Select destinations", level=1).wait_for()
        press("Review →")
        page.get_by_role("heading", name="Review and create", level=1).wait_for()
        page.get_by_label("Name", exact=True).fill(start.name)
        press("Create audience →")
        page.get_by_text(f"{start.name} is created").wait_for()
        made = Audience.objects.get(name=start.name).versions.get()
        assert grammar.parse(made.definition) == grammar.parse(start.definition), start.key
    context.close()


def _tab_to(page, name):
    """Tab until the control of this name has the focus."""
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        if page.evaluate(NAMED) == name:
            return
    raise AssertionError(f"Tab does not reach {name}")


NAMED = """() => { const at = document.activeElement;
    const name = at.getAttribute("aria-label") ?? at.labels?.[0]?.textContent ?? at.textContent;
    return name.replace(/\\s+/g, " ").trim(); }"""


def test_an_audience_of_accounts_is_described_by_keyboard_in_a_clean_form(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}{BASE}/new")
    _tab_to(page, "Describe an audience of accounts")
    page.keyboard.press("Enter")
    page.get_by_text("Accounts for which").wait_for()
    _tab_to(page, "Its users")
    page.keyboard.press("Enter")
    group = page.get_by_label("Of whom the conditions of group 2 are asked")
    expect(group).to_have_value("any")
    group.select_option("none")
    page.get_by_label("Event", exact=True).first.fill("Order Completed")
    page.get_by_label("Event", exact=True).last.fill("Order Completed")
    page.locator("#preview .said").wait_for()
    expect(page.locator("#preview .said")).to_contain_text("have no users who")
    wrong = look(page, "builder-accounts")
    assert not wrong, "\n".join(wrong)
    assert not real(complaints)
