"""The archive stage: each message of each accepted request ends as exactly one of archived, doubled and rejected."""

import json
import random
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.db import connection, connections

from sources import archive
from sources.archive import Archive, waiting
from sources.events import archive_table as events
from sources.events import client
from sources.inbox import Sender, keep
from sources.models import EventName, Inbox, Reject
from sources.queries import count_messages
from sources.rules import spec
from sources.services import retry_rejects
from spaces import batches
from spaces.batches import Overtaken, advance
from spaces.errors import Unwritable
from spaces.models import Abandoned, Batch, Log
from tests.factories import SourceFactory
from tests.factories_sources import (
    RECEIVED_AT,
    InboxFactory,
    archive_all,
    archived,
    batch,
    ids_in_archive,
    log_of,
    send,
    tally,
    track,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def deaths_are_expected(monkeypatch):
    """Any number of processes may die over a batch here without a pause."""
    monkeypatch.setattr(batches, "MANY_DEATHS", 1_000)


@pytest.fixture
def source() -> Any:
    return SourceFactory()


class Killed(BaseException):
    """The process ends here."""


def test_what_waits_is_archived_in_the_order_of_the_inbox(source):
    send(source, track(messageId="a"), track(messageId="b"))
    send(source, track(messageId="c"))
    archive_all(source)
    rows = archived(source)
    assert [row["message_id"] for row in rows] == ["a", "b", "c"]
    assert [(row["piece"], row["position"]) for row in rows] == [(1, 0), (1, 1), (1, 2)]
    assert not Inbox.objects.exists()
    assert tally(source) == (3, 0, 0)


def test_a_row_has_the_normalised_message_and_its_times(source):
    send(source, track(messageId="a", timestamp="2026-06-15T10:00:00Z", properties={"plan": "pro"}))
    archive_all(source)
    (row,) = archived(source)
    assert (row["source"], row["type"], row["event"]) == (source.pk, "track", "Tested")
    assert row["ts"] == datetime(2026, 6, 15, 10, tzinfo=UTC)
    assert row["received_at"] == RECEIVED_AT
    assert row["message"] == {
        "type": "track",
        "messageId": "a",
        "userId": "u1",
        "event": "Tested",
        "properties": {"plan": "pro"},
        "timestamp": "2026-06-15T10:00:00.000Z",
        "originalTimestamp": "2026-06-15T10:00:00Z",
        "receivedAt": "2026-06-15T12:00:00.000Z",
    }


def test_clocks_are_corrected_unless_the_source_says_otherwise():
    for correct, hour in ((True, 11), (False, 10)):
        source = SourceFactory(correct_clocks=correct)
        send(source, track(timestamp="2026-06-15T10:00:00Z"), sentAt="2026-06-15T11:00:00Z")
        archive_all(source)
        assert archived(source)[0]["ts"] == datetime(2026, 6, 15, hour, tzinfo=UTC)


def test_future_events_are_of_the_moment_of_receipt_and_ancient_ones_are_rejected(source):
    send(
        source,
        track(messageId="future", timestamp="2031-01-01T00:00:00Z"),
        track(messageId="ancient", timestamp="1066-10-14T09:00:00Z"),
        track(messageId="old", timestamp="1999-12-31T23:59:59Z"),
    )
    archive_all(source)
    times = {row["message_id"]: row["ts"] for row in archived(source)}
    assert times == {"future": RECEIVED_AT, "old": datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)}
    assert Reject.objects.get(source=source).code == "timestamp_out_of_range"


def test_a_bad_message_is_kept_with_code_reason_and_path(source):
    send(source, track(messageId="good"), {"type": "track", "messageId": "bad", "event": "E"})
    archive_all(source)
    reject = Reject.objects.get(source=source)
    assert (reject.code, reject.path, reject.message_id) == ("id_required", "batch[1].userId", "bad")
    assert reject.reason
    assert json.loads(reject.message)["event"] == "E"
    assert (reject.received_at, reject.workspace_id) == (RECEIVED_AT, source.workspace_id)
    assert ids_in_archive(source) == ["good"]
    assert tally(source) == (1, 0, 1)


def test_one_small_request_costs_about_one_row(source):
    send(source, *[{} for _ in range(2500)])
    send(source, *[{"type": "track", "event": "E"} for _ in range(20)], {"type": "track", "event": "E", "userId": 1.5})
    archive_all(source)
    assert tally(source) == (0, 0, 2521)
    rejects = Reject.objects.filter(source=source).order_by("pk")
    assert list(rejects.values_list("code", "path", "messages")) == [
        ("unknown_type", "batch[0].type", 2500),
        ("id_required", "batch[0].userId", 20),
        ("id_not_string", "batch[20].userId", 1),
    ]
    assert rejects[0].message == "{}"


def test_a_shared_context_that_cannot_be_used_is_a_trace_beside_the_archived_messages(source):
    send(source, track(messageId="a"), track(messageId="b"), context="web")
    archive_all(source)
    assert ids_in_archive(source) == ["a", "b"]
    assert tally(source) == (2, 0, 0)
    trace = Reject.objects.get(source=source)
    assert (trace.code, trace.path, trace.messages) == ("context_not_object", "context", 0)


def test_every_message_is_counted_once_whatever_it_is(source):
    send(source)
    send(source, *[track() for _ in range(2501)])
    send(source, track(messageId="x"), track(messageId="x"), 5, track(userId=None))
    InboxFactory(source=source, call="track", body=json.dumps(track()).encode())
    InboxFactory(source=source, body=b'{"batch": [NaN, {"x": "\\ud800"}]}')
    archive_all(source)
    assert tally(source) == (2502, 1, 1 + 2 + 2)
    rejects = Reject.objects.filter(source=source)
    assert sum(rejects.values_list("messages", flat=True)) == 1 + 2 + 2
    assert rejects.filter(code="empty_batch", messages=0).count() == 1


def test_the_schema_counts_events_and_keeps_their_first_and_last_moment(source):
    send(source, track(timestamp="2026-06-15T10:00:00Z"), track(timestamp="2026-06-15T11:00:00Z"), track(event="B"))
    archive_all(source)
    send(source, track(timestamp="2026-06-15T09:00:00Z"), {"type": "identify", "userId": "u"}, track(event="x" * 999))
    archive_all(source)
    found = {(row.type, row.event): row for row in EventName.objects.filter(source=source)}
    assert {key: row.archived for key, row in found.items()} == {
        ("track", "Tested"): 3,
        ("track", "B"): 1,
        ("identify", ""): 1,
        ("track", "x" * 200): 1,
    }
    tested = found["track", "Tested"]
    assert [tested.first_seen_at.hour, tested.last_seen_at.hour] == [9, 11]


class TestDedup:
    def test_within_a_request_keeps_the_first(self, source):
        send(source, track(messageId="a", event="first"), track(messageId="a", event="second"))
        archive_all(source)
        assert [row["event"] for row in archived(source)] == ["first"]
        assert tally(source) == (1, 1, 0)

    def test_within_a_piece_and_across_pieces(self, source):
        send(source, track(messageId="a"))
        send(source, track(messageId="a"), track(messageId="b"))
        archive_all(source)
        send(source, track(messageId="b"), track(messageId="c"))
        archive_all(source)
        assert ids_in_archive(source) == ["a", "b", "c"]
        assert tally(source) == (3, 2, 0)

    def test_is_by_source(self, source):
        other = SourceFactory(workspace=source.workspace)
        for each in (source, other):
            send(each, track(messageId="same"))
            archive_all(each)
        assert ids_in_archive(source) == ids_in_archive(other) == ["same"]

    def test_knows_a_retry_sent_later_of_an_old_message(self, source):
        old = track(messageId="a", timestamp="2026-05-01T23:59:59.999Z")
        send(source, old, sentAt="2026-05-02T00:00:00Z")
        archive_all(source)
        send(source, old, sentAt="2026-06-15T11:00:00Z", received_at=RECEIVED_AT + timedelta(days=40))
        archive_all(source)
        assert tally(source) == (1, 1, 0)

    @pytest.mark.parametrize(
        "time", [None, "2026-06-15T10:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"]
    )
    def test_works_for_messages_of_any_day_and_of_none(self, source, time):
        message = track(messageId="a") | ({"timestamp": time} if time else {})
        for _ in range(2):
            send(source, message)
            archive_all(source)
        assert tally(source) == (1, 1, 0)

    @pytest.mark.parametrize(
        "again", ["2026-06-15T10:00:00Z", "1999-01-01T00:00:00Z", "", None, "2099-01-01T00:00:00Z"]
    )
    @pytest.mark.parametrize("together", [True, False])
    def test_is_by_the_id_alone_whatever_time_the_message_claims(self, source, again, together):
        send(source, track(messageId="a", timestamp="2026-06-14T10:00:00Z"))
        if not together:
            archive_all(source)
        send(source, track(messageId="a", timestamp=again))
        archive_all(source)
        assert tally(source) == (1, 1, 0)

    def test_does_not_take_ids_that_we_gave_for_retries(self, source):
        body = {"type": "track", "event": "E", "userId": "u"}
        for _ in range(2):
            send(source, body, body)
        archive_all(source)
        assert tally(source) == (4, 0, 0)
        assert len(set(ids_in_archive(source))) == 4

    @pytest.mark.parametrize(("longer", "known"), [(0, True), (-1, False)])
    def test_knows_an_id_for_so_many_days_as_the_setting_says(self, source, settings, longer, known):
        """A week's ids go together, when even the last day of the week is longer ago."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT date_trunc('week', current_date)::date - 35, current_date")
            monday, today = cursor.fetchone()
        settings.DEDUP_DAYS = (today - (monday + timedelta(days=6))).days + longer
        seen_in_week_of(monday, source, "a")
        send(source, track(messageId="a"))
        archive_all(source, Archive())
        assert tally(source) == ((0, 1, 0) if known else (1, 0, 0))

    def test_puts_this_weeks_ids_into_a_table_of_their_own(self, source):
        send(source, track(messageId="a", timestamp="1999-01-01T00:00:00Z"))
        archive_all(source)
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT tableoid::regclass::text = 'sources_seen_week_' || to_char(week, 'YYYYMMDD'),
                          week = date_trunc('week', current_date) FROM sources_seen WHERE source_id = %s""",
                [source.pk],
            )
            assert cursor.fetchall() == [(True, True)]

    def test_partitions_are_made_and_dropped_by_a_function_since_the_application_owns_nothing(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT sources_seen_prepare(30)")
            assert cursor.fetchone() == (0,)  # they are there since the migration
            cursor.execute(
                "SELECT pg_get_userbyid(relowner) = current_user FROM pg_class WHERE relname LIKE 'sources_seen%%'"
            )
            assert {owned for (owned,) in cursor} == {False}

    def test_finds_each_of_many_ids_in_whatever_week_it_was_seen(self, source):
        hashes = [archive._hash(str(n)) for n in range(5000)]
        for week in range(6):
            seen_in_week_of(date.fromisocalendar(2026, 20 + week, 1), source, *map(str, range(week * 100)))
        assert archive._keep_seen(log_of(source), hashes) == set(hashes[500:])
        assert archive._keep_seen(log_of(source), hashes) == set()


@pytest.mark.django_db(databases=["default", "owner"])
def test_an_installation_of_before_knows_what_it_had_seen():
    """Both tables and the function, in a schema of their own, forwards and back."""
    before, now = (import_module(f"sources.migrations.{name}") for name in ("0002_seen", "0005_seen_by_message_id"))
    with connections["owner"].cursor() as cursor:
        cursor.execute("CREATE SCHEMA trial")
        cursor.execute("SET LOCAL search_path = trial")
        cursor.execute(before.MAKE)
        cursor.execute(
            "INSERT INTO sources_seen SELECT 1, source, current_date - day, md5(id)::uuid FROM (VALUES "
            "(1, 0, 'a'), (1, 1, 'a'), (1, 9000, 'b'), (2, 0, 'a')) AS v (source, day, id)"
        )
        (operation,) = now.Migration.operations
        cursor.execute(operation.sql)
        cursor.execute("SELECT source_id, week, hash FROM sources_seen")
        rows = cursor.fetchall()
        assert len(rows) == len({(source, hash) for source, _, hash in rows}) == 3
        assert len({week for _, week, _ in rows}) == 1
        cursor.execute("CREATE TABLE sources_seen_week_20260105 PARTITION OF sources_seen FOR VALUES IN ('2026-01-05')")
        cursor.execute("SELECT sources_seen_prepare(30), to_regclass('sources_seen_week_20260105')")
        assert cursor.fetchone() == (1, None)
        cursor.execute(operation.reverse_sql)
        cursor.execute("SELECT count(DISTINCT (source_id, hash)) FROM sources_seen WHERE day = '1970-01-01'")
        assert cursor.fetchone() == (3,)
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'trial'::regnamespace AND relname ~ 'by_|week'"
        )
        assert cursor.fetchall() == []


def seen_in_week_of(monday: date, source: Any, *ids: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO sources_seen (workspace_id, source_id, week, hash)
               SELECT %s, %s, %s, hash FROM unnest(%s::uuid[]) AS s (hash)""",
            [source.workspace_id, source.pk, monday, [archive._hash(id) for id in ids]],
        )


STEPS = ["in decide", "archive:prepared", "in write", "archive:written", "in publish", "archive:committed"]


def die_once(monkeypatch: Any, step: str) -> None:
    """The next time it comes to this step, the process ends there."""
    left = [step]

    def reach(point: str) -> None:
        if point in left:
            left.remove(point)
            raise Killed(point)

    def after(module: Any, name: str, point: str) -> None:
        original = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = original(*args, **kwargs)
            reach(point)
            return answer

        monkeypatch.setattr(module, name, call)

    monkeypatch.setattr(batches, "reach", reach)
    after(archive, "_keep_seen", "in decide")
    after(events, "insert", "in write")
    after(archive, "_count_event_names", "in publish")


class TestExactlyOnce:
    @pytest.mark.parametrize("step", STEPS)
    def test_after_a_kill_at_any_step(self, source, monkeypatch, step):
        send(source, track(messageId="a"), track(messageId="a"), track(messageId="b"), "bad")
        send(source, track(messageId="c"))
        die_once(monkeypatch, step)
        with pytest.raises(Killed):
            archive_all(source, Archive())
        send(source, track(messageId="c"), track(messageId="d"))
        archive_all(source, Archive())  # another process: nothing parsed is left over
        assert ids_in_archive(source) == ["a", "b", "c", "d"]
        assert tally(source) == (4, 2, 1)
        assert Reject.objects.filter(source=source).count() == 1
        assert EventName.objects.get(source=source).archived == 4
        assert not Inbox.objects.filter(source=source).exists()
        assert not Batch.objects.filter(log=log_of(source)).exists()

    def test_after_many_kills_at_random_steps(self, source, monkeypatch):
        chance = random.Random(11)
        sent = [track(messageId=f"m{chance.randrange(150)}") for _ in range(300)]
        for start in range(0, 300, 10):
            send(source, *sent[start : start + 10])
            die_once(monkeypatch, chance.choice(STEPS))
            with pytest.raises(Killed):
                archive_all(source, Archive())
            if chance.random() < 0.5:
                archive_all(source, Archive())
        archive_all(source, Archive())
        distinct = {message["messageId"] for message in sent}
        assert sorted(ids_in_archive(source)) == sorted(distinct)
        assert tally(source) == (len(distinct), 300 - len(distinct), 0)

    def test_a_second_try_has_a_number_of_its_own_and_writes_the_same(self, source, monkeypatch):
        send(source, {"type": "track", "event": "E", "userId": "u"}, track(messageId="a"), track(messageId="a"))
        die_once(monkeypatch, "archive:written")
        with pytest.raises(Killed):
            archive_all(source, Archive())
        archive_all(source, Archive())
        rows = client.rows(
            client.sql("SELECT piece, message_id, message FROM archive WHERE source = %s ORDER BY position", source.pk)
        )
        by_piece = {number: [row[1:] for row in rows if row[0] == number] for number in (1, 2)}
        assert by_piece[1] == by_piece[2]
        assert len(by_piece[1]) == 2
        assert list(Abandoned.objects.values_list("number", flat=True)) == [1]
        assert len(ids_in_archive(source)) == 2

    def test_a_change_of_the_sources_clocks_between_two_tries_changes_nothing(self, source, monkeypatch):
        send(source, track(timestamp="2026-06-15T10:00:00Z"), sentAt="2026-06-15T11:00:00Z")
        die_once(monkeypatch, "archive:prepared")
        with pytest.raises(Killed):
            archive_all(source, Archive())
        type(source).objects.filter(pk=source.pk).update(correct_clocks=False)
        archive_all(source, Archive())
        assert archived(source)[0]["ts"].hour == 11

    def test_an_owner_that_wakes_up_late_is_told_so(self, source):
        stage, late = Archive(), log_of(source)
        send(source, track(messageId="a"))
        intake = stage.read(late, 10)
        archive_all(source)
        with pytest.raises(Overtaken):
            stage.prepare(late, intake, 2)

    def test_a_late_write_finds_its_requests_gone(self, source, monkeypatch):
        send(source, track(messageId="a"))
        die_once(monkeypatch, "archive:prepared")
        with pytest.raises(Killed):
            archive_all(source, Archive())
        decision = archive.msgspec.msgpack.decode(Batch.objects.get().prepared, type=archive.PreparedArchive)
        archive_all(source, Archive())
        with pytest.raises(Overtaken):
            Archive().write(log_of(source), decision, 1)
        assert ids_in_archive(source) == ["a"]

    def test_what_clickhouse_cannot_take_now_is_taken_later(self, source, monkeypatch):
        send(source, track(messageId="a"))
        real = events.insert

        def away(**kwargs: Any) -> None:
            real(**kwargs)  # it arrived, and nobody was told
            raise ConnectionError("timed out")

        monkeypatch.setattr(events, "insert", away)
        with pytest.raises(ConnectionError):
            archive_all(source, Archive())
        monkeypatch.setattr(events, "insert", real)
        assert not advance(Archive(), log_of(source))  # not at once
        Log.objects.update(retry_at=None)
        archive_all(source, Archive())
        assert ids_in_archive(source) == ["a"]
        assert tally(source) == (1, 0, 0)

    def test_erased_are_the_rows_of_abandoned_numbers_alone(self, source, monkeypatch):
        send(source, track(messageId="a"))
        die_once(monkeypatch, "archive:written")
        with pytest.raises(Killed):
            archive_all(source, Archive())
        archive_all(source, Archive())
        Abandoned.objects.update(since=RECEIVED_AT - timedelta(days=400))
        batches.sweep(Archive())
        rows = client.rows(client.sql("SELECT piece FROM archive WHERE source = %s", source.pk))
        assert [row[0] for row in rows] == [2]
        assert ids_in_archive(source) == ["a"]


client_insert = events.insert


class TestPoison:
    @pytest.fixture
    def picky(self, monkeypatch: Any) -> None:
        """ClickHouse refuses whatever holds the word poison."""
        real = events.insert

        def insert(*, rows: Any, **where: Any) -> None:
            if any(b"poison" in row.message for row in rows):
                raise Unwritable("cannot parse")
            real(rows=rows, **where)

        monkeypatch.setattr(events, "insert", insert)

    def test_costs_only_the_message_that_it_is_in(self, source, picky):
        fine = [track(messageId=f"m{n}") for n in range(9)]
        send(source, *fine[:3], "bad", fine[2], track(messageId="p", event="poison"), *fine[3:6])
        send(source, *fine[6:], track(messageId="m0"), {"type": "track", "event": "poison", "userId": "u"})
        archive_all(source)
        assert ids_in_archive(source) == [f"m{n}" for n in range(9)]
        assert tally(source) == (9, 2, 3)
        unstorable = Reject.objects.filter(source=source, code="unstorable")
        assert {reject.reason for reject in unstorable} == {"cannot parse"}
        assert unstorable.filter(message_id="p").exists()
        assert not Inbox.objects.filter(source=source).exists()
        assert not Batch.objects.filter(log=log_of(source)).exists()

    def test_survives_kills_while_it_is_being_found(self, source, picky, monkeypatch):
        send(source, *[track(messageId=f"m{n}") for n in range(4)], track(messageId="p", event="poison"))
        stage = Archive()
        for _ in range(60):
            die_once(monkeypatch, random.Random(_).choice(STEPS[1:]))
            try:
                if not advance(stage, log_of(source)):
                    break
            except Killed:
                stage = Archive()
        archive_all(source)
        assert ids_in_archive(source) == ["m0", "m1", "m2", "m3"]
        assert tally(source) == (4, 0, 1)

    def test_can_be_sent_again_after_a_cure(self, source, picky):
        send(source, track(messageId="p", event="poison"))
        archive_all(source)
        send(source, track(messageId="p", event="cured"))
        archive_all(source)
        assert ids_in_archive(source) == ["p"]
        assert tally(source) == (1, 0, 1)

    def test_goes_in_once_more_when_it_is_driven_again(self, source, picky, monkeypatch):
        """As if it had never been refused: received when it was, with its own time and everything else."""
        poison = track(messageId="p", event="poison", timestamp="2026-06-15T11:00:00Z", properties={"a": [1, None]})
        twin = SourceFactory(correct_clocks=source.correct_clocks)
        for each in (source, twin):
            send(each, track(messageId="a"), poison, sentAt="2026-06-15T12:00:30Z", context={"ip": "1.2.3.4"})
        archive_all(source)
        monkeypatch.setattr(events, "insert", client_insert)
        archive_all(twin)
        assert (tally(source), ids_in_archive(source)) == ((1, 0, 1), ["a"])
        rejects = Reject.objects.filter(source=source)
        assert retry_rejects(source, rejects) == 1
        assert retry_rejects(source, rejects) == 0
        archive_all(source)
        assert (tally(source), ids_in_archive(source)) == ((2, 0, 0), ["a", "p"])

        def row(of):
            found = next(row for row in archived(of) if row["message_id"] == "p")
            return found["ts"], found["received_at"], found["event"], found["message"]

        assert row(source) == row(twin)
        assert not rejects.exists()

    def test_a_message_that_the_rules_refused_goes_in_once_more_when_all_of_it_is_kept(self, source):
        bad = {"type": "track", "event": "E"}
        send(source, bad)  # alone in its batch
        send(source, bad, bad)  # one example is kept of the two
        send(source, {**bad, "properties": {"text": "x" * 33_000}})  # cut
        InboxFactory(source=source, call="track", body=b'{"event": "E"}')
        InboxFactory(source=source, call="batch", body=b"no json")
        InboxFactory(source=source, call="batch", body=b'{"batch": [], "a": "\xff"}')  # no text
        archive_all(source)
        assert tally(source) == (0, 0, 6)
        kept = [reject.retriable for reject in Reject.objects.filter(source=source).order_by("inbox")]
        assert kept == [True, False, False, True, True, False]
        assert retry_rejects(source, Reject.objects.all()) == 3
        assert sorted((row.call, bytes(row.body)) for row in Inbox.objects.all()) == [
            ("batch", b"no json"),
            ("batch", b'{"batch":[{"type": "track", "event": "E"}]}'),
            ("track", b'{"event": "E"}'),
        ]
        archive_all(source)
        assert tally(source) == (0, 0, 6)

    def test_driven_again_after_its_sender_did_it_itself_is_a_duplicate(self, source, picky, monkeypatch):
        send(source, track(messageId="p", event="poison"))
        archive_all(source)
        send(source, track(messageId="p", event="cured"))
        archive_all(source)
        monkeypatch.setattr(events, "insert", client_insert)
        assert retry_rejects(source, Reject.objects.filter(source=source)) == 1
        archive_all(source)
        assert (tally(source), ids_in_archive(source)) == ((1, 1, 0), ["p"])

    def test_in_a_request_that_cannot_be_decided_costs_only_that_request(self, source, monkeypatch):
        real = spec.parse

        def parse(request: Any, **how: Any) -> Any:
            if b"poison" in request.body:
                raise Unwritable("the database cannot hold it")
            return real(request, **how)

        monkeypatch.setattr(spec, "parse", parse)
        send(source, track(messageId="a"))
        send(source, track(event="poison"))
        send(source, track(messageId="b"))
        archive_all(source)
        assert ids_in_archive(source) == ["a", "b"]
        assert tally(source) == (2, 0, 1)
        reject = Reject.objects.get(source=source, code="unstorable")
        assert "poison" in reject.message
        monkeypatch.setattr(spec, "parse", real)
        assert retry_rejects(source, Reject.objects.all()) == 1
        archive_all(source)
        assert len(ids_in_archive(source)) == 3
        assert tally(source) == (3, 0, 0)


def test_a_piece_takes_about_eight_megabytes_of_requests(source, monkeypatch):
    monkeypatch.setattr(archive, "BYTES_PER_PIECE", 1000)
    for _ in range(5):
        send(source, track(properties={"x": "y" * 400}))
    send(source, track(properties={"x": "y" * 4000}))
    archive_all(source)
    assert [row["piece"] for row in archived(source)] == [1, 1, 2, 2, 3, 3]


def test_a_piece_takes_no_more_requests_because_they_wait_packed(source, monkeypatch):
    monkeypatch.setattr(archive, "BYTES_PER_PIECE", 5000)
    sender = Sender(source.pk, source.workspace_id, enabled=True)
    for _ in range(4):
        keep(sender, call="batch", body=batch(track(properties={"x": "y" * 4000})))
    assert all(len(row.body) < 1000 < row.length for row in Inbox.objects.all())
    archive_all(source)
    assert [row["piece"] for row in archived(source)] == [1, 1, 2, 2]
    assert tally(source) == (4, 0, 0)


def test_a_piece_does_not_grow_by_what_batches_add_to_their_messages(source, monkeypatch):
    monkeypatch.setattr(archive, "TEXT_PER_PIECE", 10_000)
    for _ in range(3):
        send(source, *[track() for _ in range(5)], context={"x": "y" * 1000})
    archive_all(source)
    assert [row["piece"] for row in archived(source)] == [1] * 5 + [2] * 5 + [3] * 5


def test_a_piece_of_many_small_messages_has_no_longer_turn_than_any_other(source, monkeypatch):
    monkeypatch.setattr(archive, "MESSAGES_PER_PIECE", 10)
    for size in (4, 6, 1, 12, 3):
        send(source, *[track() for _ in range(size)])
    archive_all(source)
    assert [row["piece"] for row in archived(source)] == [1] * 10 + [2] + [3] * 12 + [4] * 3


def test_sources_with_requests_and_with_unfinished_pieces_have_work(source, monkeypatch):
    idle = SourceFactory()
    log_of(idle)
    send(source, track())
    assert waiting(RECEIVED_AT) == [source.pk]
    die_once(monkeypatch, "archive:prepared")
    with pytest.raises(Killed):
        archive_all(source, Archive())
    assert waiting(RECEIVED_AT) == [source.pk]
    archive_all(source, Archive())
    assert waiting(RECEIVED_AT) == []


def test_the_counts_of_a_source_say_how_many_requests_wait(source):
    send(source, track())
    archive_all(source)
    send(source, track(), track())
    counts = count_messages([source])[source.pk]
    assert (counts.archived, counts.doubled, counts.rejected, counts.waiting) == (1, 0, 0, 1)
