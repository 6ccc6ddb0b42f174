"""PURE. Signatures over the raw body: Standard Webhooks, and Segment's X-Signature."""

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime
from secrets import token_bytes

from standardwebhooks import Webhook

PREFIX = "whsec_"


def new_secret() -> str:
    """A fresh Standard Webhooks secret of 32 random bytes."""
    return PREFIX + base64.b64encode(token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The key that a `whsec_…` secret stands for. Raises ValueError."""
    # Stricter than the library, which drops what is not base64: a receiver that does not would refuse every call.
    if not secret.startswith(PREFIX):
        raise ValueError(f"must begin with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("must be base64 after whsec_") from error
    if not 24 <= len(key) <= 64:
        raise ValueError("must hold 24 to 64 bytes")
    return key


def standard(secrets: str, *, id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers of standardwebhooks.com. Several secrets, separated by spaces, give several signatures."""
    at = at.astimezone(UTC)  # the library takes any time for one in UTC
    signatures = [Webhook(key_of(secret)).sign(id, at, body.decode()) for secret in secrets.split()]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def segment(secret: str, *, body: bytes) -> dict[str, str]:
    """Segment's header: HMAC-SHA1 in hex. Segment signs the first element of a batch; ours all of the body."""
    return {"x-signature": hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()}
