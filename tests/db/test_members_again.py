"""Members that a process keeps, and brings up to date by what changed, are those that are read anew."""

from random import Random

import pytest
from pyroaring import BitMap

from audiences import queries
from audiences.models import Audience, Change, Version
from tests.factories import SpaceFactory
from tests.factories_identity import NOON

pytestmark = pytest.mark.django_db
NOBODY = BitMap().serialize()


def make_audience(space, key):
    of_it = {"workspace": space.workspace, "space": space}
    audience = Audience.objects.create(**of_it, name=key, key=key)
    serve(audience, 1, BitMap(), tick=0)
    return audience


def serve(audience, number, members, tick):
    version = Version.objects.create(
        workspace=audience.workspace,
        audience=audience,
        number=number,
        definition={},
        snapshot=members.serialize(),
        snapshot_tick=tick,
    )
    Audience.objects.filter(pk=audience.pk).update(serving=version)
    audience.refresh_from_db()


def change(audience, tick, entered, left):
    Change.objects.create(
        workspace=audience.workspace,
        space=audience.space,
        audience=audience,
        tick=tick,
        at=NOON,
        cause=Change.Cause.EVENTS,
        entered=entered.serialize(),
        left=left.serialize(),
        refreshed=NOBODY,
        size=0,
    )


@pytest.mark.parametrize("seed", range(4))
def test_members_again_are_members(seed, django_assert_max_num_queries):
    random, space = Random(seed), SpaceFactory()
    audiences = [make_audience(space, f"a{number}") for number in range(3)]
    of_all = [audience.pk for audience in audiences]
    for tick in range(1, 40):
        audience = random.choice(audiences)
        members = queries.members(audience)
        entered = BitMap(random.sample(range(20), 3)) - members
        change(audience, tick, entered, BitMap(random.sample(range(20), 3)) & members)
        match random.randrange(8):
            case 0:  # a snapshot
                version = audience.serving
                version.snapshot, version.snapshot_tick = queries.members(audience).serialize(), tick
                version.save()
            case 1:  # another version
                serve(audience, audience.serving.number + 1, BitMap(random.sample(range(20), 5)), tick)
            case 2:  # a backup is played back, and time goes on elsewhere
                Change.objects.filter(audience=audience, tick__gt=audience.serving.snapshot_tick).delete()
            case 3:
                continue  # nobody asks after each tick
        with django_assert_max_num_queries(6):
            again = queries.members_again_of(of_all)
        assert again == queries.members_of(of_all)
    assert queries.members_again_of([]) == {}
