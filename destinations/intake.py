"""What the sync stage looks at next: rows whose retry is due, the next people of a pass, and what differs.

Nothing here writes. A pass goes through the changed profiles by profile number; `PassPosition` says how far it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from django.db.models import F, Max, Q, QuerySet
from pyroaring import BitMap

from audiences import trait_values
from audiences.models import Audience
from audiences.models import Change as AudienceChange
from destinations import queries
from destinations.models import Acknowledged, Subscription
from destinations.rules import backoff
from destinations.rules.comparison import Comparison
from destinations.rules.sending import IdentifierRule
from identity import queries as identity
from identity.models import Profile
from identity.queries import OwnIdentifier
from spaces.among import among
from spaces.clock import rows_due

SETTLED = timedelta(seconds=10)  # after an audience ended: longer than a batch is prepared

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
    text. traits: by profile number, those that fields are filled with. kept_out: identifiers of members who do not go,
    and why. comparison: its result, when it was time for one. capped: so many people wait for a nod; None = unchanged.
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
    traits: Mapping[int, Mapping[str, Any]]
    kept_out: Mapping[int, str]
    comparison: Comparison | None = None
    capped: int | None = None


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
    waits = subscription.capped_people > 0
    position = _continue_or_begin_pass(subscription, before) if room > 0 and not waits else None
    # Counted before a pass begins: once half of it is out, the other half cannot be kept back for a nod.
    if position and before.pass_tick is None and (many := _people_over_the_cap(subscription, position)):
        members = queries.desired_members(subscription) if due else BitMap()
        return replace(_intake(subscription, before, before, members, due, due), capped=many)
    # Read after the pass's end was noted: whatever changes from here on is in the next pass.
    members = queries.desired_members(subscription) if position or due else BitMap()
    if position is None:
        return _intake(subscription, before, before, members, due, due) if due else None
    profiles = _next_profiles(subscription, position, members, room)
    held = _held(subscription, profiles)
    if len(profiles) == room:  # as many as asked for: others may follow
        after = replace(position, cursor=max(profiles))
    else:
        after = PassPosition(position.pass_tick or 0, full=False, pass_tick=None, cursor=0)
    types = queries.types_of(subscription)
    numbers = due | BitMap(row.number for row in held if row.type in types) | _acknowledged_of(subscription, profiles)
    return _intake(subscription, before, after, members, due, numbers, held)


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
    capped = _people_over_the_cap(subscription, _continue_or_begin_pass(subscription, position) or position)
    sends = subscription.sends and not capped
    # A pass counts people before it begins. Here each identifier is taken for one: never too few are.
    too_many = len(comparison.overlooked) > limit or is_over_cap(subscription, len(comparison.overlooked))
    numbers = comparison.overlooked if sends and not too_many else BitMap()
    after = replace(position, full=True) if sends and too_many else position
    intake = _intake(subscription, position, after, members, BitMap(), numbers)
    return replace(intake, comparison=comparison, capped=capped)


def read_person(subscription: Subscription, profile: int) -> SyncIntake:
    """What would be prepared for one person, if they were a member. profile: their number."""
    person, position = BitMap([profile]), PassPosition.of(subscription)
    identifiers = identity.identifiers_of(subscription.space_id, person, queries.types_of(subscription))
    return _intake(subscription, position, position, person, BitMap(), BitMap([row.number for row in identifiers]))


def desired_states(
    subscription: Subscription, members: BitMap, owners: Mapping[int, tuple[str, int]]
) -> dict[int, bool | None]:
    """For each identifier number: whether it should be over there. None while its owner is unsettled.

    owners: {identifier number: (type, profile number)}. Unsettled is a profile that is no member, but into which a
    member was merged, or which was split from one, after the newest tick: only the next one can say whether it is one.
    """
    rules = queries.identifier_rules(subscription)
    # Filters and consent are asked only of the members in question: not of a million for each batch.
    inside = BitMap(profile for _, profile in owners.values()) & members
    inside -= BitMap(queries.kept_out(subscription, inside))
    chosen = _chosen(subscription, rules, inside)
    outside = BitMap(profile for _, profile in owners.values()) - members
    # Merged into somebody who is no member: the audience may still count the profile that is gone.
    losers = identity.all_numbers(subscription.space, outside) & members if outside else BitMap()
    unsettled = BitMap(identity.canonical(subscription.space, losers).values()) if losers else BitMap()
    unsettled |= queries.moved_since_tick(subscription)
    desired: dict[int, bool | None] = {}
    for number, (type, profile) in owners.items():
        if type not in rules:
            desired[number] = False
        elif profile in members:
            desired[number] = profile in inside and (rules[type].which == "all" or number in chosen)
        else:
            desired[number] = None if profile in unsettled else False
    return desired


def address(
    type: str,
    number: int,
    value: str,
    identifiers: Iterable[tuple[str, int, str]],
    rules: Mapping[str, IdentifierRule],
    email_trait: str | None = None,
) -> Recipients:
    """Whom the calls of one identifier are about: itself, and what a receiver needs besides; as they are shown there.

    identifiers: (type, number, value) of all that its profile has. rules: of the types that may go; a type without one
    goes only with another. email_trait: which e-mail is the main one.
    A call carries the person's e-mail address always, and the userId, or for want of one an anonymousId, when it
    stands for neither. An anonymous id goes without the userId: the user's own call says that.
    """
    # By number, so that what is chosen is the same on every attempt: the oldest, or by rule the last.
    main: Recipients = {}
    for other_type, other_number, other_value in sorted(identifiers, key=lambda identifier: identifier[1]):
        last = other_type in rules and rules[other_type].which == "last"
        if other_type not in main or last or (other_type == "email" and other_value == email_trait):
            main[other_type] = (other_number, other_value)
    known_by = {"user_id"} if "user_id" in main else {"anonymous_id"}
    beside = {"email"} if type in ("user_id", "anonymous_id") else known_by if type == "email" else {"email"} | known_by
    sent = {other: main[other] for other in beside if other in main} | {type: (number, value)}
    return {
        other: (number, rules[other].shown(text) if other in rules else text) for other, (number, text) in sent.items()
    }


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
    # An empty pass would be a batch that writes a row and does nothing.
    if not position.full and newest <= position.tick:
        return None
    return replace(position, pass_tick=max(newest, position.tick), cursor=0)


def _people_over_the_cap(subscription: Subscription, position: PassPosition) -> int:
    """How many people a pass would change, if they are more than may go without a nod; else 0."""
    nodded = subscription.nodded_tick is not None and subscription.nodded_tick >= (position.pass_tick or position.tick)
    cap = None if nodded else cap_of(subscription)
    if cap is None:
        return 0
    if position.full:
        sent = Acknowledged.objects.filter(subscription=subscription).exclude(state=Acknowledged.State.OUT)
        there = BitMap(sent.values_list("profile", flat=True).distinct())
        # A full pass looks at everybody, but only whoever differs is sent about.
        people = queries.eligible(subscription, queries.desired_members(subscription)) ^ there
    else:
        people = _changed(subscription.audience_id, position.tick, position.pass_tick or 0).moved
    return len(people) if len(people) > cap else 0


def _next_profiles(subscription: Subscription, position: PassPosition, members: BitMap, limit: int) -> BitMap:
    """The next people of this pass, at most `limit`, by profile number."""
    if position.full:
        # Each of the two is cut to `limit` before they are joined: a million members are not copied for each batch.
        sent = Acknowledged.objects.filter(subscription=subscription, profile__gt=position.cursor)
        sent = sent.exclude(state=Acknowledged.State.OUT).order_by("profile")
        profiles = BitMap(sent.values_list("profile", flat=True).distinct()[:limit])
        return next_numbers(next_numbers(members, position.cursor, limit) | profiles, position.cursor, limit)
    changed = _changed(subscription.audience_id, position.tick, position.pass_tick or 0)
    return next_numbers(changed.everybody, position.cursor, limit)


class _ChangedPeople(NamedTuple):
    """Whom the changes between two ticks are about. moved: those who entered or left, though they may be back."""

    moved: BitMap
    everybody: BitMap


# What was committed up to a tick is never changed, so it is read once for all batches of a pass.
@lru_cache(maxsize=32)
def _changed(audience: int, after: int, up_to: int) -> _ChangedPeople:
    moved, refreshed = BitMap(), BitMap()
    changes = AudienceChange.objects.filter(audience=audience, tick__gt=after, tick__lte=up_to)
    for change in changes.only("entered", "left", "refreshed"):
        moved |= BitMap.deserialize(bytes(change.entered)) | BitMap.deserialize(bytes(change.left))
        refreshed |= BitMap.deserialize(bytes(change.refreshed))
    return _ChangedPeople(moved, moved | refreshed)


def _held(subscription: Subscription, profiles: BitMap) -> list[OwnIdentifier]:
    """What these people have of the types that go, and of those that go along."""
    canonical = BitMap(identity.canonical(subscription.space, profiles).values())
    types = {*queries.types_of(subscription), *_companions(subscription)}
    return identity.identifiers_of(subscription.space_id, canonical, types)


def _acknowledged_of(subscription: Subscription, profiles: BitMap) -> BitMap:
    """What was acknowledged of these people: of what is theirs no longer, it has to leave."""
    # What was sent about a profile that lost a merge belongs to the winner now.
    merged = identity.all_numbers(subscription.space, profiles)
    acknowledged = Acknowledged.objects.filter(among("profile", merged), subscription=subscription)
    return BitMap(acknowledged.values_list("identifier", flat=True))


def _intake(
    subscription: Subscription,
    before: PassPosition,
    after: PassPosition,
    members: BitMap,
    due: BitMap,
    numbers: BitMap,
    held: Sequence[OwnIdentifier] = (),
) -> SyncIntake:
    """With what is desired of each of `numbers`. held: all that some of the people have, as `_held` gives it."""
    identifiers = [row for row in held if row.number in numbers]
    others = numbers - BitMap(row.number for row in identifiers)
    identifiers += identity.identifiers_by_number(subscription.space_id, others) if others else []
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
    # Of an exit nobody is looked up: it goes to whom the entry went.
    recipients = recipients_of(subscription, [row for row in identifiers if desired[row[0]] is not False], held)
    rules = queries.sending_of(subscription)
    of_people = BitMap(owners.values())
    traits = queries.traits_of(subscription, of_people, rules.traits) if rules.traits else {}
    out = queries.kept_out(subscription, of_people & members)
    types = queries.types_of(subscription)
    # By identifier, since the log has a line for each.
    kept_out = {number: out[owner] for number, type, _, owner in identifiers if owner in out and type in types}
    desired |= {number: False for number in numbers if number not in owners}  # erased
    return SyncIntake(before, after, members, due, numbers, desired, owners, recipients, values, traits, kept_out)


def _chosen(subscription: Subscription, rules: Mapping[str, IdentifierRule], people: BitMap) -> BitMap:
    """Of the types of which one goes, that one, for each of these people."""
    of_one = {type: rule for type, rule in rules.items() if rule.which != "all"}
    if not of_one:
        return BitMap()
    chosen: dict[tuple[int, str], int] = {}
    for row in identity.identifiers_of(subscription.space_id, people, [*of_one]):  # the oldest first
        if (row.profile, row.type) not in chosen or of_one[row.type].which == "last":
            chosen[row.profile, row.type] = row.number
    return BitMap(chosen.values())


def recipients_of(
    subscription: Subscription,
    identifiers: Sequence[tuple[int, str, str, int]],
    held: Sequence[OwnIdentifier] = (),
) -> dict[int, Recipients]:
    """{identifier number: whom its calls are about}. identifiers: (number, type, value, profile number).

    held: all that some of these people have, as `_held` gives it; of the others it is read.
    """
    by_profile: dict[int, list[tuple[str, int, str]]] = {}
    rules, companions = queries.identifier_rules(subscription), _companions(subscription)
    others = BitMap(profile for _, _, _, profile in identifiers) - BitMap(row.profile for row in held)
    read = identity.identifiers_of(subscription.space_id, others, companions) if others else []
    for row in (*held, *read):
        if row.type in companions:
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
        number: address(type, number, value, by_profile.get(profile, []), rules, emails.get(profile))
        for number, type, value, profile in identifiers
    }


def _companions(subscription: Subscription) -> list[str]:
    """Types that go along with others. Where somebody has chosen what goes, nothing else goes along with it."""
    rules, chosen = queries.identifier_rules(subscription), queries.sending_of(subscription).identifiers
    return [type for type in queries.PEOPLES_TYPES if type in rules or not chosen]


def cap_of(subscription: Subscription) -> int | None:
    """People, or accounts, that may go without anybody's nod: a share of the space's; None = as many as there are."""
    # Counted only where there is a cap: of a million people it takes a tenth of a second.
    percent = queries.sending_of(subscription).cap_percent
    if not percent:
        return None
    kind = identity.COLLECTIONS[subscription.audience.of]
    return identity.living(subscription.space, kind).count() * percent // 100


def is_over_cap(subscription: Subscription, people: int) -> bool:
    """Whether so many may not go in one go without anybody's nod."""
    cap = cap_of(subscription)
    return cap is not None and people > cap


def ending_to_be_compared(now: datetime) -> Q:
    """Subscriptions of audiences that end, which were not compared since then, and again once all is settled."""
    unseen = Q(compared_at=None) | Q(compared_at__lt=F("audience__ending_at"))
    unsettled = Q(audience__ending_at__lte=now - SETTLED, compared_at__lt=F("audience__ending_at") + SETTLED)
    return Q(audience__ending_at__lte=now) & (unseen | unsettled)


def is_ending_to_be_compared(subscription: Subscription, now: datetime) -> bool:
    """The same of one subscription."""
    ending_at, compared_at = subscription.audience.ending_at, subscription.compared_at
    if ending_at is None or ending_at > now:
        return False
    if compared_at is None or compared_at < ending_at:
        return True
    return ending_at <= now - SETTLED and compared_at < ending_at + SETTLED
