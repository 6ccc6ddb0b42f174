"""PURE. What an adapter is: the words that adapters, the sync stage, the API and the catalogue share."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec

from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration

TOO_FAST_S = 2.0  # the wait after a 429 that does not say how long

OutcomeKind = Literal["delivered", "retry", "refused", "suspended"]


@dataclass(frozen=True)
class PayloadComputation:
    """What a payload says about an audience or a computed trait.

    fields: names over there of all that may go besides. types: of identifiers that go.
    remembered: what the adapter's steps were told, by name. everyone: whom a destination that is sent everybody each
    time holds besides the changes, as it is asked for.
    """

    id: str
    key: str
    name: str
    space: str  # public id
    kind: str = "audience"  # or "trait"
    of: str = "users"  # or "accounts"
    fields: Sequence[str] = ()
    types: Sequence[str] = ()
    remembered: Mapping[str, str] = field(default_factory=dict)
    everyone: Callable[[], "Iterable[IdentifierChange]"] = tuple


@dataclass(frozen=True)
class Address:
    """Who a row is about. A part that is None is not sent. others: {type: value} of identifiers of any other type."""

    user_id: str | None = None
    anonymous_id: str | None = None
    email: str | None = None
    # Compared, but not hashed: a mapping has no hash, and files keep addresses in a set.
    others: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def person(self) -> str:
        """One text for somebody: the user ID, or for want of one the address, or whatever there is."""
        return self.user_id or self.email or self.anonymous_id or next(iter(self.others.values()), "")


@dataclass(frozen=True)
class IdentifierChange:
    """One identifier enters or leaves. `id` and `at` are the same on every attempt to send it.

    value: of a computed trait, what it comes to from now on; None when it has no value any more. fields: what goes
    besides, by its name over there (rules/sending.py); values are any JSON.
    """

    id: str
    entering: bool
    at: datetime
    address: Address
    person: int  # profile number: changes of one person go out one after the other
    value: Any = None
    fields: Mapping[str, Any] = field(default_factory=dict)


Changes = Sequence[IdentifierChange]


def test_id(now: datetime) -> str:
    """Of a call that tries settings out: a new one each time, or a receiver would drop it as a repetition."""
    return f"test-{int(now.timestamp() * 1000)}"


@dataclass(frozen=True)
class DestinationRequest:
    """A call that a transport can make. `rows` are the changes it carries; `id` is stable over retries.

    then(answer) -> the calls that carry on with rows of this one, once it was answered well: an upload after the place
    for it was asked for, a list's members after their numbers were looked up. Rows that none of them carries end here,
    as `Adapter.read` says. wait_s: before it is made, as between two looks at a job. shown: in logs, for the body.
    """

    id: str
    rows: Changes
    method: str = "POST"
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout_s: float = 10.0
    then: "Callable[[Answer], list[DestinationRequest]] | None" = None
    wait_s: float = 0.0
    shown: str = ""


@dataclass(frozen=True)
class CallOutcome:
    """What the answer means for one row.

    delivered: acknowledged. retry: perhaps later. refused: never, this row is at fault.
    suspended: nothing will pass until someone changes the settings.
    """

    kind: OutcomeKind
    reason: str = ""
    retry_after_s: float | None = None


DELIVERED = CallOutcome("delivered")


PEOPLE, REQUESTS, BYTES = "people in a request", "requests a second", "bytes in a request"


@dataclass(frozen=True)
class DocumentedLimit:
    """What a tool takes at most, as its maker said on a date: what `Capabilities` keep within."""

    value: float
    of: str  # such as "people in a request"
    date: str  # YYYY-MM, when it was read
    source: str  # whose page

    # Those that `Capabilities` are compared with (tests/pure/test_adapters.py).
    @classmethod
    def people(cls, value: float, date: str, source: str) -> "DocumentedLimit":
        return cls(value, PEOPLE, date, source)

    @classmethod
    def requests(cls, value: float, date: str, source: str) -> "DocumentedLimit":
        return cls(value, REQUESTS, date, source)

    @classmethod
    def bytes(cls, value: float, date: str, source: str) -> "DocumentedLimit":
        return cls(value, BYTES, date, source)


@dataclass(frozen=True)
class FieldNames:
    """What fields over there may be called. pattern: of a whole name; sentence: for whoever calls one otherwise."""

    pattern: str = r".*"
    sentence: str = ""

    def allow(self, name: str) -> bool:
        return re.fullmatch(self.pattern, name) is not None


@dataclass(frozen=True)
class Capabilities:
    """What a kind of destination can take; the sync stage keeps to it.

    batch: changes that `plan` gets at a time, at most. per_second: requests, over all audiences that go to one
    destination; None = no limit. concurrency: requests of a batch at the same time. identifiers: types it knows, most
    useful first. accounts: whether `plan` knows accounts, in event style, as `payloads.messages` does; of them only the
    group id goes. largest_body: bytes of a request about several people, which is planned anew as two if it is larger.
    fields: of what goes besides; None = there is no place for it.
    full: a call may say everybody who is there (`PayloadComputation.everyone`), so `plan` gets a whole batch of the
    stage at once, which is never halved. people: in such a batch; None = as many as anywhere. limits: as documented.
    """

    styles: tuple[Literal["event", "list"], ...]
    batch: int = 1
    per_second: float | None = None
    concurrency: int = 1
    identifiers: tuple[str, ...] = ("user_id", "email", "anonymous_id")
    accounts: bool = False
    fields: FieldNames | None = FieldNames()
    largest_body: int | None = None
    full: bool = False
    people: int | None = None
    limits: tuple[DocumentedLimit, ...] = ()


@dataclass(frozen=True)
class RememberedAnswer:
    """What a step was told, by name. lasts_s: how long what the step `gives` is good for; None = for good."""

    values: Mapping[str, str]
    lasts_s: float | None = None


@dataclass(frozen=True)
class AdapterStep:
    """A question that comes before all changes, while the value that it gives is not known: a token, a list's id.

    ask(about, settings, options, now) -> the call; None when there is nothing to ask. read(request, answer) -> what is
    remembered from now on, which may be nothing, or why there is no answer. `of` the "destination" it is asked once for
    everything that goes there, with options of any of it.
    Steps that give the same value follow one another until one of them does: look for the list, then create it. A
    process may end after a call and before its answer is kept, so every step can be asked again.
    """

    gives: str
    ask: "Callable[[PayloadComputation, Any, Any, datetime], DestinationRequest | None]"
    read: "Callable[[DestinationRequest, Answer], RememberedAnswer | CallOutcome]"
    of: Literal["destination", "subscription"] = "subscription"


@dataclass(frozen=True)
class MembersPage:
    """Some of those whom a tool holds, by what it calls them; nobody, where it is told first what they are asked with.

    following: what the next page is asked with; "" = it is the last.
    """

    names: Sequence[str]
    following: str = ""


@dataclass(frozen=True)
class MembersReading:
    """How a tool is asked whom it holds.

    ask(about, settings, options, following) -> the request for a page, "" = the first; None = with these options there
    is nothing that could be read. read(request, answer) -> the page; of an answer that is `ok`.
    name(address, settings) -> what the tool calls whoever is told of by this address, as the pages say it. kind: which
    kind of name that is. wants: what to do where `ask` has nothing to ask.
    """

    ask: "Callable[[PayloadComputation, Any, Any, str], DestinationRequest | None]"
    read: "Callable[[DestinationRequest, Answer], MembersPage]"
    name: "Callable[[Address, Any], str]"
    kind: str
    wants: str = "Choose a list for it"


def read_by_status(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """One outcome for all rows, from the status alone."""
    return [outcome_of(answer)] * len(request.rows)


def outcome_of(answer: Answer) -> CallOutcome:
    """The usual meaning of a status.

    A wrong address (3xx, 404, 405) is retried, not refused: it is at fault for everyone, and nobody may be
    given up for it. 410 says that the receiver wants no more.
    """
    if answer.ok:
        return DELIVERED
    reason = f"{answer.status} {answer.text()}".strip()
    # It does not know us, or (410) wants us no more: the next call would be answered just so.
    if answer.status in {401, 403, 407, 410}:
        return CallOutcome("suspended", reason)
    # What this call says is at fault: said again, it would be refused again.
    if answer.status in {400, 406, 409, 411, 412, 413, 414, 415, 416, 417, 422, 431}:
        return CallOutcome("refused", reason)
    # Whatever is left may pass by itself: 408, 429, 5xx, and statuses that nobody has heard of.
    asked = retry_after_s(answer)
    return CallOutcome("retry", reason, TOO_FAST_S if answer.status == 429 and not asked else asked)


def retry_after_s(answer: Answer) -> float | None:
    """Seconds to wait as the answer asks: a number, or a date compared with the answer's `Date`."""
    text = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    # Compared with its own clock: ours may be minutes away from it.
    at, now = _http_date(text), _http_date(answer.headers.get("date", ""))
    return max((at - now).total_seconds(), 0.0) if at and now else None


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return at if at.tzinfo else None  # "-0000" says that the zone is not known


@dataclass(frozen=True)
class Adapter:
    """One kind of destination: pure functions and declarations; it sends nothing itself.

    plan(changes, about, settings, options, now) -> requests; together they carry every change. It gets no more
    changes at a time than `capabilities.batch`, so one request for all of them is always right.
    read(request, answer) -> one outcome per row. test(settings, now) -> a request that harms nothing.
    settings: of the destination. options: of each audience that goes to it. trait_options: of each computed trait;
    None = it takes none. steps: in their order, before anything is planned. field_steps(about) -> those after them, for
    each field or type of identifier: they make room for it. authorize(request, remembered) -> the
    request as it goes out, with a token that a step gave. credentials: how to get them, for whoever sets it up.
    delete(address, settings, now) -> the request that makes the tool forget a person, which is more than to take them
    out of a list; None = it cannot. It may be made again, and is answered well when the person is not there.
    members: how it is asked whom it holds; None = it cannot be. unread: why, for whoever wants to compare.
    """

    kind: str
    label: str
    description: str
    settings: type[SettingsDeclaration]
    options: type[SettingsDeclaration]
    capabilities: Capabilities
    plan: Callable[[Changes, PayloadComputation, Any, Any, datetime], list[DestinationRequest]]
    test: Callable[[Any, datetime], DestinationRequest]
    transport: str = "http"
    read: Callable[[DestinationRequest, Answer], list[CallOutcome]] = read_by_status
    trait_options: type[SettingsDeclaration] | None = None
    steps: Sequence[AdapterStep] = ()
    field_steps: Callable[[PayloadComputation], Sequence[AdapterStep]] = lambda about: ()
    authorize: Callable[[DestinationRequest, Mapping[str, str]], DestinationRequest] = lambda request, remembered: (
        request
    )
    credentials: str = ""
    delete: Callable[[Address, Any, datetime], DestinationRequest] | None = None
    members: MembersReading | None = None
    unread: str = "It takes people and answers each call, and has no way to be asked whom it holds"

    def steps_for(self, about: PayloadComputation) -> list[AdapterStep]:
        """All of them, in their order."""
        return [*self.steps, *self.field_steps(about)]

    def options_for(self, kind: str) -> type[SettingsDeclaration]:
        """Of what goes there: an "audience", or a "trait" where it takes one."""
        return (self.trait_options if kind == "trait" else None) or self.options


def json_body(content: object) -> bytes:
    """JSON as it is signed and sent."""
    return msgspec.json.encode(content)
