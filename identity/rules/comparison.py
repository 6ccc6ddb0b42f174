"""PURE. Who would be who in a space if its rules were others, beside who is who now.

Everything that the space has seen is resolved once more, in memory and in the order in which it was resolved first.
What is compared are sets of identifiers and whose events are whose; numbers and ids follow from these.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest

from identity.rules.graph import NO_PROFILE, IdentityGraph, Node
from identity.rules.policy import Identifier, Policy
from identity.rules.splits import SplitIndex

LARGEST = 10


@dataclass(frozen=True)
class FutureProfile:
    """A profile as it would be. identifiers: the oldest first. of: the numbers of today's whose identifiers it has."""

    identifiers: tuple[Identifier, ...]
    events: int
    of: tuple[int, ...]


@dataclass(frozen=True)
class DifferingPeople:
    """Profiles that nothing links to any others, by any event, and that would not be what they are.

    now: today's numbers. is_shown: who is who differs; else only what later events go by, such as how often one merged.
    """

    now: tuple[int, ...]
    events: int
    future: tuple[FutureProfile, ...]
    is_shown: bool


@dataclass(frozen=True)
class RulesFigures:
    """How many people there are, and would be.

    unchanged: they keep their identifiers and events, and get no others. merged: of today's, those who would be one
    person with another of today's. split: those whose identifiers would be several people's. gone: those who would
    have no identifier left. new: people of whom nobody has an identifier today. nobodys: events that would be nobody's.
    """

    before: int
    after: int
    unchanged: int
    merged: int
    split: int
    gone: int
    new: int
    nobodys: int


@dataclass
class _Disjoint:
    """Sets that grow together: union by size, and paths that are halved on the way."""

    parent: dict[Hashable, Hashable] = field(default_factory=dict)
    size: Counter[Hashable] = field(default_factory=Counter)

    def root(self, one: Hashable) -> Hashable:
        parent = self.parent
        if one not in parent:
            parent[one] = one
            return one
        while parent[one] != one:
            parent[one] = one = parent[parent[one]]
        return one

    def union(self, one: Hashable, other: Hashable) -> None:
        small, large = self.root(one), self.root(other)
        if small == large:
            return
        # The smaller below the larger, so that no path gets long.
        if self.size[small] > self.size[large]:
            small, large = large, small
        self.parent[small] = large
        self.size[large] += self.size[small] + 1


class RulesComparison:
    """now: the people of today, by number, with all they hold. Feed it what was seen, then ask."""

    def __init__(self, policy: Policy, splits: SplitIndex, now: Mapping[int, Node]) -> None:
        self.now = now
        self.graph = IdentityGraph(policy, [], 0, 0, splits)
        self._events: Counter[tuple[int, int]] = Counter()  # by (profile of today, profile it would be, of its moment)
        self._together = _Disjoint()
        self._seen: set[tuple[tuple[Identifier, ...], int]] = set()
        self._count = 0
        for number, node in now.items():
            for identifier in node.identifiers:
                # What they hold today keeps them together, whatever the other rules would read.
                self._together.union(number, identifier)
        for home, moved in splits.moved.items():
            for identifier in moved:
                self._together.union(home, identifier)

    def see(self, identifiers: tuple[Identifier, ...], at: int, profile: int, *, events: int = 1) -> None:
        """An event with these identifiers of a person, at a time in ms. profile: whose it is today, by the number that
        is left; 0 = nobody's. events: 0 for a set whose events are not kept any more."""
        self._count += 1
        # One by one, as live events come: limits depend on the order.
        future = self.graph.resolve(identifiers, at, self._count)
        self._events[profile, future] += events
        # By the same set of the same person again only the graph learns something.
        if (identifiers, profile) in self._seen:
            return
        self._seen.add((identifiers, profile))
        # Also what is refused: by it those who carry it and those who hold it depend on one another.
        if identifiers:
            for one in (*([profile] if profile else ()), *identifiers[1:]):
                self._together.union(identifiers[0], one)

    def differing(self) -> list[DifferingPeople]:
        """Whoever would not be what they are, those with most events first."""
        alive, events = self.graph.alive(), self._final_events()
        events_of: Counter[int] = Counter()
        for (before, _), count in events.items():
            events_of[before] += count
        same, exact = self._kept(alive, events)
        # Whole components: one person cannot be resolved once more without whoever shares an identifier.
        roots = {self._together.root(number) for number in self.now if number not in exact}
        for number, node in alive.items():
            # Somebody who would be new is nobody's neighbour of today, and counts by their own identifiers.
            if number not in exact.values():
                roots.add(self._together.root(next(iter(node.identifiers))))
        now: defaultdict[Hashable, list[int]] = defaultdict(list)
        future: defaultdict[Hashable, list[Node]] = defaultdict(list)
        for number in self.now:
            if (root := self._together.root(number)) in roots:
                now[root].append(number)
        for node in alive.values():
            if (root := self._together.root(next(iter(node.identifiers)))) in roots:
                future[root].append(node)
        holders, events_after = self._holders_now(), self._events_after(events)
        parts = [
            DifferingPeople(
                tuple(sorted(now[root])),
                sum(events_of[number] for number in now[root]),
                tuple(
                    FutureProfile(tuple(node.identifiers), events_after[node.number], _of(node, holders))
                    for node in sorted(future[root], key=lambda node: node.number)
                ),
                any(number not in same for number in now[root]),
            )
            for root in roots
        ]
        # By number, too: a dry run that is repeated shows the same samples.
        return sorted(parts, key=lambda part: (-part.events, part.now))

    def figures(self) -> RulesFigures:
        alive, events = self.graph.alive(), self._final_events()
        same, _ = self._kept(alive, events)
        homes = {number: self._homes(node) for number, node in self.now.items()}
        # How many of today's people each future profile has identifiers of.
        crowd = Counter(home for own in homes.values() for home in own)
        holders = self._holders_now()
        return RulesFigures(
            before=len(self.now),
            after=len(alive),
            unchanged=len(same),
            merged=sum(any(crowd[home] > 1 for home in own) for own in homes.values()),
            split=sum(len(own) > 1 for own in homes.values()),
            gone=sum(not own for own in homes.values()),
            new=sum(not _of(node, holders) for node in alive.values()),
            nobodys=sum(count for (before, after), count in events.items() if before and after == NO_PROFILE),
        )

    def largest(self) -> list[FutureProfile]:
        """The profiles that would have most identifiers."""
        events, holders = self._events_after(self._final_events()), self._holders_now()
        nodes = nlargest(LARGEST, self.graph.alive().values(), key=lambda node: (len(node.identifiers), -node.number))
        return [FutureProfile(tuple(node.identifiers), events[node.number], _of(node, holders)) for node in nodes]

    def _final_events(self) -> Counter[tuple[int, int]]:
        winners = self.graph.winners()
        events: Counter[tuple[int, int]] = Counter()
        # It was noted by the number of its moment; merges that came later moved it on.
        for (before, after), count in self._events.items():
            events[before, winners.get(after, after)] += count
        return events

    def _kept(
        self, alive: Mapping[int, Node], events: Mapping[tuple[int, int], int]
    ) -> tuple[set[int], dict[int, int]]:
        """Of today's numbers those who stay the same, and of those who stay so in everything, by whom they would be."""
        goes_to, comes_from = defaultdict(set), defaultdict(set)
        for (before, after), count in events.items():
            # Sets whose events are gone move no events.
            if count:
                goes_to[before].add(after)
                comes_from[after].add(before)
        same, exact = set(), {}
        for number, node in self.now.items():
            homes = self._homes(node)
            if len(homes) != 1:
                continue
            (home,) = homes
            future = alive[home]
            # The same person with one identifier more is a change that destinations are told of.
            if future.identifiers.keys() != node.identifiers.keys():
                continue
            if goes_to[number] <= {home} and comes_from[home] <= {number}:
                same.add(number)
                if (future.identifiers, future.merges) == (node.identifiers, node.merges):
                    exact[number] = home
        return same, exact

    def _homes(self, node: Node) -> set[int]:
        holder = self.graph.holder
        return {holder[identifier].number for identifier in node.identifiers if identifier in holder}

    def _holders_now(self) -> dict[Identifier, int]:
        return {identifier: number for number, node in self.now.items() for identifier in node.identifiers}

    def _events_after(self, events: Mapping[tuple[int, int], int]) -> Counter[int]:
        after: Counter[int] = Counter()
        for (_, number), count in events.items():
            after[number] += count
        return after


def _of(node: Node, holders: Mapping[Identifier, int]) -> tuple[int, ...]:
    return tuple(sorted({holders[identifier] for identifier in node.identifiers if identifier in holders}))
