"""Secrets at rest: JSON, sealed with the first of settings.FIELD_KEYS and opened with any of them."""

import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class Unopenable(ValueError):
    """None of the keys opens this. A key was lost, or rotated away too early."""


def seal(content: Any) -> bytes:
    """The JSON value, encrypted with the newest key."""
    return _keys().encrypt(json.dumps(content, separators=(",", ":")).encode())


def open_sealed(sealed: bytes | memoryview) -> Any:
    """What was sealed. Raises Unopenable."""
    try:
        return json.loads(_keys().decrypt(bytes(sealed)))
    except InvalidToken as error:
        raise Unopenable("No key in PERSONAS_FIELD_KEYS opens this secret") from error


def _keys() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.FIELD_KEYS])
