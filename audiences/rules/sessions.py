"""PURE. The events of a person's newest session. It is known when those of all profiles of the person are together."""

from zlib import crc32

from audiences.rules.aggregates import DETAILED, SEQUENCE, Aggregate, event_row
from audiences.rules.windows import Session
from sources.events.sql import Sql, sql


def aggregate(name: str, rows: Sql, since: int | None, texts: Sql | None) -> Aggregate:
    """Every event that may be in a session, back to the first: no one knows where the last one began. texts: what an
    event has, as an array."""
    row = event_row(Sql("1"), [] if texts is None else [texts])
    shape = SEQUENCE if texts is None else DETAILED
    return Aggregate(shape, (name,), sql("groupArrayIf(%s, %s)", row, rows), since, rows)


def newest(column: str, session: Session, now: int) -> Sql:
    """An array of the events of the session in their order, empty when there is none."""
    gap = session.gap.milliseconds
    # A name of its own: several sessions may be columns of one statement.
    events = f"n{crc32(repr((column, session)).encode()):08x}"  # what they are called in SQL
    begins = f"arrayLastIndex(d -> d > {gap}, arrayDifference(arrayMap(e -> e.1, {events})))"
    own = f"arraySlice((arraySort({column}) AS {events}), greatest({begins}, 1))"
    return Sql(f"if({events}[-1].1 + {gap} >= {now}, {own}, [])" if session.current else own)
