"""Bodies while they wait in the inbox."""

import os

import pytest

from sources.rules.packing import WORTH_IT, pack, unpack

JSON = b'{"batch": [' + b'{"type": "track", "event": "Viewed"}, ' * 200 + b"{}]}"


@pytest.mark.parametrize("body", [b"", b"{}", b"x" * WORTH_IT, JSON, os.urandom(5000)], ids=len)
def test_a_body_comes_back_as_it_was(body: bytes) -> None:
    kept, length = pack(body)
    assert unpack(memoryview(kept), length) == body
    assert len(kept) <= len(body)


def test_json_is_packed_and_what_would_not_get_smaller_is_kept_as_it_is() -> None:
    kept, length = pack(JSON)
    assert length == len(JSON)
    assert len(kept) < len(JSON) / 10
    for body in (b"{}", os.urandom(5000)):
        assert pack(body) == (body, None)
