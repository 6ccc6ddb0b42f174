"""How large audiences would be if the identity rules of a space were others. Nothing of the space changes.

Whoever would be others is resolved in memory, and written to the event tables under the number of no space; there the
statement that decides membership is asked about them, to the letter. Everybody else stays a member or none. So sizes
are exact, as of the newest tick, for all that asks about a person's own events and traits.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import numpy
import pyarrow
from pyroaring import BitMap

from audiences import queries
from audiences.models import Audience
from audiences.queries import Unanswerable
from audiences.rules.compiler import Asked, QueryScope
from audiences.rules.grammar import USERS, Node
from audiences.rules.grammar import audiences as keys_of
from audiences.rules.grammar import memberships as memberships_of
from audiences.rules.validation import DefinitionError
from identity import dry_runs, rule_changes, splits
from identity.models import DryRun
from identity.rules import event_rows
from identity.rules.policy import policy_of
from identity.splits import Cause, ResolvedBy, TooMuch
from sources.events import client, timeline
from sources.events.schema import OVERLAY, PROFILES, TIMELINE, TRAITS
from spaces.batches import Visible
from spaces.models import Space
from spaces.times import milliseconds

MOST_PARTS = 4  # each is up to 50,000 events that are written and deleted again
USER = 1
ABOUT_ACCOUNTS = "It asks about accounts, or about people of accounts: known once the rules are applied."
ABOUT_THE_PAST = "It asks who was in an audience before: known once the rules are applied."
ABOUT_ANOTHER = "It asks about an audience whose size is not worked out."
TOO_MANY = "Too many people would be others: known once the rules are applied."
TOO_LINKED = "These people cannot be resolved in parts."


def sizes(dry_run: DryRun, parts: Sequence[BitMap] | None, now: datetime) -> list[dict[str, Any]]:
    """Of each audience that is computed its size, and what it would be.

    parts: who would be others (`identity.rule_changes.in_parts`); None = they cannot be resolved in parts.
    """
    space = dry_run.space
    audiences = list(Audience.objects.filter(space=space, serving__isnull=False).select_related("serving", "space"))
    # Members of one tick: sizes of different moments could not be compared.
    before = queries.members_of([audience.pk for audience in audiences])
    after = {pk: BitMap(members) for pk, members in before.items()}
    nodes, why = _askable(audiences)
    if parts is None or len(parts) > MOST_PARTS:
        why = {audience.pk: TOO_LINKED if parts is None else TOO_MANY for audience in audiences}
    elif parts:
        asked = [audience for audience in audiences if audience.pk not in why]
        try:
            for part in parts:
                _count(dry_run, part, asked, nodes, after, why, now)
        except TooMuch:
            why = {audience.pk: TOO_LINKED for audience in audiences}
    else:
        why = {}  # nobody would be another
    return [
        {
            "id": audience.public_id,
            "name": audience.name,
            "before": len(before[audience.pk]),
            "after": None if audience.pk in why else len(after[audience.pk]),
            "why": why.get(audience.pk),
        }
        for audience in audiences
    ]


def _askable(audiences: Sequence[Audience]) -> tuple[dict[int, Node], dict[int, str]]:
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


def _count(
    dry_run: DryRun,
    part: BitMap,
    audiences: Sequence[Audience],
    nodes: Mapping[int, Node],
    after: dict[int, BitMap],
    why: dict[int, str],
    now: datetime,
) -> None:
    """`after` has these people as they would be. Raises TooMuch."""
    space = dry_run.space
    by = ResolvedBy(space, Cause(dry_run=dry_run.pk), policy_of(dry_run.policy), splits.active(space))
    again = splits.resolve_again(rule_changes.closed(by, part), splits.NOBODYS, 0)
    nowhere = dry_runs.nowhere(dry_run.pk)
    scope = QueryScope(space.workspace_id, nowhere, client.seen(Visible(nowhere, dry_runs.PIECE)), milliseconds(now))
    with _written(space, nowhere, again):
        # Members among these people alone: everybody else stays as they are.
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
                (members,) = queries.answer(scope, [asked], known)
            except (Unanswerable, DefinitionError) as error:
                why[audience.pk] = str(error)
                unknown.add(audience.key)
                continue
            known[audience.key] = members
            after[audience.pk] = (after[audience.pk] - again.component.numbers) | members


@contextmanager
def _written(space: Space, nowhere: int, again: splits.Resolved) -> Iterator[None]:
    """Inside, these people are in the event tables under the number of no space."""
    profiles = numpy.array(again.resolution.profiles[again.skipped :], "<u4")
    rows = event_rows.resolved_rows(
        again.component.rows,
        again.events,
        numpy.ones(len(again.events), bool),
        range(len(again.events)),
        profiles.tobytes(),
        b"",
    )
    alive, winners = again.graph.alive(), again.graph.winners()
    people = [(number, USER, int(number in alive and alive[number].is_known)) for number in again.graph.created]
    kept = event_rows.kept_traits(again.component.traits, again.homes)
    tables = {
        TIMELINE: event_rows.timeline(rows),
        TRAITS: pyarrow.concat_tables([kept, event_rows.traits(rows)]),
        PROFILES: event_rows.people(event_rows.pack(people)),
        OVERLAY: event_rows.profile_aliases(event_rows.pack(winners.items())),
    }
    # Before as well: another process may have died in between.
    timeline.erase(nowhere, [dry_runs.PIECE])
    try:
        for table, columns in tables.items():
            timeline.insert(table, columns, workspace_id=space.workspace_id, space_id=nowhere, piece=dry_runs.PIECE)
        yield
    finally:
        timeline.erase(nowhere, [dry_runs.PIECE])
