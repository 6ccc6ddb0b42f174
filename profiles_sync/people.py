"""People of a space as they are now, with all that a warehouse is told of them. Reads only."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import pyarrow
from pyroaring import BitMap

from audiences.models import Audience
from audiences.queries import members_again_of
from audiences.rules.grammar import USERS
from identity.history import scope_of
from identity.models import Identifier, Merge, Profile
from profiles_sync.rules.rows import (
    NamedSource,
    Selection,
    SyncedEvent,
    SyncedIdentifier,
    SyncedMembership,
    SyncedMerge,
    SyncedPerson,
    Trigger,
)
from sources.events import client, export
from sources.events.export import Origin
from sources.events.schema import MEMBERSHIP_LOG, TRAIT_LOG
from sources.events.sql import sql
from sources.models import Source
from spaces.batches import Visible, visible_logs
from spaces.models import Space
from spaces.times import from_milliseconds

Value = tuple[Any, datetime | None]


@dataclass
class SyncLookups:
    """What is read once for many people."""

    ids: dict[int, str]
    origins: Mapping[tuple[int, str], Origin]
    first: Mapping[int, Origin]
    sources: Mapping[int, NamedSource]
    values: Mapping[int, dict[str, Value]] = field(default_factory=dict)
    memberships: Mapping[int, list[SyncedMembership]] = field(default_factory=dict)

    def trigger(self, origin: Origin | None) -> Trigger | None:
        if origin is None:  # its event is not kept any more
            return None
        return Trigger(origin.type, origin.event, origin.message_id, self.ids.get(origin.profile, ""))


def computations(space: Space, selection: Selection) -> dict[int, Audience]:
    """The audiences and computed traits of people that are kept up to date and were chosen, by their keys."""
    serving = Audience.everything.filter(space=space, deleted_at=None, serving__isnull=False, of=USERS)
    return {
        row.pk: row
        for row in serving.order_by("pk").defer("cases")
        if _is_chosen(row.key, selection.audiences if row.kind == Audience.Kind.AUDIENCE else selection.traits)
    }


def evaluate_log(space: Space) -> Visible:
    return visible_logs(stage="evaluate", partitions=[space.pk])[space.pk]


def read(space: Space, numbers: Sequence[int], selection: Selection) -> list[SyncedPerson]:
    """Those of these numbers that are people, by their canonical numbers. numbers: all of theirs, merged ones too."""
    profiles = Profile.objects.filter(space=space, number__in=numbers, kind=Profile.Kind.USER)
    # Without `traits_seen`, which is the most part of a profile, and needed only of those who are left.
    rows = {row.number: row for row in profiles.defer("traits_seen").order_by("number")} if numbers else {}
    alive = [number for number, row in rows.items() if row.merged_into is None]
    seen = dict(profiles.filter(number__in=alive).values_list("number", "traits_seen")) if alive else {}
    identifiers: dict[int, list[Identifier]] = {}
    for identifier in Identifier.objects.filter(space=space, profile__in=alive).order_by("number"):
        identifiers.setdefault(identifier.profile, []).append(identifier)
    # In the order in which they were recorded, which is that in which they happened.
    merges = list(Merge.objects.filter(space=space, loser__in=[*rows]).order_by("pk"))
    known = _known(space, rows, identifiers, merges, selection)
    people = []
    theirs: dict[int, list[Profile]] = {}
    for row in rows.values():
        theirs.setdefault(row.number if row.merged_into is None else row.merged_into, []).append(row)
    merges_of: dict[int, list[Merge]] = {}
    for merge in merges:
        merges_of.setdefault(rows[merge.loser].merged_into or merge.loser, []).append(merge)
    for number in alive:
        own = theirs[number]
        people.append(
            SyncedPerson(
                number=number,
                segment_ids={row.number: row.public_id for row in own},
                born={row.number: (row.first_seen_at, known.trigger(known.first.get(row.number))) for row in own},
                identifiers=[
                    SyncedIdentifier(
                        one.type,
                        one.value,
                        one.first_seen_at,
                        known.sources.get(one.source_id or 0, NamedSource()),
                        one.message_id,
                        known.trigger(known.origins.get((one.source_id or 0, one.message_id))),
                    )
                    for one in identifiers.get(number, ())
                ],
                merges=[
                    SyncedMerge(merge.loser, merge.winner, merge.at, merge.message_id, origin.type if origin else "")
                    for merge in merges_of.get(number, ())
                    for origin in [known.origins.get((merge.source_id or 0, merge.message_id))]
                ],
                traits=_traits(rows[number], seen[number], number, known, selection),
                memberships=known.memberships.get(number, ()),
            )
        )
    return people


def _known(
    space: Space,
    rows: Mapping[int, Profile],
    identifiers: Mapping[int, Sequence[Identifier]],
    merges: Iterable[Merge],
    selection: Selection,
) -> SyncLookups:
    if not rows:
        return SyncLookups({}, {}, {}, {})
    scope, numbers = scope_of(space), [*rows]
    listed = [one for own in identifiers.values() for one in own]
    message_ids = {one.message_id for one in listed} | {merge.message_id for merge in merges}
    sources = {one.source_id for one in listed if one.source_id}
    known = SyncLookups(
        {number: row.public_id for number, row in rows.items()},
        export.with_ids(scope, numbers, sorted(message_ids)) if message_ids else {},
        export.first_of(scope, numbers),
        {
            pk: NamedSource(*named)
            for pk, *named in Source.objects.filter(pk__in=sources).values_list("pk", "public_id", "name", "slug")
        },
    )
    alive = BitMap(number for number, row in rows.items() if row.merged_into is None)
    known.values, known.memberships = _computed(space, alive, selection)
    return known


def _computed(
    space: Space, numbers: BitMap, selection: Selection
) -> tuple[dict[int, dict[str, Value]], dict[int, list[SyncedMembership]]]:
    """By number, values of computed traits by key, and the audiences that they are in, by key as well."""
    chosen = computations(space, selection)
    log = evaluate_log(space)
    values: dict[int, dict[str, Value]] = {}
    memberships: dict[int, list[SyncedMembership]] = {}
    # Not those that `audiences.current` keeps for a second: whoever entered in it would be told of as outside.
    kept = {pk: numbers & members for pk, members in members_again_of(chosen).items()}
    traits = [pk for pk, row in chosen.items() if row.kind == Audience.Kind.TRAIT and kept[pk]]
    audiences = [pk for pk, row in chosen.items() if row.kind == Audience.Kind.AUDIENCE and kept[pk]]
    here = sql("workspace = %s AND space = %s AND %s", space.workspace_id, space.pk, client.seen(log))
    newest = "toUnixTimestamp64Milli(argMax(at, piece)) FROM {} WHERE %s AND {} IN %s AND profile IN %s{}"
    if traits:
        select = f"SELECT trait, profile, argMax(value, piece) AS last, {newest}"
        grouped = select.format(TRAIT_LOG.name, "trait", " GROUP BY trait, profile HAVING last != ''")
        for pk, number, value, ms in client.rows(sql(grouped, here, traits, [*numbers])):
            values.setdefault(number, {})[chosen[pk].key] = msgspec.json.decode(value), from_milliseconds(ms)
    entered = {}
    if audiences:
        select = f"SELECT audience, profile, {newest}"
        grouped = select.format(MEMBERSHIP_LOG.name, "audience", " AND entered = 1 GROUP BY audience, profile")
        rows = client.rows(sql(grouped, here, audiences, [*numbers]))
        entered = {(pk, number): from_milliseconds(ms) for pk, number, ms in rows}
    for pk in sorted(audiences, key=lambda pk: chosen[pk].key):
        for number in kept[pk]:
            membership = SyncedMembership(chosen[pk].key, chosen[pk].public_id, entered.get((pk, number)))
            memberships.setdefault(number, []).append(membership)
    return values, memberships


def _traits(
    row: Profile, seen: Mapping[str, Sequence[int]], number: int, known: SyncLookups, selection: Selection
) -> dict[str, Value]:
    """As the Profile API has them: custom traits, then what is computed, and audiences, which are true."""
    traits: dict[str, Value] = {
        name: (value, from_milliseconds(seen[name][0]) if name in seen else None)
        for name, value in row.traits.items()
        if _is_chosen(name, selection.traits)
    }
    # One name may be of several kinds: a table has it once.
    traits |= known.values.get(number, {})
    return traits | {one.key: (True, one.at) for one in known.memberships.get(number, ())}


def _is_chosen(name: str, chosen: Collection[str]) -> bool:
    return not chosen or name in chosen


def events_of(space: Space, rows: pyarrow.Table) -> tuple[list[SyncedEvent], dict[int, str]]:
    """Those rows of `sources.events.export` that are people's, and by number the segment ids of whose they are."""
    numbers = BitMap(rows["profile"].to_pylist())
    people = Profile.objects.filter(space=space, kind=Profile.Kind.USER, number__in=[*numbers])
    ids = dict(people.values_list("number", "public_id"))
    sources = dict(Source.everything.filter(pk__in=set(rows["source"].to_pylist())).values_list("pk", "public_id"))
    names = ("message_id", "profile", "source", "at", "type", "event", "message")
    columns = zip(*(rows[name].to_pylist() for name in names), strict=True)
    events = [
        # Nobody's any more: whoever was erased meanwhile is not told of.
        SyncedEvent(id, ids[profile], sources.get(source, ""), at, type, event, message)
        for id, profile, source, at, type, event, message in columns
        if profile in ids
    ]
    return events, ids
