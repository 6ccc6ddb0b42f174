"""The newest rows of a source, as the debugger looks at them: bounded, and of the log as it stands."""

import pytest

from sources.events import archive
from sources.queries import newest_messages
from tests.factories import SourceFactory
from tests.factories_identity import archived, message

pytestmark = pytest.mark.django_db


def events(source, **asked):
    return [row["event"] for row in newest_messages(source, **asked)]


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
    monkeypatch.setattr(archive, "LOOKED_AT", 3)
    source = SourceFactory()
    archived(source, *[message(event=f"e{number}") for number in range(3)])
    for number in range(3, 6):
        archived(source, message(event=f"e{number}"))
    assert events(source, wanted="e5") == ["e5"]
    assert events(source, wanted="e3") == ["e3"]
    archived(source, message(event="newer"))
    archived(source, message(event="newest"))
    assert events(source, wanted="e3") == []
