"""Whether all processes have the keys that the installation was prepared with.

One machine with a key of its own reads no destination's settings and no session of the others, and nobody would know
why. `prepare` writes down fingerprints of the keys; whatever starts afterwards compares.
"""

import hashlib
import json
from typing import Any

import psycopg2.errors
from django.conf import settings

HOW = "Give every machine the same PERSONAS_SECRET_KEY and PERSONAS_FIELD_KEYS, or one PERSONAS_HOME"
READ = "SELECT secret_key, field_keys::text FROM spaces_installation"


class OtherKeys(Exception):
    """The message tells the administrator."""


def write_down(cursor: Any) -> None:
    """The keys of this process are those of the installation. Raises OtherKeys when none opens what is sealed."""
    cursor.execute(READ)
    known = cursor.fetchone()
    cursor.execute("SELECT EXISTS (SELECT FROM destinations_destination)")
    (sealed,) = cursor.fetchone()
    if known and sealed and not set(json.loads(known[1])) & set(field_keys()):
        raise OtherKeys(f"None of PERSONAS_FIELD_KEYS opens the settings of destinations. {HOW}, or keep the old key.")
    cursor.execute("DELETE FROM spaces_installation")
    cursor.execute(
        "INSERT INTO spaces_installation (secret_key, field_keys) VALUES (%s, %s)",
        [_fingerprint(settings.SECRET_KEY), json.dumps(field_keys())],
    )


def check(cursor: Any) -> None:
    """Raises OtherKeys when `prepare` ran with others than this process has."""
    try:
        cursor.execute(READ)
    except psycopg2.errors.UndefinedTable:
        return  # `prepare` never ran; whoever needs a table will say so
    known = cursor.fetchone()
    if known and known[0] != _fingerprint(settings.SECRET_KEY):
        raise OtherKeys(f"PERSONAS_SECRET_KEY is not the one with which `prepare` ran. {HOW}, and run `prepare`.")
    if known and set(json.loads(known[1])) != set(field_keys()):
        raise OtherKeys(f"PERSONAS_FIELD_KEYS are not those with which `prepare` ran. {HOW}, and run `prepare`.")


def field_keys() -> list[str]:
    """Fingerprints of the keys that encrypt settings of destinations."""
    return [_fingerprint(key) for key in settings.FIELD_KEYS]


def _fingerprint(key: str) -> str:
    """Tells keys apart and gives none away."""
    return hashlib.blake2b(key.encode(), digest_size=8, person=b"personas").hexdigest()
