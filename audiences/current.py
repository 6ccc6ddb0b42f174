"""Who is in what just now, as this process knows it: for reads that are many. It is at most AGE_S old."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pyroaring import BitMap

from audiences.models import Audience
from audiences.queries import members_again_of
from spaces.batches import Visible, visible_logs

AGE_S = 1.0
MOST_KNOWN = 64  # spaces


@dataclass(frozen=True)
class CurrentComputation:
    """An audience or a computed trait that is computed, with its members: whoever is in it, or has a value."""

    pk: int
    public_id: str
    key: str
    kind: str
    of: str
    version: int
    members: BitMap


@dataclass(frozen=True)
class CurrentSpace:
    """log: of evaluate, as of when the members were read."""

    known_at: float
    log: Visible
    computations: Sequence[CurrentComputation]


_lock = threading.Lock()  # of the table alone: no space waits while another one is read
_known: dict[int, CurrentSpace] = {}


def current(space_id: int) -> CurrentSpace:
    """All that is kept up to date in a space, by key."""
    known = _known.get(space_id)
    if known and time.monotonic() - known.known_at < AGE_S:
        return known
    known_at = time.monotonic()  # before it is read: what is older than it says would be too old
    log = visible_logs(stage="evaluate", partitions=[space_id])[space_id]
    serving = Audience.everything.filter(space=space_id, deleted_at=None, serving__isnull=False).order_by("key")
    rows = list(serving.values_list("pk", "public_id", "key", "kind", "of", "serving"))
    members = members_again_of([pk for pk, *_ in rows])
    known = CurrentSpace(known_at, log, [CurrentComputation(*row, members[row[0]]) for row in rows])
    with _lock:
        _known.pop(space_id, None)
        # The oldest first, as a dict keeps its order; a space that is read goes to its end.
        while len(_known) >= MOST_KNOWN:
            del _known[next(iter(_known))]
        _known[space_id] = known
    return known


def forget() -> None:
    """What is asked next is read anew."""
    _known.clear()
