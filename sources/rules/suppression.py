"""PURE. Who is suppressed: identifiers kept as keyed hashes, and whether a message carries one of them.

A suppressed message dies before any space has read it, so this asks all places that some space may read an identifier
from, and not, as `identity.rules.extract` does, the first that is usable. tests/pure/test_suppression.py compares both.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

Identifier = tuple[str, str]  # (type, value)

# Places of the identifiers that every space knows; all others are looked for by their names, see `values_of`.
_CONTEXT = {
    "ga_client_id": (("integrations", "Google Analytics", "clientId"),),
    **{f"{system}.id": (("device", "id"),) for system in ("android", "ios")},
    **{f"{system}.idfa": (("device", "advertisingId"),) for system in ("android", "ios")},
    **{f"{system}.push_token": (("device", "token"),) for system in ("android", "ios")},
}
PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    # An alias call says that two ids are one person's: whoever is suppressed is not to be heard of by it either.
    "user_id": (("userId",), ("previousId",)),
    "anonymous_id": (("anonymousId",), ("previousId",)),
    "group_id": (("groupId",),),
    "email": (("traits", "email"), ("context", "traits", "email"), ("properties", "email")),
    **{type: tuple(("context", *path) for path in paths) for type, paths in _CONTEXT.items()},
}
SECTIONS = (("traits",), ("properties",), ("context", "traits"))
EXTERNAL = ("context", "externalIds")


def normal(type: str, value: str) -> str:
    """The value as it is compared, and as spaces keep it."""
    value = value.strip()
    return value.lower() if type == "email" else value


def hashed(key: bytes, type: str, value: str) -> bytes:
    """16 bytes that say nothing to who has not the key of the workspace."""
    return blake2b(f"{type}\0{normal(type, value)}".encode(errors="replace"), key=key, digest_size=16).digest()


def paths_of(type: str) -> tuple[tuple[str, ...], ...]:
    """Where in a message a value of this type may stand; beside entries of `context.externalIds`, for others."""
    if type in PATHS:
        return PATHS[type]
    camel = re.sub(r"[_.-]+([a-z0-9])", lambda match: match[1].upper(), type)
    return tuple((*section, name) for section in SECTIONS for name in dict.fromkeys((type, camel)))


def values_of(message: Mapping[str, Any], type: str) -> Iterator[str]:
    """Everything that may be read from the message as a value of this type of identifier."""
    for path in paths_of(type):
        if text := _text(_at(message, path)):
            yield text
    entries = _at(message, EXTERNAL) if type not in PATHS else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("type") == type and (text := _text(entry.get("id"))):
            yield text


def identifiers_in(text: str | bytes, types: Iterable[str]) -> set[Identifier]:
    """The identifiers of these types that a message carries, or any message of a batch; none where it is no JSON."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return set()
    batch = content.get("batch") if isinstance(content, dict) else None
    messages = [content, *(batch if isinstance(batch, list) else ())]
    return {
        (type, normal(type, value))
        for message in messages
        if isinstance(message, dict)
        for type in types
        for value in values_of(message, type)
    }


def _at(message: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        message = message.get(name) if isinstance(message, dict) else None
    return message


def _text(value: Any) -> str:
    """As an id is compared: a whole number is its digits. "" = none."""
    if isinstance(value, str):
        return value.strip()
    # A number of thousands of digits is no id of anybody, and Python refuses to write it out.
    is_number = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 2_000
    return str(value) if is_number else ""
