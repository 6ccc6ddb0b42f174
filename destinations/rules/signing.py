"""PURE. Signatures over the raw body: Standard Webhooks, and Segment's X-Signature."""

import base64
import binascii
import hashlib
import hmac
from datetime import datetime
from secrets import token_bytes

PREFIX = "whsec_"


def new_secret() -> str:
    """A fresh Standard Webhooks secret of 32 random bytes."""
    return PREFIX + base64.b64encode(token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The key that a `whsec_…` secret stands for. Raises ValueError."""
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
    """The three headers of standardwebhooks.com. Several secrets, parted by spaces, give several signatures."""
    stamp = str(int(at.timestamp()))
    signed = b".".join([id.encode(), stamp.encode(), body])
    signatures = [
        "v1," + base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()
        for secret in secrets.split()
    ]
    return {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": " ".join(signatures)}


def segment(secret: str, *, body: bytes) -> dict[str, str]:
    """Segment's header: HMAC-SHA1 in hex. Theirs signs the first element of a batch; ours the whole body."""
    return {"x-signature": hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()}
