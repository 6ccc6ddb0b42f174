"""The archive's two orders: the log's, for what is live, and the events', for a replay."""

import itertools
import random
from datetime import UTC, datetime

import pytest

from sources.events import archive_table
from sources.events.archive_table import WHOLE_PIECE, ArchivedRow, LogPlace, Reach
from spaces.batches import Visible

pytestmark = pytest.mark.django_db

_ids = itertools.count(900_000)
SINCE, UNTIL = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


def insert(source: int, piece: int, *times: int, workspace: int = 7, received: int = 0) -> None:
    """Rows at these seconds of event time."""
    rows = [
        ArchivedRow(
            ts=ts * 1000,
            received_at=received or ts * 1000,
            type="track",
            event="E",
            message_id=f"{source}-{piece}-{n}",
            message=b'{"n": %d}' % n,
        )
        for n, ts in enumerate(times)
    ]
    archive_table.insert(workspace_id=workspace, source_id=source, piece=piece, rows=rows)


def start(source: int, end: int, *abandoned: int) -> LogPlace:
    return LogPlace(log=Visible(source, end, abandoned), piece=0, position=-1)


def keys(table) -> list[tuple[int, int, int]]:
    return list(zip(*(table[name].to_pylist() for name in ("source", "piece", "position")), strict=True))


@pytest.fixture
def source() -> int:
    return next(_ids)


@pytest.fixture
def other() -> int:
    return next(_ids)


def test_what_was_inserted_is_read_as_it_was(source):
    archive_table.insert(
        workspace_id=7,
        source_id=source,
        piece=1,
        rows=[ArchivedRow(1_700_000_000_123, 1_700_000_000_456, "track", "Päge", "m1", '{"é":"\\u0001"}'.encode())],
    )
    table, _ = archive_table.read_live(7, [start(source, 1)], 10)
    row = table.to_pylist()[0]
    assert row["ts"] == datetime.fromtimestamp(1_700_000_000, tz=UTC).replace(microsecond=123_000)
    assert row["received_at"].microsecond == 456_000
    assert (row["type"], row["event"], row["message_id"]) == ("track", "Päge", "m1")
    assert row["message"] == '{"é":"\\u0001"}'


def test_live_rows_come_in_log_order_and_go_on_from_the_place(source):
    insert(source, 1, 50, 40, 30)
    insert(source, 2, 20, 10)
    first, places = archive_table.read_live(7, [start(source, 2)], 2)
    second, places = archive_table.read_live(7, places, 2)
    third, places = archive_table.read_live(7, places, 2)
    assert [keys(part) for part in (first, second, third)] == [
        [(source, 1, 0), (source, 1, 1)],
        [(source, 1, 2), (source, 2, 0)],
        [(source, 2, 1)],
    ]
    assert not places[0].has_more
    assert (places[0].piece, places[0].position) == (2, WHOLE_PIECE)


def test_live_reads_nothing_beyond_the_end_and_nothing_abandoned(source):
    for piece in range(1, 5):
        insert(source, piece, piece)
    table, _ = archive_table.read_live(7, [start(source, 3, 2)], 10)
    assert keys(table) == [(source, 1, 0), (source, 3, 0)]


def test_places_move_over_pieces_that_hold_no_row(source):
    table, places = archive_table.read_live(7, [start(source, 5)], 10)
    assert table.num_rows == 0
    assert (places[0].piece, places[0].has_more) == (5, False)


def test_a_busy_source_leaves_room_for_the_others(source, other):
    insert(source, 1, *range(100, 120))
    insert(other, 1, 105)
    table, places = archive_table.read_live(7, [start(source, 1), start(other, 1)], 10)
    assert (other, 1, 0) in keys(table)
    assert table.num_rows == 6
    assert [place.has_more for place in places] == [True, False]


def test_sources_are_interleaved_by_receipt_but_each_keeps_its_log_order(source, other):
    insert(source, 1, 30, 10, 50)
    insert(other, 1, 20, 40)
    table, _ = archive_table.read_live(7, [start(source, 1), start(other, 1)], 10)
    assert keys(table) == [(source, 1, 0), (source, 1, 1), (other, 1, 0), (other, 1, 1), (source, 1, 2)] or keys(
        table
    ) == [(other, 1, 0), (source, 1, 0), (source, 1, 1), (other, 1, 1), (source, 1, 2)]


def test_another_workspace_sees_nothing(source):
    insert(source, 1, 1)
    assert archive_table.read_live(8, [start(source, 1)], 10)[0].num_rows == 0
    assert archive_table.count_live(8, [start(source, 1)]) == 0


def test_counting_live_rows_counts_those_after_the_places(source, other):
    insert(source, 1, 1, 2, 3)
    insert(other, 1, 1)
    places = [LogPlace(Visible(source, 1), 1, 0), start(other, 1)]
    assert archive_table.count_live(7, places) == 3
    assert archive_table.count_live(7, []) == 0


def test_a_replay_reads_every_row_once_in_event_order(source, other):
    chance = random.Random(4)
    for piece in range(1, 6):
        insert(source, piece, *(chance.randrange(1, 60) for _ in range(20)))
        insert(other, piece, *(chance.randrange(1, 60) for _ in range(15)))
    reach = Reach((Visible(source, 4, (2,)), Visible(other, 5)), SINCE, UNTIL)
    read, after = [], None
    while True:
        table = archive_table.read_replay_slice(7, reach, after, 17)
        read += zip(table["ts"].to_pylist(), keys(table), strict=True)
        if table.num_rows < 17:
            break
        after = archive_table.key_of(table)
    assert read == sorted(read)
    assert len(read) == len(set(read)) == archive_table.count_range(7, reach) == 3 * 20 + 5 * 15


def test_a_replay_takes_both_ends_of_its_range_and_nothing_outside(source):
    insert(source, 1, 10, 20, 30, 40)
    reach = Reach((Visible(source, 1),), datetime.fromtimestamp(20, tz=UTC), datetime.fromtimestamp(30, tz=UTC))
    assert keys(archive_table.read_replay_slice(7, reach, None, 10)) == [(source, 1, 1), (source, 1, 2)]
    assert archive_table.count_range(7, reach) == 2


def test_a_replay_ends_at_the_cut_off(source):
    insert(source, 1, 10)
    insert(source, 2, 5)
    reach = Reach((archive_table.up_to(Visible(source, 2), 1),), SINCE, UNTIL)
    assert keys(archive_table.read_replay_slice(7, reach, None, 10)) == [(source, 1, 0)]


def test_a_replay_of_nothing_is_empty(source):
    assert archive_table.read_replay_slice(7, Reach((), SINCE, UNTIL), None, 10).num_rows == 0
    assert archive_table.count_range(7, Reach((), SINCE, UNTIL)) == 0
    assert archive_table.read_replay_slice(7, Reach((Visible(source, 1),), SINCE, UNTIL), None, 10).num_rows == 0


def test_rows_at_one_moment_are_told_apart_by_where_they_are(source, other):
    insert(other, 1, 10, 10)
    insert(source, 1, 10)
    insert(source, 2, 10)
    reach = Reach((Visible(source, 2), Visible(other, 1)), SINCE, UNTIL)
    read, after = [], None
    for _ in range(4):
        table = archive_table.read_replay_slice(7, reach, after, 1)
        read += keys(table)
        after = archive_table.key_of(table)
    assert read == [(source, 1, 0), (source, 2, 0), (other, 1, 0), (other, 1, 1)]


def test_erased_pieces_hold_no_row(source):
    insert(source, 1, 1)
    insert(source, 2, 1)
    archive_table.erase(source, [1])
    assert keys(archive_table.read_live(7, [start(source, 2)], 10)[0]) == [(source, 2, 0)]
