"""What the tests of pages and routes share."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection

from benchmarks.stack import until
from spaces import pulse
from tests import demo_data
from tests.browser import ARGS, chromium
from tests.cast import Cast, make_cast


@pytest.fixture(autouse=True)
def unmarked_views_raise(settings: Any) -> None:
    """A view that states no permission breaks the test instead of being refused quietly."""
    settings.GATE_RAISES = True


@pytest.fixture(autouse=True)
def workers_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a console that runs; test_health.py has others."""
    monkeypatch.setattr(pulse, "silent", list)


@pytest.fixture(autouse=True)
def nobody_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name but those of this machine leads anywhere: what a test makes is called, too."""
    found = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(host, str) and host.rpartition(".")[2].isalpha() and host != "localhost":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


BUSY = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s AND state <> 'idle'"


@pytest.fixture(autouse=True)
def answered(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a page asked for when its test ended is answered before the tables are emptied: else both may wait."""
    yield
    if "live_server" in request.fixturenames:
        with suppress(TimeoutError):
            until(nobody_is_served, within_s=5.0)


def nobody_is_served() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        cursor.execute(BUSY, cursor.fetchone())
        return bool(cursor.fetchone()[0] == 0)


@pytest.fixture
def cast(db: Any) -> Cast:
    return make_cast()


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright keeps an event loop in this thread
    return {**browser_type_launch_args, "executable_path": chromium(), "args": ARGS}


@pytest.fixture(scope="session")
def tab(browser):
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab, monkeypatch):
    """As new, in a process that has the scripts and styles of the console: a new one costs what most tests do."""
    listeners, listen = [], tab.on
    monkeypatch.setattr(tab, "on", lambda event, hear: (listeners.append((event, hear)), listen(event, hear)))
    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.emulate_media(color_scheme="light", reduced_motion="no-preference")
    yield tab
    for event, hear in listeners:
        tab.remove_listener(event, hear)
    tab.unroute_all()
    tab.context.clear_permissions()
    tab.context.clear_cookies()
    tab.goto("about:blank")


@pytest.fixture
def room():
    return demo_data.furnish()


@pytest.fixture
def complaints(page):
    """What the browser complains about on any page of the test."""
    found = []
    page.on("console", lambda said: found.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on(
        "requestfailed",  # what a page still asked for when it was left is nobody's fault
        lambda request: None if "ERR_ABORTED" in request.failure else found.append(f"{request.url} {request.failure}"),
    )
    page.on(
        "request",
        lambda asked: None if "127.0.0.1" in asked.url or "localhost" in asked.url else found.append(asked.url),
    )
    return found


@pytest.fixture
def api(cast: Cast) -> Callable[..., Any]:
    """Calls of the space's API by someone who may use it: the answer's data, or its first error."""

    def call(method: str, path: str, body: Any = None, *, status: int = 200, who: str = "user") -> Any:
        answer = cast.call(who, method, f"/api/spaces/{cast.space.public_id}/{path}", body)
        assert answer.status_code == status, answer.content
        return answer.json()["data"] if status < 300 else answer.json()["errors"][0]

    return call


@pytest.fixture
def base(cast: Cast) -> str:
    """Where the pages of the space begin. A file about one page has a `base` of its own."""
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}"
