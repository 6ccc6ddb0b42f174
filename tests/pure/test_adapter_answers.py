"""What the answers of other companies' tools mean for each person: one bad person stops no batch."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import pytest

from destinations.adapters import adapter_of
from destinations.rules.contract import Address, CallOutcome, DestinationRequest, IdentifierChange
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, parse
from tests.pure.test_adapters import AUDIENCE, NOW
from tests.vendors import VENDORS, Channel

TOOLS = list(VENDORS)


def planned(kind: str, count: int = 3, **options: Any) -> list[DestinationRequest]:
    """The requests about `count` people: u0, u1 …, all with an e-mail address; every second one leaves."""
    adapter, (_, settings, usual, _) = adapter_of(kind), VENDORS[kind]
    rows = [
        IdentifierChange(f"sub_1-{n}-1", n % 2 == 0, NOW, Address(f"u{n}", None, f"p{n}@x.org"), person=n)
        for n in range(count)
    ]
    chosen = parse(adapter.options, usual | options)
    return adapter.plan(rows, AUDIENCE, parse(adapter.settings, settings), chosen, NOW)


def outcomes(
    kind: str, status: int, body: object = "", headers: Mapping[str, str] | None = None, number: int = 0
) -> list[CallOutcome]:
    """number: of the request that is answered."""
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return adapter_of(kind).read(planned(kind)[number], Answer(status, headers or {}, content))


def kinds(rows: list[CallOutcome]) -> list[str]:
    return [row.kind for row in rows]


PARTIAL = {
    "customerio": (207, {"errors": [{"batch_index": 3, "reason": "invalid", "field": "id"}]}, 0),
    "iterable users": (200, {"failCount": 1, "failedUpdates": {"notFoundUserIds": [], "invalidUserIds": ["u1"]}}, 0),
    "iterable events": (200, {"failCount": 1, "invalidUserIds": ["u1"]}, 1),
    "braze attributes": (201, {"errors": [{"type": "bad id", "input_array": "attributes", "index": 1}]}, 0),
    "braze events": (201, {"errors": [{"type": "bad id", "input_array": "events", "index": 1}]}, 0),
    "mixpanel": (400, {"code": 400, "failed_records": [{"index": 1, "message": "bad id"}]}, 1),
    "hubspot": (207, {"errors": [{"message": "bad", "context": {"objectWriteTraceId": ["sub_1-1-1"]}}]}, 0),
}


@pytest.mark.parametrize("case", PARTIAL)
def test_only_whoever_is_named_is_refused(case: str) -> None:
    status, body, number = PARTIAL[case]
    rows = outcomes(case.split()[0], status, body, number=number)
    assert kinds(rows) == ["delivered", "refused", "delivered"]
    assert rows[1].reason


@pytest.mark.parametrize(
    "lists",
    [
        {"events_with_invalid_fields": {"time": [1]}},
        {"events_with_missing_fields": {"user_id": [1]}},
        {"events_with_invalid_id_lengths": {"user_id": [1]}},
        {"silenced_events": [1]},
    ],
)
def test_of_amplitude_the_others_go_again_because_none_was_taken(lists: dict[str, Any]) -> None:
    rows = outcomes("amplitude", 400, {"code": 400, "error": "Invalid", "missing_field": None, **lists})
    assert kinds(rows) == ["retry", "refused", "retry"]
    assert rows[0].retry_after_s is None


def test_a_key_that_amplitude_does_not_know_is_no_fault_of_people() -> None:
    assert kinds(outcomes("amplitude", 400, {"code": 400, "error": "Invalid API key: xyz"})) == ["suspended"] * 3


def test_mixpanel_refuses_profiles_with_200() -> None:
    assert kinds(outcomes("mixpanel", 200, {"status": 0, "error": "bad"})) == ["refused"] * 3
    assert kinds(outcomes("mixpanel", 200, {"status": 1, "error": None})) == ["delivered"] * 3


def test_a_token_that_mixpanel_does_not_know_is_no_fault_of_people() -> None:
    rows = outcomes("mixpanel", 200, {"status": 0, "error": "$token, missing or empty"})
    assert kinds(rows) == ["suspended"] * 3


def test_a_property_that_hubspot_does_not_have_is_no_fault_of_people() -> None:
    rows = outcomes("hubspot", 400, {"category": "VALIDATION_ERROR", "message": "… PROPERTY_DOESNT_EXIST …"})
    assert kinds(rows) == ["suspended"] * 3


def test_an_event_that_iterable_does_not_take_is_named() -> None:
    rows = outcomes("iterable", 200, {"disallowedEventNames": ["Audience Exited"]}, number=1)
    assert kinds(rows) == ["delivered", "refused", "delivered"]
    assert rows[1].reason == "Iterable: disallowedEventNames"


@pytest.mark.parametrize("kind", TOOLS)
@pytest.mark.parametrize("body", ["", "<html>", "[1]", '"text"', '{"errors": "no list", "failed_records": [5]}'])
def test_an_answer_that_is_not_understood_counts_by_its_status(kind: str, body: str) -> None:
    for number, request in enumerate(planned(kind)):
        everyone = len(request.rows)
        if request.then:  # nobody was found, or missed: the calls that follow cannot be planned
            with pytest.raises(ValueError, match="the answer has no"):
                request.then(Answer(200, body=body.encode()))
            continue
        assert kinds(outcomes(kind, 200, body, number=number)) == ["delivered"] * everyone
        assert kinds(outcomes(kind, 400, body, number=number)) == ["refused"] * everyone
        assert kinds(outcomes(kind, 401, body, number=number)) == ["suspended"] * everyone
        assert kinds(outcomes(kind, 503, body, number=number)) == ["retry"] * everyone


STRANGE = [None, True, 5, "text", [5], {"index": 7}, [None], [[1]], [{"index": "x"}], [{"index": 99, "context": []}]]
NAMES = (
    "errors",
    "failed_records",
    "failedUpdates",
    "events_with_invalid_fields",
    "silenced_events",
    "status",
    "error",
)


@pytest.mark.parametrize("kind", TOOLS)
@pytest.mark.parametrize("status", [200, 201, 207, 400, 429])
def test_no_answer_is_so_strange_that_it_stops_the_others(kind: str, status: int) -> None:
    """What `read` raises would stop the whole subscription."""
    for number, request in enumerate(planned(kind)):
        for name, value in product(NAMES, STRANGE):
            for body in ({name: value}, {name: {"objectWriteTraceId": value, "context": value}}):
                assert len(outcomes(kind, status, body, number=number)) == len(request.rows)


@pytest.mark.parametrize("kind", TOOLS)
def test_a_tool_is_left_alone_for_as_long_as_it_asks(kind: str) -> None:
    asked = outcomes(kind, 429, "slow down", {"retry-after": "17"})
    assert {(row.kind, row.retry_after_s) for row in asked} == {("retry", 17.0)}
    silent = outcomes(kind, 429, "slow down")
    assert {(row.kind, row.retry_after_s) for row in silent} == {("retry", 30.0 if kind == "amplitude" else 2.0)}


def test_braze_says_in_words_of_its_own_how_long() -> None:
    asked = outcomes("braze", 429, "{}", {"x-ratelimit-retry-after": "9"})
    assert {(row.kind, row.retry_after_s) for row in asked} == {("retry", 9.0)}


def test_braze_gets_no_more_objects_in_a_request_than_it_takes() -> None:
    for options, sizes in (({}, [37, 37, 26]), ({"sendTrack": False}, [75, 25])):
        requests = planned("braze", 100, **options)
        assert [len(each.rows) for each in requests] == sizes


@pytest.mark.parametrize("kind", TOOLS)
def test_a_repeated_request_is_the_same_in_every_byte(kind: str) -> None:
    first, again = planned(kind), planned(kind)
    assert [(each.id, each.url, each.body) for each in first] == [(each.id, each.url, each.body) for each in again]


@pytest.mark.parametrize("kind", TOOLS)
def test_a_batch_of_the_largest_size_is_small_enough_for_its_tool(kind: str) -> None:
    """No documented limit of a request is below 500 KB, but for messages."""
    requests = planned(kind, adapter_of(kind).capabilities.batch)
    assert max(len(each.body) for each in requests) < (28_000 if issubclass(VENDORS[kind][0], Channel) else 500_000)


@pytest.mark.parametrize("kind", TOOLS)
def test_secrets_are_in_headers_and_bodies_alone(kind: str) -> None:
    """But Google takes one only in the address; those of channels are addresses."""
    adapter = adapter_of(kind)
    test = adapter.test(parse(adapter.settings, VENDORS[kind][1]), NOW)
    assert test.rows == []
    assert test.id == adapter.test(parse(adapter.settings, VENDORS[kind][1]), NOW + timedelta(microseconds=1)).id
    queries = [urlsplit(each.url).query for each in [*planned(kind), test]]
    assert any("secret" in query for query in queries) == (kind == "ga4")


@pytest.mark.parametrize("kind", ["braze", "customerio", "iterable"])
def test_an_address_is_set_only_for_who_enters_and_only_if_that_is_wanted(kind: str) -> None:
    adapter, (_, settings, usual, _) = adapter_of(kind), VENDORS[kind]

    def sent(entering: bool, **more: Any) -> bool:
        row = IdentifierChange("sub_1-1-1", entering, NOW, Address("u1", None, "p1@x.org"), person=1)
        chosen = parse(adapter.settings, settings | more)
        requests = adapter.plan([row], AUDIENCE, chosen, parse(adapter.options, usual), NOW)
        return any(b"p1@x.org" in each.body for each in requests)

    assert sent(entering=True)
    assert not sent(entering=False)
    assert not sent(entering=True, sendEmail=False)


@pytest.mark.parametrize(
    ("kind", "declared", "given", "field"),
    [
        ("slack", "settings", {"webhookUrl": "http://hooks.slack.com/x"}, "webhookUrl"),
        ("teams", "settings", {"webhookUrl": "ftp://x"}, "webhookUrl"),
        ("posthog", "settings", {"projectKey": "phc_x", "region": "own server"}, "server"),
        ("posthog", "settings", {"projectKey": "phc_x", "server": "https://posthog.example"}, "server"),
        ("segment_http", "settings", {"writeKey": "x", "receiver": "other"}, "server"),
        ("segment_http", "settings", {"writeKey": "x", "server": "https://events.example"}, "server"),
        ("braze", "settings", {"apiKey": "x", "instance": "MARS-01"}, "instance"),
        ("activecampaign", "settings", {"apiUrl": "yours", "apiKey": "x"}, "apiUrl"),
        ("activecampaign", "options", {}, "fieldId"),
        ("sendgrid", "options", {}, "fieldId"),
        ("sendgrid", "options", {"fieldId": "e1_N"}, "fieldId"),
        ("hubspot", "options", {"propertyName": "First Time Shopper"}, "propertyName"),
        ("ga4", "options", {"enteredEvent": "Audience Entered"}, "enteredEvent"),
        ("ga4", "options", {"userProperty": "a_property_of_more_than_24_characters"}, "userProperty"),
    ],
)
def test_what_a_tool_cannot_do_is_refused_as_a_setting(
    kind: str, declared: str, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        parse(getattr(adapter_of(kind), declared), given)
    assert caught.value.field == field


def test_a_key_that_analytics_would_drop_without_a_word_is_shortened() -> None:
    adapter, (_, settings, _, _) = adapter_of("ga4"), VENDORS["ga4"]
    row = IdentifierChange("sub_1-1-1", True, NOW, Address("u1"), person=1)
    names = set()
    for key in ("people_with_a_very_long_name", "people_with_a_very_long_game", "a" * 24):
        chosen = parse(adapter.settings, settings), parse(adapter.options, {})
        (request,) = adapter.plan([row], replace(AUDIENCE, key=key), *chosen, NOW)
        names |= json.loads(request.body)["user_properties"].keys()
    assert "a" * 24 in names
    assert len(names) == 3
    assert max(map(len, names)) == 24


def test_slack_reads_no_markup_in_the_name_of_an_audience() -> None:
    adapter, (_, settings, _, _) = adapter_of("slack"), VENDORS["slack"]
    about = replace(AUDIENCE, name="A & <!channel>")
    row = IdentifierChange("sub_1-1-1", True, NOW, Address("u1"), person=1)
    (request,) = adapter.plan([row], about, parse(adapter.settings, settings), parse(adapter.options, {}), NOW)
    assert json.loads(request.body) == {"text": "*A &amp; &lt;!channel&gt;*: 1 entered, 0 left"}


def test_somebody_with_two_identifiers_is_one_person_in_a_message() -> None:
    adapter, (_, settings, _, _) = adapter_of("slack"), VENDORS["slack"]
    rows = [
        IdentifierChange("sub_1-1-1", True, NOW, Address("u1", None, "p1@x.org"), person=1),
        IdentifierChange("sub_1-2-1", True, NOW, Address("u1", None, "p1@x.org"), person=1),
    ]
    (request,) = adapter.plan(rows, AUDIENCE, parse(adapter.settings, settings), parse(adapter.options, {}), NOW)
    assert "1 entered" in json.loads(request.body)["text"]
