"""The newest rows of a source, as the debugger looks at them: bounded, and of the log as it stands."""

import pytest

from sources.events import archive_table
from sources.queries import arrived_messages, newest_messages
from tests.factories import SourceFactory
from tests.factories_identity import archived, message

pytestmark = pytest.mark.django_db


def events(source, **asked):
    rows = arrived_messages(source, **asked) if "after" in asked else newest_messages(source, **asked).rows
    return [row["event"] for row in rows]


def leafed(source, **asked):
    """All pages, from the newest to the oldest."""
    pages, before = [], None
    while True:
        found = newest_messages(source, before=before, **asked)
        pages.append([row["event"] for row in found.rows])
        if found.older is None:
            return pages
        before = found.older


def test_the_newest_come_first_whatever_their_event_time_says():
    source = SourceFactory()
    archived(source, message(event="a", at=9_000), message(event="b", at=0))
    archived(source, message(event="c", at=5_000))
    assert events(source) == ["c", "b", "a"]
    assert events(source, limit=2) == ["c", "b"]
    assert events(source, after=(1, 0)) == ["c", "b"]
    assert events(source, after=(2, 0)) == []


def test_only_rows_of_the_source_that_are_published_and_not_given_up():
    source, other = SourceFactory(), SourceFactory()
    archived(other, message(event="theirs"))
    archived(source, message(event="kept"))
    archived(source, message(event="given up"), abandoned=True)
    assert events(source) == ["kept"]


def test_a_look_never_goes_further_back_than_the_newest_few_thousand(monkeypatch):
    monkeypatch.setattr(archive_table, "LOOKED_AT", 3)
    source = SourceFactory()
    archived(source, *[message(event=f"e{number}") for number in range(3)])
    for number in range(3, 6):
        archived(source, message(event=f"e{number}"))
    assert events(source, wanted="e5") == ["e5"]
    assert events(source, wanted="e3") == ["e3"]
    archived(source, message(event="newer"))
    archived(source, message(event="newest"))
    assert events(source, wanted="e3") == []


def test_older_pages_lead_through_everything_once_newest_first():
    source = SourceFactory()
    archived(source, *[message(event=f"e{number}") for number in range(5)])
    archived(source, message(event="given up"), abandoned=True)
    archived(source, *[message(event=f"e{number}") for number in range(5, 7)])
    assert leafed(source, limit=3) == [["e6", "e5", "e4"], ["e3", "e2", "e1"], ["e0"]]
    assert leafed(source, limit=7) == [["e6", "e5", "e4", "e3", "e2", "e1", "e0"]]
    assert leafed(SourceFactory()) == [[]]


def test_what_comes_meanwhile_does_not_move_the_older_pages():
    source = SourceFactory()
    archived(source, *[message(event=f"e{number}") for number in range(4)])
    older = newest_messages(source, limit=2).older
    archived(source, message(event="newer"))
    assert events(source, before=older, limit=2) == ["e1", "e0"]


@pytest.mark.parametrize("looked_at", [1, 2, 3, 4, 50])
def test_a_search_finds_what_is_further_back_by_looking_on(monkeypatch, looked_at):
    monkeypatch.setattr(archive_table, "LOOKED_AT", looked_at)
    source = SourceFactory()
    archived(source, *[message(event=f"e{number}", sku="rare" if number == 1 else "") for number in range(4)])
    for number in range(4, 8):
        archived(source, message(event=f"e{number}"))
    assert [event for page in leafed(source, wanted="rare") for event in page] == ["e1"]
    assert [event for page in leafed(source) for event in page] == [f"e{number}" for number in range(7, -1, -1)]
