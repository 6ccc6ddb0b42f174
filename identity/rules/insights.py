"""PURE. What the kept evidence says about the identity rules of a space, and which other rules it speaks for."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from identity.rules.policy import PERIOD_MS, Blocked, Definition, Identifier, Limit, Period, Policy

MANY_SETS = 3  # of identifiers that one was refused with: shared by so many, it is hardly one person's
MOST_BLOCKED = 300  # identifiers that are recommended to be blocked at a time: their numbers are in one address
MOST_OVER = 1_000  # people who broke a limit, from whom a better one is taken
FITS = 0.9  # of those who have more than a limit allows, so many are to fit a recommended one: the rest may be a crowd
MOST_FITTED = 50  # values of a type: whoever has more in a week or a year is no person
# What an identifier of this type is: one that changes is forgotten by its limit, one that does not is not.
# After Segment's advice: volatile ones 5 a week, addresses and devices 5 a year (spec §5).
ADVISED = {
    "anonymous_id": Limit(5, "weekly"),
    "ga_client_id": Limit(5, "weekly"),
    "email": Limit(5, "annually"),
    "android.id": Limit(5, "annually"),
    "android.idfa": Limit(5, "annually"),
    "android.push_token": Limit(5, "annually"),
    "ios.id": Limit(5, "annually"),
    "ios.idfa": Limit(5, "annually"),
    "ios.push_token": Limit(5, "annually"),
}
KINDS = {
    "value_limit": "Value limit",
    "time_limit": "Limit per period",
    "merge_cap": "Merge cap",
    "mapping_cap": "Identifier cap",
    "split": "Split by hand",
    "blocked_value": "Blocked value",
    "blocked_pattern": "Blocked pattern",
    "too_long": "Too long",
    "not_text": "Not text",
    "second_of_type": "Second of its type",
}


def kind_of(reason: str) -> str:
    """The kind of a reason as evidence keeps it: a word of its own, or the sentence of a rule (decision.BrokenRule)."""
    if reason in KINDS:
        return reason
    if reason.startswith("they were split"):
        return "split"
    if reason.startswith("a profile allows"):
        return "merge_cap" if reason.endswith("merges") else "mapping_cap"
    return "value_limit" if reason.endswith(" ever") else "time_limit"


def type_of(reason: str) -> str:
    """The type whose limit a reason names; "" for any other rule."""
    return reason.partition(" allows ")[0] if kind_of(reason) in ("value_limit", "time_limit") else ""


def is_shared(type: str, reason: str) -> bool:
    """Whether an identifier that was refused for this reason, the last of its event, would have joined people.

    Less trusted ones go first, whether it is they that joined them or not; and one too many of its own type is no
    other's.
    """
    return type_of(reason) not in ("", type)


@dataclass(frozen=True)
class Hub:
    """An identifier that would have joined people. number: what it is called in its space; None = nobody ever had it.

    sets: of identifiers, events: that carried it in vain. profile: the number of who has it; 0 = nobody has.
    """

    identifier: Identifier
    number: int | None
    sets: int
    events: int
    profile: int


@dataclass(frozen=True)
class Recommendation:
    """Other rules, and why. Either identifiers of a type are to be blocked, or it is to have another limit."""

    why: str
    type: str
    block: Sequence[Hub] = ()
    limit: Limit | None = None

    @property
    def filled_in(self) -> str:
        """The query of an address that opens the form with this filled in. Without anybody's identifier: those are
        named by numbers, since addresses are written into logs."""
        if self.limit:
            return f"limit={self.type}:{self.limit.count}:{self.limit.period}"
        return "&".join(f"block={hub.number}" for hub in self.block)

    def applied(self, policy: Policy) -> Policy:
        """The same rules with this."""
        if self.limit:
            return with_limit(policy, self.type, self.limit)
        for hub in self.block:
            policy = with_block(policy, hub.identifier)
        return policy


Times = Mapping[str, Sequence[int]]  # by type, of each value of it when it was seen first, in ms


def recommendations(policy: Policy, hubs: Iterable[Hub], people: Mapping[int, Times]) -> list[Recommendation]:
    """people: what came with the events of those who broke a limit, by profile number, whether it was accepted or not.

    Once it is applied, others may be recommended: of several ids of a device the least trusted is blamed first.
    """
    shared: dict[str, list[Hub]] = {}
    for hub in hubs:
        # Whoever uses one user id in many places is one person all the same: that is what the id is for.
        if hub.sets >= MANY_SETS and hub.number is not None and hub.identifier[0] not in ("user_id", "group_id"):
            shared.setdefault(hub.identifier[0], []).append(hub)
    advice = []
    for type, block in sorted(shared.items(), key=lambda item: policy.priority((item[0], ""))):
        if len(block) == 1:
            why = f"It came with {block[0].sets} different sets of identifiers of others, and was refused."
        else:
            fewest = min(hub.sets for hub in block)
            why = f"Each came with {fewest} or more different sets of identifiers of others, and was refused."
        advice.append(Recommendation(why, type, block))
    # Who has a mailbox of many has many other identifiers as well: nobody's habit.
    crowds = {hub.profile for block in shared.values() for hub in block}
    for definition in policy.identifiers:
        type = definition.type
        own = [times[type] for number, times in people.items() if number not in crowds and type in times]
        fitted = fitting_limit(definition, own)
        if fitted and fitted != definition.limit:
            why = f"People had more values of it than {definition.limit}; nine in ten of them had at most {fitted}."
            advice.append(Recommendation(why, type, limit=fitted))
    return advice


def fitting_limit(definition: Definition, people: Iterable[Sequence[int]]) -> Limit | None:
    """A limit for a type that lets most of those have what they have who have more than its limit of now.

    people: of each the times of their values. None: nobody has more, or values of the type do not change.
    """
    advised = ADVISED.get(definition.type)
    if advised is None:
        return None
    over = [times for times in people if most_within(times, definition.limit.period) > definition.limit.count]
    if not over:
        return None
    counts = sorted(most_within(times, advised.period) for times in over)
    fits = counts[math.ceil(FITS * len(counts)) - 1]
    return Limit(max(advised.count, min(fits, MOST_FITTED)), advised.period)


def most_within(times: Iterable[int], period: Period) -> int:
    """The most of these times (ms) that are within any one period."""
    ordered, length = sorted(times), PERIOD_MS[period]
    if length is None:
        return len(ordered)
    most = first = 0
    for last, time in enumerate(ordered):
        while time - ordered[first] >= length:
            first += 1
        most = max(most, last - first + 1)
    return most


def with_block(policy: Policy, identifier: Identifier) -> Policy:
    """The same rules, by which this identifier is nobody's."""
    type, value = identifier
    return _changed(policy, type, lambda one: {"blocked": Blocked((*one.blocked.values, value), one.blocked.patterns)})


def with_limit(policy: Policy, type: str, limit: Limit) -> Policy:
    """The same rules, with another limit for this type."""
    return _changed(policy, type, lambda one: {"limit": limit})


def _changed(policy: Policy, type: str, change: Callable[[Definition], dict[str, Any]]) -> Policy:
    rows = (
        msgspec.structs.replace(definition, **change(definition)) if definition.type == type else definition
        for definition in policy.identifiers
    )
    return msgspec.structs.replace(policy, identifiers=tuple(rows))
