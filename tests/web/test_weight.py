"""What a first visit loads, compressed: the page and everything that it names."""

import gzip
import re
from functools import cache
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from access.gate import need_of
from spaces.needs import ANYONE
from tests.routes import pages

pytestmark = pytest.mark.django_db

MOST = 120 * 1024
NAMED = re.compile(r"""(?:href|src)="/static/([^"#?]+)""")


def weight(body: bytes) -> dict[str, int]:
    """Bytes after gzip, by file; "" is the page itself."""
    return {"": len(gzip.compress(body)), **{name: weight_of_file(name) for name in NAMED.findall(body.decode())}}


@cache  # most pages name the same ones
def weight_of_file(name: str) -> int:
    return len(gzip.compress(Path(str(finders.find(name))).read_bytes()))


def test_no_page_loads_more_than_it_may(room, capsys):
    browser = Client()
    browser.force_login(room.owner, backend="django.contrib.auth.backends.ModelBackend")
    weights = {}
    for route in pages():
        if set(route.kwargs) <= room.ids.keys() and need_of(route.view, "GET") != ANYONE:
            answer = browser.get(route.url(room.ids))
            # What is streamed is a download, not a page.
            if answer.status_code == 200 and not answer.streaming and answer["Content-Type"].startswith("text/html"):
                weights[route.name] = weight(answer.content)
    assert len(weights) > 8
    assert any(len(parts) > 4 for parts in weights.values()), "no page names a file: the pattern is wrong"
    heaviest = max(weights, key=lambda name: sum(weights[name].values()))
    with capsys.disabled():
        print(f"\nheaviest page: {heaviest}, {sum(weights[heaviest].values()) / 1024:.1f} KB compressed")
    assert {name: parts for name, parts in weights.items() if sum(parts.values()) > MOST} == {}
