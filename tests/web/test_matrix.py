"""Pages × methods × people, read from the URLconf: whom the gate lets through, and that nobody is shown a control
that would be refused."""

import re
from collections.abc import Iterator
from html import unescape

import pytest
from django.db import transaction
from django.urls import Resolver404, resolve

from access import roles
from access.gate import need_of
from spaces.needs import ANYONE, SIGNED_IN
from tests.cast import PEOPLE, Cast
from tests.routes import Route, pages
from tests.sample_rows import belongings
from tests.test_routes import GRANTED, ROLES, expected

pytestmark = pytest.mark.django_db

METHODS = ("GET", "POST")
FORM = re.compile(r"<form\b[^>]*>")
ATTRIBUTE = re.compile(r"""\b(method|action|href|formaction|hx-get|hx-post)="([^"]*)\"""")
LINK = re.compile(r"<(?:a|button|input|div|ul|select)\b[^>]*>")


def below_a_workspace() -> list[Route]:
    return [route for route in pages() if "workspace" in route.kwargs and need_of(route.view, "GET") != ANYONE]


def ask(cast: Cast, who: str, method: str, url: str) -> int:
    """The status; whatever the call changed is taken back."""
    window = cast.window(who)
    with transaction.atomic():
        status = window.generic(method, url).status_code
        transaction.set_rollback(True)
    return status


def test_the_gate_lets_through_whom_it_should_on_every_page_by_every_method(cast, capsys):
    ids = belongings(cast.space) | {"secret": "no-such-secret", "route": "batch"}
    wrong, tried = [], 0
    for route in below_a_workspace():
        for method in METHODS:
            need = need_of(route.view, method)
            for who in PEOPLE:
                status, wanted = ask(cast, who, method, route.url(ids)), expected(need, who, "space" in route.kwargs)
                tried += 1
                if (wanted is None and status in (403, 404, 500)) or (wanted is not None and status != wanted):
                    wrong.append((method, str(route), who, status, wanted or "let through"))
    with capsys.disabled():
        print(f"\n{tried:,} of pages × methods × people tried")
    assert not wrong, "\n".join(map(str, wrong))


def offered(body: str, here: str) -> Iterator[tuple[str, str]]:
    """(method, address) of every control of the page at `here`."""
    for tag in FORM.findall(body):
        found = dict(ATTRIBUTE.findall(tag))
        yield found.get("method", "get").upper(), found.get("action") or here
    for tag in LINK.findall(body):
        for name, address in ATTRIBUTE.findall(tag):
            if name in ("href", "formaction", "hx-get", "hx-post"):
                yield "POST" if name in ("formaction", "hx-post") else "GET", address


def allowed(method: str, address: str, who: str) -> bool | None:
    """Whether this person would be let through; None: not a page of a workspace."""
    path = unescape(address).partition("?")[0].partition("#")[0]
    try:
        match = resolve(path)
    except Resolver404:
        return None
    if "workspace" not in match.kwargs:
        return None
    need = need_of(match.func, method)
    if need in (ANYONE, SIGNED_IN):
        return True
    space = 1 if "space" in match.kwargs else None
    return roles.allows(need, workspace_role=ROLES[who], granted={1: GRANTED.get(who, frozenset())}, space=space)


def test_no_page_offers_a_control_that_would_be_refused(cast):
    ids = belongings(cast.space) | {"secret": "no-such-secret", "route": "batch"}
    wrong, controls = set(), 0
    for route in below_a_workspace():
        for who in ("owner", "admin", "user", "read_only", "member"):
            answer = cast.window(who).get(route.url(ids))
            if answer.status_code != 200 or "html" not in answer["Content-Type"] or answer.streaming:
                continue
            for method, address in offered(answer.content.decode(), route.url(ids)):
                controls += 1
                if allowed(method, address, who) is False:
                    wrong.add((str(route), who, method, address))
    assert controls > 100
    assert not wrong, "\n".join(map(str, sorted(wrong)))
