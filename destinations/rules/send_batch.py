"""PURE. One batch of calls: in lanes side by side, halving what is refused, stopping early when it is in vain."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from destinations.rules.backoff import GIVEN_UP_AFTER
from destinations.rules.contract import CallOutcome, Changes, DestinationRequest
from spaces.answers import Answer
from spaces.chunks import chunks
from spaces.settings_schema import strike

LOGGED_REQUEST = 8000  # characters of a body: a batch of a thousand changes would be megabytes in every line
# The order says what helps: settings to be changed, a row to be looked at, or only time.
WORST_FIRST = ("suspended", "refused", "retry")
NOT_DONE = "The tool took this, and was not done with it in time"

logger = logging.getLogger(__name__)

Plan = Callable[[Changes], list[DestinationRequest]]
Read = Callable[[DestinationRequest, Answer], list[CallOutcome]]
VerdictKind = Literal["delivered", "refused", "retry", "suspended", "unsent"]


class Unanswered(Exception):
    """What a transport raises. permanent: the settings are at fault. arrived: it may have been received."""

    def __init__(self, message: str, *, permanent: bool = False, arrived: bool = False) -> None:
        super().__init__(message)
        self.message, self.permanent, self.arrived = message, permanent, arrived


@dataclass(frozen=True)
class Attempt:
    """One call that was made, and what it meant for each of its rows. touched: it may have taken effect."""

    request: DestinationRequest
    outcomes: Sequence[CallOutcome]
    status: int = 0
    response: str = ""
    milliseconds: float = 0.0
    touched: bool = False


@dataclass(frozen=True)
class Verdict:
    """What became of one change over all calls that carried it."""

    kind: VerdictKind = "unsent"
    reason: str = ""
    touched: bool = False


@dataclass(frozen=True)
class SentBatch:
    """All attempts, in the order in which they ended, and a verdict for each change by its id.

    hold_s: how long the destination asked to be left alone, or we leave it.
    """

    attempts: Sequence[Attempt]
    verdicts: Mapping[str, Verdict]
    hold_s: float | None = None

    @property
    def alive(self) -> bool:
        """Whether it took, or looked at and refused, anything."""
        return any(verdict.kind in {"delivered", "refused"} for verdict in self.verdicts.values())

    def reason(self, kind: VerdictKind) -> str:
        return next((verdict.reason for verdict in self.verdicts.values() if verdict.kind == kind), "")

    def any(self, kind: VerdictKind) -> bool:
        return any(verdict.kind == kind for verdict in self.verdicts.values())

    def without(self, secrets: Sequence[str]) -> "SentBatch":
        """The same without these words, which are in calls, and in answers that echo them: both are kept."""
        attempts = []
        for attempt in self.attempts:
            request = attempt.request
            # Cut before it is decoded: no character takes more than four bytes.
            start = request.body[: LOGGED_REQUEST * 4].decode("utf-8", "replace")[:LOGGED_REQUEST]
            request = replace(request, shown=strike(request.shown or start, secrets))
            # What has no reason is as it was: of thousands nearly all.
            outcomes = [
                replace(outcome, reason=strike(outcome.reason, secrets)) if outcome.reason else outcome
                for outcome in attempt.outcomes
            ]
            response = strike(attempt.response, secrets)
            attempts.append(replace(attempt, request=request, response=response, outcomes=outcomes))
        verdicts = {
            id: replace(verdict, reason=strike(verdict.reason, secrets)) if verdict.reason else verdict
            for id, verdict in self.verdicts.items()
        }
        return replace(self, attempts=attempts, verdicts=verdicts)

    def failed(self, outcome: CallOutcome) -> "SentBatch":
        """The same, with this outcome for whatever waits for the settings to be changed."""
        attempts = [
            replace(attempt, outcomes=[outcome if told.kind == "suspended" else told for told in attempt.outcomes])
            for attempt in self.attempts
        ]
        verdicts = {
            id: Verdict(outcome.kind, outcome.reason, verdict.touched) if verdict.kind == "suspended" else verdict
            for id, verdict in self.verdicts.items()
        }
        return replace(self, attempts=attempts, verdicts=verdicts)


def refused_batch(changes: Changes, attempt: Attempt, outcome: CallOutcome) -> SentBatch:
    """What came before all calls failed: the attempt is everybody's."""
    together = replace(attempt, request=replace(attempt.request, rows=changes), outcomes=[outcome] * len(changes))
    return _sum_up(changes, [together], {}, set())


def postponed_batch(changes: Changes, seconds: float) -> SentBatch:
    """Nothing was tried, for a reason of our own, and is not to be for so long."""
    return replace(_sum_up(changes, [], {}, set()), hold_s=seconds)


class _CircuitBreaker:
    """Ends a batch early: on a refusal of everything, a request to wait, many failures in a row, or late."""

    def __init__(self, deadline: float) -> None:
        self._deadline, self._tripped, self._failures, self._success = deadline, False, 0, False

    @property
    def open(self) -> bool:
        return self._tripped or time.monotonic() > self._deadline

    def is_late_after(self, seconds: float) -> bool:
        return time.monotonic() + seconds > self._deadline

    def record(self, attempt: Attempt) -> None:
        kinds = {outcome.kind for outcome in attempt.outcomes}
        if kinds & {"delivered", "refused"}:
            self._success = True  # a refusal is an answer too: somebody has looked at what was sent
        elif "retry" in kinds:
            self._failures += 1
        # Whoever asks to be left alone would answer all the others the same.
        waits = attempt.status == 429 or any(outcome.retry_after_s is not None for outcome in attempt.outcomes)
        in_vain = self._failures >= GIVEN_UP_AFTER and not self._success
        self._tripped = self._tripped or "suspended" in kinds or waits or in_vain


def send_batch(
    changes: Changes,
    *,
    plan: Plan,
    read: Read,
    call: Callable[[DestinationRequest], Answer],
    largest: int | None,
    concurrency: int,
    seconds: float,
    wait_for_turn: Callable[[], bool] | None = None,
    largest_body: int | None = None,
) -> SentBatch:
    """Make the calls that carry `changes`. Raises nothing: what `plan` or `read` raise is told as a failure.

    call: one request to its answer; raises Unanswered. largest: changes that `plan` gets at a time, at most; None = all
    together, and never fewer.
    concurrency: with 1 everything runs in this thread. seconds: no call is begun after them; what is left is "unsent".
    wait_for_turn: returns when the next call may go out, or False when it may not yet; then what is left is "unsent".
    largest_body: bytes of a request about several changes; one that is larger is planned anew as two.
    """
    breaker = _CircuitBreaker(time.monotonic() + seconds)
    attempts: list[Attempt] = []
    owed: Counter[str] = Counter()  # calls that a change still waits for
    touched: set[str] = set()  # changes of which a call before their last one may have taken effect
    faults = 0

    def plan_calls(rows: Changes) -> list[DestinationRequest]:
        nonlocal faults
        requests: list[DestinationRequest] = []
        parts: list[Changes] = [*chunks(rows, largest)] if largest else [rows]
        while parts:
            part = parts.pop(0)
            try:
                planned = plan(part)
                if missing := {row.id for row in part} - {row.id for request in planned for row in request.rows}:
                    raise ValueError(f"no request carries {len(missing)} of {len(part)} changes")
            except Exception as error:
                # Halving shows whose values an adapter cannot take; of one that can take nothing, a few say so.
                if largest and len(part) > 1 and faults < GIVEN_UP_AFTER:
                    parts[:0] = _halves(part)
                    continue
                faults += 1
                logger.exception("an adapter planned nothing for %d changes", len(part))
                attempts.append(_fault(DestinationRequest(id=part[0].id, rows=part), error))
                continue
            # A tool refuses a body that is too large as a whole; how large it gets is known only once it is planned.
            is_large = largest and largest_body and any(len(request.body) > largest_body for request in planned)
            if is_large and len(part) > 1:
                parts[:0] = _halves(part)
                continue
            requests += planned
        # A change may be in several calls, such as one that sets a property and one that sends an event.
        owed.update(row.id for request in requests for row in request.rows)
        return requests

    def work_off(lane: list[DestinationRequest]) -> None:
        while lane and not breaker.open:
            if lane[0].wait_s:
                if breaker.is_late_after(lane[0].wait_s):  # with a pause before it is begun anew
                    request = lane.pop(0)
                    attempts.append(Attempt(request, [CallOutcome("retry", NOT_DONE)] * len(request.rows)))
                    return
                time.sleep(lane[0].wait_s)
            # The wait may have been longer than the batch has, or another lane tripped the breaker during it.
            if wait_for_turn and (not wait_for_turn() or breaker.open):
                return
            attempt, following = _attempt(lane.pop(0), call, read)
            if following:
                carried = {row.id for request in following for row in request.rows}
                owed.update(row.id for request in following for row in request.rows)
                owed.subtract(carried)  # what carries them on takes the place of this call
                touched.update(carried)
                lane[:0] = following  # next, before another call about the same person
            rows = attempt.request.rows
            owed.subtract(row.id for row in rows)
            # A call that others follow, and that was answered well, has named whom it refuses.
            is_named = attempt.request.then and 200 <= attempt.status < 300
            if (
                largest
                and len(rows) > 1
                and not is_named
                and all(outcome.kind == "refused" for outcome in attempt.outcomes)
            ):
                lane[:0] = [request for half in _halves(rows) for request in plan_calls(half)]
                continue
            attempts.append(attempt)
            breaker.record(attempt)

    lanes = _lanes(plan_calls(changes))
    if concurrency <= 1 or len(lanes) <= 1:
        for lane in lanes:
            work_off(lane)
    else:
        waiting, threads = deque(lanes), min(concurrency, len(lanes))

        def work_off_what_waits(_: int) -> None:
            # Not a task for each of thousands of lanes: that took a tenth of the time.
            while not breaker.open:
                try:
                    lane = waiting.popleft()
                except IndexError:
                    return
                work_off(lane)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work_off_what_waits, range(threads)))  # as a list, for else nobody would see what one raises
    return _sum_up(changes, attempts, owed, touched)


def _halves(rows: Changes) -> list[Changes]:
    """Someone in it is at fault: two halves show who."""
    return [rows[: len(rows) // 2], rows[len(rows) // 2 :]]


def _lanes(requests: Sequence[DestinationRequest]) -> list[list[DestinationRequest]]:
    """Requests that must follow one another: those about one person."""
    lanes: dict[tuple[str, int], list[DestinationRequest]] = {}
    for index, request in enumerate(requests):
        people = {row.person for row in request.rows}
        key = ("person", next(iter(people))) if len(people) == 1 else ("batch", index)
        lanes.setdefault(key, []).append(request)
    return list(lanes.values())


def _attempt(
    request: DestinationRequest, call: Callable[[DestinationRequest], Answer], read: Read
) -> tuple[Attempt, list[DestinationRequest]]:
    """The call, of the rows that end with it, and the calls that carry on with the others."""
    started = time.monotonic()
    try:
        answer = call(request)
    except Unanswered as error:
        milliseconds = (time.monotonic() - started) * 1000
        outcome = CallOutcome("suspended" if error.permanent else "retry", error.message)
        outcomes = [outcome] * len(request.rows)
        return Attempt(request, outcomes, milliseconds=milliseconds, touched=error.arrived), []
    # A server error may come after the effect; a refusal, a redirect or 429 say that there was none.
    touched = answer.ok or answer.status >= 500 or answer.status == 408
    told = Attempt(request, [], answer.status, answer.text(2000), answer.milliseconds, touched)
    try:
        following = request.then(answer) if request.then and answer.ok else []
        carried = {row.id for after in following for row in after.rows}
        if request.then:
            request = replace(request, rows=[row for row in request.rows if row.id not in carried])
        outcomes = read(request, answer) if request.rows or not following else []
        if len(outcomes) != len(request.rows):
            raise ValueError(f"{len(outcomes)} outcomes for {len(request.rows)} rows")
    except Exception as error:
        logger.exception("an adapter could not read an answer")
        return replace(told, outcomes=_fault(request, error).outcomes), []
    return replace(told, request=request, outcomes=outcomes), following


def _fault(request: DestinationRequest, error: Exception) -> Attempt:
    """Ours, and nobody's who is in it: tried again, since the next release may know better."""
    reason = f"The adapter failed: {type(error).__name__}: {error}"
    return Attempt(request, [CallOutcome("retry", reason)] * len(request.rows))


def _sum_up(changes: Changes, attempts: Sequence[Attempt], owed: Mapping[str, int], before: set[str]) -> SentBatch:
    """The worst outcome of a change over all its calls; delivered only when none is missing.

    before: changes of which a call before their last one may have taken effect.
    """
    outcomes: dict[str, list[CallOutcome]] = {change.id: [] for change in changes}
    touched = set(before)
    waits: list[float] = []
    for attempt in attempts:
        for row, outcome in zip(attempt.request.rows, attempt.outcomes, strict=True):
            outcomes[row.id].append(outcome)
            if attempt.touched:
                touched.add(row.id)
            if outcome.retry_after_s is not None:
                waits.append(outcome.retry_after_s)
    verdicts: dict[str, Verdict] = {}
    for id, own in outcomes.items():
        failed = [outcome for outcome in own if outcome.kind != "delivered"]
        if failed:
            worst = min(failed, key=lambda outcome: WORST_FIRST.index(outcome.kind))
            verdicts[id] = Verdict(worst.kind, worst.reason, id in touched)
        else:
            verdicts[id] = Verdict("delivered" if own and owed[id] <= 0 else "unsent", "", id in touched)
    return SentBatch(attempts, verdicts, max(waits, default=None))
