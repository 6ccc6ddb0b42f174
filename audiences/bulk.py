"""The same change to several audiences or computed traits. What cannot be done with one of them stops no other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from access.services import ActorLike, NotPossible
from audiences import services
from audiences.models import Audience
from audiences.rules.labels import LabelRefused

MOST_AT_ONCE = 100
ENABLE, DISABLE, LABEL, MOVE, DELETE = "enable", "disable", "label", "move", "delete"
ACTIONS = (ENABLE, DISABLE, LABEL, MOVE, DELETE)


@dataclass(frozen=True)
class BulkOutcome:
    """What became of one of them. problem: why nothing was done; "" when it was."""

    audience: Audience
    problem: str


def chosen(rows: QuerySet[Audience], public_ids: Sequence[str]) -> list[Audience] | None:
    """Those of `rows` that have these ids, by name; None when one of the ids is of none of them."""
    wanted = set(public_ids)
    matched = list(rows.filter(public_id__in=wanted).order_by("name", "pk"))
    return matched if len(matched) == len(wanted) else None


def act(
    audiences: Sequence[Audience], action: str, *, label: str = "", folder: str = "", now: datetime, by: ActorLike
) -> list[BulkOutcome]:
    """One of ACTIONS is done with each of them, in a transaction of its own.

    label: the one that LABEL adds. folder: where MOVE puts them; "" = in none.
    """
    if action == DELETE:
        return _delete(audiences, now=now, by=by)
    change: dict[str, Callable[[Audience], dict[str, Any]]] = {
        ENABLE: lambda audience: {} if audience.enabled else {"enabled": True},
        DISABLE: lambda audience: {"enabled": False} if audience.enabled else {},
        MOVE: lambda audience: {} if folder == audience.folder else {"folder": folder},
        LABEL: lambda audience: {} if label in audience.labels else {"labels": [*audience.labels, label]},
    }
    outcomes = []
    for audience in audiences:
        problem = ""
        try:
            if changes := change[action](audience):
                services.change_audience(audience, **changes, by=by)
        except (NotPossible, LabelRefused) as refusal:
            problem = str(refusal)
        outcomes.append(BulkOutcome(audience, problem))
    return outcomes


def _delete(audiences: Sequence[Audience], *, now: datetime, by: ActorLike) -> list[BulkOutcome]:
    """Whoever asks about another one goes before it, so that those who ask about each other's can go together."""
    left, problems = list(audiences), dict.fromkeys((audience.pk for audience in audiences), "")
    while left:  # each round deletes one at least: as many rounds as there are audiences, at most
        refused = []
        for audience in left:
            try:
                services.delete_audience(audience, now=now, by=by)
            except NotPossible as refusal:
                problems[audience.pk] = str(refusal)
                refused.append(audience)
            else:
                problems[audience.pk] = ""
        if len(refused) == len(left):
            break  # whoever asks about these is none of them
        left = refused
    return [BulkOutcome(audience, problems[audience.pk]) for audience in audiences]
