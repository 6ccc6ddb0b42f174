"""PURE. Archived messages, read as far as identity needs: identifiers, event, properties, traits.

Decoding is the most of a replay's work, so a message is decoded only in part, and identifiers are worked out once for
each combination of the values that they can come from: most events of a person carry the same few ids.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from identity.rules.extract import Extracted, SetAside, camel, identifiers
from identity.rules.policy import Identifier, Policy
from sources.events.properties import (
    EVENT_NAMES,
    NOTHING,
    event_name,
    split,
    stays_out_of_spaces,
    storable_json,
)

NAME_OF = {type: b'"%b_name":' % type.encode() for type in EVENT_NAMES}
CATEGORY_OF = {type: b'"%b_category":' % type.encode() for type in EVENT_NAMES}
REMEMBERED = 100_000  # combinations of ids, per policy and process
EMPTY = msgspec.Raw(b"")
Stamp = tuple[int, int, int, int]  # (event time in ms, source, archive batch, position): which of two traits is newer
_MAY_STAY_OUT = re.compile(rb'"(?:personas|all)"\s*:\s*false', re.IGNORECASE)
NO_TRAITS: dict[str, bytes] = {}
CONSENT = "consent"  # the trait that keeps what events say of consent
PREFERENCES = b'"categoryPreferences"'


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


class ArchivedEvent(msgspec.Struct, gc=False):
    """One archived event. user: the identifiers of its person, most trusted first; account: that of a group call.

    properties, lists: as the timeline keeps them, see `sources.events.properties`. traits: of identify and group
    calls, and the consent that any call of a person carries; their values are JSON text that every store takes.
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


def owner_of_traits(event: ArchivedEvent, profile: int, account: int) -> int:
    """Whose the event's traits are: the account's in a group call, else the person's; 0 = nobody's."""
    if not event.traits:
        return 0
    return account if event.type == "group" else profile


def read_events(texts: Sequence[bytes], policy: Policy) -> list[ArchivedEvent]:
    """The events of these JSON texts. Raises ValueError when a text is not a JSON object."""
    read = _readers(policy).read
    return [read(text) for text in texts]


def read_people(texts: Iterable[bytes], policy: Policy) -> list[tuple[Identifier, ...]]:
    """The identifiers of the person alone in each of these JSON texts: a third of the work of reading it all."""
    read = _readers(policy).read_person
    return [read(text) for text in texts]


class _Reader:
    """Reads messages for one policy.

    Only what identifiers can come from is decoded, into frozen structs: equal structs have equal identifiers. They
    take nothing but text, since 1, 1.0 and true would be equal too; a message with other values goes the slow way.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        types = {definition.type for definition in policy.identifiers} | {"email"}
        keys = sorted(types | {camel(type) for type in types})
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
        self._remembered: dict[tuple[Any, ...], Extracted] = {}

    def read(self, text: bytes) -> ArchivedEvent:
        # Three looks, each dearer and rarer: hardly any message says false, and of those hardly any says it to us.
        if b"false" in text and _MAY_STAY_OUT.search(text) and stays_out_of_spaces(message := _decoded(text)):
            name = event_name(message["type"], message.get("event"))
            return ArchivedEvent(message["type"], name, (), None, NOTHING, NOTHING, NO_TRAITS, stays_out=True)
        try:
            outer: Any = self._outer.decode(text)
            extracted = self._identifiers(text, outer)
        except msgspec.DecodeError:
            message = _decoded(text)
            # Its sections as the stores take them; its identifiers from what was sent: U+FFFD would make two ids one.
            sections = msgspec.json.decode(storable_json(text), type=dict[str, msgspec.Raw])
            outer = _LooseOuter(
                type=str(message.get("type")),
                event=message.get("event"),
                name=message.get("name"),
                category=message.get("category"),
                properties=sections.get("properties", EMPTY),
                traits=sections.get("traits", EMPTY),
            )
            extracted = identifiers(message, self.policy)
        properties, lists = split(_properties(outer))
        traits = NO_TRAITS
        # Only these two calls say something of a person for good; `traits` of others are of no use to anybody.
        if outer.type in ("identify", "group") and (raw := storable_json(bytes(outer.traits)))[:1] == b"{":
            sent = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            traits = {key: bytes(value) for key, value in sent.items()}
        if PREFERENCES in text and outer.type != "group":
            traits = _consent(text) | traits
        return ArchivedEvent(
            type=outer.type,
            event=event_name(outer.type, outer.event if isinstance(outer.event, str) else None),
            user=extracted.user,
            account=extracted.account,
            properties=properties,
            lists=lists,
            traits=traits,
            set_aside=extracted.blocked,
        )

    def read_person(self, text: bytes) -> tuple[Identifier, ...]:
        try:
            return self._identifiers(text, self._outer.decode(text)).user
        except msgspec.DecodeError:
            return identifiers(_decoded(text), self.policy).user

    def _identifiers(self, text: bytes, outer: Any) -> Extracted:
        """Worked out once for all messages whose identifiers can come from the same values."""
        key = (
            outer.type == "group",
            outer.userId,
            outer.anonymousId,
            outer.groupId,
            self._known.decode(outer.properties) if outer.properties else None,
            self._known.decode(outer.traits) if outer.traits else None,
            outer.context,
        )
        extracted = self._remembered.get(key)
        if extracted is None:
            if len(self._remembered) >= REMEMBERED:  # all at once: to keep the newest would cost at every look
                self._remembered.clear()
            extracted = self._remembered[key] = identifiers(_decoded(text), self.policy)
        return extracted


_readers = lru_cache(maxsize=64)(_Reader)  # by policy: making one defines classes, and what it has read it remembers


@dataclass
class _LooseOuter:
    """What of a message is read beside its identifiers, whatever types its sender gave the fields."""

    type: str
    event: Any
    name: Any
    category: Any
    properties: msgspec.Raw
    traits: msgspec.Raw


class _Preferences(msgspec.Struct):
    categoryPreferences: dict[str, bool]


class _ConsentContext(msgspec.Struct):
    consent: _Preferences


class _Consenting(msgspec.Struct):
    context: _ConsentContext


_CONSENTING = msgspec.json.Decoder(_Consenting)


def _consent(text: bytes) -> dict[str, bytes]:
    """What a consent manager adds to every call of a person, as a trait; nothing where it is not all yes and no."""
    try:
        preferences = _CONSENTING.decode(text).context.consent.categoryPreferences
    except msgspec.DecodeError:
        return NO_TRAITS
    return {CONSENT: storable_json(msgspec.json.encode(preferences))}


def _decoded(text: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:  # half of a surrogate pair, a number beyond a double
        return dict(json.loads(text))


def _properties(outer: Any) -> bytes:
    """The properties; those of a page or screen with its name and category, unless they have such already."""
    text = bytes(outer.properties)
    if text[:1] != b"{":
        text = b"{}"
    if outer.type in EVENT_NAMES:
        if isinstance(outer.name, str):
            text = _with_key(text, NAME_OF[outer.type], outer.name)
        if isinstance(outer.category, str):
            text = _with_key(text, CATEGORY_OF[outer.type], outer.category)
    return storable_json(text)


def _with_key(text: bytes, key: bytes, value: str) -> bytes:
    """The object with one more key at its end, if it has no such key yet."""
    # The bytes may be those of a key deeper inside, so JSON has the last word; nearly always they are not there at all.
    if key in text and key[1:-2].decode() in json.loads(text):
        return text
    separator = b"," if text[1:-1].strip() else b""
    return b"%b%b%b%b}" % (text[:-1], separator, key, msgspec.json.encode(value))
