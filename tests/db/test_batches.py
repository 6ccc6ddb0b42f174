"""Prepare, write, commit: the mechanism itself, with a stage whose outside is a list."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spaces import batches
from spaces.batches import Overtaken, advance, open_log, owning, resting, unfinished, visible
from spaces.errors import Unwritable
from spaces.models import Abandoned, Batch, Log
from tests.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


class Taken(msgspec.Struct):
    words: list[str]


class Words:
    """Copies words from `source` to `outside`, which keeps (number, word) and cannot hold the word 'poison'.

    planted: by step, what raises there when there is something to do. undecidable: words that PostgreSQL refuses.
    """

    name = "words"
    prepared = Taken
    batch_size = 4

    def __init__(self, source: Sequence[str], batch_size: int = 4) -> None:
        self.source, self.batch_size = list(source), batch_size
        self.outside: list[tuple[int, str]] = []
        self.committed: list[str] = []
        self.rejected: list[str] = []
        self.undecidable: set[str] = set()
        self.planted: dict[str, Callable[[], Exception]] = {}
        self.decides: list[int] = []
        self.meanwhile = lambda: None

    def read(self, log: Log, limit: int) -> list[str] | None:
        if self.source:
            self.fail("read")
        return self.source[:limit] or None

    def size(self, intake: list[str]) -> int:
        return len(intake)

    def prepare(self, log: Log, intake: list[str], number: int) -> Taken | None:
        self.decides.append(len(intake))
        self.fail("prepare")
        if self.undecidable & set(intake):
            raise Unwritable("the database refuses it")
        del self.source[: len(intake)]
        return Taken(intake)

    def write(self, log: Log, prepared: Taken, number: int) -> None:
        self.fail("write")
        self.outside += [(number, word) for word in prepared.words]
        if "poison" in prepared.words:
            raise Unwritable("poison")
        self.meanwhile()

    def commit(self, log: Log, prepared: Taken, number: int, outcome: None) -> None:
        self.fail("commit")
        self.committed += prepared.words

    def split(self, prepared: Taken) -> list[Taken]:
        half = len(prepared.words) // 2
        return [Taken(prepared.words[:half]), Taken(prepared.words[half:])] if half else []

    def refuse(self, log: Log, prepared: Taken, error: Exception) -> Taken | None:
        self.fail("refuse")
        self.rejected += prepared.words
        return None

    def skip(self, log: Log, intake: list[str], error: Exception) -> None:
        self.fail("skip")
        self.rejected += intake
        del self.source[: len(intake)]

    def erase(self, log: Log, numbers: Sequence[int]) -> None:
        self.outside = [(number, word) for number, word in self.outside if number not in numbers]

    def fail(self, step: str) -> None:
        if step in self.planted:
            raise self.planted[step]()

    def readable(self, log: Log) -> list[str]:
        seen = visible(log)
        return [word for number, word in self.outside if number <= seen.end and number not in seen.abandoned]


@pytest.fixture
def log() -> Log:
    return open_log(stage="words", partition=1, workspace_id=WorkspaceFactory().pk)


def drain(stage: Words, log: Log) -> int:
    """Everything that can be done now is done. Returns how many batches it took."""
    for done in range(500):
        if not advance(stage, log):
            return done
    raise AssertionError("never done")


def a_release_starts(monkeypatch: Any) -> None:
    """A process that started after whatever failed."""
    monkeypatch.setattr(batches, "STARTED", timezone.now())


def bug() -> Exception:
    return TypeError("'NoneType' object is not subscriptable")


def away() -> Exception:
    return ConnectionError("the store is away")


STEPS = ("read", "prepare", "write", "commit")


@pytest.mark.parametrize("step", STEPS)
def test_a_bug_of_one_release_leaves_everything_to_the_next(log: Log, monkeypatch: Any, step: str) -> None:
    stage = Words("abcdefg")
    stage.planted[step] = bug
    for _ in range(20):
        with pytest.raises(TypeError):
            advance(stage, log)
        assert not advance(stage, log), "waits before it tries again"
        Log.objects.update(retry_at=timezone.now())
    assert (stage.committed, stage.rejected, stage.readable(log)) == ([], [], [])
    assert Batch.objects.count() == (step in {"write", "commit"}), "whole, as it was decided"
    stage.planted.clear()
    a_release_starts(monkeypatch)
    drain(stage, log)
    assert stage.readable(log) == stage.committed == list("abcdefg")
    assert stage.rejected == []


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_says_since_when_whose_and_why(log: Log, monkeypatch: Any, step: str) -> None:
    stage = Words("abc")
    began = timezone.now()
    for fault, error, text in ((away, ConnectionError, "ConnectionError: the store is away"), (bug, TypeError, "")):
        stage.planted[step] = fault
        Log.objects.update(retry_at=None)
        with pytest.raises(error):
            advance(stage, log)
        log.refresh_from_db()
        assert log.fault == (Log.Fault.STORE if fault is away else Log.Fault.CODE)
        assert log.error == text or fault is bug
    assert log.failures == 2
    assert log.error == "TypeError: 'NoneType' object is not subscriptable"
    assert began < log.failing_since < log.failed_at < log.retry_at
    stage.planted.clear()
    Log.objects.update(retry_at=None)
    drain(stage, log)
    log.refresh_from_db()
    assert (log.failures, log.failing_since, log.retry_at, log.fault, log.error) == (0, None, None, "", "")


@pytest.mark.parametrize(("fault", "longest_s"), [(away, 30), (bug, 300)])
def test_waits_grow_up_to_a_limit(log: Log, fault: Any, longest_s: int) -> None:
    stage = Words("abc")
    stage.planted["write"] = fault
    waits = []
    for _ in range(12):
        Log.objects.update(retry_at=None)
        with suppress(Exception):
            advance(stage, log)
        log.refresh_from_db()
        waits.append((log.retry_at - log.failed_at).total_seconds())
    assert 1.5 <= waits[0] <= 2
    assert waits[:4] == sorted(waits[:4])
    assert all(0.75 * longest_s <= wait <= longest_s for wait in waits[-3:])


def test_it_is_an_alarm_once_and_not_at_every_try(log: Log, caplog: Any) -> None:
    stage = Words("abc")
    stage.planted["write"] = bug
    for _ in range(5):
        Log.objects.update(retry_at=None)
        with suppress(TypeError):
            advance(stage, log)
    assert [record.levelname for record in caplog.records if record.levelno > 20] == ["ERROR"]
    assert caplog.records[0].exc_info
    stage.planted["write"] = lambda: KeyError("another one")
    Log.objects.update(retry_at=None)
    with suppress(KeyError):
        advance(stage, log)
    assert [record.levelname for record in caplog.records if record.levelno > 20] == ["ERROR", "ERROR"]


def test_only_a_process_that_started_later_tries_before_the_time(log: Log, monkeypatch: Any) -> None:
    stage = Words("abc")
    stage.planted["write"] = bug
    with suppress(TypeError):
        advance(stage, log)
    assert resting("words") == {1}
    assert unfinished("words") == [1]
    assert not advance(stage, log)
    a_release_starts(monkeypatch)
    assert resting("words") == set()
    with pytest.raises(TypeError):  # it has the bug, too, and waits like the others
        advance(stage, log)
    assert not advance(stage, log)


def test_a_stored_decision_that_this_release_cannot_read_waits_for_one_that_can(log: Log, monkeypatch: Any) -> None:
    stage = Words("abc")
    stage.planted["write"] = away
    with suppress(ConnectionError):
        advance(stage, log)
    good = bytes(Batch.objects.get().prepared)
    Batch.objects.update(prepared=msgspec.msgpack.encode({"words": 7}))
    Log.objects.update(retry_at=None)
    stage.planted.clear()
    number = Log.objects.get(pk=log.pk).last_number
    with pytest.raises(msgspec.ValidationError):
        advance(stage, log)
    assert not advance(stage, log)
    log.refresh_from_db()
    assert (log.fault, log.last_number) == (Log.Fault.CODE, number), "no number is used up"
    Batch.objects.update(prepared=good)
    a_release_starts(monkeypatch)
    drain(stage, log)
    assert stage.readable(log) == list("abc")


def refused_by_postgresql(value: Any, kind: str) -> Callable[[], Exception]:
    def run() -> Exception:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT %s::{kind}", [value])
        raise AssertionError("it was not refused")

    return run


@pytest.mark.parametrize(
    ("value", "kind"), [("a\0b", "text"), ("\ud800", "text"), ("10000000000", "int"), ("2026-02-30", "date")]
)
@pytest.mark.parametrize("step", ["prepare", "commit"])
def test_what_postgresql_or_its_driver_refuses_for_its_value_is_the_rows_fault(
    log: Log, step: str, value: Any, kind: str
) -> None:
    stage = Words(["a", "odd", "b"])
    real = getattr(stage, step)

    def picky(log: Log, taken: Any, *rest: Any) -> Any:
        if "odd" in getattr(taken, "words", taken):
            refused_by_postgresql(value, kind)()
        return real(log, taken, *rest)

    setattr(stage, step, picky)
    drain(stage, log)
    assert stage.rejected == ["odd"]
    assert stage.readable(log) == stage.committed == ["a", "b"]
    assert not Log.objects.get(pk=log.pk).failures


@pytest.mark.parametrize("statement", ["SELECT nothing", "SELECT 1 FROM nowhere", "SELEC", "SELECT 1 WHERE %s = 1"])
@pytest.mark.parametrize("step", ["prepare", "commit"])
def test_a_statement_that_is_wrong_is_not_the_rows_fault(log: Log, step: str, statement: str) -> None:
    stage = Words("abc")

    def wrong() -> Exception:
        with connection.cursor() as cursor:
            cursor.execute(statement, [] if "%s" not in statement else {"a": 1})
        raise AssertionError("it was taken")

    stage.planted[step] = wrong
    for _ in range(6):
        Log.objects.update(retry_at=None)
        with suppress(Exception):
            advance(stage, log)
    log.refresh_from_db()
    assert (stage.rejected, log.failures, log.fault) == ([], 6, Log.Fault.CODE)


@pytest.mark.parametrize("step", ["refuse", "skip"])
def test_a_bug_in_keeping_a_reject_loses_nothing_either(log: Log, monkeypatch: Any, step: str) -> None:
    stage = Words(["a", "poison", "X", "b"], batch_size=1)
    stage.undecidable = {"X"}
    stage.planted[step] = bug
    for _ in range(12):
        Log.objects.update(retry_at=None)
        with suppress(TypeError):
            advance(stage, log)
    assert "b" not in stage.committed
    stage.planted.clear()
    a_release_starts(monkeypatch)
    drain(stage, log)
    assert (stage.committed, stage.rejected) == (["a", "b"], ["poison", "X"])


def test_a_release_whose_every_row_is_refused_does_not_refuse_them_all(log: Log, monkeypatch: Any) -> None:
    """Such as one that builds a wrong column: the store's words are about a row, and it is not the row's fault."""
    words = [f"w{n}" for n in range(400)]
    stage = Words(words, batch_size=400)

    def refused() -> Exception:
        return Unwritable("cannot parse")

    stage.planted["write"] = refused
    drain(stage, log)
    assert len(stage.rejected) == batches.MANY_REFUSED + 1
    log.refresh_from_db()
    assert (log.fault, log.error) == (Log.Fault.CODE, "Wholesale: cannot parse")
    assert log.failing_since
    for _ in range(8):  # slower and slower: should the rows be at fault after all, it ends
        before = len(stage.rejected)
        Log.objects.update(retry_at=None)
        drain(stage, log)
        assert len(stage.rejected) == before + 1
    log.refresh_from_db()
    assert (log.retry_at - log.failed_at).total_seconds() > 180
    stage.planted.clear()
    a_release_starts(monkeypatch)
    drain(stage, log)
    assert stage.readable(log) == stage.committed == words[len(stage.rejected) :]
    assert stage.rejected == words[: len(stage.rejected)], "to be driven again"
    assert not Log.objects.get(pk=log.pk).failures


def test_a_few_bad_rows_among_many_keep_nobody_waiting(log: Log) -> None:
    words = ["poison" if n % 16 == 7 else f"w{n}" for n in range(480)]
    stage = Words(words, batch_size=240)
    drain(stage, log)
    assert stage.rejected == ["poison"] * 30
    assert stage.committed == [word for word in words if word != "poison"]


def test_rows_that_no_decide_can_take_are_not_all_skipped(log: Log) -> None:
    stage = Words([f"w{n}" for n in range(40)], batch_size=1)
    stage.undecidable = set(stage.source)
    drain(stage, log)
    assert len(stage.rejected) == batches.MANY_REFUSED + 1
    assert Log.objects.get(pk=log.pk).error.startswith("Wholesale")


@pytest.mark.parametrize("place", [0, 1, 2047, 2048, 4000, 4095])
def test_after_an_undecidable_row_everything_is_taken_again(log: Log, place: int) -> None:
    words = [f"w{n}" for n in range(3 * 4096)]
    words[place] = "X"
    stage = Words(words, batch_size=4096)
    stage.undecidable = {"X"}
    drain(stage, log)
    assert stage.rejected == ["X"]
    assert stage.committed == [word for word in words if word != "X"]
    assert len(stage.decides) <= 3 + 13 + 4, "the search costs as many steps as doubling takes to come to the batch"
    assert stage.decides[-2:-1] == [4096]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 40),
    st.lists(st.sampled_from(["good", "good", "good", "poison", "X"]), max_size=60),
    st.lists(st.sampled_from([*STEPS, "refuse", "skip"]), max_size=6),
)
def test_whatever_is_odd_and_whatever_fails_every_word_ends_once(
    batch_size: int, kinds: list[str], fails: list[str]
) -> None:
    log = open_log(stage="words", partition=1, workspace_id=WorkspaceFactory().pk)
    Log.objects.filter(pk=log.pk).update(committed=0, last_number=0, limit=None, suspects=0, refused=0, accepted=0)
    stage = Words([f"{kind}-{n}" for n, kind in enumerate(kinds)], batch_size=batch_size)
    words = list(stage.source)
    stage.undecidable = {word for word in words if word.startswith("X")}
    write = stage.write

    def picky(log: Log, prepared: Taken, number: int) -> None:
        if any(word.startswith("poison") for word in prepared.words):
            raise Unwritable("poison")
        write(log, prepared, number)

    stage.write = picky  # type: ignore[method-assign]
    for _ in range(3000):
        stage.planted = {fails.pop(): bug} if fails else {}
        Log.objects.update(retry_at=None)
        with suppress(TypeError):
            if not advance(stage, log) and not stage.source and not Batch.objects.exists():
                break
    assert stage.committed == [word for word in words if word.startswith("good")]
    assert sorted(stage.rejected) == sorted(word for word in words if not word.startswith("good"))
    Abandoned.objects.all().delete()


def test_a_piece_that_ends_processes_comes_to_be_tried_seldom(log: Log, monkeypatch: Any) -> None:
    """Such as one that needs more memory than there is: each time it takes its whole process with it."""

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    stage = Words("abc")
    write = stage.write
    monkeypatch.setattr(stage, "write", killed)
    for _ in range(batches.MANY_DEATHS + 1):
        with pytest.raises(Killed):
            advance(stage, log)
    assert not advance(stage, log)
    assert Log.objects.get(pk=log.pk).error == "Died: 5 processes have ended while they worked on this"
    Log.objects.update(retry_at=None)
    monkeypatch.setattr(stage, "write", write)
    drain(stage, log)
    assert stage.readable(log) == list("abc")
    assert not Log.objects.get(pk=log.pk).failures


def test_every_word_is_readable_once_and_in_order(log: Log) -> None:
    stage = Words("abcdefghij")
    drain(stage, log)
    assert stage.readable(log) == stage.committed == list("abcdefghij")
    assert not Batch.objects.exists()


def test_a_decided_piece_found_later_is_written_under_a_new_number(log: Log) -> None:
    stage = Words("abc")
    stage.planted["write"] = away
    with pytest.raises(ConnectionError):
        advance(stage, log)
    stage.outside.append((1, "a"))  # half of the first attempt arrived
    stage.planted.clear()
    assert not advance(stage, log), "waits before it tries again"
    Log.objects.update(retry_at=timezone.now() - timedelta(seconds=1))
    drain(stage, log)
    assert stage.readable(log) == list("abc")
    assert list(Abandoned.objects.values_list("number", flat=True)) == [1]


def test_a_store_that_is_away_poisons_nothing(log: Log) -> None:
    stage = Words("abc")
    stage.planted["write"] = away
    for _ in range(5):
        Log.objects.update(retry_at=None)
        with pytest.raises(ConnectionError):
            advance(stage, log)
    assert Batch.objects.count() == 1
    assert stage.rejected == []


def test_a_poison_word_is_found_by_halving_and_the_rest_goes_through_in_order(log: Log) -> None:
    stage = Words(["a", "b", "poison", "c", "d", "e"])
    drain(stage, log)
    assert stage.rejected == ["poison"]
    assert stage.readable(log) == stage.committed == ["a", "b", "c", "d", "e"]


ODD = "the row \0 \ud800 is odd"


def test_an_error_that_quotes_what_no_text_may_hold_is_kept_and_stops_nothing(log: Log) -> None:
    stage = Words(["a", "b"])
    stage.planted["write"] = lambda: TypeError(ODD)
    with pytest.raises(TypeError):
        advance(stage, log)
    assert (
        Log.objects.get(pk=log.pk).error
        == "TypeError: the row \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER} is odd"
    )
    stage.planted.clear()
    Log.objects.update(retry_at=None)
    drain(stage, log)
    assert stage.readable(log) == ["a", "b"]


def test_a_store_that_is_away_may_say_so_in_any_words(log: Log, monkeypatch: Any) -> None:
    stage = Words("abc")
    monkeypatch.setattr(stage, "write", lambda *_: (_ for _ in ()).throw(ConnectionError(ODD)))
    with pytest.raises(ConnectionError):
        advance(stage, log)
    log.refresh_from_db()
    assert log.retry_at
    assert log.error.endswith("is odd")


def test_a_word_that_cannot_be_decided_is_skipped_alone(log: Log) -> None:
    stage = Words("abXcd")
    stage.undecidable = {"X"}
    drain(stage, log)
    assert stage.rejected == ["X"]
    assert stage.readable(log) == list("abcd")


def test_an_owner_that_was_overtaken_publishes_nothing(log: Log) -> None:
    stage, other = Words("ab"), Words("")
    other.outside, other.committed = stage.outside, stage.committed
    stage.meanwhile = lambda: advance(other, Log.objects.get(pk=log.pk))  # a second owner finds the batch
    with pytest.raises(Overtaken):
        advance(stage, log)
    assert stage.committed == list("ab"), "by the other"
    assert stage.readable(log) == list("ab")


def test_two_owners_that_decide_at_once_take_different_numbers(log: Log) -> None:
    stage = Words("ab")
    stale = Log.objects.get(pk=log.pk)
    drain(stage, log)
    with pytest.raises(Overtaken):
        batches._take_number(stale)


def test_rows_of_abandoned_numbers_go_after_a_day(log: Log) -> None:
    stage = Words("")
    stage.outside = [(1, "late"), (2, "good")]
    Log.objects.filter(pk=log.pk).update(committed=2, last_number=2)
    Abandoned.objects.create(workspace_id=log.workspace_id, log=log, number=1)
    batches.sweep(stage)
    assert len(stage.outside) == 2, "a late insert may still arrive"
    Abandoned.objects.update(since=timezone.now() - timedelta(days=1, minutes=1))
    batches.sweep(stage)
    assert stage.outside == [(2, "good")]
    assert not Abandoned.objects.exists()


def test_only_one_process_owns_a_name() -> None:
    with owning("one") as first, owning("one") as second, owning("two") as other:
        assert (first, second, other) == (True, False, True)
    for _ in range(50):  # given up at once, also by one who fails
        with suppress(ZeroDivisionError), owning("one") as again:
            assert again
            raise ZeroDivisionError
