"""What each space has, read for all of them at once: as many queries for twenty spaces as for one."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db.models import Count, Max, Min, Q, Sum

from access import queries as access
from access.models import Membership
from audiences.evaluate import NAME as EVALUATE
from audiences.models import Audience
from console.checklist import Facts, SpaceFacts, farthest
from destinations.models import Subscription
from destinations.rules.status import STOPPED
from identity.models import Profile
from sources.models import Connection, Replay
from sources.queries import RESOLVE
from spaces.models import Log, Space, Workspace

Status = Subscription.Status
LISTENS = ~Q(state=Connection.State.DISCONNECTED)
REPLAYS = Q(state=Connection.State.REPLAYING)


def standings(spaces: Sequence[Space]) -> dict[int, SpaceFacts]:
    """By the space's key."""
    keys = [space.pk for space in spaces]
    held: dict[int, dict[str, Any]] = defaultdict(dict)
    for row in [*_connections(keys), *_people(keys), *_audiences(keys), *_subscriptions(keys)]:
        held[row.pop("space")] |= row
    for row in _replays(keys):
        held[row["space"]]["percent"] = round(min(100 * row["done"] / row["total"], 99.9), 1) if row["total"] else 0.0
    for space, audience, subscription in _first_ways(keys):
        held[space]["first_way"] = (audience, subscription)
    for space, failures in _failures(keys):
        held[space]["failures"] = failures
    return {space.pk: SpaceFacts(space.name, space.slug, **held[space.pk]) for space in spaces}


def facts(workspace: Workspace, spaces: Sequence[Space], known: dict[int, SpaceFacts]) -> Facts:
    """Of the workspace as somebody sees it who may read these spaces."""
    kinds = {kind: [known[space.pk] for space in spaces if space.kind == kind] for kind in Space.Kind}
    return Facts(
        dev=farthest(kinds[Space.Kind.DEV]),
        prod=farthest(kinds[Space.Kind.PROD]),
        members=Membership.objects.filter(workspace=workspace).count(),
        invited=access.pending(workspace).count(),
    )


def _connections(keys: list[int]) -> Any:
    rows = Connection.objects.filter(LISTENS, space__in=keys).values("space").order_by()
    return rows.annotate(sources=Count("pk"), replaying=Count("pk", filter=REPLAYS))


def _people(keys: list[int]) -> Any:
    rows = Profile.objects.filter(space__in=keys, merged_into=None, kind=Profile.Kind.USER)
    return rows.values("space").order_by().annotate(people=Count("pk"))


def _audiences(keys: list[int]) -> Any:
    rows = Audience.objects.filter(space__in=keys, deleted_at=None).values("space").order_by()
    return rows.annotate(audiences=Count("pk"), computed=Count("serving"), first_audience=Min("public_id"))


def _subscriptions(keys: list[int]) -> Any:
    rows = Subscription.objects.filter(space__in=keys, audience__deleted_at=None).values("space").order_by()
    going = Q(enabled=True, destination__enabled=True, audience__enabled=True)
    return rows.annotate(
        subscriptions=Count("pk"),
        in_step=Count("pk", filter=going & Q(status=Status.IN_STEP)),
        retrying=Count("pk", filter=going & Q(status=Status.RETRYING)),
        refused=Count("pk", filter=going & Q(status=Status.REFUSED)),
        differing=Count("pk", filter=going & Q(status=Status.DIFFERS)),
        stopped=Count("pk", filter=going & Q(status__in=STOPPED)),
    )


def _first_ways(keys: list[int]) -> Any:
    rows = Subscription.objects.filter(space__in=keys, audience__deleted_at=None)
    rows = rows.order_by("space", "pk").distinct("space")
    return rows.values_list("space", "audience__public_id", "public_id")


def _replays(keys: list[int]) -> Any:
    rows = Replay.objects.filter(space__in=keys, state=Replay.State.RUNNING).values("space").order_by()
    return rows.annotate(done=Sum("done"), total=Sum("total"))


def _failures(keys: list[int]) -> Any:
    rows = Log.objects.filter(stage__in=[RESOLVE, EVALUATE], partition__in=keys).values("partition").order_by()
    return rows.annotate(most=Max("failures")).values_list("partition", "most")
