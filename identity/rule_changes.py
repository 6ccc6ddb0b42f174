"""Rules that are applied to people who are there: whoever would be others by them is resolved once more, part by part.

Who that is, a dry run says (identity.dry_runs): people whom no event links to anybody else, so that they can be
resolved by themselves, as a split does it (identity.splits). A part is as many of them as one batch takes. Each batch
changes places with what was there when it commits; a process may die anywhere, and the next one goes on with the same
part.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from django.db import connection
from django.db.models import F
from pyroaring import BitMap

from identity import graph_store, splits
from identity.graph_store import NO_IDENTIFIERS
from identity.models import DryRun, Profile
from identity.queries import all_numbers, numbers_of
from identity.rules.comparison import DifferingPeople
from identity.rules.messages import read_people
from identity.rules.policy import Identifier, policy_of
from identity.splits import Cause, Component, ResolvedBy, TooMuch
from sources.models import Reject
from spaces.models import Space
from spaces.text import storable

# Each hides its older rows for an hour in every statement of the space (spaces.models.Replaced).
MOST_MOVED = 50_000  # profiles, merged ones too
HALF = 2  # parts are filled by half: until it is their turn, events may link more people to them
State = DryRun.State


def in_parts(differing: Sequence[DifferingPeople], numbers: dict[int, int]) -> list[BitMap]:
    """Whom to resolve once more, batch by batch; by numbers that are left. numbers: how many each stands for.

    Raises TooMuch.
    """
    parts: list[BitMap] = []
    events = profiles = total = 0
    for people in differing:
        own = sum(numbers.get(number, 1) for number in people.now)
        total += own
        if own > splits.MOST_PROFILES or people.events > splits.MOST_EVENTS:
            raise TooMuch(f"{own:,} profiles with {people.events:,} events are linked to each other.")
        if total > MOST_MOVED:
            raise TooMuch(f"More than {MOST_MOVED:,} profiles would be others.")
        full = events + people.events > splits.MOST_EVENTS // HALF or profiles + own > splits.MOST_PROFILES // HALF
        if full or not parts:
            parts.append(BitMap())
            events = profiles = 0
        parts[-1] |= BitMap(people.now)
        events, profiles = events + people.events, profiles + own
    return parts


def packed(parts: Iterable[BitMap]) -> bytes:
    return msgspec.msgpack.encode([part.serialize() for part in parts])


def next_part(space: Space, now: datetime) -> Component | None:
    """Whom resolve is to resolve once more, because of rules that are applied."""
    for dry_run in DryRun.objects.filter(space=space, state=State.MOVING).order_by("pk"):
        parts = msgspec.msgpack.decode(bytes(dry_run.parts), type=list[bytes])
        by = because_of(space, dry_run.pk)
        try:
            return closed(by, BitMap.deserialize(parts[dry_run.parts_done]))
        except TooMuch as error:
            stopped(dry_run.pk, str(error), now)
    return None


def because_of(space: Space, dry_run: int) -> ResolvedBy:
    return ResolvedBy(space, Cause(dry_run=dry_run), policy_of(space.identity_policy), graph_store.active_splits(space))


def closed(by: ResolvedBy, numbers: BitMap) -> Component:
    """These people, with whoever is linked to them by what the rules of now read from their events. Raises TooMuch.

    Events that came since the dry run may have linked more people to them.
    """
    while True:
        numbers = all_numbers(by.space, numbers)
        if len(numbers) > splits.MOST_PROFILES:
            raise TooMuch(f"More than {splits.MOST_PROFILES:,} profiles share identifiers with these people.")
        component = splits.read(by, numbers)
        # Not by what they hold: an identifier that the rules block now links nobody any more.
        known = {pair for row in component.evidence for pair in splits.still_usable(row, by.policy)}
        known = known.union(*read_people(component.rows["message"].cast("binary").to_pylist(), by.policy))
        linked = numbers_of(by.space, known) | _refused(by.space, known)
        linked = linked.union(*(both for both in splits.moved_together(by.space) if both & numbers))
        users = Profile.objects.filter(space=by.space, number__in=[*(linked - numbers)], kind=Profile.Kind.USER)
        more = BitMap(users.values_list("number", flat=True))
        if not more:
            return component
        numbers |= more


def came_true(pk: int, now: datetime) -> None:
    """One more part is done."""
    DryRun.objects.filter(pk=pk).update(parts_done=F("parts_done") + 1)
    # One that was stopped while its last part was under way stays stopped.
    finished = DryRun.objects.filter(pk=pk, state=State.MOVING, parts_done__gte=F("parts_total"))
    if finished.update(state=State.APPLIED, finished_at=now, error=""):
        try_rejects_again(DryRun.objects.get(pk=pk).space_id)


def try_rejects_again(space: int) -> None:
    """Events on which the rules of their time found no identifier are resolved by those of now."""
    Reject.objects.filter(space=space, code=NO_IDENTIFIERS, source__deleted_at=None).update(again=True)


def stopped(pk: int, error: str, now: datetime) -> None:
    """Whoever is not resolved once more yet stays as they are; the rules count for new events."""
    under_way = DryRun.objects.filter(pk=pk, state__in=(State.APPLYING, State.MOVING))
    under_way.update(state=State.STOPPED, error=storable(error)[:2_000], finished_at=now)


def _refused(space: Space, identifiers: Iterable[Identifier]) -> BitMap:
    """Whose events carried one of these in vain."""
    types, values = zip(*pairs, strict=True) if (pairs := list(identifiers)) else ((), ())
    # OFFSET 0 keeps it one look-up for each identifier; `refused <> '[]'` is the condition of the index it goes by.
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT other.profile FROM unnest(%(types)s::text[], %(values)s::text[]) AS known(type, value)
               CROSS JOIN LATERAL (SELECT profile FROM identity_evidence
                                   WHERE space_id = %(space)s AND refused <> '[]'
                                   AND refused @> jsonb_build_array(jsonb_build_array(known.type, known.value))
                                   OFFSET 0) AS other""",
            {"space": space.pk, "types": [*types], "values": [*values]},
        )
        return BitMap(number for (number,) in cursor.fetchall())
