"""Every page in a real browser: no console error, nothing from another host, axe without violations, and no
sideways scroll at 360 px; in light and in dark. PERSONAS_SCREENS=folder keeps a picture of each."""

import re

import pytest

from access.gate import need_of
from access.models import Invitation
from access.services import COMMAND, Invited, invite
from spaces.needs import ANYONE
from tests.cast import PASSWORD
from tests.page_checks import SIZES, look, look_at, sign_in
from tests.routes import pages

pytestmark = pytest.mark.django_db(transaction=True)

SKIP = {
    "theme",
    "goto-access",
    "sign-out",
    "livez",
    "readyz",
    "metrics",
    "collect",
    "accept-invitation",
    "welcome",
    "new-password",
    "audience-members",
    "audience-history-people",
    "computed-trait-values",
    "profile-export",
    "",
}  # no page of their own
FRAGMENTS = {
    "space-replays",
    "profile-audiences",
    "profile-computed-traits",
    "profile-sheet",
    "audience-suggest",
    "source-messages",
    "source-rejects",
}
PAGES = [route for route in pages() if route.name not in SKIP | FRAGMENTS]


# Notes whatever gets the focus: which element, whether it can be seen to have it, and whether it is in view. And what
# has it when a key goes down: the same element twice in a row is a trap.
NOTE_FOCUS = """() => {
    window.stops = [], window.traps = [];
    let last = document.body;
    addEventListener("keydown", () => {
        const at = document.activeElement;
        // Year, month and day are stops of their own.
        const parted = at.matches("[type^=date], [type=time], [type=month]");
        if (at === last && at !== document.body && !parted) traps.push(at.outerHTML.slice(0, 80));
        last = at;
    });
    addEventListener("focusin", ({ target: at }) => {
        const look = getComputedStyle(at), box = at.getBoundingClientRect();
        const outlined = look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2;
        const ringed = outlined || (at.matches("input, textarea, select") && look.boxShadow !== "none");
        const across = box.width > 0 && box.right > 0 && box.left < innerWidth;
        const shown = across && box.bottom > 0 && box.top < innerHeight;
        const name = `${at.tagName} ${at.getAttribute("aria-label") ?? at.textContent.trim().slice(0, 30)}`;
        stops.push({ name, seen: ringed && shown });
    });
}"""
MOST_STOPS = 20
# Where one is after "Skip to the content": what is before it is the same on all pages.
BEGIN_AT_THE_CONTENT = "document.querySelector('main').focus()"


def test_every_page_is_clean_in_every_colour_and_width(page, live_server, room, complaints):
    """As the owner sees it on a workspace that has everything. The other clean tests look at other states.

    On the same visit, whatever the keyboard reaches can be seen to have the focus, and is left again.
    """
    sign_in(page, live_server, room)
    signed_in = [route for route in PAGES if need_of(route.view, "GET") != ANYONE]
    wrong = look_at(
        page, live_server.url, {route.name: route.url(room.ids) for route in signed_in}, also=[unfocused_below_main]
    )
    assert not wrong, "\n".join(wrong)
    assert not complaints, complaints


def unfocused_below_main(page):
    page.evaluate(BEGIN_AT_THE_CONTENT)
    return unfocused(page)


def unfocused(page):
    """What Tab reaches and cannot be seen to have the focus, or keeps it."""
    page.evaluate(NOTE_FOCUS)
    for pressed in range(1, MOST_STOPS + 1):
        page.keyboard.down("Tab")  # held down, which costs a third of pressing it anew
        if pressed % 10 == 0 and page.evaluate("document.activeElement === document.body"):
            break
    page.keyboard.up("Tab")
    stops, traps = page.evaluate("stops"), page.evaluate("traps")
    page.evaluate("document.activeElement.blur()")  # the next look sees the page as it was
    yield from (f"{stop['name']} has the focus, and it cannot be seen" for stop in stops if not stop["seen"])
    yield from (f"{place} is a trap" for place in traps)
    if not stops:
        yield "the keyboard reaches nothing"


@pytest.mark.parametrize("place", ["/w/northwind/", "/w/northwind/s/shop-dev/", "/account"])
def test_the_keyboard_can_be_followed_from_the_top_of_a_page_on(page, live_server, room, place):
    sign_in(page, live_server, room)
    assert look_at(page, live_server.url, {"top": place}, also=[unfocused]) == []


def test_empty_pages_and_error_pages_are_clean_too(page, live_server, room):
    open_to_all = {"sign-in": "/sign-in", "reset": "/password", "reset-sent": "/password/sent"}
    wrong = look_at(page, live_server.url, open_to_all, also=[unfocused])
    for spent in ("/welcome/spent", "/password/MQ/spent"):
        assert page.goto(live_server.url + spent).status == 410
        wrong += look(page, spent.split("/")[1])
    sign_in(page, live_server, room)
    empty = "/w/northwind/s/an-empty-one"
    lists = ("sources", "profiles", "audiences", "destinations", "deliveries", "guide", "profiles-syncs")
    places = {f"empty-{name}": f"{empty}/{name}" for name in lists} | {"empty-space": f"{empty}/"}
    wrong += look_at(page, live_server.url, places)
    assert page.goto(live_server.url + "/w/nowhere/").status == 404
    wrong += look(page, "404")
    assert not wrong, "\n".join(wrong)


def test_an_invitation_is_accepted_in_the_browser(page, live_server, room, complaints, mailoutbox):
    grants = [(room.dev, "user")]
    invite(room.workspace, [Invited("new@example.com", grants=grants)], by=COMMAND, origin=live_server.url)
    page.goto(re.search(r"http\S+", mailoutbox[-1].body).group())
    assert look(page, "accept-invitation") == []
    page.get_by_label("Your name").fill("New Person")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Join the workspace").click()
    assert "too short" in page.locator("main").inner_text()
    complaints.clear()  # the browser reports the 422
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Join the workspace").click()
    page.wait_for_url(re.compile("/w/northwind/"))
    page.get_by_role("link", name="Shop (Dev)").wait_for()
    assert Invitation.objects.get(email="new@example.com").accepted_at
    assert not complaints, complaints


def test_a_replay_is_followed_until_it_ends_and_then_no_more(page, live_server, room, complaints):
    from sources.models import Replay

    sign_in(page, live_server, room)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/replays" in request.url else None)
    page.goto(f"{live_server.url}/w/northwind/s/shop-dev/sources")
    running = page.locator("section", has_text="Replaying").first
    assert running.locator("progress").get_attribute("value") == "63.8"
    Replay.objects.filter(state=Replay.State.RUNNING).update(done=150_000)
    page.wait_for_selector("progress[value='81.4']", timeout=10_000)
    Replay.objects.filter(state=Replay.State.RUNNING).update(state=Replay.State.COMPLETE)
    page.wait_for_selector("section:has-text('Replaying')", state="detached", timeout=10_000)
    seen = len(asked)
    page.wait_for_timeout(2500)
    assert len(asked) == seen
    assert not complaints, complaints


def test_a_page_says_when_the_console_does_not_answer_and_when_it_does_again(page, live_server, room):
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/s/shop-dev/sources")
    page.route("**/replays", lambda route: route.abort())
    note = page.locator("#toasts").get_by_text("The console did not answer.")
    note.wait_for(timeout=10_000)
    assert look(page, "unanswered") == []
    page.unroute("**/replays")
    note.wait_for(state="detached", timeout=10_000)


def test_times_are_those_of_the_reader_with_the_zone_named(browser, live_server, room):
    context = browser.new_context(timezone_id="Asia/Tokyo", locale="en-GB")
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/s/shop-dev/profiles/{room.person.public_id}")
    seen = page.locator(".lead time")
    assert seen.inner_text() == "13 Jun 2026, 21:00"
    assert "at 21:00:00 GMT+9" in seen.get_attribute("title")
    assert page.locator("[data-zone]").text_content() == "Times in Asia/Tokyo"
    context.close()


def test_the_colours_are_chosen_on_the_server_and_stay(page, live_server, room):
    sign_in(page, live_server, room)
    page.goto(live_server.url + "/")
    page.get_by_role("button", name="Dark").click()
    page.wait_for_load_state()
    assert page.locator("html").get_attribute("data-bs-theme") == "dark"
    answer = page.goto(live_server.url + "/")
    assert 'data-bs-theme="dark"' in answer.text()
    page.get_by_role("button", name="System").click()
    page.wait_for_load_state()
    assert 'data-bs-theme="' not in page.goto(live_server.url + "/").text()


def test_the_console_works_by_keyboard_alone(page, live_server, room):
    page.goto(live_server.url + "/sign-in")
    page.get_by_label("E-mail address").focus()
    page.keyboard.type(room.owner.email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/$"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent.trim()") == "Northwind Outfitters"


def test_pages_work_without_javascript(browser, live_server, room):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, live_server, room)
    page.goto(f"{live_server.url}/w/northwind/s/shop-dev/profiles")
    page.get_by_label("Find by a name or an identifier").fill("email:ada@example.com")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Ada Obi").click()
    assert page.get_by_role("heading", level=1).inner_text() == "A\nAda Obi"
    context.close()


def test_the_api_docs_work_under_the_content_policy(page, live_server, complaints):
    answer = page.goto(live_server.url + "/api/docs")
    assert "script-src" not in answer.headers["content-security-policy"]
    page.get_by_text("/api/workspace", exact=True).wait_for()
    assert not complaints, complaints


# What scrolls though nothing is hidden, and what is wider than the page.
STRAYS = """() => [...document.querySelectorAll("body *")].flatMap((it) => {
    const look = getComputedStyle(it), name = `${it.tagName}.${it.className}`.slice(0, 80);
    const bars = [["Y", it.scrollHeight - it.clientHeight], ["X", it.scrollWidth - it.clientWidth]]
        .filter(([way, over]) => ["auto", "scroll"].includes(look["overflow" + way]) && over > 0 && over < 4);
    return bars.map(([way, over]) => `${name} scrolls by ${over} px (${way})`);
}).concat(document.documentElement.scrollWidth > innerWidth ? ["the page scrolls sideways"] : [])"""
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"  # 80 letters, no blank


def test_long_names_break_no_page_and_nothing_scrolls_that_need_not(page, live_server, room):
    for row, name in (
        (room.workspace, LONG),
        (room.dev, LONG),
        (room.audience, LONG * 3),
        (room.catcher, LONG),
        (room.website, LONG),
        (room.colleague, LONG),
        (room.owner, LONG),
    ):
        row.name = name
        row.save()
    room.person.traits |= {"name": LONG * 2, "a-trait-with-a-long-name-" * 3: LONG * 5, "short": "x"}
    room.person.save()
    sign_in(page, live_server, room)
    wrong = []
    for route in PAGES:
        page.goto(live_server.url + route.url(room.ids))
        for size in SIZES:
            page.set_viewport_size(SIZES[size])
            wrong += [f"{route.name} ({size}): {stray}" for stray in page.evaluate(STRAYS)]
    assert not wrong, "\n".join(wrong)
