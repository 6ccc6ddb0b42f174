"""Profiles are taken apart, and put together again, by resolving once more the events of all whom it may concern.

Whom it may concern: the profile with all that were merged into it, and whoever shares an identifier with these that was
refused: without the link it may be accepted. Their events are resolved in their first order by the rules of today, the
splits among them. So everything ends as if the link had never been: profiles, traits, merges, evidence and links in
PostgreSQL, and the rows in ClickHouse, which are written anew; at the moment at which the new ones can be read, the old
ones cannot any more (spaces.models.Replaced).

Numbers, and so ids and memberships, stay where a profile begins with the same event as before.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy
import pyarrow
import pyarrow.compute
from django.db import connection
from django.utils import timezone
from pyroaring import BitMap

from identity import graph_store, history
from identity.models import Evidence, Identifier, Link, Profile, ProfileSplit
from identity.queries import all_numbers, holder_numbers, numbers_of
from identity.rules import splits as rules
from identity.rules.extract import usable
from identity.rules.graph import ACCOUNT_TYPE, IdentityGraph
from identity.rules.messages import ArchivedEvent
from identity.rules.policy import Policy, policy_of
from identity.rules.resolution import REMOVED, EventBatch, Resolution, Trait, Traits, event_batch, newest, resolve
from sources.events import timeline
from spaces.models import Replaced, Space
from spaces.text import storable
from spaces.times import milliseconds

NOBODYS = 2**31  # from here on numbers are nobody's: they are those of profiles that only might be
KEPT_REPLACED = timedelta(hours=1)  # no statement takes so long
MOST_PROFILES, MOST_EVENTS = 5_000, 100_000  # that are resolved once more at a time, in memory


class TooMuch(Exception):
    """So much belongs together that it cannot be resolved once more at a time."""


@dataclass(frozen=True)
class Cause:
    """Why people are resolved once more: because of a split, of rules that are applied (DryRun), or of a source whose
    events are taken back; by primary key."""

    split: int = 0
    dry_run: int = 0
    without: int = 0


@dataclass(frozen=True)
class ResolvedBy:
    """The rules by which people are resolved once more. began: by (source, piece, position) of an event the number of
    a profile that began with it before a split that is undone."""

    space: Space
    cause: Cause
    policy: Policy
    splits: Sequence[rules.SplitRule]
    began: Mapping[tuple[int, int, int], int] = field(default_factory=dict)


@dataclass
class Component:
    """Who is to be resolved once more, and by which rules. numbers: all of theirs, merged ones too. rows: their
    events, with `profile`, and with the identifiers that were read from each before.

    evidence: their sets of identifiers whose events are not kept any more. traits: rows of `traits` of such events.
    accounts: numbers of accounts by their group ids.
    """

    by: ResolvedBy
    numbers: BitMap
    rows: pyarrow.Table
    evidence: Sequence[Evidence]
    traits: pyarrow.Table
    accounts: Mapping[str, int]

    @property
    def places(self) -> bytes:
        """Of the rows in the archive: (source, piece, position) of each, as 8-byte integers."""
        return numpy.array(places_of(self.rows), "<u8").tobytes()

    def rows_at(self, places: bytes) -> tuple[pyarrow.Table, numpy.ndarray]:
        """The rows at these places, and for each place whether its row is still there."""
        wanted = [tuple(place) for place in numpy.frombuffer(places, "<u8").reshape(-1, 3).tolist()]
        here = places_of(self.rows)
        asked, known = set(wanted), set(here)
        rows = self.rows.filter(pyarrow.array([place in asked for place in here], pyarrow.bool_()))
        return rows, numpy.array([place in known for place in wanted], bool)


@dataclass
class Resolved:
    """What becomes of them. events: as archived, for the rows. skipped: how many at the beginning have no row.

    homes: of each number that no profile has any more, who has its events now. lost: of those the first of their events
    here, as (number, source, piece, position).
    """

    component: Component
    graph: IdentityGraph
    batch: EventBatch
    events: list[ArchivedEvent]
    skipped: int
    resolution: Resolution
    homes: dict[int, int] = field(default_factory=dict)
    lost: list[tuple[int, int, int, int]] = field(default_factory=list)

    @property
    def vanished(self) -> BitMap:
        """Numbers of those who are nobody any more: none of their events names anybody."""
        return self.component.numbers - BitMap(self.graph.created) - BitMap(self.homes)

    @property
    def parts(self) -> list[rules.SplitPart]:
        """The profiles that are left, the oldest first."""
        winners = self.graph.winners()
        events = Counter(winners.get(number, number) for number in self.resolution.profiles[self.skipped :])
        traits: dict[int, list[Traits]] = {}
        for number, own in self.resolution.traits.items():
            traits.setdefault(winners.get(number, number), []).append(own)
        return [
            rules.SplitPart(
                number=number,
                is_new=number not in self.component.numbers,
                identifiers=tuple(node.identifiers),
                values={
                    key: msgspec.json.decode(value)
                    for key, (_, value) in sorted(newest(traits.get(number, ())).items())
                    if value != REMOVED
                },
                events=events[number],
            )
            for number, node in sorted(self.graph.alive().items())
        ]


def next_wish(space: Space, now: datetime) -> Component | None:
    """Whom somebody wants to be split, or put together again, and resolve has not seen to yet."""
    wishes = ProfileSplit.objects.filter(
        space=space, state__in=[ProfileSplit.State.WANTED, ProfileSplit.State.UNWANTED]
    )
    for wish in wishes.select_related("space").order_by("pk"):
        try:
            return component(wish)
        except TooMuch as error:
            failed(wish, str(error), now)
    return None


def failed(wish: ProfileSplit, error: str, now: datetime) -> None:
    """It did not come true; what is, stays."""
    # One that was to be undone is active still.
    state = ProfileSplit.State.DONE if wish.state == ProfileSplit.State.UNWANTED else ProfileSplit.State.FAILED
    ProfileSplit.objects.filter(pk=wish.pk).update(state=state, error=storable(error)[:2_000], done_at=now)


def came_true(wish: int, now: datetime) -> None:
    done = {ProfileSplit.State.WANTED: ProfileSplit.State.DONE, ProfileSplit.State.UNWANTED: ProfileSplit.State.UNDONE}
    for before, after in done.items():
        ProfileSplit.objects.filter(pk=wish, state=before).update(state=after, error="", done_at=now)


def component(wish: ProfileSplit) -> Component:
    """All who are concerned by it. Raises TooMuch."""
    pairs = (*wish.taken, *wish.left, *wish.moved_to)
    numbers = numbers_of(wish.space, ((type, value) for type, value in pairs))
    return read(because_of(wish), reach(wish.space, numbers | BitMap([wish.profile])))


def because_of(wish: ProfileSplit) -> ResolvedBy:
    """The rules of the space, with the split, or without it when it is to be undone."""
    splits = [split for split in graph_store.active_splits(wish.space) if split.id != wish.pk]
    began: dict[tuple[int, int, int], int] = {}
    if wish.state == ProfileSplit.State.UNWANTED:
        began = {(source, piece, position): number for number, source, piece, position in wish.lost}
    else:
        splits.append(graph_store.split_rule(wish))
    return ResolvedBy(wish.space, Cause(split=wish.pk or 0), policy_of(wish.space.identity_policy), splits, began)


def rules_now(space: Space, cause: Cause) -> ResolvedBy:
    """The rules that the space has."""
    return ResolvedBy(space, cause, policy_of(space.identity_policy), graph_store.active_splits(space))


def read(by: ResolvedBy, numbers: BitMap) -> Component:
    """What there is of these, without events of a source that is taken back. Raises TooMuch."""
    space, scope = by.space, history.scope_of(by.space)
    rows = timeline.component(scope, [*numbers], most=MOST_EVENTS)
    if rows.num_rows > MOST_EVENTS:
        raise TooMuch(f"More than {MOST_EVENTS:,} events belong to these people.")
    traits = timeline.trait_rows(scope, [*numbers])
    if source := by.cause.without:
        rows, traits = (part.filter(pyarrow.compute.not_equal(part["source"], source)) for part in (rows, traits))
    # By what was read from the events then: rules that came later may read something else from the very same.
    read_then = {_set(identifiers) for identifiers in rows["identifiers"].to_pylist()}
    evidence = Evidence.objects.filter(space=space, profile__in=[*numbers]).order_by("first_seen_at", "pk")
    kept = set(places_of(rows))
    orphans = [place not in kept for place in _places(traits, "source", "origin_piece", "origin_position")]
    # Accounts keep their numbers, so that a link is made again to the very same.
    links = Link.objects.filter(space=space, user__in=[*numbers])
    accounts = Identifier.objects.filter(space=space, type=ACCOUNT_TYPE, profile__in=links.values("account"))
    return Component(
        by,
        numbers,
        rows,
        [row for row in evidence if frozenset(identifiers_of(row)) not in read_then],
        traits.filter(pyarrow.array(orphans, pyarrow.bool_())),
        dict(accounts.values_list("value", "profile")),
    )


def resolve_again(concerned: Component, last_profile: int, last_identifier: int) -> Resolved:
    """The rules, over all events of these people. Writes nothing. last_…: the newest numbers given out."""
    by = concerned.by
    rows = event_batch(concerned.rows, by.policy)
    # Of events that are not kept any more there is still the set of identifiers, and when it was seen first. Sets whose
    # events are kept come with these, in their own place; the others come first, since they are older.
    gone = [(row, left) for row in concerned.evidence if (left := still_usable(row, by.policy))]
    batch = _with_evidence(rows, gone)
    places = places_of(concerned.rows)
    before = [
        by.began.get(place, number) for place, number in zip(places, concerned.rows["profile"].to_pylist(), strict=True)
    ]
    numbers = dict(enumerate([*(row.profile for row, _ in gone), *before]))
    graph = IdentityGraph(by.policy, [], last_profile, last_identifier, rules.split_index(by.splits), numbers)
    resolution = resolve(graph, batch, concerned.accounts)
    again = Resolved(concerned, graph, batch, rows.events, len(gone), resolution)
    again.homes = _homes(again, numbers)
    # From the end, so that the first of each is left.
    firsts = dict(zip(reversed(before), reversed(places), strict=True))
    again.lost = [(number, *place) for number, place in firsts.items() if number in again.homes]
    if not by.cause.dry_run:
        for seen in graph.seen_sets.values():
            seen.events = 0  # they were counted when they came
        for index, profile in enumerate(resolution.profiles):
            if not profile:  # the rules of today find no identifier on it, those of its time did
                resolution.profiles[index] = again.homes.get(numbers[index], numbers[index])
    _add_traits(again)
    return again


def came_with(profile: Profile, loser: int) -> list[tuple[str, str]]:
    """The identifiers that a profile, the loser, brought when it was merged into this one. Raises TooMuch.

    None when the event that merged them is not kept any more.
    """
    wish = ProfileSplit(space=profile.space, profile=profile.number, taken=[], left=[])
    concerned = component(wish)
    merged = resolve_again(concerned, NOBODYS, 0)
    index = next((pair.index for pair in merged.graph.merged if pair.loser == loser), None)
    if index is None:
        return []
    # Merges are not recorded with what each side had: it is what the rules make of the events up to then.
    before = IdentityGraph(merged.graph.policy, [], NOBODYS, 0, merged.graph.splits, merged.graph.numbers)
    for place, (event, at) in enumerate(zip(merged.batch.events[:index], merged.batch.times, strict=False)):
        before.resolve(event.user, at, place)
    node = before.alive().get(loser)
    return [] if node is None else [*node.identifiers]


def record(again: Resolved, number: int) -> graph_store.Written:
    """PostgreSQL has it so. number: of the Prepare. Inside its transaction, with the space's counters held."""
    space, cause = again.component.by.space, again.component.by.cause
    if cause.split:
        # Rows that are written anew forget with which of them a profile began that is none now.
        ProfileSplit.objects.filter(pk=cause.split, state=ProfileSplit.State.WANTED).update(lost=again.lost)
    # The rows of profiles and identifiers stay: ids, and the numbers that destinations know, are theirs.
    graph_store.forget(space, [*again.component.numbers])
    if cause.dry_run:
        # Whatever was read from the events by the rules of their time was not there by those of now.
        graph_store.forget_evidence(space, [*again.component.numbers])
    written = graph_store.record(space, number, again.graph, again.batch, again.resolution)
    graph_store.go_into(space, again.homes)
    written.aliases += again.homes.items()
    if cause.dry_run:
        graph_store.remove(space, [*again.vanished])
    return written


def sweep() -> None:
    """The rows that were written anew an hour ago are gone: nobody can be reading them any more."""
    for old in Replaced.objects.filter(
        log__stage="resolve", number__isnull=False, since__lte=timezone.now() - KEPT_REPLACED
    ):
        # Rows first: those that nobody hides any more are read again.
        timeline.erase_replaced(old.workspace_id, old.log.partition, old.number or 0, old.keys)
        old.delete()


def moved_together(space: Space) -> list[BitMap]:
    """Of each move, who holds what was moved, and what it was moved to: not the same where a rule forbids it."""
    moves = [(*split.taken, split.moved_to) for split in graph_store.active_splits(space) if split.moved_to]
    holders = holder_numbers(space, {identifier for move in moves for identifier in move})
    return [BitMap(holders[identifier] for identifier in move if identifier in holders) for move in moves]


def reach(space: Space, numbers: BitMap) -> BitMap:
    """With all who share with them an identifier that was refused here or there, or moved. Raises TooMuch."""
    moves = moved_together(space)
    while True:
        numbers = all_numbers(space, numbers)
        if len(numbers) > MOST_PROFILES:
            raise TooMuch(f"More than {MOST_PROFILES:,} profiles share identifiers with these people.")
        with connection.cursor() as cursor:
            cursor.execute(
                """WITH mine AS (SELECT unnest(%(numbers)s::bigint[]) AS number),
                   refused AS (  -- identifiers that their events carried, and that others may hold
                       SELECT DISTINCT one ->> 0 AS type, one ->> 1 AS value FROM identity_evidence e
                       CROSS JOIN LATERAL jsonb_array_elements(e.refused) AS one
                       WHERE e.space_id = %(space)s AND e.profile IN (SELECT number FROM mine) AND e.refused <> '[]')
                   SELECT holder.profile FROM refused
                   CROSS JOIN LATERAL (SELECT profile FROM identity_identifier
                                       WHERE space_id = %(space)s AND type = refused.type AND value = refused.value
                                       LIMIT 1) AS holder
                   WHERE holder.profile <> 0
                   UNION  -- whose events carried one that they hold, or carried one that theirs carried in vain
                   SELECT other.profile FROM (
                       SELECT type, value FROM identity_identifier
                       WHERE space_id = %(space)s AND profile IN (SELECT number FROM mine)
                       UNION SELECT type, value FROM refused) AS known
                   CROSS JOIN LATERAL (SELECT profile FROM identity_evidence
                                       WHERE space_id = %(space)s AND refused <> '[]'
                                       AND refused @> jsonb_build_array(jsonb_build_array(known.type, known.value))
                                       OFFSET 0) AS other""",
                {"space": space.pk, "numbers": [*numbers]},
            )
            more = BitMap(number for (number,) in cursor.fetchall())
        more = more.union(*(both for both in moves if both & numbers)) - numbers
        # Whoever was found may have been refused something as well, and so on: until nobody is new.
        if not more:
            break
        numbers |= more
    # Accounts are never merged, and an account's page has its members' calls under its own number.
    users = Profile.objects.filter(space=space, number__in=[*numbers], kind=Profile.Kind.USER)
    return BitMap(users.values_list("number", flat=True))


def still_usable(row: Evidence, policy: Policy) -> tuple[tuple[str, str], ...]:
    """What this policy would still take of a set of identifiers."""
    return usable(identifiers_of(row), policy)


def identifiers_of(row: Evidence) -> tuple[tuple[str, str], ...]:
    return tuple((type, value) for type, value in row.identifiers)


def _set(identifiers: Iterable[Any]) -> frozenset[tuple[str, str]]:
    """Of a person, as ClickHouse has them: tuples without names for their parts."""
    pairs = (tuple(one.values() if isinstance(one, dict) else one) for one in identifiers)
    return frozenset((type, value) for type, value in pairs if type != ACCOUNT_TYPE)


def _with_evidence(rows: EventBatch, gone: Sequence[tuple[Evidence, tuple[tuple[str, str], ...]]]) -> EventBatch:
    """The events; before them, one for each of these rows, with what is left of its identifiers."""
    empty = ArchivedEvent(type="", event="", user=(), account=None, properties=b"", lists=b"", traits={})
    return EventBatch(
        events=[*(msgspec.structs.replace(empty, user=left) for _, left in gone), *rows.events],
        times=[*(milliseconds(row.first_seen_at) for row, _ in gone), *rows.times],
        sources=[*(row.first_source_id or 0 for row, _ in gone), *rows.sources],
        pieces=[*(0 for _ in gone), *rows.pieces],
        positions=[*(0 for _ in gone), *rows.positions],
        ids=[*(row.first_message_id for row, _ in gone), *rows.ids],
    )


def _homes(again: Resolved, numbers: Mapping[int, int]) -> dict[int, int]:
    winners, created = again.graph.winners(), again.graph.created
    accounts = set(again.component.accounts.values())
    homes: dict[int, int] = {}
    for index, before in numbers.items():
        now = again.resolution.profiles[index]
        if now and now not in accounts and before not in created and before not in homes:
            homes[before] = winners.get(now, now)
    if again.component.by.cause.dry_run:
        return homes
    # One without any event: wherever the others are.
    rest = [number for number in again.component.numbers if number not in created and number not in homes]
    # Where events were taken back it may be that it has none: then nobody is left of it.
    if created and rest and not again.component.by.cause.without:
        oldest = min(created)
        homes |= dict.fromkeys(rest, winners.get(oldest, oldest))
    return homes


def _add_traits(again: Resolved) -> None:
    """Traits of events that are not kept any more stay where the profile that had them is."""
    for row in again.component.traits.to_pylist():
        owner = again.homes.get(row["profile"], row["profile"])
        stamp = (milliseconds(row["ts"]), row["source"], row["origin_piece"], row["origin_position"])
        trait: Trait = (stamp, row["value"].encode())
        known = again.resolution.traits.setdefault(owner, {})
        if row["key"] not in known or known[row["key"]][0] < stamp:
            known[row["key"]] = trait


def places_of(rows: pyarrow.Table) -> list[tuple[int, int, int]]:
    """(source, piece, position) in the archive of each."""
    return _places(rows, "source", "piece", "position")


def _places(rows: pyarrow.Table, *names: str) -> list[tuple[int, int, int]]:
    return list(zip(*(rows[name].to_pylist() for name in names), strict=True))
