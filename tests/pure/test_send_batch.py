"""A round of calls: who is delivered, who is to blame, and when it is ended early."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations.rules.backoff import GIVEN_UP_AFTER
from destinations.rules.contract import (
    Address,
    CallOutcome,
    DestinationRequest,
    IdentifierChange,
    outcome_of,
    read_by_status,
    retry_after_s,
)
from destinations.rules.send_batch import SentBatch, Unanswered, send_batch
from spaces.answers import Answer

AT = datetime(2026, 6, 15, tzinfo=UTC)


def rows(how_many: int) -> list[IdentifierChange]:
    return [IdentifierChange(str(n), True, AT, Address(user_id=str(n)), person=n) for n in range(how_many)]


def in_batches(size: int) -> Callable[[Sequence[IdentifierChange]], list[DestinationRequest]]:
    def plan(changes: Sequence[IdentifierChange]) -> list[DestinationRequest]:
        parts = [changes[start : start + size] for start in range(0, len(changes), size)]
        return [DestinationRequest(id="-".join(row.id for row in part), rows=part) for part in parts]

    return plan


def play(
    changes: Sequence[IdentifierChange],
    answer: Callable[[DestinationRequest], Answer],
    *,
    size: int = 1,
    concurrency: int = 1,
    seconds: float = 60,
) -> SentBatch:
    return send_batch(
        changes,
        plan=in_batches(size),
        read=read_by_status,
        call=answer,
        largest=1000,
        concurrency=concurrency,
        seconds=seconds,
    )


def ids(made: SentBatch, kind: str) -> set[str]:
    return {id for id, verdict in made.verdicts.items() if verdict.kind == kind}


@given(st.integers(1, 40), st.integers(1, 40), st.sets(st.integers(0, 39)))
def test_halving_finds_exactly_the_bad_rows(how_many: int, size: int, bad: set[int]) -> None:
    def answer(request: DestinationRequest) -> Answer:
        return Answer(400, body=b"bad") if any(int(row.id) in bad for row in request.rows) else Answer(200)

    made = play(rows(how_many), answer, size=size)
    assert ids(made, "refused") == {str(n) for n in bad if n < how_many}
    assert ids(made, "delivered") == {str(n) for n in range(how_many) if n not in bad}
    named = [row.id for attempt in made.attempts for row in attempt.request.rows]
    assert sorted(named) == sorted(str(n) for n in range(how_many))  # each row in the log once


def test_a_change_with_two_calls_is_delivered_when_both_are() -> None:
    def plan(changes: Sequence[IdentifierChange]) -> list[DestinationRequest]:
        return [DestinationRequest(id=f"{row.id}-{part}", rows=[row]) for row in changes for part in ("a", "b")]

    def answer(request: DestinationRequest) -> Answer:
        return Answer(422, body=b"no") if request.id == "1-b" else Answer(200)

    made = send_batch(rows(3), plan=plan, read=read_by_status, call=answer, largest=1000, concurrency=1, seconds=60)
    assert ids(made, "delivered") == {"0", "2"}
    assert made.verdicts["1"].touched  # its first call took effect, so it has to be taken back some day


def test_calls_of_one_person_keep_their_order_among_many_threads() -> None:
    seen: list[str] = []

    def plan(changes: Sequence[IdentifierChange]) -> list[DestinationRequest]:
        return [DestinationRequest(id=f"{row.id}-{part}", rows=[row]) for row in changes for part in ("a", "b")]

    others = threading.Event()

    def answer(request: DestinationRequest) -> Answer:
        if request.id == "0-a":
            others.wait(5)  # long enough for "0-b" to be called, if it could be
        seen.append(request.id)
        if request.id == "49-b":
            others.set()
        return Answer(200)

    send_batch(rows(50), plan=plan, read=read_by_status, call=answer, largest=1000, concurrency=8, seconds=60)
    assert all(seen.index(f"{n}-a") < seen.index(f"{n}-b") for n in range(50))


def failing(request: DestinationRequest) -> Answer:
    raise Unanswered("gone")


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_round_in_vain_is_ended_early(concurrency: int) -> None:
    made = play(rows(500), failing, concurrency=concurrency)
    assert GIVEN_UP_AFTER <= len(made.attempts) < GIVEN_UP_AFTER + concurrency
    assert not made.alive
    assert len(ids(made, "unsent")) == 500 - len(made.attempts)


@pytest.mark.parametrize(
    "answer",
    [Answer(401), Answer(429), Answer(503, {"retry-after": "5"})],
    ids=["not allowed", "too many", "asked to wait"],
)
def test_a_round_ends_when_it_is_told_to(answer: Answer) -> None:
    assert len(play(rows(50), lambda request: answer).attempts) == 1


def test_an_address_that_may_not_be_called_suspends() -> None:
    def refused(request: DestinationRequest) -> Answer:
        raise Unanswered("private", permanent=True)

    made = play(rows(5), refused)
    assert ids(made, "suspended") == {"0"}
    assert made.reason("suspended") == "private"


def test_without_time_nothing_is_called() -> None:
    made = play(rows(3), failing, seconds=-1)
    assert made.attempts == []
    assert ids(made, "unsent") == {"0", "1", "2"}


def test_an_adapter_plans_no_more_changes_at_a_time_than_its_kind_takes() -> None:
    planned: list[int] = []

    def plan(changes: Sequence[IdentifierChange]) -> list[DestinationRequest]:
        planned.append(len(changes))
        return [DestinationRequest(id=changes[0].id, rows=changes)]

    batch = send_batch(
        rows(8), plan=plan, read=read_by_status, call=lambda _: Answer(200), largest=3, concurrency=1, seconds=60
    )
    assert planned == [3, 3, 2]
    assert len(ids(batch, "delivered")) == 8


@pytest.mark.parametrize("concurrency", [1, 8])
def test_calls_whose_turn_does_not_come_are_left_unsent(concurrency: int) -> None:
    turns = iter([True, True] + [False] * 50)
    batch = send_batch(
        rows(20),
        plan=in_batches(1),
        read=read_by_status,
        call=lambda _: Answer(200),
        largest=1000,
        concurrency=concurrency,
        seconds=60,
        wait_for_turn=lambda: next(turns),
    )
    assert (len(ids(batch, "delivered")), len(ids(batch, "unsent"))) == (2, 18)


def sent(changes: Sequence[IdentifierChange], **parts: Any) -> SentBatch:
    settings: dict[str, Any] = {
        "plan": in_batches(2),
        "read": read_by_status,
        "call": lambda request: Answer(200),
        "largest": 1000,
        "concurrency": 1,
        "seconds": 60,
    }
    return send_batch(changes, **settings | parts)


def test_an_adapter_that_does_not_judge_every_row_is_told_as_a_failure() -> None:
    batch = sent(rows(2), read=lambda request, answer: [CallOutcome("delivered")])
    assert ids(batch, "retry") == {"0", "1"}
    assert batch.verdicts["0"].touched
    assert "1 outcomes for 2 rows" in batch.reason("retry")


def test_whom_an_adapter_cannot_plan_for_fails_alone() -> None:
    def plan(changes: Sequence[IdentifierChange]) -> list[DestinationRequest]:
        if any(row.id == "5" for row in changes):
            raise KeyError("no such word")
        return [DestinationRequest(id="x", rows=changes)]

    batch = sent(rows(20), plan=plan)
    assert ids(batch, "retry") == {"5"}
    assert ids(batch, "delivered") == {str(n) for n in range(20)} - {"5"}
    assert batch.reason("retry") == "The adapter failed: KeyError: 'no such word'"


def test_an_adapter_that_can_plan_nothing_is_not_asked_for_each_person() -> None:
    asked = []

    def plan(changes: Sequence[IdentifierChange]) -> list[DestinationRequest]:
        asked.append(len(changes))
        return []

    batch = sent(rows(500), plan=plan)
    assert len(ids(batch, "retry")) == 500
    assert len(asked) < 50
    assert not batch.alive


def test_a_body_that_is_too_large_is_planned_anew_as_two() -> None:
    def plan(changes: Sequence[IdentifierChange]) -> list[DestinationRequest]:
        return [DestinationRequest(id="x", rows=changes, body=b"12345" * len(changes))]

    sizes = []
    batch = sent(
        rows(9), plan=plan, largest_body=12, call=lambda request: sizes.append(len(request.body)) or Answer(200)
    )
    assert len(ids(batch, "delivered")) == 9
    assert max(sizes) <= 12


def looked_up(known: set[str], *, list_is_there: bool = True) -> tuple[Any, Any, list[str]]:
    """A plan that looks people up before it adds those who are known; what answers; and the calls that were made."""
    calls: list[str] = []

    def plan(changes: Sequence[IdentifierChange]) -> list[DestinationRequest]:
        def add(answer: Answer) -> list[DestinationRequest]:
            numbers = answer.text().split()
            members = [row for row in changes if row.id in numbers]
            return [DestinationRequest(id="add", rows=members, url=" ".join(numbers))] if members else []

        url = " ".join(row.id for row in changes)
        return [DestinationRequest(id="look", rows=changes, method="GET", url=url, then=add)]

    def call(request: DestinationRequest) -> Answer:
        calls.append(f"{request.id} {request.url}")
        if request.id == "look":
            return Answer(200, body=" ".join(id for id in request.url.split() if id in known).encode())
        return Answer(200 if list_is_there else 404)

    return plan, call, calls


def unknown_are_refused(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    if request.id == "look" and answer.ok:
        return [CallOutcome("refused", "unknown")] * len(request.rows)
    return read_by_status(request, answer)


def test_calls_follow_one_another_and_each_carries_whom_the_answer_knows() -> None:
    plan, call, calls = looked_up({"1", "2"})
    batch = sent(rows(4), plan=plan, call=call, read=unknown_are_refused)
    assert (ids(batch, "delivered"), ids(batch, "refused")) == ({"1", "2"}, {"0", "3"})
    assert calls == ["look 0 1 2 3", "add 1 2"]


def test_whom_a_look_up_does_not_know_is_not_looked_up_again_by_halves() -> None:
    plan, call, calls = looked_up(set())
    assert len(ids(sent(rows(4), plan=plan, call=call, read=unknown_are_refused), "refused")) == 4
    assert calls == ["look 0 1 2 3"]


def test_what_follows_counts() -> None:
    plan, call, _ = looked_up({"0", "1"}, list_is_there=False)
    batch = sent(rows(2), plan=plan, call=call, read=unknown_are_refused)
    assert ids(batch, "retry") == {"0", "1"}
    assert batch.verdicts["0"].touched  # by the call before


def test_what_cannot_follow_in_time_is_tried_again_and_perhaps_begun() -> None:
    def plan(changes: Sequence[IdentifierChange]) -> list[DestinationRequest]:
        later = DestinationRequest(id="poll", rows=changes, wait_s=90)
        return [DestinationRequest(id="begin", rows=changes, then=lambda answer: [later])]

    batch = sent(rows(2), plan=plan)
    assert ids(batch, "retry") == {"0", "1"}
    assert "not done" in batch.reason("retry")
    assert batch.verdicts["0"].touched


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, "delivered"), (202, "delivered"), (204, "delivered"), (301, "retry"), (400, "refused"), (401, "suspended"),
     (403, "suspended"), (404, "retry"), (405, "retry"), (408, "retry"), (410, "suspended"), (413, "refused"),
     (422, "refused"), (425, "retry"), (429, "retry"), (500, "retry"), (502, "retry"), (599, "retry"), (0, "retry")],
)  # fmt: skip
def test_what_a_status_means(status: int, kind: str) -> None:
    assert outcome_of(Answer(status)).kind == kind


def test_too_many_requests_asks_for_a_pause_even_when_it_does_not_say_so() -> None:
    assert outcome_of(Answer(429)).retry_after_s == outcome_of(Answer(429, {"retry-after": "0"})).retry_after_s == 2
    assert outcome_of(Answer(429, {"retry-after": "60"})).retry_after_s == 60
    assert outcome_of(Answer(503)).retry_after_s is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "Mon, 15 Jun 2026 12:00:30 GMT", "date": "Mon, 15 Jun 2026 12:00:00 GMT"}, 30),
        ({"retry-after": "Mon, 15 Jun 2026 11:00:00 GMT", "date": "Mon, 15 Jun 2026 12:00:00 GMT"}, 0),
        ({"retry-after": "Mon, 15 Jun 2026 12:00:30 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(Answer(429, headers)) == seconds
