"""PURE. What to call a profile, from its traits and its identifiers."""

from collections.abc import Mapping, Sequence
from typing import Any

Pair = tuple[str, str]  # (type, value) of an identifier


def display_name(traits: Mapping[str, Any], identifiers: Sequence[Pair]) -> str:
    """The name, else the e-mail address, else the user or group id; "" when nothing but a device is known."""
    return _full_name(traits) or email_of(traits, identifiers) or _first_of(identifiers, "user_id", "group_id")


def email_of(traits: Mapping[str, Any], identifiers: Sequence[Pair]) -> str:
    """The e-mail address among the traits, else the first among the identifiers, else ""."""
    return str(traits.get("email") or _first_of(identifiers, "email"))


def _full_name(traits: Mapping[str, Any]) -> str:
    """The name as sent, or made of its parts."""
    whole = traits.get("name")
    if isinstance(whole, str) and whole.strip():
        return whole.strip()
    parts = [
        traits.get(one) or traits.get(other) for one, other in (("firstName", "first_name"), ("lastName", "last_name"))
    ]
    return " ".join(part.strip() for part in parts if isinstance(part, str)).strip()


def _first_of(identifiers: Sequence[Pair], *types: str) -> str:
    values = dict(reversed(identifiers))
    return next((values[type] for type in types if type in values), "")
