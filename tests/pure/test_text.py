"""What the stores refuse never reaches them, and nothing else changes."""

import json

import pytest

from sources.events.properties import DEEPEST, storable_json
from spaces.text import storable


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b'{"a": 1.0, "b":"\\u00e9","c":1e2}',
        b'{"when":"2026-01-01"}',
        b'"\\\\u0000"',
        b'{"a":12345678901234567890}',
    ],
)
def test_what_both_stores_take_is_not_touched(text):
    assert json.loads(storable_json(text)) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b'{"a":"x\\u0000y"}', {"a": "x\ufffdy"}),
        (b'{"a\\u0000":1}', {"a\ufffd": 1}),
        (b'{"a":"\\ud800!"}', {"a": "\ufffd!"}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":1e300,"b":1e400,"c":"\\u0000"}', {"a": 1e300, "b": None, "c": "\ufffd"}),
    ],
)
def test_what_a_store_refuses_is_replaced(text, kept):
    assert json.loads(storable_json(text)) == kept


def test_deep_nesting_ends_in_null():
    text = b'{"a":' + b"[" * 500 + b"1" + b"]" * 500 + b"}"
    cleaned = storable_json(text)
    assert cleaned.count(b"[") < DEEPEST
    assert b"null" in cleaned


def test_plain_text_loses_only_what_is_not_text():
    assert storable("a\0b\ud800c é") == "a\ufffdb\ufffdc é"
