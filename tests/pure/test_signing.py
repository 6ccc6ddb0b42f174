"""Signatures, checked by an implementation that knows nothing of ours: the steps of standardwebhooks.com."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest

from destinations.adapters import adapter_of
from destinations.rules.contract import Address, IdentifierChange, PayloadComputation
from destinations.rules.signing import key_of, new_secret, segment, standard
from spaces.settings_schema import parse

AT = datetime(2026, 6, 15, 12, tzinfo=UTC)


def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """As a receiver does it: the id, a full stop, the seconds, a full stop, the raw body; HMAC-SHA256, base64."""
    key = base64.b64decode(secret.split("_", 1)[1])
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
    given = [part.split(",", 1) for part in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(signature, expected) for version, signature in given)


def test_the_published_example_of_standard_webhooks() -> None:
    """The vector in the specification's reference libraries."""
    headers = standard(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        at=datetime.fromtimestamp(1614265330, UTC),
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_accepts_each_secret_while_two_are_in_use() -> None:
    old, new = new_secret(), new_secret()
    headers = standard(f"{new} {old}", id="m1", at=AT, body=b"{}")
    assert verify(old, headers, b"{}")
    assert verify(new, headers, b"{}")
    assert not verify(new_secret(), headers, b"{}")
    assert not verify(new, headers, b"{ }")
    assert not verify(new, headers | {"webhook-id": "m2"}, b"{}")


@pytest.mark.parametrize("style", ["event", "list"])
@pytest.mark.parametrize("size", [1, 10])
def test_the_webhook_signs_the_raw_body_both_ways(style: str, size: int) -> None:
    adapter = adapter_of("webhook")
    given: dict[str, Any] = {"url": "https://example.com", "style": style, "batchSize": size, "sharedSecret": "s3cret"}
    settings = parse(adapter.settings, given)
    rows = [IdentifierChange(f"s-{n}-1", True, AT, Address(user_id=f"ü{n}"), n) for n in range(3)]
    audience = PayloadComputation("aud_1", "key", "Näme", "spa_1")
    for request in adapter.plan(rows, audience, settings, parse(adapter.options, {}), AT):
        headers = dict(request.headers)
        assert verify(settings.signing_secret, headers, request.body)
        assert headers["webhook-id"] == request.id
        assert headers["x-signature"] == hmac.new(b"s3cret", request.body, hashlib.sha1).hexdigest()


def test_segments_signature_is_of_all_of_the_body() -> None:
    assert segment("k", body=b"[1,2]") != segment("k", body=b"[1,3]")


@pytest.mark.parametrize("secret", ["", "abc", "whsec_", "whsec_abc", "whsec_" + base64.b64encode(b"x" * 10).decode()])
def test_an_unusable_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="must"):
        key_of(secret)
