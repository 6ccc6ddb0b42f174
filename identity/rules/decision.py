"""PURE. Which profile an event belongs to.

Times are event times in milliseconds. Source: Segment's identity resolution (spec/segment.md §5), read so:
- the oldest profile is the one with the smallest number, because numbers are given in the order of creation;
- "first seen" is the time of the event that made the mapping. It never moves, not even when an older event arrives
  late: so a repeat of an accepted set changes nothing;
- only a type that the event or the merge adds to can break its limit: tightened rules leave old profiles alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Literal

import msgspec

from identity.rules.policy import PERIOD_MS, Identifier, Limit, Policy
from identity.rules.splits import Sides, is_apart


class Candidate(msgspec.Struct, frozen=True):
    """A profile that holds at least one of the event's identifiers.

    identifiers: all it holds, with the event time (ms) of the event that brought each.
    merges: how many profiles it has taken in so far, directly or through those.
    """

    profile: int
    identifiers: Mapping[Identifier, int]
    merges: int = 0


Why = Literal["value_limit", "time_limit", "merge_cap", "mapping_cap", "split"]


class BrokenRule(msgspec.Struct, frozen=True):
    """The rule that a would-be profile breaks. `type` is the type over its limit, None for a cap or a split."""

    why: Why
    limit: Limit | None = None
    type: str | None = None

    def __str__(self) -> str:
        if self.limit is None:
            return "they were split by hand"
        if self.type:
            return f"{self.type} allows {self.limit}"
        return f"a profile allows {self.limit.count} {'merges' if self.why == 'merge_cap' else 'identifiers'}"


class Dropped(msgspec.Struct, frozen=True):
    """An identifier of the event that was left out so that the rest could resolve."""

    identifier: Identifier
    broken_rule: BrokenRule

    def __str__(self) -> str:
        return f"{self.identifier[0]} {self.identifier[1]} left out: {self.broken_rule}"


class Decision(msgspec.Struct, frozen=True):
    """What AttachEvent, CreateProfile, MergeProfiles and RefuseEvent have in common.

    accepted: the event's identifiers that now belong to the profile, most trusted first; new: those not there before.
    dropped: in the order they were left out. With none dropped the set is fully accepted: a repeat changes nothing.
    """

    profile: int | None = None
    merged: tuple[int, ...] = ()
    accepted: tuple[Identifier, ...] = ()
    new: tuple[Identifier, ...] = ()
    dropped: tuple[Dropped, ...] = ()

    @property
    def reason(self) -> str:
        """One line for people; made when asked for, because hardly any decision is ever looked at."""
        return "; ".join(map(str, [self, *self.dropped]))


class AttachEvent(Decision, frozen=True):
    """The event belongs to `profile`, which gains `new` (often nothing)."""

    def __str__(self) -> str:
        return f"attached to profile {self.profile}" + (f", adding {_names(self.new)}" if self.new else "")


class CreateProfile(Decision, frozen=True):
    """No profile holds any of `accepted`: a profile is to be created that holds all of them."""

    def __str__(self) -> str:
        return f"new profile with {_names(self.new)}"


class MergeProfiles(Decision, frozen=True):
    """`profile`, the oldest, takes in `merged` (oldest first) and `new`; the event belongs to it."""

    def __str__(self) -> str:
        others = ", ".join(map(str, self.merged))
        shared = [identifier for identifier in self.accepted if identifier not in self.new]
        return f"profile {self.profile} takes in {others}, joined by {_names(shared)}"


class RefuseEvent(Decision, frozen=True):
    """The event belongs to no profile."""

    def __str__(self) -> str:
        return "no matching identifiers on event"


def _names(identifiers: Iterable[Identifier]) -> str:
    return ", ".join(f"{type} {value}" for type, value in identifiers)


def decide(
    identifiers: Iterable[Identifier],
    candidates: Sequence[Candidate],
    *,
    at: int,
    policy: Policy,
    sides: Sides = MappingProxyType({}),
) -> Decision:
    """Choose the profile an event belongs to.

    identifiers: what the event carries, none of them blocked, in any order.
    candidates: every profile that holds any of them, in any order. at: the event's time in ms. sides: what was split.
    As long as the would-be profile breaks a rule, the event's least trusted identifier is left out and the profiles
    are looked for again, whichever type broke the rule. A single identifier breaks none, so only an event without
    any is refused. Raises nothing. Source: spec §5, "Algorithm per event".
    """
    left = sorted(set(identifiers), key=policy.priority)  # the least trusted is the last, and goes first
    dropped: list[Dropped] = []
    while left:
        holders = [candidate for candidate in candidates if not candidate.identifiers.keys().isdisjoint(left)]
        new = [identifier for identifier in left if not any(identifier in holder.identifiers for holder in holders)]
        broken_rule = _broken_rule(holders, new, at, policy, sides)
        if broken_rule:  # not the type that broke it: who is least trusted may have brought the profiles together
            dropped.append(Dropped(left.pop(), broken_rule))
            continue
        accepted = tuple(left), tuple(new), tuple(dropped)
        if not holders:
            return CreateProfile(None, (), *accepted)
        oldest, *others = sorted(holder.profile for holder in holders)
        return MergeProfiles(oldest, tuple(others), *accepted) if others else AttachEvent(oldest, (), *accepted)
    return RefuseEvent(dropped=tuple(dropped))


def _broken_rule(
    holders: list[Candidate], new: list[Identifier], at: int, policy: Policy, sides: Sides
) -> BrokenRule | None:
    """The first rule, splits, limits by priority and then caps, that one profile of all `holders` with `new` would
    break."""
    if not new and len(holders) == 1:  # what is there already stays, though rules that came later would forbid it
        return None
    if sides and is_apart(chain(new, *(holder.identifiers for holder in holders)), sides):
        return BrokenRule("split")
    # For each type of which the would-be profile has more than each holder alone, all first-seen times. Only these:
    # tightened rules leave old profiles alone.
    spread = Counter(type for holder in holders for type in {type for type, _ in holder.identifiers})
    times_by_type: dict[str, list[int]] = {type: [] for type, count in spread.items() if count > 1}
    for type, _ in new:
        times_by_type.setdefault(type, []).append(at)
    for holder in holders:
        for (type, _), first_seen in holder.identifiers.items():
            if type in times_by_type:
                times_by_type[type].append(first_seen)
    over = [type for type, times in times_by_type.items() if _is_over(times, policy.limit(type))]
    if over:
        type = min(over, key=lambda type: policy.priority((type, "")))
        limit = policy.limit(type)
        return BrokenRule("value_limit" if limit.period == "ever" else "time_limit", limit, type)
    merges = sum(holder.merges for holder in holders) + len(holders) - 1
    if len(holders) > 1 and merges > policy.max_merges:
        return BrokenRule("merge_cap", Limit(policy.max_merges))
    if sum(len(holder.identifiers) for holder in holders) + len(new) > policy.max_mappings:
        return BrokenRule("mapping_cap", Limit(policy.max_mappings))
    return None


def _is_over(times: list[int], limit: Limit) -> bool:
    """Whether some window of one period, (end - period, end], has more of the times than the limit allows."""
    count = limit.count
    if len(times) <= count:
        return False
    period = PERIOD_MS[limit.period]
    if period is None:  # ever
        return True
    times = sorted(times)  # events come late and out of order; each time and the count-th after it span a window
    return any(later - first < period for first, later in zip(times, times[count:], strict=False))
