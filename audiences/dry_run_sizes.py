"""How large audiences would be if the identity rules of a space were others. Nothing of the space changes.

Whoever would be others is resolved in memory, and written to the event tables under the number of no space; there the
statement that decides membership is asked about them, to the letter. Everybody else stays a member or none. So sizes
are exact, as of the newest tick, for all that asks about a person's own events and traits.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from pyroaring import BitMap

from audiences import queries
from audiences.future_members import askable, members_among, tables_of
from audiences.models import Audience
from audiences.rules.compiler import QueryScope
from audiences.rules.grammar import Node
from identity import dry_runs, graph_store, rule_changes, splits
from identity.models import DryRun
from identity.rules.policy import policy_of
from identity.splits import Cause, ResolvedBy, TooMuch
from sources.events import client, timeline
from spaces.batches import Visible
from spaces.models import Space
from spaces.times import milliseconds

MOST_PARTS = 4  # each is up to 50,000 events that are written and deleted again
TOO_MANY = "Too many people would be others: known once the rules are applied."
TOO_LINKED = "These people cannot be resolved in parts."


def sizes(dry_run: DryRun, parts: Sequence[BitMap] | None, now: datetime) -> list[dict[str, Any]]:
    """Of each audience that is computed its size, and what it would be.

    parts: who would be others (`identity.rule_changes.in_parts`); None = they cannot be resolved in parts.
    """
    space = dry_run.space
    computed = Audience.objects.filter(space=space, serving__isnull=False).order_by("pk")
    audiences = list(computed.select_related("serving", "space"))
    # Members of one tick: sizes of different moments could not be compared.
    before = queries.members_of([audience.pk for audience in audiences])
    after = {pk: BitMap(members) for pk, members in before.items()}
    nodes, why = askable(audiences)
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
    by = ResolvedBy(space, Cause(dry_run=dry_run.pk), policy_of(dry_run.policy), graph_store.active_splits(space))
    again = splits.resolve_again(rule_changes.closed(by, part), splits.NOBODYS, 0)
    nowhere = dry_runs.nowhere(dry_run.pk)
    seen = client.seen(Visible(nowhere, dry_runs.PIECE))
    scope = QueryScope(space.workspace_id, nowhere, seen, milliseconds(now), drawn_in=space.pk)
    with _written(space, nowhere, again):
        # Members among these people alone: everybody else stays as they are.
        for pk, members in members_among(scope, audiences, nodes, why).items():
            after[pk] = (after[pk] - again.component.numbers) | members


@contextmanager
def _written(space: Space, nowhere: int, again: splits.Resolved) -> Iterator[None]:
    """Inside, these people are in the event tables under the number of no space."""
    # Before as well: another process may have died in between.
    timeline.erase(nowhere, [dry_runs.PIECE])
    try:
        for table, columns in tables_of(again).items():
            timeline.insert(table, columns, workspace_id=space.workspace_id, space_id=nowhere, piece=dry_runs.PIECE)
        yield
    finally:
        timeline.erase(nowhere, [dry_runs.PIECE])
