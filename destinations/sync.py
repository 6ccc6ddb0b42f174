"""The sync stage: each subscription keeps what its destination holds in step with its audience.

*Prepare* compares what is desired with what was acknowledged, for the next people of this pass or for the rows
whose retry is due, and marks MAYBE what it is going to say. *Write* says it. *Commit* notes what was answered.
A pass goes through the changed profiles by number, so that any number of them costs no more per batch; what
changes meanwhile is the next pass. Rows that got no answer are `due` and are looked at again, on their own time.

A pass goes where changes lead it, and a change may have been missed: while an audience stood still, say. So when
there is nothing else to do, desired and acknowledged are *compared* as sets, and what differs is said. Only a
comparison says that a subscription is in step.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow
from django.conf import settings
from django.db import connection
from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from pyroaring import BitMap

from audiences import queries as audiences
from audiences.models import Audience
from audiences.models import Change as AudienceChange
from destinations import queries, services
from destinations.adapters import adapter_of
from destinations.models import Acknowledged, Destination, Subscription
from destinations.rules import backoff, contract, status
from destinations.rules import comparison as comparison_rules
from destinations.rules.comparison import Comparison
from destinations.rules.send_batch import Attempt, Round, run_round
from destinations.rules.settings_schema import secrets_of, stored, struck
from destinations.rules.transitions import Call, Known, next_call, state_after
from destinations.transports import TRANSPORTS
from identity import queries as identity
from identity.models import Identifier, Profile
from sources.events import client
from sources.events.schema import DELIVERY_LOG
from spaces import batches
from spaces.clock import Clock, clock, is_due, rows_due
from spaces.models import Log
from spaces.rates import pace
from spaces.secrets import Unopenable
from spaces.times import milliseconds

logger = logging.getLogger(__name__)

BATCH = 500  # people, or due rows, per batch
ROUND_S = 20.0  # of calls per batch: no destination keeps a worker for longer
LOGGED_REQUEST = 8000  # characters of a body kept in the delivery log

Said = dict[str, tuple[int, str]]  # {identifier type: (number, value)}: whom a call is about


class Row(msgspec.Struct, array_like=True):
    """One call that was prepared.

    at: ms. was: the acknowledged state before. alone: it failed before while others got through.
    """

    identifier: int
    profile: int
    entering: bool
    flip: int
    at: int
    was: int
    sent: Said
    alone: bool = False


class PreparedSync(msgspec.Struct):
    """number: under which it was prepared; written under another one, it may have been begun before."""

    number: int
    rows: list[Row]
    equal: bool = False  # desired and acknowledged were compared, and nothing differed


@dataclass(frozen=True)
class Place:
    """How far the passes of a subscription are."""

    tick: int
    full: bool
    pass_tick: int | None
    cursor: int


@dataclass(frozen=True)
class Intake:
    """What a Prepare looks at.

    numbers: of the identifiers in question, also such as no longer exist. due: those of them whose retry is due.
    desired: for each of them; None while it cannot be said. said: whom the calls of the desired ones are about.
    comparison: what it came to, when it was time for one.
    """

    before: Place
    after: Place
    members: BitMap
    due: BitMap
    numbers: BitMap
    desired: Mapping[int, bool | None]
    owners: Mapping[int, int]
    said: Mapping[int, Said]
    comparison: Comparison | None = None


@dataclass(frozen=True)
class Written:
    """What a Write learnt. None: nothing was tried."""

    round: Round | None


class Sync:
    """The stage (spaces.batches.Stage). One log per subscription."""

    name = "sync"
    prepared = PreparedSync
    batch_size = BATCH

    def __init__(self, clock: Clock = clock, round_s: float = ROUND_S) -> None:
        self.clock, self.round_s = clock, round_s

    def read(self, log: Log, limit: int) -> Intake | None:
        now = self.clock.now()
        subscription = _subscription(log)
        if subscription is None or not _may_look(subscription, now):
            return None
        intake = None
        if subscription.sends:
            limit = min(limit, backoff.PROBE) if subscription.failures else limit
            again = _due(subscription, now).order_by("tries", "id").values_list("identifier", flat=True)[:limit]
            intake = _intake(subscription, BitMap(again), limit)
        # In the middle of a long pass it is compared for its counts, at its end for what the pass has overlooked.
        longest, noted = backoff.LONGEST_ASKED, subscription.compared_at
        if not is_due(subscription.compare_at, now, longest=longest, noted=noted):
            return intake
        if intake and subscription.pass_tick is None:
            return intake
        return _compared(subscription, intake, limit)

    def size(self, intake: Intake) -> int:
        return len(intake.numbers)

    def prepare(self, log: Log, intake: Intake, number: int) -> PreparedSync | None:
        held = Subscription.objects.select_for_update(of=("self",))  # not its space: that would stop every other stage
        subscription = held.select_related("space").get(pk=log.partition)
        if _place(subscription) != intake.before:
            return None  # someone asked for a resync in the meantime
        now = self.clock.now()
        rows = _decide_rows(subscription, intake, now)
        _move(subscription, intake.after)
        _keep_comparison(subscription, intake, now)
        equal = intake.comparison is not None and intake.comparison.equal
        return PreparedSync(number, rows, equal=equal and intake.before == intake.after and not rows)

    def write(self, log: Log, prepared: PreparedSync, number: int) -> Written:
        subscription = _subscription(log)
        if subscription is None or not subscription.sends or not prepared.rows:
            return Written(None)
        if not client.client().ping():
            raise ConnectionError("The delivery log is away: nothing is sent that could not be shown")
        made = self._round(subscription, prepared.rows)
        _log_attempts(subscription, prepared.rows, made, number, self.clock.now())
        return Written(made)

    def commit(self, log: Log, prepared: PreparedSync, number: int, outcome: Written) -> None:
        held = Subscription.objects.select_for_update(of=("self",)).select_related("audience")
        subscription = held.filter(pk=log.partition).first()
        if subscription is None:
            return
        now = self.clock.now()
        _keep_outcomes(subscription, prepared, outcome, first=prepared.number == number, now=now)
        _keep_health(subscription, prepared, outcome.round, now)
        _keep_status(subscription, prepared, outcome.round, now)
        subscription.save()

    def split(self, prepared: PreparedSync) -> Sequence[PreparedSync]:
        if len(prepared.rows) < 2:
            return []
        middle = len(prepared.rows) // 2
        return [PreparedSync(prepared.number, part) for part in (prepared.rows[:middle], prepared.rows[middle:])]

    def refuse(self, log: Log, prepared: PreparedSync, error: Exception) -> None:
        """The row cannot even be put into a request: it is kept with the reason."""
        numbers = [row.identifier for row in prepared.rows]
        rows = Acknowledged.objects.filter(subscription=log.partition, identifier__in=numbers)
        rows.update(refused=str(error)[:2000] or type(error).__name__, due=False, retry_at=None)

    def skip(self, log: Log, intake: Intake, error: Exception) -> None:
        """Step over one person, or one row, that cannot be prepared."""
        logger.error("sync %s: stepped over %s: %s", log.partition, list(intake.numbers), error)
        subscription = Subscription.objects.get(pk=log.partition)
        told: dict[str, Any] = {"refused": str(error)[:2000] or type(error).__name__, "due": False, "retry_at": None}
        known = Acknowledged.objects.filter(subscription=subscription, identifier__in=intake.numbers)
        known.update(**told)
        common = {"workspace_id": subscription.workspace_id, "subscription": subscription, "at": self.clock.now()}
        Acknowledged.objects.bulk_create(  # kept where everybody looks for who is missing, and not looked at again
            Acknowledged(
                identifier=number, profile=intake.owners[number], state=Acknowledged.State.OUT, entering=True, flip=1,
                **common, **told,
            )
            for number in intake.owners.keys() - set(known.values_list("identifier", flat=True))
            if intake.desired[number]
        )  # fmt: skip
        _move(subscription, intake.after)
        Subscription.objects.filter(pk=subscription.pk).update(compare_at=None)

    def erase(self, log: Log, numbers: Sequence[int]) -> None:
        client.erase(DELIVERY_LOG, "subscription", log.partition, numbers)

    def _round(self, subscription: Subscription, rows: Sequence[Row]) -> Round:
        destination = subscription.destination
        adapter = adapter_of(destination.kind)
        settings = _settings(destination)
        options = stored(adapter.options, subscription.options)
        about = _about(subscription)
        now = self.clock.now()  # once: batches are halved in threads that must not ask the database
        with TRANSPORTS[adapter.transport](destination) as call:
            made = run_round(
                [_change(subscription, row) for row in rows],
                plan=lambda changes: adapter.plan(changes, about, settings, options, now),
                read=adapter.read,
                call=call,
                concurrency=adapter.capabilities.concurrency,
                seconds=self.round_s,
            )
        return _without_secrets(made, secrets_of(settings))


STAGE = Sync()


def waiting(now: datetime) -> list[int]:
    """Subscriptions that have something to send, to try again, or to compare, at `now`."""
    changed = AudienceChange.objects.filter(audience=OuterRef("audience"), tick__gt=OuterRef("tick"))
    due = Acknowledged.objects.filter(_now_or_never(now), subscription=OuterRef("pk"), due=True)
    sends = Q(enabled=True, destination__enabled=True, audience__enabled=True)
    sends &= ~Q(status=Subscription.Status.SUSPENDED)
    to_send = Q(full=True) | Q(pass_tick__isnull=False) | Exists(changed) | Exists(due)
    to_compare = rows_due("compare_at", now, longest=backoff.LONGEST_ASKED, noted="compared_at")
    ready = Subscription.objects.filter(
        _now_or_never(now),
        (sends & to_send) | to_compare,
        audience__deleted_at=None,
        audience__serving__isnull=False,
    )
    return sorted({*ready.values_list("pk", flat=True), *batches.unfinished(STAGE.name)})


def _now_or_never(now: datetime) -> Q:
    return rows_due("retry_at", now, longest=backoff.LONGEST_ASKED)


def _subscription(log: Log) -> Subscription | None:
    related = ("audience__serving", "destination", "space")
    return Subscription.objects.select_related(*related).filter(pk=log.partition).first()


def _may_look(subscription: Subscription, now: datetime) -> bool:
    """Whether anything may be prepared now. Nothing is, before the audience's first compute is complete."""
    ready = subscription.audience.serving_id is not None and subscription.audience.deleted_at is None
    return ready and is_due(subscription.retry_at, now, longest=backoff.LONGEST_ASKED)


def _due(subscription: Subscription, now: datetime | None) -> QuerySet[Acknowledged]:
    """Rows whose call must be repeated or looked at again; with `now`, only those whose time has come."""
    rows = Acknowledged.objects.filter(subscription=subscription, due=True)
    return rows if now is None else rows.filter(_now_or_never(now))


# Reading: who is in question, and what is desired of them


def _intake(subscription: Subscription, due: BitMap, limit: int) -> Intake | None:
    """The rows whose retry is due, then the next people of the pass: one bad row cannot fill a round by itself."""
    before = _place(subscription)
    room = limit - len(due)
    begun = None if room <= 0 else before if before.pass_tick is not None else _begin(subscription, before)
    # Read after the pass's end was noted: whatever changes from here on is in the next pass.
    members = audiences.members(subscription.audience) if begun or due else BitMap()
    if begun is None:
        return _judged(subscription, before, before, members, due, due) if due else None
    profiles = _next_profiles(subscription, begun, members, room)
    if len(profiles) == room:
        after = Place(begun.tick, begun.full, begun.pass_tick, max(profiles))
    else:
        after = Place(begun.pass_tick or 0, False, None, 0)
    return _judged(subscription, before, after, members, due, due | _numbers_of(subscription, profiles))


def _compared(subscription: Subscription, intake: Intake | None, limit: int) -> Intake:
    """With a comparison; and when there is nothing else to do, with what it found to differ.

    When that is much, the next pass looks at everyone instead.
    """
    members = audiences.members(subscription.audience)
    comparison = queries.compared(subscription, members)
    if intake:  # the pass is on its way to what differs
        return replace(intake, comparison=replace(comparison, overlooked=BitMap()))
    if comparison.overlooked:
        comparison = comparison.without(queries.unsettled(subscription, members))
    place = _place(subscription)
    many = len(comparison.overlooked) > limit
    numbers = comparison.overlooked if subscription.sends and not many else BitMap()
    after = replace(place, full=True) if subscription.sends and many else place
    return replace(_judged(subscription, place, after, members, BitMap(), numbers), comparison=comparison)


def _numbers_of(subscription: Subscription, profiles: BitMap) -> BitMap:
    """Identifiers of these people, and what was acknowledged of them and is no longer theirs: it has to leave."""
    canonical = BitMap(identity.canonical(subscription.space, profiles).values())
    found = identity.identifiers_of(subscription.space_id, canonical, queries.types_of(subscription))
    every = identity.all_numbers(subscription.space, profiles)  # what was said of a loser is the winner's now
    acknowledged = Acknowledged.objects.filter(subscription=subscription, profile__in=[*every])
    return BitMap([row.number for row in found]) | BitMap(acknowledged.values_list("identifier", flat=True))


def _begin(subscription: Subscription, place: Place) -> Place | None:
    """A new pass, up to the newest change; None when there is nothing new."""
    newest = AudienceChange.objects.filter(audience=subscription.audience).aggregate(newest=Max("tick"))["newest"] or 0
    if not place.full and newest <= place.tick:
        return None
    return Place(place.tick, place.full, max(newest, place.tick), 0)


def _next_profiles(subscription: Subscription, place: Place, members: BitMap, limit: int) -> BitMap:
    """The next people of this pass, at most `limit`, by profile number."""
    if not place.full:
        return _first(_changed(subscription.audience, place), place.cursor, limit)
    held = Acknowledged.objects.filter(subscription=subscription, profile__gt=place.cursor)
    held = held.exclude(state=Acknowledged.State.OUT)
    numbers = held.order_by("profile").values_list("profile", flat=True).distinct()[:limit]
    return _first(_first(members, place.cursor, limit) | BitMap(numbers), place.cursor, limit)


def _changed(audience: Audience, place: Place) -> BitMap:
    found = BitMap()
    for change in audiences.changes_after(audience, place.tick):
        if place.pass_tick is not None and change.tick <= place.pass_tick:
            for part in (change.entered, change.left, change.refreshed):
                found |= BitMap.deserialize(bytes(part))
    return found


def _first(numbers: BitMap, after: int, limit: int) -> BitMap:
    start = numbers.rank(after)
    return BitMap(numbers[start : start + limit])


def _judged(
    subscription: Subscription, before: Place, after: Place, members: BitMap, due: BitMap, numbers: BitMap
) -> Intake:
    """What is desired of each of `numbers`."""
    mine = Identifier.objects.filter(space=subscription.space_id, number__in=[*numbers])
    found = list(mine.values_list("number", "type", "value", "profile"))
    owners = {number: profile for number, _, _, profile in found}
    desired = _desired(subscription, members, {number: (type, profile) for number, type, _, profile in found})
    said = _said(subscription, [row for row in found if desired[row[0]] is not False])
    desired |= {number: False for number in numbers if number not in owners}  # erased
    return Intake(before, after, members, due, numbers, desired, owners, said)


def _desired(
    subscription: Subscription, members: BitMap, found: Mapping[int, tuple[str, int]]
) -> dict[int, bool | None]:
    """For each identifier: whether it should be over there. None = its owner was merged and is not settled yet."""
    types = set(queries.types_of(subscription))
    outside = BitMap(profile for _, profile in found.values()) - members
    limbo = _limbo(subscription, outside, members)
    return {
        number: False if type not in types else True if profile in members else None if profile in limbo else False
        for number, (type, profile) in found.items()
    }


def _limbo(subscription: Subscription, outside: BitMap, members: BitMap) -> BitMap:
    """Profiles that are not members, but into which a member was merged after the audience's newest tick."""
    if not outside:
        return BitMap()
    merged = identity.all_numbers(subscription.space, outside) & members
    return BitMap(identity.canonical(subscription.space, merged).values()) if merged else BitMap()


def _said(subscription: Subscription, wanted: Sequence[tuple[int, str, str, int]]) -> dict[int, Said]:
    """{identifier number: whom its calls are about}."""
    people = BitMap(profile for _, _, _, profile in wanted)
    every = identity.identifiers_of(subscription.space_id, people, ["user_id", "email", "anonymous_id"])
    held: dict[int, list[tuple[str, int, str]]] = {}
    for row in every:
        held.setdefault(row.profile, []).append((row.type, row.number, row.value))
    emails = _email_traits(subscription.space_id, [p for p, rows in held.items() if _several(rows, "email")])
    return {
        number: address(type, number, value, held.get(profile, []), emails.get(profile))
        for number, type, value, profile in wanted
    }


def address(
    type: str, number: int, value: str, held: Iterable[tuple[str, int, str]], email_trait: str | None = None
) -> Said:
    """Whom the calls of one identifier are about: itself, and what a receiver needs besides.

    held: (type, number, value) of everything its profile holds. email_trait: which e-mail is the main one.
    A call carries the person's e-mail address always, and the userId, or for want of one an anonymousId, when it
    stands for an e-mail address. An anonymous id goes without the userId: the user's own call says that.
    """
    first: Said = {}
    for other, its_number, its_value in sorted(held, key=lambda row: row[1]):
        if other not in first or (other == "email" and its_value == email_trait):
            first[other] = (its_number, its_value)
    beside = {"email"} if type != "email" else {"user_id"} if "user_id" in first else {"anonymous_id"}
    return {other: first[other] for other in beside if other in first} | {type: (number, value)}


def _several(rows: Sequence[tuple[str, int, str]], type: str) -> bool:
    return sum(row[0] == type for row in rows) > 1


def _email_traits(space_id: int, profiles: Sequence[int]) -> dict[int, str]:
    rows = Profile.objects.filter(space=space_id, number__in=profiles).values_list("number", "traits__email")
    return {number: email.strip().lower() for number, email in rows if isinstance(email, str)}


# Preparing


def _place(subscription: Subscription) -> Place:
    return Place(subscription.tick, subscription.full, subscription.pass_tick, subscription.cursor)


def _move(subscription: Subscription, place: Place) -> None:
    Subscription.objects.filter(pk=subscription.pk).update(
        tick=place.tick, full=place.full, pass_tick=place.pass_tick, cursor=place.cursor
    )


def _keep_comparison(subscription: Subscription, intake: Intake, now: datetime) -> None:
    """What was compared, and when it is compared next: soon after a batch, for it may have brought them together."""
    place = Subscription.objects.filter(pk=subscription.pk)
    comparison = intake.comparison
    if comparison is None:
        if subscription.compare_at is not None and not subscription.repeated:
            place.update(compare_at=min(_soon(subscription, intake, now), subscription.compare_at))
        return
    pause = comparison_rules.pause(comparison.desired)
    if intake.after.pass_tick is not None:
        pause = max(pause, comparison_rules.MIDWAY)
    place.update(counts=comparison.counts, compared_at=now, compare_at=now + pause, unsettled=comparison.unsettled)
    if intake.due or intake.before.pass_tick is not None:
        return  # that is for the counts: what still differs when the pass is over, is another question
    overlooked = comparison.overlooked if subscription.sends else BitMap()
    found = comparison_rules.fingerprint(overlooked)
    repeated = subscription.repeated + 1 if found and found == subscription.overlooked else 0
    if overlooked:
        level = logging.ERROR if repeated >= status.ALARMED_AFTER else logging.INFO
        times = repeated + 1
        logger.log(level, "sync %s: %d identifiers differ, for %d comparisons", subscription.pk, len(overlooked), times)
    if repeated:
        wait = min(backoff.wait(repeated), comparison_rules.PATIENCE)
    elif comparison.unsettled:
        wait = comparison_rules.CALM
    else:
        wait = timedelta() if overlooked else comparison_rules.EVERY
    place.update(compare_at=now + max(wait, pause), overlooked=found, repeated=repeated)


def _soon(subscription: Subscription, intake: Intake, now: datetime) -> datetime:
    """When it may be compared again, as far as its cost goes."""
    pauses = [comparison_rules.pause(subscription.counts.get("desired", 0))]
    if subscription.status == Subscription.Status.IN_STEP:
        pauses.append(comparison_rules.CALM)
    if intake.after.pass_tick is not None:
        pauses.append(comparison_rules.MIDWAY)
    return max(now, (subscription.compared_at or now) + max(pauses))


def _decide_rows(subscription: Subscription, intake: Intake, now: datetime) -> list[Row]:
    rows = Acknowledged.objects.select_for_update().filter(subscription=subscription, identifier__in=[*intake.numbers])
    acknowledged = {row.identifier: row for row in rows}
    calls: dict[int, Call] = {}
    settled: list[int] = []
    unclear: list[int] = []
    for number in intake.numbers:
        row = acknowledged.get(number)
        call = next_call(_known(row), intake.desired[number], due_now=number in intake.due)
        if call:
            calls[number] = call
        elif row and (row.due or row.refused) and _settled(row, intake.desired[number]):
            settled.append(row.pk)
        elif row and number in intake.due:
            unclear.append(row.pk)
    Acknowledged.objects.filter(pk__in=settled).update(due=False, refused="", tries=0, retry_at=None)
    Acknowledged.objects.filter(pk__in=unclear).update(retry_at=now + backoff.FIRST)
    leaving = [acknowledged[number] for number, call in calls.items() if not call.entering]
    kept = _still_desired(subscription, leaving, intake.members)
    # A receiver believes the newest word about somebody, by its timestamp: none may be older than what was said before,
    # even when the clock was put back.
    at = milliseconds(max(now, subscription.said_at or now))
    decided = [_row(number, call, acknowledged.get(number), intake, kept, at) for number, call in calls.items()]
    if decided:
        newest = moment(max(row.at for row in decided))
        Subscription.objects.filter(pk=subscription.pk).update(said_at=newest)
    _mark(subscription, decided)
    return decided


def _known(row: Acknowledged | None) -> Known | None:
    return Known(row.state, row.entering, row.flip, row.due) if row else None


def _settled(row: Acknowledged, desired: bool | None) -> bool:
    return desired is not None and row.state == (Acknowledged.State.IN if desired else Acknowledged.State.OUT)


def _still_desired(subscription: Subscription, leaving: Sequence[Acknowledged], members: BitMap) -> set[int]:
    """Identifiers that were said along with one that leaves, and that stay themselves.

    After an e-mail address went to someone else, "leave: u1 with that address" would take u1 out.
    """
    beside = {number for row in leaving for number, _ in row.sent.values() if number != row.identifier}
    if not beside:
        return set()
    mine = Identifier.objects.filter(space=subscription.space_id, number__in=beside)
    found = {number: (type, profile) for number, type, profile in mine.values_list("number", "type", "profile")}
    return {number for number, yes in _desired(subscription, members, found).items() if yes is not False}


def _row(number: int, call: Call, known: Acknowledged | None, intake: Intake, kept: set[int], at: int) -> Row:
    sent = intake.said.get(number, {})
    if known and (call.again or not call.entering):  # exits go to exactly what was sent
        sent = {type: (other, value) for type, (other, value) in known.sent.items()}
    if known and call.again:
        at = milliseconds(known.at)
    elif known:  # even when the clock stands still, a later flip has a later time
        at = max(at, milliseconds(known.at) + 1)
    if not call.entering and not call.again:
        sent = {type: pair for type, pair in sent.items() if pair[0] == number or pair[0] not in kept}
    profile = intake.owners.get(number, known.profile if known else 0)
    was = known.state if known else Acknowledged.State.OUT
    alone = known is not None and known.flip == call.flip and known.retry_at is not None
    return Row(number, profile, call.entering, call.flip, at, was, sent, alone)


MARKED = """
    INSERT INTO destinations_acknowledged
        (workspace_id, subscription_id, identifier, state, entering, flip, at, profile, sent, due, tries, refused)
    SELECT %s, %s, call.identifier, %s, call.entering, call.flip, call.at, call.profile, call.sent, true, 0, ''
    FROM unnest(%s::bigint[], %s::bool[], %s::int[], %s::timestamptz[], %s::bigint[], %s::jsonb[])
        AS call(identifier, entering, flip, at, profile, sent)
    ON CONFLICT (subscription_id, identifier) DO UPDATE
    SET state = excluded.state, entering = excluded.entering, flip = excluded.flip, at = excluded.at,
        profile = excluded.profile, sent = excluded.sent, due = excluded.due
"""


def _mark(subscription: Subscription, rows: Sequence[Row]) -> None:
    """Each row says MAYBE before anything is sent."""
    owner = [subscription.workspace_id, subscription.pk, Acknowledged.State.MAYBE]
    calls = [
        (r.identifier, r.entering, r.flip, moment(r.at), r.profile, msgspec.json.encode(r.sent).decode()) for r in rows
    ]
    _write(MARKED, owner, calls)


def _write(statement: str, first: Sequence[Any], rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement that takes each column of `rows` as an array: what the ORM would send is far slower."""
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(statement, [*first, *map(list, zip(*rows, strict=True))])


# Writing


def _settings(destination: Destination) -> Any:
    """Its settings. A key that is missing is away like a store: no row is at fault for it."""
    try:
        return services.settings_of(destination)
    except Unopenable as error:
        raise ConnectionError(f"The settings of {destination.public_id} cannot be read: {error}") from error


def _change(subscription: Subscription, row: Row) -> contract.Change:
    parts = {type: value for type, (_, value) in row.sent.items()}
    to = contract.Address(parts.get("user_id"), parts.get("anonymous_id"), parts.get("email"))
    return contract.Change(message_id(subscription, row), row.entering, moment(row.at), to, row.profile)


def message_id(subscription: Subscription, row: Row) -> str:
    """(subscription, identifier, flip): the same however often it has to be said."""
    return f"{subscription.public_id}-{row.identifier}-{row.flip}"


def moment(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def _about(subscription: Subscription) -> contract.Audience:
    audience = subscription.audience
    return contract.Audience(audience.public_id, audience.key, audience.name, subscription.space.public_id)


def _without_secrets(made: Round, secrets: list[str]) -> Round:
    """What was answered, without what must not be kept: a destination may echo a key that it got."""
    made.attempts = [_struck(attempt, secrets) for attempt in made.attempts]
    for verdict in made.verdicts.values():
        verdict.reason = struck(verdict.reason, secrets)
    return made


def _struck(attempt: Attempt, secrets: list[str]) -> Attempt:
    outcomes = [
        contract.Outcome(each.kind, struck(each.reason, secrets), each.retry_after_s) for each in attempt.outcomes
    ]
    response = struck(attempt.response, secrets)
    took = attempt.milliseconds
    return Attempt(attempt.request, outcomes, attempt.status, response, took, attempt.touched)


def _log_attempts(subscription: Subscription, rows: Sequence[Row], made: Round, number: int, now: datetime) -> None:
    """One line per change and call. A failure here must not send everything again, so it is only reported."""
    by_id = {message_id(subscription, row): row for row in rows}
    lines = [
        _line(attempt, outcome, by_id[change.id], change, first=index == 0)
        for attempt in made.attempts
        for index, (change, outcome) in enumerate(zip(attempt.request.rows, attempt.outcomes, strict=True))
    ]
    common = {
        "workspace": subscription.workspace_id,
        "space": subscription.space_id,
        "subscription": subscription.pk,
        "piece": number,
        "at": milliseconds(now),
    }
    full = [common | line | {"position": position} for position, line in enumerate(lines)]
    try:
        LINES.insert(pyarrow.Table.from_pylist(full, schema=DELIVERY_COLUMNS), _pace)
    except Exception:
        logger.exception("sync %s: %d lines of the delivery log are lost", subscription.pk, len(lines))


LINES = client.Joined(DELIVERY_LOG)  # many subscriptions are served at once


def _pace() -> None:
    pace(f"insert:{DELIVERY_LOG.name}", rate=settings.INSERTS_PER_SECOND)


DELIVERY_COLUMNS = pyarrow.schema(
    {
        "workspace": pyarrow.uint32(),
        "space": pyarrow.uint32(),
        "subscription": pyarrow.uint32(),
        "piece": pyarrow.uint64(),
        "position": pyarrow.uint32(),
        "at": pyarrow.timestamp("ms", tz="UTC"),
        "identifier": pyarrow.uint32(),
        "profile": pyarrow.uint32(),
        "entering": pyarrow.uint8(),
        "message_id": pyarrow.string(),
        "outcome": pyarrow.string(),
        "status": pyarrow.uint16(),
        "milliseconds": pyarrow.float32(),
        "request": pyarrow.string(),
        "response": pyarrow.string(),
        "reason": pyarrow.string(),
    }
)


def _line(
    attempt: Attempt, outcome: contract.Outcome, row: Row, change: contract.Change, *, first: bool
) -> dict[str, Any]:
    alone = len(attempt.request.rows) == 1
    body = attempt.request.body.decode("utf-8", "replace")[:LOGGED_REQUEST]
    return {
        "identifier": row.identifier,
        "profile": row.profile,
        "entering": int(row.entering),
        "message_id": attempt.request.id if alone else change.id,
        "outcome": outcome.kind,
        "status": attempt.status,
        "milliseconds": attempt.milliseconds,
        "request": body if first else "",  # a batch is kept once, with its first row
        "response": attempt.response if first else "",
        "reason": outcome.reason,
    }


# Committing


def _keep_outcomes(
    subscription: Subscription, prepared: PreparedSync, outcome: Written, *, first: bool, now: datetime
) -> None:
    """Each row as it was answered. A row that was flipped or resynced since then keeps what it says now."""
    numbers = [row.identifier for row in prepared.rows]
    rows = Acknowledged.objects.select_for_update().filter(subscription=subscription, identifier__in=numbers)
    known = {row.identifier: row for row in rows}
    made = outcome.round
    changed = []
    for decided in prepared.rows:
        row = known.get(decided.identifier)
        if row is None or (row.flip, row.entering, row.due) != (decided.flip, decided.entering, True):
            continue
        _keep_outcome(row, decided, subscription, made, first=first, now=now)
        changed.append(row)
    _write(ANSWERED, [], [(r.pk, r.state, r.due, r.tries, r.retry_at, r.refused) for r in changed])


ANSWERED = """
    UPDATE destinations_acknowledged AS kept
    SET state = row.state, due = row.due, tries = row.tries, retry_at = row.retry_at, refused = row.refused
    FROM unnest(%s::bigint[], %s::smallint[], %s::bool[], %s::int[], %s::timestamptz[], %s::text[])
        AS row(id, state, due, tries, retry_at, refused)
    WHERE kept.id = row.id
"""


def _keep_outcome(
    row: Acknowledged, decided: Row, subscription: Subscription, made: Round | None, *, first: bool, now: datetime
) -> None:
    verdict = made.verdicts[message_id(subscription, decided)] if made else None
    kind = verdict.kind if verdict else "unsent"
    # A batch that is written again may have been sent before, whatever happened this time.
    touched = bool(verdict and verdict.touched) or not first
    row.state = state_after(entering=decided.entering, was=decided.was, kind=kind, touched=touched)
    row.due = kind not in {"delivered", "refused"}
    row.refused = verdict.reason[:2000] if verdict and kind == "refused" else ""
    row.tries = row.tries + 1 if kind == "retry" else 0 if kind == "delivered" else row.tries
    # When others get through, it is this row that has a problem, and it waits alone.
    alone = kind == "retry" and made is not None and (made.alive or decided.alone)
    row.retry_at = now + backoff.wait(row.tries) if alone else None


def _keep_health(subscription: Subscription, prepared: PreparedSync, made: Round | None, now: datetime) -> None:
    """Whether the destination is there, and when to try again.

    Unchanged when nothing was tried, or only what fails alone: that says nothing of the destination.
    """
    if made is None or not made.attempts:
        return
    if all(row.alone for row in prepared.rows) and not (made.alive or made.hold_s or made.any("suspended")):
        return
    failed = made.any("retry") and not made.alive
    subscription.failures = subscription.failures + 1 if failed else 0
    subscription.failing_since = (subscription.failing_since or now) if failed else None
    subscription.error = made.reason("suspended") or (made.reason("retry") if failed else "")
    wait = backoff.wait(subscription.failures) if failed else timedelta()
    wait = max(wait, backoff.asked(made.hold_s))
    subscription.retry_at = now + wait if wait else None
    if made.any("suspended"):
        subscription.status, subscription.retry_at = Subscription.Status.SUSPENDED, None
    elif failed and backoff.parked(subscription.failing_since or now, now):
        subscription.status = Subscription.Status.PARKED
        subscription.retry_at = now + max(backoff.PROBED_EVERY, backoff.asked(made.hold_s))
    elif failed or subscription.status in STOPPED:
        subscription.status = Subscription.Status.RETRYING


STOPPED = {Subscription.Status.SUSPENDED, Subscription.Status.PARKED}


def _keep_status(subscription: Subscription, prepared: PreparedSync, made: Round | None, now: datetime) -> None:
    """What it was found to be in step by one comparison, it stays while all that is said since is acknowledged."""
    stopped = subscription.status in STOPPED and (subscription.failures or subscription.error)
    refused = subscription.counts.get("refused", 0) + sum(
        verdict.kind == "refused" for verdict in (made.verdicts.values() if made else ())
    )
    subscription.counts["refused"] = refused
    facts = status.Facts(
        enabled=subscription.enabled,
        computed=subscription.audience.serving_id is not None,
        stopped=subscription.status if stopped else "",
        failures=subscription.failures,
        refused=refused,
        due=_due(subscription, None).exists(),
        repeated=subscription.repeated,
        unsettled=subscription.unsettled,
        sending=subscription.full or subscription.pass_tick is not None,
        equal=prepared.equal or subscription.status == Subscription.Status.IN_STEP,
    )
    subscription.status = status.status_of(facts)
    if subscription.status == Subscription.Status.IN_STEP:
        subscription.synced_at = now
