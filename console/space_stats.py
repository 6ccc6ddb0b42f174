"""What each space has, read for all of them at once: as many queries for twenty spaces as for one."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any

from django.db.models import Count, Max, Min, Q, Sum

from access import queries as access
from access.models import Membership
from audiences.evaluate import NAME as EVALUATE
from audiences.models import Audience
from console.checklist import SpaceFacts, WorkspaceFacts, most_advanced
from destinations.models import Subscription
from destinations.rules.status import STOPPED
from identity.models import Profile
from sources.models import Connection, Replay
from sources.queries import RESOLVE
from spaces.models import Log, Space, Workspace

Status = Subscription.Status


def space_facts(spaces: Sequence[Space]) -> dict[int, SpaceFacts]:
    """The facts of each space, by its primary key, in the order of `spaces`."""
    keys = [space.pk for space in spaces]
    replaying = Q(state=Connection.State.REPLAYING)
    connections = Connection.objects.filter(space__in=keys).exclude(state=Connection.State.DISCONNECTED)
    # A merged profile stays as a row that points to its winner: counting it would count the person twice.
    people = Profile.objects.filter(space__in=keys, merged_into=None, kind=Profile.Kind.USER)
    audiences = Audience.objects.filter(space__in=keys, deleted_at=None)
    subscriptions = Subscription.objects.filter(space__in=keys, audience__deleted_at=None)
    # What is switched off keeps the status it had; it is no trouble any more.
    active = Q(enabled=True, destination__enabled=True, audience__enabled=True)
    # One statement for each table: a single one with all the joins would multiply the rows and count wrongly.
    figures: list[Any] = [
        connections.values("space").annotate(sources=Count("pk"), replaying=Count("pk", filter=replaying)),
        people.values("space").annotate(people=Count("pk")),
        audiences.values("space").annotate(
            audiences=Count("pk"), computed=Count("serving"), first_audience=Min("public_id")
        ),
        subscriptions.values("space").annotate(
            subscriptions=Count("pk"),
            in_step=Count("pk", filter=active & Q(status=Status.IN_STEP)),
            retrying=Count("pk", filter=active & Q(status=Status.RETRYING)),
            refused=Count("pk", filter=active & Q(status=Status.REFUSED)),
            differing=Count("pk", filter=active & Q(status=Status.DIFFERS)),
            stopped=Count("pk", filter=active & Q(status__in=STOPPED)),
        ),
    ]
    facts: dict[int, dict[str, Any]] = defaultdict(dict)
    for row in chain.from_iterable(figures):
        facts[row.pop("space")] |= row
    replays = Replay.objects.filter(space__in=keys, state=Replay.State.RUNNING).values("space")
    for row in replays.annotate(done=Sum("done"), total=Sum("total")):
        # Never 100 while one runs: that would read as complete before its last batch is visible.
        facts[row["space"]]["percent"] = round(min(100 * row["done"] / row["total"], 99.9), 1) if row["total"] else 0.0
    first = subscriptions.order_by("space", "pk").distinct("space")
    for space, audience, subscription in first.values_list("space", "audience__public_id", "public_id"):
        facts[space]["first_subscription"] = (audience, subscription)
    # A log has no foreign key to the space: its `owner` is the space for these two stages alone.
    logs = Log.objects.filter(stage__in=[RESOLVE, EVALUATE], partition__in=keys).values("partition")
    for space, failures in logs.annotate(most=Max("failures")).values_list("partition", "most"):
        facts[space]["failures"] = failures
    return {space.pk: SpaceFacts(space.name, space.slug, **facts[space.pk]) for space in spaces}


def workspace_facts(workspace: Workspace, spaces: Sequence[Space], facts: dict[int, SpaceFacts]) -> WorkspaceFacts:
    """What the checklist needs. spaces: those that the reader may see; facts: of them, by primary key."""
    kinds = {kind: [facts[space.pk] for space in spaces if space.kind == kind] for kind in Space.Kind}
    return WorkspaceFacts(
        dev=most_advanced(kinds[Space.Kind.DEV]),
        prod=most_advanced(kinds[Space.Kind.PROD]),
        members=Membership.objects.filter(workspace=workspace).count(),
        invited=access.pending(workspace).count(),
    )
