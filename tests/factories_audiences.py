"""Audiences of a space that hears one source, evaluated by a clock that tests move."""

from datetime import timedelta

from audiences import backfill, definitions, moments, queries
from audiences.evaluate import Evaluate
from audiences.models import Audience, Version
from identity.models import Identifier, Profile
from spaces.batches import advance, open_log
from spaces.clock import FixedClock
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_identity import NOON, archived, listening, message, resolved


class World:
    """A space, its one source, and noon of the fixed day until `later`."""

    def __init__(self, space=None):
        self.space = space or SpaceFactory()
        self.source = SourceFactory(workspace=self.space.workspace)
        listening(self.space, self.source)
        self.clock = FixedClock(NOON)
        self.stage = Evaluate(self.clock)

    def did(self, user, event, *, ago=timedelta(), **fields):
        """The user did this, so long before the clock's now; it is archived and resolved."""
        at = round((self.clock.now() - ago - NOON).total_seconds() * 1000)
        self.sent(message(at=at, userId=user, event=event, **fields))

    def sent(self, *messages):
        archived(self.source, *messages)
        resolved(self.space)

    def audience(self, key, definition, **fields):
        audience = Audience.objects.create(
            workspace=self.space.workspace, space=self.space, name=key, key=key, **fields
        )
        self.version(audience, definition)
        return audience

    def version(self, audience, definition):
        """The audience's newest definition, not computed yet."""
        return Version.objects.create(
            workspace=self.space.workspace,
            audience=audience,
            number=audience.versions.count() + 1,
            definition=definition,
        )

    def ready(self):
        """The space's versions that can be computed now."""
        mine = Version.objects.filter(audience__space=self.space, pk__in=backfill.computing(self.clock.now()))
        return list(mine.order_by("pk").values_list("pk", flat=True))

    def computed(self):
        """Every version that can be computed is, and serves."""
        while versions := self.ready():
            for version in versions:
                assert backfill.compute(version, self.clock) == self.space.pk
            self.ticked()

    def ticked(self):
        """Everything that waits is evaluated. Returns how many ticks it took."""
        log = open_log(stage="evaluate", partition=self.space.pk, workspace_id=self.space.workspace_id)
        ticks = 0
        while advance(self.stage, log):
            ticks += 1
        return ticks

    def later(self, by):
        """The time passes, and is evaluated."""
        self.clock.advance(by)
        return self.ticked()

    def members(self, audience):
        """By their user ids."""
        return self.users(queries.members(audience))

    def asked(self, audience):
        """Who is meant now, by the full query."""
        version = audience.versions.order_by("-number").first()
        found = queries.matching(
            self.space,
            version.node,
            include_anonymous=audience.include_anonymous,
            of=audience.of,
            now=self.clock.now(),
        )
        return self.users(found.members)

    def users(self, numbers):
        held = Identifier.objects.filter(space=self.space, profile__in=list(numbers), type="user_id")
        assert Profile.objects.filter(space=self.space, number__in=list(numbers), merged_into=None).count() == len(
            numbers
        )
        return set(held.values_list("value", flat=True))


def restart():
    """What follows is another process, of the same release or another one: it remembers nothing."""
    definitions._recent.clear()
    moments._recent.clear()
