"""Every client library against the whole stack, with only its host changed: what arrived, once and with its types.

`make test-clients` installs the libraries and prints the table. The Python ones run in `make test` as well.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route, sync_playwright

from benchmarks.stack import Stack, stack
from sources.pages.snippets import snippets
from tests.browser import ARGS, chromium
from tests.clients.arrival import GOOD, a_source, run_on_a_server, what_arrived
from tests.clients.libraries import BROWSERS, CALLS, NODE, PAGE, PYTHON, Library, Page, Run
from tests.clients.proxy import Proxy, proxy

CALLED_WITHIN_MS = 15_000
# The pages come from no address, and Chromium asks its user before such a page may ask this machine.
LOOPBACK = "--disable-features=LocalNetworkAccessChecks"
LEGEND = """once: with the right types, though the first request was told to come back (retry).
–: the library has no such call. Jitsu, Hightouch in the browser, analytics-next 1.70 and beacons never try again."""
table: dict[str, dict[str, str]] = {}


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    with stack() as started:
        yield started


@pytest.fixture(scope="module", autouse=True)
def printed(pytestconfig: pytest.Config) -> Iterator[None]:
    yield
    widest = max(map(len, table), default=0)
    lines = [" ".join([" " * widest, *(f"{call:>9}" for call in CALLS)])]
    lines += [" ".join([f"{name:{widest}}", *(f"{row[call]:>9}" for call in CALLS)]) for name, row in table.items()]
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\n" + "\n".join([*lines, LEGEND]))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=[*ARGS, LOOPBACK])
        yield started
        started.close()


@pytest.mark.parametrize(
    ("library", "run"), [*PYTHON.items(), *NODE.items()], ids=lambda each: getattr(each, "name", "")
)
def test_on_a_server(running: Stack, library: Library, run: Run) -> None:
    table[library.name] = run_on_a_server(running, library, run)
    assert set(table[library.name].values()) <= GOOD, table[library.name]


@pytest.mark.parametrize(("library", "page"), BROWSERS.items(), ids=lambda each: getattr(each, "name", ""))
def test_in_a_browser(running: Stack, browser: Browser, library: Library, page: Page) -> None:
    source, key = a_source(running, library.name, "website")
    with proxy(running.address, refuses=int(library.retries)) as between:
        visit(browser, page, between, key, unload="unload" in library.calls)
        table[library.name] = what_arrived(running, library, source, between)
    assert set(table[library.name].values()) <= GOOD, table[library.name]


def visit(browser: Browser, page: Page, between: Proxy, key: str, *, unload: bool) -> None:
    """A page of somebody else's site is opened, does its calls, and is left in the moment in which one more is made."""
    head, address = "", between.address
    if page.head:
        (head,) = [
            each.whole for each in snippets("website", key=key, url=address, reveal=True) if each.name == page.head
        ]
    script = page.script(address, key)
    html = f"<!doctype html><html><head><title>Shop</title>{head}</head><body><script type=module src=app.js></script>"
    context = browser.new_context()
    asked: list[str] = []

    def answer(route: Route) -> None:
        if route.request.url.endswith("app.js"):
            route.fulfill(body=script, content_type="text/javascript")
        elif route.request.url.endswith("elsewhere"):
            route.fulfill(body="<!doctype html><title>Elsewhere</title>", content_type="text/html")
        else:
            route.fulfill(body=html, content_type="text/html; charset=utf-8")

    context.route(f"{PAGE}**", answer)
    context.on("request", lambda request: asked.append(request.url))
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(PAGE)
    try:
        opened.wait_for_function("window.called", timeout=CALLED_WITHIN_MS)
    except Exception as error:
        raise AssertionError(f"{error}\n{said}\n{asked}") from error
    while not between.is_quiet():  # what was refused is tried again meanwhile
        opened.wait_for_timeout(100)
    if unload:
        opened.evaluate("void window.analytics.track('Unloaded')")
        opened.wait_for_timeout(50)  # it is in the library's queue
        opened.goto(f"{PAGE}elsewhere")
        opened.wait_for_timeout(3_000)
    context.close()
    strangers = {url for url in asked if not url.startswith((PAGE, address, "data:", "blob:"))}
    assert not strangers, f"it also asked {strangers}"
