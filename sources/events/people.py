"""The rows of event tables that are about somebody, to be counted and erased."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from sources.events import client
from sources.events.schema import (
    ARCHIVE,
    DELIVERY_LOG,
    LINKS,
    MEMBERSHIP_LOG,
    OVERLAY,
    PLACES,
    PROFILE_EVENTS,
    PROFILES,
    TIMELINE,
    TRAIT_LOG,
    TRAITS,
    Table,
)
from sources.events.sql import Sql, join, sql
from sources.rules.suppression import EXTERNAL, PATHS, paths_of

Place = tuple[int, int, int]  # of a row: (source, piece, position) of the archive, or (subscription, …) of a delivery
# What is left of a message that is erased. Its place stays, since batches that are under way go by places; and it stays
# out of every space that reads the archive again.
ERASED = '{"type":"track","integrations":{"All":false}}'
BY_PROFILE = (TIMELINE, TRAITS, MEMBERSHIP_LOG, TRAIT_LOG, PROFILES, PLACES, PROFILE_EVENTS)
BY_PLACE = (TIMELINE, TRAITS, PLACES, PROFILE_EVENTS)  # the last is what tells which rows these are: it goes last
AT_ONCE = 20_000  # values in one statement
MOST_NEEDLES = 200  # texts that one statement looks for; the engine takes 255
ANY_TIME = Sql("1")


def of_profiles(numbers: Collection[int]) -> dict[Table, Sql]:
    """By table, the condition for the rows of these profiles."""
    theirs = [*numbers] or [0]  # no profile has 0, and IN takes no empty list
    return {
        **{table: sql("profile IN %s", theirs) for table in BY_PROFILE},
        OVERLAY: sql("(loser IN %s OR winner IN %s)", theirs, theirs),
        LINKS: sql("(user IN %s OR account IN %s)", theirs, theirs),
    }


def at_places(places: Sequence[Place]) -> Sql:
    return sql("(source, origin_piece, origin_position) IN %s", list(places) or [(0, 0, 0)])


def carrying(workspace: int, space: int, identifiers: Iterable[tuple[str, str]]) -> list[tuple[Place, int]]:
    """(place, profile) of all events of the space that came with one of these identifiers, whosesoever they are."""
    found: dict[tuple[Place, int], None] = {}
    for part in _parts([f"{type}\n{value}" for type, value in identifiers]):
        rows = client.rows(
            sql(
                f"SELECT source, origin_piece, origin_position, profile FROM {PROFILE_EVENTS.name}"
                " WHERE workspace = %s AND space = %s"
                " AND arrayExists(one -> concat(one.1, '\\n', one.2) IN %s, identifiers)",
                workspace,
                space,
                part,
            )
        )
        found |= dict.fromkeys(((int(source), int(piece), int(at)), int(number)) for source, piece, at, number in rows)
    return list(found)


def archived(workspace: int, by_type: Mapping[str, Sequence[str]], until: Sql = ANY_TIME) -> list[Place]:
    """Of the messages in the workspace's archive that carry one of these identifiers. until: of those, which."""
    found: dict[Place, None] = {}
    for type, values in sorted(by_type.items()):
        for part in _parts(values):
            query = (
                f"SELECT source, piece, position FROM {ARCHIVE.name}"
                " WHERE workspace = %s AND message_id != '' AND %s AND %s"
            )
            rows = client.rows(sql(query, workspace, until, _carries(type, part)))
            found |= dict.fromkeys((int(source), int(piece), int(position)) for source, piece, position in rows)
    return list(found)


def naming(workspace: int, space: int, needles: Sequence[str]) -> list[Place]:
    """(subscription, batch, position) of the lines of the delivery log that quote one of these texts."""
    found: dict[Place, None] = {}
    for start in range(0, len(needles), MOST_NEEDLES):
        query = (
            f"SELECT subscription, piece, position FROM {DELIVERY_LOG.name} WHERE workspace = %s AND space = %s"
            " AND multiSearchAny(concat(request, response, reason), %s)"
        )
        rows = client.rows(sql(query, workspace, space, needles[start : start + MOST_NEEDLES]))
        found |= dict.fromkeys((int(owner), int(piece), int(position)) for owner, piece, position in rows)
    return list(found)


def _carries(type: str, values: Sequence[str]) -> Sql:
    tests = [sql("%s IN %s", _text(type, sql("message, %s", join(", ", [sql("%s", name) for name in path]))), values)
             for path in paths_of(type)]  # fmt: skip
    if type not in PATHS:
        is_it = sql("JSONExtractString(one, 'type') = %s AND %s IN %s", type, _text(type, Sql("one, 'id'")), values)
        entries = join(", ", [sql("%s", name) for name in EXTERNAL])
        tests.append(sql("arrayExists(one -> %s, JSONExtractArrayRaw(message, %s))", is_it, entries))
    return sql("(%s)", join(" OR ", tests))


def _text(type: str, at: Sql) -> Sql:
    """As `rules.suppression` reads a value: text, or the digits of a number."""
    text = sql("trimBoth(if(JSONType(%s) = 'String', JSONExtractString(%s), JSONExtractRaw(%s)))", at, at, at)
    return sql("lowerUTF8(%s)", text) if type == "email" else text


def _parts(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def count(table: Table, condition: Sql) -> int:
    return int(client.rows(sql(f"SELECT count() FROM {table.name} WHERE %s", condition))[0][0])


def erase(table: Table, condition: Sql) -> int:
    """How many rows went."""
    rows = count(table, condition)
    if rows:  # a DELETE reads every part of the table, also when no row matches
        client.run(sql(f"DELETE FROM {table.name} WHERE %s", condition))
    return rows


def blank_archived(workspace: int, places: Sequence[Place]) -> int:
    """Nothing is left of these messages but that there was one, and when."""
    return _blank(ARCHIVE, "source", workspace, places, {"message": ERASED, "message_id": "", "event": ""})


def blank_calls(workspace: int, places: Sequence[Place]) -> int:
    """Calls are about many people: of those about others it stays known that there was one, and what became of it."""
    return _blank(DELIVERY_LOG, "subscription", workspace, places, {"request": "", "response": "", "reason": ""})


def _blank(table: Table, owner: str, workspace: int, places: Sequence[Place], texts: Mapping[str, str]) -> int:
    """How many rows. By places alone: the engine keeps the text of such a statement in a file beside the table."""
    assignments = join(", ", [sql(f"{column} = %s", text) for column, text in texts.items()])
    for start in range(0, len(places), AT_ONCE):
        part = places[start : start + AT_ONCE]
        # 2 = until every replica has done it: what is said to be gone must be gone everywhere.
        statement = (
            f"ALTER TABLE {table.name} UPDATE %s WHERE workspace = %s AND ({owner}, piece, position) IN %s"
            " SETTINGS mutations_sync = 2"
        )
        client.run(sql(statement, assignments, workspace, part))
    return len(places)
