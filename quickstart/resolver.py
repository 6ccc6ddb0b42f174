"""A second resolver, slow and obvious, written from the specification (spec §5) and not from the product's code.

It imports nothing of the product: the policy comes as plain data, `Policy.to_json()` or `DEFAULTS`. Messages are
processed one by one in the order they are fed; the tests and the quickstart compare the profiles it ends with, as
sets.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

DAYS = {"daily": 1, "weekly": 7, "monthly": 30, "annually": 365}
DEVICE_TYPES = {f"{system}.{kind}" for system in ("android", "ios") for kind in ("id", "idfa", "push_token")}
UNLISTED = {"count": 5, "period": "ever"}
# What identifies nobody: Segment's suggested set, and what careless code sends.
RECOMMENDED = {
    "values": ["-1", "null", "anonymous", "undefined", "[object Object]"],
    "patterns": ["^[0-]*$", "(?i)^(none|null|nil|nan|n/a|undefined|unknown|anonymous|guest)$"],
}
ORDER = ("user_id", "email", *sorted({"anonymous_id", "ga_client_id", "group_id", *DEVICE_TYPES}))
# A space's rules when nobody has changed them (spec §5): user_id 1, every other identifier 5, ever.
DEFAULTS: Mapping[str, Any] = {
    "identifiers": [
        {"type": type, "limit": {"count": 1 if type == "user_id" else 5, "period": "ever"}, "blocked": RECOMMENDED}
        for type in ORDER
    ],
    "max_merges": 100,
    "max_mappings": 1000,
}


@dataclass(frozen=True)
class Fed:
    """One message. at: its event time in ms. tie: decides between equal times, as (source, piece, position)."""

    message: Mapping[str, Any]
    message_id: str
    at: int
    tie: Any = ()


@dataclass(frozen=True)
class Profile:
    """A person, or an account, as it ended up. accounts: the group ids a person is linked to."""

    identifiers: frozenset[tuple[str, str]]
    messages: frozenset[str]
    traits: Mapping[str, Any]
    accounts: frozenset[str] = frozenset()


@dataclass
class _Node:
    """A profile in the making. traits: key -> (at, tie, value); a value of None is a removal and stays."""

    number: int
    identifiers: dict[tuple[str, str], int] = field(default_factory=dict)
    messages: set[str] = field(default_factory=set)
    traits: dict[str, tuple[int, Any, Any]] = field(default_factory=dict)
    accounts: set[str] = field(default_factory=set)
    merges: int = 0

    def finished(self) -> Profile:
        traits = {key: value for key, (_, _, value) in self.traits.items() if value is not None}
        return Profile(frozenset(self.identifiers), frozenset(self.messages), traits, frozenset(self.accounts))


class Reference:
    """Feed it messages; ask it who is who. split: pairs of sets of identifiers, none of one with any of the other.

    moved: pairs of identifiers; as soon as the second has come, they are one person's, if the rules allow it.
    """

    def __init__(
        self,
        policy: Mapping[str, Any],
        split: Sequence[tuple[Set[tuple[str, str]], Set[tuple[str, str]]]] = (),
        moved: Sequence[tuple[tuple[str, str], tuple[str, str]]] = (),
    ):
        self.policy, self.split, self.moved = policy, split, moved
        self.order = [definition["type"] for definition in policy["identifiers"]]
        self.limits = {definition["type"]: definition["limit"] for definition in policy["identifiers"]}
        self._count = 0
        self._nodes: dict[int, _Node] = {}
        self._holder: dict[tuple[str, str], _Node] = {}
        self._user_of: dict[str, _Node] = {}
        self._account_of: dict[str, _Node] = {}

    # asking

    def profiles(self) -> list[Profile]:
        """The people, oldest first."""
        return [node.finished() for _, node in sorted(self._nodes.items()) if not _is_account(node)]

    def accounts(self) -> list[Profile]:
        return [node.finished() for _, node in sorted(self._nodes.items()) if _is_account(node)]

    def links(self) -> set[tuple[frozenset[tuple[str, str]], str]]:
        """(identifiers of a person, group id) for each person and each of their accounts."""
        return {(person.identifiers, group) for person in self.profiles() for group in person.accounts}

    def profile_of(self, message_id: str) -> Profile | None:
        """The person a message belongs to, None if it resolved to nobody."""
        node = self._user_of.get(message_id)
        return node.finished() if node else None

    def account_of(self, message_id: str) -> Profile | None:
        node = self._account_of.get(message_id)
        return node.finished() if node else None

    # feeding

    def feed(self, fed: Fed) -> None:
        """Take in one message: find or make its person, and for a group call its account, traits and link.

        One that asks to stay out of spaces (spec §2) is passed over.
        """
        if is_kept_out(fed.message):
            return
        is_group = fed.message.get("type") == "group"
        user = self._resolve(find_user_identifiers(fed.message, self.policy).items(), fed.at)
        account = self._resolve(find_group_identifier(fed.message, self.policy).items(), fed.at) if is_group else None
        if user:
            user.messages.add(fed.message_id)
            self._user_of[fed.message_id] = user
            if fed.message.get("type") == "identify":
                _learn(user, fed)
        if account:
            account.messages.add(fed.message_id)
            self._account_of[fed.message_id] = account
            _learn(account, fed)
        if user and account:
            user.accounts.update(value for _, value in account.identifiers)

    def _resolve(self, identifiers: Iterable[tuple[str, str]], at: int) -> _Node | None:
        rank = {type: place for place, type in enumerate(self.order)}
        on_event = sorted(identifiers, key=lambda pair: (rank.get(pair[0], 9999), pair))
        while on_event and not self._together(on_event, at):
            on_event.pop()  # the one of lowest priority
        if not on_event:
            return None
        new = [pair for pair in on_event if pair not in self._holder]
        self._put_together(on_event, at)
        while new:
            home = new.pop(0)
            for moved in [moved for moved, to in self.moved if to == home]:
                if self._together([home, moved], at):
                    new += [moved] if moved not in self._holder else []
                    self._put_together([home, moved], at)
        return self._holder[on_event[0]]

    def _together(self, pairs: Sequence[tuple[str, str]], at: int) -> tuple[list[_Node], dict[Any, int]] | None:
        """Who holds any of these, the oldest first, and what one who held all would hold; None when no one may.

        Of each identifier with the time of the event that first brought it.
        """
        numbers = {self._holder[pair].number for pair in pairs if pair in self._holder}
        holders = [self._nodes[number] for number in sorted(numbers)]
        would_be = dict.fromkeys(pairs, at)
        for node in holders:
            would_be.update(node.identifiers)
        return (holders, would_be) if self._acceptable(holders, would_be) else None

    def _put_together(self, pairs: Sequence[tuple[str, str]], at: int) -> None:
        holders, would_be = self._together(pairs, at) or ([], {})
        if not holders:
            self._count += 1
            holders = [_Node(self._count)]
            self._nodes[self._count] = holders[0]
        oldest, *others = holders
        for other in others:
            oldest.merges += other.merges + 1
            oldest.messages |= other.messages
            oldest.accounts |= other.accounts
            for key, entry in other.traits.items():
                _learn_one(oldest, key, entry)
            self._user_of.update(dict.fromkeys(other.messages, oldest))
            del self._nodes[other.number]
        oldest.identifiers = would_be
        self._holder.update(dict.fromkeys(would_be, oldest))

    def _acceptable(self, holders: list[_Node], would_be: dict[tuple[str, str], int]) -> bool:
        sizes = [len(node.identifiers) for node in holders]
        # A profile that nothing is added to stays as it is.
        if len(would_be) > max(sizes, default=0) and any(
            not side.isdisjoint(would_be) and not other.isdisjoint(would_be) for side, other in self.split
        ):
            return False
        if len(holders) >= 2 and sum(node.merges for node in holders) + len(holders) - 1 > self.policy["max_merges"]:
            return False
        if len(would_be) > max(sizes, default=0) and len(would_be) > self.policy["max_mappings"]:
            return False
        for type in {type for type, _ in would_be}:
            times = _times(type, would_be)
            if any(len(_times(type, node.identifiers)) == len(times) for node in holders):
                continue  # nothing of this type would be added to that profile
            limit: Mapping[str, Any] = self.limits.get(type, UNLISTED)
            within = [times]
            if limit["period"] != "ever":  # in each window that ends with one of them
                window = DAYS[limit["period"]] * 24 * 60 * 60 * 1000
                within = [[time for time in times if end - window < time <= end] for end in times]
            if any(len(together) > limit["count"] for together in within):
                return False
        return True


def _is_account(node: _Node) -> bool:
    return any(type == "group_id" for type, _ in node.identifiers)


def _times(type: str, identifiers: Mapping[tuple[str, str], int]) -> list[int]:
    return [time for (of_type, _), time in identifiers.items() if of_type == type]


def _learn(node: _Node, fed: Fed) -> None:
    traits = fed.message.get("traits")
    for key, value in traits.items() if isinstance(traits, dict) else ():
        _learn_one(node, key, (fed.at, fed.tie, value))


def _learn_one(node: _Node, key: str, entry: tuple[int, Any, Any]) -> None:
    """The newest event time wins, then the later place in the log."""
    if key not in node.traits or entry[:2] >= node.traits[key][:2]:
        node.traits[key] = entry


def is_kept_out(message: Mapping[str, Any]) -> bool:
    """Its integrations switch Personas off by name, or everything and not Personas on; or the loop guard is set."""
    if _switched(message, "integrations").get("personas") is not None:
        off = _switched(message, "integrations")["personas"] is False
    else:
        off = _switched(message, "integrations").get("all") is False
    return off or _switched(message, "context", "integrations").get("personas") is False


def _switched(message: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """The switches there by their names in small letters; of several for one name, one that is off."""
    switched = _dig(message, *path)
    switches: dict[str, Any] = {}
    pairs = switched.items() if isinstance(switched, dict) else ()
    for name, value in sorted(pairs, key=lambda pair: pair[1] is False):
        if value is not None:
            switches[name.lower()] = value
    return switches


# reading identifiers, from the table of spec §5


def find_group_identifier(message: Mapping[str, Any], policy: Mapping[str, Any]) -> dict[str, str]:
    for definition in policy["identifiers"]:
        if definition["type"] == "group_id":
            return _first_usable(definition, [message.get("groupId")])
    return {}


def find_user_identifiers(message: Mapping[str, Any], policy: Mapping[str, Any]) -> dict[str, str]:
    identifiers: dict[str, str] = {}
    for definition in policy["identifiers"]:
        if definition["type"] != "group_id":
            identifiers |= _first_usable(definition, _values_sent(definition["type"], message))
    return identifiers


def _first_usable(definition: Mapping[str, Any], values: list[Any]) -> dict[str, str]:
    type, blocked = definition["type"], definition["blocked"]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, str | int):
            continue
        text = str(value).strip()
        exact = list(blocked["values"])
        if type == "email":
            text, exact = text.lower(), [value.lower() for value in exact]
        if text == "" or len(text) > 500 or text in exact or "\0" in text or "\ufffd" in text:
            continue
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            continue
        case = re.IGNORECASE if type == "email" else re.NOFLAG
        if any(re.search(pattern, text, case) for pattern in blocked["patterns"]):
            continue
        return {type: text}
    return {}


def _dig(message: Any, *path: str) -> Any:
    for step in path:
        message = message.get(step) if isinstance(message, dict) else None
    return message


def _values_sent(type: str, message: Mapping[str, Any]) -> list[Any]:
    """What a message says a user identifier is, the place that counts most first."""
    if type == "user_id":
        return [_dig(message, "userId")]
    if type == "anonymous_id":
        return [_dig(message, "anonymousId")]
    if type == "ga_client_id":
        return [_dig(message, "context", "integrations", "Google Analytics", "clientId")]
    if type in DEVICE_TYPES:
        system, kind = type.split(".")
        device = _dig(message, "context", "device")
        device_type = _dig(device, "type")
        if not isinstance(device_type, str) or device_type.strip().lower() != system:
            return []
        if kind == "idfa" and _dig(device, "adTrackingEnabled") is not True:  # its owner did not say yes
            return []
        return [_dig(device, {"id": "id", "idfa": "advertisingId", "push_token": "token"}[kind])]
    # A group call's traits are the account's, so they say nothing of who made it.
    of_the_user = None if message.get("type") == "group" else _dig(message, "traits")
    of_context = _dig(message, "context", "traits")
    properties = _dig(message, "properties")
    if type == "email":
        return [_dig(place, "email") for place in (of_the_user, of_context, properties)]
    head, *tail = re.split(r"[_.-]+", type)
    camel = head + "".join(part[:1].upper() + part[1:] for part in tail)
    values = [_dig(place, key) for place in (of_the_user, properties, of_context) for key in (type, camel)]
    entries = _dig(message, "context", "externalIds")
    wanted = {"type": type, "collection": "users", "encoding": "none"}
    for entry in entries if isinstance(entries, list) else []:
        if all(_dig(entry, key) == value for key, value in wanted.items()):
            id = entry.get("id")
            if isinstance(id, str | int) and not isinstance(id, bool) and str(id).strip():
                return [*values, id]  # of several complete entries of a type the first counts
    return values
