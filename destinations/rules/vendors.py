"""PURE. What the adapters of other companies' tools share: requests in JSON, and answers that refuse some rows."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Any

import msgspec

from destinations.rules.contract import (
    DELIVERED,
    Address,
    CallOutcome,
    Changes,
    DestinationRequest,
    IdentifierChange,
    PayloadComputation,
    json_body,
)
from destinations.rules.payloads import CallOptions
from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration, text

EMAIL_HELP = (
    "Also sets the address of people known by a user ID. Turn it off where the tool knows it already: somebody with "
    "several addresses ends with any of them"
)


class PropertyOptions(SettingsDeclaration, frozen=True):
    """How one audience, or one computed trait, goes to a tool that only knows properties of people."""

    property_name: Annotated[str, text("Property", help="Its name over there. Empty: the key of what is sent")] = ""


def value_of(change: IdentifierChange, about: PayloadComputation) -> Any:
    """What is true from now on: membership, or the value of a computed trait."""
    return change.value if about.kind == "trait" else change.entering


def email_to_set(change: IdentifierChange, *, wanted: bool) -> dict[str, str]:
    """The address that somebody known by a user ID gets: never with a leave, whose words are those of long ago."""
    address = change.address
    return {"email": address.email} if wanted and change.entering and address.user_id and address.email else {}


def as_text(value: Any, *, between: str = ", ") -> str:
    """A value for a tool that keeps texts: "true", a number's digits, a list's values side by side, "" for none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else between.join(map(str, value)) if isinstance(value, list) else str(value)


def as_json(value: object) -> str:
    """A value as a literal inside a query."""
    return msgspec.json.encode(value).decode()


def event_properties(change: IdentifierChange, about: PayloadComputation, options: CallOptions) -> dict[str, Any]:
    return {**change.fields, options.key_property: about.key, about.key: options.value(change)}


def set_and_unset(change: IdentifierChange, key: str, value: Any, *, unset: Any) -> dict[str, Any]:
    """As Amplitude, Mixpanel and PostHog change properties. unset: `key`, as each of them writes it."""
    properties = {**change.fields, **({} if value is None else {key: value})}
    return {**({"$unset": unset} if value is None else {}), **({"$set": properties} if properties else {})}


def json_request(
    url: str,
    content: object,
    *,
    id: str,
    rows: Changes,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
) -> DestinationRequest:
    headers = {"content-type": "application/json", **(headers or {})}
    return DestinationRequest(id=id, rows=rows, method=method, url=url, headers=headers, body=json_body(content))


def basic(user: str, password: str = "") -> dict[str, str]:
    """The header of HTTP's basic authentication."""
    return {"authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def bearer_header(token: str) -> dict[str, str]:
    """The header of a token that does not change: see oauth.py for those that end."""
    return {"authorization": f"Bearer {token}"}


def short_id(id: str) -> str:
    """32 letters and digits that stand for `id`: for tools that take no longer ids to recognise a repetition."""
    # A digest of our id rather than a new one: it must be the same on every attempt.
    return blake2b(id.encode(), digest_size=16).hexdigest()


def decoded(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; {} when it is none, as of a proxy in between."""
    try:
        content = msgspec.json.decode(body)
    # A page of a proxy is no JSON; the status then says all that there is to say.
    except msgspec.DecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def refused_rows(
    request: DestinationRequest, reasons: Mapping[int, str], *, otherwise: CallOutcome = DELIVERED
) -> list[CallOutcome]:
    """An outcome for each row. reasons: of those that were refused, by the number of the row."""
    return [
        CallOutcome("refused", reasons[number]) if number in reasons else otherwise
        for number in range(len(request.rows))
    ]


def entries_of(answer: Answer, name: str) -> list[dict[str, Any]]:
    """The objects in a list of an answer; [] when there is no such list."""
    entries = decoded(answer.body).get(name)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def looked_up(answer: Answer, name: str) -> list[dict[str, Any]]:
    """The objects in a list of an answer that others follow. Raises ValueError: without it, nobody is missing."""
    if not isinstance(decoded(answer.body).get(name), list):
        raise ValueError(f"the answer has no list {name!r}: {answer.text(200)}")
    return entries_of(answer, name)


def by_number(entries: Sequence[Mapping[str, Any]], name: str) -> dict[int, Mapping[str, Any]]:
    """The objects by the number that each has under `name`; those without one are left out."""
    return {entry[name]: entry for entry in entries if isinstance(entry.get(name), int)}


def email_of(change: IdentifierChange) -> str:
    """In small letters: tools name people in their answers in letters of their own choice."""
    return in_small_letters(change.address)


def in_small_letters(address: Address, settings: object = None) -> str:
    """The e-mail address, as `MembersReading.name` gives it."""
    return str(address.email).lower()


def user_id_or_email(address: Address, settings: object = None) -> str:
    """The same where people are looked for by a user ID first."""
    return address.user_id or in_small_letters(address)


def named_by(entries: Sequence[Mapping[str, Any]], user_id: str) -> list[str]:
    """What `user_id_or_email` calls these people of an answer. user_id: where it is in the object."""
    names = [entry.get(user_id) or str(entry.get("email") or "").lower() for entry in entries]
    return [name for name in names if name]


def id_of_named(entries: Sequence[Mapping[str, Any]], name: str, id: str = "id", *, called: str = "name") -> Any:
    """The id of the first object that is called this, or None. id, called: where each is in the object."""
    return next((entry[id] for entry in entries if entry.get(called) == name), None)


def people(changes: Changes, *, entering: bool) -> int:
    """How many people enter, or leave: somebody with two identifiers is one."""
    return len({change.person for change in changes if change.entering == entering})
