"""The reads of the Profile API: what is asked about one person, or about a hundred, in as few statements as can be.

Values go from the stores into the answer as the JSON text that they are: nothing decodes a trait or a property. Old ids
of merged profiles lead to whom they were merged into.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import msgspec
from django.db import connection

from access.authentication import SpaceReader
from identity import derived
from identity.derived import DerivedReads, DerivedTrait
from identity.queries import COLLECTIONS, source_ids
from identity.rules.extract import ACCOUNT_TYPE
from identity.rules.profile_requests import (
    VALIDATION,
    EventPlace,
    Number,
    ReadRefused,
    choice_of,
    cursor,
    cursor_of,
    flag_of,
    invalid_parameter,
    limit_of,
    moment_of,
    not_found,
    person_name,
    words_of,
)
from sources.events import timeline
from sources.events.timeline import ProfileEvent, Scope, Which
from spaces.batches import visible_logs
from spaces.times import iso_of, milliseconds

TRAITS, MOST_TRAITS = 10, 200  # on a page: unless something else is asked for, and at most
ROWS, MOST_ROWS = 20, 100
MOST_LINKS = 20
MOST_PEOPLE = 100  # of one batch
MOST_KEYS = 100  # of one look-up of memberships
EVENT_DAYS = 30  # of events, unless `start` says from when on
EVENT_TYPES = ("track", "page", "screen")  # what somebody did; the other calls only say who they are

Json = Mapping[str, Any]

# The profile that is left of a name, in the collection. The space is a subquery because the planner takes one that is
# newer than its statistics for empty, and would go through all of it (identity.graph_store).
PERSON = """
    SELECT number, public_id, first_seen_at, traits, traits_seen FROM identity_profile
    WHERE space_id = (SELECT %(space)s) AND kind = %(kind)s AND number = coalesce(
        (SELECT coalesce(merged_into, number) FROM identity_profile
         WHERE public_id = {id} AND space_id = %(space)s),
        (SELECT profile FROM identity_identifier
         WHERE space_id = (SELECT %(space)s) AND type = {type} AND value = {value}))
    LIMIT 1"""
ONE = f"WITH person AS ({PERSON.format(id='%(id)s', type='%(type)s', value='%(value)s')})"
MANY = f"""
    WITH person AS (
        SELECT q.place, p.* FROM unnest(%(ids)s::text[], %(types)s::text[], %(values)s::text[])
                                 WITH ORDINALITY AS q(id, type, value, place)
        CROSS JOIN LATERAL ({PERSON.format(id="q.id", type="q.type", value="q.value")}) AS p)"""
OLD_NUMBERS = """ARRAY(SELECT number FROM identity_profile
                        WHERE space_id = %(space)s AND merged_into = person.number)"""
IDENTIFIER = """i.number, i.type, i.value, s.public_id, (extract(epoch FROM i.first_seen_at) * 1000)::bigint,
                i.message_id"""
# Who belongs to the person, as (place, number): by the place a page goes on. Accounts of a user are few, and never
# merged (they have one identifier). Users of an account may be a million: in the order of the index, only as many are
# read as a page has; of those who are one person now, the first link is theirs.
LINKED = {
    "users": """
        SELECT DISTINCT account AS place, account AS number FROM identity_link
        WHERE space_id = %(space)s AND account > %(after)s AND "user" = ANY(ARRAY(
            SELECT number FROM person UNION ALL
            SELECT loser.number FROM person CROSS JOIN LATERAL (
                SELECT number FROM identity_profile
                WHERE space_id = %(space)s AND merged_into = person.number OFFSET 0) AS loser))
        ORDER BY place LIMIT %(limit)s + 1""",
    "accounts": """
        SELECT link.place, holder.number FROM (
            SELECT "user" AS place FROM identity_link
            WHERE space_id = %(space)s AND account = (SELECT number FROM person) AND "user" > %(after)s
            ORDER BY place) AS link
        CROSS JOIN LATERAL (
            SELECT coalesce(merged_into, number) AS number FROM identity_profile
            WHERE space_id = (SELECT %(space)s) AND number = link.place LIMIT 1) AS holder
        WHERE NOT EXISTS (
            SELECT 1 FROM (
                SELECT number FROM identity_profile WHERE space_id = %(space)s AND merged_into = holder.number
                UNION ALL SELECT holder.number) AS same
            JOIN identity_link earlier ON earlier.space_id = %(space)s AND earlier."user" = same.number
                AND earlier.account = (SELECT number FROM person)
            WHERE same.number < link.place)
        ORDER BY link.place LIMIT %(limit)s + 1""",
}
SOURCE = "LEFT JOIN sources_source s ON s.id = i.source_id AND s.deleted_at IS NULL"


@dataclass(frozen=True)
class ProfileQuery:
    """Who asks, about which collection, with which parameters of the address."""

    reader: SpaceReader
    collection: str
    query: Mapping[str, str]
    derived: DerivedReads

    def url(self, *place: str) -> str:
        path = ("v1", "spaces", self.reader.space, "collections", self.collection, "profiles", *place)
        return "/" + "/".join(quote(part, safe="") for part in path)


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """ids: as in addresses, and not escaped. class, include and verbose are those of a single read."""

    ids: list[str]
    include: list[str] = []
    kinds: str = msgspec.field(name="class", default="")
    verbose: bool = False


def traits(asked: ProfileQuery, name: str) -> Json:
    """Traits by key, in the order of their keys: what was sent, SQL traits, computed traits, audiences with true."""
    limit = limit_of(asked.query, default=TRAITS, most=MOST_TRAITS)
    after = cursor_of(asked.query, str)
    kinds, include = _kinds(asked.query.get("class", "")), words_of(asked.query, "include")
    is_verbose = flag_of(asked.query, "verbose")
    person = _person(asked, name, _trait_columns(kinds, is_verbose))
    (values,) = _traits_of(asked, [person], kinds, include, is_verbose)
    keys = sorted(key for key in values if after is None or key > after)
    # By key, not by place: a trait that comes or goes between two pages moves no other.
    last = keys[limit - 1] if len(keys) > limit else None
    return {
        "traits": {key: values[key] for key in keys[:limit]},
        "cursor": cursor(url=asked.url(person[0], "traits"), last=last, limit=limit),
    }


def traits_of_many(asked: ProfileQuery, body: bytes) -> Json:
    """All traits of up to MOST_PEOPLE people, in the order of their names. Who is not there stops no other."""
    try:
        wanted = msgspec.json.decode(body, type=BatchBody)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ReadRefused(400, VALIDATION, f"The body is not as it should be: {error}.") from None
    if not 1 <= len(wanted.ids) <= MOST_PEOPLE:
        raise ReadRefused(400, VALIDATION, f"`ids` must have from 1 to {MOST_PEOPLE} of them.")
    kinds = _kinds(wanted.kinds)
    ids, types, values = map(list, zip(*map(person_name, wanted.ids), strict=True))
    columns = _trait_columns(kinds, wanted.verbose)
    statement = f"{MANY} SELECT place, public_id, number, {columns} FROM person"
    people = _execute(statement, asked, ids=ids, types=types, values=values)
    traits = _traits_of(asked, [person[1:] for person in people], kinds, wanted.include, wanted.verbose)
    # In place of an error for the whole batch: one stale id in a hundred is the usual case.
    nobody = not_found()
    rows: list[Json] = [{"id": text, "error": {"code": nobody.code, "message": nobody.message}} for text in wanted.ids]
    for (place, public_id, *_), own in zip(people, traits, strict=True):
        rows[place - 1] = {"id": wanted.ids[place - 1], "profile_id": public_id, "traits": own}
    return {"data": rows}


def external_ids(asked: ProfileQuery, name: str) -> Json:
    """What identifies them, each with the event that brought it, in the order in which they came."""
    limit = limit_of(asked.query, default=ROWS, most=MOST_ROWS)
    flag_of(asked.query, "verbose")  # every field is answered in any case
    rows = _rows(
        f"""{ONE} SELECT person.public_id, i.* FROM person LEFT JOIN LATERAL (
                SELECT {IDENTIFIER} FROM identity_identifier i {SOURCE}
                WHERE i.space_id = %(space)s AND i.profile = person.number AND i.number > %(after)s
                  AND (%(include)s::text[] = '{{}}' OR i.type = ANY(%(include)s::text[]))
                ORDER BY i.number LIMIT %(limit)s + 1) AS i ON true
            ORDER BY i.number""",
        asked,
        name,
        after=cursor_of(asked.query, Number) or 0,
        include=words_of(asked.query, "include"),
        limit=limit,
    )
    if not rows:
        raise not_found()
    identifiers = [row[1:] for row in rows if row[1] is not None]
    last = identifiers[limit - 1][0] if len(identifiers) > limit else None
    return {
        "data": [_identifier(asked.collection, row) | {"first_message_id": row[-1]} for row in identifiers[:limit]],
        "cursor": cursor(url=asked.url(rows[0][0], "external_ids"), last=last, limit=limit),
    }


def events(asked: ProfileQuery, name: str) -> Json:
    """What they did, newest first, or oldest first with `sort=asc`. Of the last EVENT_DAYS unless `start` is given."""
    limit = limit_of(asked.query, default=ROWS, most=MOST_ROWS)
    after = cursor_of(asked.query, EventPlace)
    sort = choice_of(asked.query, "sort", "desc", "asc")
    start, end = moment_of(asked.query, "start"), moment_of(asked.query, "end")
    # The clock is PostgreSQL's (spaces.clock), asked on the way.
    public_id, number, older, now = _person(asked, name, f"{OLD_NUMBERS}, clock_timestamp()")
    which = Which(
        types=EVENT_TYPES,
        include=words_of(asked.query, "include"),
        exclude=words_of(asked.query, "exclude"),
        start=start or now - timedelta(days=EVENT_DAYS),
        end=end,
    )
    read = timeline.events_of if sort == "desc" else timeline.oldest_events_of
    rows = read(_scope(asked.reader), [number, *older], which=which, beyond=after, limit=limit + 1)
    sources = source_ids(row.source for row in rows)
    last = rows[limit - 1].key if len(rows) > limit else None
    return {
        "data": [_event(asked, row, sources, public_id) for row in rows[:limit]],
        "cursor": cursor(url=asked.url(public_id, "events"), last=last, limit=limit),
    }


def metadata(asked: ProfileQuery, name: str) -> Json:
    """When their first and their last event was, and which these were. What is kept never expires by itself."""
    flag_of(asked.query, "verbose")  # every field is answered in any case
    _, number, older, *beginning = _person(
        asked,
        name,
        f"""{OLD_NUMBERS}, (extract(epoch FROM person.first_seen_at) * 1000)::bigint,
            (SELECT i.source_id FROM identity_identifier i WHERE i.space_id = %(space)s AND i.profile = person.number
             ORDER BY i.number LIMIT 1),
            (SELECT i.message_id FROM identity_identifier i WHERE i.space_id = %(space)s AND i.profile = person.number
             ORDER BY i.number LIMIT 1)""",
    )
    # Events may be erased before the person is: then what is known of the first one is that it brought an identifier.
    ends = timeline.ends_of(_scope(asked.reader), [number, *older])
    first, last = (min(beginning, ends[0], key=itemgetter(0)), ends[1]) if ends else (beginning, beginning)
    sources = source_ids((first[1], last[1]))
    return {
        "metadata": {
            "created_at": iso_of(first[0]),
            "updated_at": iso_of(last[0]),
            "expires_at": None,
            "first_message_id": first[2],
            "first_source_id": sources.get(first[1]),
            "last_message_id": last[2],
            "last_source_id": sources.get(last[1]),
        }
    }


def links(asked: ProfileQuery, name: str) -> Json:
    """The accounts of a user, or the users of an account, as they are now, each with what identifies it."""
    limit = limit_of(asked.query, default=MOST_LINKS, most=MOST_LINKS)
    to_collection = "accounts" if asked.collection == "users" else "users"
    rows = _rows(
        f"""{ONE}, far AS MATERIALIZED ({LINKED[asked.collection]})
            SELECT person.public_id, far.place, i.* FROM person
            LEFT JOIN far ON true
            LEFT JOIN LATERAL (
                SELECT {IDENTIFIER} FROM identity_identifier i {SOURCE}
                WHERE i.space_id = %(space)s AND i.profile = far.number
                ORDER BY i.number LIMIT {MOST_ROWS}) AS i ON true
            ORDER BY far.place, i.number""",
        asked,
        name,
        after=cursor_of(asked.query, Number) or 0,
        limit=limit,
    )
    if not rows:
        raise not_found()
    linked = {number: list(own) for number, own in groupby(rows, itemgetter(1)) if number is not None}
    last = [*linked][limit - 1] if len(linked) > limit else None
    return {
        "data": [
            {
                "to_collection": to_collection,
                "external_ids": [_identifier(to_collection, row[2:]) for row in own if row[2] is not None],
            }
            for own in [*linked.values()][:limit]
        ],
        "cursor": cursor(url=asked.url(rows[0][0], "links"), last=last, limit=limit),
    }


def audiences(asked: ProfileQuery, name: str) -> Json:
    """Whether they are in these audiences, by key; null where there is no such audience, or none that is computed."""
    keys = list(dict.fromkeys(words_of(asked.query, "include")))
    if not 1 <= len(keys) <= MOST_KEYS:
        raise invalid_parameter("include", f"from 1 to {MOST_KEYS} keys of audiences, with commas between them")
    _, number, _ = _person(asked, name, "NULL")
    memberships = asked.derived.memberships(asked.reader, asked.collection, number, keys)
    return {"audiences": {key: memberships.get(key) for key in keys}}


def profiles(asked: ProfileQuery) -> Json:
    """Everybody in the collection, the oldest first. What was merged into another profile is not among them."""
    limit = limit_of(asked.query, default=ROWS, most=MOST_ROWS)
    rows = _execute(
        """SELECT number, public_id, (extract(epoch FROM first_seen_at) * 1000)::bigint FROM identity_profile
           WHERE space_id = %(space)s AND kind = %(kind)s AND merged_into IS NULL AND number > %(after)s
           ORDER BY number LIMIT %(limit)s + 1""",
        asked,
        after=cursor_of(asked.query, Number) or 0,
        limit=limit,
    )
    last = rows[limit - 1][0] if len(rows) > limit else None
    return {
        "data": [
            {"id": public_id, "collection": asked.collection, "created_at": iso_of(at)}
            for _, public_id, at in rows[:limit]
        ],
        "cursor": cursor(url=asked.url(), last=last, limit=limit),
    }


READS = {read.__name__: read for read in (traits, external_ids, events, metadata, links, audiences)}


def _rows(statement: str, asked: ProfileQuery, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Of a statement that begins with ONE."""
    id, type, value = person_name(name)
    return _execute(statement, asked, id=id, type=type, value=value, **parameters)


def _execute(statement: str, asked: ProfileQuery, **parameters: Any) -> list[tuple[Any, ...]]:
    where = {"space": asked.reader.space_id, "kind": COLLECTIONS[asked.collection]}
    with connection.cursor() as rows:
        rows.execute(statement, {**where, **parameters})
        return rows.fetchall()


def _person(asked: ProfileQuery, name: str, columns: str) -> tuple[Any, ...]:
    """(public id, number, and these columns). Raises ReadRefused."""
    people = _rows(f"{ONE} SELECT public_id, number, {columns} FROM person", asked, name)
    if not people:
        raise not_found()
    return people[0]


def _kinds(text: str) -> set[str]:
    kinds = {word for word in text.split(",") if word} or {*derived.KINDS}
    if not kinds <= {*derived.KINDS}:
        raise invalid_parameter("class", f"{', '.join(derived.KINDS)}, or several of them with commas between them")
    return kinds


def _trait_columns(kinds: Collection[str], is_verbose: bool) -> str:
    """What `_traits_of` needs to know of a person besides."""
    sent = {derived.CUSTOM, derived.SQL} & {*kinds}
    stamps = "traits_seen::text" if sent and (is_verbose or len(sent) == 1) else "NULL"
    return f"{'traits::text' if sent else 'NULL'}, {stamps}"


def _traits_of(
    asked: ProfileQuery,
    people: Sequence[tuple[str, int, str | None, str | None]],
    kinds: Collection[str],
    include: Collection[str],
    is_verbose: bool,
) -> list[dict[str, Any]]:
    """By key the value of each, or an object with where it is from. Where something has the key of what was sent of
    the person, it is what was sent. people: (public id, number, traits, stamps), the last two as JSON."""
    worked_out = {derived.COMPUTED, derived.AUDIENCE} & {*kinds}
    numbers = [number for _, number, *_ in people]
    more: Mapping[int, Sequence[DerivedTrait]] = {}
    if worked_out and numbers:
        more = asked.derived.traits(asked.reader, numbers, worked_out, include, dated=is_verbose)
    sql_sources: Collection[int] | None = None
    if len({derived.CUSTOM, derived.SQL} & {*kinds}) == 1:
        sql_sources = asked.derived.sql_sources(asked.reader)
    stamps = [msgspec.json.decode(seen, type=dict[str, list[int]]) if seen else {} for *_, seen in people]
    sources = source_ids(stamp[1] for own in stamps for stamp in own.values()) if is_verbose else {}
    answers = []
    for (_, number, sent, _), own in zip(people, stamps, strict=True):
        values: dict[str, Any] = {}
        for trait in more.get(number, ()):
            value: Any = msgspec.Raw(trait.value)
            at = iso_of(milliseconds(trait.at)) if trait.at else None
            values[trait.key] = {"value": value, "source_id": None, "updated_at": at} if is_verbose else value
        for key, value in (msgspec.json.decode(sent, type=dict[str, msgspec.Raw]) if sent else {}).items():
            if include and key not in include:
                continue
            at_ms, source, *_ = own.get(key) or (None, 0)
            if sql_sources is not None and (source in sql_sources) != (derived.SQL in kinds):
                continue
            at = iso_of(at_ms) if at_ms is not None else None
            values[key] = {"value": value, "source_id": sources.get(source), "updated_at": at} if is_verbose else value
        answers.append(values)
    return answers


class SentParts(msgspec.Struct):
    """What is passed on of a message as it was archived, undecoded."""

    context: msgspec.Raw = msgspec.Raw(b"{}")
    properties: msgspec.Raw = msgspec.Raw(b"{}")


def _event(asked: ProfileQuery, row: ProfileEvent, sources: Mapping[int, str], public_id: str) -> Json:
    message = msgspec.json.decode(row.message, type=SentParts)
    return {
        "external_ids": [
            {"collection": _collection_of(asked.collection, type), "type": type, "id": value, "encoding": "none"}
            for type, value in row.identifiers
        ],
        "context": message.context,
        "type": row.type,
        "message_id": row.message_id,
        "source_id": sources.get(row.source),
        "timestamp": iso_of(row.ts),
        "properties": message.properties,
        "event": row.event,
        "related": {asked.collection: public_id},
    }


def _identifier(collection: str, row: Sequence[Any]) -> dict[str, Any]:
    """row: as IDENTIFIER has it."""
    _, type, value, source, at, _ = row
    return {
        "source_id": source,
        "collection": _collection_of(collection, type),
        "id": value,
        "type": type,
        "created_at": iso_of(at),
        "encoding": "none",
    }


def _collection_of(collection: str, type: str) -> str:
    # A group id names the account, also on the event of a person who is in it.
    return "accounts" if type == ACCOUNT_TYPE else collection


def _scope(reader: SpaceReader) -> Scope:
    log = visible_logs(stage="resolve", partitions=[reader.space_id])[reader.space_id]
    return Scope(reader.workspace_id, reader.space_id, log)
