"""What a request said: each message normalised, or rejected with a code, a reason and a path."""

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.events import properties
from sources.rules import spec
from sources.rules.spec import Message, Rejected, Request, parse
from spaces.times import iso_of, milliseconds
from tests.reference.resolver import is_kept_out

RECEIVED = 1_781_524_800_000  # 2026-06-15T12:00:00Z
GOOD = {"type": "track", "event": "Tested", "userId": "u1", "messageId": "m1"}


def read(body: Any, *, call: str = "batch", correct: bool = True, refused: str = "") -> list[Message | Rejected]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(Request(7, call, raw, RECEIVED, refused), correct_clocks=correct)


def one(message: Any, **around: Any) -> Message | Rejected:
    """The single result of a batch of this one message; `...` in it leaves the field out."""
    if isinstance(message, dict):
        message = {name: value for name, value in message.items() if value is not ...}
    (result,) = read({"batch": [message]} | around)
    return result


def text(result: Message | Rejected) -> dict[str, Any]:
    assert isinstance(result, Message), result
    return msgspec.json.decode(result.text)


REJECTS = [
    ("message_not_object", "", "text"),
    ("message_not_object", "", [GOOD]),
    ("message_not_object", "", None),
    ("unknown_type", ".type", GOOD | {"type": "wink"}),
    ("unknown_type", ".type", GOOD | {"type": 7}),
    ("unknown_type", ".type", GOOD | {"type": ["track"]}),
    ("unknown_type", ".type", GOOD | {"type": ...}),
    ("unknown_type", ".type", GOOD | {"type": "batch"}),
    ("id_required", ".userId", GOOD | {"userId": ...}),
    ("id_required", ".userId", GOOD | {"userId": None}),
    ("id_required", ".userId", GOOD | {"userId": "", "anonymousId": " "}),
    ("id_required", ".groupId", GOOD | {"type": "group"}),
    ("id_required", ".groupId", GOOD | {"type": "group", "groupId": ""}),
    ("id_required", ".previousId", GOOD | {"type": "alias"}),
    ("id_not_string", ".userId", GOOD | {"userId": True}),
    ("id_not_string", ".userId", GOOD | {"userId": {"id": 1}}),
    ("id_not_string", ".userId", GOOD | {"userId": ["u1"]}),
    ("id_not_string", ".userId", GOOD | {"userId": 1.5}),
    ("id_not_string", ".userId", GOOD | {"userId": 10**40}),
    ("id_not_string", ".anonymousId", GOOD | {"anonymousId": False}),
    ("id_not_string", ".messageId", GOOD | {"messageId": {}}),
    ("message_id_too_long", ".messageId", GOOD | {"messageId": "m" * 101}),
    ("event_not_defined", ".event", GOOD | {"event": ...}),
    ("event_not_defined", ".event", GOOD | {"event": ""}),
    ("event_not_defined", ".event", GOOD | {"event": None}),
    ("event_not_string", ".event", GOOD | {"event": 5}),
    ("event_not_string", ".event", GOOD | {"event": {}}),
    ("properties_not_object", ".properties", GOOD | {"properties": "x"}),
    ("properties_not_object", ".properties", GOOD | {"properties": [1]}),
    ("properties_not_object", ".properties", GOOD | {"properties": False}),
    ("traits_not_object", ".traits", GOOD | {"type": "identify", "traits": 1}),
    ("context_not_object", ".context", GOOD | {"context": "web"}),
    ("integrations_not_object", ".integrations", GOOD | {"integrations": True}),
    ("name_not_string", ".name", GOOD | {"type": "page", "name": 1}),
    ("category_not_string", ".category", GOOD | {"type": "screen", "category": {}}),
    ("message_too_large", "", GOOD | {"properties": {"x": "x" * 32_768}}),
    ("timestamp_invalid", ".timestamp", GOOD | {"timestamp": "yesterday"}),
    ("timestamp_invalid", ".timestamp", GOOD | {"timestamp": 1_781_524_800}),
    ("timestamp_invalid", ".timestamp", GOOD | {"timestamp": "2026-13-01T00:00:00Z"}),
    ("timestamp_invalid", ".originalTimestamp", GOOD | {"originalTimestamp": {}}),
    ("timestamp_out_of_range", ".timestamp", GOOD | {"timestamp": "1969-12-31T23:59:59.999Z"}),
    ("timestamp_out_of_range", ".timestamp", GOOD | {"timestamp": "0001-01-01T00:00:00+14:00"}),
    ("timestamp_out_of_range", ".sentAt", GOOD | {"timestamp": "2026-01-01", "sentAt": "2100-01-01"}),
    ("too_deep", "", GOOD | {"properties": json.loads('{"a":' * 101 + "1" + "}" * 101)}),
]


@pytest.mark.parametrize(("code", "path", "message"), REJECTS)
def test_a_bad_message_is_rejected_with_its_path(code, path, message):
    result = one(message)
    assert isinstance(result, Rejected), result
    assert (result.code, result.path, result.messages) == (code, f"batch[0]{path}", 1)
    assert result.reason
    assert result.message


@pytest.mark.parametrize(
    "message",
    [
        GOOD,
        GOOD | {"messageId": ...},
        GOOD | {"messageId": "m" * 100},
        GOOD | {"userId": None, "anonymousId": "a1"},
        GOOD | {"properties": None, "context": None, "traits": None, "integrations": None},
        GOOD | {"timestamp": ""},
        GOOD | {"timestamp": "9999-12-31T23:59:59-12:00"},
        GOOD | {"sentAt": "nonsense", "timestamp": "2026-06-01T00:00:00Z"},
        GOOD | {"properties": json.loads('{"a":' * 98 + "1" + "}" * 98)},
        GOOD | {"properties": {str(n): [] for n in range(200)}},
        GOOD | {"properties": {"x": '["' * 300}},
        GOOD | {"event": "x" * 5000},
        {"type": "group", "userId": "u", "groupId": 5},
        {"type": "alias", "userId": "u", "previousId": "a"},
        {"type": "identify", "anonymousId": "a"},
        {"type": "page", "anonymousId": "a"},
    ],
)
def test_a_good_message_is_archived(message):
    assert isinstance(one(message), Message), one(message)


def test_a_bad_message_leaves_the_others_alone():
    results = read({"batch": [GOOD, {"type": "track"}, GOOD | {"messageId": "m2"}]})
    assert [type(result) for result in results] == [Message, Rejected, Message]
    assert results[1].path == "batch[1].userId"


def test_a_reject_keeps_the_message_as_sent_and_its_id():
    raw = b'{"batch": [ {"messageId" : "m9", "type":"track"} ]}'
    (result,) = read(raw)
    assert result.message == '{"messageId" : "m9", "type":"track"}'
    assert result.message_id == "m9"


def test_exactly_32_kb_is_accepted_and_a_byte_more_is_not():
    fill = spec.LARGEST_MESSAGE - len(json.dumps(GOOD | {"properties": {"x": ""}}))
    assert isinstance(one(GOOD | {"properties": {"x": "y" * fill}}), Message)
    assert one(GOOD | {"properties": {"x": "y" * (fill + 1)}}).code == "message_too_large"


def test_what_a_batch_adds_counts_with_each_message():
    results = read({"batch": [GOOD] * 3, "context": {"x": "y" * 32_700}})
    assert [result.code for result in results] == ["message_too_large"] * 3


@pytest.mark.parametrize(
    ("body", "code", "messages"),
    [
        ({"batch": []}, "empty_batch", 0),
        ({}, "empty_batch", 0),
        ({"batch": None}, "empty_batch", 0),
        ({"batch": {"type": "track"}}, "batch_not_array", 0),
        ({"batch": "x"}, "batch_not_array", 0),
        (b'{"batch": [], "x": NaN}', "empty_batch", 0),
        (b'{"batch": null, "x": NaN}', "empty_batch", 0),
        (b'{"x": NaN}', "empty_batch", 0),
        (b"\xff\xfe nonsense", "invalid_json", 1),
        (b"[" * 100_000, "invalid_json", 1),
        (b'{"batch": [{"x": NaN}, {"a":}]}', "invalid_json", 1),
        (b'{"batch": [{"x": NaN}]', "invalid_json", 1),
        (b'{"batch": [{"x": NaN} {}]}', "invalid_json", 1),
        (b'{"batch": [NaN,]}', "invalid_json", 1),
        (b'{"batch" [NaN]}', "invalid_json", 1),
        (b'{"batch": [NaN]} {}', "invalid_json", 1),
        (b'{"batch": [' + b'{"x":' * 3000 + b"]}", "invalid_json", 1),
        (b'{"batch": [' + b"[" * 500_000 + b"]" * 500_000 + b"]}", "invalid_json", 1),
        (b'{"batch": [NaN' + b",{}" * 300_000 + b"]}", "invalid_json", 1),
        (b"", "invalid_json", 1),
        (b"[]", "invalid_json", 1),
    ],
)
def test_a_bad_request_is_one_reject_that_says_how_many_messages_it_had(body, code, messages):
    (result,) = read(body)
    assert (result.code, result.messages) == (code, messages)


def test_of_more_than_2500_messages_the_first_2500_are_taken():
    assert all(isinstance(result, Message) for result in read({"batch": [GOOD] * 2500}))
    *taken, refused = read({"batch": [GOOD] * 2500 + [GOOD | {"messageId": "late"}, GOOD]})
    assert len(taken) == 2500
    assert all(isinstance(result, Message) for result in taken)
    assert (refused.code, refused.path, refused.messages) == ("batch_too_large", "batch[2500]", 2)
    assert "late" in refused.message


def deep(levels: int) -> bytes:
    return b'{"type":"track","event":"Deep","userId":"u","properties":' + b'{"a":' * levels + b"1" + b"}" * (levels + 1)


BAD_NEIGHBOURS = [
    ("too_deep", deep(1000)),
    ("too_deep", deep(100_000 // 20)),
    ("too_deep", b"[" * 5000 + b'"]"' + b"]" * 5000),
    ("invalid_encoding", b'{"type":"track","event":"caf\xe9","userId":"u"}'),
    ("invalid_encoding", b'{"type":"identify","userId":"u","traits":{"M\xfcller":1}}'),
    ("invalid_encoding", b'{"type":"identify","userId":"M\xfcller","traits":{"x":NaN}}'),
    ("id_not_text", b'{"type":"identify","userId":"a\\ud800"}'),
    ("message_not_object", b"NaN"),
    ("message_too_large", b'{"type":"track","x":"' + b"y" * 40_000 + b'"}'),
]


@pytest.mark.parametrize(("code", "bad"), BAD_NEIGHBOURS)
@pytest.mark.parametrize("around", [b"", b',"context":{"ip":"1.1.1.1"}', b',"sent":NaN'])
def test_whatever_a_message_holds_its_neighbours_are_archived(code, bad, around):
    good = [json.dumps(GOOD | {"messageId": f"m{n}"}).encode() for n in range(2)]
    before, rejected, after = read(b'{"batch": [ %b , %b,%b]%b}' % (good[0], bad, good[1], around))
    assert (before.message_id, after.message_id) == ("m0", "m1")
    assert (rejected.code, rejected.messages) == (code, 1)
    assert rejected.path.startswith("batch[1]")


@pytest.mark.parametrize(
    ("around", "code"),
    [
        ({"context": 5}, "context_not_object"),
        ({"context": "web"}, "context_not_object"),
        ({"context": [1]}, "context_not_object"),
        ({"integrations": True}, "integrations_not_object"),
        ({"context": json.loads('{"a":' * 150 + "1" + "}" * 150)}, "too_deep"),
    ],
)
def test_what_a_batch_shares_in_a_wrong_type_costs_no_message_and_leaves_a_trace(around, code):
    for raw in (
        json.dumps({"batch": [GOOD] * 2} | around),
        json.dumps({"batch": [GOOD] * 2, "x": float("nan")} | around),
    ):
        first, second, trace = read(raw.encode())
        assert first == second
        assert text(first)["event"] == "Tested"
        (name,) = around
        assert (trace.code, trace.path, trace.messages) == (code, name, 0)
        assert trace.message == json.dumps(around[name])


def test_a_shared_context_that_cannot_be_decoded_costs_no_message():
    first, trace = read(b'{"context": {"city": "K\xf6ln"}, "batch": [' + json.dumps(GOOD).encode() + b"]}")
    assert "context" not in text(first)
    assert (trace.code, trace.path, trace.messages) == ("invalid_encoding", "context", 0)
    assert trace.message == '{"city": "K\\xf6ln"}'


def test_half_a_surrogate_pair_in_a_shared_context_costs_no_message():
    (result,) = read(b'{"context": {"": "\\ud800"}, "batch": [' + json.dumps(GOOD).encode() + b"]}")
    assert text(result)["context"][""] == "\ufffd"


def test_an_empty_list_is_an_empty_object_as_php_writes_it():
    for part in ("properties", "traits", "context", "integrations"):
        assert text(one(GOOD | {"type": "identify", part: []}))[part] == {}
    (result,) = read({"batch": [GOOD], "context": [], "integrations": []})
    assert result == one(GOOD)


def test_equal_rejects_of_a_request_are_one_that_counts_them():
    batch = [{}, {"type": "track", "messageId": "x"}, GOOD | {"userId": 1.5}, {"type": "track", "event": "E"}, {}, {}]
    rejects = read({"batch": batch * 400})
    assert len(rejects) == 2400
    found = [(reject.code, reject.path, reject.messages) for reject in spec.grouped(rejects)]
    assert found == [
        ("unknown_type", "batch[0].type", 1200),
        ("id_required", "batch[1].userId", 800),
        ("id_not_string", "batch[2].userId", 400),
    ]
    assert spec.grouped(rejects)[1].message_id == "x"


def test_all_of_a_disabled_source_is_one_reject():
    (result,) = read({"batch": [GOOD, GOOD]}, refused="source_disabled")
    assert (result.code, result.messages) == ("source_disabled", 2)


@pytest.mark.parametrize("call", spec.TYPES)
def test_the_route_says_the_type_of_a_single_call(call):
    body = {"userId": 5, "event": "E", "groupId": "g", "previousId": "p", "type": "wrong", "writeKey": "k"}
    (result,) = read(body, call=call)
    assert text(result)["type"] == result.type == call
    assert "writeKey" not in text(result)


def test_the_path_of_a_single_call_is_that_inside_its_body():
    (result,) = read({"userId": True}, call="identify")
    assert (result.code, result.path) == ("id_not_string", "userId")


def test_whole_numbers_are_ids_and_null_or_empty_ones_are_absent():
    message = text(one(GOOD | {"userId": 12345, "anonymousId": "", "previousId": None, "messageId": 77}))
    assert message["userId"] == "12345"
    assert message["messageId"] == "77"
    assert not {"anonymousId", "previousId"} & set(message)


def test_a_missing_message_id_is_derived_from_where_the_message_is():
    first, second = read({"batch": [GOOD | {"messageId": None}, GOOD | {"messageId": ""}]})
    assert (first.message_id, second.message_id) == ("api-7-0", "api-7-1")
    assert text(second)["messageId"] == "api-7-1"


def test_batch_level_context_and_integrations_are_merged_in_and_the_message_wins():
    message = text(
        one(
            GOOD | {"context": {"ip": "1.1.1.1"}, "integrations": {"A": False}},
            context={"ip": "2.2.2.2", "locale": "de"},
            integrations={"A": True, "B": True},
        )
    )
    assert message["context"] == {"ip": "1.1.1.1", "locale": "de"}
    assert message["integrations"] == {"A": False, "B": True}


def test_the_traits_of_an_identify_call_may_be_in_its_context_alone():
    message = GOOD | {"type": "identify", "context": {"traits": {"email": "a@x.org"}}}
    assert text(one(message))["traits"] == {"email": "a@x.org"}
    assert text(one(message | {"traits": {"a": 1}}))["traits"] == {"a": 1}
    assert "traits" not in text(one(message | {"type": "track"}))


def at(iso: str) -> int:
    return milliseconds(datetime.fromisoformat(iso))


TIMES = [  # (of the message, around it, corrected event time)
    ({}, {}, "2026-06-15T12:00:00Z"),
    ({"timestamp": "2026-06-15T11:00:00Z"}, {}, "2026-06-15T11:00:00Z"),
    ({"timestamp": "2026-06-15T11:00:00.123456Z"}, {}, "2026-06-15T11:00:00.123Z"),
    ({"timestamp": "2026-06-15T13:00:00+02:00"}, {}, "2026-06-15T11:00:00Z"),
    ({"timestamp": "2026-06-15t11:00:00z "}, {}, "2026-06-15T11:00:00Z"),
    ({"timestamp": "2026-06-15T11:00:00"}, {}, "2026-06-15T11:00:00Z"),
    ({"timestamp": "2026-06-15"}, {}, "2026-06-15T00:00:00Z"),
    ({"originalTimestamp": "2026-06-15T11:00:00Z"}, {}, "2026-06-15T11:00:00Z"),
    ({"timestamp": "2026-06-15T10:00:00Z", "originalTimestamp": "2026-06-15T11:00:00Z"}, {}, "2026-06-15T10:00:00Z"),
    ({}, {"timestamp": "2026-06-15T10:00:00Z"}, "2026-06-15T10:00:00Z"),
    ({}, {"timestamp": "nonsense"}, "2026-06-15T12:00:00Z"),
    # a clock an hour slow, an hour fast; the batch's sentAt, the message's own
    ({"timestamp": "2026-06-15T10:50:00Z"}, {"sentAt": "2026-06-15T11:00:00Z"}, "2026-06-15T11:50:00Z"),
    ({"timestamp": "2026-06-15T12:50:00Z"}, {"sentAt": "2026-06-15T13:00:00Z"}, "2026-06-15T11:50:00Z"),
    (
        {"timestamp": "2026-06-15T10:50:00Z", "sentAt": "2026-06-15T10:51:00Z"},
        {"sentAt": "2026-06-15T11:00:00Z"},
        "2026-06-15T11:59:00Z",
    ),
    ({"timestamp": "2026-06-15T10:50:00Z"}, {"sentAt": "nonsense"}, "2026-06-15T10:50:00Z"),
    # the future is never later than receipt
    ({"timestamp": "2030-01-01T00:00:00Z"}, {}, "2026-06-15T12:00:00Z"),
    ({"timestamp": "2026-06-15T11:00:00Z"}, {"sentAt": "2026-06-15T10:00:00Z"}, "2026-06-15T12:00:00Z"),
    ({"timestamp": "1970-01-01T00:00:00Z"}, {}, "1970-01-01T00:00:00Z"),
]


@pytest.mark.parametrize(("of_message", "around", "expected"), TIMES)
def test_event_time_is_the_corrected_time_or_receipt_whichever_is_earlier(of_message, around, expected):
    result = one(GOOD | of_message, **around)
    assert isinstance(result, Message), result
    assert iso_of(result.ts) == iso_of(at(expected))
    assert text(result)["timestamp"] == iso_of(result.ts)


@pytest.mark.parametrize(
    ("lag", "error"),
    [*((0, 0), (1, 0), (5_000, 0), (6_000, 2_000), (9_999, 9_998), (10_000, 10_000), (3_600_000, 3_600_000))],
)
def test_a_clock_is_trusted_within_a_few_seconds(lag, error):
    assert spec.clock_error(lag) == error
    assert spec.clock_error(-lag) == -error


LAGS = st.integers(-20_000, 20_000) | st.integers(-(10**12), 10**12)


@given(LAGS, st.integers(0, 20_000))
def test_nearly_equal_lags_move_messages_nearly_the_same(lag, more):
    assert 0 <= spec.clock_error(lag + more) - spec.clock_error(lag) <= 2 * more


def event_time(happened: int, *, slow: int, waited: int, lag: int) -> int:
    """The event time of a message of a client whose clock is slow, sent a while after it happened. In ms."""
    at, sent = happened - slow, happened - slow + waited
    request = Request(7, "identify", b"", happened + waited + lag)
    body = {"userId": "u", "timestamp": iso_of(at), "sentAt": iso_of(sent)}
    (result,) = parse(msgspec.structs.replace(request, body=json.dumps(body).encode()), correct_clocks=True)
    assert isinstance(result, Message)
    return result.ts


@given(st.integers(0, 10_000), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 5_000), st.data())
def test_of_two_messages_the_later_stays_the_later_whatever_their_requests_took(apart, first, second, slow, data):
    """By a client whose clock is right, or slow by a little: receipt sets no bound there."""
    lags = [data.draw(st.integers(0, 5_000 - slow)) for _ in range(2)]
    times = [
        event_time(RECEIVED + happened, slow=slow, waited=waited, lag=lag)
        for happened, waited, lag in zip((0, apart), (first, second), lags, strict=True)
    ]
    assert times[1] - times[0] == apart


@given(st.integers(-(10**9), 10**9), st.lists(st.integers(0, 60_000), min_size=2, max_size=2), st.integers(0, 10_000))
def test_with_any_clock_only_the_difference_of_two_requests_can_turn_two_messages_over(slow, lags, waited):
    times = [event_time(RECEIVED, slow=slow, waited=waited, lag=lag) for lag in lags]
    assert abs(times[1] - times[0]) <= 2 * abs(lags[1] - lags[0])


def test_clocks_are_left_alone_where_the_source_says_so():
    body = {"batch": [GOOD | {"timestamp": "2026-06-15T10:50:00Z"}], "sentAt": "2026-06-15T11:00:00Z"}
    assert iso_of(read(body, correct=False)[0].ts) == "2026-06-15T10:50:00.000Z"


def test_times_as_sent_are_kept_beside_the_event_time():
    message = text(one(GOOD | {"timestamp": "2026-06-15T11:00:00+00:00"}, sentAt="2026-06-15T12:00:00Z"))
    assert message["originalTimestamp"] == "2026-06-15T11:00:00+00:00"
    assert message["sentAt"] == "2026-06-15T12:00:00Z"
    assert message["receivedAt"] == "2026-06-15T12:00:00.000Z"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("NaN", None),
        ("-Infinity", None),
        ("1e999", None),
        ('"\\ud800"', "\ufffd"),
        ('"a\\u0000b"', "a\ufffdb"),
        ('"\\\\u0000"', "\\u0000"),
        ('"\\ud83d\\ude00"', "😀"),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("1" * 5000, None),
        ("18446744073709551615", 18446744073709551615),
        ('{"a":1,"a":2}', {"a": 2}),
        ('{"\\u0000":1}', {"\ufffd": 1}),
        ('"\xff"', "\xff"),
    ],
)
def test_what_a_store_would_refuse_is_made_storable(raw, value):
    odd = '{"type":"track","event":"E","userId":"u","properties":{"x":RAW}}'.replace("RAW", raw)
    body = f'{{"batch":[{odd}, {json.dumps(GOOD)}]}}'
    first, second = read(body.encode())
    assert text(first)["properties"] == {"x": value}
    assert text(second)["event"] == "Tested"


def test_bytes_that_are_no_utf_8_are_a_reject_that_shows_them():
    body = b'{"batch":[{"type":"track","event":"caf\xe9","userId":"u","messageId":"m"}]}'
    (result,) = read(body)
    assert (result.code, result.path) == ("invalid_encoding", "batch[0]")
    assert result.message == '{"type":"track","event":"caf\\xe9","userId":"u","messageId":"m"}'
    assert "0xe9" in result.reason
    (single,) = read(b'{"event":"caf\xe9","userId":"u"}', call="track")
    assert (single.code, single.path) == ("invalid_encoding", "")


def test_a_body_may_begin_with_a_byte_order_mark():
    assert isinstance(read(b"\xef\xbb\xbf" + json.dumps({"batch": [GOOD]}).encode())[0], Message)


@pytest.mark.parametrize("name", ["userId", "anonymousId", "previousId", "groupId", "messageId"])
@pytest.mark.parametrize("value", ["a\0b", "\0", "a\ud800", "\udfff\ud800"])
def test_an_id_that_no_store_can_hold_is_a_reject(name, value):
    result = one(GOOD | {name: value})
    assert (result.code, result.path) == ("id_not_text", f"batch[0].{name}")
    assert isinstance(one(GOOD | {name: "a\ufffdb"}), Message)


def test_the_timeline_calls_pages_and_screens_by_fixed_names():
    assert [one(GOOD | {"type": type, "groupId": "g", "previousId": "p"}).event for type in spec.TYPES] == [
        "",
        "Tested",
        "Page Viewed",
        "Screen Viewed",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("integrations", "context", "out"),
    [
        ({}, {}, False),
        ({"Personas": True}, {}, False),
        ({"All": True}, {}, False),
        ({"Mixpanel": False}, {}, False),
        ({"Personas": False}, {}, True),
        ({"personas": False}, {}, True),
        ({"All": False}, {}, True),
        ({"All": False, "Mixpanel": True}, {}, True),
        ({"All": False, "Personas": True}, {}, False),
        ({"All": False, "Personas": {"option": 1}}, {}, False),
        ({"All": True, "Personas": False}, {}, True),
        ({"All": False, "Personas": None}, {}, True),
        ({"Personas": 0}, {}, False),
        ({"Personas": "false"}, {}, False),
        ({}, {"integrations": {"personas": False}}, True),
        ({"Personas": True}, {"integrations": {"personas": False}}, True),
        ({}, {"integrations": {"All": False}}, False),
        ({}, {"integrations": {"Google Analytics": {"clientId": "g"}}}, False),
        ({}, {"integrations": True}, False),
        ({}, {"personas": {"computation_key": "k"}}, False),
    ],
)
def test_integrations_keep_an_event_out_of_spaces(integrations, context, out):
    message = text(one(GOOD | {"integrations": integrations, "context": context}))
    assert properties.stays_out_of_spaces(message) is out
    assert is_kept_out(message) is out


@pytest.mark.parametrize("odd", [None, [], "x", {"integrations": 5, "context": []}, {"context": {"integrations": []}}])
def test_what_is_no_message_says_nothing_of_integrations(odd):
    assert not properties.stays_out_of_spaces(odd if isinstance(odd, dict) else {"integrations": odd, "context": odd})


def test_integrations_of_the_batch_count_for_each_message_that_says_nothing_else():
    first, second = read(
        {"batch": [GOOD, GOOD | {"integrations": {"Personas": True}}], "integrations": {"Personas": False}}
    )
    assert properties.stays_out_of_spaces(text(first))
    assert not properties.stays_out_of_spaces(text(second))


@pytest.mark.parametrize(
    ("route", "call"),
    [
        *(("t", "track"), ("i", "identify"), ("p", "page"), ("s", "screen"), ("g", "group"), ("a", "alias")),
        *(("b", "batch"), ("import", "batch"), ("batch", "batch"), ("track", "track"), ("x", None), ("", None)),
    ],
)
def test_short_routes_are_the_same_calls(route, call):
    assert spec.call_of(route) == call


def strings(value: Any) -> list[str]:
    """All text in a JSON value, keys too."""
    if isinstance(value, dict):
        return [found for pair in value.items() for part in pair for found in strings(part)]
    if isinstance(value, list):
        return [found for item in value for found in strings(item)]
    return [value] if isinstance(value, str) else []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = list(spec._Fields.__struct_fields__)
VALUES = JSON | st.sampled_from(["u1", "track", "identify", "2026-06-15T11:00:00Z", {}, 5, "", "group", "page"])
MESSAGES = (
    st.dictionaries(st.sampled_from(FIELDS), VALUES)
    | st.builds(lambda more: GOOD | more, st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3))
    | JSON
)
AROUND = st.dictionaries(st.sampled_from(["context", "integrations", "timestamp", "sentAt", "shared", "batch"]), VALUES)


@settings(max_examples=300, deadline=None)
@given(st.lists(MESSAGES, max_size=6), AROUND, st.sampled_from(["batch", *spec.TYPES]), st.booleans())
def test_any_json_is_accounted_for_message_by_message(messages, around, call, correct):
    body = {"batch": messages} | around
    results = read(json.dumps(body).encode(), call=call, correct=correct)
    sent = body["batch"]
    expected = 1 if call != "batch" else len(sent) if isinstance(sent, list) else 0
    assert sum(result.messages if isinstance(result, Rejected) else 1 for result in results) == expected
    assert results == read(json.dumps(body).encode(), call=call, correct=correct)
    for result in results:
        if isinstance(result, Message):
            assert msgspec.json.decode(result.text)["messageId"] == result.message_id
            assert 0 <= result.ts <= RECEIVED
            assert not any("\0" in found for found in strings(msgspec.json.decode(result.text)))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_without_an_error(body):
    for call in ("batch", "track"):
        assert read(body, call=call)


@settings(max_examples=200, deadline=None)
@given(MESSAGES)
def test_reading_leniently_comes_to_the_same(message):
    """NaN in a neighbour sends the whole request down the lenient way."""
    strict = one(message)
    body = b'{"batch":[' + json.dumps(message).encode() + b',{"x":NaN}]}'
    lenient = read(body)[0]
    if isinstance(strict, Message):
        assert lenient == strict
    else:
        assert (lenient.code, lenient.path) == (strict.code, strict.path)


CHARACTERS = st.text(st.characters(exclude_categories=()), max_size=3) | st.text("\0\ud800\udfff\ufffdu ", max_size=3)
IDS = CHARACTERS.map(lambda id: json.dumps(id).encode()) | st.binary(max_size=4).map(
    lambda raw: b'"%b"' % raw.translate(None, b'"\\' + bytes(range(32)))
)


def stored_id(raw: bytes, name: str, around: bytes) -> str | None:
    """The id as archived; None when it is not."""
    fields = b'"type":"alias","userId":"u","previousId":"p","%b":%b' % (name.encode(), raw)
    (result,) = read(b'{"batch":[{%b}]%b}' % (fields, around))
    return msgspec.json.decode(result.text).get(name) if isinstance(result, Message) else None


@settings(max_examples=500, deadline=None)
@given(
    IDS, IDS, st.sampled_from(["userId", "anonymousId", "groupId", "messageId"]), st.sampled_from([b"", b',"x":NaN'])
)
def test_no_two_ids_become_one(first, second, name, around):
    one, other = (stored_id(raw, name, around) for raw in (first, second))
    if one is not None and one == other and not one.startswith("api-"):
        assert json.loads(first) == json.loads(second)
