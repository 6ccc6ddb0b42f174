"""Secrets at rest, and keys that rotate."""

from typing import Any

import pytest
from cryptography.fernet import Fernet

from spaces.secrets import Unopenable, open_sealed, seal

CONTENT = {"url": "https://example.com", "secret": "hunter2", "ü": [1, None, True]}


def test_what_is_sealed_can_be_opened_and_not_read() -> None:
    sealed = seal(CONTENT)
    assert b"hunter2" not in sealed
    assert open_sealed(memoryview(sealed)) == CONTENT


def test_an_old_key_still_opens_and_can_be_retired(settings: Any) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_KEYS = [old]
    sealed = seal(CONTENT)
    settings.FIELD_KEYS = [new, old]
    assert open_sealed(sealed) == CONTENT
    rotated = seal(open_sealed(sealed))
    settings.FIELD_KEYS = [new]
    assert open_sealed(rotated) == CONTENT
    with pytest.raises(Unopenable):
        open_sealed(sealed)


def test_what_was_tampered_with_is_not_opened() -> None:
    sealed = bytearray(seal(CONTENT))
    sealed[20] ^= 1
    with pytest.raises(Unopenable):
        open_sealed(bytes(sealed))
