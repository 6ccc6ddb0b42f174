"""What must hold for any page, in a real browser: the browser tests of every area look with this."""

import os
from itertools import product
from pathlib import Path

from axe_playwright_python.base import AXE_SCRIPT
from django.conf import settings
from django.test import Client
from playwright.sync_api import expect

SIZES = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 360, "height": 740}}
# Colours do not depend on the width, nor boxes on the colour: two looks show what four would.
LOOKS = (("light", "wide"), ("dark", "narrow"))
# What is wider than the box that scrolls it: readable, but only for whoever thinks of scrolling.
CUT = """[...document.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth)
    .map((box) => box.getAttribute("aria-label") ?? box.getAttribute("aria-labelledby"))"""
# Labels of charts that are too small to be read, or stick out of the picture.
UNREADABLE = """[...document.querySelectorAll("svg.chart .tick")].filter((tick) => {
    if (!tick.getClientRects().length) return false;  // not drawn at this width
    const size = parseFloat(getComputedStyle(tick).fontSize) * tick.getScreenCTM().a;
    const box = tick.getBoundingClientRect(), around = tick.ownerSVGElement.getBoundingClientRect();
    return size < 11 || box.left < around.left - 0.5 || box.right > around.right + 0.5;
}).map((tick) => tick.textContent)"""
# What axe finds, with the first three places of each.
VIOLATIONS = """axe.run({ resultTypes: ["violations"] }).then(({ violations }) => violations.map(
    ({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.target.join(" "))}`))"""


def sign_in(page, live_server, room, user=None):
    """The owner of the showroom, or somebody else, is signed in. The form itself is filled in by the journeys."""
    browser = Client()
    browser.force_login(user or room.owner, backend="django.contrib.auth.backends.ModelBackend")
    name = settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": browser.cookies[name].value, "url": live_server.url}])


def look_at(page, address, places, *, also=()):
    """The same for each of these places, by the names of their pictures, below this address."""
    wrong = []
    for name, place in places.items():
        assert page.goto(f"{address}{place}").status == 200, name
        settle(page)
        wrong += look(page, name, also=also)
    return wrong


def settle(page):
    """What a page asks for after it was loaded is there. (To wait for silence of the network costs half a second.)"""
    expect(page.locator(".htmx-request")).to_have_count(0)  # htmx marks so what is on its way


def look(page, name, *, also=()):
    """Everything that must hold for any page, in both colours and both widths. also: what else finds problems."""
    folder, wrong = os.environ.get("PERSONAS_SCREENS"), []
    for theme, size in product(("light", "dark"), SIZES) if folder else LOOKS:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # no colour half-way to the other
        page.set_viewport_size(SIZES[size])
        problems = (problem for find in (_problems, *also) for problem in find(page))
        wrong += [f"{name} {theme} {size}: {problem}" for problem in problems]
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=f"{folder}/{name}-{theme}-{size}.png", full_page=True, caret="initial")
    return wrong


def _problems(page):
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        yield "scrolls sideways"
    for name in page.evaluate(CUT):
        yield f"{name} is cut off"
    for label in page.evaluate(UNREADABLE):
        yield f"the label {label} of a chart cannot be read"
    if page.locator("h1").count() != 1:
        yield f"{page.locator('h1').count()} h1"
    if not page.evaluate("'axe' in window"):  # half a megabyte: once for a document, not for each look at it
        page.evaluate(AXE_SCRIPT)
    yield from page.evaluate(VIOLATIONS)
