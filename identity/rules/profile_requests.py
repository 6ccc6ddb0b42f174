"""PURE. Requests of the Profile API: how people are named in them, what a list is asked for, and how it refuses.

After Segment's Profile API: parameters, cursors, codes of errors and statuses are the same, so that its clients work
with nothing but the host changed.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from spaces.text import is_storable

PATHS = r"v1/(?:spaces|namespaces)(?:/[\s\S]*)?"  # the second as of old
_is_profile_api = re.compile(f"/{PATHS}").fullmatch

AUTHENTICATION, INVALID_REQUEST, RATE_LIMIT = "authentication_error", "invalid_request_error", "rate_limit_error"
VALIDATION, NOT_FOUND = "validation_error", "not_found"
# The codes of other errors than a read's own. Segment has none for what is our fault.
CODES = {401: AUTHENTICATION, 404: NOT_FOUND, 429: RATE_LIMIT, 500: "internal_error", 503: "unavailable"}

Number = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]  # in a cursor: any that a column takes
EventPlace = tuple[Annotated[int, msgspec.Meta(ge=-(10**13), lt=10**13)], Number, Number, Number]

# (id, type, value): either an id of a profile, or the type and the value of one of its identifiers.
PersonName = tuple[str | None, str | None, str | None]


class ReadRefused(Exception):
    """An answer that is an error. The message is for whoever wrote the program that asks."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after_s = status, code, message, retry_after_s


def is_profile_api(path: str) -> bool:
    """Whether it is an address of the Profile API, one that exists or not."""
    return _is_profile_api(path) is not None


def error_body(code: str, message: str) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": message}})


def not_found(message: str = "Profile was not found.") -> ReadRefused:
    return ReadRefused(404, NOT_FOUND, message)


def invalid_parameter(name: str, must_be: str) -> ReadRefused:
    return ReadRefused(400, INVALID_REQUEST, f"The parameter `{name}` must be {must_be}.")


def person_name(text: str) -> PersonName:
    """Of the text in an address. No id of a profile has a colon, and every `type:value` has one."""
    if not is_storable(text):  # PostgreSQL would refuse to look for it
        return "", None, None
    type, colon, value = text.partition(":")
    if not colon:
        return text, None, None
    return None, type, value.lower() if type == "email" else value  # as `identity.rules.extract` keeps it


def limit_of(query: Mapping[str, str], *, default: int, most: int) -> int:
    text = query.get("limit", str(default))
    # isdecimal alone takes digits of other scripts, and more of them than a number of PostgreSQL's may have.
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= most:
        raise invalid_parameter("limit", f"a number from 1 to {most}")
    return int(text)


def flag_of(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "false").lower()
    if text not in ("true", "false"):
        raise invalid_parameter(name, "true or false")
    return text == "true"


def choice_of(query: Mapping[str, str], name: str, *choices: str) -> str:
    """The first of them when it is not given."""
    text = query.get(name, choices[0])
    if text not in choices:
        raise invalid_parameter(name, " or ".join(choices))
    return text


def words_of(query: Mapping[str, str], name: str) -> list[str]:
    return [word for word in query.get(name, "").split(",") if word]


def moment_of(query: Mapping[str, str], name: str) -> datetime | None:
    """None when it is not given. Without a zone it is UTC, and a date alone its midnight."""
    text = query.get(name)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # in an address a plus is a blank unless it is escaped
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the first and the last day of all have no other zone
        raise invalid_parameter(name, "a moment in ISO 8601, such as 2026-06-15T12:00:00Z") from None


def cursor_of(query: Mapping[str, str], kind: Any) -> Any:
    """Where the page before ended, as `next` says; None from the start. kind: the type of such a place."""
    text = query.get("next")
    if not text:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise invalid_parameter("next", "a cursor of this list") from None


def cursor(*, url: str, last: Any, limit: int) -> dict[str, Any]:
    """last: the place of the last row of a page that has others behind it; None = it is the last page."""
    text = "" if last is None else urlsafe_b64encode(msgspec.json.encode(last)).decode().rstrip("=")
    return {"url": url, "has_more": last is not None, "next": text, "limit": limit}
