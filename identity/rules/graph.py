"""PURE. The part of a space's identity graph that one batch touches, moved on event by event by the rules.

It starts from the profiles that hold any identifier of the batch, and ends with everything that has to be written.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from identity.rules.decision import Candidate, Decision, Identifier, Outcome, Policy, decide

# Who owns one of these is known; someone with only device or anonymous ids is not.
KNOWN_TYPES = frozenset({"user_id", "email", "android.idfa", "ios.idfa"})
ACCOUNT_TYPE = "group_id"
NOBODY = 0  # numbers of profiles start at 1


@dataclass(slots=True)
class Node:
    """A profile in the working graph. held: each identifier with the event time (ms) of the event that brought it."""

    number: int
    held: dict[Identifier, int]
    merges: int = 0
    into: "Node | None" = None  # the winner, once it was merged

    @property
    def known(self) -> bool:
        return any(type in KNOWN_TYPES for type, _ in self.held)

    @property
    def is_account(self) -> bool:
        return any(type == ACCOUNT_TYPE for type, _ in self.held)


Refused = tuple[str, str, str]  # (type, value, what it was refused for)


@dataclass(slots=True)
class Sight:
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
class Merged:
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
class Graph:
    """policy: the space's. nodes: complete profiles. last_…: the newest numbers given out before."""

    policy: Policy
    nodes: Iterable[Node]
    last_profile: int
    last_identifier: int
    created: dict[int, int] = field(default_factory=dict)  # number -> event time
    merged: list[Merged] = field(default_factory=list)
    gained: list[Gained] = field(default_factory=list)
    sights: dict[tuple[Identifier, ...], Sight] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.holder = {identifier: node for node in self.nodes for identifier in node.held}
        self.known_before = {node.number for node in self.nodes if node.known}

    def resolve(self, identifiers: tuple[Identifier, ...], at: int, index: int) -> int:
        """The number of the profile that the event belongs to now; NOBODY when it carries no identifier."""
        if not identifiers:
            return NOBODY
        sight = self.sights.get(identifiers)
        if sight is None:
            node, refused = self._judge(identifiers, at, index)
            self.sights[identifiers] = Sight(node, refused, 1, at, index, at, index)
            return node.number
        if sight.refused:
            sight.node, sight.refused = self._judge(identifiers, at, index)
        while sight.node.into:  # a set that was accepted whole stays together, wherever its profile goes
            sight.node = sight.node.into
        sight.events += 1
        if at < sight.first:
            sight.first, sight.first_index = at, index
        if at >= sight.last:
            sight.last, sight.last_index = at, index
        return sight.node.number

    def _judge(self, identifiers: tuple[Identifier, ...], at: int, index: int) -> tuple[Node, list[Refused]]:
        found = {node.number: node for each in identifiers if (node := self.holder.get(each))}
        if len(found) == 1 and all(each in self.holder for each in identifiers):
            return next(iter(found.values())), []  # one profile holds them all: the rules would change nothing
        candidates = [Candidate(node.number, node.held, node.merges) for node in found.values()]
        decision = decide(identifiers, candidates, at=at, policy=self.policy)
        refused = [(*each.identifier, str(each.problem)) for each in decision.dropped]
        return self._apply(decision, found, at, index), refused

    def _apply(self, decision: Decision, found: dict[int, Node], at: int, index: int) -> Node:
        # Refuse does not happen here: a single identifier breaks no rule (rules.decide).
        node = self._create(at) if decision.profile is None else found[decision.profile]
        for loser in decision.merged:
            self._absorb(node, found[loser], decision, index)
        for identifier in decision.new:
            node.held[identifier] = at
            self.holder[identifier] = node
            self.gained.append(Gained(identifier, at, index))
        return node

    def _create(self, at: int) -> Node:
        self.last_profile += 1
        self.created[self.last_profile] = at
        return Node(self.last_profile, {})

    def _absorb(self, winner: Node, loser: Node, decision: Outcome, index: int) -> None:
        loser.into = winner
        winner.held |= loser.held
        winner.merges += loser.merges + 1
        self.holder.update(dict.fromkeys(loser.held, winner))
        self.merged.append(Merged(loser.number, winner.number, index, decision.reason))

    # what came of it

    def winners(self) -> dict[int, int]:
        """The last winner of each profile that was merged in this batch."""
        last: dict[int, int] = {}
        for merge in reversed(self.merged):
            last[merge.loser] = last.get(merge.winner, merge.winner)
        return last

    def alive(self) -> dict[int, Node]:
        """The profiles that hold any identifier, by number."""
        return {node.number: node for node in self.holder.values()}

    def became_known(self) -> list[int]:
        """Profiles that were there, were not known, and are now."""
        changed = {self.holder[each.identifier].number for each in self.gained} | set(self.winners().values())
        nodes = self.alive()
        old = changed - self.known_before - self.created.keys()
        return sorted(number for number in old if nodes[number].known)
