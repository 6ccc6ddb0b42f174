"""Personal data, masked in everything that is shown to whoever has no right to see it.

The gate says at the start of each request whether its user may; where nobody says, as in a worker, nothing is masked.
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


def text(content: str) -> str:
    """A text of any kind; JSON as `payload` has it."""
    if not masked():
        return content
    if content[:1] in ("{", "["):
        try:
            return json.dumps(payload(json.loads(content)), ensure_ascii=False)
        except ValueError:
            pass
    return VALUE.sub(MASK, content)


def value(name: str, content: str, *, names: frozenset[str] = NAMES) -> str:
    """A text with a name: an identifier with its type, a trait."""
    return MASK if content and masked() and _plain(name) in names else text(content)


def hides(name: str) -> bool:
    """Whether whoever asks may see nothing of that name, such as a trait; nor of what is inside of it."""
    return masked() and any(_plain(part) in OF_PEOPLE for part in name.split("."))


def pairs(identifiers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(type, value) of identifiers."""
    return [(type, value(type, content)) for type, content in identifiers]


def traits(content: Mapping[str, Any]) -> dict[str, Any]:
    """By name, as JSON has them."""
    return _object(content, OF_PEOPLE) if masked() else dict(content)


def payload(content: Any) -> Any:
    """A message, or what was sent to a destination: any JSON."""
    return _walked(content) if masked() else content


def _object(content: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {
        name: MASK
        if _plain(name) in names and value is not None
        else _object(value, OF_PEOPLE)
        if name == "traits" and isinstance(value, dict)
        else _walked(value)
        for name, value in content.items()
    }


def _walked(content: Any) -> Any:
    if isinstance(content, dict):
        return _object(content, NAMES)
    if isinstance(content, list):
        return [_walked(item) for item in content]
    return text(content) if isinstance(content, str) else content


def _plain(name: str) -> str:
    """`first_name` and `traits.firstName` are firstname."""
    return re.sub(r"[^a-z]", "", name.rpartition(".")[2].lower())
