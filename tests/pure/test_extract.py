"""What a message says about whose it is, place by place (spec §5)."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.rules.extract import Extracted, SetAside, identifiers
from identity.rules.policy import DEFAULT_POLICY, Blocked, Definition, Policy
from sources.rules.spec import Message, Request, parse
from tests.reference.resolver import find_group_identifier, find_user_identifiers

CUSTOM = Policy((*DEFAULT_POLICY.identifiers, Definition("loyalty_id"), Definition("crm")))
PHONE = {"type": "iOS", "id": "d1", "advertisingId": "ad1", "adTrackingEnabled": True, "token": "t1"}

JUNK = "(?i)^(none|null|nil|nan|n/a|undefined|unknown|anonymous|guest)$"
JUNK_SENT = ("None", "NULL", "NaN", "nil", "N/A", "Undefined", "unknown", "Anonymous", "GUEST")


def user(message, policy=DEFAULT_POLICY):
    return dict(identifiers(message, policy).user)


def phone(**changes):
    return {"context": {"device": PHONE | changes}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"userId": "u1"}, {"user_id": "u1"}),
        ({"anonymousId": "a1"}, {"anonymous_id": "a1"}),
        ({"userId": 17, "anonymousId": None}, {"user_id": "17"}),
        ({"userId": "  u1\n"}, {"user_id": "u1"}),
        ({"userId": ""}, {}),
        ({"userId": "   "}, {}),
        ({"userId": True}, {}),
        ({"userId": 1.5}, {}),
        ({"userId": {"id": 1}}, {}),
        ({"userId": ["u1"]}, {}),
        ({"userId": "u1", "previousId": "a1", "type": "alias"}, {"user_id": "u1"}),
        ({"traits": {"email": " Jane@X.org "}}, {"email": "jane@x.org"}),
        ({"context": {"traits": {"email": "jane@x.org"}}}, {"email": "jane@x.org"}),
        ({"properties": {"email": "jane@x.org"}}, {"email": "jane@x.org"}),
        ({"type": "group", "traits": {"email": "office@x.org"}}, {}),
        ({"type": "group", "context": {"traits": {"email": "jane@x.org"}}}, {"email": "jane@x.org"}),
        (phone(), {"ios.id": "d1", "ios.idfa": "ad1", "ios.push_token": "t1"}),
        (phone(type="ANDROID"), {"android.id": "d1", "android.idfa": "ad1", "android.push_token": "t1"}),
        (phone(type="tvos"), {}),
        (phone(type=None), {}),
        (phone(adTrackingEnabled=False), {"ios.id": "d1", "ios.push_token": "t1"}),
        (phone(adTrackingEnabled=None), {"ios.id": "d1", "ios.push_token": "t1"}),
        (phone(adTrackingEnabled="true"), {"ios.id": "d1", "ios.push_token": "t1"}),
        (phone(adTrackingEnabled=1), {"ios.id": "d1", "ios.push_token": "t1"}),
        ({"context": {"integrations": {"Google Analytics": {"clientId": "7.8"}}}}, {"ga_client_id": "7.8"}),
        ({"context": {"integrations": {"Google Analytics": True}}}, {}),
        ({"integrations": {"Google Analytics": {"clientId": "7.8"}}}, {}),
        ({"groupId": "g1", "userId": "u1"}, {"user_id": "u1"}),
        ({"traits": "x", "context": 3, "properties": []}, {}),
        ({"traits": {"loyalty_id": "L1"}}, {}),
    ],
)
def test_each_default_identifier_is_read_from_its_place(message, expected):
    assert user(message) == expected


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ("tcp", "t@x.org"),
        ("cp", "c@x.org"),
        ("p", "p@x.org"),
    ],
)
def test_the_first_place_with_an_email_counts(places, expected):
    holds = {place: {"email": f"{place}@x.org"} for place in places}
    message = {"traits": holds.get("t"), "context": {"traits": holds.get("c")}, "properties": holds.get("p")}
    assert user(message) == {"email": expected}


def test_an_absent_or_blocked_first_place_leaves_it_to_the_next():
    for first in (None, "", 1.5, "null", "x" * 501):
        assert user({"traits": {"email": first}, "properties": {"email": "p@x.org"}}) == {"email": "p@x.org"}


@pytest.mark.parametrize("place", ["traits", "properties", "context"])
@pytest.mark.parametrize("key", ["loyalty_id", "loyaltyId"])
def test_a_custom_identifier_is_read_in_snake_and_camel_case(place, key):
    holds = {key: "L1"}
    message = {"context": {"traits": holds}} if place == "context" else {place: holds}
    assert user(message, CUSTOM) == {"loyalty_id": "L1"}


def test_custom_identifiers_are_looked_for_in_a_fixed_order_of_places():
    entry = {"id": "E", "type": "loyalty_id", "collection": "users", "encoding": "none"}
    message = {
        "traits": {"loyaltyId": "camel", "loyalty_id": "snake"},
        "properties": {"loyalty_id": "P"},
        "context": {"traits": {"loyalty_id": "C"}, "externalIds": [entry]},
    }
    found = []
    for place in (message["traits"], message["traits"], message["properties"], message["context"]["traits"]):
        found.append(user(message, CUSTOM)["loyalty_id"])
        place.pop("loyalty_id" if "loyalty_id" in place else "loyaltyId")
    assert [*found, user(message, CUSTOM)["loyalty_id"]] == ["snake", "camel", "P", "C", "E"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"crm": "E1"}),
        ({"id": 9}, {"crm": "9"}),
        ({"id": None}, {}),
        ({"type": "CRM"}, {}),
        ({"type": ["crm"]}, {}),
        ({"collection": "accounts"}, {}),
        ({"encoding": None}, {}),
        ({"type": "user_id"}, {}),
    ],
)
def test_an_external_id_needs_all_four_fields(changes, expected):
    entry = {"id": "E1", "type": "crm", "collection": "users", "encoding": "none"} | changes
    assert user({"context": {"externalIds": [3, entry]}}, CUSTOM) == expected


def test_the_first_complete_external_id_of_a_type_counts():
    entries = [{"id": id, "type": "crm", "collection": "users", "encoding": "none"} for id in ("", "E1", "E2")]
    assert user({"context": {"externalIds": entries}}, CUSTOM) == {"crm": "E1"}


@pytest.mark.parametrize("entries", [True, 3, "crm", {"crm": "E1"}, [None, "crm", ["crm"]]])
def test_malformed_external_ids_are_no_ids(entries):
    assert user({"userId": "u1", "context": {"externalIds": entries}}, CUSTOM) == {"user_id": "u1"}


def test_the_account_stands_apart_and_only_on_group_calls():
    group = {"type": "group", "groupId": 5, "userId": "u1"}
    assert identifiers(group, DEFAULT_POLICY) == Extracted((("user_id", "u1"),), ("group_id", "5"))
    track = {"type": "track", "userId": "u1", "context": {"groupId": "g1"}, "groupId": "g1"}
    assert identifiers(track, DEFAULT_POLICY).account is None
    without = Policy((Definition("user_id"),))
    assert identifiers(group, without).account is None


def test_the_order_is_the_priority_of_the_policy():
    message = {"userId": "u", "anonymousId": "a", "traits": {"email": "e@x"}, **phone()}
    default = [type for type, _ in identifiers(message, DEFAULT_POLICY).user]
    assert default == ["user_id", "email", "anonymous_id", "ios.id", "ios.idfa", "ios.push_token"]
    by_hand = Policy((Definition("anonymous_id"), Definition("user_id")))
    assert identifiers(message, by_hand).user == (("anonymous_id", "a"), ("user_id", "u"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("-1", SetAside("user_id", "-1", "blocked_value", "-1")),
        (-1, SetAside("user_id", "-1", "blocked_value", "-1")),
        (" null ", SetAside("user_id", "null", "blocked_value", "null")),
        ("anonymous", SetAside("user_id", "anonymous", "blocked_value", "anonymous")),
        ("undefined", SetAside("user_id", "undefined", "blocked_value", "undefined")),
        ("[object Object]", SetAside("user_id", "[object Object]", "blocked_value", "[object Object]")),
        ("0000-00", SetAside("user_id", "0000-00", "blocked_pattern", "^[0-]*$")),
        (0, SetAside("user_id", "0", "blocked_pattern", "^[0-]*$")),
        *((junk, SetAside("user_id", junk, "blocked_pattern", JUNK)) for junk in JUNK_SENT),
        ("x" * 501, SetAside("user_id", "x" * 500, "too_long")),
        (10**600, SetAside("user_id", ("1" + "0" * 600)[:500], "too_long")),
        pytest.param(10**9000, SetAside("user_id", "9" * 500, "too_long"), id="9000 digits"),
        ("a\0b", SetAside("user_id", "a\ufffdb", "not_text")),
        ("M\ufffdller", SetAside("user_id", "M\ufffdller", "not_text")),
        ("a\ud800", SetAside("user_id", "a\ufffd", "not_text")),
        ("\ud800" * 501, SetAside("user_id", "\ufffd" * 500, "too_long")),
    ],
)
def test_blocked_values_are_set_aside_with_their_reason(value, expected):
    message = {"userId": value, "anonymousId": "a1"}
    assert identifiers(message, DEFAULT_POLICY) == Extracted((("anonymous_id", "a1"),), None, (expected,))


@pytest.mark.parametrize("value", ["x" * 500, "é", "10", "0a", "anonymous1", "nullable", "名前", "👩‍🚀"])
def test_ordinary_values_pass(value):
    assert user({"userId": value}) == {"user_id": value}


def test_a_blocked_email_is_compared_in_lower_case():
    policy = Policy((Definition("email", blocked=Blocked(("Team@X.org",), (r"@test\.x\.org$",))),))
    assert identifiers({"traits": {"email": "TEAM@x.ORG"}}, policy).blocked == (
        SetAside("email", "team@x.org", "blocked_value", "Team@X.org"),
    )
    assert identifiers({"traits": {"email": "a@Test.x.org"}}, policy).user == ()


def test_a_blocked_group_is_set_aside_too():
    found = identifiers({"type": "group", "groupId": "null", "userId": "u1"}, DEFAULT_POLICY)
    assert (found.account, found.blocked[0].type) == (None, "group_id")


def test_one_blocked_value_in_two_places_is_named_once():
    message = {"traits": {"email": "null"}, "properties": {"email": "null"}}
    assert len(identifiers(message, DEFAULT_POLICY).blocked) == 1


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
telling = st.sampled_from(["u1", "null", "0-0", " A@x ", "android", "IOS", "group", "users", "none", "crm", True, 7])
NAMES = """type id userId anonymousId groupId traits properties context email device advertisingId token clientId
adTrackingEnabled integrations externalIds collection encoding crm loyaltyId loyalty_id"""
keys = st.sampled_from([*NAMES.split(), "Google Analytics"]) | st.text(max_size=4)
anything = st.recursive(
    scalars | telling,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=20,
)
entries = st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "type", "collection", "encoding"), telling | scalars))
objects = st.dictionaries(keys, telling | scalars, max_size=6)
messages = st.fixed_dictionaries(
    {},
    optional={
        "type": telling | anything,
        "userId": telling | anything,
        "anonymousId": telling | anything,
        "groupId": telling | anything,
        "traits": objects | anything,
        "properties": objects | anything,
        "context": anything
        | st.fixed_dictionaries(
            {},
            optional={
                "traits": objects | anything,
                "device": objects | anything,
                "externalIds": st.lists(entries | scalars, max_size=3) | anything,
                "integrations": st.fixed_dictionaries({"Google Analytics": objects}) | anything,
            },
        ),
    },
)


@given(messages | st.dictionaries(keys, anything))
def test_any_json_is_read_as_the_reference_reads_it(message):
    found = identifiers(message, CUSTOM)
    policy = CUSTOM.to_json()
    assert dict(found.user) == find_user_identifiers(message, policy)
    account = find_group_identifier(message, policy) if message.get("type") == "group" else {}
    assert dict([found.account] if found.account else []) == account
    assert [type for type, _ in found.user] == sorted(dict(found.user), key=CUSTOM.rank.__getitem__)


TEXTS = st.text("\0\ud800\udfff\ufffdu ", max_size=2)  # few, so that two of them meet


def as_identified(place: str, value: str) -> str | None:
    """The identifier that comes of a value in this place of a message, when it was sent and archived."""
    message = {"type": "identify", "messageId": "m", "anonymousId": "a", "event": "E", place: {"loyalty_id": value}}
    (result,) = parse(Request(1, "batch", json.dumps({"batch": [message]}).encode(), 0), correct_clocks=False)
    assert isinstance(result, Message)
    return dict(identifiers(json.loads(result.text), LOYAL).user).get("loyalty_id")


LOYAL = Policy((Definition("anonymous_id"), Definition("loyalty_id")))


@given(TEXTS, TEXTS, st.sampled_from(["traits", "properties"]))
def test_no_two_values_become_one_identifier(first, second, place):
    found = as_identified(place, first)
    if found is not None and found == as_identified(place, second):
        assert first.strip() == second.strip()


@pytest.mark.parametrize("near", ["Nonesuch", "guest-1", "anonymous@x.org", "nully", "u-none"])
def test_what_only_looks_like_junk_identifies(near):
    assert identifiers({"userId": near}, DEFAULT_POLICY).user == (("user_id", near),)


def test_a_second_value_of_a_type_is_set_aside_and_said():
    message = {"userId": "u", "traits": {"email": "A@x.org"}, "properties": {"email": "b@x.org"}}
    message["context"] = {"traits": {"email": "a@x.org"}}
    assert identifiers(message, DEFAULT_POLICY) == Extracted(
        (("user_id", "u"), ("email", "a@x.org")), None, (SetAside("email", "b@x.org", "second_of_type"),)
    )


def test_patterns_of_an_address_match_it_as_it_is_stored():
    team, test = Blocked(patterns=("^Team@",)), Blocked(patterns=("^Test",))
    policy = Policy((Definition("email", blocked=team), Definition("user_id", blocked=test)))
    message = {"userId": "test-1", "traits": {"email": "TEAM@x.org"}}
    assert identifiers(message, policy).user == (("user_id", "test-1"),)


def test_no_pattern_holds_up_a_worker():
    """Twenty of the worst, on long values: hours for a matcher that backtracks."""
    worst = tuple(f"{'.*?.*?b' * 20}{n}$" for n in range(20))
    policy = Policy.from_json({"identifiers": [{"type": "user_id", "blocked": {"patterns": list(worst)}}]})
    begun = time.process_time()
    for n in range(20):
        assert identifiers({"userId": f"{'a' * 490}{n}"}, policy).user
    assert time.process_time() - begun < 2
