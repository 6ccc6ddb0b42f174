"""Computed traits and audiences as traits of a person, and which of their traits are SQL traits."""

from collections.abc import Collection, Mapping, Sequence

from pyroaring import BitMap

from access.authentication import SpaceReader
from audiences import explain, known_values, trait_overview
from audiences.current import current
from audiences.models import Audience, SqlTrait
from identity.derived import AUDIENCE, COMPUTED, SQL, DerivedTrait, DerivedTraits
from identity.models import Profile
from sources.events import client
from sources.events.sql import sql
from spaces.models import Space
from spaces.times import from_milliseconds


def derived_of(space: Space, profile: Profile, kinds: Collection[str]) -> DerivedTraits:
    """By key. An audience that the person is not in is no trait of theirs. An `identity.derived.DerivedReader`."""
    traits: list[DerivedTrait] = []
    if COMPUTED in kinds:
        for kept in trait_overview.of_profile(space, profile.number):
            traits.append(DerivedTrait(kept.trait.key, COMPUTED, kept.trait.public_id, kept.shown, kept.at))
    if AUDIENCE in kinds:
        inside, _ = explain.memberships(space, profile)
        for membership in inside:
            audience = membership.audience
            traits.append(DerivedTrait(audience.key, AUDIENCE, audience.public_id, True, membership.at))
    asked = SqlTrait.objects.filter(space=space, source__isnull=False) if SQL in kinds else SqlTrait.objects.none()
    return DerivedTraits(
        sorted(traits, key=lambda trait: (trait.key, trait.kind)), dict(asked.values_list("source", "public_id"))
    )


class CurrentReads:
    """An `identity.derived.DerivedReads`: from what this process keeps of memberships and of the values of computed
    traits, with the values that it does not keep, and moments where they are asked for, from the event store."""

    def traits(
        self,
        space: SpaceReader,
        numbers: Collection[int],
        kinds: Collection[str],
        keys: Collection[str],
        *,
        dated: bool,
    ) -> Mapping[int, Sequence[DerivedTrait]]:
        now, people = current(space.space_id), BitMap(numbers)
        inside = {
            computation.pk: (computation, people & computation.members)
            for computation in now.computations
            if (COMPUTED if computation.kind == Audience.Kind.TRAIT else AUDIENCE) in kinds
            and (not keys or computation.key in keys)
            and people.intersect(computation.members)
        }
        traits: dict[int, list[DerivedTrait]] = {}
        here = sql("workspace = %s AND space = %s AND %s", space.workspace_id, space.space_id, client.seen(now.log))
        computed = [computation for computation, _ in inside.values() if computation.kind == Audience.Kind.TRAIT]
        columns = known_values.columns(space, now, computed) if computed and not dated else {}
        unknown: dict[int, list[int]] = {}
        for trait in computed:
            for number in inside[trait.pk][1]:
                if trait.pk in columns and (value := columns[trait.pk].value(number)) is not None:
                    known = DerivedTrait(trait.key, COMPUTED, trait.public_id, value, None)
                    traits.setdefault(number, []).append(known)
                else:
                    unknown.setdefault(trait.pk, []).append(number)
        if unknown:
            query = sql(
                "SELECT trait, profile, argMax(value, piece) AS last, toUnixTimestamp64Milli(argMax(at, piece))"
                " FROM trait_log WHERE %s AND trait IN %s AND profile IN %s GROUP BY trait, profile HAVING last != ''",
                here,
                [*unknown],
                [*{number for numbers in unknown.values() for number in numbers}],
            )
            for pk, number, value, ms in client.rows(query):
                if number not in unknown[pk]:
                    continue
                trait, _ = inside[pk]
                read = DerivedTrait(trait.key, COMPUTED, trait.public_id, value, from_milliseconds(ms))
                traits.setdefault(number, []).append(read)
        audiences = [pk for pk, (computation, _) in inside.items() if computation.kind == Audience.Kind.AUDIENCE]
        entered = {}
        if audiences and dated:
            query = sql(
                "SELECT audience, profile, toUnixTimestamp64Milli(argMax(at, piece)) FROM membership_log"
                " WHERE %s AND audience IN %s AND profile IN %s AND entered = 1 GROUP BY audience, profile",
                here,
                audiences,
                [*people],
            )
            entered = {(pk, number): from_milliseconds(ms) for pk, number, ms in client.rows(query)}
        for pk in audiences:
            audience, members = inside[pk]
            for number in members:
                read = DerivedTrait(audience.key, AUDIENCE, audience.public_id, "true", entered.get((pk, number)))
                traits.setdefault(number, []).append(read)
        return traits

    def memberships(
        self, space: SpaceReader, collection: str, number: int, keys: Collection[str]
    ) -> Mapping[str, bool | None]:
        return {
            audience.key: number in audience.members
            for audience in current(space.space_id).computations
            if audience.kind == Audience.Kind.AUDIENCE and audience.of == collection and audience.key in keys
        }

    def sql_sources(self, space: SpaceReader) -> Collection[int]:
        asked = SqlTrait.objects.filter(space=space.space_id, source__isnull=False)
        return set(asked.values_list("source", flat=True))
