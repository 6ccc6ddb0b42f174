"""Pages × methods × people, read from the URLconf: whom the gate lets through, and that nobody is shown a control
that would be refused."""

import re
from collections.abc import Iterator
from functools import cache
from html import unescape

import pytest
from django.db import transaction
from django.http import HttpResponse
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
SHOWN = {200, 286}  # the second to htmx: nothing more will come
FORM = re.compile(r"<form\b[^>]*>")
ATTRIBUTE = re.compile(r"""\b(method|action|href|formaction|hx-get|hx-post)="([^"]*)\"""")
LINK = re.compile(r"<(?:a|button|input|div|ul|select)\b[^>]*>")


def below_a_workspace() -> list[Route]:
    return [route for route in pages() if "workspace" in route.kwargs and need_of(route.view, "GET") != ANYONE]


def ask(cast: Cast, who: str, method: str, url: str) -> HttpResponse:
    """The answer; whatever the call changed is taken back."""
    window = cast.window(who)
    with transaction.atomic():
        answer = window.generic(method, url)
        transaction.set_rollback(True)
    return answer


def test_pages_let_through_whom_they_should_by_every_method_and_offer_nobody_what_would_be_refused(cast, capsys):
    ids = belongings(cast.space) | {"secret": "no-such-secret", "route": "batch"}
    wrong, tried, refused, controls = [], 0, set(), 0
    for route in below_a_workspace():
        for method in METHODS:
            need, url = need_of(route.view, method), route.url(ids)
            for who in PEOPLE:
                answer, wanted = ask(cast, who, method, url), expected(need, who, "space" in route.kwargs)
                status = answer.status_code
                tried += 1
                let_through = status in SHOWN if method == "GET" else status not in (403, 404, 500)
                if not (let_through if wanted is None else status == wanted):
                    wrong.append((method, str(route), who, status, wanted or "let through"))
                if method == "GET" and status == 200 and "html" in answer["Content-Type"] and not answer.streaming:
                    for control in offered(answer.content.decode(), url):
                        controls += 1
                        if allowed(*control, who) is False:
                            refused.add((str(route), who, *control))
    with capsys.disabled():
        print(f"\n{tried:,} of pages × methods × people tried, {controls:,} controls looked at")
    assert not wrong, "\n".join(map(str, wrong))
    assert controls > 100
    assert not refused, "\n".join(map(str, sorted(refused)))


def offered(body: str, here: str) -> Iterator[tuple[str, str]]:
    """(method, address) of every control of the page at `here`."""
    for tag in FORM.findall(body):
        found = dict(ATTRIBUTE.findall(tag))
        yield found.get("method", "get").upper(), found.get("action") or here
    for tag in LINK.findall(body):
        for name, address in ATTRIBUTE.findall(tag):
            if name in ("href", "formaction", "hx-get", "hx-post"):
                yield "POST" if name in ("formaction", "hx-post") else "GET", address


@cache  # the same links are on every page
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
