"""Who would be in which audience, of people who would be others: after a split, or by other rules. Nothing is stored.

The statement that decides membership is asked about them, to the letter. Everybody else stays a member or none. So the
answer is exact for all that asks about a person's own events and traits; for the rest it is said why there is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy
import pyarrow
from pyroaring import BitMap

from audiences import queries
from audiences.models import Audience
from audiences.queries import Unanswerable
from audiences.rules.compiler import KINDS, Asked, QueryScope
from audiences.rules.given_rows import NOWHERE, GivenEvent, GivenTrait, given_tables
from audiences.rules.grammar import USERS, Node
from audiences.rules.grammar import audiences as keys_of
from audiences.rules.grammar import memberships as memberships_of
from audiences.rules.validation import DefinitionError
from identity.rules import event_rows
from identity.splits import Resolved
from sources.events.schema import OVERLAY, PROFILES, TIMELINE, TRAITS, Table
from sources.events.sql import Sql
from spaces.times import milliseconds

ABOUT_ACCOUNTS = "It asks about accounts, or about people of accounts: known once it is done."
ABOUT_THE_PAST = "It asks who was in an audience before: known once it is done."
ABOUT_ANOTHER = "It asks about an audience that is not worked out."
MOST_GIVEN = 2_000  # events that go with a statement as text: about 500 bytes each, and it is parsed for each statement


@dataclass
class FutureMembers:
    """before: of each audience whom it has now, of the people concerned; after: whom it would have, by the numbers that
    they would have. why: of those that are not worked out. All by the primary keys of audiences."""

    audiences: Sequence[Audience] = ()
    before: Mapping[int, BitMap] = field(default_factory=dict)
    after: Mapping[int, BitMap] = field(default_factory=dict)
    why: dict[int, str] = field(default_factory=dict)


def members_if(again: Resolved, now: datetime) -> FutureMembers | None:
    """Who would be a member had these people been resolved so; None = they have too many events to be asked about
    while somebody waits."""
    if len(again.events) > MOST_GIVEN:
        return None
    space = again.component.by.space
    audiences = list(Audience.objects.filter(space=space, serving__isnull=False).select_related("serving", "space"))
    # Members of one tick: of different moments they could not be compared.
    before = queries.members_of([audience.pk for audience in audiences])
    nodes, why = askable(audiences)
    # Under the number of the space, by which lots of random splits are drawn.
    people = BitMap(again.graph.alive())
    scope = QueryScope(NOWHERE, space.pk, Sql("1"), milliseconds(now), numbers=people, tables=_given(again))
    after = members_among(scope, [audience for audience in audiences if audience.pk not in why], nodes, why)
    own = again.component.numbers
    return FutureMembers(audiences, {pk: members & own for pk, members in before.items()}, after, why)


def askable(audiences: Sequence[Audience]) -> tuple[dict[int, Node], dict[int, str]]:
    """The definitions, and of those that cannot be asked about some people alone why not; by primary key."""
    nodes: dict[int, Node] = {}
    why: dict[int, str] = {}
    for audience in audiences:
        try:
            assert audience.serving
            nodes[audience.pk] = node = audience.serving.node
        except DefinitionError as error:
            why[audience.pk] = str(error)
            continue
        if audience.of != USERS or Asked(audience.key, node).reach:
            why[audience.pk] = ABOUT_ACCOUNTS
        elif memberships_of(node):
            why[audience.pk] = ABOUT_THE_PAST
    by_key = {audience.key: audience.pk for audience in audiences}
    # Whoever asks about one that cannot be asked cannot be asked either, and so on.
    while later := [
        pk
        for pk, node in nodes.items()
        if pk not in why and any(by_key.get(key) in {*why, None} for key in keys_of(node))
    ]:
        why |= dict.fromkeys(later, ABOUT_ANOTHER)
    return nodes, why


def members_among(
    scope: QueryScope, audiences: Sequence[Audience], nodes: Mapping[int, Node], why: dict[int, str]
) -> dict[int, BitMap]:
    """Of each audience its members among those whose rows are in scope. One that has no answer is in `why` then."""
    if together := _all_together(scope, [audience for audience in audiences if audience.pk not in why], nodes):
        return together
    members: dict[int, BitMap] = {}
    known: dict[str, BitMap] = {}
    unknown = {audience.key for audience in audiences if audience.pk in why}  # since an earlier part
    waiting = [audience for audience in audiences if audience.pk not in why]
    while waiting:
        # Those first that others ask about; there is no circle among audiences.
        audience = next(one for one in waiting if keys_of(nodes[one.pk]) <= known.keys() | unknown)
        waiting.remove(audience)
        if keys_of(nodes[audience.pk]) & unknown:
            why[audience.pk] = ABOUT_ANOTHER
            unknown.add(audience.key)
            continue
        asked = Asked(audience.key, nodes[audience.pk], audience.include_anonymous)
        try:
            (members[audience.pk],) = queries.answer(scope, [asked], known)
        except (Unanswerable, DefinitionError) as error:
            why[audience.pk] = str(error)
            unknown.add(audience.key)
            continue
        known[audience.key] = members[audience.pk]
    return members


def _all_together(
    scope: QueryScope, audiences: Sequence[Audience], nodes: Mapping[int, Node]
) -> dict[int, BitMap] | None:
    """The same in as few statements as can be; None when any of them has no answer."""
    ordered: list[Audience] = []
    while len(ordered) < len(audiences):
        known = {audience.key for audience in ordered}
        ready = [one for one in audiences if one.key not in known and keys_of(nodes[one.pk]) <= known]
        if not ready:  # it asks about one of which an earlier part had no answer
            return None
        ordered += ready
    asked = [Asked(audience.key, nodes[audience.pk], audience.include_anonymous) for audience in ordered]
    try:
        return dict(zip((audience.pk for audience in ordered), queries.answer(scope, asked, {}), strict=True))
    except (Unanswerable, DefinitionError):
        return None


def tables_of(again: Resolved) -> dict[Table, pyarrow.Table]:
    """These people as they would be in the event tables."""
    profiles = numpy.array(again.resolution.profiles[again.skipped :], "<u4")
    rows = event_rows.resolved_rows(
        again.component.rows,
        again.events,
        numpy.ones(len(again.events), bool),
        range(len(again.events)),
        profiles.tobytes(),
        b"",
    )
    alive = again.graph.alive()
    people = [(number, KINDS[USERS], int(number in alive and alive[number].is_known)) for number in again.graph.created]
    kept = event_rows.kept_traits(again.component.traits, again.homes)
    return {
        TIMELINE: event_rows.timeline(rows),
        TRAITS: pyarrow.concat_tables([kept, event_rows.traits(rows)]),
        PROFILES: event_rows.people(event_rows.pack(people)),
        OVERLAY: event_rows.profile_aliases(event_rows.pack(again.graph.winners().items())),
    }


def _given(again: Resolved) -> Sql:
    """The same before a statement."""
    tables, winners = tables_of(again), again.graph.winners()

    def columns(table: Table, *names: str) -> list[tuple[object, ...]]:
        rows = tables[table]
        profiles = [winners.get(number, number) for number in rows["profile"].to_pylist()]
        texts = (rows[name] for name in names)
        places = (rows[name] for name in ("source", "origin_piece", "origin_position"))
        at = rows["ts"].cast(event_rows.TIMES).cast(pyarrow.int64())
        own = (_text(column).to_pylist() for column in (*texts, at, *places))
        return list(zip(profiles, *own, strict=True))

    alive = again.graph.alive()
    return given_tables(
        again.component.by.space.pk,
        profiles=[(number, KINDS[USERS], int(node.is_known)) for number, node in alive.items()],
        events=[GivenEvent(*row) for row in columns(TIMELINE, "event", "type", "properties_text", "lists")],  # type: ignore[arg-type]
        traits=[GivenTrait(*row) for row in columns(TRAITS, "key", "value")],  # type: ignore[arg-type]
    )


def _text(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """JSON as text: `event_rows` has it as bytes."""
    return column.cast(pyarrow.string()) if pyarrow.types.is_binary(column.type) else column
