"""Full computes: a new version of an audience gets its members beside the ticks, and joins at the next one."""

from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef

from audiences import queries, ticks
from audiences.grammar import audiences as keys_of
from audiences.grammar import parse
from audiences.models import Audience, Evaluation, Version
from sources.models import Replay
from spaces.clock import Clock
from spaces.models import Space
from spaces.pieces import Visible


def computing() -> list[int]:
    """Versions whose full query can run now: no replay is under way, and what they ask about has been computed."""
    replaying = Replay.objects.filter(space=OuterRef("audience__space"), state=Replay.State.RUNNING)
    found = queries.newest_versions().filter(state=Version.State.COMPUTING).exclude(Exists(replaying))
    return [version.pk for version in found.select_related("audience") if _ready(version)]


def compute(version: int, clock: Clock) -> int | None:
    """The version's members are known as of a noted moment, and it joins at the next tick of the returned space.

    None when there is nothing to compute. A definition that cannot be answered fails, with the reason.
    """
    waiting = queries.newest_versions().filter(pk=version, state=Version.State.COMPUTING)
    found = waiting.select_related("audience__space").first()
    if found is None:
        return None
    space = found.audience.space
    seen, now = _note_place(found, space, clock)
    noted = Version.objects.filter(pk=found.pk, state=Version.State.COMPUTING, touched=seen.end, clock_at=now)
    try:
        matched = queries.matching(
            space, found.node, include_anonymous=found.audience.include_anonymous, now=now, log=seen
        )
    except queries.NotComputed:
        return None  # beat tries again
    except ValueError as error:
        noted.update(state=Version.State.FAILED, error=str(error)[:2000].replace("\0", " "))
        return None
    if not noted.update(state=Version.State.CATCHING_UP, snapshot=matched.members.serialize()):
        return None  # somebody else began again
    return space.pk


def _ready(version: Version) -> bool:
    keys = keys_of(parse(version.definition))
    computed = Audience.objects.filter(space=version.audience.space_id, key__in=keys, serving__isnull=False)
    return computed.count() == len(keys)


def _note_place(version: Version, space: Space, clock: Clock) -> tuple[Visible, datetime]:
    """The version starts from here. With the space's evaluation held, so that no touch it needs is forgotten."""
    with transaction.atomic():
        Evaluation.objects.get_or_create(space=space, defaults={"workspace_id": space.workspace_id})
        evaluation = Evaluation.objects.select_for_update().get(space=space)
        seen = queries.resolved(space)
        now = ticks.now_of(clock, evaluation, [])
        tick, _ = queries.newest_tick(space)
        Version.objects.filter(pk=version.pk).update(touched=seen.end, clock_at=now, tick=tick)
    return seen, now
