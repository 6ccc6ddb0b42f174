"""What would be sent about one person, and, if it is wanted, what a destination makes of it.

Nothing here changes what is known of anybody: a rehearsal is no delivery. Its calls have ids of their own, so that a
receiver takes none of them for a repetition of a real one.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from msgspec.structs import asdict

from access.services import ActorLike, NotPossible, audit
from destinations import queries
from destinations.adapters import adapter_of
from destinations.calls import DecidedCall, change_of, filled
from destinations.intake import SyncIntake, read_person
from destinations.models import Acknowledged, Subscription
from destinations.rules.contract import CallOutcome, DestinationRequest, IdentifierChange
from destinations.rules.send_batch import Unanswered
from destinations.rules.sending import parse_sending, sending_json
from destinations.steps import StepFailed, known_values, take_steps
from destinations.transports import TRANSPORTS
from identity.models import Profile
from spaces import personal
from spaces.chunks import chunks
from spaces.settings_schema import MASK, load_stored, parse, secrets_of, strike
from spaces.times import milliseconds

ToldIdentifier = tuple[str, str]  # (type, value), to be shown
# Whatever is in these is a secret, or made of one: basic authentication is only another way of writing it.
SECRET_HEADERS = ("authorization", "x-api-key", "api-token", "cookie")


@dataclass(frozen=True)
class RowOutcome:
    """What an answer means for one identifier. kind: as in a CallOutcome."""

    type: str
    value: str
    kind: str
    reason: str


@dataclass(frozen=True)
class RehearsedRequest:
    """A call as it would go out, without secrets. status: of the answer, 0 = there was none; None = it was not sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str
    identifiers: Sequence[tuple[str, str]]
    status: int | None = None
    milliseconds: float = 0.0
    response: str = ""
    outcomes: Sequence[RowOutcome] = ()


@dataclass(frozen=True)
class Rehearsal:
    """kept_out: why nothing goes, by the filters and the consent; "" = they do not say so."""

    person: Profile
    entering: bool
    member: bool
    kept_out: str
    requests: Sequence[RehearsedRequest]


def rehearse(
    subscription: Subscription,
    person: Profile,
    *,
    now: datetime,
    entering: bool | None = None,
    sending: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Rehearsal:
    """The calls that would be made about this person, by these rules instead of the saved ones.

    entering: as if they entered, or left; None = as it is. Raises InvalidSetting.
    """
    asked, intake = _read(subscription, person, sending, options)
    member = person.number in queries.desired_members(asked)
    entering = member if entering is None else entering
    remembered = known_values(asked, adapter_of(asked.destination.kind), queries.about(asked), now)
    planned, told = _plan(asked, person, intake, remembered, entering=entering, now=now)
    secrets = secrets_of(queries.settings_of(asked.destination))
    requests = [_shown(request, told, secrets) for request in planned]
    return Rehearsal(person, entering, member, next(iter(intake.kept_out.values()), ""), requests)


def send_test(
    subscription: Subscription, person: Profile, *, now: datetime, entering: bool | None = None, by: ActorLike
) -> Rehearsal:
    """The same with the saved rules, and the calls are made. What the tool is told is real: it may act on it.

    Raises NotPossible.
    """
    asked, intake = _read(subscription, person, None, None)
    member = person.number in queries.desired_members(asked)
    entering = member if entering is None else entering
    audit(by, "subscription.tested", subscription, person=person.public_id, entering=entering)
    adapter, settings = adapter_of(asked.destination.kind), queries.settings_of(asked.destination)
    options = load_stored(adapter.options_for(asked.audience.kind), asked.options)
    sent: list[RehearsedRequest] = []
    with TRANSPORTS[adapter.transport](asked.destination, settings) as call:
        try:
            taken = take_steps(
                asked.destination, asked, adapter, queries.about(asked), settings, options, call=call, now=now
            )
        except StepFailed as failed:
            raise NotPossible(strike(failed.outcome.reason, secrets_of(settings))) from failed
        secrets = [*secrets_of(settings), *taken.tokens]
        planned, told = _plan(asked, person, intake, taken.remembered, entering=entering, now=now)
        while planned:
            request = adapter.authorize(planned.pop(0), taken.remembered)
            shown = _shown(request, told, secrets)
            try:
                answer = call(request)
            except Unanswered as error:
                outcome = CallOutcome("suspended" if error.permanent else "retry", error.message)
                outcomes = _outcomes(request, [outcome] * len(request.rows), told, secrets)
                sent.append(replace(shown, status=0, outcomes=outcomes))
                continue
            if request.then and answer.ok:
                planned[:0] = request.then(answer)
            response = personal.text(strike(answer.text(2000), secrets))
            outcomes = _outcomes(request, adapter.read(request, answer), told, secrets)
            sent.append(
                replace(
                    shown,
                    status=answer.status,
                    milliseconds=answer.milliseconds,
                    response=response,
                    outcomes=outcomes,
                )
            )
    return Rehearsal(person, entering, member, next(iter(intake.kept_out.values()), ""), sent)


def _read(
    subscription: Subscription,
    person: Profile,
    sending: Mapping[str, Any] | None,
    options: Mapping[str, Any] | None,
) -> tuple[Subscription, SyncIntake]:
    """The subscription as it would be with these rules, never saved, and what is prepared of the person by it."""
    asked, adapter = copy(subscription), adapter_of(subscription.destination.kind)
    if sending is not None:
        can = adapter.capabilities
        asked.sending = sending_json(parse_sending(sending, known=can.identifiers, names=can.fields))
    if options is not None:
        asked.options = asdict(parse(adapter.options_for(subscription.audience.kind), options, subscription.options))
    return asked, read_person(asked, person.number)


def _plan(
    subscription: Subscription,
    person: Profile,
    intake: SyncIntake,
    remembered: Mapping[str, str],
    *,
    entering: bool,
    now: datetime,
) -> tuple[list[DestinationRequest], dict[str, ToldIdentifier]]:
    """The requests, as the adapter plans them, and by the id of each change which identifier it is about."""
    destination, audience = subscription.destination, subscription.audience
    adapter, rules, at = adapter_of(destination.kind), queries.sending_of(subscription), milliseconds(now)
    sent = {
        row.identifier: {type: (number, value) for type, (number, value) in row.sent.items()}
        for row in Acknowledged.objects.filter(subscription=subscription, identifier__in=[*intake.numbers])
        if not entering  # an exit goes to what was sent
    }
    changes: list[IdentifierChange] = []
    told: dict[str, ToldIdentifier] = {}
    for number in intake.numbers:
        recipients = sent.get(number) or intake.recipients.get(number)
        if recipients is None:
            continue
        value = intake.values.get(number, "") if entering else ""
        call = DecidedCall(number, person.number, entering, 0, at, Acknowledged.State.OUT, recipients, value=value)
        change = change_of(subscription, filled(subscription, call, rules, intake.traits.get(person.number, {})))
        # Else a receiver would take the real call, which may come later, for a repetition, and drop it.
        changes.append(replace(change, id=f"{subscription.public_id}-{number}-test{at}"))
        own = ((type, value) for type, (other, value) in recipients.items() if other == number)
        told[changes[-1].id] = next((type, personal.value(type, value)) for type, value in own)
    about = replace(queries.about(subscription), remembered=remembered)
    settings = queries.settings_of(destination)
    options = load_stored(adapter.options_for(audience.kind), subscription.options)
    requests = [
        request
        for part in chunks(changes, adapter.capabilities.batch)
        for request in adapter.plan(part, about, settings, options, now)
    ]
    return requests, told


def _shown(request: DestinationRequest, told: Mapping[str, ToldIdentifier], secrets: Sequence[str]) -> RehearsedRequest:
    headers = {
        name: MASK if name.lower() in SECRET_HEADERS else strike(value, secrets)
        for name, value in request.headers.items()
    }
    body = personal.text(strike(request.shown or request.body.decode("utf-8", "replace"), secrets))
    identifiers = [told[row.id] for row in request.rows]
    return RehearsedRequest(request.method, strike(request.url, secrets), headers, body, identifiers)


def _outcomes(
    request: DestinationRequest,
    outcomes: Sequence[CallOutcome],
    told: Mapping[str, ToldIdentifier],
    secrets: Sequence[str],
) -> list[RowOutcome]:
    return [
        RowOutcome(*told[row.id], outcome.kind, personal.text(strike(outcome.reason, secrets)))
        for row, outcome in zip(request.rows, outcomes, strict=True)
    ]
