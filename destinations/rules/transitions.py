"""PURE. From what is desired and what was acknowledged to the call that is next: set algebra, one row at a time."""

from dataclasses import dataclass

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
