"""Values of computed traits as this process keeps them, for reads that are many: a column of each trait.

A column is read from the event store once its trait has been asked about often, by a thread of its own. Whose values
have changed since is in PostgreSQL (`Change`): it takes no look at the store to know for whom a column is right, and
the store is asked about the others alone.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pyarrow
from pyroaring import BitMap

from access.authentication import SpaceReader
from audiences.current import CurrentComputation, CurrentSpace
from audiences.models import Change
from audiences.queries import bitmap
from sources.events import client
from sources.events.sql import sql
from spaces import limits

logger = logging.getLogger(__name__)

ASKED_OFTEN = 20  # times: then a column is worth its reading
MOST_BYTES = 128 * 2**20  # of a process's columns: a million short values are about 12 MB
KEPT_S = 600.0  # whoever was erased meanwhile is in no column afterwards
MANY_CHANGED, MUCH_CHANGED = 1_000, 0.02  # people, and the part of all: then it is read anew


@dataclass(frozen=True)
class ValueColumn:
    """values: JSON texts, in the order of `people`, as of a tick. changed: who has another one by the tick `seen`."""

    version: int
    tick: int
    read_at: float
    people: BitMap
    values: pyarrow.Array
    seen: int
    seen_at: float
    changed: BitMap = field(default_factory=BitMap)

    def value(self, number: int) -> str | None:
        """None where only the store can tell."""
        if number in self.changed or number not in self.people:
            return None
        return str(self.values[self.people.rank(number) - 1].as_py())


_columns: dict[int, ValueColumn] = {}  # by trait, the one that was read last at the end
_asked: Counter[int] = Counter()
_reading: set[int] = set()
_lock = threading.Lock()
_reader = ThreadPoolExecutor(1, thread_name_prefix="values")  # one at a time: reads go on meanwhile


def columns(space: SpaceReader, now: CurrentSpace, traits: Sequence[CurrentComputation]) -> dict[int, ValueColumn]:
    """Of those of these traits that are kept, right as of `now`; whoever asks for another asks the store."""
    kept = {trait.pk: column for trait in traits if (column := _usable(trait, now))}
    behind = {pk: column for pk, column in kept.items() if column.seen < now.log.end}
    if behind:
        for pk in behind:
            kept[pk] = replace(kept[pk], seen=now.log.end, seen_at=now.known_at, changed=BitMap(kept[pk].changed))
        changes = Change.objects.filter(
            audience__in=behind, tick__gt=min(column.seen for column in behind.values()), tick__lte=now.log.end
        )
        for pk, *people in changes.values_list("audience", "entered", "left", "refreshed"):
            kept[pk].changed.update(*map(bitmap, people))
        with _lock:
            _columns.update((pk, kept[pk]) for pk, column in behind.items() if _columns.get(pk) is column)
    for trait in traits:
        column = kept.get(trait.pk)
        if column and len(column.changed) <= max(MANY_CHANGED, MUCH_CHANGED * len(column.people)):
            continue
        _asked[trait.pk] += 1
        if _asked[trait.pk] >= ASKED_OFTEN:
            _read_soon(space, now, trait)
    return kept


def forget() -> None:
    """No column is kept."""
    with _lock:
        _columns.clear()
        _asked.clear()


def _usable(trait: CurrentComputation, now: CurrentSpace) -> ValueColumn | None:
    column = _columns.get(trait.pk)
    if column is None:
        return None
    # A log that is shorter than it was is another one, as after a backup was played back.
    went_back = now.log.end < column.seen and now.known_at > column.seen_at
    if column.version != trait.version or went_back or time.monotonic() >= column.read_at + KEPT_S:
        with _lock:
            _columns.pop(trait.pk, None)
        return None
    return column if column.tick <= now.log.end else None


def _read_soon(space: SpaceReader, now: CurrentSpace, trait: CurrentComputation) -> None:
    with _lock:
        if trait.pk in _reading:
            return
        _reading.add(trait.pk)
    _reader.submit(_read, space, now, trait)


def _read(space: SpaceReader, now: CurrentSpace, trait: CurrentComputation) -> None:
    try:
        query = sql(
            "SELECT profile, argMax(value, piece) AS last FROM trait_log WHERE workspace = %s AND space = %s"
            " AND trait = %s AND %s GROUP BY profile HAVING last != '' ORDER BY profile",
            space.workspace_id,
            space.space_id,
            trait.pk,
            client.seen(now.log),
        )
        with limits.working(space.workspace):
            rows = client.arrow(query, max_result_bytes=MOST_BYTES // 2)
        column = ValueColumn(
            version=trait.version,
            tick=now.log.end,
            read_at=now.known_at,
            people=BitMap(rows["profile"].to_numpy()),
            values=rows["last"].combine_chunks(),
            seen=now.log.end,
            seen_at=now.known_at,
        )
    except Exception:  # too large, or the store is away: the reads go to the store, which says so
        logger.warning("the values of the computed trait %s are not kept", trait.public_id, exc_info=True)
        _asked[trait.pk] = -100 * ASKED_OFTEN  # not at once again
    else:
        with _lock:
            _columns.pop(trait.pk, None)
            _columns[trait.pk] = column
            del _asked[trait.pk]
            while sum(own.values.nbytes for own in _columns.values()) > MOST_BYTES:
                del _columns[next(iter(_columns))]
    finally:
        with _lock:
            _reading.discard(trait.pk)
