"""A file of one's own messages is read as given, and its bad lines are named."""

import gzip
import json
from datetime import UTC, datetime

import pytest

from quickstart.eventfile import EventFile, FileError, given_time
from quickstart.truth import Happened
from sources.rules import spec

NOON = int(datetime(2026, 6, 15, 12, tzinfo=UTC).timestamp() * 1000)


def line(**fields):
    return json.dumps(
        {"type": "track", "event": "Bought", "userId": "u1", "timestamp": "2026-06-15T12:00:00Z"} | fields
    )


def nested(depth):
    value = {}
    for _ in range(depth):
        value = [value]
    return {"in": value} if depth else value


@pytest.fixture
def file(tmp_path):
    def write(*lines, name="events.jsonl"):
        content = "\n".join(lines).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return EventFile(tmp_path / name)

    return write


def test_a_gzipped_file_reads_like_a_plain_one(file):
    assert file(line(messageId="1"), name="a.jsonl.gz").messages == file(line(messageId="1")).messages


def test_of_doubles_the_first_counts(file):
    found = file(line(messageId="1", event="First"), line(messageId="1", event="Second"))
    assert [each["event"] for each in found.messages] == ["First"]
    assert len(found.sent()) == 2


def test_the_same_id_on_another_day_is_a_double_too(file):
    found = file(line(messageId="1"), line(messageId="1", timestamp="2026-06-16T12:00:00Z", event="Later"))
    assert [each["event"] for each in found.messages] == ["Bought"]
    assert found.message("1", NOON)["event"] == "Bought"
    assert found.message("2", NOON) is None


def test_what_no_store_can_hold_is_read_as_stores_hold_it(file):
    assert file(line(event="a\0b\ud800")).favourite == "a\ufffdb\ufffd"


def test_a_message_without_an_id_gets_the_same_one_every_time(file):
    lines = [line(), line()]
    assert file(*lines).messages == file(*lines).messages
    assert len(file(*lines).messages) == 2


CASES = [
    ("{", "not JSON"),
    ('{"a": NaN}', "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[]", "not a JSON object"),
    (line(type="buy"), "unknown type 'buy'"),
    (line(type=["track"]), "unknown type ['track']"),
    (line(userId=None), "neither userId nor anonymousId"),
    (line(event=3), "event is not a name"),
    (line(userId=2**64), "userId is neither text nor a whole number"),
    (line(userId=-(2**64) + 1), None),
    (line(properties=nested(97)), None),
    (line(properties=nested(98)), "more than 100 objects and lists"),
    (line(userId=["u"]), "userId is neither text nor a whole number"),
    (line(userId=True, anonymousId="a"), "userId is neither text nor a whole number"),
    (line(properties=[]), None),
    (line(properties=[1]), "properties is not an object"),
    (line(userId="a\0"), "userId holds what is no character"),
    (line(anonymousId="a\ud800"), "anonymousId holds what is no character"),
    (line(userId="a\ufffd"), None),
    (line(traits=None), None),
    (line(type="group"), "no groupId"),
    (line(type="page", name=3), "name is not text"),
    (line(timestamp="yesterday"), "'yesterday' is not an ISO 8601 time"),
    (line(timestamp="", originalTimestamp=None), None),
    (line(messageId="m" * 101), "messageId is longer than 100 characters"),
    (line(properties={"note": "x" * 40_000}), "larger than 32 KB"),
]


@pytest.mark.parametrize(("bad", "why"), CASES, ids=range(len(CASES)))
def test_a_bad_line_is_named_with_its_number(file, bad, why):
    faulty = file(line(), "", bad).faulty
    assert [(each.number, (each.fault or "")[: len(why or "")]) for each in faulty] == ([(3, why)] if why else [])


@pytest.mark.parametrize(("bad", "why"), CASES, ids=range(len(CASES)))
def test_what_is_bad_by_our_account_is_what_the_product_rejects(file, bad, why):
    sent = file(bad).sent()
    request = spec.Request(1, "batch", json.dumps({"batch": sent}).encode(), NOON)
    rejected = [isinstance(each, spec.Rejected) for each in spec.parse(request, correct_clocks=False)]
    assert rejected == ([why is not None] if sent else [True])


def test_what_is_json_is_sent_though_it_is_bad(file):
    assert len(file(line(), "{", "[]", line(type="buy")).sent()) == 3


def test_the_favourite_is_the_most_frequent_track_event_and_of_equals_the_first(file):
    lines = [line(event=name) for name in ("Bought", "Added", "Bought", "Added", "Looked")]
    assert file(*lines).favourite == "Added"
    assert file(json.dumps({"type": "page", "userId": "u"})).favourite is None
    assert file().favourite is None


def test_event_time_is_the_given_one_but_never_after_the_receipt(file):
    found = file(line(userId=7), line(timestamp="2099-01-01T00:00:00Z"), line(timestamp=None))
    given, *received = found.happened(received=(NOON, NOON + 60))
    assert given == Happened("7", "Bought", NOON, NOON)
    assert received == [Happened("u1", "Bought", NOON, NOON + 60)] * 2


def test_without_a_user_id_on_every_message_nobody_knows_the_truth(file):
    assert file(line(), line(userId=None, anonymousId="a")).happened(received=(0, 0)) is None
    assert file(line(), line(userId="null", anonymousId="a")).happened(received=(0, 0)) is None
    assert file(line(), line(userId=None, anonymousId="null")).happened(received=(0, 0)) is None


def test_a_blocked_user_id_alone_is_nobody(file):
    assert [each.user_id for each in file(line(), line(userId="0-0")).happened(received=(0, 0))] == ["u1"]


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-06-15T12:00:00Z", NOON),
        ("2026-06-15T14:00:00.250+02:00", NOON + 250),
        ("2026-06-15T12:00:00", NOON),
        (" 2026-06-15t12:00:00z ", NOON),
        ("2026-06-15", NOON - 12 * 3_600_000),
        ("yesterday", None),
        ("2026-06-15T12:00:00Z" + " " * 90, None),
        (None, None),
        (17, None),
        ("1969-12-31T23:59:59Z", None),
    ],
)
def test_times_are_read_as_iso(text, ms):
    assert given_time({"timestamp": text}) == ms


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        _ = EventFile(tmp_path / "none").lines
