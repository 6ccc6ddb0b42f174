"""The values of computed traits: as asked of the events, and as they are kept, by profile. Each is JSON text."""

from collections.abc import Sequence

from pyroaring import BitMap

from audiences import queries
from audiences.rules.compiler import LISTED, SETTINGS, Asked, QueryScope
from audiences.rules.compiler import values as values_sql
from sources.events import client
from sources.events.sql import Sql, bitmap, sql
from spaces.batches import visible_logs
from spaces.models import Space


def computed(scope: QueryScope, asked: Sequence[Asked]) -> list[dict[int, str]]:
    """Of each of these traits the values of everybody in scope who has one. Raises queries.Unanswerable."""
    values: list[dict[int, str]] = [{} for _ in asked]
    # A statement has a row for each user, or for each account: those about the one and the other are asked apart.
    for of in dict.fromkeys(trait.of for trait in asked):
        places = [place for place, trait in enumerate(asked) if trait.of == of]
        mine = [asked[place] for place in places]
        with queries.answering():
            statement = values_sql(queries.reaching(scope, mine), mine)
            rows = client.rows(statement, **SETTINGS, max_execution_time=queries.LONGEST_S)
        if scope.numbers is not None:
            # Whoever was read along for others' sake is not asked about, and not all of their rows were read.
            rows = [row for row in rows if row[0] in scope.numbers]
        for column, place in enumerate(places, 1):
            values[place] = {row[0]: row[column] for row in rows if row[column]}
    return values


def kept(space: Space, trait: int, *, most: int | None = None) -> dict[int, str]:
    """Everybody's value, as of the newest tick. most: of so many people at most."""
    return kept_of(space, [trait], most=most)[trait]


def kept_of(
    space: Space, traits: Sequence[int], numbers: BitMap | None = None, *, most: int | None = None
) -> dict[int, dict[int, str]]:
    """The same of several traits. numbers: of these people only."""
    among = Sql("1")
    if numbers is not None:
        few = len(numbers) <= LISTED  # a list can use the order key
        among = sql("profile IN %s", [*numbers] or [0]) if few else sql("bitmapContains(%s, profile)", bitmap(numbers))
    query = sql(
        "SELECT trait, profile, argMax(value, piece) AS last FROM trait_log"
        " WHERE workspace = %s AND space = %s AND trait IN %s AND %s AND %s"
        " GROUP BY trait, profile HAVING last != ''%s",
        space.workspace_id,
        space.pk,
        list(traits),
        among,
        seen_ticks(space),
        Sql("") if most is None else sql(" LIMIT %s", most),
    )
    values: dict[int, dict[int, str]] = {trait: {} for trait in traits}
    for trait, profile, value in client.rows(query):
        values[trait][profile] = value
    return values


def seen_ticks(space: Space) -> Sql:
    """The rows of `trait_log` that count: those of committed ticks."""
    return client.seen(visible_logs(stage="evaluate", partitions=[space.pk])[space.pk])
