"""What becomes of a version that could not be evaluated: it is tried again, ever more rarely, and never given up.

What the engine could not answer is not the definition's fault. It has failed only when it was asked alone, often, over
a long time, of an engine that had nothing else to do; and it is tried again then, too.
"""

from datetime import datetime, timedelta

import msgspec

from audiences.models import Version
from audiences.rules.validation import DefinitionError
from spaces.text import storable

FIRST_WAIT = timedelta(seconds=10)  # after the first failure; doubled from one to the next …
LONGEST_WAIT = timedelta(minutes=15)  # … up to this
FAILED_AFTER = 5  # failures alone on an idle engine …
FAILED_WITHIN = timedelta(hours=1)  # … over at least so long
TRIED_AGAIN = timedelta(hours=1)  # one that has failed
READ_AGAIN = timedelta(minutes=5)  # one that this release cannot read: the next one may, and to look costs nothing
LONGEST_REASON = 2_000  # characters: errors quote what they are about
TOUCHES_KEPT = timedelta(days=1)  # for one that is behind; later it is computed in full

State = Version.State


class Trouble(msgspec.Struct, array_like=True):
    """Why a version could not be evaluated now. alone: asked on its own. idle: of an engine that did nothing else."""

    reason: str
    alone: bool = False
    idle: bool = False


def trouble(version: Version, why: Trouble, now: datetime) -> None:
    """It is tried again later, alone, and says why. Saved."""
    # min: the clock may have been put back since.
    version.failing_since = min(version.failing_since or now, now)
    version.error = storable(why.reason[:LONGEST_REASON])
    if why.alone:
        version.failures += 1
        version.idle_failures += why.idle
        version.retry_at = now + min(FIRST_WAIT * 2 ** min(version.failures - 1, 20), LONGEST_WAIT)
    else:  # nobody knows yet whether it is at fault: it is asked alone, and at once
        version.failures = max(version.failures, 1)
    spent = now - version.failing_since
    # Hard to come by on purpose: alone, on an idle engine, often, and over an hour. All else may pass by itself.
    if version.state == State.FAILED or (version.idle_failures >= FAILED_AFTER and spent >= FAILED_WITHIN):
        version.state, version.touched, version.retry_at = State.FAILED, None, now + TRIED_AGAIN
    # Change sets are not kept for ever because of one that is behind: later it starts from a full query.
    elif version.state == State.COMPUTING or spent >= TOUCHES_KEPT:
        version.state, version.touched, version.computed = State.COMPUTING, None, None
    version.save(update_fields=KEPT)


def failed(version: Version, reason: str, now: datetime, *, again: timedelta = TRIED_AGAIN) -> None:
    """It has failed by its own fault, with this reason; it is computed again after `again`. Saved."""
    version.state, version.touched, version.computed = State.FAILED, None, None
    version.failing_since = min(version.failing_since or now, now)
    version.error, version.retry_at = storable(reason[:LONGEST_REASON]), now + again
    version.save(update_fields=KEPT)


def unreadable(error: DefinitionError) -> str:
    return f"This version of Personas cannot read the definition. {error}"


WELL = {"failures": 0, "idle_failures": 0, "failing_since": None, "retry_at": None, "error": ""}
KEPT = ["state", "touched", "computed", *WELL]
