"""Collect: what is accepted, what is refused and how, and that 200 is said only after the commit."""

import base64
import gzip
import json
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.db import OperationalError, connection
from django.test import Client
from django.urls import path, resolve
from hypothesis import given, settings
from hypothesis import strategies as st

from access.gate import need_of
from personas_site.bodies import Body, BodyRoom
from personas_site.front import environ_of
from sources import collect, inbox, services
from sources.collect import LARGEST_BODY, CollectView
from sources.collect_urls import urls
from sources.inbox import gauge
from sources.models import Inbox
from spaces.needs import ANYONE
from tests import loops
from tests.asgi import chunks, scope_of
from tests.factories import SourceFactory, WriteKeyFactory
from tests.factories_sources import archive_all, batch, ids_in_archive, tally, track

pytestmark = pytest.mark.django_db

woken: list[int] = []
urlpatterns = urls(woken.append)
BODY = batch(track())


@pytest.fixture(autouse=True)
def fresh(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    woken.clear()
    collect.forget_write_keys()


@pytest.fixture
def key() -> Any:
    return WriteKeyFactory()


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


def post(
    client: Any, body: bytes = BODY, path: str = "/v1/batch", type: str = "application/json", **headers: str
) -> Any:
    return client.generic("POST", path, body, content_type=type, headers=headers)


def refusal(answer: Any) -> tuple[int, str]:
    said = json.loads(answer.content)
    assert set(said) == {"success", "code", "message"}
    assert said["success"] is False
    return answer.status_code, said["code"]


def test_a_good_request_is_in_the_inbox_as_sent_and_its_stage_is_woken(client, key):
    before = datetime.now(UTC)
    answer = post(client, **basic(key.key))
    assert (answer.status_code, json.loads(answer.content)) == (200, {"success": True})
    row = Inbox.objects.get()
    assert (row.source, row.workspace_id, row.call, bytes(row.body)) == (key.source, key.workspace_id, "batch", BODY)
    assert (row.taken, row.refused) == (False, "")
    assert abs(row.received_at - before) < timedelta(minutes=1)
    assert woken == [key.source_id]


@pytest.mark.parametrize(
    ("route", "call"),
    [
        *((call, call) for call in ("identify", "track", "page", "screen", "group", "alias", "batch")),
        *(("i", "identify"), ("t", "track"), ("p", "page"), ("s", "screen"), ("g", "group"), ("a", "alias")),
        *(("b", "batch"), ("import", "batch")),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_route_is_answered_at_once_with_and_without_a_slash(client, key, route, call, slash):
    answer = post(client, path=f"/v1/{route}{slash}", **basic(key.key))
    assert answer.status_code == 200
    assert Inbox.objects.get().call == call


def test_anyone_may_send_and_needs_no_token_against_forgery(key):
    assert need_of(resolve("/v1/batch", urlconf=__name__).func, "POST") == ANYONE
    assert post(Client(enforce_csrf_checks=True), **basic(key.key)).status_code == 200


@pytest.mark.parametrize("type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_the_content_type_does_not_matter(client, key, type):
    assert post(client, type=type, **basic(key.key)).status_code == 200
    assert bytes(Inbox.objects.get().body) == BODY


class TestWriteKey:
    def test_may_be_in_five_places(self, client, key):
        body = {"writeKey": key.key}
        assert post(client, **basic(key.key)).status_code == 200
        assert post(client, **{"x-write-key": key.key}).status_code == 200
        assert post(client, path=f"/v1/batch?writeKey={key.key}").status_code == 200
        assert post(client, batch(track(), **body)).status_code == 200
        assert post(client, batch(track(**body))).status_code == 200
        assert Inbox.objects.filter(source=key.source).count() == 5

    def test_is_taken_from_the_first_of_them(self, client):
        first, second, third, fourth, fifth = (WriteKeyFactory() for _ in range(5))
        body = batch(track(writeKey=fifth.key), writeKey=fourth.key)
        everywhere = f"/v1/batch?writeKey={third.key}"
        post(client, body, everywhere, **basic(first.key), **{"x-write-key": second.key})
        post(client, body, everywhere, **{"x-write-key": second.key})
        post(client, body, everywhere)
        post(client, body)
        sources = list(Inbox.objects.order_by("id").values_list("source", flat=True))
        assert sources == [found.source_id for found in (first, second, third, fourth)]

    def test_in_the_header_beats_a_masked_one_in_the_body(self, client, key):
        assert post(client, batch(track(), writeKey="key:***"), **{"x-write-key": key.key}).status_code == 200

    def test_needs_neither_colon_nor_padding(self, client, key):
        for text in (key.key, f"{key.key}:", f"{key.key}:password"):
            encoded = base64.b64encode(text.encode()).decode().rstrip("=")
            assert post(client, authorization=f"Basic {encoded}").status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            basic("wrong"),
            basic(""),
            basic("nul\0"),
            {"authorization": "Basic ???"},
            {"authorization": "Basic é"},
            {"authorization": "Bearer x"},
            {"x-write-key": "x" * 5000},
        ],
    )
    def test_that_is_missing_or_unknown_is_401(self, client, headers):
        assert refusal(post(client, **headers)) == (401, "invalid_write_key")
        assert not Inbox.objects.exists()
        assert not woken

    def test_of_another_type_in_the_body_is_none(self, client):
        assert refusal(post(client, b'{"writeKey": {"a": 1}, "batch": [1]}'))[0] == 401

    def test_stops_working_when_it_is_removed(self, client, key, monkeypatch):
        assert post(client, **basic(key.key)).status_code == 200
        services.remove_write_key(key.source, key.key)
        assert post(client, **basic(key.key)).status_code == 200  # remembered for a moment
        now = collect.time.monotonic()
        monkeypatch.setattr(collect.time, "monotonic", lambda: now + 5)
        assert refusal(post(client, **basic(key.key)))[0] == 401

    def test_of_a_source_deleted_a_moment_ago_is_401(self, client, key):
        assert post(client, **basic(key.key)).status_code == 200
        key.source.delete()
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        assert refusal(post(client, **basic(key.key)))[0] == 401

    @pytest.mark.parametrize(
        "place", ["authorization", "x-write-key", "batch", "after the batch", "nowhere", "unknown"]
    )
    def test_that_was_used_a_moment_ago_says_whose_request_it_is_before_it_is_read(self, client, key, place):
        assert post(client, **basic(key.key)).status_code == 200
        named = {"writeKey": "0" * 32 if place == "unknown" else key.key}
        message = {"type": "identify", "userId": "ann"} | (named if place in ("batch", "unknown") else {})
        body = json.dumps({"batch": [message] * 200} | (named if place == "after the batch" else {}))
        headers = {"authorization": basic(key.key), "x-write-key": {"x-write-key": f"{key.key}:secret"}}
        received = Body(BodyRoom())
        loops.run(received.read(chunks(body.encode())))
        environ = environ_of(scope_of("POST", "/v1/batch", headers.get(place, {})), received)
        known = place not in ("nowhere", "unknown")
        assert collect.workspace_of(environ) == (key.source.workspace_id if known else None)


class TestBody:
    @pytest.mark.parametrize(
        "body", [b"", b"{", b'{"batch": [}', b"nonsense", b"[]", b"5", b'"x"', b"null", b"\x00", b'{"a":1} {"b":2}']
    )
    def test_that_is_no_json_object_is_400(self, client, key, body):
        assert refusal(post(client, body, **basic(key.key))) == (400, "invalid_json")

    @pytest.mark.parametrize(
        "body",
        [
            b'{"batch":[{"x":NaN}]}',
            b'{"batch":[{"x":"\\ud800"}]}',
            b'{"batch":["\xff"]}',
            b'\xef\xbb\xbf{"batch":[]}',
            b'{"batch":[1e999]}',
            b'{"batch":[]}',
            b"{}",
            b'{"batch":5, "x":NaN}',
            b'{"caf\xe9":5, "batch":[{"x":NaN}]}',
            b'{"batch":5}',
            b'{"batch":[' + b"9" * 6000 + b"]}",
        ],
    )
    def test_with_bad_messages_in_it_is_200(self, client, key, body):
        assert post(client, body, **basic(key.key)).status_code == 200

    def test_with_a_message_deeper_than_can_be_read_is_200_and_its_neighbours_are_archived(self, client, key):
        deep = b'{"userId":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
        body = b'{"batch":[%b,%b]}' % (deep, json.dumps(track(messageId="good")).encode())
        assert post(client, body, **basic(key.key)).status_code == 200
        assert post(client, b'{"batch":[%b]}' % deep, f"/v1/batch?writeKey={key.key}").status_code == 200
        assert post(client, deep, "/v1/track", **basic(key.key)).status_code == 200
        archive_all(key.source)
        assert ids_in_archive(key.source) == ["good"]
        assert tally(key.source) == (1, 0, 3)

    def test_that_ends_inside_what_is_too_deep_is_400(self, client, key):
        assert refusal(post(client, b'{"batch":[' + b"[" * 50_000, **basic(key.key))) == (400, "invalid_json")

    def test_over_5_mb_is_413(self, client, key):
        fits = b'{"batch":[], "x": "' + b"y" * (LARGEST_BODY - 21) + b'"}'
        assert len(fits) == LARGEST_BODY
        assert post(client, fits, **basic(key.key)).status_code == 200
        assert refusal(post(client, fits + b" ", **basic(key.key))) == (413, "body_too_large")
        assert refusal(post(client, fits * 2, **basic(key.key))) == (413, "body_too_large")
        assert Inbox.objects.count() == 1

    def test_may_be_gzip_whatever_its_headers_say(self, client, key):
        packed = gzip.compress(BODY)
        assert post(client, packed, **basic(key.key)).status_code == 200
        assert post(client, packed, type="application/x-www-form-urlencoded", **basic(key.key)).status_code == 200
        assert post(client, BODY, **basic(key.key), **{"content-encoding": "gzip"}).status_code == 200
        assert {bytes(row.body) for row in Inbox.objects.all()} == {BODY}

    def test_may_be_gzip_of_several_members(self, client, key):
        packed = gzip.compress(BODY[:20]) + gzip.compress(BODY[20:])
        assert post(client, packed, **basic(key.key)).status_code == 200
        assert bytes(Inbox.objects.get().body) == BODY

    def test_that_inflates_to_more_than_5_mb_is_413_and_is_never_inflated_whole(self, client, key, monkeypatch):
        bomb = gzip.compress(b" " * 200_000_000, compresslevel=1)
        assert len(bomb) < LARGEST_BODY
        most = []
        original = zlib.decompressobj

        class Watched:
            def __init__(self, wbits):
                self.inner = original(wbits=wbits)

            def decompress(self, data, limit):
                out = self.inner.decompress(data, limit)
                most.append(len(out))
                return out

            def __getattr__(self, name):
                return getattr(self.inner, name)

        monkeypatch.setattr(collect.zlib, "decompressobj", Watched)
        assert refusal(post(client, bomb, **basic(key.key))) == (413, "body_too_large")
        assert sum(most) <= LARGEST_BODY + 1

    def test_of_many_small_gzip_members_is_413_too(self, client, key):
        assert refusal(post(client, gzip.compress(b" " * 1_000_000) * 6, **basic(key.key)))[0] == 413

    def test_of_many_empty_gzip_members_takes_time_by_its_length_alone(self, client, key):
        empty = gzip.compress(b"")
        packed = empty * collect.MOST_MEMBERS
        assert refusal(post(client, packed, **basic(key.key))) == (400, "invalid_json")  # it was read to its end
        began = time.process_time()
        for _ in range(8):
            assert refusal(post(client, packed, **basic(key.key)))[0] == 400
        ordinary = time.process_time() - began
        began = time.process_time()
        assert refusal(post(client, empty * (4_900_000 // len(empty)), **basic(key.key))) == (400, "invalid_gzip")
        assert time.process_time() - began < max(ordinary, 1)

    @given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=20), window=st.integers(1, 64))
    @settings(max_examples=50, deadline=None)
    def test_of_any_members_is_inflated_whole_however_it_is_read(self, parts, window):
        with mock.patch.object(collect, "WINDOW", window):
            assert collect._inflated(b"".join(map(gzip.compress, parts))) == b"".join(parts)

    def test_is_inflated_for_those_alone_whose_key_is_known_when_it_is_named_outside(self, client, key, monkeypatch):
        seen = []
        inflated = collect._inflated
        monkeypatch.setattr(collect, "_inflated", lambda body: (seen.append(len(body)), inflated(body))[1])
        packed = gzip.compress(batch(track(), writeKey=key.key))
        assert refusal(post(client, packed, **basic("stranger")))[0] == 401
        assert refusal(post(client, packed, path="/v1/batch?writeKey=stranger"))[0] == 401
        assert not seen
        assert post(client, packed, **basic(key.key)).status_code == 200
        assert post(client, packed).status_code == 200  # the key is inside
        assert seen == [len(packed)] * 2

    @pytest.mark.parametrize("body", [gzip.compress(BODY)[:-5], b"\x1f\x8bnonsense", b"\x1f\x8b"])
    def test_of_broken_gzip_is_400(self, client, key, body):
        assert refusal(post(client, body, **basic(key.key))) == (400, "invalid_gzip")

    def test_sent_in_chunks_arrives_whole(self, key):
        body = Body(BodyRoom())
        loops.run(body.read(chunks(BODY, 100)))
        scope = scope_of("POST", "/v1/batch", basic(key.key) | {"transfer-encoding": "chunked"})
        request = WSGIRequest(environ_of(scope, body))
        assert CollectView.as_view(wake=woken.append)(request, route="batch").status_code == 200
        assert bytes(Inbox.objects.get().body) == BODY


def identify(**traits: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": traits["name"], "messageId": traits["name"], "traits": traits}


class TestCharset:
    @pytest.mark.parametrize(
        "charset", ["iso-8859-1", "latin1", "windows-1252", '"ISO-8859-15"', "utf-16", "utf-32-le"]
    )
    def test_that_is_declared_is_honoured(self, client, key, charset):
        text = json.dumps({"batch": [identify(name="Müller"), identify(name="Möller")]}, ensure_ascii=False)
        body = text.encode(charset.strip('"'))
        assert post(client, body, type=f"text/plain; charset={charset}", **basic(key.key)).status_code == 200
        archive_all(key.source)
        assert ids_in_archive(key.source) == ["Müller", "Möller"]

    @pytest.mark.parametrize("charset", ["gbk", "shift_jis", "euc-kr"])
    def test_may_have_two_bytes_for_a_character(self, client, key, charset):
        body = json.dumps({"batch": [identify(name="中")]}, ensure_ascii=False).encode(charset)
        assert post(client, body, type=f"application/json; charset={charset}", **basic(key.key)).status_code == 200
        archive_all(key.source)
        assert ids_in_archive(key.source) == ["中"]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
    @pytest.mark.parametrize("type", ["application/json", "text/plain; charset=utf-8", "text/plain; charset=us-ascii"])
    def test_of_unicode_needs_no_name(self, client, key, encoding, type):
        body = json.dumps({"writeKey": key.key, "batch": [identify(name="Müller")]}, ensure_ascii=False).encode(
            encoding
        )
        assert post(client, body, type=type).status_code == 200
        archive_all(key.source)
        assert ids_in_archive(key.source) == ["Müller"]

    @pytest.mark.parametrize(
        "charset", ["", "nobody-knows", "utf8mb4", "idna", "unicode_escape", "undefined", "a\x7fb", "x" * 5000]
    )
    def test_that_is_none_is_taken_for_utf_8(self, client, key, charset):
        body = json.dumps({"batch": [identify(name="Müller")]}, ensure_ascii=False).encode()
        assert post(client, body, type=f"application/json; charset={charset}", **basic(key.key)).status_code == 200
        archive_all(key.source)
        assert ids_in_archive(key.source) == ["Müller"]

    @pytest.mark.parametrize("type", ["application/json", "application/json; charset=utf-8"])
    def test_that_is_not_that_of_the_body_makes_no_two_people_one(self, client, key, type):
        text = json.dumps(
            {"batch": [identify(name="Müller"), identify(name="Möller"), track(messageId="good")]}, ensure_ascii=False
        )
        assert post(client, text.encode("latin-1"), type=type, **basic(key.key)).status_code == 200
        archive_all(key.source)
        assert ids_in_archive(key.source) == ["good"]
        reject = key.source.rejects.get()
        assert (reject.code, reject.messages) == ("invalid_encoding", 2)
        assert "M\\xfcller" in reject.message

    def test_in_which_a_byte_means_nothing_costs_the_message_that_it_is_in(self, client, key):
        body = b'{"batch":[{"type":"identify","userId":"a\x81"},{"type":"identify","userId":"a\x9d"},%b]}'
        body %= json.dumps(track(messageId="good")).encode()
        post(client, body, type="application/json; charset=windows-1252", **basic(key.key))
        archive_all(key.source)
        assert ids_in_archive(key.source) == ["good"]
        assert tally(key.source) == (1, 0, 2)

    def test_that_makes_a_body_longer_than_5_mb_is_413(self, client, key):
        body = b'{"batch":[], "x": "' + b"\xfc" * (LARGEST_BODY // 2 + 10) + b'"}'
        assert refusal(post(client, body, type="application/json; charset=latin-1", **basic(key.key)))[0] == 413


class TestOwnTrouble:
    def test_is_503_with_retry_after_when_postgresql_is_away(self, client, key, monkeypatch):
        monkeypatch.setattr(collect, "accept", raising(OperationalError("server closed the connection")))
        answer = post(client, **basic(key.key), origin="https://shop.example")
        assert refusal(answer) == (503, "unavailable")
        assert answer["Retry-After"] == "5"
        assert answer["Access-Control-Allow-Origin"] == "https://shop.example"

    def test_is_500_as_json_for_what_nobody_expected(self, client, key, monkeypatch):
        monkeypatch.setattr(collect, "accept", raising(RuntimeError("what")))
        assert refusal(post(client, **basic(key.key))) == (500, "internal_error")

    def test_with_the_wake_up_is_no_trouble(self, client, key, settings):
        settings.ROOT_URLCONF = Unwakeable
        assert post(client, **basic(key.key)).status_code == 200
        assert Inbox.objects.count() == 1


def raising(error: Exception) -> Any:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    return fail


class Unwakeable:
    urlpatterns = [path("v1/batch", CollectView.as_view(wake=raising(ConnectionError("Redis"))), {"route": "batch"})]


class TestInbox:
    """What waits to be archived is bounded, in all and of one source."""

    @pytest.fixture(autouse=True)
    def small(self, settings: Any) -> Iterator[None]:
        settings.INBOX_MAX_BYTES, settings.INBOX_SOURCE_MAX_BYTES = 10_000, 6_000
        gauge.forget()
        yield
        gauge.forget()

    def fill(self, client: Any, key: Any) -> Any:
        """Until it is refused; the answer."""
        for _ in range(100):
            answer = post(client, BODY + b" " * 1000, **basic(key.key))
            if answer.status_code != 200:
                return answer
        raise AssertionError("never full")

    def test_of_one_source_leaves_room_for_others(self, client, key):
        answer = self.fill(client, key)
        assert refusal(answer) == (503, "inbox_full")
        assert answer["Retry-After"] == "5"
        assert post(client, **basic(WriteKeyFactory().key)).status_code == 200

    def test_is_bounded_in_all(self, client, key):
        self.fill(client, key)
        other = WriteKeyFactory()
        assert refusal(self.fill(client, other)) == (503, "inbox_full")
        rows = Inbox.objects.all()
        assert 8_000 < sum(row.length + inbox.EACH_ROW for row in rows) <= 10_000  # as sent, not as kept

    def test_takes_in_again_when_the_archive_has_caught_up(self, client, key, monkeypatch):
        now = [time.monotonic()]
        monkeypatch.setattr(inbox.time, "monotonic", lambda: now[0])
        self.fill(client, key)
        archive_all(key.source)
        assert refusal(post(client, BODY + b" " * 1000, **basic(key.key)))[0] == 503  # measured now and then only
        now[0] += 60
        assert post(client, **basic(key.key)).status_code == 200

    def test_counts_what_others_put_there(self, client, key):
        Inbox.objects.create(
            workspace=key.workspace, source=key.source, call="batch", body=b"x" * 6_000, received_at=datetime.now(UTC)
        )
        assert refusal(post(client, **basic(key.key))) == (503, "inbox_full")


class TestBrowsers:
    def test_ask_first_and_may_send_what_they_name(self, client):
        answer = client.options(
            "/v1/t",
            headers={
                "origin": "https://shop.example",
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization,x-retry-count",
            },
        )
        assert answer.status_code == 204
        assert answer["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "POST" in answer["Access-Control-Allow-Methods"]
        assert answer["Access-Control-Allow-Headers"] == "authorization,x-retry-count"
        assert answer["Access-Control-Max-Age"] == "7200"
        assert answer["Vary"] == "Origin"
        assert answer["Access-Control-Allow-Credentials"] == "true"  # `sendBeacon` sends cookies, like it or not

    def test_can_read_every_answer_errors_too(self, client, key):
        origin = {"origin": "https://shop.example"}
        for answer, status in (
            (post(client, **basic(key.key), **origin), 200),
            (post(client, **origin), 401),
            (post(client, b"{", **basic(key.key), **origin), 400),
            (post(client, b" " * (LARGEST_BODY + 1), **basic(key.key), **origin), 413),
            (client.get("/v1/batch", headers=origin), 405),
        ):
            assert answer.status_code == status
            assert answer["Access-Control-Allow-Origin"] == "https://shop.example"
            assert answer["Access-Control-Expose-Headers"] == "Retry-After"
            assert answer["Vary"] == "Origin"


class TestDisabledSource:
    def test_gets_200_and_its_messages_are_rejects(self, client):
        key = WriteKeyFactory(source=SourceFactory(enabled=False))
        assert post(client, batch(track(), track()), **basic(key.key)).status_code == 200
        archive_all(key.source)
        assert ids_in_archive(key.source) == []
        assert tally(key.source) == (0, 0, 2)
        assert key.source.rejects.get().code == "source_disabled"

    def test_was_enabled_when_it_sent_and_loses_nothing_of_that(self, client, key):
        post(client, **basic(key.key))
        services.update_source(key.source, enabled=False)
        archive_all(key.source)
        assert tally(key.source) == (1, 0, 0)


def test_while_the_disk_is_almost_full_nothing_is_taken_in_and_the_client_is_told_when_to_come_back(
    client, key, settings
):
    settings.DISK_RESERVE = 1 << 60
    answer = post(client, **basic(key.key), origin="https://shop.example")
    assert refusal(answer) == (503, "disk_full")
    assert int(answer["Retry-After"]) > 0
    assert answer["Access-Control-Allow-Origin"] == "https://shop.example"
    assert not Inbox.objects.exists()
    settings.DISK_RESERVE = 0
    assert post(client, **basic(key.key)).status_code == 200
