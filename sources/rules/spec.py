"""PURE. What a request said: every message in it, normalised, or rejected with a code, a reason and a path.

The rules are Segment's (spec/segment.md §2), the tolerance is what the client libraries need (spec/ecosystem.md §1).
`parse` is a pure function of what is in the inbox row, so that a batch can be written again and be the same, and it
raises nothing whatever the bytes are. A request is read as JSON by msgspec; only when that refuses (NaN, which
Python's clients send, lone surrogates, 1e999) its messages are told apart by `outline`, and each is read leniently and
made storable, as a browser's JSON.stringify would have: NaN and infinities become null. So no message costs another.

Different ids stay different: bytes that are no UTF-8 make a message a reject, and so does an id with NUL or half of a
surrogate pair. Elsewhere in a message these two become U+FFFD, and identity takes no value that holds one.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from sources.events.properties import EVENT_NAMES, event_name
from spaces.text import REPLACEMENT, is_storable, storable
from spaces.times import iso_of, milliseconds

TYPES = ("identify", "track", "page", "screen", "group", "alias")
SHORT = {type[0]: type for type in TYPES} | {"b": "batch", "import": "batch"}  # /v1/t, as analytics.js posts
BATCH = "batch"
LARGEST_MESSAGE = 32_768  # bytes of JSON
LARGEST_BATCH = 2_500  # messages
LONGEST_MESSAGE_ID = 100
DEEPEST = 100  # objects and lists inside one another
MOST_STEPS = 200_000  # of `outline`, each of up to a microsecond: a small body can unpack to millions
NETWORK_MS = 5_000  # up to here, what is between sending and receipt is the network's doing, not a wrong clock's
LONGEST_TIME = 100  # characters
LONGEST_INTEGER = 300  # digits; longer ones are beyond the range of a float too
KEPT_OF_REJECT = 32_768  # characters of a rejected message
UNSTORABLE = "unstorable"
INVALID_ENCODING = "invalid_encoding"
SOURCE_DISABLED = "source_disabled"
NULL = Raw(b"null")


REFUSED = {SOURCE_DISABLED: "The source is disabled: nothing it sends is kept."}


class Request(Struct, frozen=True):
    """An inbox row. `received_at` in milliseconds; `refused`: the code for which all of it is refused, or ""."""

    inbox: int
    call: str
    body: bytes
    received_at: int
    refused: str = ""


class Message(Struct, gc=False):
    """A message that can be archived.

    ts: event time in milliseconds. text: the normalised message as JSON.
    """

    type: str
    event: str
    message_id: str
    ts: int
    text: bytes


class Rejected(Struct, gc=False):
    """A message that cannot be archived. `path`: such as batch[3].userId.

    messages: how many it stands for. Several: a refused request, or equal rejects of one (`grouped`). None: what the
    messages of a request shared could not be used, and they were archived without it.
    """

    code: str
    reason: str
    path: str
    message_id: str = ""
    message: str = ""
    messages: int = 1


class _Refuse(Exception):
    def __init__(self, code: str, path: str, reason: str) -> None:
        super().__init__(code)
        self.code, self.path, self.reason = code, path, reason


class _Envelope(Struct):
    """What a batch has in it, each part still as JSON, so that none can cost another."""

    batch: list[Raw] | None = None
    context: Raw = NULL
    integrations: Raw = NULL
    timestamp: Raw = NULL
    originalTimestamp: Raw = NULL
    sentAt: Raw = NULL


class _Shared(Struct, frozen=True):
    """What a batch adds to each of its messages, and how many bytes that is."""

    context: dict[str, Any] = {}
    integrations: dict[str, Any] = {}
    timestamp: Any = None
    sent_at: Any = None
    size: int = 0


class _Fields(Struct):
    """A message as sent. Everything else in it is dropped."""

    type: Any = None
    messageId: Any = None
    userId: Any = None
    anonymousId: Any = None
    previousId: Any = None
    groupId: Any = None
    event: Any = None
    name: Any = None
    category: Any = None
    properties: Any = None
    traits: Any = None
    context: Any = None
    integrations: Any = None
    timestamp: Any = None
    originalTimestamp: Any = None
    sentAt: Any = None
    version: Any = None
    channel: Any = None


class _Normal(Struct, omit_defaults=True):
    """A message as archived; the order of fields is that of the text."""

    type: str
    messageId: str
    userId: str | UnsetType = UNSET
    anonymousId: str | UnsetType = UNSET
    previousId: str | UnsetType = UNSET
    groupId: str | UnsetType = UNSET
    event: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    properties: dict[str, Any] | UnsetType = UNSET
    traits: dict[str, Any] | UnsetType = UNSET
    context: dict[str, Any] | UnsetType = UNSET
    integrations: dict[str, Any] | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    originalTimestamp: str | UnsetType = UNSET
    sentAt: str | UnsetType = UNSET
    receivedAt: str | UnsetType = UNSET
    version: Any = UNSET
    channel: str | UnsetType = UNSET


_envelope = msgspec.json.Decoder(_Envelope)
_fields = msgspec.json.Decoder(_Fields)
_encode = msgspec.json.Encoder().encode


def call_of(route: str) -> str | None:
    """The call behind the last part of a path, such as `t` or `track`; None when there is none."""
    call = SHORT.get(route, route)
    return call if call == BATCH or call in TYPES else None


def parse(request: Request, *, correct_clocks: bool) -> list[Message | Rejected]:
    """Every message of the request in its order. Never raises; the same input gives the same output.

    Together the results stand for every message: a rejected request says how many it had.
    """
    if request.refused:
        # Refused before it was read; it is read all the same, to say how many messages were lost.
        why = _Refuse(request.refused, "", REFUSED.get(request.refused, "Nothing of this request is kept."))
        try:
            messages = len(_envelope_of(request.body).batch or ()) if request.call == BATCH else 1
        except _Refuse as unreadable:
            messages = 0 if unreadable.path else 1
        return [_rejected(why, request.body, messages=messages)]
    if request.call != BATCH:
        return [_read(Raw(request.body), _Shared(), request, 0, "", correct_clocks)]
    try:
        envelope = _envelope_of(request.body)
        if not envelope.batch:
            raise _Refuse("empty_batch", "batch", "The request holds no message.")
    except _Refuse as refused:
        return [_rejected(refused, request.body, messages=0 if refused.path else 1)]
    items = envelope.batch
    shared, unused = _shared(envelope)
    results = [
        _read(item, shared, request, index, f"batch[{index}]", correct_clocks)
        for index, item in enumerate(items[:LARGEST_BATCH])
    ]
    if beyond := items[LARGEST_BATCH:]:
        reason = f"{len(items)} messages; of a request the first {LARGEST_BATCH} are taken."
        too_many = _Refuse("batch_too_large", f"batch[{LARGEST_BATCH}]", reason)
        results.append(_rejected(too_many, beyond[0], messages=len(beyond)))
    return results + unused


def grouped(rejects: Iterable[Rejected]) -> list[Rejected]:
    """Rejects of one request with those of one code and one field as one, which is the first and counts them all."""
    groups: dict[tuple[str, str], Rejected] = {}
    for reject in rejects:
        key = reject.code, _INDEX.sub("batch[]", reject.path)
        first = groups.get(key)
        groups[key] = reject if first is None else replace(first, messages=first.messages + reject.messages)
    return list(groups.values())


def is_whole(reject: Rejected, call: str) -> bool:
    """Whether the reject's text is all that was refused, so that `again` can send it. call: of its request."""
    uncut = len(reject.message) < KEPT_OF_REJECT and REPLACEMENT not in reject.message
    alone = reject.messages == 1 if call == BATCH and reject.path.startswith("batch[") else reject.messages > 0
    return reject.code == UNSTORABLE or (uncut and alone)


def again(call: str, path: str, message: str) -> bytes:
    """The body of a request that sends a rejected message once more, by the same call.

    call, path, message: of the reject. A message of a batch is the only one of the new request.
    """
    if call == BATCH and path.startswith("batch["):
        return f'{{"batch":[{message}]}}'.encode()
    return message.encode()


def as_sent(text: bytes) -> bytes:
    """An archived message as a client would have sent it by the call of its type, so that it comes out the same."""
    fields = msgspec.json.decode(text)
    del fields["receivedAt"]
    del fields["timestamp"]  # made of the receipt and these two
    if "originalTimestamp" in fields:
        fields["timestamp"] = fields.pop("originalTimestamp")
    return _encode(fields)


# --- the request


def _envelope_of(body: bytes) -> _Envelope:
    """Raises _Refuse when the body is no JSON object, or its `batch` no list."""
    try:
        return _envelope.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    # msgspec refuses a body for one bad byte in one message; this reader only asks where each message ends.
    try:
        fields = outline(body)
    except ValueError as error:
        raise _Refuse("invalid_json", "", str(error)) from None
    # A body without `batch`, or with null, is one without messages, which has a reason of its own.
    if not isinstance(fields.setdefault("batch", []), list) and fields["batch"] != NULL:
        raise _Refuse("batch_not_array", "batch", "`batch` must be a list of messages.")
    return _Envelope(**{name: fields[name] for name in _Envelope.__struct_fields__ if fields.get(name, NULL) != NULL})


def _shared(envelope: _Envelope) -> tuple[_Shared, list[Rejected]]:
    """What the messages share, and word of what of it cannot be used: that must not cost them."""
    objects: dict[str, dict[str, Any]] = {}
    unused: list[Rejected] = []
    for name in ("context", "integrations"):
        raw = getattr(envelope, name)
        try:
            objects[name] = _object(_value(raw), name)
        except _Refuse as refused:
            refused.path, refused.reason = name, f"{refused.reason} The messages were taken without it."
            unused.append(_rejected(refused, raw, messages=0))
    shared = _Shared(
        **objects,
        timestamp=_time_shared(envelope.timestamp) or _time_shared(envelope.originalTimestamp),
        sent_at=_time_shared(envelope.sentAt),
        size=sum(len(_encode(value)) for value in objects.values() if value),
    )
    return shared, unused


def _time_shared(raw: Raw) -> Any:
    """Where it cannot be read there is none, as with any other nonsense."""
    try:
        return _value(raw)
    except _Refuse:
        return None


def outline(body: bytes) -> dict[str, Any]:
    """The fields of the JSON object that the body is: each as raw JSON, `batch` as a list of its messages.

    Whatever is in them: NaN, bytes that are no UTF-8, a thousand objects inside one another. Raises ValueError, with
    a reason fit for the sender, when the body is no JSON object.
    """
    # Bytes that are no UTF-8 go through as halves of surrogates, and come out of `value` as the bytes they were.
    scan = _Scan(body.decode("utf-8", "surrogateescape").removeprefix("\ufeff"))
    fields: dict[str, Any] = {}
    if not scan.passes("{"):
        raise ValueError("The body must be a JSON object.")
    for _ in scan.items("}"):
        key = scan.key()
        if key == "batch" and scan.passes("["):
            fields[key] = [scan.value() for _ in scan.items("]")]
        else:
            fields[key] = scan.value()
    if not scan.is_at_end():
        raise ValueError("The body has more in it than one JSON object.")
    return fields


class _Scan:
    """A place in a JSON text that moves over it, without ever being inside more than one value at once.

    Python's reader checks each value and says where it ends; one that is too deep for it is passed over by its
    brackets, since whoever reads it will refuse it.
    """

    def __init__(self, text: str) -> None:
        self.text, self.at, self.steps = text, 0, 0

    def passes(self, mark: str) -> bool:
        """Whether the mark comes next; then it is passed."""
        self._skip_blanks()
        comes = self.text.startswith(mark, self.at)
        self.at += comes
        return comes

    def is_at_end(self) -> bool:
        self._skip_blanks()
        return self.at == len(self.text)

    def items(self, end: str) -> Iterator[None]:
        """Stops before each item of a list or an object, and is past its end when there is no other."""
        if self.passes(end):
            return
        yield
        while not self.passes(end):
            if not self.passes(","):
                raise self._error(f"`,` or `{end}` expected")
            self._step()
            yield

    def key(self) -> Any:
        key = self._read()[1]
        if not isinstance(key, str) or not self.passes(":"):
            raise self._error("a name and `:` expected")
        return key

    def value(self) -> Raw:
        return Raw(self._read()[0].encode("utf-8", "surrogateescape"))

    def _read(self) -> tuple[str, Any]:
        """The next value as text, and what it is; None for one that is too deep."""
        self._skip_blanks()
        start, value = self.at, None
        try:
            value, self.at = _python.raw_decode(self.text, start)
        except RecursionError:
            # Nobody will read what is so deep, so brackets alone say where it ends: no stack, but steps that count.
            depth = 0
            for bracket in _TEXT_OR_BRACKET.finditer(self.text, start):
                self._step()
                depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(bracket[0], 0)
                if depth == 0:
                    self.at = bracket.end()
                    break
            else:
                raise self._error("it ends too early") from None
        except ValueError as error:
            raise ValueError(f"The body is not JSON: {error}.") from None
        return self.text[start : self.at], value

    def _skip_blanks(self) -> None:
        if blanks := _BLANKS.match(self.text, self.at):
            self.at = blanks.end()

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise ValueError("The body has too much in it that is too deep, or is no JSON, to tell its messages apart.")

    def _error(self, what: str) -> ValueError:
        return ValueError(f"The body is not JSON: {what} at character {self.at}.")


def _lenient(raw: bytes | Raw) -> Any:
    """The JSON read by Python's own reader, which takes what clients send beyond the standard. Raises _Refuse."""
    try:
        text = bytes(raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"Byte {bytes(raw)[error.start]:#04x} at {error.start} is not UTF-8: send UTF-8, or name the charset."
        raise _Refuse(INVALID_ENCODING, "", reason) from None
    try:
        return _python.decode(text)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise _Refuse("invalid_json", "", f"The message is not JSON: {error}.") from None


def _value(raw: Raw) -> Any:
    """What the JSON says. Raises _Refuse."""
    _limit_depth(bytes(raw))
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _storable_json(_lenient(raw))  # half of a surrogate pair cannot even be measured


# --- one message


def _read(
    item: Raw, shared: _Shared, request: Request, index: int, path: str, correct_clocks: bool
) -> Message | Rejected:
    """The one message, or why it is none. path: where in the request it is; "" = it is the request."""
    fields = None
    try:
        raw = bytes(item)
        # What the batch adds to each of its messages counts with each, or a small request could become a huge one.
        if (size := len(raw) + shared.size) > LARGEST_MESSAGE:
            raise _Refuse("message_too_large", "", f"{size} bytes; a message may have {LARGEST_MESSAGE}.")
        _limit_depth(raw)  # before anything reads it: a reader that recurses would end at a depth of its own
        try:
            fields = _fields.decode(raw)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            value = _lenient(raw)
            if not isinstance(value, dict):
                raise _Refuse("message_not_object", "", "A message must be a JSON object.") from None
            fields = _Fields(**{name: value.get(name) for name in _Fields.__struct_fields__})
        return _normal(fields, shared, request, index, correct_clocks)
    except _Refuse as refused:
        refused.path = f"{path}.{refused.path}" if path and refused.path else path or refused.path
        return _rejected(refused, item, message_id=fields.messageId if fields else "")
    except RecursionError:
        return _rejected(_too_deep(path), item)


def _normal(fields: _Fields, shared: _Shared, request: Request, index: int, correct_clocks: bool) -> Message:
    type = request.call if request.call != BATCH else fields.type
    if not isinstance(type, str) or type not in TYPES:
        raise _Refuse("unknown_type", "type", f"`type` must be one of {', '.join(TYPES)}.")
    message_id = "" if fields.messageId is None else _id(fields.messageId, "messageId")
    if len(message_id) > LONGEST_MESSAGE_ID:
        raise _Refuse("message_id_too_long", "messageId", f"`messageId` may have {LONGEST_MESSAGE_ID} characters.")
    # Without an id of its own it gets that of its place in the inbox: the same when the batch is written again, and
    # another one when the client sends the same once more. Two messages without an id are two messages.
    message_id = message_id or f"api-{request.inbox}-{index}"
    normal = _Normal(type, message_id)
    for name in ("userId", "anonymousId", "previousId", "groupId"):
        value = getattr(fields, name)
        if value is not None and (text := _id(value, name)):
            setattr(normal, name, text)
    if normal.userId is UNSET and normal.anonymousId is UNSET:
        raise _Refuse("id_required", "userId", "A message needs a `userId` or an `anonymousId`.")
    if normal.type == "group" and normal.groupId is UNSET:
        raise _Refuse("id_required", "groupId", "A group call needs a `groupId`.")
    if normal.type == "alias" and normal.previousId is UNSET:
        raise _Refuse("id_required", "previousId", "An alias call needs a `previousId`.")
    _put_content(normal, fields, shared)
    ts = _put_times(normal, fields, shared, request.received_at, correct_clocks)
    try:
        archived = _encode(normal)
    except (OverflowError, UnicodeEncodeError, RecursionError):
        archived = b"\\u0000"  # as if it held one: it is made storable below
    if b"\\u0000" in archived:  # PostgreSQL stores no NUL; the rest is as every store takes it
        archived = _encode(_storable_json(msgspec.to_builtins(normal)))
    return Message(type, event_name(type, normal.event or None), message_id, ts, archived)


def _put_content(normal: _Normal, fields: _Fields, shared: _Shared) -> None:
    if normal.type == "track":
        if fields.event is None or fields.event == "":
            raise _Refuse("event_not_defined", "event", "A track call needs an `event`.")
        if not isinstance(fields.event, str):
            raise _Refuse("event_not_string", "event", "`event` must be text.")
        normal.event = storable(fields.event)
    if normal.type in EVENT_NAMES:
        for name in ("name", "category"):
            if (value := getattr(fields, name)) is not None:
                if not isinstance(value, str):
                    raise _Refuse(f"{name}_not_string", name, f"`{name}` must be text.")
                setattr(normal, name, value)
    for name in ("properties", "traits", "context", "integrations"):
        if (value := getattr(fields, name)) is not None:
            setattr(normal, name, _object(value, name))
    if shared.size:  # what a message says itself comes before what the batch says of all
        normal.context = shared.context | (normal.context or {})
        normal.integrations = shared.integrations | (normal.integrations or {})
    # RudderStack's clients put the traits of an identify call into the context and nowhere else.
    traits = normal.context.get("traits") if normal.context else None
    if normal.type == "identify" and normal.traits is UNSET and isinstance(traits, dict):
        normal.traits = traits
    if isinstance(fields.version, str | int | float):
        normal.version = fields.version
    if isinstance(fields.channel, str):
        normal.channel = fields.channel


def _object(value: Any, name: str) -> dict[str, Any]:
    """The value, nothing and an empty list as an empty object: PHP writes an empty map like that. Raises _Refuse."""
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise _Refuse(f"{name}_not_object", name, f"`{name}` must be an object.")
    return value


def _put_times(normal: _Normal, fields: _Fields, shared: _Shared, received_at: int, correct_clocks: bool) -> int:
    """The event time: min(corrected, receipt)."""
    original = None
    for name in ("timestamp", "originalTimestamp"):
        if (value := getattr(fields, name)) is None or value == "":
            continue
        original = _time_of(value)
        if original is None:  # a message's own time must be read, or the event would be where it does not belong
            reason = f"`{name}` must be an ISO 8601 time such as 2026-11-23T16:47:36.080Z."
            raise _Refuse("timestamp_invalid", name, reason)
        if original < 0:
            raise _Refuse("timestamp_out_of_range", name, f"`{name}` is before 1970.")
        normal.originalTimestamp = value
        break
    if original is None:
        original = _time_of(shared.timestamp)
        normal.originalTimestamp = UNSET if original is None else shared.timestamp
    sent_at = fields.sentAt or shared.sent_at
    sent = _time_of(sent_at) if sent_at else None
    if sent is not None:
        normal.sentAt = sent_at
    ts = received_at if original is None else original
    if original is not None and sent is not None and correct_clocks:
        ts = original + clock_error(received_at - sent)
    ts = min(ts, received_at)  # an event that is later than now would be in no window
    if ts < 0:
        raise _Refuse("timestamp_out_of_range", "sentAt", "Corrected by `sentAt`, the message is from before 1970.")
    normal.timestamp, normal.receivedAt = iso_of(ts), iso_of(received_at)
    return ts


def clock_error(lag: int) -> int:
    """How much a client's clock is slow, by the time from sending to receipt. Milliseconds, as `lag` is.

    Up to five seconds nothing: that is how long requests take, and what it moved in one it would not in the next, so
    the older of two messages could become the newer. From ten seconds on all of it, as Segment does. In between it
    grows twice as fast as the lag, so that nowhere two nearly equal lags move two messages far apart.
    """
    beyond = max(abs(lag) - NETWORK_MS, 0)
    return min(abs(lag), 2 * beyond) * (1 if lag > 0 else -1)


def _id(value: Any, name: str) -> str:
    """An id as text; "" when there is none."""
    if isinstance(value, str):
        if not is_storable(value):
            raise _Refuse("id_not_text", name, f"`{name}` holds what is no character: NUL or half of a surrogate pair.")
        return value if not value.isspace() else ""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 64:
        return str(value)
    raise _Refuse("id_not_string", name, f"`{name}` must be text or a whole number.")


def _time_of(value: Any) -> int | None:
    """Milliseconds since 1970; None when it is no ISO 8601 time. Without a zone it is UTC."""
    return _read_time(value) if isinstance(value, str) and len(value) <= LONGEST_TIME else None


@lru_cache(maxsize=1024)  # `sentAt` is the same for a whole batch
def _read_time(value: str) -> int | None:
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        try:  # Python takes no small z and no blanks; hardly any time has them, so this comes second
            at = datetime.fromisoformat(value.strip().upper())
        except ValueError:
            return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return milliseconds(at)


# --- what can be stored


def _too_deep(path: str = "") -> _Refuse:
    return _Refuse("too_deep", path, f"Objects and lists may be {DEEPEST} deep.")


_INDEX = re.compile(r"^batch\[\d+\]")
_BLANKS = re.compile(r"[ \t\n\r]+")
_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _limit_depth(raw: bytes) -> None:
    # Nearly every message is let through by this count of bytes, and what follows need not look at its texts.
    if raw.count(b"{") + raw.count(b"[") <= DEEPEST:
        return
    depth = 0
    for bracket in _TEXT.sub(b"", raw).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEEPEST:
            raise _too_deep()


def _storable_json(value: Any) -> Any:
    """The same value with nothing in it that a store or a JSON reader refuses."""
    change = _CHANGES.get(type(value))
    return change(value) if change else value


_CHANGES: dict[type, Callable[[Any], Any]] = {
    str: storable,
    float: lambda number: number if math.isfinite(number) else None,
    list: lambda items: [_storable_json(item) for item in items],
    dict: lambda items: {storable(key): _storable_json(item) for key, item in items.items()},
}


_python = json.JSONDecoder(
    parse_constant=lambda _: None,
    # Python refuses to read more than 4,300 digits; what is longer than this is no finite number anyway.
    parse_int=lambda digits: int(digits) if len(digits) <= LONGEST_INTEGER else float(digits),
)


def _rejected(refused: _Refuse, source: bytes | Raw, *, message_id: Any = "", messages: int = 1) -> Rejected:
    # As far as it is kept: bytes that are no UTF-8 as \xfc, so that its owner sees them. A character has up to four.
    text = bytes(source)[: KEPT_OF_REJECT * 4].decode("utf-8", "backslashreplace")
    return Rejected(
        code=refused.code,
        reason=refused.reason,
        path=refused.path,
        message_id=storable(str(message_id))[:LONGEST_MESSAGE_ID] if isinstance(message_id, str | int) else "",
        message=text.replace("\0", "\\x00")[:KEPT_OF_REJECT],
        messages=messages,
    )
