"""PURE. Whom a destination should hold against whom it is known to hold, and which call is next: set algebra."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import blake2b

from pyroaring import BitMap

OUT, IN, MAYBE = 0, 1, 2  # as Acknowledged.State


@dataclass(frozen=True)
class KnownState:
    """What is known of an identifier over there, and of the newest call about it."""

    state: int
    entering: bool
    flip: int
    due: bool


@dataclass(frozen=True)
class NextCall:
    """again: the newest call is repeated byte for byte, since it may have arrived."""

    entering: bool
    flip: int
    again: bool


def next_call(
    known: KnownState | None, desired: bool | None, *, due_now: bool, outdated: bool = False
) -> NextCall | None:
    """The call that brings the destination nearer, or None when it needs none, or none now.

    desired: None while it is unsettled (its profile was merged and the audience has not caught up): then no new call
    is begun, and what was begun is repeated.
    due_now: rows whose retry is due are looked at; otherwise one that waits for its retry is left to wait,
    unless the opposite is desired now.
    outdated: another value of a computed trait is desired than the newest call said.
    """
    if known is None:
        return NextCall(True, 1, again=False) if desired else None  # whoever was never sent need not be taken out
    if desired is None:
        if not due_now:
            return None
        desired = known.entering
    outdated = outdated and desired
    if known.state == (IN if desired else OUT) and not outdated:
        return None
    if known.entering != desired:
        # Another direction has another message id: a receiver must not drop it as a repetition.
        return NextCall(desired, known.flip + 1, again=False)
    if known.due and not due_now:
        return None  # it waits for its retry
    if outdated:
        return NextCall(desired, known.flip + 1, again=False)
    # The newest call asked for just this, and may have arrived, or surely did not.
    return NextCall(desired, known.flip, again=known.state == MAYBE)


def state_after(*, entering: bool, was: int, kind: str, touched: bool) -> int:
    """What is known after an attempt.

    kind: delivered, refused, retry, suspended or unsent. touched: something may have taken effect over there.
    """
    if kind == "delivered":
        return IN if entering else OUT
    # An unanswered call may have arrived; one that surely did not leaves everything as it was.
    return MAYBE if touched else was


EVERY = timedelta(hours=1)  # even when no change names anybody
CALM = timedelta(seconds=5)  # between two comparisons of what is in step and goes on changing
MIDWAY = timedelta(seconds=1)  # in the middle of a pass, where a comparison is for its counts
PATIENCE = timedelta(minutes=5)  # at most, between two comparisons of what goes on differing
PER_SECOND = 20_000  # identifiers: a comparison of so many costs some 50 ms, so comparing takes a twentieth of the time


@dataclass(frozen=True)
class KnownIdentifiers:
    """Identifiers of which the same is known. entering: what the newest call about them asked for.

    due: it is sent again by itself. refused: it is not, until somebody asks for it.
    """

    state: int
    entering: bool
    due: bool
    refused: bool
    numbers: BitMap


@dataclass(frozen=True)
class Comparison:
    """How many identifiers are what, and which of them differ without anybody being about to change that.

    unsettled: those of people who were merged since the newest tick, which are not counted as overlooked. entering,
    leaving: what is still to be sent, whatever keeps it back.
    """

    desired: int
    acknowledged: int
    maybe: int
    refused: int
    due: int
    overlooked: BitMap
    unsettled: int = 0
    entering: int = 0
    leaving: int = 0

    @property
    def equal(self) -> bool:
        """Whether exactly those are acknowledged that are desired."""
        return not (self.overlooked or self.due or self.refused or self.maybe or self.unsettled)

    def without(self, unsettled: BitMap) -> "Comparison":
        """The same with these counted as unsettled: nobody can say yet where they belong."""
        unsettled = self.overlooked & unsettled
        return replace(self, overlooked=self.overlooked - unsettled, unsettled=len(unsettled))

    @property
    def counts(self) -> dict[str, int]:
        names = ("desired", "acknowledged", "maybe", "refused", "due")
        return {name: getattr(self, name) for name in names}


def compare(desired: BitMap, known: Iterable[KnownIdentifiers], outdated: BitMap) -> Comparison:
    """desired: who should be there. known: every identifier that was ever sent, each in one group.

    outdated: those of which another value of a computed trait is desired than the newest call said.
    """
    groups, outdated = list(known), outdated & desired
    # Whoever is there with another value has to be told of again, as if they were not.
    inside = BitMap.union(BitMap(), *(group.numbers for group in groups if group.state == IN)) - outdated
    maybe = BitMap.union(BitMap(), *(group.numbers for group in groups if group.state == MAYBE))
    due = BitMap.union(BitMap(), *(group.numbers for group in groups if group.due))
    differing = (desired ^ inside) | maybe  # of a maybe nobody knows which side it is on
    refused, handled = BitMap(), BitMap()
    for group in groups:
        # A call that asked for the opposite of what is desired now does not mend anything.
        same = differing & group.numbers & desired if group.entering else (differing & group.numbers) - desired
        refused |= same if group.refused else BitMap()
        handled |= same if group.due or group.refused else BitMap()
    return Comparison(
        len(desired),
        len(inside),
        len(maybe),
        len(refused),
        len(due),
        differing - handled,
        entering=len(desired - inside),
        leaving=len((inside | maybe) - desired),
    )


def pause(compared: int) -> timedelta:
    """How long to wait after a comparison of so many identifiers: none after one that costs next to nothing."""
    return timedelta(seconds=compared // PER_SECOND)


def fingerprint(numbers: BitMap) -> str:
    """The same for the same numbers; "" of none."""
    return blake2b(numbers.serialize(), digest_size=16).hexdigest() if numbers else ""
