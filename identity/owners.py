"""Whose an identifier was, and when: from the event that brought it, and the merges since. Reads only.

By the rules and splits of today: what was resolved once more is as if it had always been so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from identity import history, queries
from identity.models import Identifier, Merge
from identity.queries import all_numbers, own_ids, source_ids
from sources.events import timeline
from spaces.models import Space


@dataclass(frozen=True)
class Ownership:
    """profile_id: its own id, also of one that was merged since; None = the event that brought it is not kept any
    more. until: None = to this day. merged: it came by a merge, because of this event; else by the event itself."""

    profile_id: str | None
    since: datetime
    until: datetime | None
    source_id: str | None
    message_id: str
    merged: bool


def owners(space: Space, type: str, value: str) -> list[Ownership]:
    """Who had this identifier, one after the other, by the times of events; empty when nobody has it."""
    value = value.lower() if type == "email" else value  # as `identity.rules.extract` reads them
    kept = Identifier.objects.filter(space=space, type=type, value=value).exclude(profile=0).first()
    if kept is None:
        return []
    numbers = all_numbers(space, [kept.profile])
    first = kept.profile
    if len(numbers) > 1:
        scope = history.scope_of(space)
        first = timeline.profile_at(scope, [*numbers], source=kept.source_id or 0, message_id=kept.message_id) or 0
    merges = {merge.loser: merge for merge in queries.merges_of(space, numbers)}
    chain: list[Merge] = []
    number = first
    # No longer than there are numbers: it ends even if merges led in a circle.
    while (merge := merges.get(number)) and len(chain) < len(numbers):
        chain.append(merge)
        number = merge.winner
    if not first:  # without the event only the last of its owners is known
        last = (merge for merge in merges.values() if merge.winner == kept.profile)
        chain = sorted(last, key=lambda merge: merge.at)[-1:]
    ids, sources = own_ids(space, numbers), source_ids([kept.source_id, *(merge.source_id for merge in chain)])
    periods: list[Ownership] = []
    came = [(first, kept.first_seen_at, kept.source_id, kept.message_id, False)]
    for merge in chain:
        # An event that came late is of before: it is from the event that brought the identifier on.
        since = max(came[-1][1], merge.at)
        came.append((merge.winner, since, merge.source_id, merge.message_id, True))
    until: datetime | None = None
    for number, since, source, message_id, merged in reversed(came):
        periods.append(Ownership(ids.get(number), since, until, sources.get(source or 0), message_id, merged))
        until = since
    return periods[::-1]


def owner_at(periods: Sequence[Ownership], at: datetime) -> Ownership | None:
    """Of these the one of a moment; None before the first."""
    return next((period for period in reversed(periods) if period.since <= at), None)
