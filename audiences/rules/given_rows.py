"""PURE. Tables with given rows, before a statement: of the same names as the stored ones, which they hide.

So what decides membership can be asked, to the letter, about people who are not stored. Whatever is stored and not
hidden is of another workspace to such a statement, and shows it nothing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sources.events.sql import Sql, sql

NOWHERE = 0  # no workspace and no space has this number


class GivenEvent(NamedTuple):
    """properties, lists: JSON text, as `timeline` has them. at: ms. The last three are where it is in the archive."""

    profile: int
    event: str
    type: str
    properties: str
    lists: str
    at: int
    source: int = 0
    piece: int = 1
    position: int = 0


class GivenTrait(NamedTuple):
    """value: JSON text; "null" = it was removed."""

    profile: int
    key: str
    value: str
    at: int
    source: int = 0
    piece: int = 1
    position: int = 0


def given_tables(
    space: int,
    *,
    profiles: Sequence[tuple[int, int, int]],
    events: Sequence[GivenEvent],
    traits: Sequence[GivenTrait],
    links: Sequence[tuple[int, int]] = (),
) -> Sql:
    """`WITH …`. profiles: (number, kind, known). links: (user, account). Nobody of them was merged."""
    here = f"{NOWHERE} AS workspace, toUInt32({space}) AS space, toUInt64(1) AS piece"
    places = (
        "r.{} AS source, r.{} AS origin_piece, r.{} AS origin_position, fromUnixTimestamp64Milli(r.{}, 'UTC') AS ts"
    )
    return sql(
        f"WITH profiles AS (SELECT {here}, r.1 AS profile, r.2 AS kind, r.3 AS known FROM %s),"
        f" links AS (SELECT {here}, r.1 AS user, r.2 AS account FROM %s),"
        f" timeline AS (SELECT {here}, r.1 AS profile, r.2 AS event, r.3 AS type,"
        " CAST(r.4 AS JSON(max_dynamic_paths=256)) AS properties, CAST(r.5 AS JSON(max_dynamic_paths=64)) AS lists,"
        f" {places.format(7, 8, 9, 6)} FROM %s),"
        f" traits AS (SELECT {here}, r.1 AS profile, r.2 AS key, r.3 AS value, {places.format(5, 6, 7, 4)} FROM %s),"
        f" overlay AS (SELECT {here}, toUInt32(0) AS loser, toUInt32(0) AS winner WHERE 0) ",
        _relation("UInt32, UInt8, UInt8", profiles),
        _relation("UInt32, UInt32", links),
        _relation("UInt32, String, String, String, String, Int64, UInt32, UInt64, UInt32", events),
        _relation("UInt32, String, String, Int64, UInt32, UInt64, UInt32", traits),
    )


def _relation(types: str, rows: Sequence[tuple[Any, ...]]) -> Sql:
    return sql(f"(SELECT arrayJoin(CAST(%s AS Array(Tuple({types})))) AS r)", [tuple(row) for row in rows])
