"""What is masked of what people said, for whoever may not see it, and what stays readable."""

import json

import pytest

from spaces import personal
from spaces.personal import MASK


@pytest.fixture(autouse=True)
def masked():
    with personal.masking(True):
        yield


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("ada@example.com", MASK),
        ("Write to ada@example.com, please.", f"Write to {MASK}, please."),
        ("https://shop.example/hello?who=ada%40example.com&page=2", f"https://shop.example/hello?who={MASK}&page=2"),
        ("+49 30 1234-5678", MASK),
        ("2026-06-15T12:00:00+00:00", "2026-06-15T12:00:00+00:00"),
        ("sub_2qKf0-7-1", "sub_2qKf0-7-1"),
        ("Order Completed", "Order Completed"),
        ("1718000000000", "1718000000000"),
        ("{not JSON, ada@example.com", f"{{not JSON, {MASK}"),
        ("", ""),
    ],
)
def test_texts(said, shown):
    assert personal.text(said) == shown


@pytest.mark.parametrize(
    ("name", "said", "shown"),
    [
        ("email", "ada", MASK),
        ("first_name", "Ada", MASK),
        ("First name", "Ada", MASK),
        ("traits.firstName", "Ada", MASK),
        ("email", "", ""),
        ("user_id", "u1", "u1"),
        ("user_id", "ada@example.com", MASK),
        ("anonymous_id", "device-7", "device-7"),
    ],
)
def test_values_with_a_name(name, said, shown):
    assert personal.value(name, said) == shown


def test_traits():
    said = {"name": "Ada", "plan": "pro", "address": {"city": "Berlin"}, "age": 36, "phone": None, "seen": ["a@b.co"]}
    shown = {"name": MASK, "plan": "pro", "address": MASK, "age": 36, "phone": None, "seen": [MASK]}
    assert personal.traits(said) == shown


def test_a_message_and_the_same_as_text():
    said = {
        "type": "identify",
        "userId": "u1",
        "traits": {"name": "Ada", "company": {"name": "Acme"}},
        "properties": {"name": "Red shoes", "email": "x", "price": 7.5},
        "context": {"ip": "203.0.113.9", "library": {"name": "analytics.js"}, "traits": {"name": "Ada"}},
    }
    shown = {
        "type": "identify",
        "userId": "u1",
        "traits": {"name": MASK, "company": {"name": "Acme"}},
        "properties": {"name": "Red shoes", "email": MASK, "price": 7.5},
        "context": {"ip": MASK, "library": {"name": "analytics.js"}, "traits": {"name": MASK}},
    }
    assert personal.payload(said) == shown
    assert json.loads(personal.text(json.dumps(said))) == shown


def test_nothing_is_masked_where_nobody_asks():
    with personal.masking(False):
        assert personal.text("ada@example.com") == "ada@example.com"
        assert personal.value("email", "ada") == "ada"
        assert personal.traits({"name": "Ada"}) == {"name": "Ada"}
        assert personal.payload({"email": "ada"}) == {"email": "ada"}
