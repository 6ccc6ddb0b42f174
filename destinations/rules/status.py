"""PURE. How a subscription stands, and how several stand together: a status is its worst part."""

from collections.abc import Iterable
from dataclasses import dataclass

SUSPENDED, PARKED, FAILING, REFUSED, DIFFERS = "suspended", "parked", "failing", "refused", "differs"
RETRYING, WAITING, SYNCING, IN_STEP, DISABLED = "retrying", "waiting", "syncing", "in_step", "disabled"
CAPPED = "capped"  # more people than may go without a nod

# What somebody switched off is no fault: it counts only where there is nothing else.
WORST_FIRST = (SUSPENDED, PARKED, FAILING, REFUSED, DIFFERS, CAPPED, RETRYING, WAITING, SYNCING, IN_STEP, DISABLED)
STOPPED = (SUSPENDED, PARKED, FAILING)  # no call gets through
TONES = {
    **dict.fromkeys((SUSPENDED, PARKED, FAILING, REFUSED, DIFFERS), "bad"),
    **dict.fromkeys((CAPPED, RETRYING), "warn"),
    **dict.fromkeys((WAITING, SYNCING), "busy"),
    IN_STEP: "good",
    DISABLED: "",
}
FAILING_AFTER = 3  # batches in a row without one success: until then it may be a hiccup
ALARMED_AFTER = 3  # comparisons in a row with the same differences, though calls were made about them


@dataclass(frozen=True)
class SubscriptionFacts:
    """What the status of a subscription is read from.

    stopped: "suspended" or "parked" while it is. failures: batches in a row without one success. refused, unsettled:
    identifiers. due: calls wait for another try. repeated: comparisons in a row with the same differences.
    capped: more people than the cap of a run wait for a nod.
    sending: a pass is under way, or is to begin. equal: what is desired was compared with what was acknowledged, and
    nothing was left open since.
    """

    enabled: bool = True
    computed: bool = True
    stopped: str = ""
    failures: int = 0
    refused: int = 0
    due: bool = False
    repeated: int = 0
    unsettled: int = 0
    capped: bool = False
    sending: bool = False
    equal: bool = False


def worst(statuses: Iterable[str]) -> str:
    """The one that says most about what is wrong; "" of none."""
    return min(statuses, key=WORST_FIRST.index, default="")


def status_of(facts: SubscriptionFacts) -> str:
    """The worst of what holds; what was switched off says nothing else."""
    if not facts.enabled:
        return DISABLED
    # Several may hold at once; what somebody has to do something about outweighs what passes by itself.
    parts = {
        facts.stopped: bool(facts.stopped),
        FAILING: facts.failures >= FAILING_AFTER,
        REFUSED: facts.refused > 0,
        DIFFERS: facts.repeated >= ALARMED_AFTER,
        CAPPED: facts.capped,
        RETRYING: facts.failures > 0 or facts.due,
        WAITING: not facts.computed or facts.unsettled > 0,
        SYNCING: facts.sending or not facts.equal,
        IN_STEP: True,
    }
    return worst(part for part, holds in parts.items() if holds)
