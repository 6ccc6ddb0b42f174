"""Consent from the event to the destination: whoever gives it goes, whoever takes it back is taken out, by itself."""

from datetime import timedelta

import pytest

from access.services import COMMAND
from destinations import queries, services
from destinations.models import Caught
from tests.factories_audiences import World
from tests.factories_destinations import make_destination
from tests.factories_identity import message
from tests.flows.test_gaps import synced

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)


def test_consent_that_is_taken_back_takes_out_of_the_destination() -> None:
    world = World()
    audience = world.audience("buyers", {"kind": "event", "name": "Ordered"})
    world.did("u1", "Ordered")
    world.did("u2", "Ordered")
    world.computed()
    destination = make_destination(world.space)
    rules = {"consent": "consent.marketing"}
    subscription = services.subscribe(audience, destination, options={}, sending=rules, by=COMMAND)
    synced(subscription, world.clock)
    assert queries.members_at_catcher(destination, "buyers") == ()

    def consents(user: str, at: int, **consent: bool) -> None:
        world.sent(message(at=at, type="identify", userId=user, traits={"consent": consent}))
        world.ticked()
        synced(subscription, world.clock)

    world.clock.advance(MINUTE)
    consents("u1", 1000, marketing=True)
    assert queries.members_at_catcher(destination, "buyers") == (("user_id", "u1"),)
    world.clock.advance(MINUTE)
    consents("u1", 2000, marketing=False)
    assert queries.members_at_catcher(destination, "buyers") == ()
    assert Caught.objects.filter(destination=destination).count() == 4
    assert world.members(audience) == {"u1", "u2"}  # the audience is what it was


def test_consent_that_any_event_carries_decides_as_well() -> None:
    world = World()
    audience = world.audience("buyers", {"kind": "event", "name": "Ordered"})
    world.did("u1", "Ordered")
    world.computed()
    destination = make_destination(world.space)
    rules = {"consent": "consent.Advertising"}
    subscription = services.subscribe(audience, destination, options={}, sending=rules, by=COMMAND)
    synced(subscription, world.clock)
    assert queries.members_at_catcher(destination, "buyers") == ()
    for at, consents in ((1000, True), (2000, False)):
        world.clock.advance(MINUTE)
        preferences = {"consent": {"categoryPreferences": {"Advertising": consents}}}
        world.sent(message(at=at, type="track", event="Looked", userId="u1", context=preferences))
        world.ticked()
        synced(subscription, world.clock)
        assert queries.members_at_catcher(destination, "buyers") == ((("user_id", "u1"),) if consents else ())
