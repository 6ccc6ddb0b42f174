"""When the disk has too little room: for what comes in first, and then for what is done with it."""

import pytest

from spaces.disk_space import LEAST_FILES, Room

MB = 1 << 20
RESERVE = 256 * MB


@pytest.mark.parametrize(
    ("free", "accepts", "works"),
    [(300 * MB, True, True), (RESERVE, True, True), (RESERVE - 1, False, True), (127 * MB, False, False)],
)
def test_nothing_is_taken_in_below_the_reserve_and_nothing_done_below_half_of_it(free, accepts, works):
    room = Room(free=free, files=LEAST_FILES, reserve=RESERVE)
    assert (room.accepts, room.works) == (accepts, works)


def test_files_run_out_as_well():
    assert not Room(free=2 * RESERVE, files=LEAST_FILES - 1, reserve=RESERVE).accepts
    assert "only 7 files may be added" in str(Room(free=2 * RESERVE, files=7, reserve=RESERVE))


def test_no_reserve_asks_nothing():
    room = Room(free=0, files=0, reserve=0)
    assert (room.accepts, room.works) == (True, True)


def test_it_says_how_much_there_is():
    said = "The disk is almost full (12 MB are free, 256 MB are kept in reserve)"
    assert str(Room(free=12 * MB, files=LEAST_FILES, reserve=RESERVE)) == said
