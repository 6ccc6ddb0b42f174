"""Collect: a request comes in, one row goes into the inbox, and then, not before, the client is told 200.

The shape of every answer is what the client libraries were seen to need (spec/ecosystem.md §1): exactly 200 and
{"success": true}, errors as {"success": false, "code", "message"}, CORS on errors too, never a redirect. What is wrong
with a single message is not said here: the archive stage keeps it as a reject.
"""

import binascii
import json
import logging
import math
import re
import time
import zlib
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import msgspec
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.db.utils import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from sources.inbox import InboxFull, Sender, keep, note_refusal, wait_of
from sources.models import WriteKey
from sources.rules import spec
from sources.rules.charset import to_utf8
from spaces.disk_space import room
from spaces.needs import ANYONE

logger = logging.getLogger(__name__)

LARGEST_BODY = 5 * 1024 * 1024  # bytes, inflated
KNOWN_FOR_S = 3.0  # how long a write key is remembered: a revoked one stops within five seconds
MOST_KNOWN = 10_000
RETRY_AFTER_S = 5
GZIP = b"\x1f\x8b"
WRITE_KEY = re.compile(rb'"writeKey"\s*:\s*"([\w-]{1,64})"')
# The paths of client libraries, without and with what follows: nothing below them is a page or a call of the API.
V1 = r"v1(?!/(?:spaces|namespaces)(?:/|\Z))"  # those are of the Profile API
PATHS = rf"(?:{V1}|beacon/v1|api/s|sourceConfig|analytics\.js|analytics-next|p\.js)(?:/.*)?"
TELEMETRY = "m"  # what analytics.js says of itself: answered and forgotten
MOST_MEMBERS = 10_000  # of a gzip body: several times the messages that a batch may have
WINDOW = 64 * 1024
ENDS = 2 * 1024  # bytes of either end of a body where its write key may be seen at once
HEADERS_ALLOWED = (  # when the browser names none; else it gets those that it names
    "authorization, content-type, content-encoding, x-retry-count, x-write-key, anonymousid, sentat, "
    "rsa-retry-attempt, rsa-retry-reason, rsa-since-first-attempt, rsa-since-last-attempt"
)


class Refused(Exception):
    """An answer that is an error. Clients drop what they sent on a 4xx, and try again on a 5xx."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s


class _Keys(msgspec.Struct):
    """The parts of a body that may name the write key. The messages are only skipped over, which checks them too."""

    writeKey: Any = None
    batch: Any = msgspec.Raw()  # a list where the body could only be read by `spec.outline`


class _Batch(msgspec.Struct):
    batch: list[msgspec.Raw] = []


class _StrictKeys(_Keys):
    batch: msgspec.Raw = msgspec.Raw()


_read_batch = msgspec.json.Decoder(_Batch).decode
_read_keys = msgspec.json.Decoder(_StrictKeys).decode
_is_collect = re.compile(f"/{PATHS}", re.DOTALL).fullmatch
_known: dict[str, tuple[float, Sender]] = {}


def is_collect(path: str) -> bool:
    """Whether a client library sends there: then the write key decides, and no host name, cookie or form token does."""
    return _is_collect(path) is not None


@method_decorator(csrf_exempt, name="dispatch")
class CollectView(View):
    """POST /v1/<call>. `wake` is called with the source's id after the row is committed; its failure is no matter."""

    needs: ClassVar[dict[str, str]] = {"": ANYONE}  # the write key is in the request, and is no secret
    wake: Callable[[int], object] = staticmethod(lambda source_id: None)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            answer = self._answer(request, kwargs["route"])
        except Refused as refused:
            answer = error_answer(refused.status, refused.code, refused.message)
            _tell_owner(request, refused)
            if retry_after_s := refused.retry_after_s or (RETRY_AFTER_S if refused.status == 503 else 0):
                answer["Retry-After"] = str(retry_after_s)
        except (OperationalError, InterfaceError):
            logger.exception("PostgreSQL is away")
            answer = error_answer(503, "unavailable", "The service is busy. Try again.")
            answer["Retry-After"] = str(RETRY_AFTER_S)
        except Exception:
            logger.exception("collect failed")
            answer = error_answer(500, "internal_error", "Something went wrong here. Try again.")
        return with_cors(request, answer)

    def _answer(self, request: HttpRequest, route: str) -> HttpResponse:
        if request.method == "OPTIONS":
            return preflight(request)
        call = spec.call_of(route)
        if call is None and route != TELEMETRY:
            raise Refused(404, "not_found", "There is no such call.")
        if request.method != "POST":
            raise Refused(405, "method_not_allowed", "Use POST.")
        if call is None:
            return HttpResponse(b'{"success":true}', content_type="application/json")
        sent = _read_body(request)
        # An unknown key outside of the body is refused before anything is inflated.
        named = sender_of(key) if (key := named_key(request)) else None
        # Some clients send gzip under another Content-Encoding, so its first two bytes decide.
        inflated = _inflated(sent) if sent[:2] == GZIP else sent
        body = to_utf8(inflated, (request.content_params or {}).get("charset", ""))
        if len(body) > LARGEST_BODY:
            raise _too_large()
        key_in_body = _key_in(body)  # also shows that the body is JSON
        if not (named or key_in_body):
            raise Refused(401, "invalid_write_key", "No write key: send it as the user name of Basic authorization.")
        sender = named or sender_of(key_in_body)
        if wait := wait_of(sender, lambda: _events_in(body) if call == "batch" else 1):
            message = "More events a second than this source or its workspace may send. Try again later."
            raise Refused(429, "too_many_requests", message, retry_after_s=math.ceil(wait))
        accept(sender, call=call, body=body)
        self._wake(sender.source_id)
        return HttpResponse(b'{"success":true}', content_type="application/json")

    def _wake(self, source_id: int) -> None:
        try:
            self.wake(source_id)
        except Exception as error:  # the periodic task archives the row anyway
            logger.warning("no wake-up for source %s: %s", source_id, error)


def accept(sender: Sender, *, call: str, body: bytes) -> None:
    """The request is committed to the inbox, received at this moment by the database's clock. Raises Refused."""
    if not room().accepts:
        raise Refused(503, "disk_full", f"{room()}. Try again later.")
    try:
        keep(sender, call=call, body=body)
    except InboxFull as full:
        raise Refused(503, "inbox_full", str(full)) from None
    except IntegrityError:  # the source was deleted a moment ago
        forget_write_keys()
        raise _unknown_key() from None


def _events_in(body: bytes) -> int:
    try:
        return max(len(_read_batch(body).batch), 1)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return 1  # the archive stage rejects it with the reason


def _tell_owner(request: HttpRequest, refused: Refused) -> None:
    """What is refused for what is in the request is noted where the owner of its write key sees it."""
    if refused.status in (401, 503):  # of nobody; of no interest tomorrow
        return
    try:
        if sender := _refused_sender(request):
            note_refusal(sender, path=request.path, status=refused.status, code=refused.code, reason=refused.message)
    except Exception:  # it changes nothing for the client
        logger.exception("a refused request is not noted")


def _refused_sender(request: HttpRequest) -> Sender | None:
    """By the first write key that is known: where requests name one, then anywhere in the body, readable or not."""
    keys = [named_key(request)]
    if not keys[0]:
        body = request.read()
        if body[:2] == GZIP:
            with suppress(zlib.error):
                body = zlib.decompressobj(wbits=31).decompress(body, LARGEST_BODY)
        found = WRITE_KEY.findall(body)
        keys = [key.decode() for key in (*found[:1], *found[-1:])]
    for key in keys:
        with suppress(Refused):
            return sender_of(key)
    return None


def refusal(request: HttpRequest, status: int, code: str, message: str) -> HttpResponse:
    """An error as clients know them, for what is refused before a view is reached: too slow, too much, not in time."""
    return with_cors(request, error_answer(status, code, message))


def workspace_of(environ: Mapping[str, Any]) -> int | None:
    """Whose request this is, as far as can be told at no cost before it is read; None where only reading it tells.

    environ: as of WSGI. Only a write key that was looked up a moment ago counts: nobody is taken for another workspace.
    """
    key = _key_in_headers(environ.get("HTTP_AUTHORIZATION", ""), environ.get("HTTP_X_WRITE_KEY", ""))
    if not key:
        body = environ["wsgi.input"].getbuffer()
        # Browsers name it in each message, or beside the batch.
        keys = WRITE_KEY.findall(body[:ENDS]) or WRITE_KEY.findall(body[-ENDS:])
        key = keys[0].decode() if keys else ""
    known = _known.get(key)
    return known[1].workspace_id if known else None


def forget_write_keys() -> None:
    """The next request of every source looks its write key up again."""
    _known.clear()


def _read_body(request: HttpRequest) -> bytes:
    """The body as sent, maybe compressed. Raises Refused."""
    if _declared_length(request) > LARGEST_BODY:
        raise _too_large()
    try:
        return request.body
    except RequestDataTooBig:
        raise _too_large() from None
    except UnreadablePostError:
        raise Refused(400, "incomplete_body", "The body ended too early.") from None


def _declared_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _inflated(body: bytes) -> bytes:
    """All members of a gzip body, and never much more than may be: a small body can hold gigabytes, or many members.

    Read by windows: what follows a member is copied by zlib, each time anew.
    """
    packed, position, members, out = memoryview(body), 0, 0, bytearray()
    while packed[position : position + 2] == GZIP:
        members += 1
        if members > MOST_MEMBERS:
            raise Refused(400, "invalid_gzip", f"The gzip body has more than {MOST_MEMBERS} members.")
        inflate = zlib.decompressobj(wbits=31)
        while not inflate.eof:
            window = packed[position : position + WINDOW]
            if not window:
                raise Refused(400, "invalid_gzip", "The gzip body ended too early.")
            try:
                out += inflate.decompress(window, LARGEST_BODY + 1 - len(out))
            except zlib.error as error:
                raise Refused(400, "invalid_gzip", f"The body is not gzip: {error}.") from None
            if len(out) > LARGEST_BODY:
                raise _too_large()
            position += len(window) - len(inflate.unconsumed_tail) - len(inflate.unused_data)
    return bytes(out)


def named_key(request: HttpRequest) -> str:
    """The write key that the request names outside of its body, "" when it names none.

    Here and in the body the first place counts, in the order that all libraries work with.
    """
    in_headers = _key_in_headers(request.headers.get("Authorization", ""), request.headers.get("X-Write-Key", ""))
    return in_headers or request.GET.get("writeKey") or ""


def _key_in_headers(authorization: str, write_key: str) -> str:
    return _basic_user(authorization) or write_key.partition(":")[0]  # Jitsu's are id:secret


def _key_in(body: bytes) -> str:
    """The write key in the body or in its first message, "" when there is none. Raises Refused."""
    keys = _keys_in(body)
    if isinstance(keys.writeKey, str) and keys.writeKey:
        return keys.writeKey
    return _first_message_key(keys.batch)


def _keys_in(body: bytes) -> _Keys:
    """Raises Refused when the body is no JSON object."""
    try:
        return _read_keys(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    try:
        fields = spec.outline(body)  # NaN and the like
    except ValueError as error:
        raise Refused(400, "invalid_json", str(error)) from None
    return _Keys(_text(fields.get("writeKey", b"")), fields.get("batch", msgspec.Raw()))


def _first_message_key(batch: msgspec.Raw | list[msgspec.Raw]) -> str:
    """ "" when there is none."""
    try:
        messages = batch if isinstance(batch, list) else msgspec.json.decode(batch, type=list[msgspec.Raw])
        return _text(spec.outline(bytes(messages[0])).get("writeKey", b""))
    except (msgspec.MsgspecError, ValueError, IndexError):
        return ""


def _text(raw: msgspec.Raw | bytes) -> str:
    """What is text in JSON; "" for everything else."""
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""


def _basic_user(header: str) -> str:
    """The user name of Basic authorization; some clients leave the colon out."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return b64decode(value.strip() + "=" * (-len(value.strip()) % 4)).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def sender_of(key: str) -> Sender:
    """Raises Refused."""
    known = _known.get(key)
    if known and known[0] > time.monotonic():
        return known[1]
    write_key = None if "\0" in key else WriteKey.objects.select_related("source__workspace").filter(key=key).first()
    if write_key is None:
        raise _unknown_key()
    source, limits = write_key.source, settings.LIMITS
    sender = Sender(
        source.pk,
        source.workspace_id,
        source.enabled,
        source_rate=limits.rate("source", source.public_id),
        workspace_rate=limits.rate("workspace", source.workspace.public_id),
    )
    if len(_known) >= MOST_KNOWN:
        _known.clear()
    _known[key] = time.monotonic() + KNOWN_FOR_S, sender
    return sender


def _unknown_key() -> Refused:
    return Refused(401, "invalid_write_key", "unknown write key")


def _too_large() -> Refused:
    return Refused(413, "body_too_large", f"A request may have {LARGEST_BODY} bytes, inflated.")


def error_answer(status: int, code: str, message: str) -> HttpResponse:
    body = json.dumps({"success": False, "code": code, "message": message})
    return HttpResponse(body, status=status, content_type="application/json")


def preflight(request: HttpRequest) -> HttpResponse:
    answer = HttpResponse(status=204)
    answer["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
    answer["Access-Control-Allow-Headers"] = (
        request.headers.get("Access-Control-Request-Headers", "")[:1000] or HEADERS_ALLOWED
    )
    answer["Access-Control-Max-Age"] = "7200"
    return answer


def with_cors(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """Any page may send. Browsers want to hear that cookies may come (`sendBeacon` sends them); nobody reads them."""
    answer["Vary"] = "Origin"
    if origin := request.headers.get("Origin"):
        answer["Access-Control-Allow-Origin"] = origin
        answer["Access-Control-Allow-Credentials"] = "true"
        answer["Access-Control-Expose-Headers"] = "Retry-After"
    return answer
