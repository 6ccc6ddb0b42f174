"""The pages about audiences say what the stage found out."""

import csv
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pyroaring import BitMap

from audiences.models import Audience, Change, Version
from audiences.overview import MOST_SIZES, sizes_of
from tests.factories_audiences import World
from tests.factories_identity import NOON

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


@pytest.fixture
def names(cast):
    """The names of the audiences on the page, in its order."""

    def read(**query):
        page = cast.browser("read_only").get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences", query)
        return [row["audience"].name for row in page.context["rows"]]

    return read


@pytest.fixture
def every_status(world):
    """An audience of each status; they are named after it."""
    for name in ("Live", "Updating", "Behind", "Disabled", "Failed", "Live, though the newest definition failed"):
        world.audience(name, ORDERED)
    world.computed()
    world.audience("Computing", ORDERED)
    for audience in Audience.objects.filter(name__startswith="Updating"):
        world.version(audience, SIGNED_UP)
    failed = Audience.objects.filter(name__startswith="Live,").get()
    newer = world.version(failed, SIGNED_UP)
    Version.objects.filter(pk=newer.pk).update(state="failed", error="Too heavy")
    Version.objects.filter(audience__name="Failed").update(state="failed", error="Too heavy")
    Version.objects.filter(audience__name="Behind").update(state="catching_up", error="Memory limit exceeded")
    Audience.objects.filter(name="Disabled").update(enabled=False)


def test_the_list_is_sorted_by_the_status_that_it_shows(cast, every_status, names):
    page = cast.browser("read_only").get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences")
    for row in page.context["rows"]:
        assert row["audience"].name.startswith(row["state"].label)
    rising = [name.split(",")[0] for name in names(sort="status")]
    assert rising == ["Failed", "Behind", "Computing", "Updating", "Live", "Live", "Disabled"]
    assert [name.split(",")[0] for name in names(sort="-status")] == rising[::-1]


def test_every_column_of_the_list_is_sorted_by_both_ways(cast, world, names):
    for name, users in (("b", ["u1"]), ("a", ["u1", "u2"]), ("c", [])):
        for user in users:
            world.did(user, f"Did {name}")
        world.audience(name, {"kind": "event", "name": f"Did {name}"})
        world.computed()
        world.later(timedelta(hours=1))
    page = cast.browser("read_only").get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences")
    assert all(heading.url for heading in page.context["table"].headings)
    assert (names(sort="name"), names(sort="-name")) == (["a", "b", "c"], ["c", "b", "a"])
    assert (names(sort="size"), names(sort="-size")) == (["c", "b", "a"], ["a", "b", "c"])
    assert names(sort="changed") == names(sort="created") == ["b", "a", "c"]
    assert names() == names(sort="-changed") == ["c", "a", "b"]


def test_the_list_is_filtered_by_name_key_and_description_and_says_when_nothing_is_left(cast, world, names, text):
    world.audience("boots", ORDERED, description="Who bought boots")
    world.audience("hats", ORDERED)
    assert names(q="BOUGHT") == names(q="boot") == ["boots"]
    assert names(q="nothing like it") == []
    assert "No audience like that" in text("audiences?q=nothing+like+it")


def test_the_csv_holds_what_the_filter_leaves_with_sentence_and_status(cast, world):
    world.did("u1", "Ordered")
    world.audience("=boots", ORDERED)
    world.audience("hats", ORDERED)
    world.computed()
    answer = cast.browser("read_only").get(
        f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences", {"format": "csv", "q": "boots"}
    )
    lines = list(csv.reader(b"".join(answer.streaming_content).decode().splitlines()))
    assert lines[0] == [
        "name",
        "key",
        "description",
        "sentence",
        "status",
        "people",
        "last_change",
        "created",
        "labels",
        "folder",
    ]
    said = 'People who performed "Ordered" at least once.'
    assert [line[:6] for line in lines[1:]] == [["'=boots", "'=boots", "", said, "Live", "1"]]


def test_a_list_of_two_hundred_costs_as_few_queries_as_a_list_of_ten(cast):
    def many(first, last):
        shared = {"workspace": cast.workspace, "space": cast.space}
        names = [f"a{n}" for n in range(first, last)]
        made = Audience.objects.bulk_create(Audience(**shared, name=name, key=name, size=3) for name in names)
        shown = {"workspace": cast.workspace, "definition": ORDERED, "state": "live"}
        Version.objects.bulk_create(Version(**shown, audience=each, number=n) for each in made for n in (1, 2))
        nobody = dict.fromkeys(("entered", "left", "refreshed"), BitMap().serialize())
        Change.objects.bulk_create(
            Change(**shared, **nobody, audience=each, tick=tick, at=NOON, cause="events", size=tick % 5)
            for each in made
            for tick in range(40)
        )

    def cost(**query):
        with CaptureQueriesContext(connection) as asked:
            answer = cast.browser("owner").get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences", query)
            rows = len(list(answer.streaming_content)) - 1 if answer.streaming else len(answer.context["rows"])
        return len(asked), rows

    pages = ({}, {"sort": "status"}, {"sort": "-changed"}, {"q": "a"}, {"page": "1"}, {"format": "csv"})
    many(0, 10)
    few = [cost(**page) for page in pages]
    assert {rows for _, rows in few} == {10}
    many(10, 200)
    lots = [cost(**page) for page in pages]
    assert [queries for queries, _ in lots] == [queries for queries, _ in few]
    assert [rows for _, rows in lots] == [50, 50, 50, 50, 50, 200]


def test_the_line_of_an_audience_shows_its_newest_changes_and_no_others(cast, world):
    audience = world.audience("new", ORDERED)
    kept = dict.fromkeys(("entered", "left", "refreshed"), BitMap().serialize())
    shared = {"workspace": cast.workspace, "space": cast.space, "audience": audience, "cause": "events", **kept}
    for tick in range(MOST_SIZES + 10):
        Change.objects.create(**shared, tick=tick, at=NOON + timedelta(minutes=tick), size=tick)
    other = world.audience("other", ORDERED)
    found = sizes_of([other, audience])
    assert [size for _, size in found[audience.pk]] == list(range(10, MOST_SIZES + 10))
    assert found[audience.pk][-1][0] == NOON + timedelta(minutes=MOST_SIZES + 9)
    assert other.pk not in found
    assert sizes_of([]) == {}


def test_a_size_that_changed_once_is_drawn_up_to_now(room):
    browser = Client()
    browser.force_login(room.owner)
    once = Audience.objects.get(space=room.dev, name__startswith="Browsed")
    chart = browser.get(f"/w/northwind/s/shop-dev/audiences/{once.public_id}").context["chart"]
    assert float(re.search(r"H([\d.]+)", chart.line)[1]) == chart.right


def test_the_pages_say_what_is_wrong_since_when_and_when_it_is_tried_again(cast, world, text):
    world.did("u1", "Ordered")
    behind = world.audience("buyers", ORDERED)
    world.computed()
    world.audience("asks", {"kind": "audience", "key": "lost"})
    lost = world.audience("lost", ORDERED)
    at = world.clock.now()
    Version.objects.filter(audience=behind).update(
        state="catching_up", error="Memory limit exceeded", failing_since=at, retry_at=at + timedelta(minutes=5)
    )
    Version.objects.filter(audience=lost).update(state="failed", error="Types do not fit")
    said = ("Behind", "This audience is not up to date: Memory limit exceeded", "15 Jun 2026, 12:00", "12:05 UTC")
    for page in (text("audiences"), text(f"audiences/{behind.public_id}")):
        assert all(each in page for each in said)
    waits = "It waits for lost, which failed: Types do not fit."
    asks = Audience.objects.get(key="asks")
    for page in (text("audiences"), text(f"audiences/{asks.public_id}")):
        assert waits in page
        assert "Waiting" in page
    assert "This audience could not be computed: Types do not fit" in text(f"audiences/{lost.public_id}")
    assert "Behind" in text("") or "Failed" in text("")


def test_the_pages_say_that_the_clock_ran_ahead(world, text, monkeypatch):
    for module in ("console.pages.views.audience", "console.pages.views.spaces"):
        monkeypatch.setattr(f"{module}.clock", world.clock)
    world.did("u1", "Signed Up")
    audience = world.audience("new", SIGNED_UP)
    world.computed()
    pages = ("", f"audiences/{audience.public_id}")
    assert not any("was put back" in text(page) for page in pages)
    world.later(timedelta(hours=3))
    world.later(timedelta(hours=-3))
    for page in pages:
        said = "The clock of the database ran 3 hours ahead. When it was put back, on 15 Jun 2026, 12:00 UTC"
        assert said in text(page)
    world.clock.advance(timedelta(days=8))
    assert not any("was put back" in text(page) for page in pages)
