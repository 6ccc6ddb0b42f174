"""PURE. What an adapter is: the words that adapters, the sync stage, the API and the catalogue share."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec

from spaces.answers import Answer

TOO_FAST_S = 2.0  # the wait after a 429 that does not say how long

Kind = Literal["delivered", "retry", "refused", "suspended"]


@dataclass(frozen=True)
class Audience:
    """What a payload says about an audience."""

    id: str
    key: str
    name: str
    space: str  # public id


@dataclass(frozen=True)
class Address:
    """Who a row is about, as the destination is told. A part is None when it is not said."""

    user_id: str | None = None
    anonymous_id: str | None = None
    email: str | None = None


@dataclass(frozen=True)
class Change:
    """One identifier enters or leaves. `id` is the same on every attempt to say so; so is `at`."""

    id: str
    entering: bool
    at: datetime
    address: Address
    person: int  # profile number: changes of one person go out one after the other


@dataclass(frozen=True)
class Request:
    """A call that a transport can make. `rows` are the changes it carries; `id` is stable over retries."""

    id: str
    rows: Sequence[Change]
    method: str = "POST"
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout_s: float = 10.0


@dataclass(frozen=True)
class Outcome:
    """What became of one row.

    delivered: acknowledged. retry: perhaps later. refused: never, this row is at fault.
    suspended: nothing will pass until someone changes the settings.
    """

    kind: Kind
    reason: str = ""
    retry_after_s: float | None = None


DELIVERED = Outcome("delivered")


@dataclass(frozen=True)
class Capabilities:
    """What a kind of destination can take. `identifiers`: types it knows, most useful first."""

    styles: tuple[Literal["event", "list"], ...]
    delta: bool = True  # False: wants the whole audience each time
    batch: int = 1  # changes per request, at most
    per_second: float | None = None
    concurrency: int = 1  # requests at the same time
    identifiers: tuple[str, ...] = ("user_id", "email", "anonymous_id")


def read_by_status(request: Request, answer: Answer) -> list[Outcome]:
    """One outcome for all rows, from the status alone."""
    return [outcome_of(answer)] * len(request.rows)


def outcome_of(answer: Answer) -> Outcome:
    """The usual meaning of a status.

    A wrong address (3xx, 404, 405) is retried, not refused: it is at fault for everyone, and nobody may be
    given up for it. 410 says that the receiver wants no more.
    """
    if answer.ok:
        return DELIVERED
    reason = f"{answer.status} {answer.text()}".strip()
    if answer.status in {401, 403, 407, 410}:
        return Outcome("suspended", reason)
    if answer.status in {400, 406, 409, 411, 412, 413, 414, 415, 416, 417, 422, 431}:
        return Outcome("refused", reason)
    asked = retry_after_s(answer)
    return Outcome("retry", reason, TOO_FAST_S if answer.status == 429 and not asked else asked)


def retry_after_s(answer: Answer) -> float | None:
    """Seconds to wait as the answer asks: a number, or a date compared with the answer's own clock."""
    text = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    at, now = _http_date(text), _http_date(answer.headers.get("date", ""))
    return max((at - now).total_seconds(), 0.0) if at and now else None


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return at if at.tzinfo else None


@dataclass(frozen=True)
class Adapter:
    """One kind of destination: pure functions and declarations; it sends nothing itself.

    plan(changes, audience, settings, options, now) -> requests; together they carry every change.
    read(request, answer) -> one outcome per row. test(settings, now) -> a request that harms nothing.
    settings: of the destination. options: of each audience that goes to it.
    """

    kind: str
    label: str
    description: str
    settings: type[Any]
    options: type[Any]
    capabilities: Capabilities
    plan: Callable[[Sequence[Change], Audience, Any, Any, datetime], list[Request]]
    test: Callable[[Any, datetime], Request]
    transport: str = "http"
    read: Callable[[Request, Answer], list[Outcome]] = read_by_status


def json_body(content: object) -> bytes:
    """JSON as it is signed and sent."""
    return msgspec.json.encode(content)
