"""What a batch of the resolve log is while it waits in PostgreSQL, perhaps for another release than prepared it."""

from datetime import datetime
from typing import Any

import msgspec
import numpy
import pyarrow

from sources.events.archive_table import Key, Region


class LiveRange(msgspec.Struct, frozen=True, array_like=True):
    """Of one source's log: from after (after_piece, after_position) up to (piece, position), this included."""

    source: int
    after_piece: int
    after_position: int
    piece: int
    position: int


class Slice(msgspec.Struct, frozen=True, array_like=True):
    """Of a replay: from after a key in event order, so many rows that `upto` is the last. cutoffs: (source, piece).

    consumed: what was left out, since the space had it when this was prepared.
    """

    replay: int
    cutoffs: list[tuple[int, int]]
    since: datetime
    until: datetime
    after: Key | None
    upto: Key
    consumed: list[Region] = []


class Taken(msgspec.Struct, frozen=True):
    """The rows of a batch. whose: for each row, as two bytes, which of `sources` it is from.

    Archived rows never change, so the ranges alone say which these are.
    rejects: (source, piece, position) of such as were rejects and are resolved again.
    """

    rows: int = 0
    live: list[LiveRange] = []
    slice: Slice | None = None
    rejects: list[tuple[int, int, int]] = []
    sources: list[int] = []
    whose: bytes = b""


def taken(rows: pyarrow.Table, **which: Any) -> Taken:
    """These rows. which: fields of `Taken` that say where they are."""
    # Two bytes a row: what is taken is kept in PostgreSQL until the batch is done, and a space has few sources.
    sources, whose = numpy.unique(rows["source"].to_numpy(), return_inverse=True)
    return Taken(rows=rows.num_rows, sources=sources.tolist(), whose=whose.astype("<u2").tobytes(), **which)


class PreparedAgain(msgspec.Struct):
    """People are resolved once more: because of a split, of rules that are applied (dry_run), or of a source that is
    taken back (without); the other two are 0.

    numbers: of their profiles. homes: of those that are no more, where their events are. places: (source, piece,
    position) in the archive of the rows, as 8-byte integers. accounts: whose pages have events of theirs already.
    """

    split: int
    numbers: list[int]
    homes: dict[int, int]
    places: bytes
    without: int = 0
    dry_run: int = 0
    accounts: list[int] = []


class PreparedResolve(msgspec.Struct):
    """What became of the rows [start, stop) of `taken`.

    profiles: for each the number of its profile as 4 bytes, 0 = refused. accounts: (row, account) of group calls.
    aliases: (loser, winner). people: (number, kind, known). links: (user, account), new ones. All little-endian 4-byte
    integers.
    change_sets: who changed, by key, as bitmaps.
    whole: with it everything of `taken` is done, so that places may move. ends: the replay that is complete with it.
    settles: it tells everyone of what replays did.
    policy: the rules it was prepared by, when they were not the default.
    again: of a batch that resolves people once more, whom and because of what.
    """

    taken: Taken
    start: int = 0
    stop: int = 0
    profiles: bytes = b""
    accounts: bytes = b""
    aliases: bytes = msgspec.field(default=b"", name="overlay")  # as batches that wait in PostgreSQL have them
    people: bytes = b""
    links: bytes = b""
    change_sets: dict[str, bytes] = msgspec.field(default_factory=dict, name="touches")
    whole: bool = True
    ends: int | None = None
    settles: bool = False
    policy: Any = None
    again: PreparedAgain | None = None

    @property
    def part(self) -> range:
        return range(self.start, self.stop)
