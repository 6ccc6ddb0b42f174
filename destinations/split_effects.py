"""Who would be in which audience after a split, and what destinations would be told. Nothing is sent, or stored."""

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime

from pyroaring import BitMap

from audiences.future_members import members_if
from audiences.models import ComputedTrait
from destinations import queries
from destinations.models import Subscription
from destinations.rules.mapping import roots
from identity.models import Identifier as HeldIdentifier
from identity.rules.policy import Identifier
from identity.rules.splits import SplitPart
from identity.split_effects import AudienceEffect, ToldEffect
from identity.splits import Resolved

BY_COMPUTED = "Computed traits decide who goes there: known once it is done."
NEW = 2**63


def effects_of(again: Resolved, now: datetime) -> list[AudienceEffect] | None:
    """Of each audience that has, or would have, any of these people; None = they have too many events for that."""
    future = members_if(again, now)
    if future is None:
        return None
    parts = {part.number: part for part in again.parts}
    subscriptions: defaultdict[int, list[Subscription]] = defaultdict(list)
    rows = Subscription.objects.filter(space=again.component.by.space).select_related("destination", "audience")
    for subscription in rows.order_by("pk"):
        if subscription.sends:
            subscriptions[subscription.audience_id].append(subscription)
    effects = []
    for audience in future.audiences:
        before, after = future.before[audience.pk], future.after.get(audience.pk, BitMap())
        if why := future.why.get(audience.pk, ""):
            # Of one that nobody is in now nobody knows that it concerns them: it would only be noise.
            if before:
                effects.append(AudienceEffect(audience.public_id, audience.name, [*before], [], why))
        elif before or after:
            told = [
                effect
                for subscription in subscriptions[audience.pk]
                if (effect := _told(subscription, before, [parts[number] for number in after]))
            ]
            effects.append(AudienceEffect(audience.public_id, audience.name, [*before], [*after], told=told))
    return effects


def _told(subscription: Subscription, before: BitMap, parts: Collection[SplitPart]) -> ToldEffect | None:
    """What it would be told, as long as it was told of everything so far; None = nothing."""
    audience, space = subscription.audience, subscription.space_id
    if audience.ending_at is not None or subscription.recalled_at is not None:  # as for `queries.desired_members`
        return None
    sending, rules = queries.sending_of(subscription), queries.identifier_rules(subscription)
    if ComputedTrait.objects.filter(space=space, key__in=roots(sending.deciding), deleted_at=None).exists():
        return ToldEffect(subscription.public_id, subscription.destination.name, (), (), BY_COMPUTED)
    there = queries.desired_identifiers(subscription, queries.eligible(subscription, before))
    now = set(HeldIdentifier.objects.filter(space=space, number__in=[*there]).values_list("type", "value"))
    going = [part for part in parts if not sending.kept_out(part.values)]
    pairs = [pair for part in going for pair in part.identifiers]
    types, values = {type for type, _ in pairs}, {value for _, value in pairs}
    rows = HeldIdentifier.objects.filter(space=space, type__in=types, value__in=values)
    numbers = {(type, value): number for type, value, number in rows.values_list("type", "value", "number")}
    after: set[Identifier] = set()
    for part in going:
        for type, rule in rules.items():
            # By their numbers, as `queries.ONE_OF` has it; one that nobody had yet will have the highest.
            own = [pair for pair in part.identifiers if pair[0] == type]
            own.sort(key=lambda pair: numbers.get(pair, NEW))
            after.update({"all": own, "first": own[:1], "last": own[-1:]}[rule.which])
    if now == after:
        return None
    name = subscription.destination.name
    return ToldEffect(subscription.public_id, name, sorted(after - now), sorted(now - after))
