"""An audience beside another, or at another moment: who is in both, who was in it, who came and went, who will be."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from pyroaring import BitMap

from access.services import NotPossible
from audiences import queries
from audiences.models import Audience, Change, Version
from audiences.rules.grammar import conditions
from identity.queries import canonical


@dataclass(frozen=True)
class Movement:
    """The members at two moments. Whoever entered and left in between is in neither."""

    before: BitMap
    after: BitMap

    @property
    def entered(self) -> BitMap:
        return self.after - self.before

    @property
    def left(self) -> BitMap:
        return self.before - self.after


@dataclass(frozen=True)
class Overlap:
    """The members of two audiences now."""

    only_this: BitMap
    both: BitMap
    only_that: BitMap


@dataclass(frozen=True)
class Forecast:
    """Whom the audience would mean at a moment to come if no event arrived until then. entered, left: since now."""

    at: datetime
    size: int
    entered: int
    left: int


def members_at(audience: Audience, moment: datetime, now: datetime) -> BitMap:
    """Who was in it then, by the profiles that these people are now. Raises NotPossible for too long ago."""
    if moment < audience.created_at:
        return BitMap()
    if moment < now - timedelta(days=settings.KEEP_CHANGES_DAYS):
        raise NotPossible(f"Who entered and left is kept for {settings.KEEP_CHANGES_DAYS} days")
    # Backwards from now: the changes that came before are not kept for ever.
    members = queries.members(audience)
    later = Change.objects.filter(audience=audience, at__gt=moment).order_by("-tick", "-pk")
    for entered, left in later.values_list("entered", "left"):
        members = (members - queries.bitmap(entered)) | queries.bitmap(left)
    # Then they may have been several profiles; who can be opened are the winners of today.
    return BitMap(canonical(audience.space, members).values())


def movement(audience: Audience, since: datetime, until: datetime, now: datetime) -> Movement:
    """Raises NotPossible."""
    if since > until:
        raise NotPossible("The first moment must not be later than the second")
    return Movement(members_at(audience, since, now), members_at(audience, until, now))


def overlap(one: Audience, other: Audience) -> Overlap:
    members = queries.members_of([one.pk, other.pk])
    this, that = members[one.pk], members[other.pk]
    return Overlap(this - that, this & that, that - this)


def forecast(version: Version, moments: Sequence[datetime]) -> list[Forecast]:
    """Of each moment the full query as of then, with other audiences as they are now. Empty when time alone changes
    nothing. Raises Unanswerable, NotComputed and DefinitionError."""
    node = version.node
    if not any(condition.time_triggers() for condition in conditions(node)):
        return []
    audience = version.audience
    now = queries.members(audience)
    forecasts = []
    for moment in moments:
        matched = queries.matching(
            audience.space, node, include_anonymous=audience.include_anonymous, of=audience.of, now=moment
        )
        later = matched.members
        forecasts.append(Forecast(moment, len(later), len(later - now), len(now - later)))
    return forecasts
