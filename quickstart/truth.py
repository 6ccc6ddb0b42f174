"""Who belongs to an audience, and whose messages belong together, from the data itself: no profile is asked.

A message's event time is known up to an interval: the time a request took moves its messages once it is more than
seconds, and a message without a usable time counts from its receipt. So at one moment some people are members for sure,
and a few, whose message is just crossing the edge of a window, may or may not be.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

DAY_MS = 86_400_000


class Happened(NamedTuple):
    """A person did something, between these two moments (ms, both included)."""

    user_id: str
    event: str
    earliest: int
    latest: int


@dataclass(frozen=True)
class Members:
    """User ids. possible: all of `sure`, and those whose membership hangs on a few seconds."""

    sure: frozenset[str]
    possible: frozenset[str]

    @property
    def unsure(self) -> frozenset[str]:
        return self.possible - self.sure

    def without(self, others: "Members") -> "Members":
        return Members(self.sure - others.possible, self.possible - others.sure)


Truth = Callable[[int], Members]  # as of a moment in ms


def performed(happened: Iterable[Happened], event: str, *, days: int, at_least: int = 1) -> Truth:
    """Who did `event` at least so often in (as of - days, as of]."""
    done = sorted(one for one in happened if one.event == event)  # by person, as groupby needs them
    people = {user_id: [one[2:] for one in group] for user_id, group in groupby(done, key=lambda one: one.user_id)}

    def truth(as_of: int) -> Members:
        start = as_of - days * DAY_MS
        sure = {
            user_id
            for user_id, times in people.items()
            if sum(start < earliest and latest <= as_of for earliest, latest in times) >= at_least
        }
        possible = {
            user_id
            for user_id, times in people.items()
            if sum(start < latest and earliest <= as_of for earliest, latest in times) >= at_least
        }
        return Members(frozenset(sure), frozenset(possible))

    return truth


def but_not(first: Truth, second: Truth) -> Truth:
    """Who belongs to the first and not to the second."""
    return lambda as_of: first(as_of).without(second(as_of))


class Pairs(NamedTuple):
    """Of all pairs of messages. precision: put into one profile rightly; recall: found of those by one person.

    recall_per_person: the mean of everyone's own recall. Pairs grow with the square of the messages, so a single
    busy person whom nobody can recognise moves `recall` by points; this one they all move alike.
    """

    precision: float
    recall: float
    recall_per_person: float


def score(placed: Iterable[tuple[Hashable, Hashable]]) -> Pairs:
    """placed: (profile, person) for each message."""
    together = Counter(placed)
    profiles: Counter[Hashable] = Counter()
    people: Counter[Hashable] = Counter()
    for (profile, person), count in together.items():
        profiles[profile] += count
        people[person] += count
    right = _pairs(together.values())
    own: Counter[Hashable] = Counter()
    for (_, person), count in together.items():
        own[person] += _pairs([count])
    with_pairs = [person for person, count in people.items() if count > 1]
    mean = _share(sum(own[person] / _pairs([people[person]]) for person in with_pairs), len(with_pairs))
    return Pairs(_share(right, _pairs(profiles.values())), _share(right, _pairs(people.values())), mean)


def _pairs(counts: Iterable[int]) -> int:
    return sum(count * (count - 1) // 2 for count in counts)


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 1.0
