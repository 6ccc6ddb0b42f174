"""Full computes: a new version of an audience gets its members beside the ticks, and joins at the next one."""

from datetime import datetime

from clickhouse_connect.driver.exceptions import DatabaseError
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from audiences import evaluation, failures, queries
from audiences.failures import Trouble
from audiences.models import Audience, Evaluation, Version
from audiences.rules.grammar import audiences as keys_of
from audiences.rules.grammar import parse
from audiences.rules.validation import DefinitionError
from sources.events import client
from sources.models import Replay
from spaces.batches import Visible
from spaces.clock import Clock, rows_due
from spaces.models import Space

TO_COMPUTE = (Version.State.COMPUTING, Version.State.FAILED)


def computing(now: datetime) -> list[int]:
    """Versions whose full query is to run now: new ones, and those that have failed once more.

    No replay is under way, what they ask about has been computed, and they do not wait for their next attempt.
    """
    # A replay writes for hours; a full query of half of it would have to be done again at its end.
    replaying = Replay.objects.filter(space=OuterRef("audience__space"), state=Replay.State.RUNNING)
    versions = _waiting(now).exclude(Exists(replaying)).defer("snapshot")
    return [version.pk for version in versions.select_related("audience") if _ready(version)]


def compute(version_id: int, clock: Clock) -> int | None:
    """The version's members are known as of a noted moment, and it joins at the next tick of the returned space.

    None when there is nothing to compute, or it did not work: then it is tried again, and says why.
    """
    version = _waiting(clock.now()).filter(pk=version_id).select_related("audience__space").defer("snapshot").first()
    if version is None:
        return None
    space = version.audience.space
    seen, now = _note_place(version, space, clock)
    # By its place: whoever begins the version anew meanwhile notes another one, and this result must not count then.
    noted = Version.objects.filter(pk=version.pk, state=version.state, touched=seen.end, clock_at=now)
    # Only of one that has failed before does it matter: a failure beside others' statements may be theirs.
    idle = version.failures > 0 and _is_idle()
    try:
        matched = queries.matching(
            space,
            version.node,
            include_anonymous=version.audience.include_anonymous,
            of=version.audience.of,
            now=now,
            log=seen,
        )
    # What it asks about was there a moment ago: it was deleted, or is computed anew.
    except queries.NotComputed:
        return None  # beat tries again
    except (DefinitionError, queries.Unanswerable) as error:
        with transaction.atomic():
            unanswered = noted.select_for_update().first()
            if unanswered is not None:
                _keep_failure(unanswered, error, idle=idle, now=clock.now())
        return None
    if not noted.update(state=Version.State.CATCHING_UP, computed=matched.members.serialize(), **failures.WELL):
        return None  # somebody else began again
    return space.pk


def _keep_failure(
    version: Version, error: DefinitionError | queries.Unanswerable, *, idle: bool, now: datetime
) -> None:
    if isinstance(error, DefinitionError):
        failures.failed(version, failures.unreadable(error), now, again=failures.READ_AGAIN)
    elif error.passes:
        failures.trouble(version, Trouble(str(error), alone=True, idle=idle and _is_idle()), now)
    else:
        failures.failed(version, str(error), now)


def _is_idle() -> bool:
    try:
        return not client.busy()
    except DatabaseError:
        return False


def _waiting(now: datetime) -> QuerySet[Version]:
    to_compute = queries.kept_versions().filter(state__in=TO_COMPUTE)
    return to_compute.filter(rows_due("retry_at", now, longest=failures.TRIED_AGAIN))


def _ready(version: Version) -> bool:
    try:
        keys = keys_of(parse(version.definition))
    except DefinitionError:
        return True  # so that it fails, with the reason
    # Of what it asks about, that must serve: without members of those there is no answer.
    computed = Audience.objects.filter(space=version.audience.space_id, key__in=keys, serving__isnull=False)
    return computed.count() == len(keys)


def _note_place(version: Version, space: Space, clock: Clock) -> tuple[Visible, datetime]:
    """The version starts from here. With the space's evaluation held, so that no change set it needs is forgotten."""
    with transaction.atomic():
        Evaluation.objects.get_or_create(space=space, defaults={"workspace_id": space.workspace_id})
        state = Evaluation.objects.select_for_update().get(space=space)
        # Read under the lock: what is resolved after this is in change sets that are not forgotten before it joins.
        seen = queries.resolved(space)
        now = evaluation.now_of(clock.now(), state, [])
        tick, _ = queries.newest_tick(space)
        Version.objects.filter(pk=version.pk).update(touched=seen.end, clock_at=now, tick=tick)
    return seen, now
