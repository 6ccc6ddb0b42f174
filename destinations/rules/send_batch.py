"""PURE. One round of calls: in lanes side by side, halving what is refused, stopping early when it is in vain."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from destinations.rules.backoff import GIVEN_UP_AFTER
from destinations.rules.contract import Change, Outcome, Request
from spaces.answers import Answer

Plan = Callable[[Sequence[Change]], list[Request]]
Read = Callable[[Request, Answer], list[Outcome]]
Fate = Literal["delivered", "refused", "retry", "suspended", "unsent"]


class Unanswered(Exception):
    """What a transport raises. permanent: the settings are at fault. arrived: it may have been received."""

    def __init__(self, message: str, *, permanent: bool = False, arrived: bool = False) -> None:
        super().__init__(message)
        self.message, self.permanent, self.arrived = message, permanent, arrived


@dataclass(frozen=True)
class Attempt:
    """One call that was made, and what it meant for each of its rows."""

    request: Request
    outcomes: Sequence[Outcome]
    status: int = 0
    response: str = ""
    milliseconds: float = 0.0
    touched: bool = False


@dataclass
class Verdict:
    """What became of one change over all calls that carried it."""

    kind: Fate = "unsent"
    reason: str = ""
    touched: bool = False


@dataclass
class Round:
    """All attempts, in the order in which they ended. `hold_s`: how long the destination asked to be left alone."""

    attempts: list[Attempt] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    hold_s: float | None = None

    @property
    def alive(self) -> bool:
        """Whether it took, or looked at and refused, anything."""
        return any(verdict.kind in {"delivered", "refused"} for verdict in self.verdicts.values())

    def reason(self, kind: Fate) -> str:
        return next((verdict.reason for verdict in self.verdicts.values() if verdict.kind == kind), "")

    def any(self, kind: Fate) -> bool:
        return any(verdict.kind == kind for verdict in self.verdicts.values())


class _Brake:
    """Ends a round early: on a refusal of everything, a request to wait, many failures in a row, or late."""

    def __init__(self, deadline: float) -> None:
        self._deadline, self._pulled, self._failures, self._success = deadline, False, 0, False

    @property
    def on(self) -> bool:
        return self._pulled or time.monotonic() > self._deadline

    def note(self, attempt: Attempt) -> None:
        kinds = {outcome.kind for outcome in attempt.outcomes}
        if kinds & {"delivered", "refused"}:
            self._success = True
        elif "retry" in kinds:
            self._failures += 1
        waits = attempt.status == 429 or any(outcome.retry_after_s is not None for outcome in attempt.outcomes)
        in_vain = self._failures >= GIVEN_UP_AFTER and not self._success
        self._pulled = self._pulled or "suspended" in kinds or waits or in_vain


def run_round(
    changes: Sequence[Change],
    *,
    plan: Plan,
    read: Read,
    call: Callable[[Request], Answer],
    concurrency: int,
    seconds: float,
) -> Round:
    """Make the calls that carry `changes`. Raises only what `plan` or `read` raise.

    call: one request to its answer; raises Unanswered. With concurrency 1 everything runs in this thread.
    seconds: no call is begun after them; what is left is "unsent".
    """
    brake = _Brake(time.monotonic() + seconds)
    made: list[Attempt] = []
    owed: Counter[str] = Counter()  # calls that a change still waits for

    def planned(rows: Sequence[Change]) -> list[Request]:
        requests = plan(rows)
        owed.update(row.id for request in requests for row in request.rows)
        return requests

    def lane(requests: list[Request]) -> None:
        while requests and not brake.on:
            attempt = _attempt(requests.pop(0), call, read)
            owed.subtract(row.id for row in attempt.request.rows)
            halves = _halves(attempt)
            if halves:  # someone in this batch is at fault: find out who
                requests[:0] = [part for half in halves for part in planned(half)]
                continue
            made.append(attempt)
            brake.note(attempt)

    lanes = _lanes(planned(changes))
    if concurrency <= 1 or len(lanes) <= 1:
        for requests in lanes:
            lane(requests)
    else:
        with ThreadPoolExecutor(max_workers=min(concurrency, len(lanes))) as pool:
            list(pool.map(lane, lanes))
    return _collect(changes, made, owed)


def _lanes(requests: Sequence[Request]) -> list[list[Request]]:
    """Requests that must follow one another: those about one person."""
    lanes: dict[tuple[str, int], list[Request]] = {}
    for index, request in enumerate(requests):
        people = {row.person for row in request.rows}
        key = ("person", next(iter(people))) if len(people) == 1 else ("batch", index)
        lanes.setdefault(key, []).append(request)
    return list(lanes.values())


def _attempt(request: Request, call: Callable[[Request], Answer], read: Read) -> Attempt:
    started = time.monotonic()
    try:
        answer = call(request)
    except Unanswered as error:
        kind: Literal["suspended", "retry"] = "suspended" if error.permanent else "retry"
        took = (time.monotonic() - started) * 1000
        outcomes = [Outcome(kind, error.message)] * len(request.rows)
        return Attempt(request, outcomes, milliseconds=took, touched=error.arrived)
    outcomes = read(request, answer)
    if len(outcomes) != len(request.rows):
        raise ValueError(f"{len(outcomes)} outcomes for {len(request.rows)} rows")
    # A server error may come after the effect; a refusal, a redirect or 429 say that there was none.
    touched = answer.ok or answer.status >= 500 or answer.status == 408
    return Attempt(request, outcomes, answer.status, answer.text(2000), answer.milliseconds, touched)


def _halves(attempt: Attempt) -> list[Sequence[Change]]:
    """Two halves of a batch that was refused as a whole, else nothing."""
    rows = attempt.request.rows
    if len(rows) < 2 or any(outcome.kind != "refused" for outcome in attempt.outcomes):
        return []
    middle = len(rows) // 2
    return [rows[:middle], rows[middle:]]


def _collect(changes: Sequence[Change], made: Sequence[Attempt], owed: Mapping[str, int]) -> Round:
    """The worst that befell a change on any of its calls; delivered only when none is missing."""
    found = Round(list(made), {change.id: Verdict() for change in changes})
    seen: dict[str, list[tuple[Outcome, Attempt]]] = {}
    for attempt in made:
        for row, outcome in zip(attempt.request.rows, attempt.outcomes, strict=True):
            seen.setdefault(row.id, []).append((outcome, attempt))
            if outcome.retry_after_s is not None:
                found.hold_s = max(found.hold_s or 0.0, outcome.retry_after_s)
    found.verdicts |= {id: _verdict(parts, missing=owed[id] > 0) for id, parts in seen.items()}
    return found


def _verdict(parts: Sequence[tuple[Outcome, Attempt]], *, missing: bool) -> Verdict:
    touched = any(attempt.touched for _, attempt in parts)
    for kind in ("suspended", "refused", "retry"):
        worst = next((outcome for outcome, _ in parts if outcome.kind == kind), None)
        if worst:
            return Verdict(worst.kind, worst.reason, touched)
    return Verdict("unsent" if missing else "delivered", "", touched)
