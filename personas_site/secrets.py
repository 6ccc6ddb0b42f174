"""Secrets that an installation makes for itself, once, and keeps in its folder."""

import os
from base64 import urlsafe_b64encode
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet


def field_keys(text: str) -> list[str]:
    """Keys with commas between them. Raises ValueError for what is none."""
    keys = [key.strip() for key in text.split(",") if key.strip()]
    for number, key in enumerate(keys, 1):
        try:
            Fernet(key)
        except ValueError as error:
            raise ValueError(f"key {number} of {len(keys)} is none: 32 bytes in URL-safe base64") from error
    return keys


def kept_secret(home: Path, name: str) -> str:
    """The secret in `home/name`, made (32 random bytes, readable by its owner only) when there is none."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / name
    draft = home / f"{name}.{os.getpid()}"
    try:
        return path.read_text()
    except FileNotFoundError:
        with open(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(urlsafe_b64encode(os.urandom(32)).decode())
    with suppress(FileExistsError):  # another process was first: then theirs counts
        os.link(draft, path)
    draft.unlink()
    return path.read_text()
