"""A file of one's own messages, one Segment-shaped message a line, plain or gzipped."""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from quickstart.resolver import DEFAULTS, find_user_identifiers, is_kept_out
from quickstart.truth import Happened

TYPES = {"identify", "track", "page", "screen", "group", "alias"}
MOST_BYTES = 32 * 1024  # of one message (spec §2)
DEEPEST = 100  # objects and lists inside one another
LONGEST_ID, LONGEST_NAME, LONGEST_TIME = 100, 200, 100  # characters
LARGEST_ID = 2**64
GZIP = b"\x1f\x8b"
EPOCH, MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


class FileError(Exception):
    """The file cannot be read; the message is for the user."""


class Line(NamedTuple):
    """number: from 1. message: as it will be sent, None when it is not JSON. fault: what is wrong, if anything."""

    number: int
    message: Any
    fault: str | None


@dataclass(frozen=True)
class EventFile:
    """The messages of a file, as given. A message without an id gets one that depends on nothing but the file."""

    path: Path

    @cached_property
    def lines(self) -> list[Line]:
        """Every line that is not blank."""
        lines = []
        for number, text in enumerate(self._bytes.split(b"\n"), 1):
            if not text.strip():
                continue
            try:
                message = json.loads(text.decode("utf-8-sig"), parse_constant=_refuse)
            except (ValueError, RecursionError) as error:
                lines.append(Line(number, None, f"not JSON: {error}"))
                continue
            if isinstance(message, dict) and not _is_id(message.get("messageId")):
                message["messageId"] = (
                    f"{self.digest}-{number}"  # the same in every run: a second one sends nothing new
                )
            lines.append(Line(number, message, fault(message)))
        return lines

    @cached_property
    def digest(self) -> str:
        return blake2b(self._bytes, digest_size=6).hexdigest()

    @property
    def faulty(self) -> list[Line]:
        return [line for line in self.lines if line.fault]

    def sent(self) -> list[Any]:
        """What is sent, in order: whatever is JSON, so that the server says itself what it rejects."""
        return [line.message for line in self.lines if line.message is not None]

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        """The good messages, each once: of doubles, which have the same id, the first."""
        return list(self._by_id.values())

    def message(self, message_id: str, at: int) -> dict[str, Any] | None:
        """The good message with this id."""
        return self._by_id.get(message_id)

    @cached_property
    def favourite(self) -> str | None:
        """The most frequent track event, of equals the alphabetically first; None when no audience can ask for any."""
        names = (
            message["event"] for message in self.messages if message["type"] == "track" and not is_kept_out(message)
        )
        counts = Counter(name for name in names if len(name) <= LONGEST_NAME)
        return min(counts, key=lambda event: (-counts[event], event), default=None)

    def happened(self, *, received: tuple[int, int]) -> list[Happened] | None:
        """Who did what and when; None when not every message says who. To an id that is nobody's nothing happened,
        and a message that stays out of spaces did not happen there.

        received: the moments (ms) between which the server first received the file. Event time is min(given, receipt).
        """
        happened: list[Happened] = []
        for message in self.messages:
            identifiers = find_user_identifiers(message, DEFAULTS)
            user_id = identifiers.get("user_id")
            if is_kept_out(message):
                continue
            if not _is_id(message.get("userId")) or (user_id is None and identifiers):
                return None
            if user_id is not None and message["type"] == "track":
                happened.append(Happened(user_id, message["event"], *event_times(message, received)))
        return happened

    @cached_property
    def _by_id(self) -> dict[str, dict[str, Any]]:
        good: dict[str, dict[str, Any]] = {}
        for line in self.lines:
            if line.fault is None:
                # As it will come back: what is no character is U+FFFD in every store.
                good.setdefault(str(line.message["messageId"]), _storable(line.message))
        return good

    @cached_property
    def _bytes(self) -> bytes:
        try:
            content = self.path.read_bytes()  # once: it is also what the ids of messages without one are made of
            return gzip.decompress(content) if content.startswith(GZIP) else content
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise FileError(f"{self.path} cannot be read: {error}") from error


def given_time(message: dict[str, Any]) -> int | None:
    """The message's own time in ms, None when it has none that can be read. Without a zone it is UTC."""
    value = _own_time(message)
    if not isinstance(value, str) or len(value) > LONGEST_TIME:
        return None
    try:
        moment = datetime.fromisoformat(value.strip().upper())
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // MILLISECOND if aware >= EPOCH else None


def _own_time(message: dict[str, Any]) -> Any:
    return next(
        (message[name] for name in ("timestamp", "originalTimestamp") if message.get(name) not in (None, "")), None
    )


def is_somebodys(message: dict[str, Any]) -> bool:
    """It comes into spaces, and some identifier of it is neither missing nor one that identifies nobody."""
    return not is_kept_out(message) and bool(find_user_identifiers(message, DEFAULTS))


def fault(message: Any) -> str | None:
    """What the specification (§2) says is wrong with a message; None when nothing is."""
    if not isinstance(message, dict):
        return "not a JSON object"
    return next(_faults(message), None)


def _faults(message: dict[str, Any]) -> Iterator[str]:
    type = message.get("type")
    if not isinstance(type, str) or type not in TYPES:
        yield f"unknown type {type!r}"
    if len(json.dumps(message)) > MOST_BYTES:
        yield "larger than 32 KB"
    if not _is_shallow(message):
        yield f"more than {DEEPEST} objects and lists inside one another"
    for name in ("userId", "anonymousId", "previousId", "groupId", "messageId"):
        value = message.get(name)
        large = isinstance(value, int) and abs(value) >= LARGEST_ID
        if isinstance(value, bool) or not isinstance(value, str | int | None) or large:
            yield f"{name} is neither text nor a whole number"
        if isinstance(value, str) and value != _storable(value):
            yield f"{name} holds what is no character"
    if not (_is_id(message.get("userId")) or _is_id(message.get("anonymousId"))):
        yield "neither userId nor anonymousId"
    if len(str(message["messageId"])) > LONGEST_ID:
        yield f"messageId is longer than {LONGEST_ID} characters"
    for of, name in (("group", "groupId"), ("alias", "previousId")):
        if type == of and not _is_id(message.get(name)):
            yield f"no {name}"
    if type == "track" and (not isinstance(message.get("event"), str) or message["event"] == ""):
        yield "event is not a name"
    for part in ("properties", "traits", "context", "integrations"):
        if not isinstance(message.get(part, {}), dict | None) and message[part] != []:
            yield f"{part} is not an object"
    if type in ("page", "screen"):
        for part in ("name", "category"):
            if not isinstance(message.get(part), str | None):
                yield f"{part} is not text"
    if (own := _own_time(message)) is not None and given_time(message) is None:
        yield f"{own!r} is not an ISO 8601 time since 1970"


def _is_id(value: Any) -> bool:
    return value is not None and str(value).strip() != ""


def _is_shallow(value: Any, deepest: int = DEEPEST) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inside is None or (deepest > 0 and all(_is_shallow(item, deepest - 1) for item in inside))


def _storable(value: Any) -> Any:
    """The same with U+FFFD for what is no character, and for NUL, as stores keep it."""
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        # Through UTF-16, which makes two halves of a surrogate pair side by side one character.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


def event_times(message: dict[str, Any], received: tuple[int, int]) -> tuple[int, int]:
    """min(given, receipt), for the first and the last moment (ms) at which it can have been received."""
    given = given_time(message)
    first, last = received
    return (first, last) if given is None else (min(given, first), min(given, last))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
