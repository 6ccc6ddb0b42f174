"""What would be sent about one person, and, if it is wanted, what a destination makes of it.

Nothing here changes what is known of anybody: a rehearsal is no delivery. Its calls have ids of their own, so that a
receiver takes none of them for a repetition of a real one.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from msgspec.structs import asdict

from access.services import ActorLike, NotPossible, audit
from destinations import queries
from destinations.adapters import adapter_of
from destinations.calls import DecidedCall, change_of, everyone_besides, filled
from destinations.intake import SyncIntake, read_person
from destinations.models import Acknowledged, Subscription
from destinations.rules.contract import DestinationRequest, IdentifierChange
from destinations.rules.sending import parse_sending, sending_json
from destinations.send import send_changes
from destinations.steps import StepsBusy, known_values
from identity.models import Profile
from spaces import personal
from spaces.chunks import chunks
from spaces.settings_schema import MASK, load_stored, parse, secrets_of, strike
from spaces.times import milliseconds

LONGEST_S = 20.0  # of a test: no call is begun after them
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
    changes, told = _changes(asked, person, intake, entering=entering, now=now)
    adapter, settings = adapter_of(asked.destination.kind), queries.settings_of(asked.destination)
    chosen = load_stored(adapter.options_for(asked.audience.kind), asked.options)
    about = queries.about(asked, partial(everyone_besides, asked, {*intake.numbers}))
    # In the place of what the tool was not asked yet stands its name.
    about = replace(about, remembered=known_values(asked, adapter, about, settings, chosen, now))
    requests = [
        _shown(request, told, secrets_of(settings))
        for part in chunks(changes, adapter.capabilities.batch)
        for request in adapter.plan(part, about, settings, chosen, now)
    ]
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
    # Before the calls: what a tool was told of a person is on record even if we break off.
    audit(by, "subscription.tested", subscription, person=person.public_id, entering=entering)
    changes, told = _changes(asked, person, intake, entering=entering, now=now)
    # A file of everybody is one also when it is a test: else it would leave one person over there.
    everyone = partial(everyone_besides, asked, {*intake.numbers})
    try:
        batch = send_changes(asked, changes, everyone=everyone, now=now, seconds=LONGEST_S) if changes else None
    except StepsBusy as busy:
        raise NotPossible(str(busy)) from busy
    secrets = secrets_of(queries.settings_of(asked.destination))
    requests = [
        replace(
            _shown(attempt.request, told, secrets),
            status=attempt.status,
            milliseconds=attempt.milliseconds,
            response=personal.text(attempt.response),
            outcomes=[
                RowOutcome(*told[row.id], outcome.kind, personal.text(outcome.reason))
                for row, outcome in zip(attempt.request.rows, attempt.outcomes, strict=True)
            ],
        )
        for attempt in (batch.attempts if batch else ())
    ]
    return Rehearsal(person, entering, member, next(iter(intake.kept_out.values()), ""), requests)


def _read(
    subscription: Subscription,
    person: Profile,
    sending: Mapping[str, Any] | None,
    options: Mapping[str, Any] | None,
) -> tuple[Subscription, SyncIntake]:
    """The subscription as it would be with these rules, never saved, and what is prepared of the person by it."""
    # A copy: rules that were only asked for must never be saved along with something else.
    asked, adapter = copy(subscription), adapter_of(subscription.destination.kind)
    if sending is not None:
        known = queries.known_types(subscription.destination, subscription.audience.of)
        asked.sending = sending_json(parse_sending(sending, known=known, names=adapter.capabilities.fields))
    if options is not None:
        asked.options = asdict(parse(adapter.options_for(subscription.audience.kind), options, subscription.options))
    return asked, read_person(asked, person.number)


def _changes(
    subscription: Subscription, person: Profile, intake: SyncIntake, *, entering: bool, now: datetime
) -> tuple[list[IdentifierChange], dict[str, ToldIdentifier]]:
    """What a batch would carry, and by the id of each change which identifier it is about."""
    rules, at = queries.sending_of(subscription), milliseconds(now)
    sent = {
        row.identifier: {type: (number, value) for type, (number, value) in row.sent.items()}
        for row in Acknowledged.objects.filter(subscription=subscription, identifier__in=[*intake.numbers])
        if not entering  # an exit goes to what was sent
    }
    changes: list[IdentifierChange] = []
    told: dict[str, ToldIdentifier] = {}
    for number in intake.numbers:
        # Of whoever was never sent an exit is shown as it would be, had they been.
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
    return changes, told


def _shown(request: DestinationRequest, told: Mapping[str, ToldIdentifier], secrets: Sequence[str]) -> RehearsedRequest:
    headers = {
        name: MASK if name.lower() in SECRET_HEADERS else strike(value, secrets)
        for name, value in request.headers.items()
    }
    # First the secrets, then what is personal: a secret may look like neither.
    body = personal.text(strike(request.shown or request.body.decode("utf-8", "replace"), secrets))
    identifiers = [told[row.id] for row in request.rows]
    return RehearsedRequest(request.method, strike(request.url, secrets), headers, body, identifiers)
