"""Reading a message in part gives what reading all of it gives."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.rules.extract import identifiers
from identity.rules.messages import read_events
from identity.rules.policy import DEFAULT_POLICY, Definition, Policy
from tests.reference.resolver import is_kept_out

CUSTOM = Policy((*DEFAULT_POLICY.identifiers, Definition("crm_id"), Definition("loyalty")))
odd = (
    st.none() | st.booleans() | st.integers(-1, 2) | st.floats(0, 1) | st.sampled_from(["", "null", "a", " a ", "E@x"])
)
bag = st.dictionaries(st.sampled_from(["email", "crm_id", "crmId", "loyalty", "plan"]), odd, max_size=3)
device = st.fixed_dictionaries(
    {}, optional={"type": odd | st.just("ios"), "id": odd, "advertisingId": odd, "adTrackingEnabled": odd, "token": odd}
)
external = st.fixed_dictionaries(
    {"id": odd, "type": st.just("crm_id"), "collection": st.just("users"), "encoding": st.just("none")}
)
context = st.fixed_dictionaries(
    {},
    optional={
        "traits": bag | odd,
        "device": device | odd,
        "externalIds": st.lists(external, max_size=2) | odd,
        "integrations": st.sampled_from(
            [{"personas": False}, {"Google Analytics": {"clientId": "g"}}, {"Google Analytics": True}, {}]
        )
        | odd,
    },
)
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(["track", "identify", "group", "page", "alias"])},
    optional={
        "userId": odd,
        "anonymousId": odd,
        "groupId": odd,
        "event": odd,
        "name": odd,
        "traits": bag | odd,
        "properties": bag | odd,
        "context": context | odd,
        "integrations": st.sampled_from([{"All": False}, {"Personas": False}, {"Personas": True, "All": False}]),
    },
)


def read_one(message, policy=DEFAULT_POLICY):
    return read_events([json.dumps(message).encode()], policy)[0]


@settings(max_examples=1500, deadline=None)
@given(messages, st.sampled_from([DEFAULT_POLICY, CUSTOM]))
def test_identifiers_are_those_of_the_whole_message(message, policy):
    found, whole = read_one(message, policy), identifiers(message, policy)
    if is_kept_out(message):
        assert (found.stays_out, found.user, found.account, found.traits) == (True, (), None, {})
    else:
        assert (found.stays_out, found.user, found.account) == (False, whole.user, whole.account)


@settings(max_examples=500, deadline=None)
@given(messages)
def test_properties_and_traits_are_objects_whatever_was_sent(message):
    found = read_one(message)
    assert isinstance(json.loads(found.properties), dict)
    sent = message.get("traits")
    learns = message["type"] in ("identify", "group") and not is_kept_out(message)
    expected = sent if learns and isinstance(sent, dict) else {}
    assert {key: json.loads(value) for key, value in found.traits.items()} == expected


@pytest.mark.parametrize(
    ("message", "event", "properties"),
    [
        ({"type": "track", "event": "Signed Up", "properties": {"plan": "pro"}}, "Signed Up", {"plan": "pro"}),
        ({"type": "page", "name": "Home", "category": "x"}, "Page Viewed", {"page_name": "Home", "page_category": "x"}),
        ({"type": "screen", "name": "Home", "properties": {"a": 1}}, "Screen Viewed", {"a": 1, "screen_name": "Home"}),
        ({"type": "identify", "event": "no"}, "", {}),
        ({"type": "group", "name": "no"}, "", {}),
    ],
)
def test_what_an_event_is_called_and_what_it_says(message, event, properties):
    found = read_one(message)
    assert (found.event, json.loads(found.properties)) == (event, properties)


def test_a_page_keeps_its_own_property_over_the_name_of_the_call():
    text = read_one({"type": "page", "name": "call", "properties": {"page_name": "own"}}).properties
    assert text == b'{"page_name": "own"}'


def test_a_value_in_one_place_is_not_taken_for_one_in_another():
    first = {"type": "track", "anonymousId": "a", "properties": {"email": "x"}}
    assert read_one(first).user == (("email", "x"), ("anonymous_id", "a"))
    assert read_one({"type": "track", "userId": "x", "anonymousId": "a"}).user == (
        ("user_id", "x"),
        ("anonymous_id", "a"),
    )


def test_numbers_and_truth_are_not_confused():
    users = [read_one({"type": "track", "userId": value, "anonymousId": "a"}).user for value in (1, True, 1.0, "1")]
    assert [len(user) for user in users] == [2, 1, 1, 2]


def test_half_a_surrogate_pair_spoils_nothing_else():
    text = b'{"type":"identify","userId":"u1","traits":{"a":"\\ud800","b":2},"properties":{"x":1e999}}'
    (found,) = read_events([text], DEFAULT_POLICY)
    assert found.user == (("user_id", "u1"),)
    assert {key: json.loads(value) for key, value in found.traits.items()} == {"a": "\ufffd", "b": 2}
    assert json.loads(found.properties) == {"x": None}


@pytest.mark.parametrize(
    ("message", "traits"),
    [
        ({"type": "track"}, {"consent": {"Ads": True, "Mail": False}}),
        ({"type": "identify", "traits": {"plan": "pro"}}, {"consent": {"Ads": True, "Mail": False}, "plan": "pro"}),
        ({"type": "identify", "traits": {"consent": {"Ads": False}}}, {"consent": {"Ads": False}}),
        ({"type": "group", "groupId": "g"}, {}),
        ({"type": "track", "context": {"consent": {"categoryPreferences": {"Ads": "yes"}}}}, {}),
        ({"type": "track", "context": {"consent": ["categoryPreferences"]}}, {}),
        ({"type": "track", "context": {}, "properties": {"consent": {"categoryPreferences": {"Ads": True}}}}, {}),
    ],
)
def test_consent_that_a_call_of_a_person_carries_is_a_trait(message, traits):
    preferences = {"consent": {"categoryPreferences": {"Ads": True, "Mail": False}}}
    (event,) = read_events([json.dumps({"userId": "u1", "context": preferences, **message}).encode()], DEFAULT_POLICY)
    assert {key: json.loads(value) for key, value in event.traits.items()} == traits
