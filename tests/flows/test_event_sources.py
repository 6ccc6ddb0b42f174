"""Conditions and computed traits that name sources: what comes from others is as if it had not been."""

from datetime import timedelta

import pytest

from access.services import COMMAND
from audiences import services, trait_values
from audiences.rules.validation import DefinitionError
from sources.models import Source
from tests.factories import SourceFactory
from tests.factories_audiences import World
from tests.factories_identity import archived, listening, message, resolved

pytestmark = pytest.mark.django_db
SEEN = {"kind": "event", "name": "Seen", "within": {"days": 3}}


@pytest.fixture
def world() -> World:
    """u1 was seen by the website, u2 by the app, u3 by both."""
    world = World()
    Source.objects.filter(pk=world.source.pk).update(slug="website")
    app = SourceFactory(workspace=world.space.workspace, slug="app")
    listening(world.space, app)
    for user in ("u1", "u3"):
        world.did(user, "Seen")
    for user in ("u2", "u3"):
        archived(app, message(userId=user, event="Seen", at=0))
    resolved(world.space)
    return world


@pytest.mark.parametrize(
    ("sources", "members"),
    [
        ({"only": ["website"]}, {"u1", "u3"}),
        ({"only": ["app", "website"]}, {"u1", "u2", "u3"}),
        ({"except": ["website"]}, {"u2", "u3"}),
        ({"except": ["app", "website"]}, set()),
    ],
)
def test_only_what_comes_from_them_counts_now_and_when_it_passes(
    world: World, sources: dict[str, list[str]], members: set[str]
) -> None:
    audience = services.create_audience(world.space, name="Seen", definition={**SEEN, "sources": sources}, by=COMMAND)
    world.computed()
    assert world.members(audience) == members
    world.later(timedelta(days=3))
    assert world.members(audience) == set()


def test_a_computed_trait_counts_only_them_and_a_condition_on_it_does(world: World) -> None:
    definition = {"kind": "event_counter", "name": "Seen", "sources": {"only": ["website"]}}
    trait = services.create_trait(world.space, name="Seen", definition=definition, by=COMMAND)
    asking = {"kind": "computed", "name": trait.key, "op": "atLeast", "value": 1}
    audience = services.create_audience(world.space, name="Asking", definition=asking, by=COMMAND)
    world.computed()
    assert len(trait_values.kept(world.space, trait.pk)) == 2
    assert world.members(audience) == {"u1", "u3"}
    shown = services.preview_trait(world.space, definition, include_anonymous=False, now=world.clock.now())
    assert len(shown.values) == 2


def test_a_source_that_is_not_there_is_refused_and_one_that_goes_takes_its_events_along(world: World) -> None:
    with pytest.raises(DefinitionError, match="no elsewhere"):
        services.create_audience(
            world.space, name="X", definition={**SEEN, "sources": {"only": ["elsewhere"]}}, by=COMMAND
        )
    SourceFactory(slug="theirs")  # of another workspace
    with pytest.raises(DefinitionError, match="no theirs"):
        services.preview(
            world.space, {**SEEN, "sources": {"except": ["theirs"]}}, include_anonymous=False, now=world.clock.now()
        )
    audience = services.create_audience(
        world.space, name="Y", definition={**SEEN, "sources": {"only": ["website"]}}, by=COMMAND
    )
    world.computed()
    Source.objects.filter(slug="website").update(slug="deleted-1")
    world.did("u5", "Seen")
    world.ticked()
    assert world.members(audience) == {"u1", "u3"}  # whom nothing concerned; u5 is not in it
    Source.objects.filter(slug="deleted-1").update(slug="website")
    world.did("u6", "Seen")
    world.ticked()
    assert world.members(audience) == {"u1", "u3", "u6"}
