"""The pages about audiences say what the stage found out."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audiences.models import Version
from tests.factories_audiences import World

pytestmark = pytest.mark.django_db

SIGNED_UP = {"kind": "event", "name": "Signed Up", "within": {"days": 7}}
ORDERED = {"kind": "event", "name": "Ordered"}


@pytest.fixture
def world(cast):
    return World(cast.space)


@pytest.fixture
def text(cast):
    """What somebody who may only look reads on a page of the space."""

    def read(rest):
        answer = cast.browser("read_only").get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{rest}")
        assert answer.status_code == 200
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))

    return read


def test_the_list_says_who_is_meant_how_many_they_are_and_since_when(world, text):
    world.did("u1", "Signed Up")
    world.audience("new", SIGNED_UP)
    assert "Computing" in text("audiences")
    assert "not yet known" in text("audiences")
    world.computed()
    page = text("audiences")
    assert "People who performed &quot;Signed Up&quot; at least once in the last 7 days." in page
    assert re.search(r"Live\W+1\W", page)
    world.later(timedelta(days=7))
    assert re.search(r"Live\W+0\W", text("audiences"))
    assert "As of" in text("audiences")


def test_the_list_says_what_is_wrong_and_what_is_under_way(world, text):
    audience = world.audience("new", SIGNED_UP)
    Version.objects.update(state="failed", error="Memory limit <exceeded>")
    page = text("audiences")
    assert "Failed" in page
    assert "Memory limit &lt;exceeded&gt;" in page
    world.version(audience, ORDERED)
    world.computed()
    world.version(audience, SIGNED_UP)
    assert "Updating" in text("audiences")


def test_deleted_ones_and_those_of_other_spaces_are_not_there(cast, world, text):
    World(cast.other_space).audience("theirs", ORDERED)
    mine = world.audience("mine", ORDERED)
    mine.deleted_at = world.clock.now()
    mine.save()
    assert "No audiences yet" in text("audiences")


def test_a_list_of_many_costs_as_few_queries_as_a_list_of_few(cast, world):
    def cost():
        place = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences"
        with CaptureQueriesContext(connection) as asked:
            assert cast.browser("owner").get(place).status_code == 200
        return len(asked)

    world.audience("a0", ORDERED)
    few = cost()
    for n in range(1, 20):
        world.version(world.audience(f"a{n}", ORDERED), SIGNED_UP)
    assert cost() == few
