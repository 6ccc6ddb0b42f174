"""Who has a trait of this value: of those that were sent, SQL traits among them, and of computed ones."""

import math

from clickhouse_connect.driver.exceptions import DatabaseError
from pyroaring import BitMap

from audiences import trait_values
from audiences.models import ComputedTrait
from audiences.rules.values import texts_in, trait_places
from identity import history
from identity.derived import SearchFailed, TraitQuery
from identity.queries import COLLECTIONS
from sources.events import client
from sources.events.sql import Sql, join, sql
from sources.events.timeline import Scope
from spaces import personal
from spaces.models import Space

# What `personal` masks wherever it stands, and a little more: RE2 cannot look behind a telephone number.
MASKED = r"@|%40|\+[0-9]"


def having(space: Space, collection: str, wanted: TraitQuery) -> BitMap:
    """An `identity.derived.TraitSearch`."""
    if personal.hides(wanted.name):  # letter by letter a search would tell what no page does
        return BitMap()
    people = BitMap()
    try:
        for statement in (
            _sent(history.scope_of(space), collection, wanted),
            *(_computed(space, trait, wanted) for trait in _computed_traits(space, collection, wanted.name)),
        ):
            people |= client.bitmaps(statement)[0]
    except DatabaseError as error:
        raise SearchFailed("This search took too long, or the event store is away. Try again.") from error
    return people


def _sent(scope: Scope, collection: str, wanted: TraitQuery) -> Sql:
    """Whose newest value it is, by event time over all profiles of the person, as `audiences.conditions.trait`."""
    winners = sql(
        "SELECT loser, argMax(winner, piece) AS winner FROM overlay WHERE %s GROUP BY loser", scope.rows("loser")
    )
    places = [(key, _answers(texts, wanted)) for key, texts in trait_places(wanted.name)]
    has_it = join(" OR ", [sql("(key = %s AND %s)", key, ask) for key, ask in places])
    # The narrow columns first: few rows have the value, and only of those people it is asked which one is the newest.
    rows = sql(
        "traits LEFT JOIN (%s) AS merged ON loser = profile WHERE %s AND key IN %s",
        winners,
        scope.condition,
        [key for key, _ in places],
    )
    person = "if(winner = 0, profile, winner)"
    newest = "argMax(%s, (ts, source, origin_piece, origin_position))"
    return sql(
        f"SELECT groupBitmapState(person) FROM (SELECT {person} AS person FROM %s AND {person} IN"
        f" (SELECT {person} FROM %s AND (%s)) GROUP BY person, key HAVING {newest})"
        " WHERE person IN (SELECT profile FROM profiles WHERE %s AND kind = %s)",
        *(rows, rows, has_it, has_it),
        scope.condition,
        int(COLLECTIONS[collection]),
    )


def _computed_traits(space: Space, collection: str, key: str) -> list[int]:
    """The one of this key, by primary key; none where what it is taken from is hidden."""
    traits = ComputedTrait.objects.filter(space=space, key=key, of=collection, deleted_at=None, serving__isnull=False)
    return [
        pk
        for pk, definition in traits.values_list("pk", "serving__definition")
        if not personal.hides(str(definition.get("property", "")))
    ]


def _computed(space: Space, trait: int, wanted: TraitQuery) -> Sql:
    return sql(
        "SELECT groupBitmapState(profile) FROM (SELECT profile, argMax(trait_log.value, piece) AS value FROM trait_log"
        " WHERE workspace = %s AND space = %s AND trait = %s AND %s GROUP BY profile) WHERE %s",
        space.workspace_id,
        space.pk,
        trait,
        trait_values.seen_ticks(space),
        _answers(Sql("[value]"), wanted),
    )


def _answers(values: Sql, wanted: TraitQuery) -> Sql:
    """Whether one of these JSON texts is it, or an element of a list among them. They are of the column `value`."""
    if not wanted.text:
        return sql("arrayExists(part -> part NOT IN ('', 'null'), %s)", values)
    elements = sql(
        "arrayFlatten(arrayMap(part -> if(startsWith(part, '['), JSONExtractArrayRaw(part), [part]), %s))", values
    )
    alike = "startsWith(lowerUTF8(t), lowerUTF8(%s))" if wanted.begins else "lowerUTF8(t) = lowerUTF8(%s)"
    asked = sql(alike, wanted.text)
    if personal.masked():
        asked += sql(" AND NOT match(t, %s)", MASKED)
    has_text = sql("arrayExists(t -> %s, %s)", asked, texts_in(elements))
    # A text without an escape is in the JSON as it is: nearly all values are told apart by that alone.
    near = sql("position(lowerUTF8(value), lowerUTF8(%s)) > 0 OR position(value, %s) > 0", wanted.text, "\\")
    try:
        number = float(wanted.text)
    except ValueError:
        number = math.nan
    if wanted.begins or not math.isfinite(number):
        return sql("((%s) AND %s)", near, has_text)
    # 42 is 42.0, and no text.
    is_number = "JSONType(part) IN ('Int64', 'UInt64', 'Double') AND toFloat64OrZero(part) = %s"
    has_number = sql(f"arrayExists(part -> {is_number}, %s)", number, elements)
    return sql("((%s OR NOT startsWith(value, '\"')) AND (%s OR %s))", near, has_text, has_number)
