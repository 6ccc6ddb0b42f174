"""Personal data, masked in everything that is shown to whoever has no right to see it.

The gate says at the start of each request whether its user may; where nobody said, as in a worker, nothing is masked.
Names say what is personal, and so do values: an e-mail address or a telephone number is, wherever it stands.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MASK = "•••"
# Of traits, properties, identifiers and contexts; as `firstName`, `first_name` or `First name`.
NAMES = frozenset({
    *("email", "emailaddress", "phone", "phonenumber", "mobile", "mobilephone", "ip", "ipaddress", "avatar"),
    *("firstname", "lastname", "fullname", "surname", "givenname", "familyname", "username"),
    *("address", "street", "postalcode", "postcode", "zip", "latitude", "longitude"),
    *("birthday", "birthdate", "dateofbirth", "dob"),
})  # fmt: skip
OF_PEOPLE = NAMES | {"name"}  # elsewhere a name is that of a page, a product or a library
VALUE = re.compile(
    r"""[^\s@<>"'(),;:=&?/\\]+(?:@|%40)[^\s@<>"'(),;:=&?/\\]+\.\w+"""  # an e-mail address, also in an address of a page
    r"""|(?<![\w.])\+\d[\d\s().-]{6,}\d"""  # a telephone number
)

_masked: ContextVar[bool] = ContextVar("masked", default=False)


def mask(on: bool) -> None:
    """From now on, in this thread."""
    _masked.set(on)


@contextmanager
def masking(on: bool) -> Iterator[None]:
    before = _masked.set(on)
    try:
        yield
    finally:
        _masked.reset(before)


def masked() -> bool:
    return _masked.get()


def text(said: str) -> str:
    """A text of any kind; JSON as `payload` has it."""
    if not masked():
        return said
    if said[:1] in ("{", "["):
        try:
            return json.dumps(payload(json.loads(said)), ensure_ascii=False)
        except ValueError:
            pass
    return VALUE.sub(MASK, said)


def value(name: str, said: str, *, names: frozenset[str] = NAMES) -> str:
    """A text with a name: an identifier with its type, a trait."""
    return MASK if said and masked() and _plain(name) in names else text(said)


def pairs(identifiers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(type, value) of identifiers."""
    return [(type, value(type, said)) for type, said in identifiers]


def traits(said: Mapping[str, Any]) -> dict[str, Any]:
    """By name, as JSON has them."""
    return _object(said, OF_PEOPLE) if masked() else dict(said)


def payload(said: Any) -> Any:
    """A message, or what was sent to a destination: any JSON."""
    return _walked(said) if masked() else said


def _object(said: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {
        name: MASK
        if _plain(name) in names and value is not None
        else _object(value, OF_PEOPLE)
        if name == "traits" and isinstance(value, dict)
        else _walked(value)
        for name, value in said.items()
    }


def _walked(said: Any) -> Any:
    if isinstance(said, dict):
        return _object(said, NAMES)
    if isinstance(said, list):
        return [_walked(each) for each in said]
    return text(said) if isinstance(said, str) else said


def _plain(name: str) -> str:
    """`first_name` and `traits.firstName` are firstname."""
    return re.sub(r"[^a-z]", "", name.rpartition(".")[2].lower())
