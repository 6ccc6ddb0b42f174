"""When the disk of the embedded ClickHouse counts as one without room."""

import time
from collections.abc import Iterator

from personas_site.embedded import shortage
from personas_site.embedded.shortage import MARGIN, Shortage


class Watched(Shortage):
    def __init__(self, *free: int) -> None:
        self.told: list[str] = []
        self.rest: Iterator[int] = iter(free)
        super().__init__(
            lambda: next(self.rest), began=lambda: self.told.append("began"), over=lambda: self.told.append("over")
        )


def test_what_is_written_is_believed_while_there_is_room() -> None:
    watched = Watched(MARGIN, MARGIN)
    assert not watched.since(time.monotonic())
    assert watched.told == []


def test_it_is_not_believed_from_when_there_was_none() -> None:
    before = time.monotonic()
    watched = Watched(MARGIN - 1, 2 * MARGIN, 2 * MARGIN)
    assert watched.since(before)
    assert watched.since(before)  # it has gone, but what was written meanwhile may be nowhere
    assert not watched.since(time.monotonic())


def test_it_begins_once_and_ends_once(monkeypatch) -> None:
    monkeypatch.setattr(shortage, "LOOKED_EVERY", 0)
    watched = Watched(MARGIN, MARGIN, 0, 0, 0, MARGIN)
    watched.watch()
    assert watched.told == ["began", "over"]
