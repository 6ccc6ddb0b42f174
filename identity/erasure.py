"""People cease to be: what PostgreSQL knows of them goes, in a batch of the resolve log of their space.

A batch, because resolve reads events outside of any transaction: whoever read of these people before it can prepare
nothing of them afterwards, since the log has moved on. So no event that was on its way brings them back.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from pyroaring import BitMap

from identity.models import ChangeSet, Profile
from identity.prepared import PreparedResolve, Taken
from identity.queries import all_numbers, canonical, numbers_of
from identity.resolve import BatchKind, Intake
from identity.resolve_stage import Resolve
from spaces.batches import Overtaken, advance, open_log, owning_in_between
from spaces.clock import Clock
from spaces.models import Log, Space

PATIENCE_S = 10  # resolve lets go of a space between two batches


@dataclass
class KnownPeople:
    """numbers: all of their profiles' numbers, merged ones too. identifiers: (number, type, value) of all they hold.

    linked: users of an account, accounts of a user: they stay, and are others without them.
    """

    numbers: BitMap = field(default_factory=BitMap)
    identifiers: list[tuple[int, str, str]] = field(default_factory=list)
    linked: BitMap = field(default_factory=BitMap)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(type, value) for _, type, value in self.identifiers]

    def add(self, other: "KnownPeople") -> None:
        self.numbers |= other.numbers
        self.linked |= other.linked
        self.identifiers = [*dict.fromkeys([*self.identifiers, *other.identifiers])]


def people_of(space: Space, identifiers: Iterable[tuple[str, str]], numbers: Iterable[int] = ()) -> KnownPeople:
    """Whoever holds one of these identifiers now, or is one of these profiles, with all that they hold."""
    pairs = list(identifiers)
    everybody = all_numbers(space, numbers_of(space, pairs) | BitMap(numbers))
    # What nobody holds any more, since it was split off, is known by its value alone.
    held = _rows(
        """SELECT number, type, value FROM identity_identifier WHERE space_id = %(space)s AND profile = ANY(%(numbers)s)
           UNION
           SELECT i.number, i.type, i.value FROM unnest(%(types)s::text[], %(values)s::text[]) AS q(type, value)
           JOIN identity_identifier i ON i.space_id = %(space)s AND i.type = q.type AND i.value = q.value
           WHERE i.profile = 0 ORDER BY number""",
        {
            "space": space.pk,
            "numbers": [*everybody],
            "types": [type for type, _ in pairs],
            "values": [value for _, value in pairs],
        },
    )
    if not (everybody or held):
        return KnownPeople()
    ends = _rows(
        'SELECT "user", account FROM identity_link WHERE space_id = %s AND ("user" = ANY(%s) OR account = ANY(%s))',
        [space.pk, [*everybody], [*everybody]],
    )
    linked = BitMap([number for pair in ends for number in pair]) - everybody
    linked = BitMap(canonical(space, linked).values()) - everybody if linked else linked
    return KnownPeople(everybody, [(number, type, value) for number, type, value in held], linked)


# By table, which rows are theirs. Evidence of others may name an identifier of theirs, as one that was refused.
# As one text for each: PostgreSQL hashes what it looks for among many texts, and would compare pairs one by one.
NAMED = """EXISTS (SELECT FROM jsonb_array_elements({}) AS seen
                   WHERE (seen ->> 0) || E'\\n' || (seen ->> 1) = ANY(%(named)s))"""
OF_PEOPLE = {
    "identity_identifier": "(profile = ANY(%(numbers)s) OR profile = 0 AND type || E'\\n' || value = ANY(%(named)s))",
    "identity_profile": "number = ANY(%(numbers)s)",
    "identity_profilenote": "number = ANY(%(numbers)s)",
    "identity_merge": "(loser = ANY(%(numbers)s) OR winner = ANY(%(numbers)s))",
    "identity_link": '("user" = ANY(%(numbers)s) OR account = ANY(%(numbers)s))',
    "identity_evidence": f"(profile = ANY(%(numbers)s) OR {NAMED.format('identifiers || refused || set_aside')})",
    # Rules that are being applied name nobody (`services.apply_rules`): what is done of them stays.
    "identity_dryrun": NAMED.format("named"),
    "identity_profilesplit": "(profile = ANY(%(numbers)s) OR " + NAMED.format('taken || "left" || moved_to') + ")",
}


def count(space_id: int, people: KnownPeople) -> dict[str, int]:
    """How many rows of theirs there are, by table."""
    counts = {}
    for table, theirs in OF_PEOPLE.items():
        statement = f"SELECT count(*) FROM {table} WHERE space_id = %(space)s AND {theirs}"
        counts[table] = int(_rows(statement, _of(space_id, people))[0][0])
    return counts


def forget_traits(space: Space, numbers: BitMap, places: Iterable[tuple[int, int, int]]) -> None:
    """These people, who stay, no longer have the traits that they have by events at these (source, piece, position)."""
    gone = set(places)
    for profile in Profile.objects.filter(space=space, number__in=[*numbers]).iterator():
        theirs = [key for key, (_, *place) in profile.traits_seen.items() if tuple(place) in gone]
        if theirs:
            for kept in (profile.traits, profile.traits_seen):
                for key in theirs:
                    kept.pop(key, None)
            profile.save(update_fields=["traits", "traits_seen"])


def _of(space_id: int, people: KnownPeople) -> dict[str, Any]:
    named = [f"{type}\n{value}" for type, value in people.pairs]
    return {"space": space_id, "numbers": [*people.numbers], "named": named}


def _rows(statement: str, parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


class OneBatch(Resolve):
    """A stage that does one batch of this kind, and then has nothing to do."""

    def __init__(self, clock: Clock, kind: BatchKind) -> None:
        super().__init__(clock)
        self.is_prepared = False
        self._kind = kind

    def read(self, log: Log, limit: int) -> Intake | None:
        return None if self.is_prepared else self._kind.next(log, Space.everything.get(pk=log.partition), limit)

    def prepare(self, log: Log, intake: Intake, number: int) -> PreparedResolve:
        prepared = super().prepare(log, intake, number)
        self.is_prepared = True
        return prepared


class _Erase(BatchKind):
    """It takes no events. erase: in its transaction; whom audiences are told of."""

    def __init__(self, erase: Callable[[Space], BitMap]) -> None:
        super().__init__()
        self._erase = erase

    def next(self, log: Log, space: Space, limit: int) -> Intake:
        return Intake(self, space, Taken())

    def prepare(self, log: Log, intake: Intake, number: int) -> PreparedResolve:
        with connection.cursor() as cursor:  # as every batch that changes the graph of the space does
            cursor.execute("SELECT 1 FROM identity_graph WHERE space_id = %s FOR UPDATE", [log.partition])
        told = self._erase(intake.space)
        return PreparedResolve(intake.taken, change_sets={ChangeSet.ERASED: told.serialize()} if told else {})


def erase_people(
    space: Space,
    identifiers: Sequence[tuple[str, str]],
    numbers: BitMap,
    *,
    clock: Clock,
    keep: Callable[[KnownPeople, dict[str, int]], None],
) -> bool:
    """Whoever holds these identifiers, or has these numbers, is in no table of identity any more.

    keep(people, rows by table): in the same transaction. False when the log waits, as after a failure: try again.
    Audiences are not told yet: `tell_of` does, when the events are gone too.
    """

    def erase(within: Space) -> BitMap:
        people = people_of(within, identifiers, numbers)
        erased = {}
        with connection.cursor() as cursor:
            for table, theirs in OF_PEOPLE.items():
                parameters = _of(within.pk, people)
                cursor.execute(f"DELETE FROM {table} WHERE space_id = %(space)s AND {theirs}", parameters)
                erased[table] = cursor.rowcount
        keep(people, erased)
        return BitMap()

    return advanced(space, OneBatch(clock, _Erase(erase)))


def tell_of(space: Space, numbers: BitMap, *, clock: Clock) -> bool:
    """Audiences are evaluated anew for these people. False when the log waits."""
    return advanced(space, OneBatch(clock, _Erase(lambda within: numbers)))


def advanced(space: Space, stage: OneBatch) -> bool:
    """The stage's one batch is done. False when the log waits."""
    # Else a batch that resolve has under way would look like one that somebody left.
    with owning_in_between(f"{stage.name}:{space.pk}", within_s=PATIENCE_S) as is_ours:
        if is_ours:
            log = open_log(stage=stage.name, partition=space.pk, workspace_id=space.workspace_id)
            with suppress(Overtaken):
                while advance(stage, log) and not stage.is_prepared:
                    pass  # what was left unfinished comes first
    return stage.is_prepared
