"""The identifiers on a message. Pure: a message and the space's policy in, (type, value) pairs out.

Where each is read, in this order, the first usable value counting (spec/segment.md §5):

    user_id             userId
    anonymous_id        anonymousId
    email               traits.email, context.traits.email, properties.email; lower-cased
    group_id            groupId of a group call; it names the account, never the user
    android.id, ios.id  context.device.id, by context.device.type in any case
    *.idfa              context.device.advertisingId, only while adTrackingEnabled is true
    *.push_token        context.device.token
    ga_client_id        context.integrations['Google Analytics'].clientId
    any other type      traits, properties, context.traits (loyalty_id, then loyaltyId), context.externalIds[]

A value is a string or a whole number, trimmed; null, "" and anything else is absent. The traits of a group call are
the account's: an office's e-mail address there must not join everyone who works in it. `previousId` is not read:
alias merges nothing. A value with U+FFFD is set aside: what stood there could not be read, and other people's values
look the same without it. A blocked value is set aside and the next place is tried. Of externalIds the first complete
entry of a type counts: it needs id, type, collection "users" and encoding "none".
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

import msgspec

from identity.rules.policy import Definition, Identifier, Policy, searcher
from spaces.text import REPLACEMENT, storable

REMEMBERED = 10_000  # values of each identifier of a policy
MAX_LENGTH = 500  # Segment's limit for groupId; here for every identifier
ACCOUNT_TYPE = "group_id"

Why = Literal["blocked_value", "blocked_pattern", "too_long", "not_text", "second_of_type"]


class SetAside(msgspec.Struct, frozen=True):
    """A value that is not used. `rule` is the blocked value or pattern it met; a long value is cut at 500.

    An event identifies by one value of a type: of two that could be used the first place counts.
    """

    type: str
    value: str
    why: Why
    rule: str | None = None


class Extracted(msgspec.Struct, frozen=True):
    """user: at most one per type, by priority. account: of a group call. blocked: what of both is set aside, as met."""

    user: tuple[Identifier, ...] = ()
    account: Identifier | None = None
    blocked: tuple[SetAside, ...] = ()


Place = tuple[str, str]  # (section, key), see `identifiers`
Check = Callable[[str], SetAside | None]
Reader = tuple[str, tuple[Place, ...], Check]

_PLACES: dict[str, tuple[Place, ...]] = {
    "user_id": (("message", "userId"),),
    "anonymous_id": (("message", "anonymousId"),),
    "email": (("traits", "email"), ("context.traits", "email"), ("properties", "email")),
    "ga_client_id": (("ga", "clientId"),),
    ACCOUNT_TYPE: (("message", "groupId"),),
} | {
    f"{system}.{kind}": (("device", f"{system}.{kind}"),)
    for system in ("android", "ios")
    for kind in ("id", "idfa", "push_token")
}


def identifiers(message: Mapping[str, Any], policy: Policy) -> Extracted:
    """The identifiers of one archived message. Raises nothing, whatever the message holds."""
    context = _object(message.get("context"))
    device = _object(context.get("device"))
    system = str(device.get("type")).strip().lower()
    sections = {  # a missing or malformed part is empty
        "message": message,
        # A group call's traits are the account's: an office's e-mail address must not join all who work there.
        "traits": _NOTHING if message.get("type") == "group" else _object(message.get("traits")),
        "properties": _object(message.get("properties")),
        "context.traits": _object(context.get("traits")),
        "ga": _object(_object(context.get("integrations")).get("Google Analytics")),
        "device": {
            f"{system}.id": device.get("id"),
            # Without a yes the advertising id is not to be used.
            f"{system}.idfa": device.get("advertisingId") if device.get("adTrackingEnabled") is True else None,
            f"{system}.push_token": device.get("token"),
        },
        "externalIds": _external_ids(context.get("externalIds")),
    }
    user_readers, account_readers = _readers(policy)
    blocked: list[SetAside] = []
    user = tuple(filter(None, (_read(reader, sections, blocked) for reader in user_readers)))
    account = None
    if message.get("type") == "group":
        account = next(filter(None, (_read(reader, sections, blocked) for reader in account_readers)), None)
    return Extracted(user, account, tuple(blocked))


def _read(reader: Reader, sections: Mapping[str, Mapping[str, Any]], blocked: list[SetAside]) -> Identifier | None:
    type, places, check = reader
    used = ""
    for section, key in places:
        raw = sections[section].get(key)
        if raw is None:
            continue
        value = _text(raw)
        if not value:
            continue
        if type == "email":
            value = value.lower()
        refused = check(value)
        if refused is None and not used:
            used = value
        elif value != used:
            refused = refused or SetAside(type, value, "second_of_type")
            if refused not in blocked:  # the same value stands in two places of many messages
                blocked.append(refused)
    return (type, used) if used else None


def _text(raw: object) -> str:
    """The value as an id is compared: trimmed text. "" stands for absent."""
    if isinstance(raw, str):
        return raw.strip()
    if isinstance(raw, int) and not isinstance(raw, bool):
        # Python refuses to write out a number of thousands of digits; all we need of it is that it is too long.
        return str(raw) if raw.bit_length() < 4 * MAX_LENGTH else "9" * (MAX_LENGTH + 1)
    return ""


_NOTHING: dict[str, Any] = {}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _NOTHING


def _external_ids(entries: object) -> Mapping[str, Any]:
    """The id of the first complete entry of each type."""
    if not isinstance(entries, list):
        return _NOTHING
    ids: dict[str, Any] = {}
    for entry in map(_object, entries):
        type, value = entry.get("type"), entry.get("id")
        usable = entry.get("collection") == "users" and entry.get("encoding") == "none"
        if usable and isinstance(type, str) and _text(value):
            ids.setdefault(type, value)
    return ids


# With them lives what `checked` remembers of each policy.
@lru_cache(maxsize=1024)
def _readers(policy: Policy) -> tuple[tuple[Reader, ...], tuple[Reader, ...]]:
    """How to read each of the policy's identifiers, by priority: those of users, and those of accounts."""
    readers = [(definition.type, _places(definition.type), _check(definition)) for definition in policy.identifiers]
    users = tuple(reader for reader in readers if reader[0] != ACCOUNT_TYPE)
    return users, tuple(reader for reader in readers if reader[0] == ACCOUNT_TYPE)


def _places(type: str) -> tuple[Place, ...]:
    if type in _PLACES:
        return _PLACES[type]
    keys = dict.fromkeys((type, camel(type)))
    sections = ("traits", "properties", "context.traits")
    return (*((section, key) for section in sections for key in keys), ("externalIds", type))


def usable(identifiers: Iterable[Identifier], policy: Policy) -> tuple[Identifier, ...]:
    """Those of a set that a policy would still take, by its priority; they were read by the rules of another time."""
    checks = {type: check for readers in _readers(policy) for type, _, check in readers}
    kept = [one for one in identifiers if one[0] in checks and checks[one[0]](one[1]) is None]
    return tuple(sorted(kept, key=policy.priority))


def is_custom(type: str) -> bool:
    """Whether it is a space's own identifier, none of those that every space knows how to read."""
    return type not in _PLACES


def places_of(type: str) -> list[tuple[str, tuple[str, ...]]]:
    """(section of a message, names in it) where a space's own identifier is looked for, in this order."""
    by_section: dict[str, list[str]] = {}
    for section, key in _places(type):
        by_section.setdefault(section, []).append(key)
    # The one section whose name does not say that it is in the context.
    return [("context." * (section == "externalIds") + section, tuple(keys)) for section, keys in by_section.items()]


def inputs(policy: Policy) -> list[tuple[str, ...]]:
    """The places of a message that `identifiers` reads: with nothing else in it, a message identifies the same."""
    types = {definition.type for definition in policy.identifiers}
    custom = sorted(filter(is_custom, types))
    names = sorted({"email"} & types | set(custom) | set(map(camel, custom)))
    sections = (("traits",), ("properties",), ("context", "traits"))
    return [
        *((key,) for key in ("type", "userId", "anonymousId", "groupId")),
        *((*section, name) for section in sections for name in names),
        *(("context", "device", key) for key in ("id", "type", "advertisingId", "adTrackingEnabled", "token")),
        ("context", "integrations", "Google Analytics", "clientId"),
        *(("context", "externalIds", key) for key in ("id", "type", "collection", "encoding") if custom),
    ]


def camel(name: str) -> str:
    return re.sub(r"[_.-]+([a-z0-9])", lambda match: match[1].upper(), name)


def _check(definition: Definition) -> Check:
    """A function that says why a value of this identifier is set aside, or None when it may be used."""
    type = definition.type
    fold = str.lower if type == "email" else str  # as they are stored
    values = {fold(value): value for value in definition.blocked.values}
    searches = [(text, searcher(text, any_case=type == "email")) for text in definition.blocked.patterns]

    def check(value: str) -> SetAside | None:
        if len(value) > MAX_LENGTH:  # before the patterns, whose time grows with the length
            return SetAside(type, storable(value[:MAX_LENGTH]), "too_long")
        return checked(value)

    @lru_cache(REMEMBERED)  # most values come again, in other places and with other identifiers
    def checked(value: str) -> SetAside | None:
        if value in values:
            return SetAside(type, value, "blocked_value", values[value])
        text = storable(value)
        if REPLACEMENT in text:
            return SetAside(type, text, "not_text")
        for pattern, search in searches:
            if search(value):
                return SetAside(type, value, "blocked_pattern", pattern)
        return None

    return check
