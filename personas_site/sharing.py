"""How much of the threads that take in events one workspace has while others send and the processor is short. Pure.

Otherwise it has all of them: a large workspace need not make way for a small one where there is room for both.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

OTHERS_S = 10.0  # so long after its last request a workspace counts as one that sends
SHARE = 1.0  # of the time of a thread, for one workspace, in a second: two of three are left for the others
SMOOTHED = 0.1  # how much the last request counts for what requests of a workspace cost
MOST_KNOWN = 10_000


@dataclass
class _Usage:
    at: float = 0.0  # when it sent last
    free_at: float = 0.0  # when its next request may begin
    cost: float = 0.0  # seconds of a thread, of one request


@dataclass
class Shares:
    """Seconds are those of any clock that never goes back. A workspace may be named by anything that can be a key."""

    _usages: dict[Hashable, _Usage] = field(default_factory=dict)  # who sent last is last

    def wait(self, workspace: Hashable, now: float, patience: float, *, short: bool) -> float | None:
        """Seconds until its request may begin, which then counts; None when they are more than `patience`.

        short: there is less processor than there is work.
        """
        usage = self._usages.pop(workspace, None) or _Usage()
        usage.at = now
        newest = next(reversed(self._usages.values()), None)
        self._usages[workspace] = usage
        if len(self._usages) > MOST_KNOWN:
            del self._usages[next(iter(self._usages))]
        if not short or newest is None or newest.at < now - OTHERS_S:
            usage.free_at = now
            return 0.0
        begins = max(now, usage.free_at)
        if begins - now > patience:
            return None
        usage.free_at = begins + usage.cost / SHARE
        return begins - now

    def took(self, workspace: Hashable, seconds: float) -> None:
        """A thread was busy for so long with one of its requests."""
        if usage := self._usages.get(workspace):
            usage.cost += SMOOTHED * (seconds - usage.cost)
