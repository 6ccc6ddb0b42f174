"""Decide, write, publish: the mechanism itself, with a stage whose outside is a list."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.utils import timezone

from spaces import pieces
from spaces.models import Abandoned, Log, Piece
from spaces.pieces import Overtaken, Unwritable, advance, open_log, owning, visible
from tests.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


class Taken(msgspec.Struct):
    words: list[str]


class Words:
    """Copies words from `source` to `outside`, which keeps (number, word) and cannot hold the word 'poison'."""

    name = "words"
    decision = Taken
    batch = 4

    def __init__(self, source: Sequence[str]) -> None:
        self.source = list(source)
        self.outside: list[tuple[int, str]] = []
        self.published: list[str] = []
        self.rejected: list[str] = []
        self.away = False
        self.undecidable: set[str] = set()
        self.meanwhile = lambda: None

    def read(self, log: Log, limit: int) -> list[str] | None:
        return self.source[:limit] or None

    def decide(self, log: Log, intake: list[str], number: int) -> Taken | None:
        if self.undecidable & set(intake):
            raise ValueError("cannot be decided")
        del self.source[: len(intake)]
        return Taken(intake)

    def write(self, log: Log, decision: Taken, number: int) -> None:
        if self.away:
            raise ConnectionError("the store is away")
        self.outside += [(number, word) for word in decision.words]
        if "poison" in decision.words:
            raise Unwritable("poison")
        self.meanwhile()

    def publish(self, log: Log, decision: Taken, number: int, outcome: None) -> None:
        self.published += decision.words

    def split(self, decision: Taken) -> list[Taken]:
        half = len(decision.words) // 2
        return [Taken(decision.words[:half]), Taken(decision.words[half:])] if half else []

    def refuse(self, log: Log, decision: Taken, error: Exception) -> Taken | None:
        self.rejected += decision.words
        return None

    def skip(self, log: Log, intake: list[str], error: Exception) -> None:
        self.rejected += intake
        del self.source[: len(intake)]

    def erase(self, log: Log, numbers: Sequence[int]) -> None:
        self.outside = [(number, word) for number, word in self.outside if number not in numbers]

    def readable(self, log: Log) -> list[str]:
        seen = visible(log)
        return [word for number, word in self.outside if number <= seen.end and number not in seen.abandoned]


@pytest.fixture
def log() -> Log:
    return open_log(stage="words", owner=1, workspace_id=WorkspaceFactory().pk)


def drain(stage: Words, log: Log) -> None:
    for _ in range(100):
        try:
            if not advance(stage, log):
                return
        except ValueError:
            continue
    raise AssertionError("never done")


def test_every_word_is_readable_once_and_in_order(log: Log) -> None:
    stage = Words("abcdefghij")
    drain(stage, log)
    assert stage.readable(log) == stage.published == list("abcdefghij")
    assert not Piece.objects.exists()


def test_a_decided_piece_found_later_is_written_under_a_new_number(log: Log) -> None:
    stage = Words("abc")
    stage.away = True
    with pytest.raises(ConnectionError):
        advance(stage, log)
    stage.outside.append((1, "a"))  # half of the first attempt arrived
    stage.away = False
    assert not advance(stage, log), "waits before it tries again"
    Log.objects.update(retry_at=timezone.now() - timedelta(seconds=1))
    drain(stage, log)
    assert stage.readable(log) == list("abc")
    assert list(Abandoned.objects.values_list("number", flat=True)) == [1]


def test_a_store_that_is_away_poisons_nothing(log: Log) -> None:
    stage = Words("abc")
    stage.away = True
    for _ in range(5):
        Log.objects.update(retry_at=None)
        with pytest.raises(ConnectionError):
            advance(stage, log)
    assert Piece.objects.count() == 1
    assert stage.rejected == []


def test_a_poison_word_is_found_by_halving_and_the_rest_goes_through_in_order(log: Log) -> None:
    stage = Words(["a", "b", "poison", "c", "d", "e"])
    drain(stage, log)
    assert stage.rejected == ["poison"]
    assert stage.readable(log) == stage.published == ["a", "b", "c", "d", "e"]


ODD = "the row \0 \ud800 is odd"


def test_an_error_that_quotes_what_no_text_may_hold_is_kept_and_stops_nothing(log: Log, monkeypatch: Any) -> None:
    stage = Words(["a", "poison", "b"])
    monkeypatch.setattr(pieces, "POISON_AFTER", 2)
    monkeypatch.setattr(Unwritable, "__str__", lambda error: ODD)
    assert advance(stage, log)
    assert Piece.objects.get().error == "the row \N{REPLACEMENT CHARACTER} ? is odd"
    drain(stage, log)
    assert (stage.rejected, stage.readable(log)) == (["poison"], ["a", "b"])


def test_a_store_that_is_away_may_say_so_in_any_words(log: Log, monkeypatch: Any) -> None:
    stage = Words("abc")
    monkeypatch.setattr(stage, "write", lambda *_: (_ for _ in ()).throw(ConnectionError(ODD)))
    with pytest.raises(ConnectionError):
        advance(stage, log)
    log.refresh_from_db()
    assert log.retry_at
    assert Piece.objects.get().error.endswith("is odd")


def test_a_word_that_cannot_be_decided_is_skipped_alone(log: Log) -> None:
    stage = Words("abXcd")
    stage.undecidable = {"X"}
    drain(stage, log)
    assert stage.rejected == ["X"]
    assert stage.readable(log) == list("abcd")


def test_an_owner_that_was_overtaken_publishes_nothing(log: Log) -> None:
    stage, other = Words("ab"), Words("")
    other.outside, other.published = stage.outside, stage.published
    stage.meanwhile = lambda: advance(other, Log.objects.get(pk=log.pk))  # a second owner finds the piece
    with pytest.raises(Overtaken):
        advance(stage, log)
    assert stage.published == list("ab"), "by the other"
    assert stage.readable(log) == list("ab")


def test_two_owners_that_decide_at_once_take_different_numbers(log: Log) -> None:
    stage = Words("ab")
    stale = Log.objects.get(pk=log.pk)
    drain(stage, log)
    with pytest.raises(Overtaken):
        pieces._take_number(stale)


def test_rows_of_abandoned_numbers_go_after_a_day(log: Log) -> None:
    stage = Words("")
    stage.outside = [(1, "late"), (2, "good")]
    Log.objects.filter(pk=log.pk).update(published=2, last_number=2)
    Abandoned.objects.create(workspace_id=log.workspace_id, log=log, number=1)
    pieces.sweep(stage)
    assert len(stage.outside) == 2, "a late insert may still arrive"
    Abandoned.objects.update(since=timezone.now() - timedelta(days=1, minutes=1))
    pieces.sweep(stage)
    assert stage.outside == [(2, "good")]
    assert not Abandoned.objects.exists()


def test_only_one_process_owns_a_name() -> None:
    with owning("one") as first, owning("one") as second, owning("two") as other:
        assert (first, second, other) == (True, False, True)
    for _ in range(50):  # given up at once, also by one who fails
        with suppress(ZeroDivisionError), owning("one") as again:
            assert again
            raise ZeroDivisionError
