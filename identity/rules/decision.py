"""The rules of identity: which profile an event belongs to. Pure: no database, no clock, no state.

An identifier is a pair (type, value), as `identity.rules.extract` makes them. Times are event times in milliseconds.
Source: Segment's identity resolution (spec/segment.md §5). Three readings of ours:
- the oldest profile is the one with the smallest number, because numbers are given in the order of creation;
- "first seen" is the time of the event that made the mapping. It never moves, not even when an older event arrives
  late: so a repeat of an accepted set changes nothing;
- only a type that the event or the merge adds to can break its limit: tightened rules leave old profiles alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec

from identity.rules import patterns
from identity.rules.patterns import PatternError

Identifier = tuple[str, str]
Period = Literal["daily", "weekly", "monthly", "annually", "ever"]

DAY_MS = 86_400_000
# A day is 24 hours everywhere but in calendar dates (design §1); so a month is 30 of them and a year 365.
SPAN_MS: dict[str, int | None] = {
    "daily": DAY_MS,
    "weekly": 7 * DAY_MS,
    "monthly": 30 * DAY_MS,
    "annually": 365 * DAY_MS,
    "ever": None,
}
MOST_IDENTIFIERS, MOST_VALUES, MOST_PATTERNS = 100, 1_000, 20  # each pattern is tried on every value
PER = {"daily": "per day", "weekly": "per week", "monthly": "per month", "annually": "per year", "ever": "ever"}


class PolicyError(ValueError):
    """A policy that cannot be used; `path` says where, as in `identifiers[1].limit.count`."""

    def __init__(self, path: str, message: str):
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `count` values of one type may come to a profile within any one period."""

    count: Annotated[int, msgspec.Meta(ge=1)] = 5
    period: Period = "ever"

    def __str__(self) -> str:
        return f"{self.count} {PER[self.period]}"


class Blocked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values that never identify anyone: exact ones, and RE2 patterns searched for anywhere in the value.

    Both are compared with the value as it is stored: e-mail addresses are in small letters, so for them case is no
    matter.
    """

    values: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


# Segment's suggested set; "undefined", "[object Object]" and the second pattern are ours: what careless code sends.
RECOMMENDED = Blocked(
    values=("-1", "null", "anonymous", "undefined", "[object Object]"),
    patterns=(r"^[0-]*$", r"(?i)^(none|null|nil|nan|n/a|undefined|unknown|anonymous|guest)$"),
)


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One identifier of a space. Its place in `Policy.identifiers` is its priority; its name is permanent."""

    type: str
    limit: Limit = Limit()
    blocked: Blocked = RECOMMENDED


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A space's rules: its identifiers, most trusted first, and the caps of one profile. Source: spec §5."""

    identifiers: tuple[Definition, ...]
    max_merges: Annotated[int, msgspec.Meta(ge=0)] = 100
    max_mappings: Annotated[int, msgspec.Meta(ge=1)] = 1000

    @classmethod
    def from_json(cls, value: object) -> "Policy":
        """Read a policy from decoded JSON. Raises PolicyError, which names the path of what is wrong."""
        try:
            policy = msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise _policy_error(str(error)) from None
        for path, message in _faults(policy):
            raise PolicyError(path, message)
        return policy

    def to_json(self) -> dict[str, Any]:
        """The policy as plain data that `from_json` reads back to an equal policy."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.identifiers, self.max_merges, self.max_mappings))

    @cached_property
    def rank(self) -> dict[str, int]:
        """Priority by type, 0 the most trusted."""
        return {definition.type: number for number, definition in enumerate(self.identifiers)}

    @cached_property
    def limits(self) -> dict[str, Limit]:
        return {definition.type: definition.limit for definition in self.identifiers}

    def limit(self, type: str) -> Limit:
        return self.limits.get(type, UNLISTED)

    def priority(self, identifier: Identifier) -> tuple[int, Identifier]:
        """Sort key, most trusted first; a type the policy does not list comes last, as a newly seen type would."""
        return self.rank.get(identifier[0], len(self.rank)), identifier


UNLISTED = Limit()


def _policy_error(text: str) -> PolicyError:
    """msgspec writes "what is wrong - at `$.path`"."""
    message, _, path = text.partition(" - at `$")
    return PolicyError(path.rstrip("`").removeprefix("."), message)


def _faults(policy: Policy) -> Iterable[tuple[str, str]]:
    if not 1 <= len(policy.identifiers) <= MOST_IDENTIFIERS:
        yield "identifiers", f"a space has 1 to {MOST_IDENTIFIERS} identifiers"
    seen: set[str] = set()
    steps = 0
    for number, definition in enumerate(policy.identifiers):
        path = f"identifiers[{number}]"
        if len(definition.type) > 60 or not re.fullmatch(r"[a-z][a-z0-9]*([_.-][a-z0-9]+)*", definition.type):
            yield f"{path}.type", "a name is up to 60 lower-case letters and digits, words parted by _ . or -"
        if definition.type in seen:
            yield f"{path}.type", f"{definition.type} is listed twice"
        seen.add(definition.type)
        for kind, most in (("values", MOST_VALUES), ("patterns", MOST_PATTERNS)):
            if len(getattr(definition.blocked, kind)) > most:
                yield f"{path}.blocked.{kind}", f"at most {most}"
        for place, pattern in enumerate(definition.blocked.patterns):
            try:
                steps += patterns.steps(pattern)
            except PatternError as error:
                yield f"{path}.blocked.patterns[{place}]", f"not a pattern: {error}"
            if steps > patterns.MOST_STEPS:
                yield f"{path}.blocked.patterns[{place}]", "too much together with the patterns before it: shorten them"
                return


def by_default_priority(definitions: Iterable[Definition]) -> tuple[Definition, ...]:
    """user_id, then email, the rest alphabetical: Segment's order until someone orders by hand."""
    first = {"user_id": 0, "email": 1}
    return tuple(sorted(definitions, key=lambda definition: (first.get(definition.type, 2), definition.type)))


def moved(policy: Policy, type: str, *, up: bool) -> Policy:
    """The same rules with this identifier one place more trusted, or one less; at the end of the list they stay."""
    rows = list(policy.identifiers)
    place = policy.rank.get(type)
    other = None if place is None else place + (-1 if up else 1)
    if place is None or other is None or not 0 <= other < len(rows):
        return policy
    rows[place], rows[other] = rows[other], rows[place]
    return msgspec.structs.replace(policy, identifiers=tuple(rows))


def extended(policy: Policy, new: Definition, *, after: str) -> Policy:
    """The same rules with one more identifier, less trusted than the type `after`; without such a type, the most.

    Raises PolicyError.
    """
    place = policy.rank[after] + 1 if after in policy.rank else 0
    rows = [*policy.identifiers[:place], new, *policy.identifiers[place:]]
    return Policy.from_json(msgspec.structs.replace(policy, identifiers=tuple(rows)).to_json())


DEFAULT_TYPES = (
    "user_id",
    "email",
    "android.id",
    "android.idfa",
    "android.push_token",
    "anonymous_id",
    "ga_client_id",
    "group_id",
    "ios.id",
    "ios.idfa",
    "ios.push_token",
)
# Segment's defaults: one user_id ever, five ever of anything else.
DEFAULT_POLICY = Policy(
    by_default_priority(Definition(name, Limit(1) if name == "user_id" else Limit()) for name in DEFAULT_TYPES)
)


class Candidate(msgspec.Struct, frozen=True):
    """A profile that holds at least one of the event's identifiers.

    identifiers: all it holds, with the event time (ms) of the event that brought each.
    merges: how many profiles it has taken in so far, directly or through those.
    """

    profile: int
    identifiers: Mapping[Identifier, int]
    merges: int = 0


Why = Literal["value_limit", "time_limit", "merge_cap", "mapping_cap"]


class Problem(msgspec.Struct, frozen=True):
    """The rule that a would-be profile breaks. `type` is the type over its limit, None for a cap."""

    why: Why
    limit: Limit
    type: str | None = None

    def __str__(self) -> str:
        if self.type:
            return f"{self.type} allows {self.limit}"
        return f"a profile allows {self.limit.count} {'merges' if self.why == 'merge_cap' else 'identifiers'}"


class Dropped(msgspec.Struct, frozen=True):
    """An identifier of the event that was left out so that the rest could resolve."""

    identifier: Identifier
    problem: Problem

    def __str__(self) -> str:
        return f"{self.identifier[0]} {self.identifier[1]} left out: {self.problem}"


class Outcome(msgspec.Struct, frozen=True):
    """What Attach, Create, Merge and Refuse have in common.

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
        return "; ".join([self._did(), *map(str, self.dropped)])

    def _did(self) -> str:
        raise NotImplementedError


class Attach(Outcome, frozen=True):
    """The event belongs to `profile`, which gains `new` (often nothing)."""

    def _did(self) -> str:
        return f"attached to profile {self.profile}" + (f", adding {_names(self.new)}" if self.new else "")


class Create(Outcome, frozen=True):
    """No profile holds any of `accepted`: a profile is to be made that holds all of them."""

    def _did(self) -> str:
        return f"new profile with {_names(self.new)}"


class Merge(Outcome, frozen=True):
    """`profile`, the oldest, takes in `merged` (oldest first) and `new`; the event belongs to it."""

    def _did(self) -> str:
        others = ", ".join(map(str, self.merged))
        held = [identifier for identifier in self.accepted if identifier not in self.new]
        return f"profile {self.profile} takes in {others}, joined by {_names(held)}"


class Refuse(Outcome, frozen=True):
    """The event belongs to no profile."""

    def _did(self) -> str:
        return "no matching identifiers on event"


Decision = Attach | Create | Merge | Refuse


def _names(identifiers: Iterable[Identifier]) -> str:
    return ", ".join(f"{type} {value}" for type, value in identifiers)


def decide(identifiers: Iterable[Identifier], candidates: Sequence[Candidate], *, at: int, policy: Policy) -> Decision:
    """Choose the profile an event belongs to.

    identifiers: what the event carries, none of them blocked, in any order.
    candidates: every profile that holds any of them, in any order. at: the event's time in ms.
    As long as the would-be profile breaks a rule, the event's least trusted identifier is left out and the profiles
    are looked for again, whichever type broke the rule. A single identifier breaks none, so only an event without
    any is refused. Raises nothing. Source: spec §5, "Algorithm per event".
    """
    rest = sorted(set(identifiers), key=policy.priority)
    dropped: list[Dropped] = []
    while rest:
        found = [candidate for candidate in candidates if not candidate.identifiers.keys().isdisjoint(rest)]
        new = [identifier for identifier in rest if not any(identifier in each.identifiers for each in found)]
        problem = _problem(found, new, at, policy)
        if problem is None:
            return _outcome(found, tuple(rest), tuple(new), tuple(dropped))
        dropped.append(Dropped(rest.pop(), problem))
    return Refuse(dropped=tuple(dropped))


def _outcome(
    found: list[Candidate], accepted: tuple[Identifier, ...], new: tuple[Identifier, ...], dropped: tuple[Dropped, ...]
) -> Decision:
    if not found:
        return Create(accepted=accepted, new=new, dropped=dropped)
    if len(found) == 1:
        return Attach(found[0].profile, (), accepted, new, dropped)
    oldest, *others = sorted(candidate.profile for candidate in found)
    return Merge(oldest, tuple(others), accepted, new, dropped)


def _problem(found: list[Candidate], new: list[Identifier], at: int, policy: Policy) -> Problem | None:
    """The first rule, limits by priority and then caps, that all of `found` and `new` together would break."""
    if not new and len(found) == 1:
        return None
    return _over_limit(found, new, at, policy) or _over_cap(found, new, policy)


def _over_limit(found: list[Candidate], new: list[Identifier], at: int, policy: Policy) -> Problem | None:
    over = [type for type, times in _times_of_gaining(found, new, at).items() if _too_many(times, policy.limit(type))]
    if not over:
        return None
    type = min(over, key=lambda each: policy.priority((each, "")))
    limit = policy.limit(type)
    return Problem("value_limit" if limit.period == "ever" else "time_limit", limit, type)


def _times_of_gaining(found: list[Candidate], new: list[Identifier], at: int) -> dict[str, list[int]]:
    """For each type of which the would-be profile has more than each found profile alone: all first-seen times."""
    times: dict[str, list[int]] = {}
    for type, _ in new:
        times.setdefault(type, []).append(at)
    if len(found) > 1:
        for type in _held_by_several(found):
            times.setdefault(type, [])
    for candidate in found:
        for (type, _), first_seen in candidate.identifiers.items():
            if type in times:
                times[type].append(first_seen)
    return times


def _held_by_several(found: list[Candidate]) -> set[str]:
    seen: set[str] = set()
    several: set[str] = set()
    for candidate in found:
        types = {type for type, _ in candidate.identifiers}
        several |= seen & types
        seen |= types
    return several


def _too_many(times: list[int], limit: Limit) -> bool:
    """True when some window of one period, (end - period, end], holds more times than the limit allows."""
    count = limit.count
    if len(times) <= count:
        return False
    span = SPAN_MS[limit.period]
    if span is None:
        return True
    times = sorted(times)
    return any(later - first < span for first, later in zip(times, times[count:], strict=False))


def _over_cap(found: list[Candidate], new: list[Identifier], policy: Policy) -> Problem | None:
    if len(found) > 1 and sum(each.merges for each in found) + len(found) - 1 > policy.max_merges:
        return Problem("merge_cap", Limit(policy.max_merges))
    if sum(len(each.identifiers) for each in found) + len(new) > policy.max_mappings:
        return Problem("mapping_cap", Limit(policy.max_mappings))
    return None
