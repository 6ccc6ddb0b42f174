"""Batches of several owners that are written as one: few inserts, and each batch as if it were alone."""

import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from sources.archive import STAGE, Archive
from sources.events import client
from sources.events.schema import DELIVERY_LOG, PROFILES, TRAITS, Table
from sources.models import Reject, Source
from spaces.batches import BatchGroup, visible
from spaces.errors import Unwritable
from spaces.models import Abandoned, Log
from tests.factories import SourceFactory
from tests.factories_sources import archive_all, ids_in_archive, log_of, send, track

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def inserts(monkeypatch: pytest.MonkeyPatch) -> list[pyarrow.Table]:
    """What reached ClickHouse, insert by insert. A row with the word poison is refused, and with it its insert."""
    found: list[pyarrow.Table] = []
    put = client.put

    def watched(table: Table, batch: pyarrow.Table) -> None:
        if "message" in batch.column_names:
            found.append(batch)
            if any("poison" in str(text) for text in batch["message"].to_pylist()):
                raise Unwritable("cannot parse")
        put(table, batch)

    monkeypatch.setattr(client, "put", watched)
    return found


def together(*sources: Source) -> list[Log]:
    group = BatchGroup(STAGE, client.Gathered())
    for source in sources:
        group.add(log_of(source))
    return group.write()


def sources_with_messages(how_many: int) -> list[Source]:
    found = SourceFactory.create_batch(how_many)
    for number, source in enumerate(found):
        send(source, *[track(messageId=f"{number}.{place}") for place in range(number + 1)])
    return found


def test_many_sources_make_one_insert_and_each_its_own_piece(inserts: list[pyarrow.Table]) -> None:
    sources = sources_with_messages(5)
    idle = SourceFactory()
    moved = together(*sources, idle)
    assert [log.partition for log in moved] == [source.pk for source in sources]
    assert len(inserts) == 1
    for number, source in enumerate(sources):
        assert ids_in_archive(source) == [f"{number}.{place}" for place in range(number + 1)]
        assert visible(log_of(source)).end == 1


def test_rows_that_are_refused_are_their_own_sources_fault_alone(inserts: list[pyarrow.Table]) -> None:
    good, bad, fine = SourceFactory.create_batch(3)
    send(good, track(messageId="g"))
    send(bad, track(messageId="b"), track(messageId="p", event="poison"))
    send(fine, track(messageId="f"))
    together(good, bad, fine)
    assert ids_in_archive(good) == ["g"]
    assert ids_in_archive(fine) == ["f"]
    assert not ids_in_archive(bad)
    assert list(Abandoned.objects.filter(log=log_of(good)).values_list("number", flat=True)) == [1]
    send(good, track(messageId="g2"))
    send(fine, track(messageId="f2"))
    together(good, bad, fine)  # what is unfinished is not put together with others again
    assert ids_in_archive(good) == ["g", "g2"]
    assert sum(batch.num_rows == 2 for batch in inserts[4:]) == 2  # bad's own, alone, and the others' together
    archive_all(bad)
    assert ids_in_archive(bad) == ["b"]
    assert Reject.objects.get(source=bad).message_id == "p"


def test_a_store_that_is_away_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = sources_with_messages(3)

    def away(*args: Any) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(client, "client", away)
        assert together(*sources) == []
    assert {log.error for log in Log.objects.all()} == {"ConnectionError: gone"}
    Log.objects.update(retry_at=None)
    assert len(together(*sources)) == 3
    for number, source in enumerate(sources):
        assert ids_in_archive(source) == [f"{number}.{place}" for place in range(number + 1)]


def test_whoever_fails_before_the_write_is_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first, broken, last = sources_with_messages(3)
    decide = Archive.prepare

    def failing(self: Archive, log: Log, *args: Any) -> Any:
        if log.partition == broken.pk:
            raise ZeroDivisionError
        return decide(self, log, *args)

    monkeypatch.setattr(Archive, "prepare", failing)
    group = BatchGroup(STAGE, client.Gathered())
    group.add(log_of(first))
    with pytest.raises(ZeroDivisionError):
        group.add(log_of(broken))
    group.add(log_of(last))
    assert [log.partition for log in group.write()] == [first.pk, last.pk]


def test_one_that_was_overtaken_meanwhile_publishes_nothing_and_stops_nobody() -> None:
    first, second = sources_with_messages(2)
    group = BatchGroup(STAGE, client.Gathered())
    group.add(log_of(first))
    group.add(log_of(second))
    archive_all(first)  # somebody else finds the unfinished batch, and takes it over
    assert [log.partition for log in group.write()] == [second.pk]
    assert ids_in_archive(first) == ["0.0"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fates=some.lists(some.sampled_from(["ok", "poison", "die before", "die after"]), min_size=1, max_size=6))
def test_whatever_happens_to_groups_each_message_is_archived_once(fates: list[str], inserts: Any) -> None:
    sources = SourceFactory.create_batch(3)
    sent: Counter[int] = Counter()
    for fate in fates:
        for source in sources:
            send(source, track(messageId=f"{source.pk}-{sent[source.pk]}"))
            sent[source.pk] += 1
        if fate == "poison":
            send(sources[0], track(messageId=str(uuid4()), event="poison"))
        Log.objects.update(retry_at=None)
        rows = client.Gathered()
        group = BatchGroup(STAGE, rows)
        for source in sources:
            group.add(log_of(source))
        if fate == "die after":
            with suppress(Unwritable):
                rows.write()
        elif fate != "die before":
            group.write()
    for source in sources:
        for _ in range(200):
            Log.objects.update(retry_at=None)
            if not together(source) and not log_of(source).batches.exists():
                break
        assert ids_in_archive(source) == [f"{source.pk}-{n}" for n in range(sent[source.pk])]


def test_tables_are_written_at_once_and_that_a_store_is_away_counts_before_that_it_refuses_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both, ended = threading.Barrier(2), []

    def failing(table: Table, batch: pyarrow.Table) -> None:
        both.wait(10)
        if table is TRAITS:
            time.sleep(0.1)
            ended.append(table)
            raise ConnectionError("away")
        raise Unwritable("cannot parse")

    monkeypatch.setattr(client, "put", failing)
    rows = client.Gathered()
    for table in (PROFILES, TRAITS):
        rows.add(table, pyarrow.table({"space": [1]}))
    with pytest.raises(ConnectionError):
        rows.write()
    assert ended == [TRAITS]


def test_what_is_written_at_once_is_gathered_where_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[Table] = []
    monkeypatch.setattr(client, "put", lambda table, batch: put.append(table))
    rows = client.Gathered()
    with rows.gathered(), client.at_once():
        client.insert(PROFILES, pyarrow.table({"space": [1]}))
    assert put == []
    rows.write()
    assert put == [PROFILES]


def test_inserts_of_several_threads_become_few() -> None:
    paced: list[float] = []
    going = threading.Event()
    log = client.Joined(DELIVERY_LOG)
    subscription = 7_000_000

    def pace() -> None:
        paced.append(1)
        if len(paced) == 1:
            going.wait(10)

    def work(number: int) -> None:
        log.insert(pyarrow.table({"subscription": [subscription], "piece": [number], "at": [0]}, DELIVERY), pace)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    while len(log._waiting) < 12:
        pass
    going.set()
    for thread in threads:
        thread.join()
    query = client.sql("SELECT piece FROM delivery_log WHERE subscription = %s ORDER BY piece", subscription)
    assert [piece for (piece,) in client.rows(query)] == list(range(12))
    assert len(paced) == 1


def test_every_one_of_several_threads_hears_that_their_insert_failed() -> None:
    log = client.Joined(DELIVERY_LOG)
    bad = pyarrow.table({"no_such_column": [1]})
    for _ in range(2):
        with pytest.raises(Exception, match="no_such_column"):
            log.insert(bad, lambda: None)


DELIVERY = pyarrow.schema(
    {"subscription": pyarrow.uint32(), "piece": pyarrow.uint64(), "at": pyarrow.timestamp("ms", tz="UTC")}
)
