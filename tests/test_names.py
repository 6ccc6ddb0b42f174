"""The names of the tests are the same whenever they are collected: two processes that share them must agree."""

import gzip

import pytest

from tests.conftest import pytest_make_parametrize_id


def test_compressed_bytes_give_the_same_name_at_every_second() -> None:
    early, late = gzip.compress(b"body", mtime=1_700_000_000), gzip.compress(b"body", mtime=1_700_000_001)
    assert early != late
    assert pytest_make_parametrize_id(early, "body") == pytest_make_parametrize_id(late, "body") == "body-24-bytes"


@pytest.mark.parametrize("body", [gzip.compress(b"body")])
def test_pytest_asks_us_for_names(body: bytes, request: pytest.FixtureRequest) -> None:
    assert request.node.name.endswith("[body-24-bytes]")
