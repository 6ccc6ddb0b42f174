"""What a page asks of the stores does not grow with the rows that it shows."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from access.gate import need_of
from sources.events import client as clickhouse
from spaces.needs import ANYONE
from tests.bulk_rows import multiply
from tests.routes import pages

pytestmark = pytest.mark.django_db

FEW, MANY = 10, 60


@pytest.fixture
def asked(monkeypatch):
    """Counts the questions to ClickHouse."""
    questions = []
    for name in ("rows", "arrow", "bitmaps"):
        ask = getattr(clickhouse, name)
        monkeypatch.setattr(clickhouse, name, lambda *args, ask=ask, **kw: questions.append(args) or ask(*args, **kw))
    return questions


def test_no_page_asks_more_for_many_rows_than_for_ten(room, asked):
    browser = Client()
    browser.force_login(room.owner)
    signed_in = [route for route in pages() if need_of(route.view, "GET") != ANYONE]

    def cost(route):
        before = len(asked)
        with CaptureQueriesContext(connection) as queries:
            answer = browser.get(route.url(room.ids))
            if answer.streaming:
                list(answer.streaming_content)
        assert answer.status_code < 500, route.name
        return len(queries), len(asked) - before

    multiply(FEW)
    for route in signed_in:
        cost(route)  # what is asked once and remembered
    few = {route.name: cost(route) for route in signed_in}
    multiply(MANY - FEW)
    many = {route.name: cost(route) for route in signed_in}
    assert {name: (few[name], many[name]) for name in many if many[name] > few[name]} == {}
