"""Fair turns at a queue: what waits for one workspace keeps no other from being served. Pure."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Generic, TypeVar

MOST_KNOWN = 20_000  # jobs, and workspaces, whose last turn is remembered
LAST_TURNS = 20

Job = TypeVar("Job", bound=Hashable)


@dataclass
class Turns(Generic[Job]):
    """Whose turn it is: the workspace that was served longest ago, and of its jobs the one that was.

    So nobody is served twice while somebody waits who was not served since. most: how many jobs of one workspace may
    run at once, where several run; with fewer than there are threads, one is always left for the others.
    """

    most: float = inf
    _running: dict[Job, int] = field(default_factory=dict)
    _turn: int = 0
    _workspaces: dict[int, int] = field(default_factory=dict)  # the number of the last turn of each, oldest first
    _jobs: dict[Job, int] = field(default_factory=dict)

    def free(self, waiting: Mapping[Job, int]) -> list[Job]:
        """Those of them who wait (job → workspace) that may run now."""
        busy = Counter(self._running.values())
        return [job for job, workspace in waiting.items() if job not in self._running and busy[workspace] < self.most]

    def take(self, waiting: Mapping[Job, int]) -> Job | None:
        """The next of those who wait, which runs from now on; None when none may."""
        free = self.free(waiting)
        if not free:
            return None
        job = min(free, key=lambda job: (self._workspaces.get(waiting[job], 0), self._jobs.get(job, 0)))
        self._turn += 1
        _note(self._workspaces, waiting[job], self._turn)
        _note(self._jobs, job, self._turn)
        self._running[job] = waiting[job]
        return job

    def shared(self, workspace: int, *, lanes: int = 1) -> bool:
        """Whether so many other workspaces had one of the last turns that they cannot all have a lane of their own."""
        others = (turn for other, turn in reversed(self._workspaces.items()) if other != workspace)
        return next(islice(others, lanes - 1, None), 0) > max(self._turn - LAST_TURNS, 0)

    def done(self, job: Job) -> None:
        """It runs no more."""
        self._running.pop(job, None)


def _note(turns: dict[Job, int], of: Job, turn: int) -> None:
    """The newest is last, so that those whose turn is longest ago are forgotten first: they stay the first in line."""
    turns.pop(of, None)
    turns[of] = turn
    if len(turns) > MOST_KNOWN:
        for old in list(islice(turns, MOST_KNOWN // 2)):
            del turns[old]
