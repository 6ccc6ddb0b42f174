"""Everything that changes destinations and what goes to them. Each change leaves an audit entry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Max, Q
from msgspec.structs import asdict

from access.services import ActorLike, NotPossible, audit
from audiences import drafts
from audiences.models import Audience, Change, Draft
from destinations import queries
from destinations.adapters import adapter_of, all_adapters
from destinations.models import Acknowledged, Destination, Subscription
from destinations.rules.contract import PayloadComputation, outcome_of
from destinations.rules.mapping import roots
from destinations.rules.send_batch import Unanswered
from destinations.rules.sending import parse_sending, sending_json
from destinations.rules.status import STOPPED
from destinations.steps import StepFailed, forget, take_steps
from destinations.transports import TRANSPORTS
from spaces import deletions
from spaces.models import Deletion, Log, Space
from spaces.outbound import check_settings
from spaces.secrets import open_sealed, seal
from spaces.settings_schema import (
    InvalidSetting,
    SettingsDeclaration,
    fields_of,
    parse,
    secrets_of,
    strike,
)

SYNC = "sync"  # the stage's name; the stage itself is above this layer


@dataclass(frozen=True)
class TestResult:
    """The answer to a test call. `message` is for the user and holds no secret."""

    ok: bool
    message: str
    status: int
    milliseconds: float


class Unsuitable(Exception):
    """The audience cannot go to one of several destinations. `error`: InvalidSetting or NotPossible."""

    def __init__(self, destination: Destination, error: InvalidSetting | NotPossible) -> None:
        super().__init__(f"{destination.name}: {error}")
        self.destination, self.error = destination, error


def create_destination(
    space: Space, *, kind: str, name: str, settings: Mapping[str, Any], by: ActorLike
) -> tuple[Destination, dict[str, str]]:
    """A new destination, and the secrets that were generated for it, which are shown this once.

    Raises InvalidSetting, with field "kind" for an unknown kind.
    """
    if kind not in all_adapters():
        raise InvalidSetting("kind", f"Must be one of {', '.join(all_adapters())}")
    parsed = _parsed(kind, settings)
    destination = Destination.objects.create(
        workspace_id=space.workspace_id, space=space, kind=kind, name=name, settings=seal(asdict(parsed))
    )
    audit(by, "destination.created", destination, kind=kind, name=name)
    return destination, _generated_secrets(parsed, settings, {})


def change_destination(
    destination: Destination,
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    enabled: bool | None = None,
    by: ActorLike,
) -> dict[str, str]:
    """What is given is changed. New settings wake what was suspended or parked. Returns newly generated secrets."""
    generated: dict[str, str] = {}
    if settings is not None:
        stored = open_sealed(destination.settings)
        parsed = _parsed(destination.kind, settings, stored)
        destination.settings = seal(asdict(parsed))
        forget(destination)  # another account may have other lists, and does not take these tokens
        going = destination.subscriptions.filter(deleted_at=None, audience__deleted_at=None)
        for kind, of in going.values_list("audience__kind", "audience__of").distinct():
            if refusal := queries.refusal(destination, kind, of):
                raise InvalidSetting("style", f"{refusal}, and one goes to this")
        generated = _generated_secrets(parsed, settings, stored)
    destination.name = name if name is not None else destination.name
    destination.enabled = enabled if enabled is not None else destination.enabled
    destination.save()
    if settings is not None or enabled:
        for subscription in destination.subscriptions.all():
            _wake(subscription)
    audit(by, "destination.changed", destination, name=name, enabled=enabled, settings=sorted(settings or {}))
    return generated


def delete_destination(destination: Destination, *, by: ActorLike) -> None:
    """It is gone with what it acknowledged. Nobody is taken out of the tool: that would be a change over there."""
    with transaction.atomic():
        audit(by, "destination.deleted", destination, kind=destination.kind, name=destination.name)
        # Hidden at once and erased later: what it acknowledged may be millions of rows.
        deletions.hide(destination)
        deletions.begin(destination, Deletion.TargetKind.DESTINATION, name=destination.name)
        for subscription in destination.subscriptions.all():
            _hide(subscription)


def test_destination(destination: Destination, *, now: datetime) -> TestResult:
    """One harmless call, now. Returns what happened; changes nothing."""
    adapter = adapter_of(destination.kind)
    settings = queries.settings_of(destination)
    secrets = secrets_of(settings)
    # What is asked once for the destination, such as a token, needs no audience.
    about = PayloadComputation("", "", "", destination.space.public_id)
    try:
        with TRANSPORTS[adapter.transport](destination, settings) as call:
            taken = take_steps(destination, None, adapter, about, settings, None, call=call, now=now)
            secrets += taken.tokens
            answer = call(adapter.authorize(adapter.test(settings, now), taken.remembered))
    except StepFailed as error:
        attempt = error.attempt
        return TestResult(False, strike(error.outcome.reason, secrets), attempt.status, attempt.milliseconds)
    except Unanswered as error:
        return TestResult(False, strike(error.message, secrets), 0, 0.0)
    message = "It answered as it should." if answer.ok else outcome_of(answer).reason
    return TestResult(answer.ok, strike(message, secrets), answer.status, answer.milliseconds)


def subscribe(
    audience: Audience,
    destination: Destination,
    *,
    options: Mapping[str, Any],
    sending: Mapping[str, Any] | None = None,
    by: ActorLike,
) -> Subscription:
    """The audience goes to the destination: everyone in it once, then whoever enters and leaves. A computed trait:
    everybody's value once, then each new one. sending: as rules.sending.SendingRules; {} = what always went.

    Raises InvalidSetting, InvalidSending, and NotPossible when it goes there already, cannot, or is of another space.
    """
    # The last wall: a view has looked both of them up in its own space already.
    if audience.space_id != destination.space_id:
        raise NotPossible("An audience goes only to destinations of its own space")
    if refusal := queries.refusal(destination, audience.kind, audience.of):
        raise NotPossible(refusal)
    adapter = adapter_of(destination.kind)
    chosen = parse(adapter.options_for(audience.kind), options)
    rules = parse_sending(
        sending or {}, known=queries.known_types(destination, audience.of), names=adapter.capabilities.fields
    )
    try:
        with transaction.atomic():
            subscription = Subscription.objects.create(
                workspace_id=audience.workspace_id,
                space_id=audience.space_id,
                audience=audience,
                destination=destination,
                options=asdict(chosen),
                sending=sending_json(rules) if sending else {},
            )
            if rules.deciding:
                _watch(audience)
    # Of two who ask for it at once, the constraint lets one through.
    except IntegrityError as error:
        raise NotPossible(f"{audience.name} goes to this destination already") from error
    audit(by, "subscription.created", subscription, audience=audience.public_id, destination=destination.public_id)
    return subscription


def subscribe_all(
    audience: Audience, chosen: Sequence[tuple[Destination, Mapping[str, Any]]], *, by: ActorLike
) -> list[Subscription]:
    """The audience goes to each of these destinations with its options, or, when one cannot be, to none.

    Raises Unsuitable, which says which one.
    """
    subscriptions = []
    with transaction.atomic():
        for destination, options in chosen:
            try:
                subscriptions.append(subscribe(audience, destination, options=options, by=by))
            except (InvalidSetting, NotPossible) as error:
                raise Unsuitable(destination, error) from error
    return subscriptions


def chosen_in(draft: Draft) -> list[tuple[Destination, dict[str, Any]]]:
    """Where the audience of this draft is to go, with its options; without what was deleted meanwhile."""
    options = {choice["id"]: choice["options"] for choice in draft.destinations}
    destinations = Destination.objects.filter(space=draft.space_id, public_id__in=options).order_by("name", "id")
    return [(destination, options[destination.public_id]) for destination in destinations]


def finish_draft(draft: Draft, *, by: ActorLike, key: str | None = None) -> Audience:
    """The audience exists and goes to what was chosen for it, or nothing has happened.

    Raises DefinitionError, KeyRefused and Unsuitable.
    """
    chosen = chosen_in(draft)
    with transaction.atomic():
        audience = drafts.finish(draft, by, key=key)
        subscribe_all(audience, chosen, by=by)
    return audience


def change_subscription(
    subscription: Subscription,
    *,
    options: Mapping[str, Any] | None = None,
    sending: Mapping[str, Any] | None = None,
    enabled: bool | None = None,
    by: ActorLike,
) -> None:
    """Switched on or off, or with other options, which count from the next call on. sending: all of
    rules.sending.SendingRules; whoever is no longer to be there, or is now, goes at once.

    Raises InvalidSetting, and InvalidSending.
    """
    if sending is not None:
        destination = subscription.destination
        known = queries.known_types(destination, subscription.audience.of)
        rules = parse_sending(sending, known=known, names=adapter_of(destination.kind).capabilities.fields)
        with transaction.atomic():
            # A pass that is under way was begun for others: it begins anew. Only these columns are written, here and
            # below: the sync stage may write the others at this moment.
            Subscription.objects.filter(pk=subscription.pk).update(
                sending=sending_json(rules), capped_people=0, compare_at=None
            )
            _watch(subscription.audience)
    if options is not None:
        declared = adapter_of(subscription.destination.kind).options_for(subscription.audience.kind)
        chosen = parse(declared, options, subscription.options)
        Subscription.objects.filter(pk=subscription.pk).update(options=asdict(chosen))
        forget(subscription.destination, subscription)
    if enabled is not None:
        # Switched on it is never "in step": what changed meanwhile is not known until it is compared.
        calm = Subscription.Status.SYNCING if subscription.synced_at else Subscription.Status.WAITING
        Subscription.objects.filter(pk=subscription.pk).update(
            enabled=enabled, status=calm if enabled else Subscription.Status.DISABLED
        )
    if enabled:
        _wake(subscription)
    audit(
        by,
        "subscription.changed",
        subscription,
        enabled=enabled,
        options=sorted(options or {}),
        sending=sorted(sending or {}),
    )
    subscription.refresh_from_db()


def _watch(audience: Audience) -> None:
    """Evaluate tells of changes in the traits that decide who goes to any of its destinations."""
    going = Subscription.objects.filter(audience=audience, deleted_at=None)
    names = set().union(*(roots(queries.sending_of(subscription).deciding) for subscription in going))
    # Of computed traits as well, which can be filtered by what else a person has.
    Audience.everything.filter(pk=audience.pk).update(watched_traits=sorted(names))


def nod(subscription: Subscription, *, by: ActorLike) -> None:
    """What waits because it is about so many people may go. What comes later is counted anew."""
    with transaction.atomic():
        locked = Subscription.objects.select_for_update().get(pk=subscription.pk)
        if not locked.capped_people:  # read under the lock: each comparison counts them anew
            raise NotPossible("Nothing waits for a nod")
        people, locked.capped_people = locked.capped_people, 0
        locked.nodded_tick = _newest_tick(subscription)
        locked.status = Subscription.Status.SYNCING
        locked.save()
        audit(by, "subscription.nodded", subscription, people=people)
    subscription.refresh_from_db()


def recall(subscription: Subscription, *, now: datetime, by: ActorLike) -> None:
    """Everybody is taken out of the destination again, and nobody is sent there until `send_again`.

    It was asked for by somebody, so it waits for no nod.
    """
    with transaction.atomic():
        locked = Subscription.objects.select_for_update().get(pk=subscription.pk)
        if locked.recalled_at is not None:
            raise NotPossible("They are recalled already")
        # Nobody is desired from now on (queries.desired_members): the next comparison takes everybody out.
        locked.recalled_at = now
        _begin_anew(locked)
        audit(by, "subscription.recalled", subscription)
    subscription.refresh_from_db()


def send_again(subscription: Subscription, *, by: ActorLike) -> None:
    """After a recall: everybody who should be there goes there, as if it was new."""
    with transaction.atomic():
        locked = Subscription.objects.select_for_update().get(pk=subscription.pk)
        if locked.recalled_at is None:
            raise NotPossible("They are not recalled")
        locked.recalled_at = None
        _begin_anew(locked)
        audit(by, "subscription.sent_again", subscription)
    subscription.refresh_from_db()


def _begin_anew(subscription: Subscription) -> None:
    """The next pass looks at everyone, and what waited for a nod goes along with it."""
    subscription.full, subscription.pass_tick, subscription.cursor = True, None, 0
    subscription.capped_people, subscription.nodded_tick = 0, _newest_tick(subscription)
    if subscription.status == Subscription.Status.IN_STEP:
        subscription.status = Subscription.Status.SYNCING
    subscription.compare_at = None
    subscription.save()


def _newest_tick(subscription: Subscription) -> int:
    newest = Change.objects.filter(audience=subscription.audience).aggregate(newest=Max("tick"))["newest"] or 0
    return max(newest, subscription.tick)


def _hide(subscription: Subscription) -> None:
    """It is out of sight, and a worker that is writing a batch of it cannot commit: its log is gone."""
    Log.objects.filter(stage=SYNC, partition=subscription.pk).delete()
    deletions.hide(subscription)
    _watch(subscription.audience)


def unsubscribe(subscription: Subscription, *, by: ActorLike) -> None:
    """Nothing more goes there. Who is there stays there."""
    with transaction.atomic():
        audit(by, "subscription.deleted", subscription, audience=subscription.audience.public_id)
        name = f"{subscription.audience.name} at {subscription.destination.name}"
        _hide(subscription)
        deletions.begin(subscription, Deletion.TargetKind.SUBSCRIPTION, name=name)


def resync(subscription: Subscription, *, by: ActorLike) -> None:
    """Everyone is sent anew: who should be there enters again, who was sent and should not be leaves again."""
    with transaction.atomic():
        _stop_waiting(Subscription.objects.select_for_update().get(pk=subscription.pk))
        forget(subscription.destination, subscription)  # a list that was deleted over there is made anew
        Subscription.objects.filter(pk=subscription.pk).update(
            full=True,
            pass_tick=None,
            cursor=0,
            compare_at=None,
            capped_people=0,
            nodded_tick=_newest_tick(subscription),  # asked for by somebody: it waits for no nod
        )
        acknowledged = Acknowledged.objects.filter(subscription=subscription)
        # Message ids are new, since a receiver that lost what it had must not take these calls for repetitions.
        acknowledged.exclude(state=Acknowledged.State.OUT).update(
            state=Acknowledged.State.MAYBE, flip=F("flip") + 1, due=True, tries=0, retry_at=None, refused=""
        )
        acknowledged.update(refused="", retry_at=None)
        audit(by, "subscription.resynced", subscription)
    subscription.refresh_from_db()


def resume(subscription: Subscription, *, by: ActorLike) -> None:
    """A parked, suspended or waiting subscription tries again now."""
    _wake(subscription)
    audit(by, "subscription.resumed", subscription)
    subscription.refresh_from_db()


def retry_one(subscription: Subscription, identifier: int, *, by: ActorLike) -> None:
    """What failed about one identifier is due now: the sync stage then sends its present state, if that has to be sent.

    The call is made like all others: under the same message id while its content is the same, never when it was
    acknowledged meanwhile, in order with the other calls about the person. Raises NotPossible when nothing failed.
    """
    with transaction.atomic():
        Subscription.objects.select_for_update().get(pk=subscription.pk)
        failed = Acknowledged.objects.filter(subscription=subscription, identifier=identifier)
        failed = failed.filter(~Q(refused="") | Q(due=True, retry_at__isnull=False))
        # Long ago: now. Not null: what failed alone still counts alone, and slows nobody else down.
        if not failed.update(due=True, refused="", retry_at=F("at")):
            raise NotPossible("There is nothing to try again: it was acknowledged meanwhile, or is on its way")
        audit(by, "delivery.retried", subscription, identifier=identifier)


def _wake(subscription: Subscription) -> None:
    with transaction.atomic():
        _stop_waiting(Subscription.objects.select_for_update().get(pk=subscription.pk))
        waiting = Acknowledged.objects.filter(subscription=subscription, due=True, retry_at__isnull=False)
        waiting.update(retry_at=F("at"))  # long ago: now. Not null: what failed alone still counts alone


def _stop_waiting(subscription: Subscription) -> None:
    """No pause and no suspension is left; a failing destination still gets only a few rows first.

    What changed while nothing went out no change may name, so it is compared, whatever happened lately.
    """
    if subscription.status in STOPPED:
        subscription.status = Subscription.Status.RETRYING
    subscription.retry_at = subscription.failing_since = subscription.compare_at = None
    # What differed before somebody changed the settings is not held against what comes now.
    subscription.repeated = 0
    subscription.error = ""
    subscription.save()


def _parsed(kind: str, given: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> SettingsDeclaration:
    """Valid settings whose addresses may be called. Raises InvalidSetting."""
    settings = parse(adapter_of(kind).settings, given, stored)
    # Asked here as well as at each call: a form should say it at once. At the call, because a name may lead elsewhere
    # by then.
    check_settings(settings)
    return settings


def _generated_secrets(
    settings: SettingsDeclaration, given: Mapping[str, Any], stored: Mapping[str, Any]
) -> dict[str, str]:
    """What was filled in because it was left empty. Nobody could ever read it otherwise."""
    return {
        field.name: getattr(settings, field.attribute)
        for field in fields_of(type(settings))
        # What was stored before was shown when it was made, and never again.
        if field.generate
        and not given.get(field.name)
        and getattr(settings, field.attribute) != stored.get(field.attribute)
    }
