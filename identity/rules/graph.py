"""PURE. The part of a space's identity graph that one batch touches, moved on event by event by the rules.

It starts from the profiles that hold any identifier of the batch, and ends with everything that has to be written.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from identity.rules.decision import BrokenRule, Candidate, Decision, decide
from identity.rules.policy import Identifier, Policy
from identity.rules.splits import SplitIndex

# Who owns one of these is known; someone with only device or anonymous ids is not.
KNOWN_TYPES = frozenset({"user_id", "email", "android.idfa", "ios.idfa"})
ACCOUNT_TYPE = "group_id"
NO_PROFILE = 0  # numbers of profiles start at 1


@dataclass(slots=True)
class Node:
    """A profile in the working graph. identifiers: with the event time (ms) of the event that brought each."""

    number: int
    identifiers: dict[Identifier, int]
    merges: int = 0
    merged_into: "Node | None" = None

    @property
    def is_known(self) -> bool:
        return any(type in KNOWN_TYPES for type, _ in self.identifiers)

    @property
    def is_account(self) -> bool:
        return any(type == ACCOUNT_TYPE for type, _ in self.identifiers)


Refused = tuple[str, str, str]  # (type, value, the rule that it would have broken)


@dataclass(slots=True)
class SeenSet:
    """What the batch saw of one set of identifiers, and whose it was the last time.

    first, last: event times; first_index, last_index: their events in the batch.
    """

    node: Node
    refused: list[Refused]
    events: int
    first: int
    first_index: int
    last: int
    last_index: int


@dataclass(frozen=True, slots=True)
class MergedPair:
    loser: int
    winner: int
    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Gained:
    """An identifier that came to a profile: at which event time, by which event of the batch."""

    identifier: Identifier
    at: int
    index: int


@dataclass
class IdentityGraph:
    """policy, splits: the rules of the space. nodes: complete profiles. last_…: the newest numbers given out before.

    numbers: by event, those that a profile it creates may have again, since it is resolved once more.
    not_moved: what was moved by hand to another profile, and why it cannot be there.
    """

    policy: Policy
    nodes: Iterable[Node]
    last_profile: int
    last_identifier: int
    splits: SplitIndex = field(default_factory=SplitIndex)
    numbers: Mapping[int, int] = field(default_factory=dict)
    created: dict[int, int] = field(default_factory=dict)  # number -> event time
    merged: list[MergedPair] = field(default_factory=list)
    gained: list[Gained] = field(default_factory=list)
    seen_sets: dict[tuple[Identifier, ...], SeenSet] = field(default_factory=dict)
    not_moved: dict[Identifier, BrokenRule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.holder = {identifier: node for node in self.nodes for identifier in node.identifiers}
        self.known_before = {node.number for node in self.nodes if node.is_known}

    def resolve(self, identifiers: tuple[Identifier, ...], at: int, index: int) -> int:
        """The number of the profile that the event belongs to now; NO_PROFILE when it carries no identifier."""
        if not identifiers:
            return NO_PROFILE
        # Most events carry a set that was seen before: a repeat of a fully accepted one cannot change the graph.
        seen = self.seen_sets.get(identifiers)
        if seen is None:
            node, refused = self._decide(identifiers, at, index)
            self.seen_sets[identifiers] = SeenSet(node, refused, 1, at, index, at, index)
            return node.number
        # What was refused may be accepted by now: a period has passed, or the profiles have merged another way.
        if seen.refused:
            seen.node, seen.refused = self._decide(identifiers, at, index)
        while seen.node.merged_into:  # a set that was accepted whole stays together, wherever its profile goes
            seen.node = seen.node.merged_into
        seen.events += 1
        if at < seen.first:
            seen.first, seen.first_index = at, index
        if at >= seen.last:
            seen.last, seen.last_index = at, index
        return seen.node.number

    def _decide(self, identifiers: tuple[Identifier, ...], at: int, index: int) -> tuple[Node, list[Refused]]:
        """The node that the rules give the event to, with all that follows from it, and what was left out."""
        holders = self._holders(identifiers)
        if len(holders) == 1 and all(identifier in self.holder for identifier in identifiers):
            return next(iter(holders.values())), []  # one profile holds them all: the rules would change nothing
        decision = self._decision(identifiers, holders, at)
        # Never refused: there is an identifier, and a single one breaks no rule (`decide`).
        node = self._apply(decision, holders, at, index)
        # The event stays the profile's that it was, though that may lose to another one now: by it a profile that is
        # resolved once more finds its number again.
        if self.splits.moved:
            self._bring_moved(decision.new, at, index)
        return node, [(*dropped.identifier, str(dropped.broken_rule)) for dropped in decision.dropped]

    def _bring_moved(self, gained: Iterable[Identifier], at: int, index: int) -> None:
        """With these came what was moved to them by hand, unless a rule forbids it."""
        homes = deque(gained)
        while homes:
            home = homes.popleft()
            for moved in self.splits.moved.get(home, ()):
                pair = home, moved
                holders = self._holders(pair)
                decision = self._decision(pair, holders, at)
                # There is no event whose rest has to be somebody's: what may not go there stays where it is.
                if decision.dropped:
                    self.not_moved[moved] = decision.dropped[-1].broken_rule
                    continue
                self._apply(decision, holders, at, index, why="moved by hand: ")
                homes += decision.new  # others may have been moved to what was moved

    def _holders(self, identifiers: Iterable[Identifier]) -> dict[int, Node]:
        return {node.number: node for identifier in identifiers if (node := self.holder.get(identifier))}

    def _decision(self, identifiers: Iterable[Identifier], holders: Mapping[int, Node], at: int) -> Decision:
        candidates = [Candidate(node.number, node.identifiers, node.merges) for node in holders.values()]
        return decide(identifiers, candidates, at=at, policy=self.policy, sides=self.splits.sides)

    def _apply(self, decision: Decision, holders: Mapping[int, Node], at: int, index: int, *, why: str = "") -> Node:
        """The node that is decided on, with what it gains. why: before the reason of its merges."""
        if decision.profile is None:
            number = self.numbers.get(index)
            if number is None or number in self.created:
                number = self.last_profile = self.last_profile + 1
            self.created[number] = at
            node = Node(number, {})
        else:
            node = holders[decision.profile]
        for number in decision.merged:
            loser = holders[number]
            loser.merged_into = node
            node.identifiers |= loser.identifiers
            node.merges += loser.merges + 1
            self.holder.update(dict.fromkeys(loser.identifiers, node))
            self.merged.append(MergedPair(loser.number, node.number, index, why + decision.reason))
        for identifier in decision.new:
            node.identifiers[identifier] = at
            self.holder[identifier] = node
            self.gained.append(Gained(identifier, at, index))
        return node

    def winners(self) -> dict[int, int]:
        """The last winner of each profile that was merged in this batch."""
        last: dict[int, int] = {}
        # From the end: whoever won a merge may have lost a later one.
        for merge in reversed(self.merged):
            last[merge.loser] = last.get(merge.winner, merge.winner)
        return last

    def alive(self) -> dict[int, Node]:
        """The profiles that hold any identifier, by number."""
        return {node.number: node for node in self.holder.values()}

    def became_known(self) -> list[int]:
        """Profiles that were there, were not known, and are now."""
        gained = {self.holder[gained.identifier].number for gained in self.gained}
        older = (gained | set(self.winners().values())) - self.known_before - self.created.keys()
        nodes = self.alive()
        return sorted(number for number in older if nodes[number].is_known)
