"""Audiences with members, people with identifiers, destinations and subscriptions, put straight into the tables.

What identity and audiences do is done here by hand, so that the sync stage is tested for what it reads alone.
"""

from datetime import UTC, datetime
from typing import Any

import factory
from django.db.models import F, Max
from msgspec.structs import asdict
from pyroaring import BitMap

from audiences.models import Audience, Change, Version
from destinations.adapters import adapter_of
from destinations.models import Destination, Subscription
from identity.models import Graph, Identifier, Profile
from spaces.models import Space
from spaces.secrets import seal
from spaces.settings_schema import parse
from tests.factories import SpaceFactory

BORN = datetime(2026, 6, 1, tzinfo=UTC)


class AudienceFactory(factory.django.DjangoModelFactory):
    """Computed, and empty."""

    class Meta:
        model = Audience
        skip_postgeneration_save = True

    space = factory.SubFactory(SpaceFactory)
    workspace = factory.SelfAttribute("space.workspace")
    name = factory.Sequence(lambda n: f"Audience {n}")
    key = factory.Sequence(lambda n: f"audience_{n}")

    @factory.post_generation
    def computed(self: Any, create: bool, computed: bool | None, **kwargs: Any) -> None:
        if computed is not False:
            self.serving = Version.objects.create(
                workspace=self.workspace, audience=self, number=1, definition={}, state=Version.State.LIVE
            )
            self.save()


def make_destination(space: Space, kind: str = "catcher", **settings: Any) -> Destination:
    """settings: as the API takes them."""
    made = parse(adapter_of(kind).settings, settings)
    return Destination.objects.create(
        workspace=space.workspace, space=space, kind=kind, name=kind, settings=seal(asdict(made))
    )


def make_subscription(audience: Audience, destination: Destination, **options: Any) -> Subscription:
    made = parse(adapter_of(destination.kind).options_for(audience.kind), options)
    return Subscription.objects.create(
        workspace=audience.workspace,
        space=audience.space,
        audience=audience,
        destination=destination,
        options=asdict(made),
    )


def make_person(space: Space, *identifiers: tuple[str, str], **traits: Any) -> int:
    """The number of a new profile that holds these identifiers."""
    graph = _graph(space)
    Graph.objects.filter(pk=graph.pk).update(last_profile=F("last_profile") + 1)
    number = Graph.objects.get(pk=graph.pk).last_profile
    Profile.objects.create(workspace=space.workspace, space=space, number=number, traits=traits, first_seen_at=BORN)
    for type, value in identifiers:
        give(space, number, type, value)
    return number


def make_people(space: Space, how_many: int, prefix: str = "u") -> BitMap:
    """Many at once, each with one user id."""
    return BitMap([make_person(space, ("user_id", f"{prefix}{n}")) for n in range(how_many)])


def give(space: Space, profile: int, type: str, value: str) -> int:
    """The number of a new identifier of this profile."""
    graph = _graph(space)
    Graph.objects.filter(pk=graph.pk).update(last_identifier=F("last_identifier") + 1)
    number = Graph.objects.get(pk=graph.pk).last_identifier
    Identifier.objects.create(
        workspace=space.workspace,
        space=space,
        number=number,
        type=type,
        value=value,
        profile=profile,
        first_seen_at=BORN,
        message_id="m",
    )
    return number


def merge(space: Space, loser: int, winner: int) -> None:
    """What resolve leaves behind. The audience has not heard of it yet."""
    Identifier.objects.filter(space=space, profile=loser).update(profile=winner)
    Profile.objects.filter(space=space, merged_into=loser).update(merged_into=winner)
    Profile.objects.filter(space=space, number=loser).update(merged_into=winner)


def change(
    audience: Audience, *, entered: Any = (), left: Any = (), refreshed: Any = (), at: datetime = BORN
) -> Change:
    """One tick of the audience, as evaluate commits it."""
    newest = Change.objects.filter(space=audience.space).aggregate(newest=Max("tick"))["newest"] or 0
    entered, left = BitMap(entered), BitMap(left)
    size = (audience.size or 0) + len(entered) - len(left)
    Audience.objects.filter(pk=audience.pk).update(size=size)
    audience.size = size
    return Change.objects.create(
        workspace=audience.workspace,
        space=audience.space,
        audience=audience,
        tick=newest + 1,
        at=at,
        cause=Change.Cause.EVENTS,
        entered=entered.serialize(),
        left=left.serialize(),
        refreshed=BitMap(refreshed).serialize(),
        size=size,
    )


def _graph(space: Space) -> Graph:
    return Graph.objects.get_or_create(space=space, defaults={"workspace": space.workspace})[0]
