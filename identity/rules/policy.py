"""PURE. The identity policy of a space: which identifiers it knows, which it trusts most, and their limits.

An identifier is a pair (type, value), as `identity.rules.extract` reads them from a message.
Source: Segment's identity resolution settings (spec/segment.md §5).

Patterns of blocked values are RE2, whose time grows with the length of a value alone, whoever wrote the pattern: every
space's patterns run in the same workers. Python's own matcher backtracks: twenty of `.*?.*?b` need hours.
"""

import re
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

import msgspec
import re2

Identifier = tuple[str, str]
Period = Literal["daily", "weekly", "monthly", "annually", "ever"]

DAY_MS = 86_400_000
# A day is 24 hours everywhere but in calendar dates (design §1); so a month is 30 of them and a year 365.
PERIOD_MS: dict[str, int | None] = {
    "daily": DAY_MS,
    "weekly": 7 * DAY_MS,
    "monthly": 30 * DAY_MS,
    "annually": 365 * DAY_MS,
    "ever": None,
}
MOST_IDENTIFIERS, MOST_VALUES, MOST_PATTERNS = 100, 1_000, 20  # each pattern is tried on every value
LONGEST_PATTERN = 200  # characters
# Steps per character of a value, at worst, of all patterns of a space together: about 5 ms for an event full of ids.
MOST_STEPS = 5_000
ANYWHERE, NOWHERE = re2._Anchor.UNANCHORED, re2._NULL_SPAN
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
            # msgspec writes "what is wrong - at `$.path`".
            message, _, path = str(error).partition(" - at `$")
            raise PolicyError(path.rstrip("`").removeprefix("."), message) from None
        for path, message in _problems(policy):  # the first: a form shows one error at a time
            raise PolicyError(path, message)
        return policy

    def to_json(self) -> dict[str, Any]:
        """The policy as plain data that `from_json` reads back to an equal policy."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    # Kept: a policy is a key of caches that are asked for every message, and to hash its hundreds of values takes long.
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


UNLISTED = Limit()  # of a type that the policy does not list


def _problems(policy: Policy) -> Iterable[tuple[str, str]]:
    """(path, message) of what msgspec cannot check: names, repeats, and what all patterns cost together."""
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
                steps += _compiled(pattern)._regexp.ProgramSize()
            except PatternError as error:
                yield f"{path}.blocked.patterns[{place}]", f"not a pattern: {error}"
            if steps > MOST_STEPS:
                yield f"{path}.blocked.patterns[{place}]", "too much together with the patterns before it: shorten them"
                return


class PatternError(ValueError):
    """Not a pattern that RE2 reads; the message says why."""


@lru_cache(maxsize=10_000)
def searcher(pattern: str, *, any_case: bool = False) -> Callable[[str], bool]:
    """A function that says whether the pattern is found anywhere in a value. Raises PatternError."""
    # What the library's own `search` does beside matching, such as to count letters, takes ten times as long.
    match = _compiled(pattern, any_case=any_case)._regexp.Match

    def search(value: str) -> bool:
        encoded = value.encode()
        return bool(match(ANYWHERE, encoded, 0, len(encoded))[0] != NOWHERE)

    return search


@lru_cache(maxsize=10_000)
def _compiled(pattern: str, *, any_case: bool = False) -> "re2._Regexp":
    if len(pattern) > LONGEST_PATTERN:
        raise PatternError(f"longer than {LONGEST_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False  # RE2 would write to the process's standard error, a line for each bad pattern
    options.case_sensitive = not any_case
    try:
        return re2.compile(pattern.replace(r"\Z", r"\z"), options)  # Python's spelling of the end: it was taken before
    except re2.error as error:
        reason = error.args[0]
        raise PatternError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None


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
    place = policy.rank[after] + 1 if after in policy.rank else 0  # by its name: the rules may have changed since
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


def policy_of(stored: Any) -> Policy:
    """The rules of a space from `Space.identity_policy`, where null stands for the default ones. Raises PolicyError."""
    return DEFAULT_POLICY if stored is None else Policy.from_json(stored)
