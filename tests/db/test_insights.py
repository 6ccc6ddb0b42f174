"""What insights recommend of a space is what the benchmark of accuracy takes them to recommend."""

import pytest

from benchmarks.accuracy import recommended_by, resolved
from benchmarks.people import CallCentre, Reinstalls, SharedTablets
from identity.insights import insights_of
from identity.rules.policy import DEFAULT_POLICY
from spaces.times import from_milliseconds, iso
from tests import factories_identity as identity
from tests.factories import SourceFactory, SpaceFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("world", [SharedTablets(1, 10), CallCentre(1, 40), Reinstalls(1, 8)])
def test_insights_recommend_what_is_measured(world):
    sent = world.sent()
    space = SpaceFactory()
    source = SourceFactory(workspace=space.workspace)
    identity.listening(space, source)
    identity.archived(
        source,
        *(one.message | {"messageId": one.message_id, "timestamp": iso(from_milliseconds(one.at))} for one in sent),
    )
    # In one batch: sets of identifiers are counted alike, however many there are.
    identity.resolved(space, identity.stage(live_rows=len(sent)))
    recommended = insights_of(space, from_milliseconds(sent[-1].at)).recommended
    assert recommended == recommended_by(resolved(sent, DEFAULT_POLICY)[0], DEFAULT_POLICY) != []
