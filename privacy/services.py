"""What can be asked for about people. Each request leaves an audit entry that names nobody."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from access.services import ActorLike, NotPossible, actor_of, audit
from privacy.erasing import RegulationWork, sealed
from privacy.models import Regulation
from privacy.rules.kinds import KINDS
from sources.rules.suppression import Identifier
from sources.suppression import suppress, unsuppress
from spaces.models import Space, Workspace

MOST_UNDER_WAY = 100  # of a workspace: each goes through its archive
State = Regulation.State


def regulate(
    workspace: Workspace,
    *,
    kind: str,
    subjects: Sequence[Identifier],
    space: Space | None = None,
    now: datetime,
    by: ActorLike,
) -> Regulation:
    """Suppression counts from the next batch of each source on; erasing is a job that has begun.

    subjects: as `rules.subjects.subjects` gives them. space: None = the whole workspace. Raises NotPossible.
    """
    what = KINDS[kind]
    if space and not what.of_spaces:
        raise NotPossible("Suppression is of the whole workspace: a message dies before any space has read it.")
    under_way = Regulation.objects.filter(workspace=workspace, finished_at=None)
    if what.erases and under_way.count() >= MOST_UNDER_WAY:
        raise NotPossible(f"{MOST_UNDER_WAY} requests are under way. Put more identifiers into one, or wait.")
    with transaction.atomic():
        # First, so that nothing comes in behind the job.
        if what.suppresses:
            suppress(workspace.pk, subjects, now=now)
        if what.unsuppresses:
            unsuppress(workspace.pk, subjects)
        # Whom it is about is sealed while it runs, and forgotten when it is done: a list of those who asked to be
        # forgotten would be one more place that knows them.
        regulation = Regulation.objects.create(
            workspace=workspace,
            space=space,
            kind=kind,
            subjects=len(subjects),
            sealed=sealed(RegulationWork([*subjects])) if what.erases else None,
            state=State.INITIALIZED if what.erases else State.FINISHED,
            requested_by=actor_of(by).user,
            requested_at=now,
            finished_at=None if what.erases else now,
        )
        audit(
            by, "privacy.requested", regulation, kind=kind, identifiers=len(subjects), space=space and space.public_id
        )
    return regulation
