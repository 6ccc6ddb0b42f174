"""Computed traits and audiences as traits of a person, and which of their traits are SQL traits."""

from collections.abc import Collection

from audiences import explain, trait_overview
from audiences.models import SqlTrait
from identity.derived import AUDIENCE, COMPUTED, SQL, DerivedTrait, DerivedTraits
from identity.models import Profile
from spaces.models import Space


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
