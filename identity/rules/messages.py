"""PURE. Archived messages, read as far as identity needs: identifiers, event, properties, traits.

Decoding is the most of a replay's work, so a message is decoded only in part, and identifiers are worked out once for
each combination of the values that they can come from: most events of a person carry the same few ids.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from identity.rules.decision import Identifier, Policy
from identity.rules.extract import Extracted, SetAside, camel, identifiers
from sources.events.json_text import storable_json
from sources.events.properties import NOTHING, split
from sources.rules.spec import stays_out_of_spaces

NAMED = {"page": "Page Viewed", "screen": "Screen Viewed"}  # events whose call has no event name of its own
NAME_OF = {type: b'"%b_name":' % type.encode() for type in NAMED}
CATEGORY_OF = {type: b'"%b_category":' % type.encode() for type in NAMED}
REMEMBERED = 100_000  # combinations of ids, per policy and process
EMPTY = msgspec.Raw(b"")
Stamp = tuple[int, int, int, int]  # (event time in ms, source, archive batch, position): which of two traits is newer
_MAY_STAY_OUT = re.compile(rb'"(?:personas|all)"\s*:\s*false', re.IGNORECASE)
NO_TRAITS: dict[str, bytes] = {}


class Device(msgspec.Struct, frozen=True):
    type: str | None = None
    id: str | None = None
    advertisingId: str | None = None
    adTrackingEnabled: bool | None = None
    token: str | None = None


class External(msgspec.Struct, frozen=True):
    id: str | None = None
    type: str | None = None
    collection: str | None = None
    encoding: str | None = None


class Google(msgspec.Struct, frozen=True):
    clientId: str | None = None


class Integrations(msgspec.Struct, frozen=True, rename={"google": "Google Analytics"}):
    google: Google | bool | None = None


class Message(msgspec.Struct, gc=False):
    """One archived event. user: the identifiers of its person, most trusted first; account: that of a group call.

    properties, lists: as the timeline keeps them, see `sources.events.properties`. traits: of identify and group
    calls, their values JSON text that every store takes.
    stays_out: it asks not to be in spaces; then it has neither identifiers nor traits.
    set_aside: values of identifiers that are not used.
    """

    type: str
    event: str
    user: tuple[Identifier, ...]
    account: Identifier | None
    properties: bytes
    lists: bytes
    traits: dict[str, bytes]
    stays_out: bool = False
    set_aside: tuple[SetAside, ...] = ()

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        return (*self.user, self.account) if self.account else self.user


def owner_of_traits(message: Message, profile: int, account: int) -> int:
    """Whose the message's traits are: the account's in a group call, else the person's; 0 = nobody's."""
    if not message.traits:
        return 0
    return account if message.type == "group" else profile


def read(texts: Sequence[bytes], policy: Policy) -> list[Message]:
    """The messages of these JSON texts. Raises ValueError when a text is not a JSON object."""
    one = _reader(policy).read
    return [one(text) for text in texts]


class _Reader:
    """Reads messages for one policy.

    Only what identifiers can come from is decoded, into frozen structs: equal structs have equal identifiers. They
    take nothing but text, since 1, 1.0 and true would be equal too; a message with other values goes the slow way.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        keys = sorted({key for each in policy.identifiers for key in (each.type, camel(each.type))} | {"email"})
        names = {f"f{number}": key for number, key in enumerate(keys)}
        known = msgspec.defstruct("Known", [(name, str | None, None) for name in names], rename=names, frozen=True)
        context = msgspec.defstruct(
            "Context",
            [
                ("traits", known | None, None),
                ("device", Device | None, None),
                ("integrations", Integrations | None, None),
                ("externalIds", tuple[External, ...] | None, None),
            ],
            frozen=True,
        )
        outer = msgspec.defstruct(
            "Outer",
            [
                ("type", str),
                ("event", str | None, None),
                ("name", str | None, None),
                ("category", str | None, None),
                ("userId", str | None, None),
                ("anonymousId", str | None, None),
                ("groupId", str | None, None),
                ("traits", msgspec.Raw, EMPTY),
                ("properties", msgspec.Raw, EMPTY),
                ("context", context | None, None),
            ],
        )
        self._outer = msgspec.json.Decoder(outer)
        self._known = msgspec.json.Decoder(known | None)
        self._seen: dict[tuple[Any, ...], Extracted] = {}

    def read(self, text: bytes) -> Message:
        if b"false" in text and _MAY_STAY_OUT.search(text) and stays_out_of_spaces(whole := _whole(text)):
            event = _event(whole["type"], whole.get("event"))
            return Message(whole["type"], event, (), None, NOTHING, NOTHING, NO_TRAITS, stays_out=True)
        try:
            found: Any = self._outer.decode(text)
            extracted = self._remembered(text, found)
        except msgspec.DecodeError:
            return self._read_slowly(text)
        return _message(found, extracted, found.properties, found.traits)

    def _remembered(self, text: bytes, found: Any) -> Extracted:
        key = (
            found.type == "group",
            found.userId,
            found.anonymousId,
            found.groupId,
            self._known.decode(found.properties) if found.properties else None,
            self._known.decode(found.traits) if found.traits else None,
            found.context,
        )
        extracted = self._seen.get(key)
        if extracted is None:
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            extracted = self._seen[key] = identifiers(_whole(text), self.policy)
        return extracted

    def _read_slowly(self, text: bytes) -> Message:
        whole = _whole(text)
        parts = msgspec.json.decode(storable_json(text), type=dict[str, msgspec.Raw])
        found = _Loose(str(whole.get("type")), whole.get("event"), whole.get("name"), whole.get("category"))
        sections = [parts.get(name, EMPTY) for name in ("properties", "traits")]
        return _message(found, identifiers(whole, self.policy), *sections)


def _whole(text: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:  # half of a surrogate pair, a number beyond a double
        return dict(json.loads(text))


@dataclass
class _Loose:
    type: str
    event: Any
    name: Any
    category: Any


@lru_cache(maxsize=64)
def _reader(policy: Policy) -> _Reader:
    return _Reader(policy)


def _message(found: Any, extracted: Extracted, properties: msgspec.Raw, traits: msgspec.Raw) -> Message:
    own, lists = split(_properties(found, properties))
    return Message(
        type=found.type,
        event=_event(found.type, found.event),
        user=extracted.user,
        account=extracted.account,
        properties=own,
        lists=lists,
        traits=_traits(traits) if traits and found.type in ("identify", "group") else NO_TRAITS,
        set_aside=extracted.blocked,
    )


def _event(type: str, event: Any) -> str:
    if type == "track":
        return event if isinstance(event, str) else ""
    return NAMED.get(type, "")


def _properties(found: Any, raw: msgspec.Raw) -> bytes:
    """The properties; those of a page or screen with its name and category, unless they have such already."""
    text = bytes(raw)
    if text[:1] != b"{":
        text = b"{}"
    if found.type in NAMED:
        if isinstance(found.name, str):
            text = _with(text, NAME_OF[found.type], found.name)
        if isinstance(found.category, str):
            text = _with(text, CATEGORY_OF[found.type], found.category)
    return storable_json(text)


def _with(text: bytes, key: bytes, value: str) -> bytes:
    """The object with one more key at its end, if it has no such key yet."""
    if key in text and key[1:-2].decode() in json.loads(text):
        return text
    separator = b"," if text[1:-1].strip() else b""
    return b"%b%b%b%b}" % (text[:-1], separator, key, msgspec.json.encode(value))


def _traits(raw: msgspec.Raw) -> dict[str, bytes]:
    text = storable_json(bytes(raw))
    if text[:1] != b"{":
        return NO_TRAITS
    return {key: bytes(value) for key, value in msgspec.json.decode(text, type=dict[str, msgspec.Raw]).items()}
