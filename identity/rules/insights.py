"""PURE. What the kept evidence says about the identity rules of a space, and which other rules it speaks for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from identity.rules.policy import Blocked, Definition, Identifier, Limit, Policy

MANY_SETS = 3  # of identifiers that one was refused with: shared by so many, it is hardly one person's
MOST_BLOCKED = 5  # identifiers that are recommended to be blocked
# What an identifier of this type is: one that changes is forgotten by its limit, one that does not is not.
# After Segment's advice: volatile ones 5 a week, addresses and devices 5 a year (spec §5).
ADVISED = {
    "anonymous_id": Limit(5, "weekly"),
    "ga_client_id": Limit(5, "weekly"),
    "email": Limit(5, "annually"),
    "android.id": Limit(5, "annually"),
    "android.idfa": Limit(5, "annually"),
    "ios.id": Limit(5, "annually"),
    "ios.idfa": Limit(5, "annually"),
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


@dataclass(frozen=True)
class Hub:
    """An identifier that was refused. number: what it is called in its space; None = nobody ever had it.

    sets: of identifiers, events: that carried it in vain. profile: the number of who has it; 0 = nobody has.
    """

    identifier: Identifier
    number: int | None
    sets: int
    events: int
    profile: int


@dataclass(frozen=True)
class Recommendation:
    """Other rules, and why. Either an identifier is to be blocked, or a type to have another limit."""

    why: str
    block: Hub | None = None
    type: str = ""
    limit: Limit | None = None

    @property
    def filled_in(self) -> str:
        """The query of an address that opens the form with this filled in. Without anybody's identifier: those are
        named by numbers, since addresses are written into logs."""
        if self.block:
            return f"edit=1&block={self.block.number}"
        return f"edit=1&limit={self.type}:{self.limit.count}:{self.limit.period}" if self.limit else ""


def recommendations(policy: Policy, hubs: Iterable[Hub], broken: Mapping[str, int]) -> list[Recommendation]:
    """broken: how often the limit of each type was broken."""
    advice = [
        Recommendation(f"It came with {hub.sets} different sets of identifiers, and was refused.", block=hub)
        for hub in hubs
        # Whoever uses one user id in many places is one person all the same: that is what the id is for.
        if hub.sets >= MANY_SETS and hub.number is not None and hub.identifier[0] not in ("user_id", "group_id")
    ][:MOST_BLOCKED]
    for definition in policy.identifiers:
        advised, count = ADVISED.get(definition.type), broken.get(definition.type, 0)
        if advised and count and definition.limit.period == "ever":
            times = "once" if count == 1 else f"{count} times"
            why = f"Its limit of {definition.limit} was broken {times}; values of it change."
            advice.append(Recommendation(why, type=definition.type, limit=advised))
    return advice


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
