"""Whoever is suppressed is found in every place that a space may know them by, and in no other."""

import json

import pytest

from identity.rules.extract import identifiers
from identity.rules.policy import DEFAULT_TYPES, Definition, Policy
from sources.rules.suppression import hashed, identifiers_in

POLICY = Policy(tuple(Definition(type) for type in (*DEFAULT_TYPES, "loyalty_id", "crm.id")))
PLACES = (
    ("user_id", {"userId": "Ada "}),
    ("user_id", {"userId": 42}),
    ("anonymous_id", {"anonymousId": "a1"}),
    ("group_id", {"groupId": "acme", "type": "group"}),
    ("email", {"traits": {"email": " Ada@Example.com"}}),
    ("email", {"context": {"traits": {"email": "ada@example.com"}}}),
    ("email", {"properties": {"email": "ADA@example.com"}}),
    ("ga_client_id", {"context": {"integrations": {"Google Analytics": {"clientId": "1.2"}}}}),
    ("ios.id", {"context": {"device": {"type": "iOS", "id": "d1"}}}),
    ("android.idfa", {"context": {"device": {"type": "android", "advertisingId": "x", "adTrackingEnabled": True}}}),
    ("ios.push_token", {"context": {"device": {"type": "ios", "token": "t"}}}),
    ("loyalty_id", {"traits": {"loyalty_id": "L1"}}),
    ("loyalty_id", {"properties": {"loyaltyId": 7}}),
    ("crm.id", {"context": {"traits": {"crmId": "c"}}}),
    (
        "crm.id",
        {"context": {"externalIds": [{"type": "crm.id", "id": "c", "collection": "users", "encoding": "none"}]}},
    ),
)


@pytest.mark.parametrize(("type", "message"), PLACES)
def test_what_a_space_reads_as_an_identifier_is_found(type, message):
    read = identifiers({"type": "track", **message}, POLICY)
    known = {pair for pair in (*read.user, read.account) if pair and pair[0] == type}
    assert known
    assert known <= identifiers_in(json.dumps({"type": "track", **message}), [type])


def test_the_second_place_counts_as_well_and_no_other_field_does():
    message = {"userId": "u1", "traits": {"email": "a@x.org"}, "properties": {"email": "b@x.org", "user_id": "u2"}}
    found = identifiers_in(json.dumps(message), ["user_id", "email"])
    assert found == {("user_id", "u1"), ("email", "a@x.org"), ("email", "b@x.org")}


def test_each_message_of_a_batch_that_was_refused_is_read_and_what_is_no_json_says_nothing():
    batch = {"batch": [{"userId": "u1"}, 7, {"previousId": "u2"}]}
    assert identifiers_in(json.dumps(batch), ["user_id"]) == {("user_id", "u1"), ("user_id", "u2")}
    assert identifiers_in("{u1", ["user_id"]) == identifiers_in("[" * 100_000, ["user_id"]) == set()


def test_a_hash_depends_on_the_key_the_type_and_the_value_as_it_is_kept():
    one, other = b"1" * 32, b"2" * 32
    assert hashed(one, "email", " Ada@x.org") == hashed(one, "email", "ada@x.org")
    assert len({hashed(key, type, "ada") for key in (one, other) for type in ("email", "user_id")}) == 4
