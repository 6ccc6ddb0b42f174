"""PURE. What to call a profile, from its traits and its identifiers."""

from collections.abc import Mapping, Sequence
from typing import Any

Pair = tuple[str, str]  # (type, value) of an identifier


def display_name(traits: Mapping[str, Any], identifiers: Sequence[Pair]) -> str:
    """The name, else the e-mail address, else the user or group id; "" when nothing but a device is known."""
    whole = traits.get("name")
    if isinstance(whole, str) and whole.strip():
        return whole.strip()
    # Segment's reserved traits are in camelCase; many send them in snake_case all the same.
    parts = [
        traits.get(one) or traits.get(other) for one, other in (("firstName", "first_name"), ("lastName", "last_name"))
    ]
    joined = " ".join(part.strip() for part in parts if isinstance(part, str)).strip()
    return joined or email_of(traits, identifiers) or _first_of(identifiers, "user_id", "group_id")


def email_of(traits: Mapping[str, Any], identifiers: Sequence[Pair]) -> str:
    """The e-mail address among the traits, else the first among the identifiers, else ""."""
    return str(traits.get("email") or _first_of(identifiers, "email"))


def _first_of(identifiers: Sequence[Pair], *types: str) -> str:
    values = dict(reversed(identifiers))  # reversed, so that of several of a type the first is the one that stays
    return next((values[type] for type in types if type in values), "")
