"""What makes a tool forget a person: which call, to whom, under an id that is the same each time."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from destinations.adapters import adapter_of, all_adapters
from destinations.rules.contract import Address
from spaces.settings_schema import parse

NOW = datetime(2026, 6, 15, tzinfo=UTC)
ADA, BY_EMAIL = Address("u/1", "a1", "ada@x.org", {"phone": "+49"}), Address(None, None, "a+b@x.org")
SETTINGS = {
    "webhook": {"url": "https://example.com/hook"},
    "braze": {"instance": "EU-01", "apiKey": "k"},
    "customerio": {"siteId": "s", "apiKey": "k", "region": "EU"},
}
CALLS = [
    ("webhook", ADA, "POST", "https://example.com/hook", {"type": "delete", "userId": "u/1", "email": "ada@x.org"}),
    ("braze", ADA, "POST", "https://rest.fra-01.braze.eu/users/delete", {"external_ids": ["u/1"]}),
    ("braze", BY_EMAIL, "POST", "https://rest.fra-01.braze.eu/users/delete", {"email_addresses": ["a+b@x.org"]}),
    ("customerio", ADA, "DELETE", "https://track-eu.customer.io/api/v1/customers/u%2F1", {}),
    ("customerio", BY_EMAIL, "DELETE", "https://track-eu.customer.io/api/v1/customers/a%2Bb%40x.org", {}),
]


def deletion(kind, address, now=NOW):
    adapter = adapter_of(kind)
    return adapter.delete(address, parse(adapter.settings, SETTINGS[kind]), now)


@pytest.mark.parametrize(("kind", "address", "method", "url", "content"), CALLS)
def test_the_person_is_named_as_the_tool_knows_them(kind, address, method, url, content):
    request = deletion(kind, address)
    assert (request.method, request.url, request.rows) == (method, url, [])
    body = json.loads(request.body or b"{}")
    assert content.items() <= body.items()
    assert request.id == deletion(kind, address, NOW + timedelta(days=1)).id
    assert "ada" not in request.id


def test_each_kind_that_can_delete_is_tried_here():
    assert {kind for kind, adapter in all_adapters().items() if adapter.delete} == SETTINGS.keys()
