"""`python -m benchmarks.accuracy`: how well people are told apart, and how much of what they did is together.

The quickstart's shop and three harder worlds (benchmarks.people) are resolved in memory by the rules of the product: by
the default ones, and by those that *Insights* recommends, applied until it recommends nothing more. Messages that are
nobody's are together with no other. The figures are the same every day.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.people import CallCentre, Reinstalls, SharedTablets
from identity.rules.extract import identifiers
from identity.rules.graph import IdentityGraph, Node
from identity.rules.insights import (
    ADVISED,
    MOST_BLOCKED,
    MOST_OVER,
    Hub,
    Recommendation,
    Times,
    is_shared,
    recommendations,
    type_of,
)
from identity.rules.policy import DEFAULT_POLICY, Identifier, Policy
from identity.rules.policy_changes import policy_changes
from quickstart.shop import STORY_END, Sent, Shop, Size
from quickstart.truth import Pairs, score

MOST_ROUNDS = 10  # of recommendations


@dataclass(frozen=True)
class Accuracy:
    """One world. policy: what was recommended in the end, after so many rounds."""

    messages: int
    default: Pairs
    recommended: Pairs
    policy: Policy
    rounds: int


def worlds(scale: float = 1.0) -> dict[str, Callable[[], list[Sent]]]:
    """By name what makes the messages, the oldest first. scale: 1 = as in the docs."""

    def shop() -> list[Sent]:
        size = Size(round(6_000 * scale), round(1_200 * scale), round(205_000 * scale))
        return sorted(Shop(seed=1, anchor=STORY_END, size=size).distinct, key=lambda sent: sent.at)

    return {
        "the quickstart's shop": shop,
        "families that share a tablet": SharedTablets(1, round(1_000 * scale)).sent,
        "a call centre's mailboxes": CallCentre(1, round(2_000 * scale)).sent,
        "apps installed again and again": Reinstalls(1, round(1_000 * scale)).sent,
    }


def accuracy_of(sent: Sequence[Sent]) -> Accuracy:
    """Of these messages, resolved in their order."""
    policy, rounds = DEFAULT_POLICY, 0
    graph, default = resolved(sent, policy)
    pairs = default
    while rounds < MOST_ROUNDS and (recommended := recommended_by(graph, policy)):
        rounds += 1
        for recommendation in recommended:
            policy = recommendation.applied(policy)
        graph, pairs = resolved(sent, policy)
    return Accuracy(len(sent), default, pairs, policy, rounds)


def resolved(sent: Sequence[Sent], policy: Policy) -> tuple[IdentityGraph, Pairs]:
    """The graph of these messages, and how right it is."""
    graph = IdentityGraph(policy, [], 0, 0)
    numbers = [graph.resolve(identifiers(one.message, policy).user, one.at, place) for place, one in enumerate(sent)]
    winners = graph.winners()
    return graph, score(
        # A message that is nobody's is a profile of its own: numbers of profiles are above 0.
        (winners.get(number, number) or -place, one.person)
        for place, (number, one) in enumerate(zip(numbers, sent, strict=True), 1)
    )


def recommended_by(graph: IdentityGraph, policy: Policy) -> list[Recommendation]:
    """What `identity.insights` recommends of a space with this graph; a test compares them."""
    sets: Counter[Identifier] = Counter()
    events: Counter[Identifier] = Counter()
    over: set[int] = set()
    for seen in graph.seen_sets.values():
        if seen.refused:
            type, value, why = seen.refused[-1]
            if is_shared(type, why):
                sets[type, value] += 1
                events[type, value] += seen.events
            if any(type_of(reason) in ADVISED for _, _, reason in seen.refused):
                over.add(_left(seen.node).number)
    numbers = {gained.identifier: number for number, gained in enumerate(graph.gained, 1)}
    holders = {one: _left(node).number for one, node in graph.holder.items()}
    most = sorted(sets, key=lambda one: (-sets[one], -events[one], one))[:MOST_BLOCKED]
    hubs = [Hub(one, numbers.get(one), sets[one], events[one], holders.get(one, 0)) for one in most]
    return recommendations(policy, hubs, _times(graph, {*sorted(over)[:MOST_OVER]}))


def _times(graph: IdentityGraph, people: set[int]) -> Mapping[int, Times]:
    firsts: dict[int, dict[Identifier, int]] = {number: {} for number in people}
    for identifiers_seen, seen in graph.seen_sets.items():
        if (own := firsts.get(_left(seen.node).number)) is not None:
            for one in identifiers_seen:
                if one[0] in ADVISED:
                    own[one] = min(seen.first, own.get(one, seen.first))
    return {
        number: {type: [at for one, at in own.items() if one[0] == type] for type in {type for type, _ in own}}
        for number, own in firsts.items()
    }


def _left(node: Node) -> Node:
    while node.merged_into:
        node = node.merged_into
    return node


def main() -> None:
    console = Console()
    table = Table("world", "messages", "rules", "precision", "recall", "mean per person", title="Pairs of messages")
    changes = []
    for name, make in worlds().items():
        accuracy = accuracy_of(make())
        table.add_row(name, f"{accuracy.messages:,}", "default", *(f"{part:.4f}" for part in accuracy.default))
        table.add_row("", "", "recommended", *(f"{part:.4f}" for part in accuracy.recommended))
        changes.append((name, accuracy.rounds, policy_changes(DEFAULT_POLICY, accuracy.policy)))
    console.print(table)
    for name, rounds, sentences in changes:
        console.print(f"{name}, in {rounds} round{'s' * (rounds != 1)}: {' '.join(sentences)}", soft_wrap=True)


if __name__ == "__main__":
    main()
