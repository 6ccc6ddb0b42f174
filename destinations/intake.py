"""What the sync stage looks at next: rows whose retry is due, the next people of a pass, and what differs.

Nothing here writes. A pass goes through the changed profiles by profile number; `PassPosition` says how far it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from django.db.models import Max, Q, QuerySet
from pyroaring import BitMap

from audiences import trait_values
from audiences.models import Audience
from audiences.models import Change as AudienceChange
from destinations import queries
from destinations.models import Acknowledged, Subscription
from destinations.rules import backoff
from destinations.rules.comparison import Comparison
from identity import queries as identity
from identity.models import Identifier, Profile
from spaces.clock import rows_due

Recipients = dict[str, tuple[int, str]]  # {identifier type: (number, value)}: whom a call is about


@dataclass(frozen=True)
class PassPosition:
    """How far the passes of a subscription are: the four columns of the same names."""

    tick: int
    full: bool
    pass_tick: int | None
    cursor: int

    @classmethod
    def of(cls, subscription: Subscription) -> "PassPosition":
        return cls(subscription.tick, subscription.full, subscription.pass_tick, subscription.cursor)

    def save(self, subscription: Subscription) -> None:
        Subscription.objects.filter(pk=subscription.pk).update(
            tick=self.tick, full=self.full, pass_tick=self.pass_tick, cursor=self.cursor
        )


@dataclass(frozen=True)
class SyncIntake:
    """What a batch is prepared from.

    numbers: of the identifiers in question, also such as no longer exist. due: those of them whose retry is due.
    desired: for each of them; None while it is unsettled. recipients: whom the calls of the desired ones are about.
    owners: the profile number of each identifier that exists. values: of the desired ones of a computed trait, as JSON
    text. comparison: its result, when it was time for one.
    """

    before: PassPosition
    after: PassPosition
    members: BitMap
    due: BitMap
    numbers: BitMap
    desired: Mapping[int, bool | None]
    owners: Mapping[int, int]
    recipients: Mapping[int, Recipients]
    values: Mapping[int, str]
    comparison: Comparison | None = None


def retry_is_due(now: datetime) -> Q:
    """Rows, of subscriptions or of acknowledged identifiers, that wait for no retry any longer."""
    return rows_due("retry_at", now, longest=backoff.LONGEST_ASKED)


def due_rows(subscription: Subscription) -> QuerySet[Acknowledged]:
    """Rows whose call must be repeated or looked at again, now or later."""
    return Acknowledged.objects.filter(subscription=subscription, due=True)


def read_due_and_changed(subscription: Subscription, limit: int, now: datetime) -> SyncIntake | None:
    """The rows whose retry is due, then the next people of the pass; None when there are neither.

    Due rows come first and by their number of tries, so that one bad row cannot fill a batch by itself.
    """
    # A destination that fails gets a few rows at first: they show whether it is back.
    limit = min(limit, backoff.PROBE) if subscription.failures else limit
    retries = due_rows(subscription).filter(retry_is_due(now)).order_by("tries", "id")
    due = BitMap(retries.values_list("identifier", flat=True)[:limit])
    room = limit - len(due)
    before = PassPosition.of(subscription)
    position = _continue_or_begin_pass(subscription, before) if room > 0 else None
    # Read after the pass's end was noted: whatever changes from here on is in the next pass.
    members = queries.desired_members(subscription) if position or due else BitMap()
    if position is None:
        return _intake(subscription, before, before, members, due, due) if due else None
    profiles = _next_profiles(subscription, position, members, room)
    if len(profiles) == room:
        after = replace(position, cursor=max(profiles))
    else:
        after = PassPosition(position.pass_tick or 0, full=False, pass_tick=None, cursor=0)
    return _intake(subscription, before, after, members, due, due | _identifiers_to_check(subscription, profiles))


def read_comparison(subscription: Subscription, intake: SyncIntake | None, limit: int) -> SyncIntake:
    """With a comparison; and when there is nothing else to do, with the identifiers that differ.

    When more than `limit` differ, the next pass looks at everyone instead.
    """
    members = queries.desired_members(subscription)
    comparison = queries.compare_in_full(subscription, members)
    if intake:  # the pass is on its way to what differs
        return replace(intake, comparison=replace(comparison, overlooked=BitMap()))
    if comparison.overlooked:
        comparison = comparison.without(queries.unsettled(subscription, members))
    position = PassPosition.of(subscription)
    too_many = len(comparison.overlooked) > limit
    numbers = comparison.overlooked if subscription.sends and not too_many else BitMap()
    after = replace(position, full=True) if subscription.sends and too_many else position
    return replace(_intake(subscription, position, after, members, BitMap(), numbers), comparison=comparison)


def desired_states(
    subscription: Subscription, members: BitMap, owners: Mapping[int, tuple[str, int]]
) -> dict[int, bool | None]:
    """For each identifier number: whether it should be over there. None while its owner is unsettled.

    owners: {identifier number: (type, profile number)}. Unsettled is a profile that is no member, but into which a
    member was merged after the audience's newest tick: only the next tick can say whether it is one.
    """
    types = set(queries.types_of(subscription))
    outside = BitMap(profile for _, profile in owners.values()) - members
    losers = identity.all_numbers(subscription.space, outside) & members if outside else BitMap()
    unsettled = BitMap(identity.canonical(subscription.space, losers).values()) if losers else BitMap()
    desired: dict[int, bool | None] = {}
    for number, (type, profile) in owners.items():
        if type not in types:
            desired[number] = False
        elif profile in members:
            desired[number] = True
        else:
            desired[number] = None if profile in unsettled else False
    return desired


def address(
    type: str, number: int, value: str, identifiers: Iterable[tuple[str, int, str]], email_trait: str | None = None
) -> Recipients:
    """Whom the calls of one identifier are about: itself, and what a receiver needs besides.

    identifiers: (type, number, value) of all that its profile has. email_trait: which e-mail is the main one.
    A call carries the person's e-mail address always, and the userId, or for want of one an anonymousId, when it
    stands for an e-mail address. An anonymous id goes without the userId: the user's own call says that.
    """
    first: Recipients = {}
    for other_type, other_number, other_value in sorted(identifiers, key=lambda identifier: identifier[1]):
        if other_type not in first or (other_type == "email" and other_value == email_trait):
            first[other_type] = (other_number, other_value)
    beside = {"email"} if type != "email" else {"user_id"} if "user_id" in first else {"anonymous_id"}
    return {other: first[other] for other in beside if other in first} | {type: (number, value)}


def next_numbers(numbers: BitMap, after: int, limit: int) -> BitMap:
    """The smallest `limit` numbers that are larger than `after`."""
    start = numbers.rank(after)
    return BitMap(numbers[start : start + limit])


def _continue_or_begin_pass(subscription: Subscription, position: PassPosition) -> PassPosition | None:
    """The pass that is under way, or a new one up to the newest change; None when there is nothing new."""
    if position.pass_tick is not None:
        return position
    changes = AudienceChange.objects.filter(audience=subscription.audience)
    newest = changes.aggregate(newest=Max("tick"))["newest"] or 0
    if not position.full and newest <= position.tick:
        return None
    return replace(position, pass_tick=max(newest, position.tick), cursor=0)


def _next_profiles(subscription: Subscription, position: PassPosition, members: BitMap, limit: int) -> BitMap:
    """The next people of this pass, at most `limit`, by profile number."""
    if position.full:
        # Each of the two is cut to `limit` before they are joined: a million members are not copied for each batch.
        sent = Acknowledged.objects.filter(subscription=subscription, profile__gt=position.cursor)
        sent = sent.exclude(state=Acknowledged.State.OUT).order_by("profile")
        profiles = BitMap(sent.values_list("profile", flat=True).distinct()[:limit])
        return next_numbers(next_numbers(members, position.cursor, limit) | profiles, position.cursor, limit)
    changed = _changed(subscription.audience_id, position.tick, position.pass_tick or 0)
    return next_numbers(changed, position.cursor, limit)


# What was committed up to a tick is never changed, so it is read once for all batches of a pass.
@lru_cache(maxsize=32)
def _changed(audience: int, after: int, up_to: int) -> BitMap:
    """Everybody whom the changes between the two ticks are about."""
    changes = AudienceChange.objects.filter(audience=audience, tick__gt=after, tick__lte=up_to)
    rows = changes.values_list("entered", "left", "refreshed")
    return BitMap.union(BitMap(), *(BitMap.deserialize(bytes(part)) for row in rows for part in row))


def _identifiers_to_check(subscription: Subscription, profiles: BitMap) -> BitMap:
    """Identifiers of these people, and what was acknowledged of them and is no longer theirs: it has to leave."""
    canonical = BitMap(identity.canonical(subscription.space, profiles).values())
    current = identity.identifiers_of(subscription.space_id, canonical, queries.types_of(subscription))
    # What was sent about a profile that lost a merge belongs to the winner now.
    merged = identity.all_numbers(subscription.space, profiles)
    acknowledged = Acknowledged.objects.filter(subscription=subscription, profile__in=[*merged])
    return BitMap([row.number for row in current]) | BitMap(acknowledged.values_list("identifier", flat=True))


def _intake(
    subscription: Subscription,
    before: PassPosition,
    after: PassPosition,
    members: BitMap,
    due: BitMap,
    numbers: BitMap,
) -> SyncIntake:
    """With what is desired of each of `numbers`."""
    existing = Identifier.objects.filter(space=subscription.space_id, number__in=[*numbers])
    identifiers = list(existing.values_list("number", "type", "value", "profile"))
    owners = {number: profile for number, _, _, profile in identifiers}
    desired = desired_states(subscription, members, {number: (type, owner) for number, type, _, owner in identifiers})
    values: dict[int, str] = {}
    if subscription.audience.kind == Audience.Kind.TRAIT:
        wanted = {number: owners[number] for number, state in desired.items() if state}
        kept = trait_values.kept_of(subscription.space, [subscription.audience_id], BitMap(wanted.values()))[
            subscription.audience_id
        ]
        values = {number: kept[owner] for number, owner in wanted.items() if owner in kept}
        # Values are read after the members, and may be of a later tick, whose change is in the next pass.
        desired |= dict.fromkeys(wanted.keys() - values.keys(), False)
    recipients = _recipients(subscription, [row for row in identifiers if desired[row[0]] is not False])
    desired |= {number: False for number in numbers if number not in owners}  # erased
    return SyncIntake(before, after, members, due, numbers, desired, owners, recipients, values)


def _recipients(subscription: Subscription, identifiers: Sequence[tuple[int, str, str, int]]) -> dict[int, Recipients]:
    """{identifier number: whom its calls are about}. identifiers: (number, type, value, profile number)."""
    people = BitMap(profile for _, _, _, profile in identifiers)
    by_profile: dict[int, list[tuple[str, int, str]]] = {}
    for row in identity.identifiers_of(subscription.space_id, people, ["user_id", "email", "anonymous_id"]):
        by_profile.setdefault(row.profile, []).append((row.type, row.number, row.value))
    # Only who has several addresses needs the trait to say which is the main one.
    several = [
        profile for profile, own in by_profile.items() if sum(identifier[0] == "email" for identifier in own) > 1
    ]
    traits = Profile.objects.filter(space=subscription.space_id, number__in=several)
    emails = {
        number: email.strip().lower()
        for number, email in traits.values_list("number", "traits__email")
        if isinstance(email, str)
    }
    return {
        number: address(type, number, value, by_profile.get(profile, []), emails.get(profile))
        for number, type, value, profile in identifiers
    }
